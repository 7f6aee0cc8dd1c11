//! The end of an epoch: a pure function of the log.
//!
//! All numbers are integers, shares in parts per million, every division rounds down. For miner `j` with `v` verified,
//! `x` invalid, `l` late and `a` absent assignments, and reputation `r` before:
//!
//! ```text
//! quality of one verified assignment = min(1, latency_target / proof time)
//! quality      = mean over the v verified                     availability = v / (v + l + a)
//! performance  = availability * quality, 0 if x > 0
//! r'           = (1 - rate) r + rate * performance            r' = 0 if x > 0; r' = r without an assignment
//! I_j          = sum of its qualities / sum of all qualities
//! E            = emission >> ((epoch - 1) / halving_epochs)
//! reward_j     = floor((E / 2) * w_j / sum w)                 w_j = (sum of its qualities) * r'_j
//! reward_i     = floor((E - E / 2) * power_i / total power)   for validator i
//! ```
//!
//! What rounding leaves is not minted. An epoch without a verified assignment mints nothing, so that empty blocks earn
//! nothing; nor is the miners' half minted if every weight is 0. `E` is cut where the supply would leave 64 bits.

use std::collections::BTreeMap;

use assay_proto::genesis::Parameters;
use assay_proto::limits::PPM;
use assay_proto::report::{EpochReport, MinerEpoch, ValidatorEpoch};
use assay_proto::{Epoch, Height, PublicKey};

use crate::certificate::ValidatorSet;
use crate::state::{Miner, Work};

/// Quality of a verified assignment, parts per million.
pub fn quality_ppm(parameters: &Parameters, proof_us: u64) -> u64 {
    share(PPM, parameters.latency_target_us, proof_us.max(parameters.latency_target_us))
}

/// Base units that an epoch may mint.
pub fn emission(parameters: &Parameters, epoch: Epoch, supply: u64) -> u64 {
    let halvings = epoch.0.saturating_sub(1).checked_div(parameters.halving_epochs).unwrap_or(0);
    let shift = u32::try_from(halvings).unwrap_or(u32::MAX);
    parameters.emission.checked_shr(shift).unwrap_or(0).min(u64::MAX.saturating_sub(supply))
}

/// A miner's reputation after an epoch with this work.
pub fn reputation_ppm(parameters: &Parameters, before: u64, work: &Work) -> u64 {
    if work.invalid > 0 {
        return 0;
    }
    let answered = work.verified.saturating_add(work.late).saturating_add(work.absent);
    if answered == 0 {
        return before;
    }
    let availability = share(PPM, work.verified, answered);
    let performance = share(availability, mean_quality_ppm(work), PPM);
    let rate = parameters.reputation_rate_ppm.min(PPM);
    let sum = u128::from(PPM.saturating_sub(rate)).saturating_mul(before.into())
        + u128::from(rate).saturating_mul(performance.into());
    u64::try_from(sum / u128::from(PPM)).unwrap_or(PPM).min(PPM)
}

/// Who earns what in the epoch that ends at `height`.
pub fn close(
    parameters: &Parameters,
    epoch: Epoch,
    height: Height,
    supply: u64,
    validators: &ValidatorSet,
    miners: &BTreeMap<PublicKey, Miner>,
) -> EpochReport {
    let emission = emission(parameters, epoch, supply);
    let rows: Vec<(PublicKey, Work, u64)> = miners
        .iter()
        .map(|(&key, miner)| (key, miner.work, reputation_ppm(parameters, miner.reputation_ppm, &miner.work)))
        .filter(|(_, work, reputation)| *work != Work::default() || *reputation > 0)
        .collect();
    let quality: u64 = rows.iter().fold(0, |sum, (_, work, _)| sum.saturating_add(work.quality_ppm_sum));
    let weight = |work: &Work, reputation: u64| u128::from(work.quality_ppm_sum) * u128::from(reputation);
    let weights: u128 = rows.iter().map(|(_, work, reputation)| weight(work, *reputation)).sum();
    let worked = rows.iter().any(|(_, work, _)| work.verified > 0);

    let miners_half = emission / 2;
    let validators_half = if worked { emission.saturating_sub(miners_half) } else { 0 };
    let miner = |&(miner, work, reputation_ppm): &(PublicKey, Work, u64)| MinerEpoch {
        miner,
        verified: work.verified,
        invalid: work.invalid,
        late: work.late,
        absent: work.absent,
        quality_ppm: mean_quality_ppm(&work),
        reputation_ppm,
        incentive_ppm: share(PPM, work.quality_ppm_sum, quality),
        reward: wide_share(miners_half, weight(&work, reputation_ppm), weights),
    };
    let validator = |(validator, power)| ValidatorEpoch {
        validator,
        power,
        reward: share(validators_half, power, validators.total()),
    };
    EpochReport {
        epoch,
        height,
        emission,
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

/// The same with wide weights. Parameters bound emission by 2^53, tempo by 2^20, a block by 2^12 transactions and
/// both factors of a weight's term by 2^20, so that the product stays below 2^(52 + 52 + 20).
fn wide_share(whole: u64, part: u128, total: u128) -> u64 {
    let product = u128::from(whole).saturating_mul(part);
    product.checked_div(total).and_then(|share| u64::try_from(share).ok()).unwrap_or(0)
}
