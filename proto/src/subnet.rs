//! Subnets, what validators say about them, and votes on the numbers of the rules.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{each, ranged, required};
use crate::error::ProtoError;
use crate::genesis::Parameters;
use crate::id::{Epoch, Height, ModelId, PublicKey, SubnetId};
use crate::transaction::{ProofSystem, check_name};
use crate::{limits, wire};

/// Another value for a number of the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Number {
    /// A name of [`Parameters::NAMES`].
    pub name: String,
    /// Its value; whether it is within its range the rules say.
    pub value: u64,
}

/// A task that miners do, with places, scores and a share of the emission of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSubnet {
    /// Name for people, 1 to 256 bytes without control characters.
    pub task: String,
    /// Models that it accepts, ascending; none: any.
    pub models: Vec<ModelId>,
    /// What models are proven by; none: any.
    pub proof_system: Option<ProofSystem>,
    /// Whether answers are right or wrong, and validators have labels to tell.
    pub labelled: bool,
    /// Numbers that differ from the chain's, each of [`Parameters::OF_SUBNETS`], ascending names.
    pub numbers: Vec<Number>,
}

/// How a validator wants an epoch's emission shared by subnets, until it says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeighSubnets {
    /// Weights of at least 1, ascending ids; none: all for the root.
    pub weights: Vec<(SubnetId, u16)>,
}

/// A validator's vote, in place of the one that it gave before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteParameter {
    /// What is to be.
    pub number: Number,
}

/// A subnet as a node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEntry {
    /// Its number.
    pub subnet: SubnetId,
    /// Who registered it; none for the root.
    pub owner: Option<PublicKey>,
    /// Name for people.
    pub task: String,
    /// Models that it accepts; none: any.
    pub accepts: Vec<ModelId>,
    /// What models are proven by; none: any.
    pub proof_system: Option<ProofSystem>,
    /// Whether validators have labels for its answers.
    pub labelled: bool,
    /// Models registered in it.
    pub models: u64,
    /// Miners with a place in it.
    pub miners: u64,
    /// Base units of a place.
    pub price: u64,
    /// Numbers that its rules use.
    pub parameters: Parameters,
    /// Base units of the emission that its running epoch has so far.
    pub pending_emission: u64,
}

/// Every subnet, and what validators vote on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnets {
    /// Block after which it is so.
    pub height: Height,
    /// In ascending order, the root first.
    pub subnets: Vec<SubnetEntry>,
    /// Numbers that take another value when an epoch begins.
    pub announced: Vec<(Epoch, Number)>,
    /// Votes that decide nothing yet.
    pub votes: Vec<(PublicKey, Number)>,
}

impl TryFrom<wire::ListSubnetsResponse> for Subnets {
    type Error = ProtoError;

    fn try_from(wire: wire::ListSubnetsResponse) -> Result<Self, ProtoError> {
        let announced = |entry: wire::AnnouncedNumber| {
            Ok((Epoch(entry.epoch), required(entry.number, "announced number")?))
        };
        let vote = |entry: wire::NumberVote| {
            Ok((entry.validator.as_slice().try_into()?, required(entry.number, "number of a vote")?))
        };
        Ok(Self {
            height: Height(wire.height),
            subnets: each(wire.subnets, "subnets", limits::SUBNETS + 1, TryInto::try_into)?,
            announced: each(wire.announced, "announced numbers", Parameters::NAMES.len(), announced)?,
            votes: each(wire.votes, "votes", limits::VALIDATORS, vote)?,
        })
    }
}

impl From<&Subnets> for wire::ListSubnetsResponse {
    fn from(list: &Subnets) -> Self {
        let announced = |(epoch, number): &(Epoch, Number)| wire::AnnouncedNumber {
            epoch: epoch.0,
            number: Some(number.into()),
        };
        let vote = |(validator, number): &(PublicKey, Number)| wire::NumberVote {
            validator: validator.to_vec(),
            number: Some(number.into()),
        };
        Self {
            height: list.height.0,
            subnets: list.subnets.iter().map(Into::into).collect(),
            announced: list.announced.iter().map(announced).collect(),
            votes: list.votes.iter().map(vote).collect(),
        }
    }
}

impl TryFrom<wire::Number> for Number {
    type Error = ProtoError;

    fn try_from(wire: wire::Number) -> Result<Self, ProtoError> {
        if !Parameters::NAMES.contains(&wire.name.as_str()) {
            return Err(ProtoError::text("parameter", "the name of one", &wire.name));
        }
        Ok(Self { name: wire.name, value: wire.value })
    }
}

impl From<&Number> for wire::Number {
    fn from(number: &Number) -> Self {
        Self { name: number.name.clone(), value: number.value }
    }
}

