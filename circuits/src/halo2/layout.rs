//! Which row computes what: the planner.
//!
//! A *block* is the rows of one node that is not linear: a `Requantize`, together with the `MaxPool2d` before it where
//! nobody else reads that, or a `MaxPool2d` of its own. Row 0 holds the challenge, units follow from row 1, and after
//! the last row that anything needs comes the row where the sums end:
//!
//! ```text
//! 0            r, h = 0, p = 0
//! 1 .. last    units; the table 0..2^b in a fixed column; rows that are left over are units of zeros
//! last         h = c, p = 0
//! ```
//!
//! A window of more taps than a row has takes several rows; each but the first has the maximum so far as its first tap.
//! One of fewer repeats its last. The planner tries every limb width and number of taps and takes the cheapest.

use crate::error::ModelError;
use crate::graph::image;
use crate::halo2::shape::Shape;
use crate::ir::{Graph, Op, Port, Range, Requantize, TensorId, elements, quotient};
use crate::pool::MaxPool2d;

/// Limb widths that the planner tries.
pub const LIMB_BITS: std::ops::RangeInclusive<u32> = 4..=14;
/// Numbers of taps that the planner tries where there are windows.
pub const TAPS: std::ops::RangeInclusive<usize> = 2..=4;
/// Rows at the end of a column that blind it and can hold nothing.
pub const BLINDING_ROWS: usize = 6;
/// Greatest `k`: parameters of it take minutes to make and half a gibibyte.
pub const MAX_K: u32 = 22;

/// The rows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Tensor that the rows compute.
    pub tensor: TensorId,
    /// Tensor that its taps are in.
    pub operand: TensorId,
    /// Static range of that tensor.
    pub range: Range,
    /// What of it each element is the maximum of.
    pub window: Window,
    /// The rule after the maximum; a pool without one yields the maximum itself.
    pub rule: Option<Requantize>,
    /// First row.
    pub first: usize,
    /// Elements of the tensor.
    pub elements: usize,
    /// Rows of an element.
    pub depth: usize,
}

/// What an element is the maximum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// One element of the operand.
    Element,
    /// As many elements in a row.
    Group(u32),
    /// A window of an image: the pool, `[C, H, W]` of its operand and of its result.
    Pool(MaxPool2d, [u32; 3], [u32; 3]),
}

impl Window {
    /// Elements of the operand that a window has at most.
    fn area(&self) -> usize {
        match self {
            Self::Element => 1,
            Self::Group(size) => *size as usize,
            Self::Pool(pool, _, _) => pool.kernel.iter().map(|&side| side as usize).product(),
        }
    }

    fn for_each(&self, element: usize, mut each: impl FnMut(usize)) {
        match self {
            Self::Element => each(element),
            Self::Group(size) => {
                let first = element * *size as usize;
                (first..first + *size as usize).for_each(each);
            }
            Self::Pool(pool, input, output) => pool.taps(element, *input, *output, each),
        }
    }
}

/// What a row takes the maximum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// An element of the block's operand.
    Element(usize),
    /// The maximum of the row before.
    Previous,
}

/// A row of a block.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Its row.
    pub row: usize,
    /// The element that it is for.
    pub element: usize,
    /// Whether it is the element's last row, which holds its value.
    pub last: bool,
    /// Its taps, as many as the shape has.
    pub taps: &'a [Tap],
}

impl Block {
    /// The row that holds an element.
    pub fn row_of(&self, element: usize) -> usize {
        self.first + element * self.depth + self.depth - 1
    }

    /// What an element is more than the cell that holds it.
    pub fn offset(&self) -> i64 {
        self.rule.map_or(self.range.lo, |rule| rule.lo.into())
    }

