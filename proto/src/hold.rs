//! A job's price, locked on the ledger while the job runs.

use std::fmt;

use crate::codec::required;
use crate::error::ProtoError;
use crate::id::PublicKey;
use crate::signing::Envelope;
use crate::wire;

/// Locks a job's price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The job, signed by the client.
    pub job: Envelope,
}

/// Why a job ended without a verified answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// Nobody serves the model, or nobody has room.
    NoMiner,
    /// Every attempt failed.
    MinersFailed,
}

/// Gives a job's price back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Whose it is.
    pub client: PublicKey,
    /// Of the job.
    pub nonce: u64,
    /// Why.
    pub reason: ReleaseReason,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMiner => "no miner",
            Self::MinersFailed => "miners failed",
        })
    }
}

impl TryFrom<wire::Hold> for Hold {
    type Error = ProtoError;

    fn try_from(wire: wire::Hold) -> Result<Self, ProtoError> {
        Ok(Self { job: required(wire.job, "job of a hold")? })
    }
}

impl From<&Hold> for wire::Hold {
    fn from(body: &Hold) -> Self {
        Self { job: Some((&body.job).into()) }
    }
}

impl TryFrom<wire::Release> for Release {
    type Error = ProtoError;

    fn try_from(wire: wire::Release) -> Result<Self, ProtoError> {
        let reason = match wire::ReleaseReason::try_from(wire.reason) {
            Ok(wire::ReleaseReason::NoMiner) => ReleaseReason::NoMiner,
            Ok(wire::ReleaseReason::MinersFailed) => ReleaseReason::MinersFailed,
            Ok(wire::ReleaseReason::Unspecified) | Err(_) => {
                return Err(ProtoError::UnknownValue { what: "reason of a release", got: wire.reason });
            }
        };
        Ok(Self { client: wire.client.as_slice().try_into()?, nonce: wire.nonce, reason })
    }
}

impl From<&Release> for wire::Release {
    fn from(body: &Release) -> Self {
        let reason = match body.reason {
            ReleaseReason::NoMiner => wire::ReleaseReason::NoMiner,
            ReleaseReason::MinersFailed => wire::ReleaseReason::MinersFailed,
        };
        Self { client: body.client.to_vec(), nonce: body.nonce, reason: reason.into() }
    }
}
