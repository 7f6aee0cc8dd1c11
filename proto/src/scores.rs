//! What validators think of miners: committed to in one epoch, shown in the next.
//!
//! ```text
//! commitment = BLAKE3-derive_key("assay.v1 scores", len(chain_id) || chain_id || committer || encoding of the scores)
//! ```
//!
//! The scores hold a salt that nobody else knows, and the epoch; the committer's key is hashed with them. So a commitment
//! tells nothing before it is opened, and a copy of it opens for nobody.

use prost::Message;

use crate::codec::{each, ranged};
use crate::error::ProtoError;
use crate::id::{ChainId, Commitment, Epoch, PublicKey, SubnetId};
use crate::signing::SecretKey;
use crate::{limits, wire};

/// Seals a validator's scores of the running epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitScores {
    /// The running epoch.
    pub epoch: Epoch,
    /// Stands for the scores.
    pub commitment: Commitment,
    /// Whose miners they are of.
    pub subnet: SubnetId,
}

/// Opens what its signer committed to in the epoch before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevealScores {
    /// Epoch of the commitment.
    pub epoch: Epoch,
    /// Scores of at least 1, in ascending order of the miners; who is not named has 0.
    pub scores: Vec<(PublicKey, u16)>,
    /// Chosen at will, never shown before.
    pub salt: [u8; 32],
    /// Whose miners they are of.
    pub subnet: SubnetId,
}

impl RevealScores {
    /// What commits to these scores of `committer`.
    pub fn commitment(&self, chain: &ChainId, committer: &PublicKey) -> Commitment {
        let mut hasher = blake3::Hasher::new_derive_key("assay.v1 scores");
        hasher.update(&chain.prefixed()).update(&committer.0);
        hasher.update(&wire::RevealScores::from(self).encode_to_vec());
        Commitment(hasher.finalize().into())
    }
}

impl RevealScores {
    /// A salt that nobody can tell without the committer's key, the same whenever it is asked for.
    pub fn salt(committer: &SecretKey, chain: &ChainId, subnet: SubnetId, epoch: Epoch) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("assay.v1 salt of scores");
        hasher.update(&*committer.to_bytes()).update(&chain.prefixed()).update(&epoch.0.to_le_bytes());
        hasher.update(&subnet.0.to_le_bytes());
        hasher.finalize().into()
    }
}

impl TryFrom<wire::CommitScores> for CommitScores {
    type Error = ProtoError;

    fn try_from(wire: wire::CommitScores) -> Result<Self, ProtoError> {
        Ok(Self {
            epoch: Epoch(wire.epoch),
            commitment: wire.commitment.as_slice().try_into()?,
            subnet: SubnetId(wire.subnet),
        })
    }
}

impl From<&CommitScores> for wire::CommitScores {
    fn from(body: &CommitScores) -> Self {
        Self { epoch: body.epoch.0, commitment: body.commitment.to_vec(), subnet: body.subnet.0 }
    }
}

impl TryFrom<wire::RevealScores> for RevealScores {
    type Error = ProtoError;

    fn try_from(wire: wire::RevealScores) -> Result<Self, ProtoError> {
        let scores = each(wire.scores, "scores", limits::SCORES, |entry| {
            let score = ranged("score", entry.score.into(), 1, u16::MAX.into())?;
            Ok((PublicKey::try_from(entry.miner.as_slice())?, u16::try_from(score).unwrap_or(u16::MAX)))
        })?;
        if !scores.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(ProtoError::NotCanonical { what: "list of scores (ascending keys, none twice)" });
        }
        let salt = wire.salt.as_slice();
        let length = || ProtoError::Length { what: "salt", expected: 32, got: salt.len() };
        let salt = salt.try_into().map_err(|_| length())?;
        Ok(Self { epoch: Epoch(wire.epoch), scores, salt, subnet: SubnetId(wire.subnet) })
    }
}

impl From<&RevealScores> for wire::RevealScores {
    fn from(body: &RevealScores) -> Self {
        let score =
            |&(miner, score): &(PublicKey, u16)| wire::Score { miner: miner.to_vec(), score: score.into() };
        Self {
            epoch: body.epoch.0,
            scores: body.scores.iter().map(score).collect(),
            salt: body.salt.to_vec(),
            subnet: body.subnet.0,
        }
    }
}
