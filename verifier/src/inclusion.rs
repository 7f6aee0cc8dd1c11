//! That a record was in the state after a block, or a transaction in it, for somebody who has no log.
//!
//! ```text
//! certificate of more than two thirds of the trusted validators' power commits the header
//! root(genesis, height, tree that key, value and siblings give)   = state root of the header
//! root(count, tree that transaction, index and siblings give)     = transactions root of the header
//! ```
//!
//! Trusted are the validators of the genesis, or those that an audit of the log found to vote after its last block. On a chain on
//! which stake votes only the latter will do, and for as long as they are the validators. Of the genesis, offenders count
//! as if they had stayed, so that what is accepted needs more signatures, never fewer. So do validators that named an operating key: their
//! new signatures are unknown there, and their old keys still count.

use assay_proto::genesis::{Genesis, GenesisValidator};
use assay_proto::inclusion::{InclusionProof, Path};
use assay_proto::transaction::Transaction;
use assay_proto::{ProtoError, Signed, transactions};

use crate::certificate::{self, ValidatorSet};
use crate::error::Reason;
use crate::state::{Record, RecordError, tree};

/// Why nothing is taken as proven.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    /// Header, certificate or path.
    #[error("the proof of inclusion")]
    Proof(#[source] Reason),
    /// The validators are not those of the genesis.
    #[error(
        "on this chain stake votes: who the validators are is in its log only, and what an audit of it found is needed"
    )]
    StakeVotes,
    /// Nobody is trusted.
    #[error("no validator is trusted")]
    NoValidators,
    /// More siblings than a path has bits.
    #[error("the record has more than {} siblings", tree::DEPTH)]
    Depth,
    /// Other siblings than a tree of so many transactions has.
    #[error("{siblings} siblings are no path to place {index} of {count}")]
    Path {
        /// Place.
        index: u32,
        /// Transactions.
        count: u32,
        /// Siblings.
        siblings: usize,
    },
    /// The record is committed to, but by no rule of this version.
    #[error("the record")]
    Record(#[from] RecordError),
    /// The transaction is committed to, but by no rule of this version.
    #[error("the transaction")]
    Transaction(#[source] ProtoError),
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Included {
    /// A record of the state after the block.
    Record(Box<Record>),
    /// A transaction of the block.
    Transaction(Box<Signed<Transaction>>),
}

/// The validators whose word is taken.
#[derive(Clone, Debug)]
pub struct Trusted(ValidatorSet);

impl Trusted {
    /// Those of the genesis.
    pub fn of_genesis(genesis: &Genesis) -> Result<Self, InclusionError> {
        if genesis.parameters.stake_per_power > 0 {
            return Err(InclusionError::StakeVotes);
        }
        Ok(Self(ValidatorSet::of(genesis)))
    }

    /// Those that an audit found, by the keys that they sign with.
    pub fn of_audit(voters: &[GenesisValidator]) -> Result<Self, InclusionError> {
        if voters.iter().all(|voter| voter.power == 0) {
            return Err(InclusionError::NoValidators);
        }
        Ok(Self(ValidatorSet::new(voters)))
    }
}

/// What a proof shows, if it does.
pub fn verify(
    genesis: &Genesis,
    Trusted(validators): &Trusted,
    proof: &InclusionProof,
) -> Result<Included, InclusionError> {
    let InclusionProof { path, header, certificate } = proof;
    if header.chain_id != genesis.chain_id {
        let (expected, got) = (genesis.chain_id.clone(), header.chain_id.clone());
        return Err(InclusionError::Proof(Reason::Chain { expected, got }));
    }
    certificate::verify(&genesis.chain_id, validators, certificate, header).map_err(InclusionError::Proof)?;
    match path {
        Path::Record { key, value, siblings } => {
            let tree = tree::ascend(key, value, siblings).ok_or(InclusionError::Depth)?;
            let (expected, got) = (header.state_root, tree::root(&genesis.hash(), header.height, &tree));
            if got != expected {
                return Err(InclusionError::Proof(Reason::StateRoot { expected, got }));
            }
            Ok(Included::Record(Box::new(Record::decode(key, value)?)))
        }
        Path::Transaction { transaction, index, count, siblings } => {
            let [place, size] = [*index, *count].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            let unlike = || InclusionError::Path { index: *index, count: *count, siblings: siblings.len() };
            let got = transactions::ascend(transaction, place, size, siblings).ok_or_else(unlike)?;
            let expected = header.transactions_root;
            if got != expected {
                return Err(InclusionError::Proof(Reason::TransactionsRoot { expected, got }));
            }
            let opened = transaction.open(&genesis.chain_id).map_err(InclusionError::Transaction)?;
            Ok(Included::Transaction(Box::new(opened)))
        }
    }
}
