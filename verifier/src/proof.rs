//! Proofs of two systems behind one question: does this proof hold for this statement under this key?
//!
//! A key says which system it is of ([`ProofSystem`]); everything else is told apart by it. [`groth16`] has keys of a setup
//! and proofs of 160 bytes; [`halo2`] has no setup, its key is the model itself.

pub mod groth16;
pub mod halo2;

use assay_circuits::commitment::Commitment;
use assay_circuits::error::ModelError;
use assay_circuits::ir::{ModelId, Port, Visibility};
pub use assay_proto::ProofSystem;

pub use groth16::{KeyOrigin, KeyParts, PROOF_BYTES, PointError, challenge, encode_proof};

/// Limits of keys.
pub mod limits {
    /// Bytes of a verifying key.
    pub const KEY_BYTES: usize = 64 << 20;
    /// Public values of a statement.
    pub const PUBLIC_VALUES: usize = 1 << 20;
    /// Greatest `k` of a halo2 circuit: its parameters take a few minutes to make, and a proof a second to check.
    pub const HALO2_K: u32 = 18;
}

/// What a statement says of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortValue {
    /// Its integers.
    Public(Vec<i32>),
    /// A hiding commitment to them.
    Committed(Commitment),
}

impl From<Vec<i32>> for PortValue {
    fn from(values: Vec<i32>) -> Self {
        Self::Public(values)
    }
}

impl PortValue {
    /// The integers, unless they are committed to.
    pub fn public(&self) -> Option<&[i32]> {
        match self {
            Self::Public(values) => Some(values),
            Self::Committed(_) => None,
        }
    }
}

/// What a proof is about: these inputs give these outputs under the key's model, for this job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Digest that names the client, its nonce and the miner.
    pub job: [u8; 32],
    /// Every input port.
    pub inputs: Vec<PortValue>,
    /// Every output port.
    pub outputs: Vec<PortValue>,
}

impl Statement {
    /// A statement that shows every value.
    pub fn public(job: [u8; 32], inputs: Vec<Vec<i32>>, outputs: Vec<Vec<i32>>) -> Self {
        let ports = |tensors: Vec<Vec<i32>>| tensors.into_iter().map(PortValue::from).collect();
        Self { job, inputs: ports(inputs), outputs: ports(outputs) }
    }
}

/// Why a key or a proof is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The key's bytes are not a verifying key of this version.
    #[error("not a verifying key of this version: {0}")]
    KeyFormat(String),
    /// A point of the key is not acceptable.
    #[error("verifying key: point {name}: {source}")]
    KeyPoint {
        /// Which point.
        name: &'static str,
        /// What is wrong with it.
        source: PointError,
    },
    /// Two elements of the key coincide, or one is a generator: its setup was not honest.
    #[error("verifying key: {0}")]
    KeyDegenerate(&'static str),
    /// The model of a key cannot be proven in this system.
    #[error("verifying key: {0}")]
    KeyModel(ModelError),
    /// The number of bytes is wrong.
    #[error("a proof has {expected} bytes, got {got}")]
    Length {
        /// Bytes of every proof under the key.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
    /// A point of the proof is not acceptable.
    #[error("proof: point {name}: {source}")]
    Point {
        /// Which point.
        name: &'static str,
        /// What is wrong with it.
        source: PointError,
    },
    /// A point or a number of the proof is not in canonical form.
    #[error("proof: {0}")]
    Encoding(std::io::Error),
    /// The number of tensors differs from the model's.
    #[error("statement: expected {expected} {side}, got {got}")]
    Ports {
        /// "inputs" or "outputs".
        side: &'static str,
        /// Ports of the model.
        expected: usize,
        /// Tensors of the statement.
        got: usize,
    },
    /// A tensor does not fit its port.
    #[error("statement: {0}")]
    Statement(ModelError),
    /// The model commits to a port that the statement shows, or the other way round.
    #[error("statement: port {port} is to be {expected}")]
    Visibility {
        /// Name of the port.
        port: String,
        /// "public" or "committed".
        expected: &'static str,
    },
    /// A commitment is no canonical field element.
    #[error("statement: the commitment to port {port} is no field element")]
    Commitment {
        /// Name of the port.
        port: String,
    },
    /// The equation does not hold.
    #[error("the proof does not hold for this statement under this key")]
    Invalid,
}

/// The first proof of a batch that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("proof {index} of the batch")]
pub struct BatchError {
    /// Its index.
    pub index: usize,
    /// Why.
    pub source: ProofError,
}

/// A verifying key: what stands for a model on the ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub enum VerifyingKey {
    /// Of a setup.
    Groth16(groth16::VerifyingKey),
    /// The public model.
    Halo2(halo2::VerifyingKey),
}

