//! The first state of a chain: validators, balances and the numbers of the rules.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{Canonical, Repeated, each, ranged, required};
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, PublicKey};
use crate::{limits, wire};

/// Numbers of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parameters {
    /// Blocks an epoch, at least 1.
    pub tempo: u64,
    /// Base units minted an epoch, before halvings.
    pub emission: u64,
    /// Epochs until the emission halves, at least 1.
    pub halving_epochs: u64,
    /// Weight of the newest epoch in a miner's reputation, parts per million.
    pub reputation_rate_ppm: u64,
    /// Microseconds from assignment to proof at or below which quality is 1; at least 1.
    pub latency_target_us: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            tempo: 10,
            emission: 1_000_000,
            halving_epochs: 100_000,
            reputation_rate_ppm: 200_000,
            latency_target_us: 2_000_000,
        }
    }
}

/// A validator of the chain and its weight in votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenesisValidator {
    /// Its key.
    pub public_key: PublicKey,
    /// Voting power, at least 1.
    pub power: u64,
}

/// A balance that exists from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Its key.
    pub public_key: PublicKey,
    /// Base units.
    pub balance: u64,
}

/// A valid genesis: at least one validator, no key twice, sums that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// In ascending order of their keys.
    pub validators: Vec<GenesisValidator>,
    /// In ascending order of their keys.
    pub accounts: Vec<GenesisAccount>,
    /// Numbers of the rules.
    pub parameters: Parameters,
}

impl Genesis {
    /// The parent hash of block 1: `BLAKE3-derive_key("assay.v1 genesis", encoding)`.
    pub fn hash(&self) -> BlockHash {
        BlockHash(blake3::derive_key("assay.v1 genesis", &self.encode()))
    }
}

impl Canonical for Genesis {
    type Wire = wire::Genesis;
    const NAME: &'static str = "genesis";
    const MAX_BYTES: usize = limits::GENESIS_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "validators of a genesis", path: &[3], limit: limits::VALIDATORS },
        Repeated { what: "accounts of a genesis", path: &[4], limit: limits::GENESIS_ACCOUNTS },
    ];
}

impl TryFrom<wire::Genesis> for Genesis {
    type Error = ProtoError;

    fn try_from(wire: wire::Genesis) -> Result<Self, ProtoError> {
        let validators = each(wire.validators, "validators of a genesis", limits::VALIDATORS, |wire| {
            Ok(GenesisValidator { public_key: wire.public_key.as_slice().try_into()?, power: wire.power })
        })?;
        let accounts = each(wire.accounts, "accounts of a genesis", limits::GENESIS_ACCOUNTS, |wire| {
            Ok(GenesisAccount { public_key: wire.public_key.as_slice().try_into()?, balance: wire.balance })
        })?;
        let genesis = Self {
            chain_id: ChainId::new(wire.chain_id)?,
            time_ms: wire.time_ms,
            validators,
            accounts,
            parameters: required(wire.parameters, "parameters of a genesis")?,
        };
        genesis.check()?;
        Ok(genesis)
    }
}

impl Genesis {
    /// What makes a genesis valid; holds for every decoded one, and is to be called on one built by hand.
    pub fn check(&self) -> Result<(), ProtoError> {
        if self.validators.is_empty() {
            return Err(ProtoError::Missing { what: "validator of a genesis" });
        }
        if !self.validators.is_sorted_by(|a, b| a.public_key < b.public_key) {
            return Err(ProtoError::NotCanonical { what: "list of validators (ascending keys, none twice)" });
        }
        if !self.accounts.is_sorted_by(|a, b| a.public_key < b.public_key) {
            return Err(ProtoError::NotCanonical { what: "list of accounts (ascending keys, none twice)" });
        }
        for validator in &self.validators {
            ranged("voting power", validator.power, 1, limits::TOTAL_POWER)?;
        }
        let power = sum(self.validators.iter().map(|validator| validator.power));
        ranged("total voting power", power, 1, limits::TOTAL_POWER)?;
        let supply = sum(self.accounts.iter().map(|account| account.balance));
        ranged("total of the balances", supply, 0, u64::MAX >> 1)?;
        self.parameters.check()
    }
}

/// A sum that stays at the greatest value instead of wrapping.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

impl Parameters {
    /// Ranges within which no rule overflows.
    pub fn check(&self) -> Result<(), ProtoError> {
        ranged("tempo", self.tempo, 1, limits::TEMPO)?;
        ranged("emission", self.emission, 0, limits::EMISSION)?;
        ranged("halving epochs", self.halving_epochs, 1, u64::MAX)?;
        ranged("reputation rate in ppm", self.reputation_rate_ppm, 0, limits::PPM)?;
        ranged("latency target in us", self.latency_target_us, 1, u64::MAX)?;
        Ok(())
    }
}

impl TryFrom<wire::Parameters> for Parameters {
    type Error = ProtoError;

    fn try_from(wire: wire::Parameters) -> Result<Self, ProtoError> {
        let parameters = Self {
            tempo: wire.tempo,
            emission: wire.emission,
            halving_epochs: wire.halving_epochs,
            reputation_rate_ppm: wire.reputation_rate_ppm,
            latency_target_us: wire.latency_target_us,
        };
        parameters.check()?;
        Ok(parameters)
    }
}

impl From<&Parameters> for wire::Parameters {
    fn from(parameters: &Parameters) -> Self {
        Self {
            tempo: parameters.tempo,
            emission: parameters.emission,
            halving_epochs: parameters.halving_epochs,
            reputation_rate_ppm: parameters.reputation_rate_ppm,
            latency_target_us: parameters.latency_target_us,
        }
    }
}

impl From<&Genesis> for wire::Genesis {
    fn from(genesis: &Genesis) -> Self {
        let validator = |validator: &GenesisValidator| wire::GenesisValidator {
            public_key: validator.public_key.to_vec(),
            power: validator.power,
        };
        let account = |account: &GenesisAccount| wire::GenesisAccount {
            public_key: account.public_key.to_vec(),
            balance: account.balance,
        };
        Self {
            chain_id: genesis.chain_id.as_str().to_owned(),
            time_ms: genesis.time_ms,
            validators: genesis.validators.iter().map(validator).collect(),
            accounts: genesis.accounts.iter().map(account).collect(),
            parameters: Some((&genesis.parameters).into()),
        }
    }
}
