//! The cells: what each operator constrains.
//!
//! Range of `n` bits, limbs of `b` bits: `e = sum_j l_j 2^(bj)`, each `l_j` looked up. The lowest limb is no wire but
//! `e - sum_(j>0) l_j 2^(bj)`, which saves a wire and a row. *Exact* ranges look the top limb of `w < b` bits up a
//! second time, as `l 2^(b-w)`; *covering* ranges only show that `e` is not negative and small.
//!
//! Requantise, `u = floor((x + 2^(f-1)) / 2^f)`, `y = clamp(u, lo, hi)`:
//!
//! ```text
//! u = y - e_lo + e_hi
//! r = x + 2^(f-1) - u 2^f            0 <= r < 2^f        exact
//!                                    lo <= y <= hi       exact
//!                                    0 <= e_lo + e_hi    covering
//! e_lo (y - lo) = 0     e_hi (hi - y) = 0
//! ```
//!
//! The division is unique since every term is far below the field's modulus. One of `e_lo`, `e_hi` is 0 in every
//! solution (else `y = lo` and `y = hi`), so one range shows both not negative. A side that the static range of `x`
//! cannot reach has no `e` and no gate.
//!
//! Maximum of `m` and `x`: `p (p - (m - x)) = 0`, `2p - (m - x) >= 0`, result `x + p`. For `p = 0` the range says
//! `x >= m`, for `p = m - x` it says `m >= x`.
//!
//! Function `y = f(x)`: `(x, y)` is a row of the function's table ([`super::tables`]), and `y - least f` is in a covering
//! range. Products `c = a b` take a row each. A product of matrices is a chain `a_l b_l = s_l - s_(l-1)` for each
//! element, or, where that is cheaper, claimed and shown after the challenge ([`super::freivalds`]).
//!
//! Root `y = floor(sqrt(x))`: `s = y y`, and `0 <= x - s <= 2y` by two covering ranges. Their sum says that `2y` is small
//! and not negative; `(2y)^2 = 4s` is then over integers, so `2y` is even and `y` is the root.

use super::tables::{Functions, value_shift};
use super::{Family, System, freivalds};
use crate::graph::image;
use crate::ir::{
    Combine, Graph, MatMul, Node, Op, Port, QuantParams, Range, Requantize, Table, TensorId, Visibility,
    elements, quotient, root,
};
use crate::pool::MaxPool2d;

/// Walks the graph in order: inputs, then every node's wires and constraints, then committed outputs.
pub fn walk<S: System>(graph: &Graph, limb_bits: u32, system: &mut S) {
    let public = public_tensors(graph);
    let functions = Functions::of(graph);
    let mut cells = Cells { system, limb_bits };
    let mut tensors: Vec<Vec<S::Expr>> = Vec::with_capacity(graph.tensors());
    for port in graph.inputs() {
        tensors.push(cells.input(port));
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        let operands: Vec<&[S::Expr]> =
            node.inputs.iter().map(|input| tensors[input.0 as usize].as_slice()).collect();
        let x = operands[0];
        let range = graph.range(node.inputs[0]);
        let public = public[graph.tensor_of(index).0 as usize];
        let y = match &node.op {
            Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) => {
                let taps = graph.taps(node).expect("linear operators have taps");
                cells.system.linear(index, &taps, x)
            }
            Op::Combine(combine) => cells.combined(combine, &operands),
            Op::Select(select) => cells.selected(select, &operands),
            Op::Multiply => x.iter().zip(operands[1]).map(|(a, b)| cells.product(a, b)).collect(),
            Op::MatMul(sizes) => cells.matmul(sizes, x, operands[1]),
            Op::MaxPool2d(pool) => cells.max_pool(graph, node, pool, x, range),
            Op::Max(group) => x.chunks(*group as usize).map(|group| cells.max_of(group, range)).collect(),
            Op::Table(table) => {
                let number = functions.index(index).expect("every table node has a function");
                x.iter().map(|x| cells.function(x, number, table, public)).collect()
            }
            Op::Requantize(rule) => x.iter().map(|x| cells.requantize(x, range, rule, public)).collect(),
            Op::Reshape => x.to_vec(),
            Op::Sqrt => x.iter().map(|x| cells.sqrt(x, range, public)).collect(),
        };
        tensors.push(y);
        cells.system.end_node(index);
    }
    for output in graph.outputs() {
        if output.port.visibility == Visibility::Committed {
            cells.system.commit(&output.port, &tensors[output.tensor.0 as usize]);
        }
    }
}

