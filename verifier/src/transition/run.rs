//! One pass over a block's transactions, shared by whoever makes a block and whoever judges it.

use assay_proto::block::BlockHeader;
use assay_proto::report::{EpochReport, SubnetEpoch};
use assay_proto::{PublicKey, Root, SubnetId};

use super::prepare::Prepared;
use super::{LoggedReceipt, Transition, body, ends_epoch};
use crate::epoch::Standing;
use crate::error::Reason;
use crate::scores::Consensus;
use crate::state::{Head, KeyCache, Record, State};
use crate::{accounts, challenge, epoch, governance, holds, latency, locks, miners, subnets};

/// A state in the middle of a block.
pub(crate) struct Run<'a> {
    before: &'a State,
    state: State,
    executed: usize,
    receipts: Vec<LoggedReceipt>,
}

/// A state at the end of a block whose header is not known yet.
pub(crate) struct Ended {
    state: State,
    /// What differs from the state before, but for the head.
    records: Vec<Record>,
    receipts: Vec<LoggedReceipt>,
    report: Option<EpochReport>,
}

impl<'a> Run<'a> {
    /// The block after `before`.
    pub(crate) fn begin(before: &'a State) -> Self {
        let mut state = before.clone();
        state.head.height = state.head.height.next();
        challenge::begin(before, &mut state);
        Self { before, state, executed: 0, receipts: Vec::new() }
    }

    /// Applies the next transaction, or leaves everything as it is.
    pub(crate) fn execute(&mut self, prepared: Prepared, keys: &KeyCache) -> Result<(), Reason> {
        if let Some(logged) = body::execute(&mut self.state, prepared, keys)? {
            self.receipts.push(logged.at(self.executed));
        }
        self.executed = self.executed.saturating_add(1);
        Ok(())
    }

    /// Gives back what leaves and expires here, ends challenges, ends the epoch where it ends, checks the supply and commits to the state.
    pub(crate) fn finish(mut self) -> Result<Ended, Reason> {
        locks::release(&mut self.state)?;
        holds::expire(&mut self.state)?;
        challenge::end(&mut self.state);
        let report = end_epoch(&mut self.state)?;
        self.state.check_supply()?;
        let mut records = self.state.changes_since(self.before);
        records.retain(|record| !matches!(record, Record::Head(_)));
        self.state.grow(&records);
        Ok(Ended { state: self.state, records, receipts: self.receipts, report })
    }
}

impl Ended {
    /// The commitment to the state.
    pub(crate) fn root(&self) -> Root {
        self.state.root()
    }

    /// The transition under a header.
    pub(crate) fn into_transition(mut self, header: &BlockHeader) -> Transition {
        let head = Head { height: header.height, hash: header.hash(), time_ms: header.time_ms };
        self.state.set_head(head);
        self.records.push(Record::Head(head));
        Transition { state: self.state, records: self.records, receipts: self.receipts, report: self.report }
    }
}

/// Ends the epoch if the state's height is its last: mints the rewards of the root and of every subnet whose epoch ends too, moves
/// reputations, bonds and prices of places there, the power of stake and the numbers of the rules.
fn end_epoch(state: &mut State) -> Result<Option<EpochReport>, Reason> {
    let height = state.head.height;
    if !ends_epoch(state, SubnetId::ROOT, height) {
        return Ok(None);
    }
    let epoch = state.epoch_of(SubnetId::ROOT, height);
    let pending = state.subnets.values().map(|own| own.pending_emission);
    let outstanding = pending.fold(state.supply.total(), u64::saturating_add);
    let emission = epoch::emission(state.parameters(), epoch, outstanding);
    let shares = subnets::shares(state, emission);
    let others = shares.values().fold(0, |sum: u64, &share| sum.saturating_add(share));
    let root = close(state, SubnetId::ROOT, emission.saturating_sub(others))?;
    for (subnet, share) in &shares {
        state.subnets.get_mut(subnet).into_iter().for_each(|own| own.accrue(*share));
    }
    let ended: Vec<SubnetId> = shares.into_keys().filter(|&id| ends_epoch(state, id, height)).collect();
    let subnets = ended.into_iter().map(|subnet| {
        let pending = state.subnets.get_mut(&subnet).map(|own| std::mem::take(&mut own.pending_emission));
        close(state, subnet, pending.unwrap_or(0))
    });
    let subnets = subnets.collect::<Result<Vec<_>, _>>()?;
    let SubnetEpoch { emission, scored, miners, validators, .. } = root;
    let emission = subnets.iter().fold(emission, |sum, subnet| sum.saturating_add(subnet.emission));
    let report = EpochReport { epoch, height, emission, scored, miners, validators, subnets };
    let minted = state.supply.minted.checked_add(report.minted());
    state.supply.minted = minted.ok_or(Reason::Overflow("the supply"))?;
    locks::announce_power(state);
    governance::end_epoch(state, epoch);
    Ok(Some(report))
}

/// Ends the epoch of one subnet, to which this much of the emission belongs.
fn close(state: &mut State, subnet: SubnetId, emission: u64) -> Result<SubnetEpoch, Reason> {
    let epoch = state.epoch_of(subnet, state.head.height);
    let (parameters, permitted) = (state.parameters_of(subnet), state.permitted(subnet));
    let places = state.places(subnet);
    let consensus = Consensus::of(&parameters, &permitted, &places, &state.ballots_of(subnet));
    let standing = Standing { miners: &places, latencies: &state.latencies(subnet) };
    let of = (subnet, epoch, emission);
    let report = epoch::close(&parameters, of, &permitted, standing, consensus.as_ref());
    let placed: Vec<PublicKey> = places.into_keys().collect();
    for miner in placed {
        state.place_mut(subnet, &miner).into_iter().for_each(miners::begin_epoch);
    }
    latency::begin_epoch(state, subnet);
    for row in &report.miners {
        if let Some(place) = state.place_mut(subnet, &row.miner) {
            place.reputation_ppm = row.reputation_ppm;
            place.earned = place.earned.saturating_add(row.reward);
            place.emission = row.reward;
        }
        accounts::credit(state, row.miner, row.reward)?;
    }
    for row in &report.validators {
        locks::pay_dividend(state, row.validator, row.power, row.reward)?;
    }
    state.end_ballots(subnet, epoch, consensus.as_ref());
    let registrations = state.registrations_of(subnet).next(&parameters);
    match state.subnets.get_mut(&subnet) {
        Some(own) => own.registrations = registrations,
        None => state.registrations = registrations,
    }
    Ok(report)
}
