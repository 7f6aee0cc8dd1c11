//! A job, a miner's output and a miner's proof.
//!
//! ```text
//! job_id  = BLAKE3-derive_key("assay.v1 job id", len(chain_id) || chain_id || client || payload)
//! binding = BLAKE3-derive_key("assay.v1 job binding", len(chain_id) || chain_id || job_id || miner)
//! ```
//!
//! The payload holds the client's nonce, so two jobs never share an id. The binding is the public input that ties a
//! proof to one job and one miner: a proof copied from another job or another miner does not verify.

use crate::codec::{Canonical, Repeated, each, ranged};
use crate::error::ProtoError;
use crate::id::{ChainId, JobId, ModelId, PublicKey};
use crate::signing::{Payload, Signed};
use crate::{limits, wire};

/// How urgent a job is, and with it how dear at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Goes after the others.
    Economy,
    /// The common one.
    #[default]
    Standard,
    /// Goes before the others.
    Priority,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Economy => "economy",
            Self::Standard => "standard",
            Self::Priority => "priority",
        })
    }
}

impl std::str::FromStr for Tier {
    type Err = ProtoError;

    fn from_str(text: &str) -> Result<Self, ProtoError> {
        match text {
            "economy" => Ok(Self::Economy),
            "standard" => Ok(Self::Standard),
            "priority" => Ok(Self::Priority),
            _ => Err(ProtoError::text("tier", "economy, standard or priority", text)),
        }
    }
}

impl From<Tier> for wire::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Economy => Self::Economy,
            Tier::Standard => Self::Standard,
            Tier::Priority => Self::Priority,
        }
    }
}

impl TryFrom<i32> for Tier {
    type Error = ProtoError;

    fn try_from(value: i32) -> Result<Self, ProtoError> {
        match wire::Tier::try_from(value) {
            Ok(wire::Tier::Economy) => Ok(Self::Economy),
            Ok(wire::Tier::Standard) => Ok(Self::Standard),
            Ok(wire::Tier::Priority) => Ok(Self::Priority),
            Err(_) => Err(ProtoError::UnknownValue { what: "tier", got: value }),
        }
    }
}

/// What a client wants computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The model.
    pub model_id: ModelId,
    /// Integers of each input port, row-major.
    pub inputs: Vec<Vec<i32>>,
    /// Used once per client.
    pub nonce: u64,
    /// Base units paid on a verified proof.
    pub max_price: u64,
    /// Milliseconds from assignment until the proof, `1..=limits::DEADLINE_MS`.
    pub deadline_ms: u64,
    /// How urgent it is.
    pub tier: Tier,
}

/// A miner's answer, signed before it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The job that it answers.
    pub job_id: JobId,
    /// Integers of each output port, row-major.
    pub outputs: Vec<Vec<i32>>,
    /// Microseconds of the inference as the miner measured them.
    pub compute_us: u64,
}

/// A miner's proof of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The job that was answered.
    pub job_id: JobId,
    /// Canonical bytes of the proof system.
    pub proof: Vec<u8>,
    /// Microseconds of proving as the miner measured them.
    pub prove_us: u64,
    /// Microseconds from the job's arrival to this signature, by the miner's clock; 0: it does not say.
    pub elapsed_us: u64,
}

impl JobId {
    /// The id of the job that `client` signed as `payload`.
    pub fn derive(chain: &ChainId, client: &PublicKey, payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("assay.v1 job id");
        hasher.update(&chain.prefixed()).update(&client.0).update(payload);
        Self(hasher.finalize().into())
    }
}

impl Signed<Job> {
    /// The id of this job.
    pub fn id(&self, chain: &ChainId) -> JobId {
        JobId::derive(chain, &self.signer(), &self.envelope().payload)
    }
}

/// The 32-byte public input of a proof by `miner` for the job.
pub fn job_binding(chain: &ChainId, job_id: &JobId, miner: &PublicKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 job binding");
    hasher.update(&chain.prefixed()).update(&job_id.0).update(&miner.0);
    hasher.finalize().into()
}

