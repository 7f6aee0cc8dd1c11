//! The first state of a chain: validators, balances and the numbers of the rules.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{Canonical, Repeated, each, ranged, required};
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, PublicKey};
use crate::{limits, wire};

/// Declares the numbers of the rules: each with its unit, its default, and the range within which no rule overflows.
macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident = $default:expr, $lo:expr => $hi:expr;)*) => {
        /// Numbers of the rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        pub struct Parameters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Default for Parameters {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Parameters {
            /// Their names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The one of this name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            /// Sets the one of this name.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), ProtoError> {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return Err(ProtoError::text("parameter", "the name of one", name)),
                }
                Ok(())
            }

            fn check_ranges(&self) -> Result<(), ProtoError> {
                $(ranged(stringify!($name), self.$name, $lo, $hi)?;)*
                Ok(())
            }
        }

        impl TryFrom<wire::Parameters> for Parameters {
            type Error = ProtoError;

            fn try_from(wire: wire::Parameters) -> Result<Self, ProtoError> {
                let parameters = Self { $($name: wire.$name,)* };
                parameters.check()?;
                Ok(parameters)
            }
        }

        impl From<&Parameters> for wire::Parameters {
            fn from(parameters: &Parameters) -> Self {
                Self { $($name: parameters.$name,)* }
            }
        }
    };
}