/// Which tensors are public outputs: an output's tensor, followed back through reshapes.
fn public_tensors(graph: &Graph) -> Vec<bool> {
    let mut public = vec![false; graph.tensors()];
    for (_, source) in public_sources(graph) {
        public[source.0 as usize] = true;
    }
    public
}

fn public_sources(graph: &Graph) -> impl Iterator<Item = (usize, TensorId)> + '_ {
    let outputs = graph.outputs().iter().enumerate();
    let public = outputs.filter(|(_, output)| output.port.visibility == Visibility::Public);
    public.map(|(index, output)| (index, graph.source(output.tensor)))
}

impl Graph {
    /// Where each output port's values lie among the public output wires, which are in the order of the nodes; `None`
    /// for a port that statements commit to.
    pub fn output_wires(&self) -> Vec<Option<std::ops::Range<usize>>> {
        let mut sources: Vec<(usize, TensorId)> = public_sources(self).collect();
        sources.sort_by_key(|(_, tensor)| *tensor);
        let mut wires = vec![None; self.outputs().len()];
        let mut first = 0;
        for (port, tensor) in sources {
            let count = elements(self.shape(tensor));
            wires[port] = Some(first..first + count);
            first += count;
        }
        wires
    }

    /// A tensor with the same elements that is not the result of a reshape.
    pub fn source(&self, tensor: TensorId) -> TensorId {
        let mut tensor = tensor;
        while let Some(node) = self.producer(tensor)
            && node.op == Op::Reshape
        {
            tensor = node.inputs[0];
        }
        tensor
    }
}

struct Cells<'s, S> {
    system: &'s mut S,
    limb_bits: u32,
}

