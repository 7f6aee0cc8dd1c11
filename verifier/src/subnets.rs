//! Subnets: tasks with places, scores and a share of the emission of their own.
//!
//! ```text
//! 0          the root: in every chain from the genesis on; whatever names no subnet is in it
//! 1, 2, ..   registered; the signer burns `subnet_price`; at most `subnet_slots`, none ever goes
//! numbers    the chain's, but for those of `Parameters::OF_SUBNETS` that a subnet has itself; together within their ranges
//! model      in one subnet, named at its registration: a model and a proof system that the subnet accepts
//! miner      has a place in the subnet of every model that it serves (`miners`); its reputation there is of its work there
//! scores     committed to, shown and weighed in each subnet alone (`scores`)
//! share_s    floor(E I_s), I = incentive of `yuma::epoch` over power and weights of subnets; the root has what is left
//! tempo_s    blocks of an epoch of the subnet: a multiple of the chain's; epoch e of it ends with height e tempo_s
//! pending    at the end of every epoch of the chain share_s is added to it, up to `limits::EMISSION`; with the subnet's own epoch
//!            it is emitted (`epoch`), and 0 after that
//! ```
//!
//! Weights are what validators say, until they say something else; one that says nothing wants all for the root. A weight
//! beyond what a share `kappa` of the power gives counts as that: a subnet that less than half of the power wants has nothing, however
//! much it pays itself for work. Paid work would be a worse measure, since who is client and miner pays nothing. An epoch
//! without verified work in a subnet mints nothing there.
//!
//! A long epoch is for tasks that few answers are given to in a short one: there scores, bonds and reputations would follow from
//! noise. A shorter one than the chain's there is not, since the emission is shared by epochs of the chain.

use std::collections::{BTreeMap, BTreeSet};

use assay_proto::genesis::Parameters;
use assay_proto::limits::{EMISSION, SUBNET_MINERS, SUBNETS, TEMPO};
use assay_proto::subnet::{Number, RegisterSubnet, WeighSubnets};
use assay_proto::transaction::{ProofSystem, RegisterModel};
use assay_proto::{ModelId, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Reason;
use crate::miners::Registrations;
use crate::state::State;
use crate::{accounts, governance, limits, scores, yuma};

/// A subnet beside the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Subnet {
    /// Who registered it.
    pub owner: PublicKey,
    /// Name for people.
    pub task: String,
    /// Models that it accepts; none: any.
    pub models: BTreeSet<ModelId>,
    /// What its models are proven by; none: any.
    pub proof_system: Option<ProofSystem>,
    /// Whether validators have labels for its answers.
    pub labelled: bool,
    /// Numbers that differ from the chain's.
    pub numbers: BTreeMap<String, u64>,
    /// What a miner's place costs.
    pub registrations: Registrations,
    /// Base units of the emission that its running epoch has so far.
    pub pending_emission: u64,
}

impl Subnet {
    /// Numbers of its rules on a chain with these.
    pub fn parameters(&self, chain: &Parameters) -> Parameters {
        let mut own = *chain;
        for (name, value) in &self.numbers {
            // The name was checked when the transaction was decoded.
            let _ = own.set(name, *value);
        }
        own
    }

    /// Whether its numbers and a chain's go together.
    pub(crate) fn check(&self, chain: &Parameters) -> Result<(), Reason> {
        let own = self.parameters(chain);
        let (tempo, got) = (chain.tempo, own.tempo);
        if got == 0 || got > TEMPO || got.checked_rem(tempo) != Some(0) {
            return Err(Reason::SubnetTempo { tempo, limit: TEMPO, got });
        }
        // What else depends on the tempo is of the chain's epochs.
        Parameters { tempo, ..own }.check().map_err(Reason::Parameters)
    }

    /// Takes in its share of an epoch of the chain.
    pub(crate) fn accrue(&mut self, share: u64) {
        // So that no share of it overflows (`epoch`): a chain emits no more in one epoch.
        self.pending_emission = self.pending_emission.saturating_add(share).min(EMISSION);
    }
}

/// How a validator wants the emission shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Weights(pub BTreeMap<SubnetId, u16>);

