//! That a record was in the state after a block, for somebody who has the genesis and nothing else.
//!
//! ```text
//! certificate of more than two thirds of the genesis' power commits the header
//! root(genesis, height, tree that key, value and siblings give) = state root of the header
//! ```
//!
//! The validators of a chain on which stake votes are in its log only: of such a chain nothing is accepted here. Offenders count
//! as if they had stayed, so that what is accepted needs more signatures, never fewer. So do validators that named an operating key: their
//! new signatures are unknown here, and their old keys still count.

use assay_proto::genesis::Genesis;
use assay_proto::record::RecordProof;

use crate::certificate::{self, ValidatorSet};
use crate::error::Reason;
use crate::state::{Record, RecordError, tree};

/// Why a record is not taken as proven.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    /// Header, certificate or path.
    #[error("the proof of the record")]
    Proof(#[source] Reason),
    /// The validators are not those of the genesis.
    #[error("on this chain stake votes: who the validators are is in its log only")]
    StakeVotes,
    /// More siblings than a path has bits.
    #[error("the record has more than {} siblings", tree::DEPTH)]
    Depth,
    /// The record is committed to, but by no rule of this version.
    #[error("the record")]
    Record(#[from] RecordError),
}

/// The record that a proof shows, if it does.
pub fn verify(genesis: &Genesis, proof: &RecordProof) -> Result<Record, InclusionError> {
    let RecordProof { key, value, siblings, header, certificate } = proof;
    if header.chain_id != genesis.chain_id {
        let (expected, got) = (genesis.chain_id.clone(), header.chain_id.clone());
        return Err(InclusionError::Proof(Reason::Chain { expected, got }));
    }
    if genesis.parameters.stake_per_power > 0 {
        return Err(InclusionError::StakeVotes);
    }
    let validators = ValidatorSet::of(genesis);
    certificate::verify(&genesis.chain_id, &validators, certificate, header)
        .map_err(InclusionError::Proof)?;
    let tree = tree::ascend(key, value, siblings).ok_or(InclusionError::Depth)?;
    let (expected, got) = (header.state_root, tree::root(&genesis.hash(), header.height, &tree));
    if got != expected {
        return Err(InclusionError::Proof(Reason::StateRoot { expected, got }));
    }
    Ok(Record::decode(key, value)?)
}
