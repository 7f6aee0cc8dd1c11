//! What a validator attests of one assignment.

use std::fmt;

use crate::codec::{Canonical, required};
use crate::error::ProtoError;
use crate::id::PublicKey;
use crate::signing::Envelope;
use crate::{limits, wire};

/// How an assignment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The proof holds for this job, this miner and this output, in time.
    Verified,
    /// A signed output whose signed proof does not hold.
    InvalidProof,
    /// A signed output that does not fit the model.
    Malformed,
    /// A proof that holds, past the deadline.
    Late,
    /// No output, or no proof, that the miner signed for this job.
    Absent,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::InvalidProof => "invalid proof",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Absent => "absent",
        })
    }
}

/// What was exchanged in one assignment, as the validator saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The job, signed by the client.
    pub job: Envelope,
    /// The miner that was assigned.
    pub miner: PublicKey,
    /// The output, signed by the miner.
    pub output: Option<Envelope>,
    /// The proof, signed by the miner.
    pub proof: Option<Envelope>,
    /// Unix time of the assignment in milliseconds.
    pub assigned_at_ms: u64,
    /// Microseconds from assignment to the output; 0 if and only if there is none.
    pub output_us: u64,
    /// Microseconds from assignment to the proof; 0 if and only if there is none.
    pub proof_us: u64,
    /// Microseconds until the miner answered a ping that went with the job; 0 if it did not before the proof.
    pub ping_us: u64,
}

/// Evidence and the verdict that the validator drew from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was exchanged.
    pub evidence: Evidence,
    /// What follows from it.
    pub verdict: Verdict,
}

impl From<Verdict> for wire::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Verified => Self::Verified,
            Verdict::InvalidProof => Self::InvalidProof,
            Verdict::Malformed => Self::Malformed,
            Verdict::Late => Self::Late,
            Verdict::Absent => Self::Absent,
        }
    }
}

impl TryFrom<i32> for Verdict {
    type Error = ProtoError;

    fn try_from(value: i32) -> Result<Self, ProtoError> {
        match wire::Verdict::try_from(value) {
            Ok(wire::Verdict::Verified) => Ok(Self::Verified),
            Ok(wire::Verdict::InvalidProof) => Ok(Self::InvalidProof),
            Ok(wire::Verdict::Malformed) => Ok(Self::Malformed),
            Ok(wire::Verdict::Late) => Ok(Self::Late),
            Ok(wire::Verdict::Absent) => Ok(Self::Absent),
            Ok(wire::Verdict::Unspecified) | Err(_) => {
                Err(ProtoError::UnknownValue { what: "verdict", got: value })
            }
        }
    }
}

impl Canonical for Receipt {
    type Wire = wire::Receipt;
    const NAME: &'static str = "receipt";
    const MAX_BYTES: usize = limits::TRANSACTION_BYTES;
}

impl TryFrom<wire::Receipt> for Receipt {
    type Error = ProtoError;

    fn try_from(wire: wire::Receipt) -> Result<Self, ProtoError> {
        Ok(Self {
            evidence: Evidence {
                job: required(wire.job, "job of a receipt")?,
                miner: wire.miner.as_slice().try_into()?,
                output: wire.output.map(Envelope::try_from).transpose()?,
                proof: wire.proof.map(Envelope::try_from).transpose()?,
                assigned_at_ms: wire.assigned_at_ms,
                output_us: wire.output_us,
                proof_us: wire.proof_us,
                ping_us: wire.ping_us,
            },
            verdict: wire.verdict.try_into()?,
        })
    }
}

impl From<&Receipt> for wire::Receipt {
    fn from(receipt: &Receipt) -> Self {
        let evidence = &receipt.evidence;
        Self {
            job: Some((&evidence.job).into()),
            miner: evidence.miner.to_vec(),
            output: evidence.output.as_ref().map(Into::into),
            proof: evidence.proof.as_ref().map(Into::into),
            verdict: wire::Verdict::from(receipt.verdict).into(),
            assigned_at_ms: evidence.assigned_at_ms,
            output_us: evidence.output_us,
            proof_us: evidence.proof_us,
            ping_us: evidence.ping_us,
        }
    }
}
