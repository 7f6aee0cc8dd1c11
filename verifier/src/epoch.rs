//! The end of an epoch: a pure function of the log.
//!
//! All numbers are integers, shares in parts per million, every division rounds down. For miner `j` with `v` verified,
//! `x` invalid, `l` late and `a` absent assignments, and reputation `r` before:
//!
//! ```text
//! quality of one verified assignment = min(1, latency_target / latency)       latency: of the miner, see `latency`
//! quality      = mean over the v verified                     availability = v / (v + l + a)
//! performance  = availability * quality * factor, 0 if x > 0         factor: of its challenges, see `challenge`
//! r'           = (1 - rate) r + rate * performance            r' = 0 if x > 0; r' = r without an assignment
//! I_j          = sum of its qualities / sum of all qualities          incentive; or what the scores say, see `scores`
//! D_i          = power_i / total power                                dividend; or what the scores say
//! E            = emission >> ((epoch - 1) / halving_epochs); of it a subnet has its share (`subnets`)
//! reward_j     = floor((E / 2) * w_j / sum w)                 w_j = I_j * r'_j
//! reward_i     = floor((E - E / 2) * D_i / sum D)             for validator i
//! ```
//!
//! All of it is of one subnet and its epoch, with its numbers, its miners and the validators with a say in it; beside the root
//! `E` is what the subnet gathered. What rounding leaves is not
//! minted. An epoch without a verified assignment mints nothing, so that empty blocks earn
//! nothing; nor is the miners' half minted if every weight is 0. `E` is cut where the supply would leave 64 bits.

use std::collections::{BTreeMap, BTreeSet};

use assay_proto::genesis::Parameters;
use assay_proto::limits::PPM;
use assay_proto::report::{MinerEpoch, SubnetEpoch, ValidatorEpoch};
use assay_proto::{Epoch, PublicKey, SubnetId};

use crate::certificate::ValidatorSet;
use crate::challenge::{self, Counts};
use crate::fixed::Fixed;
use crate::latency::Measured;
use crate::scores::Consensus;
use crate::state::{Place, Work};

/// Quality of a verified assignment with this latency, parts per million.
pub fn quality_ppm(parameters: &Parameters, latency_us: u64) -> u64 {
    share(PPM, parameters.latency_target_us, latency_us.max(parameters.latency_target_us))
}

/// Base units that an epoch may mint beside a supply, and what is to be minted already.
pub fn emission(parameters: &Parameters, epoch: Epoch, supply: u64) -> u64 {
    let halvings = epoch.0.saturating_sub(1).checked_div(parameters.halving_epochs).unwrap_or(0);
    let shift = u32::try_from(halvings).unwrap_or(u32::MAX);
    parameters.emission.checked_shr(shift).unwrap_or(0).min(u64::MAX.saturating_sub(supply))
}

/// A miner's reputation after an epoch with this work.
pub fn reputation_ppm(parameters: &Parameters, before: u64, work: &Work, challenges: &Counts) -> u64 {
    if work.invalid > 0 {
        return 0;
    }
    let answered = work.verified.saturating_add(work.late).saturating_add(work.absent);
    if answered == 0 {
        return before;
    }
    let availability = share(PPM, work.verified, answered);
    let performance = share(availability, mean_quality_ppm(work), PPM);
    let performance = share(performance, challenge::factor_ppm(parameters, challenges), PPM);
    let rate = parameters.reputation_rate_ppm.min(PPM);
    let sum = u128::from(PPM.saturating_sub(rate)).saturating_mul(before.into())
        + u128::from(rate).saturating_mul(performance.into());
    u64::try_from(sum / u128::from(PPM)).unwrap_or(PPM).min(PPM)
}

/// Miners of a subnet at the end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// With their work, and what their challenges showed.
    pub miners: &'a BTreeMap<PublicKey, &'a Place>,
    /// With what validators measured of them.
    pub latencies: &'a BTreeMap<PublicKey, &'a Measured>,
}

impl Standing<'_> {
    fn challenges(&self, miner: &PublicKey) -> Counts {
        self.miners.get(miner).map_or_else(Counts::default, |place| place.challenges)
    }

    fn latency_us(&self, miner: &PublicKey) -> Option<u64> {
        self.latencies.get(miner)?.latency_us()
    }

    /// A miner's work, with the quality of the latency that counts where there is one.
    fn work(&self, parameters: &Parameters, miner: &PublicKey, work: Work) -> Work {
        let quality = self.latency_us(miner).map(|latency_us| quality_ppm(parameters, latency_us));
        let sum = quality.map(|quality| quality.saturating_mul(work.verified));
        Work { quality_ppm_sum: sum.unwrap_or(work.quality_ppm_sum), ..work }
    }
}

