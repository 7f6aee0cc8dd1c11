//! What a node shows of subnets and of votes on the numbers of the rules.

use assay_proto::SubnetId;
use assay_proto::subnet::{Number, SubnetEntry, Subnets};
use assay_verifier::state::State;

/// Every subnet, the root first.
pub(super) fn list(state: &State) -> Subnets {
    let voted = state.governance();
    let announced = voted.into_iter().flat_map(|voted| &voted.announced);
    let announced = announced.map(|(name, &(epoch, value))| (epoch, Number { name: name.clone(), value }));
    let votes = voted.into_iter().flat_map(|voted| &voted.votes);
    Subnets {
        height: state.head().height,
        subnets: state.subnet_ids().map(|id| entry(state, id)).collect(),
        announced: announced.collect(),
        votes: votes.map(|(validator, number)| (*validator, number.clone())).collect(),
    }
}

fn entry(state: &State, id: SubnetId) -> SubnetEntry {
    let own = state.subnet(id);
    let models = state.models().filter(|(model, _)| state.subnet_of(model) == id).count();
    let miners = state.places(id).values().filter(|place| place.since.is_some()).count();
    SubnetEntry {
        subnet: id,
        owner: own.map(|own| own.owner),
        task: own.map_or_else(|| "root".to_owned(), |own| own.task.clone()),
        accepts: own.map(|own| own.models.iter().copied().collect()).unwrap_or_default(),
        proof_system: own.and_then(|own| own.proof_system),
        labelled: own.is_some_and(|own| own.labelled),
        models: u64::try_from(models).unwrap_or(u64::MAX),
        miners: u64::try_from(miners).unwrap_or(u64::MAX),
        price: state.registrations_of(id).price,
        parameters: state.parameters_of(id),
        pending_emission: own.map_or(0, |own| own.pending_emission),
    }
}
