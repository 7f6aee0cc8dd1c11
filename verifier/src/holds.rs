//! Prices of jobs, locked while the jobs run, where jobs are prepaid and `hold_blocks` is not 0.
//!
//! ```text
//! hold      escrow - max_price, held + max_price     by a validator, with the job that the client signed; one a nonce
//! receipt   held -> miner                            of the validator that held it, if it is verified
//! release   held -> escrow                           by that validator, with a reason
//! expiry    held -> escrow                           at the end of the block hold_blocks after the hold
//! ```
//!
//! So base units are promised to one job of one broker at a time, and a broker that vanishes gives them back in the end.
//! Without a hold a verified receipt is refused.

use std::collections::BTreeMap;

use assay_proto::hold::Release;
use assay_proto::job::Job;
use assay_proto::transaction::Purpose;
use assay_proto::{Height, JobId, PublicKey, Signed};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::state::State;
use crate::{accounts, limits};

/// A price that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Held {
    /// Of this job.
    pub job_id: JobId,
    /// Base units.
    pub amount: u64,
    /// Who assigns the job.
    pub broker: PublicKey,
    /// Height at whose end it goes back.
    pub expires: Height,
}

/// Prices of a client's jobs, by their nonces.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Holds(pub BTreeMap<u64, Held>);

impl Holds {
    /// All of it.
    pub fn total(&self) -> u128 {
        self.0.values().map(|held| u128::from(held.amount)).sum()
    }
}

/// Whether prices are locked on this chain.
pub fn are_needed(state: &State) -> bool {
    state.parameters().prepaid == 1 && state.parameters().hold_blocks > 0
}

/// Locks the price of a job that may be settled, or nothing.
pub(crate) fn hold(state: &mut State, broker: PublicKey, job: &Signed<Job>) -> Result<(), Reason> {
    let (client, job_id) = (job.signer(), job.id(state.chain_id()));
    let Job { nonce, max_price: amount, .. } = *job.value();
    if !are_needed(state) {
        return Err(Reason::HoldNotTaken);
    }
    let before = state.holds.get(&client).map_or(0, |holds| holds.0.len());
    if let Some(held) = state.holds.get(&client).and_then(|holds| holds.0.get(&nonce)) {
        return Err(Reason::HoldExists { client, nonce, broker: held.broker });
    }
    if before >= limits::HOLDS {
        return Err(Reason::Holds(client));
    }
    let purpose = Purpose::Escrow;
    let locked = state.lock(purpose, client).map_or(0, |locked| locked.amount);
    let left = locked.checked_sub(amount);
    let left = left.ok_or(Reason::Lock { purpose, owner: client, locked, needed: amount })?;
    if let Some(locked) = state.locks.get_mut(&(purpose, client)) {
        locked.amount = left;
    }
    let expires = Height(state.head.height.0.saturating_add(state.parameters().hold_blocks));
    state.holds.entry(client).or_default().0.insert(nonce, Held { job_id, amount, broker, expires });
    Ok(())
}

/// Pays a miner what is held for a job, or nothing.
pub(crate) fn pay(
    state: &mut State,
    broker: PublicKey,
    job: &Signed<Job>,
    miner: PublicKey,
) -> Result<(), Reason> {
    let (client, nonce, job_id) = (job.signer(), job.value().nonce, job.id(state.chain_id()));
    let held = own(state, client, nonce, broker)?;
    if held.job_id != job_id {
        return Err(Reason::JobConflict { first: held.job_id, got: job_id });
    }
    accounts::credit(state, miner, held.amount)?;
    take(state, client, nonce);
    Ok(())
}

/// Gives a price back, or nothing.
pub(crate) fn release(state: &mut State, broker: PublicKey, body: Release) -> Result<(), Reason> {
    let Release { client, nonce, reason: _ } = body;
    let held = own(state, client, nonce, broker)?;
    give_back(state, client, held.amount)?;
    take(state, client, nonce);
    Ok(())
}

/// Gives back what expires at the state's height.
pub(crate) fn expire(state: &mut State) -> Result<(), Reason> {
    let height = state.head.height;
    let due = |(client, holds): (&PublicKey, &Holds)| {
        let expired = holds.0.iter().filter(|(_, held)| held.expires <= height);
        expired.map(|(nonce, held)| (*client, *nonce, held.amount)).collect::<Vec<_>>()
    };
    let due: Vec<_> = state.holds.iter().flat_map(due).collect();
    for (client, nonce, amount) in due {
        give_back(state, client, amount)?;
        take(state, client, nonce);
    }
    Ok(())
}

fn own(state: &State, client: PublicKey, nonce: u64, broker: PublicKey) -> Result<Held, Reason> {
    let held = state.holds.get(&client).and_then(|holds| holds.0.get(&nonce)).copied();
    held.filter(|held| held.broker == broker).ok_or(Reason::HoldMissing { client, nonce, broker })
}

fn take(state: &mut State, client: PublicKey, nonce: u64) {
    if let Some(holds) = state.holds.get_mut(&client) {
        holds.0.remove(&nonce);
    }
}

fn give_back(state: &mut State, client: PublicKey, amount: u64) -> Result<(), Reason> {
    let locked = state.locks.entry((Purpose::Escrow, client)).or_default();
    locked.amount = locked.amount.checked_add(amount).ok_or(Reason::Overflow("an escrow"))?;
    Ok(())
}
