//! The instance: what the verifier works out for itself, from the model, the statement and the challenge.
//!
//! Tap `j` of row `i` has the weight `r^(j - T i)`. The weights are pushed back through the transposed layers, as a
//! gradient is, to the tensors that rows compute and to the inputs:
//!
//! ```text
//! sum_(i,j) r^(j - T i) (t_(i,j) - least) + sum_o r^(-T (last + o)) (y_o - output_o) = sum_i g_i v_i + c
//! ```
//!
//! with `v_i` the cell of row `i`: `y - lo`, or `m` where the row does not requantise. With `h` summed by Horner's rule
//! the instance is `r`, then `g_i r^(T i)` for the rows, then `c r^(T (last - 1))`.
//!
//! Layers of many weights are pushed back in integers: a field element is four words, a weight times a word fits 96 bits,
//! and a sum of them an `i128`.

use ff::{Field, PrimeField};
use rayon::prelude::*;

use crate::error::ModelError;
use crate::halo2::layout::{Block, Layout, Tap};
use crate::halo2::{Fp, integer};
use crate::ir::{Graph, Op, TensorId, elements};
use crate::linear::Taps;

/// Words of a field element.
const WORDS: usize = 4;
/// Outputs of a layer that are pushed back together.
const CHUNK: usize = 64;

/// The integers of every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integers<'a> {
    /// Of every input.
    pub inputs: Vec<&'a [i32]>,
    /// Of every output.
    pub outputs: Vec<&'a [i32]>,
}

/// The instance of a statement under a challenge, which must not be 0.
pub fn instance(
    graph: &Graph,
    layout: &Layout,
    statement: &Integers<'_>,
    challenge: Fp,
) -> Result<Vec<Fp>, ModelError> {
    let ports = (graph.inputs().len(), graph.outputs().len());
    if (statement.inputs.len(), statement.outputs.len()) != ports {
        return Err(ModelError::Malformed("the statement has another number of ports".into()));
    }
    let inverse = Option::<Fp>::from(challenge.invert());
    let inverse = inverse.ok_or_else(|| ModelError::Malformed("the challenge is 0".into()))?;
    let mut pass = Pass::new(graph, layout, challenge, inverse);
    pass.outputs(&statement.outputs)?;
    for index in (0..graph.nodes().len()).rev() {
        pass.node(index)?;
    }
    pass.inputs(&statement.inputs)?;
    Ok(pass.finish())
}

struct Pass<'a> {
    graph: &'a Graph,
    layout: &'a Layout,
    /// `r^0 ..= r^T`.
    powers: Vec<Fp>,
    /// `r^(-T i)`, rows `0..=last`.
    scales: Vec<Fp>,
    /// Weight of every element of every tensor.
    weights: Vec<Vec<Fp>>,
    /// `g_i`.
    rows: Vec<Fp>,
    constant: Fp,
}

impl<'a> Pass<'a> {
    fn new(graph: &'a Graph, layout: &'a Layout, challenge: Fp, inverse: Fp) -> Self {
        let taps = layout.shape.taps;
        let series = |base: Fp, length| {
            std::iter::successors(Some(Fp::ONE), move |power| Some(power * base)).take(length).collect()
        };
        let powers = series(challenge, taps + 1);
        let scales = series(inverse.pow_vartime([taps as u64]), layout.last + 1);
        let count = |tensor| elements(graph.shape(TensorId(tensor as u32)));
        let weights = (0..graph.tensors()).map(|tensor| vec![Fp::ZERO; count(tensor)]).collect();
        let rows = vec![Fp::ZERO; layout.last + 1];
        Self { graph, layout, powers, scales, weights, rows, constant: Fp::ZERO }
    }

    fn weights(&mut self, tensor: TensorId) -> &mut Vec<Fp> {
        &mut self.weights[tensor.0 as usize]
    }

    fn outputs(&mut self, outputs: &[&[i32]]) -> Result<(), ModelError> {
        let step = self.scales[1];
        let mut weight = self.scales[self.layout.last];
        for (output, values) in self.graph.outputs().iter().zip(outputs) {
            output.port.check(values)?;
            for (element, &value) in values.iter().enumerate() {
                self.weights(output.tensor)[element] += weight;
                self.constant -= weight * integer(value.into());
                weight *= step;
            }
        }
        Ok(())
    }

