//! Making a block of candidate transactions by the rules that will judge it.

use assay_proto::block::{Block, BlockHeader};
use assay_proto::{PublicKey, limits, transactions};

use crate::error::{Reason, Rejection};
use crate::state::{KeyCache, State};
use crate::transition::{Candidate, Guard, Run, Transition, fault, prepare};

/// A candidate that may not apply where it stood.
#[derive(Debug)]
pub struct Dropped {
    /// Its index among the candidates.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// A block, what it does, and what became of the candidates.
#[derive(Debug)]
pub struct Proposal {
    /// The block.
    pub block: Block,
    /// What it does.
    pub transition: Transition,
    /// Indices of the candidates in the block, in its order.
    pub included: Vec<usize>,
    /// Candidates that may not apply.
    pub dropped: Vec<Dropped>,
    /// How many candidates were looked at: those from this index on wait for another block.
    pub considered: usize,
}

/// Makes the next block of candidates in their order. Its time is `time_ms`, or the parent's if that is later.
///
/// Candidates are considered until one does not fit; none is passed over, since a later nonce of the same signer would
/// close an earlier one.
pub fn propose(
    state: &State,
    proposer: PublicKey,
    time_ms: u64,
    candidates: &[Candidate<'_>],
    keys: &KeyCache,
) -> Result<Proposal, Rejection> {
    if !state.voters().contains(&proposer) {
        return Err(fault(state, None, Reason::Proposer(proposer)));
    }
    let considered = room(candidates);
    let fitting = candidates.get(..considered).unwrap_or_default();
    let mut run = Run::begin(state);
    let (mut transactions, mut included, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    let prepared = prepare::prepare(state, Guard::Validators, fitting, keys);
    for ((index, prepared), candidate) in prepared.into_iter().enumerate().zip(fitting) {
        match prepared.and_then(|prepared| run.execute(prepared, keys)) {
            Ok(()) => {
                included.push(index);
                transactions.push(candidate.envelope().clone());
            }
            Err(reason) => dropped.push(Dropped { index, reason }),
        }
    }
    let ended = run.finish().map_err(|reason| fault(state, None, reason))?;
    let header = BlockHeader {
        chain_id: state.chain_id().clone(),
        height: state.head().height.next(),
        parent: state.head().hash,
        time_ms: time_ms.max(state.head().time_ms),
        proposer,
        transactions_root: transactions::root(&transactions),
        state_root: ended.root(),
    };
    let transition = ended.into_transition(&header);
    Ok(Proposal { block: Block { header, transactions }, transition, included, dropped, considered })
}

/// How many candidates fit into one block together.
fn room(candidates: &[Candidate<'_>]) -> usize {
    // A transaction in a block takes its bytes, a tag and a length of at most 5 bytes.
    let mut bytes = limits::HEADER_BYTES;
    let fits = |candidate: &&Candidate<'_>| {
        bytes = bytes.saturating_add(candidate.envelope().encoded_len()).saturating_add(6);
        bytes <= limits::BLOCK_BYTES
    };
    candidates.iter().take(limits::TRANSACTIONS).take_while(fits).count()
}