/// Registers a subnet, or changes nothing.
pub(crate) fn register(state: &mut State, signer: PublicKey, body: RegisterSubnet) -> Result<(), Reason> {
    let RegisterSubnet { task, models, proof_system, labelled, numbers } = body;
    let slots = usize::try_from(state.parameters().subnet_slots).unwrap_or(SUBNETS).min(SUBNETS);
    if state.subnets.len() >= slots {
        return Err(Reason::Subnets(slots));
    }
    let numbers = numbers.into_iter().map(|Number { name, value }| (name, value)).collect();
    let models = models.into_iter().collect();
    let registrations = Registrations { price: 0, count: 0 };
    let pending_emission = 0;
    let mut own = Subnet {
        owner: signer,
        task,
        models,
        proof_system,
        labelled,
        numbers,
        registrations,
        pending_emission,
    };
    own.check(state.parameters())?;
    own.check(&governance::coming(state))?;
    own.registrations = Registrations::first(&own.parameters(state.parameters()));
    accounts::burn(state, signer, state.parameters().subnet_price)?;
    // One after the greatest; at most `SUBNETS` of them.
    let id = state.subnets.last_key_value().map_or(SubnetId::ROOT, |(id, _)| *id).next();
    state.subnets.insert(id, own);
    Ok(())
}

/// Takes what a validator wants of the subnets, or changes nothing.
pub(crate) fn weigh(state: &mut State, signer: PublicKey, body: WeighSubnets) -> Result<(), Reason> {
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    body.weights.iter().try_for_each(|(id, _)| check_known(state, *id))?;
    state.weights.insert(signer, Weights(body.weights.into_iter().collect()));
    Ok(())
}

/// Whether there is such a subnet.
pub(crate) fn check_known(state: &State, id: SubnetId) -> Result<(), Reason> {
    match id == SubnetId::ROOT || state.subnets.contains_key(&id) {
        true => Ok(()),
        false => Err(Reason::SubnetUnknown(id)),
    }
}

/// Whether a subnet takes a model in.
pub(crate) fn check_model(state: &State, body: &RegisterModel) -> Result<(), Reason> {
    check_known(state, body.subnet)?;
    let Some(own) = state.subnet(body.subnet) else { return Ok(()) };
    if !own.models.is_empty() && !own.models.contains(&body.model_id) {
        return Err(Reason::SubnetModel { subnet: body.subnet, model: body.model_id });
    }
    match own.proof_system {
        Some(expected) if expected != body.proof_system => {
            Err(Reason::SubnetSystem { subnet: body.subnet, expected, got: body.proof_system })
        }
        Some(_) | None => Ok(()),
    }
}

/// Places of a subnet.
pub(crate) fn slots(state: &State, subnet: SubnetId) -> usize {
    let most = if subnet == SubnetId::ROOT { limits::MINERS } else { SUBNET_MINERS };
    match usize::try_from(state.parameters_of(subnet).miner_slots) {
        Ok(0) | Err(_) => most,
        Ok(slots) => slots.min(most),
    }
}

/// What the subnets beside the root have of an epoch's emission.
pub fn shares(state: &State, emission: u64) -> BTreeMap<SubnetId, u64> {
    let powers: Vec<u64> = state.validators().iter().map(|(_, power)| power).collect();
    let wanted = |validator: &PublicKey| state.weights.get(validator).filter(|own| !own.0.is_empty());
    let row = |(validator, _): (PublicKey, u64)| -> Vec<u64> {
        let Some(Weights(own)) = wanted(&validator) else { return vec![1] };
        state.subnet_ids().map(|id| own.get(&id).map_or(0, |&weight| weight.into())).collect()
    };
    let rows: Vec<Vec<u64>> = state.validators().iter().map(row).collect();
    let rules = yuma::Rules { floor: crate::fixed::Fixed::ZERO, ..scores::rules(state.parameters()) };
    let incentive = yuma::epoch(&rules, &powers, &rows, &[]).incentive;
    let parts = incentive.into_iter().skip(1).map(|share| share.of(emission));
    let padded = parts.chain(std::iter::repeat(0));
    state.subnets.keys().copied().zip(padded).collect()
}
