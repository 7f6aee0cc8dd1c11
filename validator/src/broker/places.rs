//! How many jobs each miner holds for this broker, and which waiting job is next.
//!
//! ```text
//! place     a miner holds at most `limit` jobs
//! order     jobs that were passed over PASSED times, by arrival; then the others by tier, priority first, then by arrival
//! next      a job takes a place at a miner only if no job before it in that order waits for the same miner
//! passed    a job that waits for a miner whose place a later job takes
//! ```
//!
//! So a dearer job goes before a cheaper one, and no job is overtaken more than PASSED times at the miners that it waits for,
//! however many dearer ones come: tiers never starve each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_proto::PublicKey;
use assay_proto::job::Tier;
use tokio::sync::Notify;

use super::assignment::Candidate;

/// Later jobs that may take a place before a waiting one.
pub(super) const PASSED: u32 = 8;

/// Places at every miner, `limit` each, and the jobs that wait for one.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    line: Mutex<Line>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Line {
    held: BTreeMap<PublicKey, usize>,
    /// By arrival.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    tier: Tier,
    passed: u32,
    wants: BTreeSet<PublicKey>,
}

/// A job that waits; dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Ticket {
    places: Arc<Places>,
    arrival: u64,
}

/// A place at one miner; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    miner: PublicKey,
}

impl Waiting {
    /// Less goes first.
    fn rank(&self, arrival: u64) -> (Reverse<bool>, Reverse<Tier>, u64) {
        let overdue = self.passed >= PASSED;
        let tier = if overdue { Tier::Priority } else { self.tier };
        (Reverse(overdue), Reverse(tier), arrival)
    }
}

