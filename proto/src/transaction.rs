//! Changes of the ledger, signed by the account that they speak for or by its operating key.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::challenge::Challenged;
use crate::codec::{Canonical, Repeated, each, ranged};
use crate::error::ProtoError;
use crate::hold::{Hold, Release};
use crate::id::{ModelId, PublicKey, SubnetId};
use crate::operating::SetOperatingKey;
use crate::receipt::Receipt;
use crate::scores::{CommitScores, RevealScores};
use crate::signing::Payload;
use crate::subnet::{RegisterSubnet, VoteParameter, WeighSubnets};
use crate::vote::Equivocation;
use crate::{limits, wire};

/// A change and its place in the order of its signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Strictly increasing per signer.
    pub nonce: u64,
    /// The change.
    pub body: Body,
}

/// The kinds of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A model becomes provable on this chain.
    RegisterModel(RegisterModel),
    /// A miner offers models at an endpoint.
    RegisterMiner(RegisterMiner),
    /// Base units change their owner.
    Transfer(Transfer),
    /// A validator attests of one assignment.
    Receipt(Box<Receipt>),
    /// Anyone proves that a validator signed what it may not.
    Equivocation(Equivocation),
    /// Base units leave circulation.
    Burn(Burn),
    /// Base units of the signer are locked.
    Lock(Lock),
    /// Base units that the signer locked are to be released.
    Unlock(Lock),
    /// A validator seals its scores.
    CommitScores(CommitScores),
    /// A validator shows the scores that it sealed.
    RevealScores(RevealScores),
    /// A task gets places, scores and a share of the emission of its own.
    RegisterSubnet(RegisterSubnet),
    /// A validator says how subnets are to share the emission.
    WeighSubnets(WeighSubnets),
    /// A validator votes for another number of the rules.
    VoteParameter(VoteParameter),
    /// A validator attests of a challenge that it was to set.
    Challenged(Challenged),
    /// A validator locks a job's price before it assigns the job.
    Hold(Hold),
    /// A validator gives a job's price back.
    Release(Release),
    /// The signer names the key that signs its work.
    SetOperatingKey(SetOperatingKey),
}

/// How a model's answers are proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum ProofSystem {
    /// Groth16 with a challenge, over BN254: a key of a setup, small proofs, weights that may stay secret.
    #[default]
    Groth16,
    /// halo2 over Pasta: no setup, larger proofs, a public model.
    Halo2,
}

impl std::fmt::Display for ProofSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Groth16 => "groth16",
            Self::Halo2 => "halo2",
        })
    }
}

impl std::str::FromStr for ProofSystem {
    type Err = ProtoError;

    fn from_str(text: &str) -> Result<Self, ProtoError> {
        match text {
            "groth16" => Ok(Self::Groth16),
            "halo2" => Ok(Self::Halo2),
            _ => Err(ProtoError::text("proof system", "groth16 or halo2", text)),
        }
    }
}

impl From<ProofSystem> for wire::ProofSystem {
    fn from(system: ProofSystem) -> Self {
        match system {
            ProofSystem::Groth16 => Self::Groth16,
            ProofSystem::Halo2 => Self::Halo2,
        }
    }
}

impl TryFrom<i32> for ProofSystem {
    type Error = ProtoError;

    fn try_from(value: i32) -> Result<Self, ProtoError> {
        match wire::ProofSystem::try_from(value) {
            Ok(wire::ProofSystem::Groth16) => Ok(Self::Groth16),
            Ok(wire::ProofSystem::Halo2) => Ok(Self::Halo2),
            Err(_) => Err(ProtoError::UnknownValue { what: "proof system", got: value }),
        }
    }
}

/// The verifying key stands for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterModel {
    /// Digest of the model.
    pub model_id: ModelId,
    /// Name for people, 1 to 256 bytes without control characters.
    pub name: String,
    /// Key file as written by `assay setup`.
    pub verifying_key: Vec<u8>,
    /// The proof system that the key is of.
    pub proof_system: ProofSystem,
    /// The subnet that it is served in.
    pub subnet: SubnetId,
}

