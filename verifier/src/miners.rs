//! Places for miners: what one costs, who may hold it, who has to leave.
//!
//! ```text
//! price'   = min(2 max(price, 1), price_max)   at the end of an epoch with more registrations than the target
//!            max(price / 2, price_min)         with fewer
//! needed   : every model registered; while it serves any, the collateral of its devices locked (`challenge::collateral`)
//! place    : in the subnet of every model that it serves; one that never served any has its place in the root
//! full     : the miner with the least (emission of the last epoch, reputation, key) in the subnet that is not immune leaves it
//! immune   : epoch < epoch of its registration + immunity_epochs
//! ```
//!
//! Price, slots, immunity and epochs are the subnet's. The price is burned, once for a place. Who leaves loses place, models,
//! reputation and the running epoch's work in that subnet; its record stays, since records do, and it may register again at the
//! price of the day.

use std::collections::BTreeSet;

use assay_proto::genesis::Parameters;
use assay_proto::transaction::{Purpose, RegisterMiner};
use assay_proto::{ModelId, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::challenge::Counts;
use crate::error::Reason;
use crate::state::{Place, State, Work};
use crate::{accounts, challenge, latency, locks, subnets};

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

/// Registers a miner, for whose place `payer` pays, or changes nothing.
pub(crate) fn register(
    state: &mut State,
    payer: PublicKey,
    miner: PublicKey,
    body: RegisterMiner,
) -> Result<(), Reason> {
    if let Some(unknown) = body.model_ids.iter().find(|id| !state.models.contains_key(id)) {
        return Err(Reason::ModelUnknown(*unknown));
    }
    if !body.model_ids.is_empty() {
        let locked = state.lock(Purpose::Collateral, miner).map_or(0, |locked| locked.amount);
        locks::check_collateral(state, miner, body.devices, locked)?;
    }
    challenge::check_devices(state, body.devices, !body.model_ids.is_empty())?;
    // All of it is found out before anything changes.
    let wanted = lacking(state, &miner, &body.model_ids);
    let leaves = wanted.iter().map(|&subnet| make_room(state, subnet)).collect::<Result<Vec<_>, _>>()?;
    let prices = wanted.iter().map(|&subnet| state.registrations_of(subnet).price);
    let price = prices.fold(0, u64::saturating_add);
    accounts::burn(state, payer, price)?;
    challenge::register(state, miner, body.devices);
    let height = state.head.height;
    for (subnet, leaves) in wanted.into_iter().zip(leaves) {
        if let Some(other) = leaves {
            vacate(state, subnet, &other);
        }
        let registrations = match state.subnets.get_mut(&subnet) {
            Some(own) => &mut own.registrations,
            None => &mut state.registrations,
        };
        registrations.count = registrations.count.saturating_add(1);
        let place = match subnet {
            SubnetId::ROOT => &mut state.miners.entry(miner).or_default().root,
            _ => state.places.entry((subnet, miner)).or_default(),
        };
        place.since = Some(height);
    }
    let record = state.miners.entry(miner).or_default();
    record.endpoint = body.endpoint;
    record.models = body.model_ids.into_iter().collect::<BTreeSet<_>>();
    Ok(())
}

/// Subnets in which a miner needs a place to serve these models and has none.
fn lacking(state: &State, miner: &PublicKey, models: &[ModelId]) -> BTreeSet<SubnetId> {
    let has_place = |subnet| state.place(subnet, miner).is_some_and(|place| place.since.is_some());
    let mut wanted: BTreeSet<SubnetId> = models.iter().map(|id| state.subnet_of(id)).collect();
    if wanted.is_empty() && !state.subnets.keys().any(|&subnet| has_place(subnet)) {
        wanted.insert(SubnetId::ROOT);
    }
    wanted.retain(|&subnet| !has_place(subnet));
    wanted
}

/// Who has to leave a subnet for another one; nobody where there is room.
fn make_room(state: &State, subnet: SubnetId) -> Result<Option<PublicKey>, Reason> {
    let slots = subnets::slots(state, subnet);
    let places = state.places(subnet);
    let placed = || places.iter().filter_map(|(key, place)| Some((key, place, place.since?)));
    if placed().count() < slots {
        return Ok(None);
    }
    let immunity = state.parameters_of(subnet).immunity_epochs;
    let epoch = |height| state.epoch_of(subnet, height).0;
    let now = epoch(state.head.height);
    let immune = |since| now < epoch(since).saturating_add(immunity);
    let rank = |key: &PublicKey, place: &Place| (place.emission, place.reputation_ppm, *key);
    let candidates = placed().filter(|(.., since)| !immune(*since)).map(|(key, place, _)| rank(key, place));
    let (_, _, key) = candidates.min().ok_or(Reason::Miners(slots))?;
    Ok(Some(key))
}

/// Takes a miner's place in a subnet, with the models that it serves there.
fn vacate(state: &mut State, subnet: SubnetId, key: &PublicKey) {
    let served = state.miners.get(key).map(|miner| miner.models.clone()).unwrap_or_default();
    let left: BTreeSet<ModelId> = served.into_iter().filter(|id| state.subnet_of(id) != subnet).collect();
    if let Some(place) = state.place_mut(subnet, key) {
        *place = Place { earned: place.earned, ..Place::default() };
    }
    latency::leave(state, subnet, *key);
    if let Some(miner) = state.miners.get_mut(key) {
        let serves = !left.is_empty();
        if !serves {
            miner.endpoint.clear();
        }
        miner.models = left;
        if !serves {
            challenge::leave(state, *key);
        }
    }
}

/// Whether a miner may be given work for which it answers: it has the collateral that one in service needs.
pub fn may_serve(state: &State, miner: &PublicKey) -> bool {
    let locked = state.lock(Purpose::Collateral, *miner).map_or(0, |locked| locked.amount);
    locks::check_collateral(state, *miner, locks::devices(state, miner), locked).is_ok()
}

/// A miner's place in an epoch in which nothing counts yet.
pub(crate) fn begin_epoch(place: &mut Place) {
    place.work = Work::default();
    place.challenges = Counts::default();
    place.emission = 0;
}