impl Places {
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Mutex::default(), freed: Notify::new() }
    }

    /// A job begins to wait.
    pub fn join(self: &Arc<Self>, tier: Tier) -> Ticket {
        let mut line = self.line();
        let arrival = line.next;
        line.next = line.next.saturating_add(1);
        line.waiting.insert(arrival, Waiting { tier, passed: 0, wants: BTreeSet::new() });
        Ticket { places: Arc::clone(self), arrival }
    }

    /// Resolves when a place was freed, or a job left the line, after the call.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Every change leaves the line whole, so a poisoned lock is still good.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Takes a place at the miner that `choose` picks among those that have one for this job now.
    pub fn take(
        &self,
        mut candidates: Vec<Candidate>,
        choose: impl FnOnce(&[Candidate]) -> Option<Candidate>,
    ) -> Option<(Candidate, Place)> {
        let (mut guard, arrival) = (self.places.line(), self.arrival);
        let line = &mut *guard;
        let own = line.waiting.get_mut(&arrival)?;
        own.wants = candidates.iter().map(|candidate| candidate.miner).collect();
        let rank = own.rank(arrival);
        let before = |(other, waiting): &(&u64, &Waiting)| waiting.rank(**other) < rank;
        let awaited: BTreeSet<PublicKey> = line
            .waiting
            .iter()
            .filter(before)
            .flat_map(|(_, waiting)| waiting.wants.iter().copied())
            .collect();
        candidates.retain(|candidate| {
            let room = line.held.get(&candidate.miner).is_none_or(|&jobs| jobs < self.places.limit);
            room && !awaited.contains(&candidate.miner)
        });
        let chosen = choose(&candidates)?;
        let jobs = line.held.entry(chosen.miner).or_default();
        *jobs = jobs.saturating_add(1);
        let earlier = line.waiting.range_mut(..arrival).map(|(_, waiting)| waiting);
        earlier
            .filter(|waiting| waiting.wants.contains(&chosen.miner))
            .for_each(|waiting| waiting.passed = waiting.passed.saturating_add(1));
        line.waiting.remove(&arrival);
        drop(guard);
        self.places.freed.notify_waiters();
        let place = Place { places: Arc::clone(&self.places), miner: chosen.miner };
        Some((chosen, place))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.places.line().waiting.remove(&self.arrival).is_some() {
            self.places.freed.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.places.line();
        if let Some(jobs) = line.held.get_mut(&self.miner) {
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                line.held.remove(&self.miner);
            }
        }
        drop(line);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use assay_verifier::operating::Signers;

    use super::*;

    fn miners(all: &[u8]) -> Vec<Candidate> {
        let one = |&n: &u8| Candidate {
            miner: PublicKey([n; 32]),
            endpoint: String::new(),
            reputation_ppm: 0,
            signers: Signers::new(PublicKey([n; 32]), [PublicKey([n; 32])]),
        };
        all.iter().map(one).collect()
    }

    fn take(ticket: &Ticket, all: &[u8]) -> Option<(Candidate, Place)> {
        ticket.take(miners(all), |free| free.first().cloned())
    }

    #[test]
    fn a_miner_holds_no_more_jobs_than_its_places() {
        let places = Arc::new(Places::new(2));
        let join = || places.join(Tier::Standard);
        let first = take(&join(), &[1, 2]).expect("the first");
        let _second = take(&join(), &[1, 2]).expect("the first");
        let (third, _place) = take(&join(), &[1, 2]).expect("the other");
        assert_eq!(third.miner, PublicKey([2; 32]));
        assert!(take(&join(), &[1]).is_none());
        drop(first);
        assert!(take(&join(), &[1]).is_some());
    }

    #[test]
    fn dearer_jobs_go_first_and_equal_ones_by_arrival() {
        let places = Arc::new(Places::new(1));
        let (_, busy) = take(&places.join(Tier::Economy), &[1]).expect("free");
        let tiers = [Tier::Economy, Tier::Standard, Tier::Priority, Tier::Standard, Tier::Priority];
        let tickets: Vec<Ticket> = tiers.iter().map(|&tier| places.join(tier)).collect();
        assert!(tickets.iter().all(|ticket| take(ticket, &[1]).is_none()));
        drop(busy);
        let mut order = Vec::new();
        while order.len() < tickets.len() {
            // Only one of them is next, whoever asks first; its place is free again when all have asked.
            let taken: Vec<(usize, Place)> =
                (0..tickets.len()).filter_map(|n| Some((n, take(&tickets[n], &[1])?.1))).collect();
            assert_eq!(taken.len(), 1, "{taken:?}");
            order.extend(taken.iter().map(|(n, _)| *n));
        }
        assert_eq!(order, [2, 4, 1, 3, 0]);
    }

    #[test]
    fn no_job_is_passed_over_more_often_than_the_bound() {
        let places = Arc::new(Places::new(1));
        let cheap = places.join(Tier::Economy);
        let (_, mut busy) =
            take(&places.join(Tier::Priority), &[1]).expect("free: the other has asked for nobody");
        assert!(take(&cheap, &[1]).is_none());
        // Priority jobs without end, one always waiting.
        for _ in 0..PASSED {
            let dear = places.join(Tier::Priority);
            assert!(take(&dear, &[1]).is_none());
            drop(busy);
            assert!(take(&cheap, &[1]).is_none());
            busy = take(&dear, &[1]).expect("it goes first").1;
        }
        let dear = places.join(Tier::Priority);
        assert!(take(&dear, &[1]).is_none());
        drop(busy);
        assert!(take(&dear, &[1]).is_none(), "the other is overdue");
        assert!(take(&cheap, &[1]).is_some());
    }

    #[test]
    fn a_job_waits_only_for_those_before_it_that_want_the_same_miner() {
        let places = Arc::new(Places::new(1));
        let (_, busy) = take(&places.join(Tier::Standard), &[1]).expect("free");
        let dear = places.join(Tier::Priority);
        assert!(take(&dear, &[1]).is_none());
        let cheap = places.join(Tier::Economy);
        let (chosen, _place) = take(&cheap, &[1, 2]).expect("the other miner is free");
        assert_eq!(chosen.miner, PublicKey([2; 32]));
        // Who leaves the line is waited for no more.
        let last = places.join(Tier::Economy);
        drop(busy);
        assert!(take(&last, &[1]).is_none());
        drop(dear);
        assert!(take(&last, &[1]).is_some());
    }
}
