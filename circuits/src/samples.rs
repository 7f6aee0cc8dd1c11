//! Small graphs for tests, of this crate and of those that prove: each shows one kind of cell.

use crate::error::ModelError;
use crate::ir::{
    Combine, Graph, MatMul, Node, Op, Output, Port, QuantParams, Requantize, Shape, Table, TensorId, ZERO,
};
use crate::linear::{Conv2d, Dense, Sparse, Window};
use crate::pool::MaxPool2d;

/// A chain of operators over one input.
#[derive(Clone, Debug)]
pub struct Chain {
    input: Port,
    nodes: Vec<Node>,
}

impl Chain {
    /// Starts with an input of a shape and a type.
    pub fn new(shape: Shape, lo: i32, hi: i32) -> Self {
        let quant = QuantParams { scale: 1.0, lo, hi };
        Self { input: Port::public("x", shape, quant), nodes: Vec::new() }
    }

    /// Appends a dense layer.
    #[must_use]
    pub fn dense(self, weights: Vec<i32>, bias: Vec<i64>) -> Self {
        let shape = vec![1, bias.len() as u32];
        self.node(Op::Dense(Dense { weights, bias }), shape)
    }

    /// Appends a convolution without padding, stride 1.
    #[must_use]
    pub fn conv(self, weights: Vec<i32>, bias: Vec<i64>, kernel: [u32; 2]) -> Self {
        let window = Window { stride: [1, 1], pad: [0; 4], dilation: [1, 1] };
        let from = self.shape();
        let out = match from[..] {
            [_, _, height, width] => window.output([height, width], kernel),
            _ => None,
        };
        let shape = out.map_or_else(Vec::new, |[height, width]| vec![1, bias.len() as u32, height, width]);
        self.node(Op::Conv2d(Conv2d { weights, bias, kernel, window, groups: 1 }), shape)
    }

    /// Appends a maximum over windows of 2 by 2, stride 2.
    #[must_use]
    pub fn pool(self) -> Self {
        let from = self.shape();
        let window = Window { stride: [2, 2], pad: [0; 4], dilation: [1, 1] };
        let shape = vec![1, from[1], from[2] / 2, from[3] / 2];
        self.node(Op::MaxPool2d(MaxPool2d { kernel: [2, 2], window }), shape)
    }

    /// Appends a requantisation.
    #[must_use]
    pub fn requantize(self, shift: u8, lo: i32, hi: i32) -> Self {
        let shape = self.shape();
        self.node(Op::Requantize(Requantize { shift, lo, hi }), shape)
    }

    /// Appends a function, given by its values from `lo` on.
    #[must_use]
    pub fn table(self, lo: i32, values: Vec<i32>) -> Self {
        let shape = self.shape();
        self.node(Op::Table(Table { lo, values }), shape)
    }

    /// Appends an operator over the latest tensor and one that came `back` tensors before it.
    #[must_use]
    pub fn with(mut self, back: u32, op: Op, shape: Shape) -> Self {
        let latest = self.nodes.len() as u32;
        let inputs = vec![TensorId(latest), TensorId(latest.saturating_sub(back))];
        self.nodes.push(Node { name: format!("node{latest}"), op, inputs, shape });
        self
    }

    /// Appends an operator over the latest tensor.
    #[must_use]
    pub fn then(self, op: Op, shape: Shape) -> Self {
        self.node(op, shape)
    }

    /// Appends a reshape.
    #[must_use]
    pub fn reshape(self, shape: Shape) -> Self {
        self.node(Op::Reshape, shape)
    }

    /// Ends the chain; the last requantisation is the output.
    pub fn graph(self) -> Result<Graph, ModelError> {
        let rules = self.nodes.iter().rev().find_map(|node| match &node.op {
            Op::Requantize(rule) => Some(*rule),
            _ => None,
        });
        let rule = rules.ok_or_else(|| ModelError::node("chain", "no requantisation"))?;
        let quant = QuantParams { scale: 1.0, lo: rule.lo, hi: rule.hi };
        let port = Port::public("y", self.shape(), quant);
        let output = Output { port, tensor: TensorId(self.nodes.len() as u32) };
        Graph::new(vec![self.input], self.nodes, vec![output])
    }

    fn shape(&self) -> Shape {
        self.nodes.last().map_or_else(|| self.input.shape.clone(), |node| node.shape.clone())
    }

    fn node(mut self, op: Op, shape: Shape) -> Self {
        let inputs = vec![TensorId(self.nodes.len() as u32)];
        self.nodes.push(Node { name: format!("node{}", self.nodes.len()), op, inputs, shape });
        self
    }
}

fn valid(chain: Chain) -> Graph {
    chain.graph().expect("the sample is a valid graph")
}