    /// Calls `each` for every row, in order.
    pub fn for_each(&self, taps: usize, mut each: impl FnMut(Unit<'_>)) {
        let mut window = Vec::new();
        for element in 0..self.elements {
            window.clear();
            self.window.for_each(element, |tap| window.push(Tap::Element(tap)));
            // A window lies in the image with at least one tap, so there is a last one to repeat.
            let filled = taps + (self.depth - 1) * (taps - 1);
            window.resize(filled, window[window.len() - 1]);
            for depth in 1..self.depth {
                window.insert(depth * taps, Tap::Previous);
            }
            for (depth, taps) in window.chunks(taps).enumerate() {
                let row = self.first + element * self.depth + depth;
                each(Unit { row, element, last: depth + 1 == self.depth, taps });
            }
        }
    }
}

/// A circuit for a graph: columns, rows and what each row computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its columns.
    pub shape: Shape,
    /// It has `2^k` rows.
    pub k: u32,
    /// Blocks in topological order.
    pub blocks: Vec<Block>,
    /// Rows that compute something.
    pub units: usize,
    /// The row where the sums end.
    pub last: usize,
}

impl Layout {
    /// The cheapest layout of a graph.
    pub fn new(graph: &Graph) -> Result<Self, ModelError> {
        let blocks = blocks(graph)?;
        let taps = if has_windows(&blocks) { TAPS } else { 1..=1 };
        let plans = LIMB_BITS.flat_map(|bits| {
            let blocks = &blocks;
            taps.clone().map(move |taps| Self::plan(blocks.clone(), bits, taps))
        });
        // There is at least one limb width and one number of taps.
        let best = plans.min_by_key(|plan| (plan.cost(), plan.shape.limb_bits, plan.shape.taps));
        let best = best.ok_or_else(|| ModelError::Malformed("no layout".into()))?;
        if best.k > MAX_K {
            let got = (best.last + 1) as u64;
            return Err(ModelError::Limit { what: "number of rows".into(), got, limit: 1 << MAX_K });
        }
        Ok(best)
    }

    /// The layout for a given limb width and number of taps.
    pub fn with(graph: &Graph, limb_bits: u32, taps: usize) -> Result<Self, ModelError> {
        Ok(Self::plan(blocks(graph)?, limb_bits, taps))
    }

    /// Estimate of proving, in hundredths of a full-width point: a column of the second phase is one multiplication of
    /// that width, one of the first a fraction; quotient, openings and their blinding are the same for every circuit.
    pub fn cost(&self) -> u64 {
        let columns = 1800 + 115 * self.shape.second_phase() + 40 * self.shape.first_phase();
        (columns as u64) << self.k
    }

    /// The block that computes a tensor, if one does.
    pub fn block(&self, tensor: TensorId) -> Option<&Block> {
        self.blocks.iter().find(|block| block.tensor == tensor)
    }

    fn plan(mut blocks: Vec<Block>, limb_bits: u32, taps: usize) -> Self {
        let limbs = |bits: u32| bits.div_ceil(limb_bits) as usize;
        // A row of one tap has no room to go on with a window.
        let taps = if has_windows(&blocks) { taps.max(2) } else { taps };
        let mut shape = Shape { limb_bits, taps, ..Shape::LEAST };
        let mut row = 1;
        for block in &mut blocks {
            let area = block.window.area();
            if area > 1 {
                shape.distance = shape.distance.max(limbs(bits(block.range.hi - block.range.lo)).max(1));
            }
            block.depth = if area <= taps { 1 } else { 1 + (area - taps).div_ceil(taps - 1) };
            block.first = row;
            row += block.depth * block.elements;
            if let Some(rule) = &block.rule {
                let (lo, hi) = (i64::from(rule.lo), i64::from(rule.hi));
                let below = lo - quotient(block.range.lo, rule.shift);
                let above = quotient(block.range.hi, rule.shift) - hi;
                shape.output = shape.output.max(limbs(bits(hi - lo)));
                shape.remainder = shape.remainder.max(limbs(rule.shift.into()));
                shape.excess = shape.excess.max(limbs(bits(below.max(above))));
            }
        }
        let last = row.max(1 + shape.table());
        let k = (last + 1 + BLINDING_ROWS).next_power_of_two().ilog2();
        Self { shape, k, blocks, units: row - 1, last }
    }
}

fn has_windows(blocks: &[Block]) -> bool {
    blocks.iter().any(|block| block.window.area() > 1)
}

/// Bits of the activations that the rows have ranges for.
const BITS: u32 = 16;

