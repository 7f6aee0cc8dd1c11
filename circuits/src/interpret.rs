//! Reference interpreter: exact integer inference that keeps every tensor, since the witness of a proof is
//! made from them.

use rayon::prelude::*;

use crate::error::ModelError;
use crate::graph::image;
use crate::ir::{Graph, Node, Op, TensorId, elements, requantize};
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

    /// Values of the output ports.
    pub fn outputs(&self, graph: &Graph) -> Vec<Vec<i32>> {
        // An output is a requantised tensor, so every value is in an i32 type.
        let values = |id| self.tensor(id).iter().map(|&v| v as i32).collect();
        graph.outputs().iter().map(|output| values(output.tensor)).collect()
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
            let x = &tensors[node.inputs[0].0 as usize];
            let y = self.evaluate(node, x);
            tensors.push(y);
        }
        Ok(Trace { tensors })
    }

    fn evaluate(&self, node: &Node, x: &[i64]) -> Vec<i64> {
        match &node.op {
            Op::Dense(_) | Op::Conv2d(_) => linear(&self.taps(node).expect("linear operators have taps"), x),
            Op::MaxPool2d(pool) => max_pool(pool, self.shape(node.inputs[0]), &node.shape, x),
            Op::Requantize(rule) => x.iter().map(|&v| requantize(v, rule)).collect(),
            Op::Reshape => x.to_vec(),
        }
    }
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