/// Replaces the miner's former registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterMiner {
    /// `http(s)://host:port` of its Miner service.
    pub endpoint: String,
    /// Models that it serves, each once; none takes the miner out of service.
    pub model_ids: Vec<ModelId>,
    /// What it computes with.
    pub devices: Devices,
}

/// Devices of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Devices {
    /// A class of the genesis; 0: none.
    pub class: u32,
    /// How many; 0 if and only if there is no class.
    pub count: u32,
}

/// Pays from the signer's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Receiver.
    pub to: PublicKey,
    /// Base units, at least 1.
    pub amount: u64,
}

/// Takes base units of the signer out of circulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burn {
    /// Base units, at least 1.
    pub amount: u64,
}

/// What base units are locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// They stand behind this validator, and are slashed if it equivocates.
    Stake(PublicKey),
    /// They stand behind the signer's answers as a miner, and are slashed if one is invalid.
    Collateral,
    /// They pay for the signer's jobs.
    Escrow,
}

/// Base units of the signer and what they are locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// For this.
    pub purpose: Purpose,
    /// Base units, at least 1.
    pub amount: u64,
}

/// Checks a model's name.
pub fn check_name(name: &str) -> Result<(), ProtoError> {
    if name.is_empty() || name.len() > limits::NAME_BYTES || name.chars().any(char::is_control) {
        return Err(ProtoError::text("model name", "1 to 256 bytes without control characters", name));
    }
    Ok(())
}

/// Checks a miner's endpoint.
pub fn check_endpoint(endpoint: &str) -> Result<(), ProtoError> {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let fits =
        endpoint.len() <= limits::ENDPOINT_BYTES && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits || host.is_none_or(str::is_empty) {
        let expected = "http:// or https:// and a host, at most 256 printable ASCII characters";
        return Err(ProtoError::text("endpoint", expected, endpoint));
    }
    Ok(())
}

impl Canonical for Transaction {
    type Wire = wire::Transaction;
    const NAME: &'static str = "transaction";
    const MAX_BYTES: usize = limits::TRANSACTION_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "models of a miner", path: &[3, 2], limit: limits::MODELS_PER_MINER },
        Repeated { what: "scores", path: &[11, 2], limit: limits::SCORES },
        Repeated { what: "models of a subnet", path: &[12, 2], limit: limits::SUBNET_MODELS },
        Repeated { what: "numbers of a subnet", path: &[12, 5], limit: limits::SUBNET_NUMBERS },
        Repeated { what: "weights of subnets", path: &[13, 1], limit: limits::SUBNETS + 1 },
    ];
}

impl Payload for Transaction {
    const KIND: &'static str = "Transaction";
}

impl TryFrom<wire::Transaction> for Transaction {
    type Error = ProtoError;

    fn try_from(wire: wire::Transaction) -> Result<Self, ProtoError> {
        let body = match wire.body.ok_or(ProtoError::Missing { what: "body of a transaction" })? {
            wire::transaction::Body::RegisterModel(body) => Body::RegisterModel(body.try_into()?),
            wire::transaction::Body::RegisterMiner(body) => Body::RegisterMiner(body.try_into()?),
            wire::transaction::Body::Transfer(body) => Body::Transfer(body.try_into()?),
            wire::transaction::Body::Receipt(body) => Body::Receipt(Box::new(body.try_into()?)),
            wire::transaction::Body::Equivocation(body) => Body::Equivocation(body.try_into()?),
            wire::transaction::Body::Burn(body) => Body::Burn(body.try_into()?),
            wire::transaction::Body::Lock(body) => Body::Lock(body.try_into()?),
            wire::transaction::Body::Unlock(body) => Body::Unlock(body.try_into()?),
            wire::transaction::Body::CommitScores(body) => Body::CommitScores(body.try_into()?),
            wire::transaction::Body::RevealScores(body) => Body::RevealScores(body.try_into()?),
            wire::transaction::Body::RegisterSubnet(body) => Body::RegisterSubnet(body.try_into()?),
            wire::transaction::Body::WeighSubnets(body) => Body::WeighSubnets(body.try_into()?),
            wire::transaction::Body::VoteParameter(body) => Body::VoteParameter(body.try_into()?),
            wire::transaction::Body::Challenged(body) => Body::Challenged(body.try_into()?),
            wire::transaction::Body::Hold(body) => Body::Hold(body.try_into()?),
            wire::transaction::Body::Release(body) => Body::Release(body.try_into()?),
            wire::transaction::Body::SetOperatingKey(body) => Body::SetOperatingKey(body.try_into()?),
        };
        Ok(Self { nonce: wire.nonce, body })
    }
}

