//! The integer graph that is proven: a list of nodes in topological order, each producing one tensor of
//! integers, with weights as constants.
//!
//! A real tensor is `t ~ scale * q`, `q` an integer in `lo..=hi`, zero point 0. Linear nodes yield
//! *accumulators* (exact sums, bounded by interval analysis); `Requantize` turns an accumulator into an
//! activation by the one rounding rule, see [`requantize`]; `Table` makes an activation of another.
//!
//! The canonical bytes of a graph are its borsh encoding behind a magic and a version; its [`ModelId`] is
//! their BLAKE3 digest.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::linear::{Conv2d, Dense, Sparse};
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
    pub const ACTIVATION_BITS: u32 = 24;
    /// Bits of a function's values.
    pub const VALUE_BITS: u32 = 16;
    /// Bits that a static accumulator bound may take; the field keeps 190 bits of room above it.
    pub const ACCUMULATOR_BITS: u32 = 60;
    /// Operands of a node.
    pub const OPERANDS: usize = 1024;
    /// Wires that one element may combine before it is an activation again.
    pub const TERMS: usize = 64;
    /// Products of activations of one node.
    pub const PRODUCTS: usize = 1 << 26;
    /// Rows of one function table.
    pub const TABLE_ROWS: usize = 1 << 16;
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

/// What a proof's statement says of a port's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = false)]
pub enum Visibility {
    /// The values themselves.
    Public,
    /// A hiding commitment to them, see [`crate::commitment`].
    Committed,
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
    /// Whether statements carry the values or a commitment to them.
    pub visibility: Visibility,
}

impl Port {
    /// A port whose values statements carry.
    pub fn public(name: impl Into<String>, shape: Shape, quant: QuantParams) -> Self {
        Self { name: name.into(), shape, quant, visibility: Visibility::Public }
    }
}

/// Tensor number: graph inputs come first, then one tensor a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TensorId(pub u32);

/// What a node computes. Every operator reads tensors in row-major order.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    /// `y[r,o] = bias[o] + sum_i w[o,i] x[r,i]` for every row `r` of the operand, an accumulator.
    Dense(Dense),
    /// Two-dimensional convolution over NCHW, an accumulator.
    Conv2d(Conv2d),
    /// `y[o] = bias[o] + sum over taps (i, w) of w x[i]`, an accumulator.
    Sparse(Sparse),
    /// `y[i] = bias + sum_j factors[j] x_j[i]` over operands `x_j` of one size.
    Combine(Combine),
    /// `y[i] = x[index[i]]`, `x` the operands one after another; an index of [`ZERO`] is the number 0.
    Select(Vec<u32>),
    /// `y[i] = a[i] b[i]`, an accumulator.
    Multiply,
    /// `y[b,i,j] = sum_l a[b,i,l] b[b,l,j]`, an accumulator.
    MatMul(MatMul),
    /// Maximum over windows of an NCHW tensor; accumulators stay accumulators.
    MaxPool2d(MaxPool2d),
    /// `y[i] = max over j < k of x[ik + j]`; accumulators stay accumulators.
    Max(u32),
    /// `y[i] = values[x[i] - lo]`.
    Table(Table),
    /// `y = clamp((x + 2^(shift-1)) >> shift, lo, hi)`; ReLU is `lo = 0`.
    Requantize(Requantize),
    /// The same elements in the same order under another shape.
    Reshape,
    /// `y[i] = floor(sqrt(x[i]))` of accumulators that are never negative, see [`root`]; an accumulator.
    Sqrt,
}

/// The index of [`Op::Select`] that stands for the number 0, as padding needs it.
pub const ZERO: u32 = u32::MAX;

/// Sum of several tensors with constant factors.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Combine {
    /// A factor an operand.
    pub factors: Vec<i64>,
    /// Added to every element.
    pub bias: i64,
}

/// Sizes of a batched product of matrices `[batch, rows, inner] x [batch, inner, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MatMul {
    /// Number of products.
    pub batch: u32,
    /// Rows of the first operand.
    pub rows: u32,
    /// Columns of the first operand, rows of the second.
    pub inner: u32,
    /// Columns of the second operand.
    pub columns: u32,
}

impl MatMul {
    /// Elements of the product.
    pub fn outputs(&self) -> usize {
        self.batch as usize * self.rows as usize * self.columns as usize
    }

    /// The elements of both operands that are multiplied and summed for an element of the product.
    pub fn terms(&self, output: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, inner, columns) = (self.rows as usize, self.inner as usize, self.columns as usize);
        let (batch, row, column) = (output / (rows * columns), output / columns % rows, output % columns);
        (0..inner).map(move |l| ((batch * rows + row) * inner + l, (batch * inner + l) * columns + column))
    }
}

/// A function of one integer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Table {
    /// Least argument.
    pub lo: i32,
    /// The function's values at `lo`, `lo + 1`, ..
    pub values: Vec<i32>,
}

impl Table {
    /// The value at an argument; the nearest one beyond the ends, which no valid graph reaches.
    pub fn at(&self, x: i64) -> i64 {
        let row = (x - i64::from(self.lo)).clamp(0, self.values.len() as i64 - 1);
        self.values[row as usize].into()
    }

    /// Least and greatest value.
    pub fn range(&self) -> Range {
        let values = || self.values.iter().map(|&v| i64::from(v));
        Range { lo: values().min().unwrap_or(0), hi: values().max().unwrap_or(0) }
    }
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
    /// The tensor; it must be the result of a `Requantize`, a `Table` or a `Sqrt` (through
    /// reshapes).
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
    /// How many wires an element of each tensor combines at most.
    #[borsh(skip)]
    pub(crate) terms: Vec<usize>,
}

/// Closed interval that holds every value of a tensor, for every input that the types admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least possible value.
    pub lo: i64,
    /// Greatest possible value.
    pub hi: i64,
}

impl Range {
    /// Whether every value of another range is in this one.
    pub fn contains(&self, other: Self) -> bool {
        self.lo <= other.lo && other.hi <= self.hi
    }
}

/// The one rounding rule: round half up, then saturate.
///
/// `clamp((acc + 2^(shift-1)) >> shift, lo, hi)` with an arithmetic shift (floor).
pub fn requantize(acc: i64, rule: &Requantize) -> i64 {
    quotient(acc, rule.shift).clamp(i64::from(rule.lo), i64::from(rule.hi))
}

/// The greatest integer whose square is at most `x`; 0 below 0, which no valid graph reaches.
pub fn root(x: i64) -> i64 {
    x.max(0).isqrt()
}

/// `floor((acc + 2^(shift-1)) / 2^shift)`: the quotient before saturation.
pub fn quotient(acc: i64, shift: u8) -> i64 {
    (acc + (1i64 << (shift - 1))) >> shift
}
