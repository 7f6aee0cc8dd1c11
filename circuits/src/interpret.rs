//! Reference interpreter: exact integer inference that keeps every tensor, since the witness of a proof is
//! made from them.

use rayon::prelude::*;

use crate::error::ModelError;
use crate::graph::image;
use crate::ir::{Combine, Graph, MatMul, Node, Op, TensorId, elements, requantize, root};
use crate::linear::Taps;
use crate::pool::MaxPool2d;

/// Every tensor of one inference: inputs first, then one a node, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    tensors: Vec<Vec<i64>>,
}

impl Trace {
    /// Values of a tensor.
    pub fn tensor(&self, id: TensorId) -> &[i64] {
        &self.tensors[id.0 as usize]
    }

    /// Values of the input ports.
    pub fn inputs(&self, graph: &Graph) -> Vec<Vec<i32>> {
        (0..graph.inputs().len() as u32).map(|port| self.activation(TensorId(port))).collect()
    }

    /// Values of the output ports.
    pub fn outputs(&self, graph: &Graph) -> Vec<Vec<i32>> {
        graph.outputs().iter().map(|output| self.activation(output.tensor)).collect()
    }

    fn activation(&self, id: TensorId) -> Vec<i32> {
        // A port's values are of its type, or from a table, so every one is an i32.
        self.tensor(id).iter().map(|&v| v as i32).collect()
    }

    /// A trace with other values, for tests of what the constraint system refuses.
    pub fn from_tensors(tensors: Vec<Vec<i64>>) -> Self {
        Self { tensors }
    }
}

impl Graph {
    /// Runs the model on integers that fit its input ports.
    pub fn run(&self, inputs: &[Vec<i32>]) -> Result<Trace, ModelError> {
        self.check_inputs(inputs)?;
        let mut tensors: Vec<Vec<i64>> = Vec::with_capacity(self.tensors());
        tensors.extend(inputs.iter().map(|values| values.iter().map(|&v| i64::from(v)).collect()));
        for node in self.nodes() {
            let operands: Vec<&[i64]> =
                node.inputs.iter().map(|input| tensors[input.0 as usize].as_slice()).collect();
            let y = self.evaluate(node, &operands);
            tensors.push(y);
        }
        Ok(Trace { tensors })
    }

    fn evaluate(&self, node: &Node, operands: &[&[i64]]) -> Vec<i64> {
        let x = operands[0];
        match &node.op {
            Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) => {
                linear(&self.taps(node).expect("linear operators have taps"), x)
            }
            Op::Combine(combine) => combined(combine, operands),
            Op::Select(index) => selected(index, operands),
            Op::Multiply => x.iter().zip(operands[1]).map(|(a, b)| a * b).collect(),
            Op::MatMul(sizes) => matmul(sizes, x, operands[1]),
            Op::MaxPool2d(pool) => max_pool(pool, self.shape(node.inputs[0]), &node.shape, x),
            Op::Max(group) => {
                x.chunks(*group as usize).filter_map(|group| group.iter().max().copied()).collect()
            }
            Op::Table(table) => x.iter().map(|&v| table.at(v)).collect(),
            Op::Requantize(rule) => x.iter().map(|&v| requantize(v, rule)).collect(),
            Op::Reshape => x.to_vec(),
            Op::Sqrt => x.iter().map(|&v| root(v)).collect(),
        }
    }
}

fn combined(combine: &Combine, operands: &[&[i64]]) -> Vec<i64> {
    let mut sums = vec![combine.bias; operands[0].len()];
    for (factor, operand) in combine.factors.iter().zip(operands) {
        sums.iter_mut().zip(*operand).for_each(|(sum, x)| *sum += factor * x);
    }
    sums
}

fn selected(index: &[u32], operands: &[&[i64]]) -> Vec<i64> {
    let all = operands.concat();
    // An index beyond the operands is `ZERO`: the graph was checked.
    index.iter().map(|&i| all.get(i as usize).copied().unwrap_or(0)).collect()
}

fn matmul(sizes: &MatMul, a: &[i64], b: &[i64]) -> Vec<i64> {
    (0..sizes.outputs())
        .into_par_iter()
        .with_min_len(64)
        .map(|output| sizes.terms(output).map(|(i, j)| a[i] * b[j]).sum())
        .collect()
}

fn linear(taps: &Taps<'_>, x: &[i64]) -> Vec<i64> {
    (0..taps.outputs())
        .into_par_iter()
        .with_min_len(16)
        .map(|output| {
            let mut sum = taps.bias(output);
            taps.row(output, |input, weight| sum += i64::from(weight) * x[input]);
            sum
        })
        .collect()
}

fn max_pool(pool: &MaxPool2d, from: &[u32], to: &[u32], x: &[i64]) -> Vec<i64> {
    let (input, out) = (image(from).expect("checked shape"), image(to).expect("checked shape"));
    (0..elements(to))
        .map(|output| {
            let mut max = i64::MIN;
            pool.taps(output, input, out, |tap| max = max.max(x[tap]));
            max
        })
        .collect()
}