impl From<&Transaction> for wire::Transaction {
    fn from(transaction: &Transaction) -> Self {
        let body = match &transaction.body {
            Body::RegisterModel(body) => wire::transaction::Body::RegisterModel(body.into()),
            Body::RegisterMiner(body) => wire::transaction::Body::RegisterMiner(body.into()),
            Body::Transfer(body) => wire::transaction::Body::Transfer(body.into()),
            Body::Receipt(body) => wire::transaction::Body::Receipt(body.as_ref().into()),
            Body::Equivocation(body) => wire::transaction::Body::Equivocation(body.into()),
            Body::Burn(body) => wire::transaction::Body::Burn(body.into()),
            Body::Lock(body) => wire::transaction::Body::Lock(body.into()),
            Body::Unlock(body) => wire::transaction::Body::Unlock(body.into()),
            Body::CommitScores(body) => wire::transaction::Body::CommitScores(body.into()),
            Body::RevealScores(body) => wire::transaction::Body::RevealScores(body.into()),
            Body::RegisterSubnet(body) => wire::transaction::Body::RegisterSubnet(body.into()),
            Body::WeighSubnets(body) => wire::transaction::Body::WeighSubnets(body.into()),
            Body::VoteParameter(body) => wire::transaction::Body::VoteParameter(body.into()),
            Body::Challenged(body) => wire::transaction::Body::Challenged(body.into()),
            Body::Hold(body) => wire::transaction::Body::Hold(body.into()),
            Body::Release(body) => wire::transaction::Body::Release(body.into()),
            Body::SetOperatingKey(body) => wire::transaction::Body::SetOperatingKey(body.into()),
        };
        Self { nonce: transaction.nonce, body: Some(body) }
    }
}

impl TryFrom<wire::RegisterModel> for RegisterModel {
    type Error = ProtoError;

    fn try_from(wire: wire::RegisterModel) -> Result<Self, ProtoError> {
        check_name(&wire.name)?;
        if wire.verifying_key.len() > limits::VERIFYING_KEY_BYTES {
            let (limit, got) = (limits::VERIFYING_KEY_BYTES, wire.verifying_key.len());
            return Err(ProtoError::TooLong { what: "verifying key", limit, got });
        }
        Ok(Self {
            model_id: wire.model_id.as_slice().try_into()?,
            name: wire.name,
            verifying_key: wire.verifying_key,
            proof_system: wire.proof_system.try_into()?,
            subnet: SubnetId(wire.subnet),
        })
    }
}

impl From<&RegisterModel> for wire::RegisterModel {
    fn from(body: &RegisterModel) -> Self {
        Self {
            model_id: body.model_id.to_vec(),
            name: body.name.clone(),
            verifying_key: body.verifying_key.clone(),
            proof_system: wire::ProofSystem::from(body.proof_system).into(),
            subnet: body.subnet.0,
        }
    }
}

impl TryFrom<wire::RegisterMiner> for RegisterMiner {
    type Error = ProtoError;

