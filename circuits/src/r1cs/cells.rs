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

use super::{Family, System};
use crate::graph::image;
use crate::ir::{Graph, Node, Op, Range, Requantize, TensorId, elements, quotient};
use crate::pool::MaxPool2d;

/// Walks the graph in order: public inputs, then every node's wires and constraints.
pub fn walk<S: System>(graph: &Graph, limb_bits: u32, system: &mut S) {
    let public = public_tensors(graph);
    let mut cells = Cells { system, limb_bits };
    let mut tensors: Vec<Vec<S::Expr>> = Vec::with_capacity(graph.tensors());
    for port in graph.inputs() {
        tensors.push((0..elements(&port.shape)).map(|_| cells.system.input()).collect());
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        let operand = node.inputs[0];
        let x = &tensors[operand.0 as usize];
        let range = graph.range(operand);
        let y = match &node.op {
            Op::Dense(_) | Op::Conv2d(_) => {
                let taps = graph.taps(node).expect("linear operators have taps");
                cells.system.linear(index, &taps, x)
            }
            Op::MaxPool2d(pool) => cells.max_pool(graph, node, pool, x, range),
            Op::Requantize(rule) => {
                let public = public[graph.tensor_of(index).0 as usize];
                x.iter().map(|x| cells.requantize(x, range, rule, public)).collect()
            }
            Op::Reshape => x.clone(),
        };
        tensors.push(y);
        cells.system.end_node(index);
    }
}

/// Which tensors are public outputs: an output's tensor, followed back through reshapes.
fn public_tensors(graph: &Graph) -> Vec<bool> {
    let mut public = vec![false; graph.tensors()];
    for output in graph.outputs() {
        public[graph.source(output.tensor).0 as usize] = true;
    }
    public
}

impl Graph {
    /// Where each output port's values lie among the public output wires, which are in the order of the nodes.
    pub fn output_wires(&self) -> Vec<std::ops::Range<usize>> {
        let sources: Vec<TensorId> = self.outputs().iter().map(|output| self.source(output.tensor)).collect();
        let before = |tensor: &TensorId| {
            sources.iter().filter(|other| *other < tensor).map(|other| elements(self.shape(*other))).sum()
        };
        let wires = |tensor: &TensorId| {
            let first: usize = before(tensor);
            first..first + elements(self.shape(*tensor))
        };
        sources.iter().map(wires).collect()
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

        let over_lo = self.combine(-lo, [(1, &y)]);
        let width = hi - lo + 1;
        self.range(Family::OutputRange, &over_lo, bits(width - 1), width & (width - 1) == 0);
        if width & (width - 1) != 0 {
            let under_hi = self.combine(hi, [(-1, &y)]);
            self.range(Family::OutputRange, &under_hi, bits(width - 1), false);
        }
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
        let difference = bits(range.hi - range.lo);
        (0..elements(&node.shape))
            .map(|output| {
                let mut max = None;
                pool.taps(output, input, out, |tap| {
                    max = Some(match max.take() {
                        None => x[tap].clone(),
                        Some(m) => self.max(&m, &x[tap], difference),
                    });
                });
                max.expect("a window has a tap")
            })
            .collect()
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