/// One requantisation that can saturate on both sides: `clamp((100 x + 3 + 8) >> 4, 0, 255)`.
pub fn cell() -> Graph {
    valid(Chain::new(vec![1, 1], -128, 127).dense(vec![100], vec![3]).requantize(4, 0, 255))
}

/// The same cell, hidden behind a second one.
pub fn hidden_cell() -> Graph {
    let chain = Chain::new(vec![1, 1], -128, 127).dense(vec![100], vec![3]).requantize(4, 0, 255);
    valid(chain.dense(vec![16], vec![0]).requantize(4, -512, 511))
}

/// The maximum of four inputs.
pub fn maximum() -> Graph {
    valid(Chain::new(vec![1, 1, 2, 2], -128, 127).pool().requantize(1, -128, 127))
}

/// Dense, ReLU, dense; the last of its three inputs has no weight.
pub fn dense() -> Graph {
    let chain =
        Chain::new(vec![1, 3], 0, 255).dense(vec![7, -3, 0, -9, 5, 0], vec![11, 40]).requantize(3, 0, 127);
    valid(chain.dense(vec![20, -31, 8, 9], vec![0, -100]).requantize(5, -128, 127))
}

/// A function of one activation: `7 - x^2 / 8` of `x` in -8 to 7, plus 100.
pub fn function() -> Graph {
    let values = (-8..8).map(|x| 107 - x * x / 8).collect();
    let chain = Chain::new(vec![1, 2], -128, 127).dense(vec![3, -2, 1, 4], vec![0, 5]).requantize(5, -8, 7);
    valid(chain.table(-8, values).dense(vec![9, 2], vec![0]).requantize(3, -512, 511))
}

/// The product of an activation with the one before it.
pub fn product() -> Graph {
    let chain = Chain::new(vec![1, 1], -128, 127).dense(vec![3], vec![-1]).requantize(2, -128, 127);
    valid(chain.with(2, Op::Multiply, vec![1, 1]).requantize(6, -256, 255))
}

/// `floor(sqrt(x^2 + y^2))`, behind another activation.
pub fn norm() -> Graph {
    let chain = Chain::new(vec![1, 2], -128, 127).with(0, Op::Multiply, vec![1, 2]);
    let chain = chain.dense(vec![1, 1], vec![0]).then(Op::Sqrt, vec![1, 1]);
    valid(chain.dense(vec![5], vec![-3]).requantize(2, -512, 511))
}

/// A matrix by a rearranged one, a sum with factors, padding, sums over rows, the greatest of each half.
pub fn attention() -> Graph {
    let sizes = MatMul { batch: 1, rows: 2, inner: 3, columns: 2 };
    let chain = Chain::new(vec![2, 3], -16, 15).then(Op::Select(vec![0, 3, 1, 4, 2, 5]), vec![2, 3]);
    let chain = chain.with(1, Op::MatMul(sizes), vec![2, 2]);
    let chain = chain.requantize(3, -128, 127).then(Op::Select(vec![3, ZERO, 0, 1, 2, ZERO]), vec![6]);
    let chain = chain.with(0, Op::Combine(Combine { factors: vec![5, -2], bias: 7 }), vec![6]);
    let rows =
        [(4, vec![(0, 3), (5, -1)]), (0, vec![(2, 2), (3, 1), (4, 7)]), (-9, vec![]), (1, vec![(1, 1)])];
    let chain = chain.then(Op::Sparse(Sparse::new(rows)), vec![4]);
    valid(chain.then(Op::Max(2), vec![2]).requantize(2, -128, 127))
}

/// A matrix by itself, transposed first, as large as a product must be for Freivalds' test.
pub fn matrices() -> Graph {
    let sizes = MatMul { batch: 1, rows: 8, inner: 8, columns: 8 };
    let transposed = (0..64).map(|i| i % 8 * 8 + i / 8).collect();
    let chain = Chain::new(vec![8, 8], -16, 15).then(Op::Select(transposed), vec![8, 8]);
    valid(chain.with(1, Op::MatMul(sizes), vec![8, 8]).requantize(3, -128, 127))
}

/// Convolution, max-pool, ReLU, dense: every kind of cell.
pub fn convolution() -> Graph {
    let weights = (0..2 * 9).map(|i| i * 5 % 23 - 9).collect();
    let chain = Chain::new(vec![1, 1, 6, 6], 0, 63).conv(weights, vec![40, -70], [3, 3]).pool();
    let chain = chain.requantize(5, 0, 100).reshape(vec![1, 8]);
    valid(chain.dense((0..3 * 8).map(|i| i * 7 % 31 - 15).collect(), vec![0, 9, -9]).requantize(4, -128, 127))
}
