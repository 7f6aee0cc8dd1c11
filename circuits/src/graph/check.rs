//! The rules that every node keeps: operands, shapes, limits, and the static range of what it makes.
//!
//! Interval analysis: `bias + sum w x` with every `x` anywhere in its range, and likewise for the other operators, in
//! 128 bits; a range of more than [`limits::ACCUMULATOR_BITS`] is refused.

use super::image;
use crate::error::ModelError;
use crate::ir::{
    Combine, Graph, MatMul, Node, Op, Port, Range, Requantize, Shape, Table, ZERO, elements, limits,
    quotient, root,
};
use crate::linear::{Conv2d, Dense, Sparse, Taps};
use crate::pool::MaxPool2d;

/// A node that is being checked, with what is known of its operands.
struct Checked<'a> {
    node: &'a Node,
    shapes: Vec<&'a Shape>,
    ranges: Vec<Range>,
}

impl Graph {
    /// Static range of the node's tensor, and how many wires one of its elements combines at most.
    pub(super) fn check_node(&self, node: &Node) -> Result<(Range, usize), ModelError> {
        check_name(&node.name)?;
        check_shape(&node.name, &node.shape)?;
        limit(&format!("number of operands of {}", node.name), node.inputs.len(), limits::OPERANDS)?;
        if node.inputs.iter().any(|input| input.0 as usize >= self.tensors()) {
            return Err(ModelError::node(&node.name, "operand is not an earlier tensor"));
        }
        let checked = Checked {
            node,
            shapes: node.inputs.iter().map(|&input| self.shape(input)).collect(),
            ranges: node.inputs.iter().map(|&input| self.range(input)).collect(),
        };
        let range = checked.range()?;
        let operands = || node.inputs.iter().map(|input| self.terms[input.0 as usize]);
        let terms = match &node.op {
            Op::Combine(_) => operands().sum(),
            // A maximum is an operand plus a wire.
            Op::MaxPool2d(_) | Op::Max(_) => operands().max().unwrap_or(0) + 1,
            Op::Select(_) | Op::Reshape => operands().max().unwrap_or(0),
            Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) | Op::Multiply | Op::MatMul(_) => 1,
            Op::Table(_) | Op::Requantize(_) | Op::Sqrt => 1,
        };
        limit(&format!("number of wires that {} combines", node.name), terms, limits::TERMS)?;
        Ok((range, terms))
    }
}

