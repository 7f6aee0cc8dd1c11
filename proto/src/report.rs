//! Who earned what in an epoch, and why.

use crate::codec::{Canonical, Repeated, each, ranged};
use crate::error::ProtoError;
use crate::id::{Epoch, Height, PublicKey};
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
    /// Mean quality of its verified assignments, parts per million.
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

/// The report of an epoch, rows in ascending order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochReport {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// Its last height.
    pub height: Height,
    /// Base units that could be minted at most.
    pub emission: u64,
    /// Whether scores that validators showed decided; otherwise verified work and voting power did.
    pub scored: bool,
    /// Miners.
    pub miners: Vec<MinerEpoch>,
    /// Validators.
    pub validators: Vec<ValidatorEpoch>,
}

impl EpochReport {
    /// Base units minted by this epoch.
    pub fn minted(&self) -> u64 {
        let miners = self.miners.iter().map(|row| row.reward);
        let validators = self.validators.iter().map(|row| row.reward);
        miners.chain(validators).fold(0, u64::saturating_add)
    }
}

impl Canonical for EpochReport {
    type Wire = wire::EpochReport;
    const NAME: &'static str = "epoch report";
    const MAX_BYTES: usize = limits::REPORT_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "miners of an epoch report", path: &[4], limit: limits::REPORT_MINERS },
        Repeated { what: "validators of an epoch report", path: &[5], limit: limits::VALIDATORS },
    ];
}

impl TryFrom<wire::EpochReport> for EpochReport {
    type Error = ProtoError;

    fn try_from(wire: wire::EpochReport) -> Result<Self, ProtoError> {
        let ppm = |what, value| ranged(what, value, 0, limits::PPM);
        let miners = each(wire.miners, "miners of an epoch report", limits::REPORT_MINERS, |row| {
            Ok(MinerEpoch {
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
                quality_ppm: ppm("quality in ppm", row.quality_ppm)?,
                reputation_ppm: ppm("reputation in ppm", row.reputation_ppm)?,
                consensus_ppm: ppm("consensus in ppm", row.consensus_ppm)?,
                incentive_ppm: ppm("incentive in ppm", row.incentive_ppm)?,
                reward: row.reward,
            })
        })?;
        let validators = each(wire.validators, "validators of an epoch report", limits::VALIDATORS, |row| {
            Ok(ValidatorEpoch {
                validator: row.validator.as_slice().try_into()?,
                power: row.power,
                revealed: row.revealed,
                trust_ppm: ppm("trust in ppm", row.trust_ppm)?,
                dividend_ppm: ppm("dividend in ppm", row.dividend_ppm)?,
                reward: row.reward,
            })
        })?;
        let (epoch, height) = (Epoch(wire.epoch), Height(wire.height));
        Ok(Self { epoch, height, emission: wire.emission, scored: wire.scored, miners, validators })
    }
}

impl From<&EpochReport> for wire::EpochReport {
    fn from(report: &EpochReport) -> Self {
        let miner = |row: &MinerEpoch| wire::MinerEpoch {
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
            quality_ppm: row.quality_ppm,
            reputation_ppm: row.reputation_ppm,
            incentive_ppm: row.incentive_ppm,
            consensus_ppm: row.consensus_ppm,
            reward: row.reward,
        };
        let validator = |row: &ValidatorEpoch| wire::ValidatorEpoch {
            validator: row.validator.to_vec(),
            power: row.power,
            revealed: row.revealed,
            trust_ppm: row.trust_ppm,
            dividend_ppm: row.dividend_ppm,
            reward: row.reward,
        };
        Self {
            epoch: report.epoch.0,
            height: report.height.0,
            emission: report.emission,
            scored: report.scored,
            miners: report.miners.iter().map(miner).collect(),
            validators: report.validators.iter().map(validator).collect(),
        }
    }
}
