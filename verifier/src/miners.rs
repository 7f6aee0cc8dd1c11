//! Places for miners: what one costs, who may hold it, who has to leave.
//!
//! ```text
//! price'   = min(2 max(price, 1), price_max)   at the end of an epoch with more registrations than the target
//!            max(price / 2, price_min)         with fewer
//! needed   : every model registered; while it serves any, the collateral of its devices locked (`challenge::collateral`)
//! full     : the miner with the least (emission of the last epoch, reputation, key) that is not immune leaves
//! immune   : epoch < epoch of its registration + immunity_epochs
//! ```
//!
//! The price is burned, once for a place. Who leaves loses place, models, reputation and the running epoch's work; its record
//! stays, since records do, and it may register again at the price of the day.

use std::collections::BTreeSet;

use assay_proto::PublicKey;
use assay_proto::genesis::Parameters;
use assay_proto::transaction::{Purpose, RegisterMiner};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::state::{Miner, State, Work};
use crate::{accounts, challenge, limits, locks};

/// The price of a place and the demand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Registrations {
    /// Base units.
    pub price: u64,
    /// Registrations of the running epoch.
    pub count: u64,
}

impl Registrations {
    /// At the genesis.
    pub fn first(parameters: &Parameters) -> Self {
        Self { price: parameters.registration_price_min, count: 0 }
    }

    /// In the epoch after this one.
    pub fn next(self, parameters: &Parameters) -> Self {
        let (least, most) = (parameters.registration_price_min, parameters.registration_price_max);
        let price = match self.count.cmp(&parameters.registrations_target) {
            std::cmp::Ordering::Greater => self.price.max(1).saturating_mul(2).min(most),
            std::cmp::Ordering::Equal => self.price,
            std::cmp::Ordering::Less => (self.price >> 1).max(least),
        };
        Self { price, count: 0 }
    }
}

/// Registers a miner, or changes nothing.
pub(crate) fn register(state: &mut State, signer: PublicKey, body: RegisterMiner) -> Result<(), Reason> {
    if let Some(unknown) = body.model_ids.iter().find(|id| !state.models.contains_key(id)) {
        return Err(Reason::ModelUnknown(*unknown));
    }
    if !body.model_ids.is_empty() {
        let locked = state.lock(Purpose::Collateral, signer).map_or(0, |locked| locked.amount);
        locks::check_collateral(state, signer, body.devices, locked)?;
    }
    challenge::check_devices(state, body.devices, !body.model_ids.is_empty())?;
    if state.miners.get(&signer).is_none_or(|miner| miner.since.is_none()) {
        let leaves = make_room(state)?;
        accounts::burn(state, signer, state.registrations.price)?;
        state.registrations.count = state.registrations.count.saturating_add(1);
        if let Some(key) = leaves {
            challenge::leave(state, key);
            if let Some(miner) = state.miners.get_mut(&key) {
                *miner = Miner { earned: miner.earned, ..Miner::default() };
            }
        }
    }
    challenge::register(state, signer, body.devices);
    let height = state.head.height;
    let miner = state.miners.entry(signer).or_default();
    miner.since.get_or_insert(height);
    miner.endpoint = body.endpoint;
    miner.models = body.model_ids.into_iter().collect::<BTreeSet<_>>();
    Ok(())
}

/// Who has to leave for another one; nobody where there is room.
fn make_room(state: &State) -> Result<Option<PublicKey>, Reason> {
    let slots = match usize::try_from(state.parameters().miner_slots) {
        Ok(0) | Err(_) => limits::MINERS,
        Ok(slots) => slots.min(limits::MINERS),
    };
    let placed = || state.miners.iter().filter_map(|(key, miner)| Some((key, miner, miner.since?)));
    if placed().count() < slots {
        return Ok(None);
    }
    let (now, immunity) = (state.epoch_of(state.head.height), state.parameters().immunity_epochs);
    let immune = |since| now.0 < state.epoch_of(since).0.saturating_add(immunity);
    let rank = |key: &PublicKey, miner: &Miner| (miner.emission, miner.reputation_ppm, *key);
    let candidates = placed().filter(|(.., since)| !immune(*since)).map(|(key, miner, _)| rank(key, miner));
    let (_, _, key) = candidates.min().ok_or(Reason::Miners(slots))?;
    Ok(Some(key))
}

/// Whether a miner may be given work for which it answers: it has the collateral that one in service needs.
pub fn may_serve(state: &State, miner: &PublicKey) -> bool {
    let locked = state.lock(Purpose::Collateral, *miner).map_or(0, |locked| locked.amount);
    locks::check_collateral(state, *miner, locks::devices(state, miner), locked).is_ok()
}

/// The work of a miner that counts nothing yet.
pub(crate) fn begin_epoch(miner: &mut Miner) {
    miner.work = Work::default();
    miner.emission = 0;
}
