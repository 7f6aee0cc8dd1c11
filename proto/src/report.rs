//! Who earned what in an epoch, and why.

use crate::codec::{Canonical, Repeated, each, ranged};
use crate::error::ProtoError;
use crate::id::{Epoch, Height, PublicKey, SubnetId};
use crate::{limits, wire};

/// A miner's row. Every miner with an assignment in the epoch, or a reputation, has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinerEpoch {
    /// The miner.
    pub miner: PublicKey,
    /// Assignments that ended verified.
    pub verified: u64,
    /// Assignments that ended with an invalid proof or a malformed output.
    pub invalid: u64,
    /// Assignments that ended late.
    pub late: u64,
    /// Assignments that ended absent.
    pub absent: u64,
    /// Challenges that ended online.
    pub online: u64,
    /// Challenges that ended slow.
    pub slow: u64,
    /// Challenges that ended with the wrong device.
    pub wrong_device: u64,
    /// Challenges that ended offline.
    pub offline: u64,
    /// Availability that the challenges showed, parts per million; 1 where there were none.
    pub availability_ppm: u64,
    /// Latency that its quality follows from, microseconds; 0: nobody measured any.
    pub latency_us: u64,
    /// Validators that measured it.
    pub measured_by: u64,
    /// Quality of its verified assignments, parts per million: that of the latency, or the mean where there is none.
    pub quality_ppm: u64,
    /// Reputation after this epoch, parts per million.
    pub reputation_ppm: u64,
    /// Score that enough validators agree with, parts per million; 0 where verified work decided.
    pub consensus_ppm: u64,
    /// Share of the miners' half before reputation weighs it, parts per million: of what the consensus gives, or of the
    /// epoch's verified work, weighted by quality.
    pub incentive_ppm: u64,
    /// Base units minted for it.
    pub reward: u64,
}

/// A validator's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatorEpoch {
    /// The validator.
    pub validator: PublicKey,
    /// Its voting power.
    pub power: u64,
    /// Whether it showed its scores.
    pub revealed: bool,
    /// How much of its scores the consensus shares, parts per million; 0 where verified work decided.
    pub trust_ppm: u64,
    /// Share of the validators' half, parts per million.
    pub dividend_ppm: u64,
    /// Base units minted for it.
    pub reward: u64,
}

/// What a subnet gave in an epoch of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEpoch {
    /// The subnet.
    pub subnet: SubnetId,
    /// Number of the epoch, by the subnet's tempo.
    pub epoch: Epoch,
    /// Base units that could be minted in it at most.
    pub emission: u64,
    /// Whether scores that validators showed decided; otherwise verified work and voting power did.
    pub scored: bool,
    /// Its miners.
    pub miners: Vec<MinerEpoch>,
    /// Validators with a say in it.
    pub validators: Vec<ValidatorEpoch>,
}

impl SubnetEpoch {
    /// Base units minted in it.
    pub fn minted(&self) -> u64 {
        minted(&self.miners, &self.validators)
    }
}

fn minted(miners: &[MinerEpoch], validators: &[ValidatorEpoch]) -> u64 {
    let rewards = miners.iter().map(|row| row.reward).chain(validators.iter().map(|row| row.reward));
    rewards.fold(0, u64::saturating_add)
}

/// The report of an epoch, rows in ascending order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochReport {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// Its last height.
    pub height: Height,
    /// Base units that could be minted at most: the root's share, and what the subnets had gathered whose epoch ended.
    pub emission: u64,
    /// Whether scores that validators showed decided in the root; otherwise verified work and voting power did.
    pub scored: bool,
    /// Miners of the root.
    pub miners: Vec<MinerEpoch>,
    /// Validators with a say in it.
    pub validators: Vec<ValidatorEpoch>,
    /// The other subnets whose epoch ended with this one, in ascending order.
    pub subnets: Vec<SubnetEpoch>,
}

impl EpochReport {
    /// Base units minted by this epoch.
    pub fn minted(&self) -> u64 {
        let others = self.subnets.iter().map(SubnetEpoch::minted);
        others.fold(minted(&self.miners, &self.validators), u64::saturating_add)
    }

    /// Base units that could be minted in the root at most: what the others left.
    pub fn root_emission(&self) -> u64 {
        self.subnets.iter().fold(self.emission, |left, subnet| left.saturating_sub(subnet.emission))
    }
}

impl Canonical for EpochReport {
    type Wire = wire::EpochReport;
    const NAME: &'static str = "epoch report";
    const MAX_BYTES: usize = limits::REPORT_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: MINERS, path: &[4], limit: limits::REPORT_MINERS },
        Repeated { what: VALIDATORS, path: &[5], limit: limits::VALIDATORS },
        Repeated { what: SUBNETS, path: &[7], limit: limits::SUBNETS },
        Repeated { what: MINERS, path: &[7, 4], limit: limits::SUBNETS * limits::SUBNET_MINERS },
        Repeated { what: VALIDATORS, path: &[7, 5], limit: limits::SUBNETS * limits::VALIDATORS },
    ];
}