impl VerifyingKey {
    /// Decodes a key file, which begins with the magic of its system, and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > limits::KEY_BYTES {
            let reason = format!("{} bytes, the limit is {}", bytes.len(), limits::KEY_BYTES);
            return Err(ProofError::KeyFormat(reason));
        }
        match system_of(bytes) {
            ProofSystem::Groth16 => groth16::VerifyingKey::decode(bytes).map(Self::Groth16),
            ProofSystem::Halo2 => halo2::VerifyingKey::decode(bytes).map(Self::Halo2),
        }
    }

    /// The proof system.
    pub fn system(&self) -> ProofSystem {
        match self {
            Self::Groth16(_) => ProofSystem::Groth16,
            Self::Halo2(_) => ProofSystem::Halo2,
        }
    }

    /// The model that this key stands for.
    pub fn model_id(&self) -> ModelId {
        match self {
            Self::Groth16(key) => key.model_id(),
            Self::Halo2(key) => key.model_id(),
        }
    }

    /// The model's inputs.
    pub fn inputs(&self) -> &[Port] {
        match self {
            Self::Groth16(key) => key.inputs(),
            Self::Halo2(key) => key.graph().inputs(),
        }
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[Port] {
        match self {
            Self::Groth16(key) => key.outputs(),
            Self::Halo2(key) => key.outputs(),
        }
    }

    /// Whether statements show every value, so that anyone who reads one knows inputs and outputs.
    pub fn is_public(&self) -> bool {
        self.inputs().iter().chain(self.outputs()).all(|port| port.visibility == Visibility::Public)
    }

    /// How the key was made, for people.
    pub fn origin(&self) -> String {
        match self {
            Self::Groth16(key) => key.origin().to_string(),
            Self::Halo2(_) => "nobody: a transparent system has no secrets".into(),
        }
    }

    /// Whether the key comes from a fixed seed, so that anyone can forge.
    pub fn is_test_key(&self) -> bool {
        match self {
            Self::Groth16(key) => key.is_test_key(),
            Self::Halo2(_) => false,
        }
    }

    /// BLAKE3 of the key file.
    pub fn digest(&self) -> [u8; 32] {
        match self {
            Self::Groth16(key) => key.digest(),
            Self::Halo2(key) => key.digest(),
        }
    }

    /// Checks that a statement has this model's ports, lengths and ranges.
    pub fn check(&self, statement: &Statement) -> Result<(), ProofError> {
        check_side("inputs", self.inputs(), &statement.inputs)?;
        check_side("outputs", self.outputs(), &statement.outputs)
    }
}

/// The system that a key is of, by its first bytes. What is no key of any system is refused as one of Groth16.
pub fn system_of(key: &[u8]) -> ProofSystem {
    if key.starts_with(halo2::MAGIC) { ProofSystem::Halo2 } else { ProofSystem::Groth16 }
}

/// Checks one proof.
pub fn verify(key: &VerifyingKey, statement: &Statement, proof: &[u8]) -> Result<(), ProofError> {
    key.check(statement)?;
    match key {
        VerifyingKey::Groth16(key) => groth16::verify(key, statement, proof),
        VerifyingKey::Halo2(key) => halo2::verify(key, statement, proof),
    }
}

/// Checks many proofs of one key at once. If the batch fails, the first culprit is named.
pub fn verify_batch(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Result<(), BatchError> {
    // A statement that does not fit is a culprit only if every proof before it holds.
    let misfit = items.iter().enumerate().find_map(|(index, (statement, _))| {
        key.check(statement).err().map(|source| BatchError { index, source })
    });
    let fitting = misfit.as_ref().map_or(items, |misfit| items.get(..misfit.index).unwrap_or(items));
    match key {
        VerifyingKey::Groth16(key) => groth16::verify_batch(key, fitting)?,
        VerifyingKey::Halo2(key) => halo2::verify_batch(key, fitting)?,
    }
    misfit.map_or(Ok(()), Err)
}

/// Whether all proofs of one key hold: [`verify_batch`] without the search for a culprit.
pub fn batch_holds(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> bool {
    items.iter().all(|(statement, _)| key.check(statement).is_ok())
        && match key {
            VerifyingKey::Groth16(key) => groth16::holds(key, items),
            VerifyingKey::Halo2(key) => halo2::verify_batch(key, items).is_ok(),
        }
}

fn check_side(side: &'static str, ports: &[Port], tensors: &[PortValue]) -> Result<(), ProofError> {
    if ports.len() != tensors.len() {
        return Err(ProofError::Ports { side, expected: ports.len(), got: tensors.len() });
    }
    ports.iter().zip(tensors).try_for_each(|(port, value)| check_port(port, value))
}

fn check_port(port: &Port, value: &PortValue) -> Result<(), ProofError> {
    let wrong = |expected| ProofError::Visibility { port: port.name.clone(), expected };
    match (port.visibility, value) {
        (Visibility::Public, PortValue::Public(values)) => port.check(values).map_err(ProofError::Statement),
        (Visibility::Committed, PortValue::Committed(commitment)) if commitment.element().is_some() => Ok(()),
        (Visibility::Committed, PortValue::Committed(_)) => {
            Err(ProofError::Commitment { port: port.name.clone() })
        }
        (Visibility::Public, PortValue::Committed(_)) => Err(wrong("public")),
        (Visibility::Committed, PortValue::Public(_)) => Err(wrong("committed")),
    }
}

fn absorb(hash: &mut blake3::Hasher, bytes: &[u8]) {
    hash.update(&length(bytes.len()));
    hash.update(bytes);
}

fn absorb_statement(hash: &mut blake3::Hasher, statement: &Statement) {
    hash.update(&statement.job);
    for side in [&statement.inputs, &statement.outputs] {
        hash.update(&length(side.len()));
        for port in side {
            match port {
                PortValue::Public(values) => {
                    hash.update(&[0]);
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    absorb(hash, &bytes);
                }
                PortValue::Committed(commitment) => {
                    hash.update(&[1]);
                    hash.update(&commitment.0);
                }
            }
        }
    }
}

fn length(length: usize) -> [u8; 8] {
    // usize is at most 64 bits wide on every platform that Rust supports.
    u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes()
}