impl Checked<'_> {
    fn range(&self) -> Result<Range, ModelError> {
        match &self.node.op {
            Op::Dense(dense) => self.dense(dense),
            Op::Conv2d(conv) => self.conv(conv),
            Op::Sparse(sparse) => self.sparse(sparse),
            Op::Combine(combine) => self.combine(combine),
            Op::Select(index) => self.select(index),
            Op::Multiply => self.multiply(),
            Op::MatMul(sizes) => self.matmul(sizes),
            Op::MaxPool2d(pool) => self.max_pool(pool),
            Op::Max(group) => self.max(*group),
            Op::Table(table) => self.table(table),
            Op::Requantize(rule) => self.requantize(rule),
            Op::Reshape => self.same_size(),
            Op::Sqrt => self.sqrt(),
        }
    }

    fn fail<T>(&self, reason: &str) -> Result<T, ModelError> {
        Err(ModelError::node(&self.node.name, reason))
    }

    fn elements(&self) -> usize {
        elements(&self.node.shape)
    }

    fn one(&self) -> Result<(&Shape, Range), ModelError> {
        match (&self.shapes[..], &self.ranges[..]) {
            ([shape], [range]) => Ok((shape, *range)),
            _ => self.fail("expected one operand"),
        }
    }

    fn same_size(&self) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        if elements(from) == self.elements() {
            Ok(range)
        } else {
            self.fail("shapes differ in their number of elements")
        }
    }

    fn dense(&self, dense: &Dense) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        limit("number of weights", dense.weights.len(), limits::WEIGHTS)?;
        let (outputs, width) = (dense.bias.len(), dense.width());
        let fits = outputs > 0
            && width > 0
            && dense.weights.len() == outputs * width
            && elements(from).is_multiple_of(width)
            && self.elements().checked_mul(width) == elements(from).checked_mul(outputs);
        if !fits {
            return self.fail("weights and bias do not fit the shapes");
        }
        check_taps(self.elements(), [width as u64, 1, 1])?;
        self.accumulator(&Taps::Dense(dense, 1), range)
    }

    fn conv(&self, conv: &Conv2d) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        limit("number of weights", conv.weights.len(), limits::WEIGHTS)?;
        let (Some(x), Some(y)) = (image(from), image(&self.node.shape)) else {
            return self.fail("a convolution maps [1, C, H, W] to [1, C, H, W]");
        };
        let groups = conv.groups;
        if groups == 0 || x[0] % groups != 0 || y[0] % groups != 0 {
            return self.fail("channels are no multiple of the groups");
        }
        if conv.window.output([x[1], x[2]], conv.kernel) != Some([y[1], y[2]]) {
            return self.fail("window, kernel and shapes do not agree");
        }
        check_taps(self.elements(), [conv.kernel[0], conv.kernel[1], x[0] / groups].map(u64::from))?;
        let taps = u64::from(y[0]) * u64::from(x[0] / groups);
        let taps = taps.checked_mul(u64::from(conv.kernel[0]) * u64::from(conv.kernel[1]));
        if taps != Some(conv.weights.len() as u64) || conv.bias.len() != y[0] as usize {
            return self.fail("weights and bias do not fit the shapes");
        }
        self.accumulator(&Taps::Conv2d(conv, x, y), range)
    }

    fn sparse(&self, sparse: &Sparse) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        limit("number of weights", sparse.taps.len(), limits::WEIGHTS)?;
        let ascending = sparse.ends.is_sorted() && sparse.ends.last() == Some(&(sparse.taps.len() as u32));
        let rows = sparse.bias.len() == self.elements() && sparse.ends.len() == self.elements();
        if !ascending || !rows || sparse.taps.iter().any(|&(input, _)| input as usize >= elements(from)) {
            return self.fail("taps and bias do not fit the shapes");
        }
        self.accumulator(&Taps::Sparse(sparse, elements(from)), range)
    }

    fn combine(&self, combine: &Combine) -> Result<Range, ModelError> {
        if combine.factors.is_empty() || combine.factors.len() != self.shapes.len() {
            return self.fail("expected a factor for every operand");
        }
        if self.shapes.iter().any(|shape| elements(shape) != self.elements()) {
            return self.fail("shapes differ in their number of elements");
        }
        let mut sum = Wide::constant(combine.bias);
        combine.factors.iter().zip(&self.ranges).for_each(|(&factor, &x)| sum.add(factor, x));
        self.bounded(sum)
    }

    fn select(&self, index: &[u32]) -> Result<Range, ModelError> {
        let from: usize = self.shapes.iter().map(|shape| elements(shape)).sum();
        if self.shapes.is_empty() || index.len() != self.elements() {
            return self.fail("expected an operand, and an index for every element");
        }
        if index.iter().any(|&i| i != ZERO && i as usize >= from) {
            return self.fail("an index is beyond the operands");
        }
        let zero = index.contains(&ZERO).then_some(Range { lo: 0, hi: 0 });
        let ranges = || self.ranges.iter().copied().chain(zero);
        let (lo, hi) = (ranges().map(|r| r.lo).min(), ranges().map(|r| r.hi).max());
        Ok(Range { lo: lo.unwrap_or(0), hi: hi.unwrap_or(0) })
    }

    fn two(&self) -> Result<[Range; 2], ModelError> {
        match self.ranges[..] {
            [a, b] => Ok([a, b]),
            _ => self.fail("expected two operands"),
        }
    }

    fn multiply(&self) -> Result<Range, ModelError> {
        let [a, b] = self.two()?;
        if self.shapes.iter().any(|shape| elements(shape) != self.elements()) {
            return self.fail("shapes differ in their number of elements");
        }
        // A square is not negative.
        let squares = self.node.inputs[0] == self.node.inputs[1];
        self.bounded(if squares { Wide::square(a) } else { Wide::product(a, b) })
    }

    fn matmul(&self, sizes: &MatMul) -> Result<Range, ModelError> {
        let [a, b] = self.two()?;
        let product = |dims: [u32; 3]| {
            dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize)).filter(|&n| n > 0)
        };
        let MatMul { batch, rows, inner, columns } = *sizes;
        let expected = [[batch, rows, inner], [batch, inner, columns], [batch, rows, columns]].map(product);
        let got = [elements(self.shapes[0]), elements(self.shapes[1]), self.elements()].map(Some);
        if expected != got {
            return self.fail("sizes and shapes do not agree");
        }
        limit(
            "number of products of a node",
            self.elements().saturating_mul(inner as usize),
            limits::PRODUCTS,
        )?;
        let one = Wide::product(a, b);
        self.bounded(Wide { lo: one.lo * i128::from(inner), hi: one.hi * i128::from(inner) })
    }

    fn max_pool(&self, pool: &MaxPool2d) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        let (Some(x), Some(y)) = (image(from), image(&self.node.shape)) else {
            return self.fail("a pool maps [1, C, H, W] to [1, C, H, W]");
        };
        if x[0] != y[0] || pool.window.output([x[1], x[2]], pool.kernel) != Some([y[1], y[2]]) {
            return self.fail("window, kernel and shapes do not agree");
        }
        check_taps(self.elements(), [pool.kernel[0].into(), pool.kernel[1].into(), 1])?;
        let empty = |output| {
            let mut empty = true;
            pool.taps(output, x, y, |_| empty = false);
            empty
        };
        if (0..self.elements()).any(empty) {
            return self.fail("a window lies wholly in the padding");
        }
        Ok(range)
    }

    fn max(&self, group: u32) -> Result<Range, ModelError> {
        let (from, range) = self.one()?;
        if group == 0 || self.elements().checked_mul(group as usize) != Some(elements(from)) {
            return self.fail("the operand is not a group for every element");
        }
        Ok(range)
    }

    fn table(&self, table: &Table) -> Result<Range, ModelError> {
        let range = self.same_size()?;
        limit("number of rows of a table", table.values.len(), limits::TABLE_ROWS)?;
        let last = i64::from(table.lo) + table.values.len() as i64 - 1;
        if range.lo < table.lo.into() || range.hi > last {
            return self.fail("the table does not reach over the operand's range");
        }
        let values = table.range();
        let bound = 1 << limits::VALUE_BITS;
        if values.lo < -bound || values.hi >= bound || values.hi - values.lo >= bound {
            return self.fail("the table's values are out of range");
        }
        Ok(values)
    }

    fn requantize(&self, rule: &Requantize) -> Result<Range, ModelError> {
        let range = self.same_size()?;
        if rule.shift == 0 || rule.shift > limits::SHIFT {
            return self.fail("shift is out of range");
        }
        check_type(&self.node.name, rule.lo, rule.hi)?;
        let clamp = |v: i64| quotient(v, rule.shift).clamp(rule.lo.into(), rule.hi.into());
        Ok(Range { lo: clamp(range.lo), hi: clamp(range.hi) })
    }

    fn sqrt(&self) -> Result<Range, ModelError> {
        let range = self.same_size()?;
        if range.lo < 0 {
            return self.fail("the root of a number that may be negative");
        }
        Ok(Range { lo: root(range.lo), hi: root(range.hi) })
    }

    fn accumulator(&self, taps: &Taps<'_>, x: Range) -> Result<Range, ModelError> {
        let mut all: Option<Wide> = None;
        for output in 0..taps.outputs() {
            let mut sum = Wide::constant(taps.bias(output));
            taps.row(output, |_, w| sum.add(w.into(), x));
            all = Some(all.map_or(sum, |all| Wide { lo: all.lo.min(sum.lo), hi: all.hi.max(sum.hi) }));
        }
        self.bounded(all.unwrap_or(Wide::constant(0)))
    }

    fn bounded(&self, range: Wide) -> Result<Range, ModelError> {
        let bits = 128 - range.lo.unsigned_abs().max(range.hi.unsigned_abs()).leading_zeros();
        match (i64::try_from(range.lo), i64::try_from(range.hi)) {
            (Ok(lo), Ok(hi)) if bits <= limits::ACCUMULATOR_BITS => Ok(Range { lo, hi }),
            _ => Err(ModelError::Overflow {
                node: self.node.name.clone(),
                bits,
                limit: limits::ACCUMULATOR_BITS,
            }),
        }
    }
}

