//! Applying a block: the one way from a state to the next.
//!
//! Work that does not depend on the order of transactions (signatures, decoding, evidence, proofs in batches per key)
//! is done first and in parallel (`prepare`); then the transactions apply one after another, and the first that
//! may not names the block's fault. A transaction changes nothing unless all of it is allowed.
//!
//! After the transactions of a height that the tempo divides, the epoch ends, with it that of every subnet whose own tempo divides
//! the height too. At every height
//! `sum of balances and locks = genesis + minted - burned`.

mod body;
mod known;
pub(crate) mod prepare;
mod run;

use assay_proto::block::Block;
use assay_proto::receipt::Verdict;
use assay_proto::report::EpochReport;
use assay_proto::{Canonical, Envelope, Height, JobId, PublicKey, SubnetId, limits, transactions};

use crate::error::{Reason, Rejection};
use crate::state::{KeyCache, Record, State};

pub use body::check_job;
pub(crate) use known::{Known, Name};
pub use prepare::Candidate;
pub(crate) use prepare::{Guard, Prepared};
pub(crate) use run::Run;

/// What a valid block did.
#[derive(Debug)]
pub struct Transition {
    /// The state after it.
    pub state: State,
    /// Records that differ from the state before it.
    pub records: Vec<Record>,
    /// Receipts among its transactions, in their order.
    pub receipts: Vec<LoggedReceipt>,
    /// The report of the epoch that it ended.
    pub report: Option<EpochReport>,
}

/// A receipt in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedReceipt {
    /// Index of its transaction in the block.
    pub index: u32,
    /// The job.
    pub job_id: JobId,
    /// The miner that was assigned.
    pub miner: PublicKey,
    /// How it ended.
    pub verdict: Verdict,
}

/// Applies a block, or says why it does not count. The certificate is not this function's concern.
pub fn apply(state: &State, block: &Block, keys: &KeyCache) -> Result<Transition, Rejection> {
    // Before any signature: a block of another place needs no work.
    check_header(state, block).map_err(|reason| fault(state, None, reason))?;
    let transactions: Vec<_> = block.transactions.iter().map(Candidate::Sealed).collect();
    run_block(state, block, prepare::prepare(state, Guard::Validators, &transactions, keys), keys)
}

/// Whether a transaction may apply next: what a mempool asks before it takes one in.
pub fn check(state: &State, transaction: &Envelope, keys: &KeyCache) -> Result<(), Reason> {
    let mut run = Run::begin(state);
    let mut prepared =
        prepare::prepare(state, Guard::Validators, &[Candidate::Sealed(transaction)], keys).into_iter();
    prepared.try_for_each(|prepared| run.execute(prepared?, keys))
}

/// Applies a block whose transactions were prepared on an earlier state of the same chain.
pub(crate) fn apply_prepared(
    state: &State,
    block: &Block,
    prepared: Vec<Result<Prepared, Reason>>,
    keys: &KeyCache,
) -> Result<Transition, Rejection> {
    check_header(state, block).map_err(|reason| fault(state, None, reason))?;
    run_block(state, block, prepared, keys)
}

fn run_block(
    state: &State,
    block: &Block,
    prepared: Vec<Result<Prepared, Reason>>,
    keys: &KeyCache,
) -> Result<Transition, Rejection> {
    let mut run = Run::begin(state);
    for (index, prepared) in prepared.into_iter().enumerate() {
        let done = prepared.and_then(|prepared| run.execute(prepared, keys));
        done.map_err(|reason| fault(state, Some(index), reason))?;
    }
    let ended = run.finish().map_err(|reason| fault(state, None, reason))?;
    let (expected, got) = (block.header.state_root, ended.root());
    if got != expected {
        return Err(fault(state, None, Reason::StateRoot { expected, got }));
    }
    Ok(ended.into_transition(&block.header))
}

/// The fault of the block after `state`.
pub(crate) fn fault(state: &State, index: Option<usize>, reason: Reason) -> Rejection {
    Rejection::new(state.head().height.next(), index, reason)
}

/// Whether an epoch of a subnet ends with this height; the root's are the chain's.
pub fn ends_epoch(state: &State, subnet: SubnetId, height: Height) -> bool {
    height.0.checked_rem(state.parameters_of(subnet).tempo) == Some(0)
}

/// Everything about a header that the state before it decides, and the block's size.
fn check_header(state: &State, block: &Block) -> Result<(), Reason> {
    let (header, head) = (&block.header, state.head());
    if header.chain_id != *state.chain_id() {
        return Err(Reason::Chain { expected: state.chain_id().clone(), got: header.chain_id.clone() });
    }
    if Some(header.height.0) != head.height.0.checked_add(1) {
        return Err(Reason::Height { expected: head.height.next(), got: header.height });
    }
    if header.parent != head.hash {
        return Err(Reason::Parent { expected: head.hash, got: header.parent });
    }
    if header.time_ms < head.time_ms {
        return Err(Reason::Time { parent: head.time_ms, got: header.time_ms });
    }
    if !state.voters().contains(&header.proposer) {
        return Err(Reason::Proposer(header.proposer));
    }
    if block.transactions.len() > limits::TRANSACTIONS {
        let (limit, got) = (limits::TRANSACTIONS, block.transactions.len());
        return Err(Reason::BlockTransactions { limit, got });
    }
    let bytes = block.encode().len();
    if bytes > limits::BLOCK_BYTES {
        return Err(Reason::BlockBytes { limit: limits::BLOCK_BYTES, got: bytes });
    }
    let got = transactions::root(&block.transactions);
    if got != header.transactions_root {
        return Err(Reason::TransactionsRoot { expected: header.transactions_root, got });
    }
    Ok(())
}
