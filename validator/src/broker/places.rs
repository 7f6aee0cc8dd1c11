//! How many jobs each miner holds for this broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_proto::PublicKey;
use tokio::sync::Notify;

use super::assignment::Candidate;

/// Places at every miner, `limit` each.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    held: Mutex<BTreeMap<PublicKey, usize>>,
    freed: Notify,
}

/// A place at one miner; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    miner: PublicKey,
}

impl Places {
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Mutex::default(), freed: Notify::new() }
    }

    /// Takes a place at the miner that `choose` picks among those that have one.
    pub fn take(
        self: &Arc<Self>,
        mut candidates: Vec<Candidate>,
        choose: impl FnOnce(&[Candidate]) -> Option<Candidate>,
    ) -> Option<(Candidate, Place)> {
        let mut held = self.held();
        candidates.retain(|candidate| held.get(&candidate.miner).is_none_or(|&jobs| jobs < self.limit));
        let chosen = choose(&candidates)?;
        let jobs = held.entry(chosen.miner).or_default();
        *jobs = jobs.saturating_add(1);
        let place = Place { places: Arc::clone(self), miner: chosen.miner };
        Some((chosen, place))
    }

    /// Resolves when a place was freed after the call.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Every change is one addition or subtraction, so a poisoned lock is still good.
    fn held(&self) -> MutexGuard<'_, BTreeMap<PublicKey, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        if let Some(jobs) = held.get_mut(&self.miner) {
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                held.remove(&self.miner);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miner_holds_no_more_jobs_than_its_places() {
        let places = Arc::new(Places::new(2));
        let miner = |n| Candidate { miner: PublicKey([n; 32]), endpoint: String::new(), reputation_ppm: 0 };
        let take =
            |all: &[u8]| places.take(all.iter().map(|&n| miner(n)).collect(), |free| free.first().cloned());
        let first = take(&[1, 2]).expect("the first");
        let _second = take(&[1, 2]).expect("the first");
        let (third, _place) = take(&[1, 2]).expect("the other");
        assert_eq!(third, miner(2));
        assert!(take(&[1]).is_none());
        drop(first);
        assert!(take(&[1]).is_some());
    }
}
