//! The integer graph that is proven: a list of nodes in topological order, each producing one tensor of
//! integers, with weights as constants.
//!
//! A real tensor is `t ~ scale * q`, `q` an integer in `lo..=hi`, zero point 0. Linear nodes yield
//! *accumulators* (exact sums, bounded by interval analysis); `Requantize` turns an accumulator into an
//! activation by the one rounding rule, see [`requantize`].
//!
//! The canonical bytes of a graph are its borsh encoding behind a magic and a version; its [`ModelId`] is
//! their BLAKE3 digest.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::linear::{Conv2d, Dense};
use crate::pool::MaxPool2d;

/// Limits on everything that a model file can ask for.
pub mod limits {
    /// Bytes of a model file.
    pub const MODEL_BYTES: usize = 1 << 30;
    /// Nodes of a graph.
    pub const NODES: usize = 4096;
    /// Elements of one tensor.
    pub const ELEMENTS: usize = 1 << 24;
    /// Weights of one linear node.
    pub const WEIGHTS: usize = 1 << 28;
    /// Taps of one convolution or pool, over all its outputs: what one inference and one setup walk through.
    pub const TAPS: usize = 1 << 32;
    /// Dimensions of a tensor.
    pub const RANK: usize = 8;
    /// Inputs, and outputs, of a graph.
    pub const PORTS: usize = 16;
    /// Bytes of a name.
    pub const NAME: usize = 256;
    /// Largest right shift of a `Requantize`.
    pub const SHIFT: u8 = 30;
    /// Bits of an activation.
    pub const ACTIVATION_BITS: u32 = 16;
    /// Bits that a static accumulator bound may take; the field keeps 190 bits of room above it.
    pub const ACCUMULATOR_BITS: u32 = 60;
}

/// Digest of a model's canonical bytes: what a miner commits to and what a proof is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ModelId(pub [u8; 32]);

impl std::fmt::Display for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelId({self})")
    }
}

/// Dimensions, outermost first (images are NCHW).
pub type Shape = Vec<u32>;

/// Number of elements of a shape.
pub fn elements(shape: &[u32]) -> usize {
    shape.iter().map(|&d| d as usize).product()
}

/// Integer type of an activation: `t ~ scale * q` with `q` in `lo..=hi`.
#[derive(Clone, Copy, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct QuantParams {
    /// Real value of one step; finite and positive.
    pub scale: f64,
    /// Least integer, at most 0.
    pub lo: i32,
    /// Greatest integer, at least 1.
    pub hi: i32,
}

/// A named input or output tensor with its integer type.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Port {
    /// Name in the source model.
    pub name: String,
    /// Shape without symbolic dimensions.
    pub shape: Shape,
    /// Integer type.
    pub quant: QuantParams,
}

/// Tensor number: graph inputs come first, then one tensor a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TensorId(pub u32);

/// What a node computes.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    /// `y[o] = bias[o] + sum_i w[o,i] x[i]`, an accumulator.
    Dense(Dense),
    /// Two-dimensional convolution over NCHW, an accumulator.
    Conv2d(Conv2d),
    /// Maximum over windows of an NCHW tensor; accumulators stay accumulators.
    MaxPool2d(MaxPool2d),
    /// `y = clamp((x + 2^(shift-1)) >> shift, lo, hi)`; ReLU is `lo = 0`.
    Requantize(Requantize),
    /// The same elements in the same order under another shape.
    Reshape,
}

/// Parameters of the one rounding rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Requantize {
    /// Right shift, `1..=limits::SHIFT`.
    pub shift: u8,
    /// Least value of the output type.
    pub lo: i32,
    /// Greatest value of the output type.
    pub hi: i32,
}

/// A node: one operator, its operands, its output's shape.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Name in the source model, for messages and reports.
    pub name: String,
    /// Operator.
    pub op: Op,
    /// Operands; always earlier tensors.
    pub inputs: Vec<TensorId>,
    /// Shape of the output.
    pub shape: Shape,
}

/// An output port and the tensor that it names.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Output {
    /// Name, shape and integer type.
    pub port: Port,
    /// The tensor; it must be the result of a `Requantize` (through reshapes).
    pub tensor: TensorId,
}

/// A quantised model. Build one with [`Graph::new`]: a value of this type is always valid.
#[derive(Clone, Debug, PartialEq, BorshSerialize)]
pub struct Graph {
    pub(crate) inputs: Vec<Port>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Output>,
    #[borsh(skip)]
    pub(crate) ranges: Vec<Range>,
}

/// Closed interval that holds every value of a tensor, for every input that the types admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least possible value.
    pub lo: i64,
    /// Greatest possible value.
    pub hi: i64,
}

/// The one rounding rule: round half up, then saturate.
///
/// `clamp((acc + 2^(shift-1)) >> shift, lo, hi)` with an arithmetic shift (floor).
pub fn requantize(acc: i64, rule: &Requantize) -> i64 {
    quotient(acc, rule.shift).clamp(i64::from(rule.lo), i64::from(rule.hi))
}

/// `floor((acc + 2^(shift-1)) / 2^shift)`: the quotient before saturation.
pub fn quotient(acc: i64, shift: u8) -> i64 {
    (acc + (1i64 << (shift - 1))) >> shift
}
