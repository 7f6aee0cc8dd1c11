//! What a node keeps of the past: blocks for those who are behind, states for those who begin elsewhere than at the first
//! block.
//!
//! ```text
//! at head n   every block is kept where retain_blocks = 0
//!             else those above  n - max(retain_blocks, 2 tempo, SNAPSHOTS * snapshot_blocks)
//!             tempo: the longest of the root and of the subnets that have a share of the emission
//! states      the one that the node started from, then those at multiples of snapshot_blocks: the latest SNAPSHOTS
//! ```
//!
//! Old blocks are deleted beside the making of new ones, some at a time. Nothing that decides about a block reads an old
//! one: the state holds what rules need, and an equivocation carries its own proof.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_proto::limits::EMISSION;
use assay_proto::{Height, SubnetId};
use assay_verifier::state::State;
use assay_verifier::subnets;
use tokio::time::sleep;

use crate::application::Application;
use crate::config::StoreConfig;
use crate::stop::{Stopped, stopping};

/// States that are held.
const SNAPSHOTS: usize = 2;
/// Pause between two deletions, so that an archive that begins to forget does not stand still.
const PAUSE: Duration = Duration::from_millis(20);

/// States of the past.
#[derive(Debug)]
pub(crate) struct Snapshots {
    every: u64,
    states: Mutex<VecDeque<Arc<State>>>,
}

impl Snapshots {
    pub fn new(config: &StoreConfig, state: Arc<State>) -> Self {
        let snapshots = Self { every: config.snapshot_blocks, states: Mutex::default() };
        if state.head().height > Height(0) {
            snapshots.lock().push_back(state);
        }
        snapshots
    }

    /// A block was decided.
    pub fn note(&self, state: &Arc<State>) {
        if state.head().height.0.is_multiple_of(self.every) {
            let mut states = self.lock();
            states.push_back(Arc::clone(state));
            if states.len() > SNAPSHOTS {
                states.pop_front();
            }
        }
    }

    /// Every one that is held, ascending.
    pub fn all(&self) -> Vec<Arc<State>> {
        self.lock().iter().cloned().collect()
    }

    /// Pushes and pops leave the queue whole, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<State>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The earliest block to keep at a head; none where all are kept.
pub(crate) fn earliest_kept(config: &StoreConfig, state: &State) -> Option<Height> {
    let StoreConfig { retain_blocks, snapshot_blocks } = *config;
    if retain_blocks == 0 {
        return None;
    }
    let snapshots = u64::try_from(SNAPSHOTS).unwrap_or(u64::MAX).saturating_mul(snapshot_blocks);
    // What a validator says in an epoch is of the blocks of the one before.
    let scored = |subnet| state.parameters_of(subnet).tempo.saturating_mul(2);
    let kept = retain_blocks.max(scored(SubnetId::ROOT)).max(snapshots);
    // Anybody registers a subnet with a long epoch; only those count that most of the power wants. They are asked for only where one
    // could count.
    let kept = match state.subnet_ids().any(|subnet| scored(subnet) > kept) {
        true => {
            let shares = subnets::shares(state, EMISSION).into_iter().filter(|(_, share)| *share > 0);
            shares.map(|(subnet, _)| scored(subnet)).fold(kept, u64::max)
        }
        false => kept,
    };
    Some(Height(state.head().height.0.saturating_sub(kept).saturating_add(1)))
}

/// Deletes what is no longer kept, until the node stops.
pub(crate) async fn forget(application: Arc<Application>, stopped: Stopped) {
    let mut head = application.follow();
    loop {
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
        }
        loop {
            let pruning = Arc::clone(&application);
            match tokio::task::spawn_blocking(move || pruning.prune()).await {
                Ok(Ok(true)) if !*stopped.borrow() => sleep(PAUSE).await,
                Ok(Ok(_)) => break,
                Ok(Err(error)) => {
                    tracing::error!(error = %assay_verifier::describe(&error), "old blocks are not deleted");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "deleting old blocks ended abnormally");
                    break;
                }
            }
        }
    }
}
