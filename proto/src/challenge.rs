//! Challenges of a miner's device: what a validator asks, what the miner signs, what the validator attests.
//!
//! ```text
//! id    = BLAKE3-derive_key("assay.v1 challenge", len(chain_id) || chain_id || asker || signature || payload)
//! seed  = the first 8 bytes of the id, little-endian
//! ```
//!
//! The payload follows from the log; the signature is what nobody can tell before the asker has signed. So the miner cannot
//! begin early, and everybody can compute the seed afterwards.

use std::fmt;

use crate::codec::{Canonical, ranged, required};
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, ChallengeId, Height, PublicKey};
use crate::signing::{Envelope, Payload, Signed};
use crate::{limits, wire};

/// Bytes that stand for one row in an answer.
pub const ROW_BYTES: usize = 8;

/// Work that a validator sets a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Who is asked.
    pub miner: PublicKey,
    /// Height of the block whose hash chose the miner.
    pub height: Height,
    /// That hash.
    pub block_hash: BlockHash,
    /// Side of the matrices, one of [`limits::CHALLENGE_SIDES`].
    pub side: u32,
    /// Number of products; `side^2 * rounds` is at most [`limits::CHALLENGE_ROW`].
    pub rounds: u32,
}

/// A miner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeAnswer {
    /// What it answers.
    pub challenge: ChallengeId,
    /// Class of the device that computed it.
    pub device_class: u32,
    /// [`ROW_BYTES`] a row of the last matrix.
    pub rows: Vec<[u8; ROW_BYTES]>,
    /// Microseconds of the computation as the miner measured them.
    pub compute_us: u64,
}

/// How a challenge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A right answer in time.
    Online,
    /// A right answer, slower than the class allows.
    Slow,
    /// The miner signed another class, or rows that the work does not give.
    WrongDevice,
    /// No answer that the miner signed.
    Offline,
}

/// What a validator attests of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenged {
    /// The challenge, signed by the validator.
    pub challenge: Envelope,
    /// The answer, signed by the miner.
    pub answer: Option<Envelope>,
    /// How it ended.
    pub outcome: Outcome,
    /// Microseconds from sending the challenge to the answer; 0 if and only if there is none.
    pub answer_us: u64,
    /// Microseconds of it that the network takes; at most `answer_us`.
    pub network_us: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Slow => "slow",
            Self::WrongDevice => "wrong device",
            Self::Offline => "offline",
        })
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Online => Self::Online,
            Outcome::Slow => Self::Slow,
            Outcome::WrongDevice => Self::WrongDevice,
            Outcome::Offline => Self::Offline,
        }
    }
}

impl TryFrom<i32> for Outcome {
    type Error = ProtoError;

    fn try_from(value: i32) -> Result<Self, ProtoError> {
        match wire::Outcome::try_from(value) {
            Ok(wire::Outcome::Online) => Ok(Self::Online),
            Ok(wire::Outcome::Slow) => Ok(Self::Slow),
            Ok(wire::Outcome::WrongDevice) => Ok(Self::WrongDevice),
            Ok(wire::Outcome::Offline) => Ok(Self::Offline),
            Ok(wire::Outcome::Unspecified) | Err(_) => {
                Err(ProtoError::UnknownValue { what: "outcome", got: value })
            }
        }
    }
}

impl Signed<Challenge> {
    /// The id of this challenge.
    pub fn id(&self, chain: &ChainId) -> ChallengeId {
        let Envelope { payload, signer, signature } = self.envelope();
        let mut hasher = blake3::Hasher::new_derive_key("assay.v1 challenge");
        hasher.update(&chain.prefixed()).update(&signer.0).update(&signature.0).update(payload);
        ChallengeId(hasher.finalize().into())
    }
}

impl ChallengeId {
    /// Of the work.
    pub fn seed(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Canonical for Challenge {
    type Wire = wire::Challenge;
    const NAME: &'static str = "challenge";
    const MAX_BYTES: usize = limits::CHALLENGE_BYTES;
}

impl Payload for Challenge {
    const KIND: &'static str = "Challenge";
}

impl TryFrom<wire::Challenge> for Challenge {
    type Error = ProtoError;

    fn try_from(wire: wire::Challenge) -> Result<Self, ProtoError> {
        let side = u64::from(wire.side);
        if !limits::CHALLENGE_SIDES.contains(&side) {
            let (what, lo, hi) = ("side of a challenge (a power of 4)", 16, 4096);
            return Err(ProtoError::OutOfRange { what, lo, hi, got: side });
        }
        let most = limits::CHALLENGE_ROW.checked_div(side.saturating_mul(side)).unwrap_or(0);
        ranged("rounds of a challenge", wire.rounds.into(), 1, most.min(limits::CHALLENGE_ROUNDS))?;
        Ok(Self {
            miner: wire.miner.as_slice().try_into()?,
            height: Height(wire.height),
            block_hash: wire.block_hash.as_slice().try_into()?,
            side: wire.side,
            rounds: wire.rounds,
        })
    }
}

impl From<&Challenge> for wire::Challenge {
    fn from(challenge: &Challenge) -> Self {
        Self {
            miner: challenge.miner.to_vec(),
            height: challenge.height.0,
            block_hash: challenge.block_hash.to_vec(),
            side: challenge.side,
            rounds: challenge.rounds,
        }
    }
}

impl Canonical for ChallengeAnswer {
    type Wire = wire::ChallengeAnswer;
    const NAME: &'static str = "answer to a challenge";
    const MAX_BYTES: usize = limits::ANSWER_BYTES;
}

impl Payload for ChallengeAnswer {
    const KIND: &'static str = "ChallengeAnswer";
}

impl TryFrom<wire::ChallengeAnswer> for ChallengeAnswer {
    type Error = ProtoError;

    fn try_from(wire: wire::ChallengeAnswer) -> Result<Self, ProtoError> {
        let (rows, rest) = wire.rows.as_chunks::<ROW_BYTES>();
        if !rest.is_empty() {
            let (what, got) = ("last row of an answer to a challenge", rest.len());
            return Err(ProtoError::Length { what, expected: ROW_BYTES, got });
        }
        Ok(Self {
            challenge: wire.challenge.as_slice().try_into()?,
            device_class: wire.device_class,
            rows: rows.to_vec(),
            compute_us: wire.compute_us,
        })
    }
}

impl From<&ChallengeAnswer> for wire::ChallengeAnswer {
    fn from(answer: &ChallengeAnswer) -> Self {
        Self {
            challenge: answer.challenge.to_vec(),
            device_class: answer.device_class,
            rows: answer.rows.concat(),
            compute_us: answer.compute_us,
        }
    }
}

impl TryFrom<wire::Challenged> for Challenged {
    type Error = ProtoError;

    fn try_from(wire: wire::Challenged) -> Result<Self, ProtoError> {
        Ok(Self {
            challenge: required(wire.challenge, "challenge that was set")?,
            answer: wire.answer.map(Envelope::try_from).transpose()?,
            outcome: wire.outcome.try_into()?,
            network_us: ranged("time of the network in us", wire.network_us, 0, wire.answer_us)?,
            answer_us: wire.answer_us,
        })
    }
}

impl From<&Challenged> for wire::Challenged {
    fn from(body: &Challenged) -> Self {
        Self {
            challenge: Some((&body.challenge).into()),
            answer: body.answer.as_ref().map(Into::into),
            outcome: wire::Outcome::from(body.outcome).into(),
            answer_us: body.answer_us,
            network_us: body.network_us,
        }
    }
}