impl<S: System> Cells<'_, S> {
    fn combine<const N: usize>(&self, constant: i64, terms: [(i64, &S::Expr); N]) -> S::Expr {
        let mut sum = self.system.constant(constant);
        terms.iter().for_each(|(factor, term)| self.system.add(&mut sum, *factor, term));
        sum
    }

    fn range(&mut self, family: Family, expr: &S::Expr, bits: u32, exact: bool) {
        let b = self.limb_bits;
        let value = self.system.value(expr);
        let limbs = bits.div_ceil(b).max(1);
        let (mut low, mut top) = (expr.clone(), expr.clone());
        for limb in 1..limbs {
            // The top limb keeps every higher bit, so that a value out of range shows in it.
            let shifted = value >> (b * limb);
            let hint = if limb + 1 == limbs { shifted } else { shifted & ((1 << b) - 1) };
            let wire = self.system.wire(hint);
            self.system.lookup(family, &wire);
            self.system.add(&mut low, -(1 << (b * limb)), &wire);
            top = wire;
        }
        self.system.lookup(family, &low);
        if exact && !bits.is_multiple_of(b) {
            let shifted = self.combine(0, [(1 << (b - bits % b), &top)]);
            self.system.lookup(family, &shifted);
        }
    }

    fn requantize(&mut self, x: &S::Expr, range: Range, rule: &Requantize, public: bool) -> S::Expr {
        let (lo, hi) = (i64::from(rule.lo), i64::from(rule.hi));
        let step = 1i64 << rule.shift;
        let u = quotient(self.system.value(x), rule.shift);
        let hint = u.clamp(lo, hi);
        let y = if public { self.system.output(hint) } else { self.system.wire(hint) };
        let mut remainder = self.combine(step / 2, [(1, x), (-step, &y)]);

        let below = lo - quotient(range.lo, rule.shift);
        let above = quotient(range.hi, rule.shift) - hi;
        let mut excess = self.system.constant(0);
        // Hints follow the wire `y`, so that they are right for whatever value it has.
        let distance = u - self.system.value(&y);
        if below > 0 {
            let e = self.system.wire((-distance).max(0));
            self.system.add(&mut remainder, step, &e);
            self.system.add(&mut excess, 1, &e);
            let slack = self.combine(-lo, [(1, &y)]);
            self.system.gate(Family::SaturateLow, &e, &slack);
        }
        if above > 0 {
            let e = self.system.wire(distance.max(0));
            self.system.add(&mut remainder, -step, &e);
            self.system.add(&mut excess, 1, &e);
            let slack = self.combine(hi, [(-1, &y)]);
            self.system.gate(Family::SaturateHigh, &e, &slack);
        }
        if below > 0 || above > 0 {
            self.range(Family::Excess, &excess, bits(below.max(above)), false);
        }
        self.range(Family::Remainder, &remainder, rule.shift.into(), true);

        self.typed(Family::OutputRange, &y, lo, hi);
        y
    }

    /// `lo <= x <= hi`: one exact range where the number of values is a power of two, else two covering ones.
    fn typed(&mut self, family: Family, x: &S::Expr, lo: i64, hi: i64) {
        let over_lo = self.combine(-lo, [(1, x)]);
        let width = hi - lo + 1;
        self.range(family, &over_lo, bits(width - 1), width & (width - 1) == 0);
        if width & (width - 1) != 0 {
            let under_hi = self.combine(hi, [(-1, x)]);
            self.range(family, &under_hi, bits(width - 1), false);
        }
    }

    /// A port's elements; those of a committed port are private, so their type is checked here instead of by the
    /// verifier.
    fn input(&mut self, port: &Port) -> Vec<S::Expr> {
        let count = elements(&port.shape);
        match port.visibility {
            Visibility::Public => (0..count).map(|_| self.system.input()).collect(),
            Visibility::Committed => {
                let QuantParams { lo, hi, .. } = port.quant;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    let x = self.system.committed_input();
                    self.typed(Family::InputRange, &x, lo.into(), hi.into());
                    values.push(x);
                }
                self.system.commit(port, &values);
                values
            }
        }
    }

    fn combined(&self, combine: &Combine, operands: &[&[S::Expr]]) -> Vec<S::Expr> {
        let sum = |i| {
            let mut sum = self.system.constant(combine.bias);
            for (&factor, operand) in combine.factors.iter().zip(operands) {
                self.system.add(&mut sum, factor, &operand[i]);
            }
            sum
        };
        (0..operands[0].len()).map(sum).collect()
    }

    fn selected(&self, index: &[u32], operands: &[&[S::Expr]]) -> Vec<S::Expr> {
        let all: Vec<&S::Expr> = operands.iter().flat_map(|operand| operand.iter()).collect();
        let zero = self.system.constant(0);
        // An index beyond the operands is `ZERO`: the graph was checked.
        index.iter().map(|&i| all.get(i as usize).map_or(&zero, |x| *x).clone()).collect()
    }

    fn product(&mut self, a: &S::Expr, b: &S::Expr) -> S::Expr {
        let hint = self.system.value(a).wrapping_mul(self.system.value(b));
        let c = self.system.wire(hint);
        self.system.product(a, b, &c);
        c
    }

    fn matmul(&mut self, sizes: &MatMul, a: &[S::Expr], b: &[S::Expr]) -> Vec<S::Expr> {
        if freivalds::pays(sizes) {
            return self.claimed(sizes, a, b);
        }
        let element = |output| {
            let mut sum: Option<S::Expr> = None;
            for (i, j) in sizes.terms(output) {
                let hint = self.system.value(&a[i]).wrapping_mul(self.system.value(&b[j]));
                let before = sum.as_ref().map_or(0, |sum| self.system.value(sum));
                let next = self.system.wire(before.wrapping_add(hint));
                let step = match &sum {
                    None => next.clone(),
                    Some(sum) => self.combine(0, [(1, &next), (-1, sum)]),
                };
                self.system.product(&a[i], &b[j], &step);
                sum = Some(next);
            }
            sum.expect("a product of matrices has a term")
        };
        (0..sizes.outputs()).map(element).collect()
    }

    fn claimed(&mut self, sizes: &MatMul, a: &[S::Expr], b: &[S::Expr]) -> Vec<S::Expr> {
        let values = |matrix: &[S::Expr]| -> Vec<i64> {
            matrix.iter().map(|element| self.system.value(element)).collect()
        };
        let (left, right) = (values(a), values(b));
        let element = |output| {
            let terms = sizes.terms(output).map(|(i, j)| left[i].wrapping_mul(right[j]));
            self.system.wire(terms.fold(0, i64::wrapping_add))
        };
        let c: Vec<S::Expr> = (0..sizes.outputs()).map(element).collect();
        self.system.matrices(sizes, [a, b, &c]);
        c
    }

    fn function(&mut self, x: &S::Expr, number: usize, table: &Table, public: bool) -> S::Expr {
        let (lo, range) = (i64::from(table.lo), table.range());
        let argument = self.system.value(x);
        let hint = table.at(argument);
        let y = if public { self.system.output(hint) } else { self.system.wire(hint) };
        let factor = 1i64 << value_shift(table);
        let row = self.combine(-lo - factor * range.lo, [(1, x), (factor, &y)]);
        self.system.entry(number, argument - lo, &row);
        let over = self.combine(-range.lo, [(1, &y)]);
        self.range(Family::EntryRange, &over, bits(range.hi - range.lo), false);
        y
    }

    fn sqrt(&mut self, x: &S::Expr, range: Range, public: bool) -> S::Expr {
        let hint = root(self.system.value(x));
        let y = if public { self.system.output(hint) } else { self.system.wire(hint) };
        let square = self.product(&y, &y);
        let over = self.combine(0, [(1, x), (-1, &square)]);
        let under = self.combine(0, [(2, &y), (-1, &over)]);
        let width = bits(2 * root(range.hi));
        self.range(Family::RootLow, &over, width, false);
        self.range(Family::RootHigh, &under, width, false);
        y
    }

    fn max_pool(
        &mut self,
        graph: &Graph,
        node: &Node,
        pool: &MaxPool2d,
        x: &[S::Expr],
        range: Range,
    ) -> Vec<S::Expr> {
        let input = image(graph.shape(node.inputs[0])).expect("checked shape");
        let out = image(&node.shape).expect("checked shape");
        (0..elements(&node.shape))
            .map(|output| {
                let mut window = Vec::new();
                pool.taps(output, input, out, |tap| window.push(x[tap].clone()));
                self.max_of(&window, range)
            })
            .collect()
    }

    fn max_of(&mut self, values: &[S::Expr], range: Range) -> S::Expr {
        let difference = bits(range.hi - range.lo);
        let (first, rest) = values.split_first().expect("a window has a tap");
        rest.iter().fold(first.clone(), |m, x| self.max(&m, x, difference))
    }

    fn max(&mut self, m: &S::Expr, x: &S::Expr, difference: u32) -> S::Expr {
        let hint = (self.system.value(m) - self.system.value(x)).max(0);
        let p = self.system.wire(hint);
        let other = self.combine(0, [(1, &p), (-1, m), (1, x)]);
        self.system.gate(Family::MaxChoice, &p, &other);
        let distance = self.combine(0, [(1, &p), (1, &other)]);
        self.range(Family::MaxRange, &distance, difference, false);
        self.combine(0, [(1, x), (1, &p)])
    }
}

/// Bits of a number that is not negative; 0 for 0.
fn bits(value: i64) -> u32 {
    64 - value.max(0).leading_zeros()
}
