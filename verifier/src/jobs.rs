//! Which jobs of a client are still to be settled.
//!
//! A nonce is *closed* once its job is settled, or once it lies more than `JOB_WINDOW` behind the client's greatest
//! nonce. `floor` is the greatest nonce such that it and all below are closed. Between floor and greatest, jobs end
//! in any order. A nonce belongs to the first job that the ledger sees under it, and each (job, miner) pair counts
//! once; pairs of closed nonces need not be kept, since nothing is accepted for them.

use std::collections::{BTreeMap, BTreeSet};

use assay_proto::{JobId, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::limits;

/// Nonces of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClientJobs {
    floor: u64,
    closed: BTreeSet<u64>,
    open: BTreeMap<u64, OpenJob>,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct OpenJob {
    job_id: JobId,
    miners: BTreeSet<PublicKey>,
}

impl ClientJobs {
    /// The greatest nonce that the ledger has seen.
    pub fn latest(&self) -> u64 {
        let closed = self.closed.last().copied().unwrap_or(0);
        let open = self.open.last_key_value().map_or(0, |(&nonce, _)| nonce);
        self.floor.max(closed).max(open)
    }

    /// Whether nothing more is accepted under this nonce.
    pub fn is_closed(&self, nonce: u64) -> bool {
        nonce <= self.floor || self.closed.contains(&nonce)
    }

    /// Whether a job may still be settled under this nonce.
    pub fn check(&self, client: PublicKey, nonce: u64, job_id: JobId) -> Result<(), Reason> {
        if self.is_closed(nonce) {
            return Err(Reason::JobClosed { client, nonce });
        }
        let latest = self.latest();
        if nonce.saturating_sub(latest) > limits::NONCE_STEP {
            return Err(Reason::JobNonce { client, latest, got: nonce });
        }
        match self.open.get(&nonce) {
            Some(open) if open.job_id != job_id => {
                Err(Reason::JobConflict { first: open.job_id, got: job_id })
            }
            Some(open) if open.miners.len() >= limits::ATTEMPTS => Err(Reason::Attempts(job_id)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether this assignment may be recorded.
    pub fn check_attempt(
        &self,
        client: PublicKey,
        nonce: u64,
        job: JobId,
        miner: PublicKey,
    ) -> Result<(), Reason> {
        self.check(client, nonce, job)?;
        match self.open.get(&nonce) {
            Some(open) if open.miners.contains(&miner) => Err(Reason::DuplicateReceipt { job, miner }),
            Some(_) | None => Ok(()),
        }
    }

    /// Records an assignment that [`Self::check_attempt`] accepts.
    pub fn record(&mut self, nonce: u64, job_id: JobId, miner: PublicKey, settled: bool) {
        if settled {
            self.open.remove(&nonce);
            self.closed.insert(nonce);
        } else {
            let open = self.open.entry(nonce).or_insert_with(|| OpenJob { job_id, miners: BTreeSet::new() });
            open.miners.insert(miner);
        }
        self.floor = self.floor.max(self.latest().saturating_sub(limits::JOB_WINDOW));
        let floor = self.floor;
        self.open.retain(|&nonce, _| nonce > floor);
        self.closed.retain(|&nonce| nonce > floor);
        while self.closed.first().copied() == self.floor.checked_add(1) {
            self.closed.pop_first();
            self.floor = self.floor.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: PublicKey = PublicKey([1; 32]);

    fn job(n: u64) -> JobId {
        JobId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn miner(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn settle(jobs: &mut ClientJobs, nonce: u64) {
        jobs.check_attempt(CLIENT, nonce, job(nonce), miner(1)).unwrap();
        jobs.record(nonce, job(nonce), miner(1), true);
    }

    #[test]
    fn nonce_zero_is_never_open() {
        assert!(matches!(
            ClientJobs::default().check(CLIENT, 0, job(0)),
            Err(Reason::JobClosed { nonce: 0, .. })
        ));
    }

    #[test]
    fn jobs_settle_in_any_order_and_each_once() {
        let mut jobs = ClientJobs::default();
        for nonce in [3, 1, 2, 7] {
            settle(&mut jobs, nonce);
        }
        for nonce in [1, 2, 3, 7] {
            assert!(
                matches!(jobs.check(CLIENT, nonce, job(nonce)), Err(Reason::JobClosed { .. })),
                "{nonce}"
            );
        }
        assert!(jobs.check(CLIENT, 5, job(5)).is_ok());
        assert_eq!((jobs.floor, jobs.latest()), (3, 7));
    }

    #[test]
    fn settled_nonces_without_a_gap_take_no_room() {
        let mut jobs = ClientJobs::default();
        (1..=5000).for_each(|nonce| settle(&mut jobs, nonce));
        assert_eq!(jobs, ClientJobs { floor: 5000, ..ClientJobs::default() });
    }

    #[test]
    fn the_record_of_a_client_is_bounded_whatever_its_nonces() {
        let mut jobs = ClientJobs::default();
        for nonce in (1..20_000).step_by(2) {
            jobs.record(nonce, job(nonce), miner(1), nonce % 4 == 1);
        }
        assert!(jobs.open.len() + jobs.closed.len() <= usize::try_from(limits::JOB_WINDOW).unwrap());
        assert!(jobs.is_closed(jobs.latest() - limits::JOB_WINDOW));
        assert!(!jobs.is_closed(jobs.latest() - limits::JOB_WINDOW + 1));
    }

    #[test]
    fn a_nonce_far_ahead_cannot_close_the_others() {
        let mut jobs = ClientJobs::default();
        settle(&mut jobs, 10);
        let far = 10 + limits::NONCE_STEP;
        assert!(jobs.check(CLIENT, far, job(1)).is_ok());
        assert!(matches!(jobs.check(CLIENT, far + 1, job(1)), Err(Reason::JobNonce { latest: 10, .. })));
        assert!(matches!(jobs.check(CLIENT, u64::MAX, job(1)), Err(Reason::JobNonce { .. })));
    }

    #[test]
    fn a_retry_goes_to_another_miner_until_the_job_is_settled() {
        let mut jobs = ClientJobs::default();
        jobs.record(1, job(1), miner(1), false);
        let again = jobs.check_attempt(CLIENT, 1, job(1), miner(1));
        assert!(matches!(again, Err(Reason::DuplicateReceipt { .. })));
        assert!(jobs.check_attempt(CLIENT, 1, job(1), miner(2)).is_ok());
        jobs.record(1, job(1), miner(2), true);
        assert!(matches!(jobs.check_attempt(CLIENT, 1, job(1), miner(3)), Err(Reason::JobClosed { .. })));
    }

    #[test]
    fn a_second_job_under_an_open_nonce_is_refused() {
        let mut jobs = ClientJobs::default();
        jobs.record(1, job(1), miner(1), false);
        assert!(matches!(jobs.check(CLIENT, 1, job(2)), Err(Reason::JobConflict { .. })));
    }

    #[test]
    fn attempts_of_one_job_are_bounded() {
        let mut jobs = ClientJobs::default();
        for n in 0..limits::ATTEMPTS {
            assert!(jobs.check(CLIENT, 1, job(1)).is_ok());
            jobs.record(1, job(1), miner(u8::try_from(n).unwrap()), false);
        }
        assert!(matches!(jobs.check(CLIENT, 1, job(1)), Err(Reason::Attempts(_))));
    }
}