/// Values of every port within the limits on ports and on elements together.
fn tensors(what: &'static str, wire: Vec<wire::Tensor>) -> Result<Vec<Vec<i32>>, ProtoError> {
    let elements: usize = wire.iter().map(|tensor| tensor.values.len()).sum();
    if elements > limits::ELEMENTS {
        return Err(ProtoError::TooMany { what, limit: limits::ELEMENTS, got: elements });
    }
    each(wire, what, limits::PORTS, |tensor| Ok(tensor.values))
}

fn to_wire(tensors: &[Vec<i32>]) -> Vec<wire::Tensor> {
    tensors.iter().map(|values| wire::Tensor { values: values.clone() }).collect()
}

impl Canonical for Job {
    type Wire = wire::Job;
    const NAME: &'static str = "job";
    const MAX_BYTES: usize = limits::JOB_BYTES;
    const REPEATED: &'static [Repeated] =
        &[Repeated { what: "inputs of a job", path: &[2], limit: limits::PORTS }];
}

impl Payload for Job {
    const KIND: &'static str = "Job";
}

impl TryFrom<wire::Job> for Job {
    type Error = ProtoError;

    fn try_from(wire: wire::Job) -> Result<Self, ProtoError> {
        Ok(Self {
            model_id: wire.model_id.as_slice().try_into()?,
            inputs: tensors("inputs of a job", wire.inputs)?,
            nonce: wire.nonce,
            max_price: wire.max_price,
            deadline_ms: ranged("deadline in ms", wire.deadline_ms, 1, limits::DEADLINE_MS)?,
            tier: wire.tier.try_into()?,
        })
    }
}

impl From<&Job> for wire::Job {
    fn from(job: &Job) -> Self {
        Self {
            model_id: job.model_id.to_vec(),
            inputs: to_wire(&job.inputs),
            nonce: job.nonce,
            max_price: job.max_price,
            deadline_ms: job.deadline_ms,
            tier: wire::Tier::from(job.tier).into(),
        }
    }
}

impl Canonical for Output {
    type Wire = wire::Output;
    const NAME: &'static str = "output";
    const MAX_BYTES: usize = limits::OUTPUT_BYTES;
    const REPEATED: &'static [Repeated] =
        &[Repeated { what: "outputs of a job", path: &[2], limit: limits::PORTS }];
}

impl Payload for Output {
    const KIND: &'static str = "Output";
}

impl TryFrom<wire::Output> for Output {
    type Error = ProtoError;

    fn try_from(wire: wire::Output) -> Result<Self, ProtoError> {
        Ok(Self {
            job_id: wire.job_id.as_slice().try_into()?,
            outputs: tensors("outputs of a job", wire.outputs)?,
            compute_us: wire.compute_us,
        })
    }
}

impl From<&Output> for wire::Output {
    fn from(output: &Output) -> Self {
        Self {
            job_id: output.job_id.to_vec(),
            outputs: to_wire(&output.outputs),
            compute_us: output.compute_us,
        }
    }
}

impl Canonical for Proof {
    type Wire = wire::Proof;
    const NAME: &'static str = "proof";
    const MAX_BYTES: usize = limits::PROOF_PAYLOAD_BYTES;
}

impl Payload for Proof {
    const KIND: &'static str = "Proof";
}

impl TryFrom<wire::Proof> for Proof {
    type Error = ProtoError;

    fn try_from(wire: wire::Proof) -> Result<Self, ProtoError> {
        if wire.proof.len() > limits::PROOF_BYTES {
            let got = wire.proof.len();
            return Err(ProtoError::TooLong { what: "proof bytes", limit: limits::PROOF_BYTES, got });
        }
        let wire::Proof { job_id, proof, prove_us, elapsed_us } = wire;
        Ok(Self { job_id: job_id.as_slice().try_into()?, proof, prove_us, elapsed_us })
    }
}

impl From<&Proof> for wire::Proof {
    fn from(proof: &Proof) -> Self {
        let Proof { job_id, ref proof, prove_us, elapsed_us } = *proof;
        Self { job_id: job_id.to_vec(), proof: proof.clone(), prove_us, elapsed_us }
    }
}
