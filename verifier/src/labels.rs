//! How good a model is, told by what its miner answered to questions that only the validator has the answers to.
//!
//! ```text
//! question   a job of the account that asks for the validator, on inputs that it has a label for
//! right      the receipt says verified, and the label is the place of the greatest value of the first output, the first of
//!            equal ones
//! accuracy   right / asked, over the validator's own receipts; each counts as asked, whatever its verdict
//! score      w_j = mean quality of j's verified answers * accuracy             0 of who was not asked, or lied
//! ```
//!
//! The proof binds the answer to the model that was registered: whoever finds out that a job is a question has no better
//! answer for it. Jobs of anybody else count for the mean quality only, since inputs are public once they are in the log.

use std::collections::BTreeMap;

use assay_proto::job::{Job, Output};
use assay_proto::receipt::{Evidence, Verdict};
use assay_proto::{Canonical, PublicKey};

/// Inputs with their labels, and the account that asks.
#[derive(Clone, Debug)]
pub struct Labels {
    asker: PublicKey,
    of: BTreeMap<Vec<Vec<i32>>, usize>,
}

impl Labels {
    /// Of these questions.
    pub fn new(asker: PublicKey, questions: impl IntoIterator<Item = (Vec<Vec<i32>>, usize)>) -> Self {
        Self { asker, of: questions.into_iter().collect() }
    }

    /// Whether a question was answered right; none of any other job.
    pub fn right(&self, job: &Job, evidence: &Evidence, verdict: Verdict) -> Option<bool> {
        if evidence.job.signer != self.asker {
            return None;
        }
        let label = *self.of.get(&job.inputs)?;
        Some(verdict == Verdict::Verified && answer(evidence) == Some(label))
    }
}

/// Place of the greatest value of the first output.
fn answer(evidence: &Evidence) -> Option<usize> {
    let output = Output::decode(&evidence.output.as_ref()?.payload).ok()?;
    let values = output.outputs.into_iter().next()?;
    // Of equal ones `max_by_key` finds the last: they are met from behind.
    values.iter().enumerate().rev().max_by_key(|(_, value)| **value).map(|(place, _)| place)
}
