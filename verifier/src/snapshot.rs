//! A state that comes from somebody else, or from a disk, instead of from the log before it.
//!
//! ```text
//! trusted  (H, X)  height and hash of a block that the caller knows to be of its chain
//! block            height = H, hash(header) = X, header.transactions_root = root of its transactions
//! state            its last block is this one; root(state) = header.state_root
//! certificate      holds against the validators of H, who follow from the genesis and that state
//! ```
//!
//! The hash alone decides: the header names the root, and the root names every record. Records outside the root are made
//! here (the last block) or named by one inside it (verifying keys).

use assay_proto::block::CommittedBlock;
use assay_proto::genesis::Genesis;
use assay_proto::{BlockHash, Height, SubnetId, transactions};

use crate::certificate::{self, ValidatorSet};
use crate::error::Reason;
use crate::operating;
use crate::state::{Head, Record, RecordError, State};
use crate::transition::ends_epoch;

/// A block that is known to be of the chain, from a source that the caller trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Its height.
    pub height: Height,
    /// Hash of its header.
    pub hash: BlockHash,
}

/// Why a state is not the one after a block.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another block than the trusted one.
    #[error("the block at height {height} has hash {got}, trusted is {expected}")]
    Block {
        /// The trusted height.
        height: Height,
        /// The trusted hash.
        expected: BlockHash,
        /// The block's.
        got: BlockHash,
    },
    /// Records that are no state.
    #[error("the records are no state")]
    Records(#[from] RecordError),
    /// The state is of another block.
    #[error("the state is of block {got}, not of {expected}")]
    Head {
        /// Hash of the block's header.
        expected: BlockHash,
        /// Hash in the state.
        got: BlockHash,
    },
    /// A rule that does not hold.
    #[error(transparent)]
    Rule(#[from] Reason),
}

/// The state of records after the trusted block, or why they are not.
pub fn accept<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    genesis: Genesis,
    trusted: Trusted,
    block: &CommittedBlock,
    records: impl IntoIterator<Item = (K, V)>,
) -> Result<State, SnapshotError> {
    check_block(trusted, block)?;
    let header = &block.block.header;
    let head = Record::Head(Head { height: header.height, hash: trusted.hash, time_ms: header.time_ms });
    let pair = |(key, value): (K, V)| (key.as_ref().to_vec(), value.as_ref().to_vec());
    // The last one counts, whatever head the records name.
    let records = records.into_iter().map(pair).chain([(head.key(), head.value())]);
    let state = State::from_records(genesis, records)?;
    check_state(&state, block)?;
    Ok(state)
}

/// Whether a block is the trusted one: to be asked before its records are read.
pub fn check_block(trusted: Trusted, block: &CommittedBlock) -> Result<(), SnapshotError> {
    let header = &block.block.header;
    let got = header.hash();
    if header.height != trusted.height || got != trusted.hash {
        return Err(SnapshotError::Block { height: trusted.height, expected: trusted.hash, got });
    }
    let (expected, got) = (header.transactions_root, transactions::root(&block.block.transactions));
    if got != expected {
        return Err(Reason::TransactionsRoot { expected, got }.into());
    }
    Ok(())
}

/// Whether a state is the one after a committed block.
pub fn check_state(state: &State, block: &CommittedBlock) -> Result<(), SnapshotError> {
    let header = &block.block.header;
    let (expected, got) = (header.hash(), state.head().hash);
    if got != expected {
        return Err(SnapshotError::Head { expected, got });
    }
    let (expected, got) = (header.state_root, state.root());
    if got != expected {
        return Err(Reason::StateRoot { expected, got }.into());
    }
    Ok(certificate::verify(state.chain_id(), &committers(state), &block.certificate, header)?)
}

/// Validators of the last block: before its evidence, and before the epoch that may begin after it.
fn committers(state: &State) -> ValidatorSet {
    let height = state.head().height;
    let power = state.stake_power();
    let stakes = if ends_epoch(state, SubnetId::ROOT, height) { &power.previous } else { &power.current };
    let gone =
        |key: &_| state.offenders().any(|(other, offender)| other == key && offender.removed <= height);
    let validators = ValidatorSet::of(state.genesis_block()).plus(stakes).without(gone);
    operating::voters(state, &validators, height)
}
