//! This validator's scores: committed to and shown by itself, in every subnet in which it has a say.
//!
//! ```text
//! epoch e      commit to the scores of its own receipts in the blocks of epoch e - 1, if there are any
//! epoch e + 1  show them             epochs being those of the subnet
//! ```
//!
//! It speaks once an epoch has its first block, so that no epoch begins for its sake: a chain at rest stays so.
//!
//! Scores and salt follow from the log and the validator's key, so that nothing has to be kept: a validator that was started
//! again shows what it committed to before. What it commits to it remembers all the same, since a vote may change by then the
//! numbers that scores follow from. One whose store has no longer the blocks of two epochs ago, or that was started again
//! meanwhile, cannot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::Body;
use assay_proto::{Epoch, Height, SubnetId};
use assay_verifier::describe;
use assay_verifier::scores::Tally;
use assay_verifier::state::State;

use crate::application::Application;
use crate::error::Error;
use crate::questions::Questions;
use crate::stop::{Stopped, stopping};

/// What was committed to and is to be shown.
type Sealed = Mutex<BTreeMap<(Epoch, SubnetId), RevealScores>>;

/// Commits and reveals in every epoch until the node stops.
pub(crate) async fn run(application: Arc<Application>, questions: Option<Arc<Questions>>, stopped: Stopped) {
    let mut head = application.follow();
    let mut said = BTreeMap::new();
    let sealed = Arc::new(Sealed::default());
    loop {
        let begun: Vec<(SubnetId, Epoch)> = {
            let state = head.borrow_and_update();
            let running =
                state.subnet_ids().filter_map(|subnet| Some((subnet, state.running_epoch(subnet)?)));
            running.filter(|(subnet, epoch)| said.get(subnet) != Some(epoch)).collect()
        };
        if !begun.is_empty() {
            said.extend(begun.iter().copied());
            let (application, sealed, questions) =
                (Arc::clone(&application), Arc::clone(&sealed), questions.clone());
            let speaking = move || speak(&application, questions.as_deref(), &sealed, &begun);
            match tokio::task::spawn_blocking(speaking).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(error = %describe(&error), "no scores"),
                Err(error) => tracing::error!(%error, "scoring ended abnormally"),
            }
        }
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}

/// Says what is to be said in these epochs and was not said yet. How that ends nobody waits for: it is in a block of its
/// epoch, or it is no use.
fn speak(
    application: &Application,
    questions: Option<&Questions>,
    sealed: &Sealed,
    begun: &[(SubnetId, Epoch)],
) -> Result<(), Error> {
    let (state, own) = (application.state(), application.validator());
    if !state.validators().contains(&own) {
        return Ok(());
    }
    let mut kept = sealed.lock().unwrap_or_else(PoisonError::into_inner);
    for &(subnet, running) in begun {
        let before = Epoch(running.0.saturating_sub(1));
        kept.retain(|&(epoch, of), _| of != subnet || epoch == before);
        let ballot = state.ballot_of(subnet, &own);
        let is_sealed = |epoch: &Epoch| ballot.is_some_and(|ballot| ballot.sealed.contains_key(epoch));
        if is_sealed(&before) {
            let remembered = kept.remove(&(before, subnet));
            let scores = remembered.map_or_else(
                || scores_of(application, questions, &state, subnet, before),
                |own| Ok(Some(own)),
            );
            if let Some(scores) = scores? {
                application.say(Body::RevealScores(scores))?;
            }
        }
        if !is_sealed(&running)
            && state.permitted(subnet).contains(&own)
            && let Some(scores) = scores_of(application, questions, &state, subnet, running)?
        {
            let commitment = scores.commitment(state.chain_id(), &own);
            kept.insert((running, subnet), scores);
            application.say(Body::CommitScores(CommitScores { epoch: running, commitment, subnet }))?;
        }
    }
    Ok(())
}

/// The scores that this validator commits to in an epoch: of its receipts in the epoch before. None without any, and none in a
/// subnet with a labelled task that it has no labels of.
fn scores_of(
    application: &Application,
    questions: Option<&Questions>,
    state: &State,
    subnet: SubnetId,
    epoch: Epoch,
) -> Result<Option<RevealScores>, Error> {
    let (tempo, own) = (state.parameters_of(subnet).tempo, application.validator());
    let Some(ended) = epoch.0.checked_sub(2) else { return Ok(None) };
    // The blocks of a long epoch take long to read.
    if state.places(subnet).is_empty() {
        return Ok(None);
    }
    let first = ended.saturating_mul(tempo).saturating_add(1);
    let labels = questions.and_then(|questions| questions.labels(subnet));
    let mut tally = match (state.subnet(subnet).is_some_and(|own| own.labelled), labels) {
        (false, _) => Tally::default(),
        (true, Some(labels)) => Tally::labelled(labels),
        (true, None) => return Ok(None),
    };
    for height in first..first.saturating_add(tempo) {
        let Some(block) = application.store().block(Height(height))? else { return Ok(None) };
        tally.count(state, subnet, &own, &block.block);
    }
    let (scores, salt) = (tally.scores(&state.parameters_of(subnet)), application.salt(subnet, epoch));
    Ok((!scores.is_empty()).then_some(RevealScores { epoch, scores, salt, subnet }))
}