/// An interval whose ends cannot overflow: at most `2^28` terms of `2^63 * 2^63`, saturated.
#[derive(Clone, Copy)]
struct Wide {
    lo: i128,
    hi: i128,
}

impl Wide {
    fn constant(value: i64) -> Self {
        Self { lo: value.into(), hi: value.into() }
    }

    fn add(&mut self, factor: i64, x: Range) {
        let (a, b) = (i128::from(factor) * i128::from(x.lo), i128::from(factor) * i128::from(x.hi));
        self.lo = self.lo.saturating_add(a.min(b));
        self.hi = self.hi.saturating_add(a.max(b));
    }

    fn product(a: Range, b: Range) -> Self {
        let corners = [a.lo, a.hi].map(|x| [b.lo, b.hi].map(|y| i128::from(x) * i128::from(y)));
        let [[p, q], [r, s]] = corners;
        Self { lo: p.min(q).min(r).min(s), hi: p.max(q).max(r).max(s) }
    }

    fn square(x: Range) -> Self {
        let ends = [x.lo, x.hi].map(|end| i128::from(end) * i128::from(end));
        let least = if x.lo <= 0 && x.hi >= 0 { 0 } else { ends[0].min(ends[1]) };
        Self { lo: least, hi: ends[0].max(ends[1]) }
    }
}

