//! Changes of the ledger, signed by the account that they speak for.

use crate::codec::{Canonical, Repeated, each};
use crate::error::ProtoError;
use crate::id::{ModelId, PublicKey};
use crate::receipt::Receipt;
use crate::signing::Payload;
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
}

/// How a model's answers are proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// Replaces the miner's former registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterMiner {
    /// `http(s)://host:port` of its Miner service.
    pub endpoint: String,
    /// Models that it serves, each once; none takes the miner out of service.
    pub model_ids: Vec<ModelId>,
}

/// Pays from the signer's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Receiver.
    pub to: PublicKey,
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
    const REPEATED: &'static [Repeated] =
        &[Repeated { what: "models of a miner", path: &[3, 2], limit: limits::MODELS_PER_MINER }];
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
        if sorted.is_sorted_by(|a, b| a < b) {
            Ok(Self { endpoint: wire.endpoint, model_ids })
        } else {
            Err(ProtoError::Duplicate { what: "model of a miner" })
        }
    }
}

impl From<&RegisterMiner> for wire::RegisterMiner {
    fn from(body: &RegisterMiner) -> Self {
        Self {
            endpoint: body.endpoint.clone(),
            model_ids: body.model_ids.iter().map(ModelId::to_vec).collect(),
        }
    }
}

impl TryFrom<wire::Transfer> for Transfer {
    type Error = ProtoError;

    fn try_from(wire: wire::Transfer) -> Result<Self, ProtoError> {
        let amount = crate::codec::ranged("amount", wire.amount, 1, u64::MAX)?;
        Ok(Self { to: wire.to.as_slice().try_into()?, amount })
    }
}

impl From<&Transfer> for wire::Transfer {
    fn from(body: &Transfer) -> Self {
        Self { to: body.to.to_vec(), amount: body.amount }
    }
}