/// Who earns what of this emission at the end of a subnet's epoch; verified work and power decide where there is no consensus.
pub fn close(
    parameters: &Parameters,
    (subnet, epoch, emission): (SubnetId, Epoch, u64),
    validators: &ValidatorSet,
    standing: Standing<'_>,
    consensus: Option<&Consensus>,
) -> SubnetEpoch {
    let rewarded: BTreeSet<&PublicKey> = consensus.into_iter().flat_map(Consensus::rewarded).collect();
    let rows: Vec<(PublicKey, Work, u64)> = standing
        .miners
        .iter()
        .map(|(&key, miner)| {
            let challenges = standing.challenges(&key);
            let work = standing.work(parameters, &key, miner.work);
            (key, work, reputation_ppm(parameters, miner.reputation_ppm, &work, &challenges))
        })
        .filter(|(key, work, reputation)| {
            let seen = *work != Work::default() || standing.challenges(key) != Counts::default();
            seen || *reputation > 0 || rewarded.contains(key)
        })
        .collect();
    let quality: u64 = rows.iter().fold(0, |sum, (_, work, _)| sum.saturating_add(work.quality_ppm_sum));
    let weight = |key: &PublicKey, work: &Work, reputation: u64| {
        let incentive = consensus.map_or(work.quality_ppm_sum, |scores| scores.miner(key).1.bits());
        u128::from(incentive).saturating_mul(reputation.into())
    };
    let weights: u128 = rows.iter().map(|(key, work, reputation)| weight(key, work, *reputation)).sum();
    let worked = rows.iter().any(|(_, work, _)| work.verified > 0);

    let miners_half = emission / 2;
    let validators_half = if worked { emission.saturating_sub(miners_half) } else { 0 };
    let miners_half = if worked { miners_half } else { 0 };
    let miner = |&(miner, work, reputation_ppm): &(PublicKey, Work, u64)| {
        let by_work = || (0, share(PPM, work.quality_ppm_sum, quality));
        let by_scores = |(agreed, share): (Fixed, Fixed)| (agreed.to_ppm(), share.to_ppm());
        let (consensus_ppm, incentive_ppm) =
            consensus.map_or_else(by_work, |scores| by_scores(scores.miner(&miner)));
        let challenges = standing.challenges(&miner);
        MinerEpoch {
            miner,
            verified: work.verified,
            invalid: work.invalid,
            late: work.late,
            absent: work.absent,
            online: challenges.online,
            slow: challenges.slow,
            wrong_device: challenges.wrong_device,
            offline: challenges.offline,
            availability_ppm: challenge::availability_ppm(&challenges),
            latency_us: standing.latency_us(&miner).unwrap_or(0),
            measured_by: standing.latencies.get(&miner).map_or(0, |measured| measured.validators()),
            quality_ppm: mean_quality_ppm(&work),
            reputation_ppm,
            consensus_ppm,
            incentive_ppm,
            reward: wide_share(miners_half, weight(&miner, &work, reputation_ppm), weights),
        }
    };
    let dividend =
        |key: &PublicKey, power: u64| consensus.map_or(power, |scores| scores.validator(key).1.bits());
    let dividends: u128 = validators.iter().map(|(key, power)| u128::from(dividend(&key, power))).sum();
    let validator = |(validator, power)| {
        let own = dividend(&validator, power).into();
        ValidatorEpoch {
            validator,
            power,
            revealed: consensus.is_some_and(|scores| scores.revealed(&validator)),
            trust_ppm: consensus.map_or(0, |scores| scores.validator(&validator).0.min(Fixed::ONE).to_ppm()),
            dividend_ppm: wide_share(PPM, own, dividends),
            reward: wide_share(validators_half, own, dividends),
        }
    };
    SubnetEpoch {
        subnet,
        epoch,
        emission,
        scored: consensus.is_some(),
        miners: rows.iter().map(miner).collect(),
        validators: validators.iter().map(validator).collect(),
    }
}

fn mean_quality_ppm(work: &Work) -> u64 {
    work.quality_ppm_sum.checked_div(work.verified).unwrap_or(0)
}

/// `floor(whole * part / total)`, 0 of a total of 0; `part <= total`.
fn share(whole: u64, part: u64, total: u64) -> u64 {
    wide_share(whole, part.into(), total.into())
}

/// The same with wide weights. Parameters bound emission by 2^53, `Subnet::accrue` what is pending by the same, tempo by 2^20, a block by 2^12 transactions, quality and
/// reputation by 2^20, a share of the incentive by 2^48: the product stays below 2^(52 + 52 + 20).
fn wide_share(whole: u64, part: u128, total: u128) -> u64 {
    let product = u128::from(whole).saturating_mul(part);
    product.checked_div(total).and_then(|share| u64::try_from(share).ok()).unwrap_or(0)
}