    fn try_from(wire: wire::RegisterMiner) -> Result<Self, ProtoError> {
        check_endpoint(&wire.endpoint)?;
        let what = "models of a miner";
        let model_ids = each(wire.model_ids, what, limits::MODELS_PER_MINER, |id| id.as_slice().try_into())?;
        let mut sorted: Vec<ModelId> = model_ids.clone();
        sorted.sort_unstable();
        if !sorted.is_sorted_by(|a, b| a < b) {
            return Err(ProtoError::Duplicate { what: "model of a miner" });
        }
        let (class, count) = (wire.device_class, wire.devices);
        let (least, most) = if class == 0 { (0, 0) } else { (1, limits::DEVICES) };
        ranged("number of devices", count.into(), least, most)?;
        Ok(Self { endpoint: wire.endpoint, model_ids, devices: Devices { class, count } })
    }
}

impl From<&RegisterMiner> for wire::RegisterMiner {
    fn from(body: &RegisterMiner) -> Self {
        Self {
            endpoint: body.endpoint.clone(),
            model_ids: body.model_ids.iter().map(ModelId::to_vec).collect(),
            device_class: body.devices.class,
            devices: body.devices.count,
        }
    }
}

impl TryFrom<wire::Transfer> for Transfer {
    type Error = ProtoError;

    fn try_from(wire: wire::Transfer) -> Result<Self, ProtoError> {
        let amount = ranged("amount", wire.amount, 1, u64::MAX)?;
        Ok(Self { to: wire.to.as_slice().try_into()?, amount })
    }
}

impl From<&Transfer> for wire::Transfer {
    fn from(body: &Transfer) -> Self {
        Self { to: body.to.to_vec(), amount: body.amount }
    }
}

impl TryFrom<wire::Burn> for Burn {
    type Error = ProtoError;

    fn try_from(wire: wire::Burn) -> Result<Self, ProtoError> {
        Ok(Self { amount: ranged("amount", wire.amount, 1, u64::MAX)? })
    }
}

impl From<&Burn> for wire::Burn {
    fn from(body: &Burn) -> Self {
        Self { amount: body.amount }
    }
}

impl Purpose {
    /// Of its kind and the validator, whose bytes are there for a stake only.
    pub(crate) fn of_wire(kind: i32, validator: &[u8]) -> Result<Self, ProtoError> {
        let alone = |purpose| match validator {
            [] => Ok(purpose),
            _ => Err(ProtoError::Length { what: "validator of a lock", expected: 0, got: validator.len() }),
        };
        match wire::Purpose::try_from(kind) {
            Ok(wire::Purpose::Stake) => Ok(Self::Stake(validator.try_into()?)),
            Ok(wire::Purpose::Collateral) => alone(Self::Collateral),
            Ok(wire::Purpose::Escrow) => alone(Self::Escrow),
            Ok(wire::Purpose::Unspecified) | Err(_) => {
                Err(ProtoError::UnknownValue { what: "purpose", got: kind })
            }
        }
    }

    /// Its kind and the bytes of the validator, as in a message.
    pub fn to_wire(&self) -> (i32, Vec<u8>) {
        match self {
            Self::Stake(validator) => (wire::Purpose::Stake.into(), validator.to_vec()),
            Self::Collateral => (wire::Purpose::Collateral.into(), Vec::new()),
            Self::Escrow => (wire::Purpose::Escrow.into(), Vec::new()),
        }
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stake(validator) => write!(f, "stake on {validator}"),
            Self::Collateral => f.write_str("collateral"),
            Self::Escrow => f.write_str("escrow"),
        }
    }
}

impl TryFrom<wire::Lock> for Lock {
    type Error = ProtoError;

    fn try_from(wire: wire::Lock) -> Result<Self, ProtoError> {
        let amount = ranged("amount", wire.amount, 1, u64::MAX)?;
        Ok(Self { purpose: Purpose::of_wire(wire.purpose, &wire.validator)?, amount })
    }
}

impl From<&Lock> for wire::Lock {
    fn from(body: &Lock) -> Self {
        let (purpose, validator) = body.purpose.to_wire();
        Self { purpose, validator, amount: body.amount }
    }
}