/// A count within its limit, or the error that names it.
pub(super) fn limit(what: &str, got: usize, limit: usize) -> Result<(), ModelError> {
    if got <= limit {
        return Ok(());
    }
    Err(ModelError::Limit { what: what.into(), got: got as u64, limit: limit as u64 })
}

fn check_taps(outputs: usize, window: [u64; 3]) -> Result<(), ModelError> {
    let taps = window.iter().fold(outputs, |product, &side| product.saturating_mul(side as usize));
    limit("number of taps of a node", taps, limits::TAPS)
}

fn check_name(name: &str) -> Result<(), ModelError> {
    limit("length of a name", name.len(), limits::NAME)
}

fn check_shape(name: &str, shape: &[u32]) -> Result<(), ModelError> {
    limit(&format!("rank of {name}"), shape.len(), limits::RANK)?;
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize)).unwrap_or(usize::MAX);
    limit(&format!("number of elements of {name}"), elements, limits::ELEMENTS)?;
    if elements == 0 { Err(ModelError::node(name, "a dimension is zero")) } else { Ok(()) }
}

fn check_type(name: &str, lo: i32, hi: i32) -> Result<(), ModelError> {
    let bound = 1 << limits::ACTIVATION_BITS;
    if lo > 0 || hi < 1 || lo < -bound || hi >= bound || hi - lo >= bound {
        return Err(ModelError::node(name, format!("type {lo}..={hi} is out of range")));
    }
    Ok(())
}

/// Name, shape, type and scale of a port.
pub(super) fn check_port(port: &Port) -> Result<(), ModelError> {
    check_name(&port.name)?;
    check_shape(&port.name, &port.shape)?;
    check_type(&port.name, port.quant.lo, port.quant.hi)?;
    if !(port.quant.scale.is_finite() && port.quant.scale > 0.0) {
        return Err(ModelError::node(&port.name, "scale is not a positive number"));
    }
    Ok(())
}