    fn inputs(&mut self, inputs: &[&[i32]]) -> Result<(), ModelError> {
        for (tensor, (port, values)) in self.graph.inputs().iter().zip(inputs).enumerate() {
            port.check(values)?;
            let weighted = self.weights[tensor].iter().zip(*values);
            self.constant += weighted.map(|(weight, &value)| weight * integer(value.into())).sum::<Fp>();
        }
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<(), ModelError> {
        let graph = self.graph;
        let node = &graph.nodes()[index];
        let tensor = graph.tensor_of(index);
        match &node.op {
            Op::MaxPool2d(_) | Op::Max(_) | Op::Requantize(_) => {
                // A pool without rows is part of the block of its one reader.
                if let Some(block) = self.layout.block(tensor) {
                    self.block(block);
                }
            }
            Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) => {
                let taps = graph.taps(node).ok_or_else(|| ModelError::node(&node.name, "has no taps"))?;
                let weights = std::mem::take(self.weights(tensor));
                let biases =
                    weights.iter().enumerate().map(|(output, weight)| weight * integer(taps.bias(output)));
                self.constant += biases.sum::<Fp>();
                let pushed = transposed(&taps, &weights);
                self.weights(node.inputs[0]).iter_mut().zip(pushed).for_each(|(sum, term)| *sum += term);
            }
            Op::Combine(combine) => {
                let weights = std::mem::take(self.weights(tensor));
                self.constant += weights.iter().sum::<Fp>() * integer(combine.bias);
                for (operand, factor) in node.inputs.iter().zip(&combine.factors) {
                    let factor = integer(*factor);
                    let sums = self.weights(*operand).iter_mut().zip(&weights);
                    sums.for_each(|(sum, weight)| *sum += weight * factor);
                }
            }
            Op::Select(index) => {
                let weights = std::mem::take(self.weights(tensor));
                let mut sums: Vec<Fp> = Vec::new();
                let sizes = node.inputs.iter().map(|operand| elements(graph.shape(*operand)));
                sums.resize(sizes.sum(), Fp::ZERO);
                for (&from, weight) in index.iter().zip(weights) {
                    // An index beyond the operands stands for the number 0.
                    if let Some(sum) = sums.get_mut(from as usize) {
                        *sum += weight;
                    }
                }
                let mut rest = sums.into_iter();
                for operand in &node.inputs {
                    self.weights(*operand).iter_mut().zip(&mut rest).for_each(|(sum, term)| *sum += term);
                }
            }
            Op::Reshape => {
                let weights = std::mem::take(self.weights(tensor));
                self.weights(node.inputs[0]).iter_mut().zip(weights).for_each(|(sum, term)| *sum += term);
            }
            Op::Multiply | Op::MatMul(_) | Op::Table(_) | Op::Sqrt => {
                return Err(ModelError::node(&node.name, "has no rows in the circuit for halo2"));
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block) {
        let weights = std::mem::take(self.weights(block.tensor));
        for (element, weight) in weights.into_iter().enumerate() {
            self.rows[block.row_of(element)] += weight;
            self.constant += weight * integer(block.offset());
        }
        let (least, taps) = (integer(block.range.lo), self.layout.shape.taps);
        let mut operand = std::mem::take(self.weights(block.operand));
        block.for_each(taps, |unit| {
            for (tap, power) in unit.taps.iter().zip(&self.powers) {
                let weight = self.scales[unit.row] * power;
                match tap {
                    // Both maxima of a window are less the same least value.
                    Tap::Previous => self.rows[unit.row - 1] += weight,
                    Tap::Element(element) => {
                        operand[*element] += weight;
                        self.constant -= weight * least;
                    }
                }
            }
        });
        *self.weights(block.operand) = operand;
    }

    fn finish(mut self) -> Vec<Fp> {
        let (last, step) = (self.layout.last, self.powers[self.layout.shape.taps]);
        let mut scale = Fp::ONE;
        for row in &mut self.rows[1..last] {
            scale *= step;
            *row *= scale;
        }
        self.rows[0] = self.powers[1];
        self.rows[last] = self.constant * scale;
        self.rows
    }
}

/// `x_i = sum_o w_(o,i) y_o`.
fn transposed(taps: &Taps<'_>, weights: &[Fp]) -> Vec<Fp> {
    let inputs = taps.inputs();
    let zero = || vec![[0i128; WORDS]; inputs];
    let chunks = weights.par_chunks(CHUNK).enumerate().fold(zero, |mut sums, (chunk, weights)| {
        for (at, weight) in weights.iter().enumerate() {
            let words = words(*weight);
            taps.row(chunk * CHUNK + at, |input, factor| {
                for (sum, word) in sums[input].iter_mut().zip(words) {
                    *sum += i128::from(factor) * i128::from(word);
                }
            });
        }
        sums
    });
    let sums = chunks.reduce(zero, |mut left, right| {
        for (left, right) in left.iter_mut().zip(right) {
            left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        }
        left
    });
    sums.into_par_iter().map(|sum| join(&sum)).collect()
}

fn words(value: Fp) -> [u64; WORDS] {
    let bytes = value.to_repr();
    std::array::from_fn(|word| {
        let bytes: [u8; 8] = std::array::from_fn(|byte| bytes[8 * word + byte]);
        u64::from_le_bytes(bytes)
    })
}

/// `sum_j 2^(64 j) sum_j`.
fn join(sums: &[i128; WORDS]) -> Fp {
    let radix = Fp::from_u128(1 << 64);
    sums.iter().rev().fold(Fp::ZERO, |value, &sum| {
        let magnitude = Fp::from_u128(sum.unsigned_abs());
        value * radix + if sum < 0 { -magnitude } else { magnitude }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Dense;

    #[test]
    fn pushing_back_in_integers_is_pushing_back_in_the_field() {
        let weights: Vec<i32> = (0..100 * 7).map(|i: i32| i.wrapping_mul(0x5bd1_e995)).collect();
        let dense = Dense { weights: weights.clone(), bias: vec![0; 100] };
        let y: Vec<Fp> = (1..=100u64).map(|i| Fp::from(i).invert().expect("not 0")).collect();
        let pushed = transposed(&Taps::Dense(&dense, 1), &y);
        for (input, got) in pushed.iter().enumerate() {
            let terms = y.iter().enumerate().map(|(o, y)| y * integer(weights[o * 7 + input].into()));
            assert_eq!(*got, terms.sum::<Fp>());
        }
    }
}
