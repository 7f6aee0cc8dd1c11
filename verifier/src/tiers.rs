//! Tiers of jobs: what each costs at least.
//!
//! ```text
//! floor(standard) = price_floor
//! floor(economy)  = ceil(price_floor * economy_price_ppm / 10^6)
//! floor(priority) = ceil(price_floor * priority_price_ppm / 10^6)
//! ```
//!
//! The tier is in the job that the client signs, and with it in the receipt. In what order a validator assigns jobs of
//! different tiers is its own affair: no rule can show it.

use assay_proto::genesis::Parameters;
use assay_proto::job::{Job, Tier};
use assay_proto::limits::PPM;

use crate::error::Reason;

/// Least price of a job of a tier.
pub fn floor(parameters: &Parameters, tier: Tier) -> u64 {
    let ppm = match tier {
        Tier::Economy => parameters.economy_price_ppm,
        Tier::Standard => PPM,
        Tier::Priority => parameters.priority_price_ppm,
    };
    let floor = u128::from(parameters.price_floor).saturating_mul(ppm.into()).div_ceil(PPM.into());
    u64::try_from(floor).unwrap_or(u64::MAX)
}

/// Whether a job pays what its tier costs.
pub fn check(parameters: &Parameters, job: &Job) -> Result<(), Reason> {
    let (tier, got) = (job.tier, job.max_price);
    let floor = floor(parameters, tier);
    if got >= floor { Ok(()) } else { Err(Reason::PriceFloor { tier, floor, got }) }
}
