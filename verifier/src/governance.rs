//! Votes on the numbers of the rules.
//!
//! ```text
//! vote       of a validator, one at a time: NAME = VALUE; a new one replaces it
//! range      as at the genesis, with everything that is announced, for the chain and for every subnet
//! decided    more than two thirds of the power vote for the same in epoch e
//! counts     from the first block of epoch e + 2 on: everybody knows it an epoch ahead
//! ```
//!
//! A number that is announced is not voted on until it counts. Numbers of `Parameters::FIXED` never change.

use std::collections::BTreeMap;

use assay_proto::genesis::Parameters;
use assay_proto::subnet::{Number, VoteParameter};
use assay_proto::{Epoch, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::state::State;

/// What was voted on the numbers of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Governance {
    /// Numbers that votes gave another value than the genesis.
    pub changed: BTreeMap<String, u64>,
    /// Numbers that are decided, by the epoch from which they count.
    pub announced: BTreeMap<String, (Epoch, u64)>,
    /// Votes that decided nothing yet.
    pub votes: BTreeMap<PublicKey, Number>,
}

impl Governance {
    /// Numbers of a chain that began with these.
    pub fn parameters(&self, genesis: &Parameters) -> Parameters {
        with(*genesis, self.changed.iter().map(|(name, value)| (name, *value)))
    }
}

fn with<'a>(mut parameters: Parameters, numbers: impl Iterator<Item = (&'a String, u64)>) -> Parameters {
    for (name, value) in numbers {
        // The name was checked when the transaction was decoded.
        let _ = parameters.set(name, value);
    }
    parameters
}

/// The chain's numbers with all that is announced.
pub(crate) fn coming(state: &State) -> Parameters {
    let announced = state.governance.iter().flat_map(|voted| &voted.announced);
    let announced = announced.map(|(name, (_, value))| (name, *value));
    with(*state.parameters(), announced)
}

/// Whether the chain and every subnet may have these numbers.
fn check(state: &State, parameters: &Parameters) -> Result<(), Reason> {
    parameters.check().map_err(Reason::Parameters)?;
    state.subnets.values().try_for_each(|own| own.check(parameters))
}

/// Counts a vote, or changes nothing.
pub(crate) fn vote(state: &mut State, signer: PublicKey, body: VoteParameter) -> Result<(), Reason> {
    let VoteParameter { number } = body;
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    if Parameters::FIXED.contains(&number.name.as_str()) {
        return Err(Reason::FixedParameter(number.name));
    }
    let voted = state.governance.clone().unwrap_or_default();
    if let Some((epoch, _)) = voted.announced.get(&number.name) {
        return Err(Reason::AnnouncedParameter { name: number.name, epoch: *epoch });
    }
    let wanted = with(coming(state), std::iter::once((&number.name, number.value)));
    check(state, &wanted)?;
    let Governance { changed, mut announced, mut votes } = voted;
    votes.insert(signer, number.clone());
    votes.retain(|validator, _| state.validators().contains(validator));
    let agree =
        |(validator, power): (PublicKey, u64)| (votes.get(&validator) == Some(&number)).then_some(power);
    let power = state.validators().iter().filter_map(agree).fold(0, u64::saturating_add);
    if state.validators().is_quorum(power) {
        let epoch = state.epoch_of(SubnetId::ROOT, state.head.height).next().next();
        votes.retain(|_, other| other.name != number.name);
        announced.insert(number.name, (epoch, number.value));
    }
    state.governance = Some(Governance { changed, announced, votes });
    Ok(())
}

/// At the end of an epoch: what counts from the next one on.
pub(crate) fn end_epoch(state: &mut State, ended: Epoch) {
    let Some(mut voted) = state.governance.take() else { return };
    let (due, later): (BTreeMap<_, _>, _) =
        voted.announced.into_iter().partition(|(_, (epoch, _))| *epoch <= ended.next());
    voted.announced = later;
    // In range: checked when it was decided, as was every subnet that came since.
    voted.changed.extend(due.into_iter().map(|(name, (_, value))| (name, value)));
    let parameters = voted.parameters(&state.genesis_block().parameters);
    state.set_parameters(parameters);
    state.governance = Some(voted);
}