parameters! {
    /// Blocks an epoch, at least 1.
    tempo = 10, 1 => limits::TEMPO;
    /// Base units minted an epoch, before halvings.
    emission = 1_000_000, 0 => limits::EMISSION;
    /// Epochs until the emission halves, at least 1.
    halving_epochs = 100_000, 1 => u64::MAX;
    /// Weight of the newest epoch in a miner's reputation, parts per million.
    reputation_rate_ppm = 200_000, 0 => limits::PPM;
    /// Microseconds from assignment to proof at or below which quality is 1; at least 1.
    latency_target_us = 2_000_000, 1 => u64::MAX;
    /// Base units burned a transaction, but for those of a validator's duty.
    fee = 0, 0 => u64::MAX;
    /// Blocks from unlocking to the release; what is locked may be slashed meanwhile. Where stake gives power, at least
    /// two epochs and two blocks: nobody votes with what it has taken back.
    unbonding_blocks = 1_000, 0 => limits::UNBONDING_BLOCKS;
    /// Share of the stake behind a validator that is burned if it equivocates, parts per million.
    slash_ppm = 100_000, 0 => limits::PPM;
    /// Base units of stake for one of voting power, at least 2^16; 0: stake gives none.
    stake_per_power = 0, 0 => u64::MAX;
    /// Base units that a miner in service has locked.
    collateral = 0, 0 => u64::MAX;
    /// Share of a miner's collateral that an invalid answer burns, parts per million.
    collateral_slash_ppm = 100_000, 0 => limits::PPM;
    /// Base units burned by a miner's first registration, at least.
    registration_price_min = 0, 0 => u64::MAX;
    /// And at most; not below the least.
    registration_price_max = 0, 0 => u64::MAX;
    /// Registrations an epoch above which their price doubles, and below which it halves.
    registrations_target = 16, 0 => u64::MAX;
    /// Miners at a time; 0: as many as the ledger has room for.
    miner_slots = 0, 0 => limits::MINERS;
    /// Epochs in which a new miner is not pruned.
    immunity_epochs = 3, 0 => u64::MAX;
    /// 1: jobs are paid from the client's escrow; 0: from its balance.
    prepaid = 0, 0 => 1;
    /// Share of the power that has to give a score for it to count, in units of 1/65535.
    kappa = 32_767, 0 => 65_535;
    /// Share of the consensus that a lower score counts as in a miner's incentive, parts per million.
    floor_ppm = 0, 0 => limits::PPM;
    /// Share of the way from a score to the consensus at which bonds are bought, parts per million.
    bonds_penalty_ppm = 1_000_000, 0 => limits::PPM;
    /// Share of the way that a bond goes in an epoch, parts per million.
    bonds_rate_ppm = 100_000, 0 => limits::PPM;
    /// Rate of bonds at the consensus where rates are liquid, parts per million.
    liquid_low_ppm = 0, 0 => limits::PPM;
    /// Rate of bonds far from it, not below the other; 0: rates are not liquid.
    liquid_high_ppm = 0, 0 => limits::PPM;
    /// Steepness of the sigmoid between the two, parts per million.
    liquid_steepness_ppm = 10_000_000, 0 => limits::STEEPNESS_PPM;

    // Subnets.

    /// Validators whose scores count in a subnet: those with the greatest power; 0: all.
    validator_permits = 0, 0 => wide(limits::VALIDATORS);
    /// Subnets beside the root; 0: none may be registered.
    subnet_slots = 16, 0 => wide(limits::SUBNETS);
    /// Base units burned by the registration of a subnet.
    subnet_price = 1_000_000, 0 => u64::MAX;
    /// Chance of a miner to be challenged at a block, parts per million; 0: nobody is.
    challenge_ppm = 0, 0 => limits::PPM;
    /// Validators that are to ask one miner.
    challenge_validators = 3, 0 => limits::CHALLENGE_VALIDATORS;
    /// Side of the matrices of a challenge, one of [`limits::CHALLENGE_SIDES`].
    challenge_side = 256, 0 => 4096;
    /// Products of a challenge.
    challenge_rounds = 8, 0 => limits::CHALLENGE_ROUNDS;
    /// Blocks in which outcomes of a challenge are taken.
    challenge_blocks = 20, 0 => limits::CHALLENGE_BLOCKS;
    /// Share of a miner's performance that its availability decides, parts per million; 0: none.
    availability_ppm = 0, 0 => limits::PPM;
    /// Blocks that a job's price is locked at most, where jobs are prepaid; 0: it is not locked.
    hold_blocks = 10_000, 0 => limits::HOLD_BLOCKS;
    /// Base units that a job of the standard tier costs at least.
    price_floor = 0, 0 => limits::EMISSION;
    /// Floor of the economy tier, parts per million of the standard tier's.
    economy_price_ppm = 500_000, 0 => limits::TIER_PPM;
    /// Floor of the priority tier, parts per million of the standard tier's.
    priority_price_ppm = 2_000_000, 0 => limits::TIER_PPM;
    /// Microseconds of a proof's time that are the network's at most, where the miner signed its own; 0: none are, and no
    /// validator's clock is held against another's.
    latency_network_us = 100_000, 0 => limits::LATENCY_NETWORK_US;
}

/// A validator of the chain and its weight in votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenesisValidator {
    /// Its key.
    pub public_key: PublicKey,
    /// Voting power, at least 1.
    pub power: u64,
}

/// A kind of device that miners have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// Its name, at least 1.
    pub id: u32,
    /// Multiply-adds a second that a device of it does at least; at least 1.
    pub rate: u64,
    /// Collateral of one device, parts per million of the parameter.
    pub collateral_ppm: u64,
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
    /// In ascending order of their ids; without any, miners name no devices.
    pub classes: Vec<DeviceClass>,
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
        Repeated { what: "device classes of a genesis", path: &[16], limit: limits::CLASSES },
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
            classes: each(wire.classes, "device classes of a genesis", limits::CLASSES, |wire| {
                let (id, rate, collateral_ppm) = (wire.id, wire.rate, wire.collateral_ppm);
                Ok(DeviceClass { id, rate, collateral_ppm })
            })?,
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
        if self.classes.len() > limits::CLASSES {
            let (limit, got) = (limits::CLASSES, self.classes.len());
            return Err(ProtoError::TooMany { what: "device classes of a genesis", limit, got });
        }
        if !self.classes.is_sorted_by(|a, b| a.id < b.id) {
            return Err(ProtoError::NotCanonical {
                what: "list of device classes (ascending ids, none twice)",
            });
        }
        for class in &self.classes {
            ranged("device class", class.id.into(), 1, u32::MAX.into())?;
            ranged("rate of a device class", class.rate, 1, u64::MAX)?;
            ranged("collateral of a device class in ppm", class.collateral_ppm, 0, limits::COLLATERAL_PPM)?;
        }
        self.parameters.check()
    }

    /// The device class of this id.
    pub fn class(&self, id: u32) -> Option<&DeviceClass> {
        self.classes.iter().find(|class| class.id == id)
    }
}

