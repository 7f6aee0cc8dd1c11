//! Rows that a layer takes in the constraint system, from bounds alone.
//!
//! This mirrors `r1cs::cells`, so that thousands of choices can be weighed without building a graph; the plan of
//! the graph that is chosen has the last word.

use super::network::{Layer, Pool};
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
    /// Cells of a layer with this many results and comparisons.
    #[cfg(test)]
    pub fn new(requantized: usize, comparisons: usize) -> Self {
        Self { requantized, comparisons }
    }

    /// Counts the cells of a layer.
    pub fn of(layer: &Layer) -> Self {
        let comparisons = layer.pools.iter().map(Pool::comparisons).sum();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::import::builder::still;
    use crate::import::network::{Kind, Map, Network, Output, Over, Pool};
    use crate::import::quantise::{self, Choice};
    use crate::ir::{Port, QuantParams};
    use crate::linear::Window;
    use crate::pool::MaxPool2d;
    use crate::r1cs::{LIMB_BITS, Plan};

    /// A convolution of one channel, a padded pool with overlapping windows, a bound.
    fn network(clamp: (f64, f64)) -> Network {
        let weights = vec![0.5, -0.25, 0.125, 0.75];
        let map = Map::Conv2d { weights, bias: vec![0.1], kernel: [2, 2], window: still(), groups: 1 };
        let window = Window { stride: [2, 1], pad: [1, 0, 0, 1], dilation: [1, 1] };
        let pool = MaxPool2d { kernel: [3, 2], window };
        let pool = Pool {
            name: "pool".into(),
            over: Over::Window(pool),
            from: vec![1, 1, 5, 5],
            to: vec![1, 1, 2, 5],
        };
        let (from, to) = (vec![1, 1, 6, 6], vec![1, 1, 5, 5]);
        let layer = Layer {
            name: "conv".into(),
            inputs: vec![0],
            from,
            kind: Kind::Map(Arc::new(map)),
            to,
            pools: vec![pool],
            clamp,
        };
        let output = Output { name: "y".into(), shape: vec![1, 1, 2, 5], activation: 1, whole: false };
        Network { inputs: vec![("x".into(), vec![1, 1, 6, 6])], layers: vec![layer], outputs: vec![output] }
    }

    #[test]
    fn the_rows_of_a_layer_are_those_of_the_plan() {
        let types = [(0, 255), (0, 200), (-128, 127), (-5, 127), (0, 65535)];
        for (lo, hi) in types {
            for shift in [1, 4, 8, 9, 16] {
                for scale in [1e-3, 0.02, 0.5] {
                    let network = network((f64::NEG_INFINITY, f64::INFINITY));
                    let port = QuantParams { scale: 1.0 / 255.0, lo: 0, hi: 255 };
                    let ports = [Port::public("x", vec![1, 1, 6, 6], port)];
                    let choice = Choice { shift, quant: QuantParams { scale, lo, hi }, argument: None };
                    let means = [vec![0.5; 36]];
                    let emitted = quantise::graph(&network, &ports, &[choice], &means).unwrap();
                    let range = emitted.graph.range(emitted.graph.tensor_of(0));
                    let rule = Requantize { shift, lo, hi };
                    for limb in LIMB_BITS {
                        let plan = Plan::with_limb_bits(&emitted.graph, limb);
                        let rows = Cells::of(&network.layers[0]).rows(range, &rule, limb);
                        assert_eq!(rows, plan.lookups + plan.gates, "{lo}..{hi} >> {shift}, limb {limb}");
                    }
                }
            }
        }
    }
}
