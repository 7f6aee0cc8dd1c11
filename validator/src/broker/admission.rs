//! Whether a job is taken.
//!
//! The ledger's rules say whether its receipt could count ([`check_job`]); this broker adds its own bounds on
//! deadline and price, on the number of jobs in progress, and
//!
//! ```text
//! funds(client) >= max_price + sum of max_price over the client's jobs in progress here
//! ```
//!
//! so that every answer it orders can be paid. The nonce comes last: a job that is refused uses none up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_proto::job::Job;
use assay_proto::{Envelope, JobId, PublicKey, Signed};
use assay_verifier::Reason;
use assay_verifier::operating::owner_of;
use assay_verifier::proof::VerifyingKey;
use assay_verifier::receipt::open_job;
use assay_verifier::transition::check_job;

use crate::application::Application;
use crate::config::BrokerConfig;
use crate::error::Error;

/// What the decision rests on.
pub(super) struct Admission {
    pub application: Arc<Application>,
    pub config: BrokerConfig,
    pub reservations: Arc<Reservations>,
}

/// A job that was taken, with its price reserved.
#[derive(Debug)]
pub(super) struct Admitted {
    pub job: Signed<Job>,
    pub id: JobId,
    pub key: VerifyingKey,
    pub reservation: Reservation,
}

impl Admission {
    /// Takes the job or says why not. Blocks: it checks a signature and syncs the disk.
    pub fn admit(&self, envelope: &Envelope) -> Result<Admitted, Error> {
        let state = self.application.state();
        let job = open_job(state.chain_id(), envelope)?;
        let client = job.signer();
        self.check_bounds(job.value())?;
        if owner_of(&state, &client) == self.application.validator() {
            return Err(Reason::OwnReceipt(client).into());
        }
        let key = check_job(&state, &job, self.application.keys())?;
        let balance = state.funds(&client);
        let reservation = self.reservations.reserve(client, job.value().max_price, balance)?;
        self.application.store().take_job_nonce(&client, job.value().nonce)?;
        Ok(Admitted { id: job.id(state.chain_id()), job, key, reservation })
    }

    fn check_bounds(&self, job: &Job) -> Result<(), Error> {
        let (least, most) = (self.config.deadline_min_ms, self.config.deadline_max_ms);
        if !(least..=most).contains(&job.deadline_ms) {
            return Err(Error::Deadline { least, most, got: job.deadline_ms });
        }
        if job.max_price < self.config.price_min {
            return Err(Error::Price { least: self.config.price_min, got: job.max_price });
        }
        Ok(())
    }
}

/// Jobs in progress and their prices.
#[derive(Debug)]
pub(super) struct Reservations {
    jobs: usize,
    jobs_per_client: usize,
    held: Mutex<BTreeMap<PublicKey, Held>>,
}

#[derive(Debug, Default)]
struct Held {
    jobs: usize,
    price: u64,
}

/// A job's share of the bounds; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Reservation {
    reservations: Arc<Reservations>,
    client: PublicKey,
    price: u64,
}

impl Reservations {
    pub fn new(jobs: usize, jobs_per_client: usize) -> Self {
        Self { jobs, jobs_per_client, held: Mutex::default() }
    }

    /// Reserves a job and its price of a client that holds `balance`.
    pub fn reserve(
        self: &Arc<Self>,
        client: PublicKey,
        price: u64,
        balance: u64,
    ) -> Result<Reservation, Error> {
        let mut held = self.held();
        if held.values().map(|held| held.jobs).sum::<usize>() >= self.jobs {
            return Err(Error::Busy { what: "jobs in progress", limit: self.jobs });
        }
        let (own, reserved) = held.get(&client).map_or((0, 0), |held| (held.jobs, held.price));
        if own >= self.jobs_per_client {
            return Err(Error::Busy { what: "jobs in progress of one client", limit: self.jobs_per_client });
        }
        if reserved.checked_add(price).is_none_or(|needed| needed > balance) {
            return Err(Error::Funds { client, balance, reserved, needed: price });
        }
        Ok(self.add(&mut held, client, price))
    }

    /// Holds the price of a job whose bounds were checked by a former run.
    pub fn hold(self: &Arc<Self>, client: PublicKey, price: u64) -> Reservation {
        let mut held = self.held();
        self.add(&mut held, client, price)
    }

    fn add(
        self: &Arc<Self>,
        held: &mut BTreeMap<PublicKey, Held>,
        client: PublicKey,
        price: u64,
    ) -> Reservation {
        let entry = held.entry(client).or_default();
        entry.jobs = entry.jobs.saturating_add(1);
        entry.price = entry.price.saturating_add(price);
        Reservation { reservations: Arc::clone(self), client, price }
    }

    /// Every change is one addition or subtraction, so a poisoned lock is still good.
    fn held(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The price is locked on the ledger: what the client holds is without it already.
    pub fn is_held(&mut self) {
        let mut held = self.reservations.held();
        if let Some(entry) = held.get_mut(&self.client) {
            entry.price = entry.price.saturating_sub(self.price);
        }
        self.price = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.reservations.held();
        if let Some(entry) = held.get_mut(&self.client) {
            entry.jobs = entry.jobs.saturating_sub(1);
            entry.price = entry.price.saturating_sub(self.price);
            if entry.jobs == 0 {
                held.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);

    #[test]
    fn jobs_in_progress_count_against_the_balance_until_they_end() {
        let reservations = Arc::new(Reservations::new(10, 10));
        let first = reservations.reserve(A, 60, 100).expect("fits");
        let refused = reservations.reserve(A, 41, 100);
        assert!(matches!(refused, Err(Error::Funds { reserved: 60, balance: 100, needed: 41, .. })));
        let _second = reservations.reserve(A, 40, 100).expect("fits exactly");
        drop(first);
        let _third = reservations.reserve(A, 60, 100).expect("fits again");
    }

    #[test]
    fn what_is_held_on_the_ledger_is_not_reserved_as_well() {
        let reservations = Arc::new(Reservations::new(10, 1));
        let mut first = reservations.reserve(A, 60, 100).expect("fits");
        first.is_held();
        // The job still counts as one in progress.
        assert!(matches!(reservations.reserve(A, 40, 40), Err(Error::Busy { .. })));
        drop(first);
        assert!(reservations.reserve(A, 40, 40).is_ok());
    }

    #[test]
    fn prices_that_overflow_together_are_refused() {
        let reservations = Arc::new(Reservations::new(10, 10));
        let _first = reservations.reserve(A, u64::MAX, u64::MAX).expect("fits");
        assert!(matches!(reservations.reserve(A, 1, u64::MAX), Err(Error::Funds { .. })));
    }

    #[test]
    fn jobs_are_bounded_for_one_client_and_for_all() {
        let reservations = Arc::new(Reservations::new(3, 2));
        let first = reservations.reserve(A, 1, 100).expect("one");
        let _second = reservations.reserve(A, 1, 100).expect("two");
        let refused = reservations.reserve(A, 1, 100);
        assert!(matches!(refused, Err(Error::Busy { what: "jobs in progress of one client", limit: 2 })));
        let _third = reservations.reserve(B, 1, 100).expect("three");
        let refused = reservations.reserve(B, 1, 100);
        assert!(matches!(refused, Err(Error::Busy { what: "jobs in progress", limit: 3 })));
        drop(first);
        let _fourth = reservations.reserve(B, 1, 100).expect("room again");
    }
}