const MINERS: &str = "miners of an epoch report";
const VALIDATORS: &str = "validators of an epoch report";
const SUBNETS: &str = "subnets of an epoch report";

fn ppm(what: &'static str, value: u64) -> Result<u64, ProtoError> {
    ranged(what, value, 0, limits::PPM)
}

impl TryFrom<wire::MinerEpoch> for MinerEpoch {
    type Error = ProtoError;

    fn try_from(row: wire::MinerEpoch) -> Result<Self, ProtoError> {
        Ok(Self {
            miner: row.miner.as_slice().try_into()?,
            verified: row.verified,
            invalid: row.invalid,
            late: row.late,
            absent: row.absent,
            online: row.online,
            slow: row.slow,
            wrong_device: row.wrong_device,
            offline: row.offline,
            availability_ppm: ppm("availability in ppm", row.availability_ppm)?,
            latency_us: row.latency_us,
            measured_by: row.measured_by,
            quality_ppm: ppm("quality in ppm", row.quality_ppm)?,
            reputation_ppm: ppm("reputation in ppm", row.reputation_ppm)?,
            consensus_ppm: ppm("consensus in ppm", row.consensus_ppm)?,
            incentive_ppm: ppm("incentive in ppm", row.incentive_ppm)?,
            reward: row.reward,
        })
    }
}

impl From<&MinerEpoch> for wire::MinerEpoch {
    fn from(row: &MinerEpoch) -> Self {
        Self {
            miner: row.miner.to_vec(),
            verified: row.verified,
            invalid: row.invalid,
            late: row.late,
            absent: row.absent,
            online: row.online,
            slow: row.slow,
            wrong_device: row.wrong_device,
            offline: row.offline,
            availability_ppm: row.availability_ppm,
            latency_us: row.latency_us,
            measured_by: row.measured_by,
            quality_ppm: row.quality_ppm,
            reputation_ppm: row.reputation_ppm,
            incentive_ppm: row.incentive_ppm,
            consensus_ppm: row.consensus_ppm,
            reward: row.reward,
        }
    }
}

impl TryFrom<wire::ValidatorEpoch> for ValidatorEpoch {
    type Error = ProtoError;

    fn try_from(row: wire::ValidatorEpoch) -> Result<Self, ProtoError> {
        Ok(Self {
            validator: row.validator.as_slice().try_into()?,
            power: row.power,
            revealed: row.revealed,
            trust_ppm: ppm("trust in ppm", row.trust_ppm)?,
            dividend_ppm: ppm("dividend in ppm", row.dividend_ppm)?,
            reward: row.reward,
        })
    }
}

impl From<&ValidatorEpoch> for wire::ValidatorEpoch {
    fn from(row: &ValidatorEpoch) -> Self {
        Self {
            validator: row.validator.to_vec(),
            power: row.power,
            revealed: row.revealed,
            trust_ppm: row.trust_ppm,
            dividend_ppm: row.dividend_ppm,
            reward: row.reward,
        }
    }
}

impl TryFrom<wire::SubnetEpoch> for SubnetEpoch {
    type Error = ProtoError;

    fn try_from(wire: wire::SubnetEpoch) -> Result<Self, ProtoError> {
        Ok(Self {
            subnet: SubnetId(wire.subnet),
            epoch: Epoch(wire.epoch),
            emission: wire.emission,
            scored: wire.scored,
            miners: each(wire.miners, MINERS, limits::SUBNET_MINERS, TryInto::try_into)?,
            validators: each(wire.validators, VALIDATORS, limits::VALIDATORS, TryInto::try_into)?,
        })
    }
}

impl From<&SubnetEpoch> for wire::SubnetEpoch {
    fn from(report: &SubnetEpoch) -> Self {
        Self {
            subnet: report.subnet.0,
            epoch: report.epoch.0,
            emission: report.emission,
            scored: report.scored,
            miners: report.miners.iter().map(Into::into).collect(),
            validators: report.validators.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::EpochReport> for EpochReport {
    type Error = ProtoError;

    fn try_from(wire: wire::EpochReport) -> Result<Self, ProtoError> {
        Ok(Self {
            epoch: Epoch(wire.epoch),
            height: Height(wire.height),
            emission: wire.emission,
            scored: wire.scored,
            miners: each(wire.miners, MINERS, limits::REPORT_MINERS, TryInto::try_into)?,
            validators: each(wire.validators, VALIDATORS, limits::VALIDATORS, TryInto::try_into)?,
            subnets: each(wire.subnets, SUBNETS, limits::SUBNETS, TryInto::try_into)?,
        })
    }
}

impl From<&EpochReport> for wire::EpochReport {
    fn from(report: &EpochReport) -> Self {
        Self {
            epoch: report.epoch.0,
            height: report.height.0,
            emission: report.emission,
            scored: report.scored,
            miners: report.miners.iter().map(Into::into).collect(),
            validators: report.validators.iter().map(Into::into).collect(),
            subnets: report.subnets.iter().map(Into::into).collect(),
        }
    }
}
