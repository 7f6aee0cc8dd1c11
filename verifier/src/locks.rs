//! What accounts have locked: stake behind validators, collateral of miners, escrow of clients.
//!
//! ```text
//! lock      balance - a,  locked + a
//! unlock    locked - a,   leaving at height + unbonding_blocks + a        at most `limits::LEAVING` heights a lock
//! release   at the end of the block of that height, back to the balance
//! slash     every part of a lock, leaving or not, loses floor(part * share), which is burned
//! draw      an escrow pays from what is locked first, then from what leaves last
//! power     of the stake on a validator: floor(sum locked / stake_per_power); what leaves has none
//! dividend  of a reward R of a validator with power p, q of it from stake: its owners have floor(R q / p) together, each
//!           floor(that * own stake that votes / all that votes on the validator); the validator has the rest
//! ```
//!
//! Stake is on a validator, or on the owner's own key where stake votes; not on a key that equivocated. A key that has power
//! from stake is a validator, beside those of the genesis; of more than fit into `limits::VALIDATORS` those with the greatest
//! power, and of equal ones those with the smaller keys. Power is taken at the end of an epoch and counts from the first
//! block of the next but one, so that everybody knows the voters of an epoch an epoch ahead; it cannot be
//! released before that power has ended (see `unbonding_blocks`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use assay_proto::limits::{LEAVING, PPM, VALIDATORS};
use assay_proto::transaction::{Devices, Lock, Purpose};
use assay_proto::{Height, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::state::State;
use crate::{accounts, challenge};

/// Base units that an account has locked for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Locked {
    /// Not asked back.
    pub amount: u64,
    /// Asked back, by the height at whose end it is released.
    pub leaving: BTreeMap<Height, u64>,
    /// Of a stake: what votes in the running epoch.
    pub votes: u64,
    /// Of a stake: what votes in the next.
    pub announced: u64,
}

impl Locked {
    /// All of it.
    pub fn total(&self) -> u128 {
        self.parts().map(|&part| u128::from(part)).sum()
    }

    fn parts(&self) -> impl Iterator<Item = &u64> {
        std::iter::once(&self.amount).chain(self.leaving.values())
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        std::iter::once(&mut self.amount).chain(self.leaving.values_mut().rev())
    }
}

/// Voting power that validators have from stake.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StakePower {
    /// In the epoch before: at its last block, that of those who committed it.
    pub previous: BTreeMap<PublicKey, u64>,
    /// In the running epoch.
    pub current: BTreeMap<PublicKey, u64>,
    /// In the next.
    pub next: BTreeMap<PublicKey, u64>,
}

/// Locks base units of an account, or none.
pub(crate) fn lock(state: &mut State, owner: PublicKey, body: Lock) -> Result<(), Reason> {
    let Lock { purpose, amount } = body;
    if let Purpose::Stake(validator) = purpose {
        let joins = validator == owner && state.parameters().stake_per_power > 0;
        let takes = state.validators().contains(&validator) || joins;
        if !takes || state.offenders.contains_key(&validator) {
            return Err(Reason::StakeTarget(validator));
        }
    }
    let before = state.lock(purpose, owner).map_or(0, |locked| locked.amount);
    let sum = before.checked_add(amount).ok_or(Reason::Overflow("a lock"))?;
    accounts::debit(state, owner, amount)?;
    state.locks.entry((purpose, owner)).or_default().amount = sum;
    Ok(())
}

/// Begins the release of base units of an account, or of none.
pub(crate) fn unlock(state: &mut State, owner: PublicKey, body: Lock) -> Result<(), Reason> {
    let Lock { purpose, amount } = body;
    let locked = state.lock(purpose, owner).map_or(0, |locked| locked.amount);
    let left = locked.checked_sub(amount).ok_or(Reason::Lock { purpose, owner, locked, needed: amount })?;
    let serves = state.miners.get(&owner).is_some_and(|miner| !miner.models.is_empty());
    if purpose == Purpose::Collateral && serves {
        check_collateral(state, owner, devices(state, &owner), left)?;
    }
    let height = Height(state.head.height.0.saturating_add(state.parameters().unbonding_blocks));
    let entry = state.locks.entry((purpose, owner)).or_default();
    if entry.leaving.len() >= LEAVING && !entry.leaving.contains_key(&height) {
        return Err(Reason::Leaving(purpose));
    }
    let part = entry.leaving.entry(height).or_default();
    *part = part.checked_add(amount).ok_or(Reason::Overflow("a lock"))?;
    entry.amount = left;
    Ok(())
}

/// The devices that a miner has registered.
pub(crate) fn devices(state: &State, miner: &PublicKey) -> Devices {
    state.availability.get(miner).map_or_else(Devices::default, |availability| availability.devices)
}

/// Whether collateral is enough for a miner in service with these devices.
pub(crate) fn check_collateral(
    state: &State,
    miner: PublicKey,
    devices: Devices,
    got: u64,
) -> Result<(), Reason> {
    let needed = challenge::collateral(state, devices);
    if got >= needed { Ok(()) } else { Err(Reason::Collateral { miner, needed, got }) }
}

/// Gives back what leaves at the state's height.
pub(crate) fn release(state: &mut State) -> Result<(), Reason> {
    let height = state.head.height;
    let due = |((_, owner), locked): (&(Purpose, PublicKey), &mut Locked)| {
        let amount = locked.leaving.remove(&height)?;
        Some((*owner, amount))
    };
    let released: Vec<(PublicKey, u64)> = state.locks.iter_mut().filter_map(due).collect();
    released.into_iter().try_for_each(|(owner, amount)| accounts::credit(state, owner, amount))
}