impl TryFrom<wire::RegisterSubnet> for RegisterSubnet {
    type Error = ProtoError;

    fn try_from(wire: wire::RegisterSubnet) -> Result<Self, ProtoError> {
        check_name(&wire.task)?;
        let models: Vec<ModelId> =
            each(wire.model_ids, "models of a subnet", limits::SUBNET_MODELS, |id| id.as_slice().try_into())?;
        if !models.is_sorted_by(|a, b| a < b) {
            return Err(ProtoError::NotCanonical { what: "list of models (ascending, none twice)" });
        }
        let numbers = each(wire.numbers, "numbers of a subnet", limits::SUBNET_NUMBERS, Number::try_from)?;
        if !numbers.is_sorted_by(|a, b| a.name < b.name) {
            return Err(ProtoError::NotCanonical { what: "list of numbers (ascending names, none twice)" });
        }
        if let Some(other) =
            numbers.iter().find(|number| !Parameters::OF_SUBNETS.contains(&number.name.as_str()))
        {
            return Err(ProtoError::text("parameter", "one that a subnet may set", &other.name));
        }
        let proof_system = wire.proof_system.map(ProofSystem::try_from).transpose()?;
        Ok(Self { task: wire.task, models, proof_system, labelled: wire.labelled, numbers })
    }
}

impl From<&RegisterSubnet> for wire::RegisterSubnet {
    fn from(body: &RegisterSubnet) -> Self {
        Self {
            task: body.task.clone(),
            model_ids: body.models.iter().map(ModelId::to_vec).collect(),
            proof_system: body.proof_system.map(|system| wire::ProofSystem::from(system).into()),
            labelled: body.labelled,
            numbers: body.numbers.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::WeighSubnets> for WeighSubnets {
    type Error = ProtoError;

    fn try_from(wire: wire::WeighSubnets) -> Result<Self, ProtoError> {
        let weights = each(wire.weights, "weights of subnets", limits::SUBNETS + 1, |entry| {
            let weight = ranged("weight of a subnet", entry.weight.into(), 1, u16::MAX.into())?;
            Ok((SubnetId(entry.subnet), u16::try_from(weight).unwrap_or(u16::MAX)))
        })?;
        if !weights.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(ProtoError::NotCanonical { what: "list of weights (ascending subnets, none twice)" });
        }
        Ok(Self { weights })
    }
}

impl From<&WeighSubnets> for wire::WeighSubnets {
    fn from(body: &WeighSubnets) -> Self {
        let entry = |&(subnet, weight): &(SubnetId, u16)| wire::SubnetWeight {
            subnet: subnet.0,
            weight: weight.into(),
        };
        Self { weights: body.weights.iter().map(entry).collect() }
    }
}

impl TryFrom<wire::VoteParameter> for VoteParameter {
    type Error = ProtoError;

    fn try_from(wire: wire::VoteParameter) -> Result<Self, ProtoError> {
        Ok(Self { number: required(wire.number, "number of a vote")? })
    }
}

impl From<&VoteParameter> for wire::VoteParameter {
    fn from(body: &VoteParameter) -> Self {
        Self { number: Some((&body.number).into()) }
    }
}

impl TryFrom<wire::SubnetRecord> for SubnetEntry {
    type Error = ProtoError;

    fn try_from(wire: wire::SubnetRecord) -> Result<Self, ProtoError> {
        let owner = (!wire.owner.is_empty()).then(|| wire.owner.as_slice().try_into()).transpose()?;
        let accepts =
            each(wire.model_ids, "models of a subnet", limits::SUBNET_MODELS, |id| id.as_slice().try_into())?;
        Ok(Self {
            subnet: SubnetId(wire.subnet),
            owner,
            task: wire.task,
            accepts,
            proof_system: wire.proof_system.map(ProofSystem::try_from).transpose()?,
            labelled: wire.labelled,
            models: wire.models,
            miners: wire.miners,
            price: wire.price,
            parameters: required(wire.parameters, "parameters of a subnet")?,
            pending_emission: wire.pending_emission,
        })
    }
}

impl From<&SubnetEntry> for wire::SubnetRecord {
    fn from(entry: &SubnetEntry) -> Self {
        Self {
            subnet: entry.subnet.0,
            owner: entry.owner.map(|owner| owner.to_vec()).unwrap_or_default(),
            task: entry.task.clone(),
            model_ids: entry.accepts.iter().map(ModelId::to_vec).collect(),
            proof_system: entry.proof_system.map(|system| wire::ProofSystem::from(system).into()),
            labelled: entry.labelled,
            models: entry.models,
            miners: entry.miners,
            price: entry.price,
            parameters: Some((&entry.parameters).into()),
            pending_emission: entry.pending_emission,
        }
    }
}