/// A sum that stays at the greatest value instead of wrapping.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Parameters {
    /// Those that a subnet may have values of its own for; its tempo is a multiple of the chain's.
    pub const OF_SUBNETS: &'static [&'static str] = &[
        "tempo",
        "reputation_rate_ppm",
        "latency_target_us",
        "registration_price_min",
        "registration_price_max",
        "registrations_target",
        "miner_slots",
        "immunity_epochs",
        "kappa",
        "floor_ppm",
        "bonds_penalty_ppm",
        "bonds_rate_ppm",
        "liquid_low_ppm",
        "liquid_high_ppm",
        "liquid_steepness_ppm",
        "validator_permits",
        "latency_network_us",
    ];

    /// Those that no vote changes: they number epochs, promise how much there will be and when it comes back, say whose power
    /// counts and how jobs are paid, or size the state.
    pub const FIXED: &'static [&'static str] = &[
        "tempo",
        "emission",
        "halving_epochs",
        "unbonding_blocks",
        "stake_per_power",
        "prepaid",
        "miner_slots",
        "subnet_slots",
        // Challenges and holds that are open were made under them.
        "challenge_validators",
        "challenge_side",
        "challenge_rounds",
        "challenge_blocks",
        "hold_blocks",
    ];

    /// Ranges within which no rule overflows, and what one number asks of another.
    pub fn check(&self) -> Result<(), ProtoError> {
        self.check_ranges()?;
        ranged("registration_price_max", self.registration_price_max, self.registration_price_min, u64::MAX)?;
        ranged("liquid_low_ppm", self.liquid_low_ppm, 0, self.liquid_high_ppm)?;
        if self.stake_per_power > 0 {
            // All stake together is then less than 2^48 of power, as that of a genesis is.
            ranged("stake_per_power", self.stake_per_power, limits::STAKE_PER_POWER, u64::MAX)?;
            let least = self.tempo.saturating_mul(2).saturating_add(2);
            ranged("unbonding_blocks", self.unbonding_blocks, least, limits::UNBONDING_BLOCKS)?;
        }
        if self.challenge_ppm > 0 {
            let side = self.challenge_side;
            if !limits::CHALLENGE_SIDES.contains(&side) {
                return Err(ProtoError::OutOfRange {
                    what: "challenge_side (a power of 4)",
                    lo: 16,
                    hi: 4096,
                    got: side,
                });
            }
            let most = limits::CHALLENGE_ROW.checked_div(side.saturating_mul(side)).unwrap_or(0);
            ranged("challenge_rounds", self.challenge_rounds, 1, most.min(limits::CHALLENGE_ROUNDS))?;
            ranged("challenge_validators", self.challenge_validators, 1, limits::CHALLENGE_VALIDATORS)?;
            ranged("challenge_blocks", self.challenge_blocks, 1, limits::CHALLENGE_BLOCKS)?;
        }
        Ok(())
    }
}

impl From<&Genesis> for wire::Genesis {
    fn from(genesis: &Genesis) -> Self {
        let validator = |validator: &GenesisValidator| wire::GenesisValidator {
            public_key: validator.public_key.to_vec(),
            power: validator.power,
        };
        let class = |class: &DeviceClass| {
            let DeviceClass { id, rate, collateral_ppm } = *class;
            wire::DeviceClass { id, rate, collateral_ppm }
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
            classes: genesis.classes.iter().map(class).collect(),
        }
    }
}
