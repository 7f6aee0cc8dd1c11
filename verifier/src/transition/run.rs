//! One pass over a block's transactions, shared by whoever makes a block and whoever judges it.

use assay_proto::Root;
use assay_proto::block::BlockHeader;
use assay_proto::report::EpochReport;

use super::prepare::Prepared;
use super::{LoggedReceipt, Transition, body, ends_epoch};
use crate::epoch::Standing;
use crate::error::Reason;
use crate::scores::{self, Consensus};
use crate::state::{Head, KeyCache, Record, State};
use crate::{accounts, challenge, epoch, holds, locks, miners};

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

/// Ends the epoch if the state's height is its last: mints the rewards, moves reputations, bonds, the power of stake and the
/// price of a miner's place.
fn end_epoch(state: &mut State) -> Result<Option<EpochReport>, Reason> {
    let height = state.head.height;
    if !ends_epoch(state, height) {
        return Ok(None);
    }
    let parameters = *state.parameters();
    let (epoch, supply) = (state.epoch_of(height), state.supply.total());
    let consensus = Consensus::of(&parameters, state.validators(), &state.miners, &state.ballots);
    let at = (epoch, height);
    let standing = Standing { miners: &state.miners, availability: &state.availability };
    let report = epoch::close(&parameters, at, supply, state.validators(), standing, consensus.as_ref());
    state.miners.values_mut().for_each(miners::begin_epoch);
    challenge::begin_epoch(state);
    for row in &report.miners {
        if let Some(miner) = state.miners.get_mut(&row.miner) {
            miner.reputation_ppm = row.reputation_ppm;
            miner.earned = miner.earned.saturating_add(row.reward);
            miner.emission = row.reward;
        }
        accounts::credit(state, row.miner, row.reward)?;
    }
    for row in &report.validators {
        locks::pay_dividend(state, row.validator, row.power, row.reward)?;
    }
    let minted = state.supply.minted.checked_add(report.minted());
    state.supply.minted = minted.ok_or(Reason::Overflow("the supply"))?;
    scores::end_epoch(&mut state.ballots, epoch, consensus.as_ref());
    locks::announce_power(state);
    state.registrations = state.registrations.next(&parameters);
    Ok(Some(report))
}