/// Whether there is stake on a validator, part of which may be leaving.
pub(crate) fn has_stake(state: &State, validator: PublicKey) -> bool {
    state.locks.range(on(validator)).any(|(_, locked)| locked.total() > 0)
}

/// Burns a share of all stake on a validator.
pub(crate) fn slash_stake(state: &mut State, validator: PublicKey) -> Result<(), Reason> {
    let ppm = state.parameters().slash_ppm;
    let stakes = state.locks.range_mut(on(validator));
    let burned = stakes.fold(0, |sum: u64, (_, locked)| sum.saturating_add(cut(locked, ppm)));
    note_burned(state, burned)
}

/// Burns a share of a miner's collateral.
pub(crate) fn slash_collateral(state: &mut State, miner: PublicKey) -> Result<(), Reason> {
    let ppm = state.parameters().collateral_slash_ppm;
    let burned = state.locks.get_mut(&(Purpose::Collateral, miner)).map_or(0, |locked| cut(locked, ppm));
    note_burned(state, burned)
}

/// Pays what a validator with this power earned, to it and to the owners of the stake that votes for it.
pub(crate) fn pay_dividend(
    state: &mut State,
    validator: PublicKey,
    power: u64,
    reward: u64,
) -> Result<(), Reason> {
    let voting = state.stake_power.current.get(&validator).copied().unwrap_or(0);
    let stakes: Vec<(PublicKey, u64)> =
        state.locks.range(on(validator)).map(|((_, owner), locked)| (*owner, locked.votes)).collect();
    let total = stakes.iter().fold(0, |sum: u64, (_, votes)| sum.saturating_add(*votes));
    let owners = share(reward, voting, power);
    let mut rest = reward;
    for (owner, votes) in stakes {
        let part = share(owners, votes, total);
        accounts::credit(state, owner, part)?;
        rest = rest.saturating_sub(part);
    }
    accounts::credit(state, validator, rest)
}

/// All stake on a validator.
fn on(validator: PublicKey) -> RangeInclusive<(Purpose, PublicKey)> {
    let purpose = Purpose::Stake(validator);
    (purpose, PublicKey([0; 32]))..=(purpose, PublicKey([u8::MAX; 32]))
}

/// `floor(whole * part / total)` for `part <= total`, 0 of a total of 0.
fn share(whole: u64, part: u64, total: u64) -> u64 {
    let share = u128::from(whole).saturating_mul(part.into()).checked_div(total.into()).unwrap_or(0);
    u64::try_from(share).unwrap_or(u64::MAX).min(whole)
}

/// Takes a share of every part; what was taken.
fn cut(locked: &mut Locked, ppm: u64) -> u64 {
    let mut taken = 0_u64;
    for part in locked.parts_mut() {
        let cut = share(*part, ppm, PPM);
        *part = part.saturating_sub(cut);
        taken = taken.saturating_add(cut);
    }
    taken
}

fn note_burned(state: &mut State, amount: u64) -> Result<(), Reason> {
    let burned = state.supply.burned.checked_add(amount);
    state.supply.burned = burned.ok_or(Reason::Overflow("what was burned"))?;
    Ok(())
}

/// Pays a miner from a client's escrow, or nothing.
pub(crate) fn draw(
    state: &mut State,
    client: PublicKey,
    miner: PublicKey,
    amount: u64,
) -> Result<(), Reason> {
    let purpose = Purpose::Escrow;
    let total = state.lock(purpose, client).map_or(0, Locked::total);
    if total < amount.into() {
        let locked = u64::try_from(total).unwrap_or(u64::MAX);
        return Err(Reason::Lock { purpose, owner: client, locked, needed: amount });
    }
    accounts::credit(state, miner, amount)?;
    if let Some(locked) = state.locks.get_mut(&(purpose, client)) {
        let mut rest = amount;
        for part in locked.parts_mut() {
            let taken = rest.min(*part);
            *part = part.saturating_sub(taken);
            rest = rest.saturating_sub(taken);
        }
    }
    Ok(())
}

/// At the end of an epoch: what was announced counts, and the stake of now is announced.
pub(crate) fn announce_power(state: &mut State) {
    let per_power = state.parameters().stake_per_power;
    if per_power == 0 {
        return;
    }
    let mut stakes = BTreeMap::<PublicKey, u64>::new();
    for ((purpose, _), locked) in &mut state.locks {
        if let Purpose::Stake(validator) = purpose {
            locked.votes = std::mem::replace(&mut locked.announced, locked.amount);
            let stake = stakes.entry(*validator).or_default();
            *stake = stake.saturating_add(locked.amount);
        }
    }
    let power = |(key, stake): (PublicKey, u64)| (key, stake.checked_div(per_power).unwrap_or(0));
    let mut next: BTreeMap<PublicKey, u64> =
        stakes.into_iter().map(power).filter(|&(_, power)| power > 0).collect();
    let named = &state.genesis_block().validators;
    let is_named = |key: &PublicKey| named.iter().any(|validator| validator.public_key == *key);
    let mut joining: Vec<(Reverse<u64>, PublicKey)> =
        next.iter().filter(|(key, _)| !is_named(key)).map(|(key, power)| (Reverse(*power), *key)).collect();
    joining.sort_unstable();
    for (_, key) in joining.iter().skip(VALIDATORS.saturating_sub(named.len())) {
        next.remove(key);
    }
    let StakePower { previous, current, next: announced } = &mut state.stake_power;
    *previous = std::mem::replace(current, std::mem::replace(announced, next));
}
