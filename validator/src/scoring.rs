//! This validator's scores: committed to and shown by itself.
//!
//! ```text
//! epoch e      commit to the scores of its own receipts in the blocks of epoch e - 1, if there are any
//! epoch e + 1  show them
//! ```
//!
//! It speaks once an epoch has its first block, so that no epoch begins for its sake: a chain at rest stays so.
//!
//! Scores and salt follow from the log and the validator's key, so that nothing has to be kept: a validator that was started
//! again shows what it committed to before. One whose store has no longer the blocks of two epochs ago cannot.

use std::sync::Arc;

use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::Body;
use assay_proto::{Epoch, Height};
use assay_verifier::describe;
use assay_verifier::scores::Tally;
use assay_verifier::state::State;

use crate::application::Application;
use crate::error::Error;
use crate::stop::{Stopped, stopping};

/// Commits and reveals in every epoch until the node stops.
pub(crate) async fn run(application: Arc<Application>, stopped: Stopped) {
    let mut head = application.follow();
    let mut said = None;
    loop {
        let (begun, running) = {
            let state = head.borrow_and_update();
            let height = state.head().height;
            (state.epoch_of(height), state.epoch_of(height.next()))
        };
        if begun == running && said != Some(running) {
            said = Some(running);
            let application = Arc::clone(&application);
            match tokio::task::spawn_blocking(move || speak(&application, running)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(epoch = running.0, error = %describe(&error), "no scores"),
                Err(error) => tracing::error!(%error, "scoring ended abnormally"),
            }
        }
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}

/// Says what is to be said in the running epoch and was not said yet. How that ends nobody waits for: it is in a block of
/// this epoch, or it is no use.
fn speak(application: &Application, running: Epoch) -> Result<(), Error> {
    let (state, own) = (application.state(), application.public_key());
    if !state.validators().contains(&own) {
        return Ok(());
    }
    let sealed = |epoch: &Epoch| state.ballot(&own).is_some_and(|ballot| ballot.sealed.contains_key(epoch));
    let before = Epoch(running.0.saturating_sub(1));
    if sealed(&before)
        && let Some(scores) = scores_of(application, &state, before)?
    {
        application.say(Body::RevealScores(scores))?;
    }
    if !sealed(&running)
        && let Some(scores) = scores_of(application, &state, running)?
    {
        let commitment = scores.commitment(state.chain_id(), &own);
        application.say(Body::CommitScores(CommitScores { epoch: running, commitment }))?;
    }
    Ok(())
}

/// The scores that this validator commits to in an epoch: of its receipts in the epoch before. None without any.
fn scores_of(application: &Application, state: &State, epoch: Epoch) -> Result<Option<RevealScores>, Error> {
    let (parameters, own) = (state.parameters(), application.public_key());
    let Some(ended) = epoch.0.checked_sub(2) else { return Ok(None) };
    let first = ended.saturating_mul(parameters.tempo).saturating_add(1);
    let mut tally = Tally::default();
    for height in first..first.saturating_add(parameters.tempo) {
        let Some(block) = application.store().block(Height(height))? else { return Ok(None) };
        tally.count(parameters, &own, &block.block);
    }
    let (scores, salt) = (tally.scores(), application.salt(epoch));
    Ok((!scores.is_empty()).then_some(RevealScores { epoch, scores, salt }))
}