/// Blocks of a graph, without rows.
fn blocks(graph: &Graph) -> Result<Vec<Block>, ModelError> {
    if let Some(port) = graph.committed().next() {
        return Err(unsupported(&port.name, "a committed port"));
    }
    let wide = |port: &&Port| port.quant.hi - port.quant.lo >= 1 << BITS;
    if let Some(port) = graph.inputs().iter().find(wide) {
        return Err(unsupported(&port.name, "an input of more than 16 bits"));
    }
    let readers = readers(graph);
    let mut blocks = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let tensor = graph.tensor_of(index);
        let block = |operand: TensorId, window, rule| Block {
            tensor,
            operand,
            range: graph.range(operand),
            window,
            rule,
            first: 0,
            elements: elements(&node.shape),
            depth: 1,
        };
        match &node.op {
            // Linear: what reads them sees through them.
            Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) | Op::Combine(_) | Op::Select(_) | Op::Reshape => {}
            Op::Multiply => return Err(unsupported(&node.name, "Multiply")),
            Op::MatMul(_) => return Err(unsupported(&node.name, "MatMul")),
            Op::Table(_) => return Err(unsupported(&node.name, "Table")),
            Op::Sqrt => return Err(unsupported(&node.name, "Sqrt")),
            Op::MaxPool2d(pool) => {
                blocks.push(block(node.inputs[0], window(graph, tensor, pool)?, None));
            }
            Op::Max(size) => blocks.push(block(node.inputs[0], Window::Group(*size), None)),
            Op::Requantize(rule) if rule.hi - rule.lo >= 1 << BITS => {
                return Err(unsupported(&node.name, "Requantize to more than 16 bits"));
            }
            Op::Requantize(rule) => {
                let operand = node.inputs[0];
                let pooled = blocks.pop_if(|pool: &mut Block| {
                    pool.tensor == operand && pool.rule.is_none() && readers[operand.0 as usize] == 1
                });
                blocks.push(match pooled {
                    Some(pool) => block(pool.operand, pool.window, Some(*rule)),
                    None => block(operand, Window::Element, Some(*rule)),
                });
            }
        }
    }
    Ok(blocks)
}

/// How many nodes and outputs read each tensor.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.tensors()];
    let nodes = graph.nodes().iter().flat_map(|node| node.inputs.iter().copied());
    let outputs = graph.outputs().iter().map(|output| output.tensor);
    nodes.chain(outputs).for_each(|tensor: TensorId| readers[tensor.0 as usize] += 1);
    readers
}

fn window(graph: &Graph, tensor: TensorId, pool: &MaxPool2d) -> Result<Window, ModelError> {
    let node = graph.producer(tensor);
    let images = node.and_then(|node| Some((image(graph.shape(node.inputs[0]))?, image(&node.shape)?)));
    let (input, output) = images.ok_or_else(|| ModelError::Malformed("a pool maps images".into()))?;
    Ok(Window::Pool(*pool, input, output))
}

fn unsupported(node: &str, op: &str) -> ModelError {
    let needed = "the circuit for halo2 does not have it; use groth16".to_owned();
    ModelError::Unsupported { node: node.into(), op: op.into(), needed }
}

/// Bits of a number that is not negative; 0 for 0.
fn bits(value: i64) -> u32 {
    64 - value.max(0).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn windows_wider_than_a_row_go_on_with_the_maximum_so_far() {
        let graph = samples::maximum();
        for (taps, depth) in [(2, 3), (3, 2), (4, 1)] {
            let layout = Layout::with(&graph, 8, taps).expect("laid out");
            let block = &layout.blocks[0];
            assert_eq!(block.depth, depth);
            let (mut seen, mut rows) = (vec![], 0);
            block.for_each(taps, |unit| {
                assert_eq!(unit.taps.len(), taps);
                assert_eq!(unit.taps.contains(&Tap::Previous), rows > 0);
                seen.extend(unit.taps.iter().filter_map(|tap| match tap {
                    Tap::Element(element) => Some(*element),
                    Tap::Previous => None,
                }));
                rows += 1;
                assert_eq!(unit.last, rows == depth);
            });
            seen.dedup();
            assert_eq!(seen, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn the_planner_picks_the_least_cost() {
        let graph = samples::convolution();
        let best = Layout::new(&graph).expect("laid out");
        for limb_bits in LIMB_BITS {
            for taps in TAPS {
                assert!(best.cost() <= Layout::with(&graph, limb_bits, taps).expect("laid out").cost());
            }
        }
    }
}
