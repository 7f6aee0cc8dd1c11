//! Rows that a layer takes in the constraint system, from bounds alone.
//!
//! This mirrors `r1cs::cells`, so that thousands of choices can be weighed without building a graph; the plan of
//! the graph that is chosen has the last word.

use super::network::Layer;
use crate::graph::image;
use crate::ir::{Range, Requantize, elements, quotient};

/// What a layer makes the constraint system do.
#[derive(Clone, Debug)]
pub struct Cells {
    /// Cells that are requantised.
    requantized: usize,
    /// Comparisons of all max-pools.
    comparisons: usize,
}

impl Cells {
    /// Counts the cells of a layer.
    pub fn of(layer: &Layer) -> Self {
        let mut comparisons = 0;
        for pool in &layer.pools {
            if let (Some(from), Some(to)) = (image(&pool.from), image(&pool.to)) {
                for output in 0..elements(&pool.to) {
                    let mut taps = 0usize;
                    pool.pool.taps(output, from, to, |_| taps += 1);
                    comparisons += taps.saturating_sub(1);
                }
            }
        }
        Self { requantized: elements(layer.shape()), comparisons }
    }

    /// Whether there is a max-pool.
    pub fn compares(&self) -> bool {
        self.comparisons > 0
    }

    /// Rows of the layer under limb width `limb`, for accumulators in `range`.
    pub fn rows(&self, range: Range, rule: &Requantize, limb: u32) -> usize {
        self.requantized * requantize(range, rule, limb)
            + self.comparisons * (1 + lookups(bits(range.hi - range.lo), false, limb))
    }
}

fn requantize(range: Range, rule: &Requantize, limb: u32) -> usize {
    let below = i64::from(rule.lo) - quotient(range.lo, rule.shift);
    let above = quotient(range.hi, rule.shift) - i64::from(rule.hi);
    let mut rows = lookups(rule.shift.into(), true, limb);
    if below > 0 || above > 0 {
        rows += lookups(bits(below.max(above)), false, limb);
    }
    rows += usize::from(below > 0) + usize::from(above > 0);
    let width = i64::from(rule.hi) - i64::from(rule.lo) + 1;
    let power = width & (width - 1) == 0;
    rows += lookups(bits(width - 1), power, limb);
    rows + if power { 0 } else { lookups(bits(width - 1), false, limb) }
}

/// Lookups of a range of `bits` bits.
fn lookups(bits: u32, exact: bool, limb: u32) -> usize {
    (bits.div_ceil(limb).max(1) + u32::from(exact && !bits.is_multiple_of(limb))) as usize
}

fn bits(value: i64) -> u32 {
    64 - value.max(0).leading_zeros()
}
