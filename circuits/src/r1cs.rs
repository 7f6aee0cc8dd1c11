//! The graph as a rank-1 constraint system with lookups.
//!
//! Wires are integers. Linear layers add none: an accumulator is a linear combination of wires. Non-linear cells
//! ([`cells`]) emit two kinds of constraint,
//!
//! ```text
//! lookup k:  q_k in 0..2^b            gate g:  a_g * b_g = 0
//! ```
//!
//! with `q_k`, `a_g`, `b_g` linear combinations. Over a challenge `rho`, drawn when all wires are fixed, the lookups
//! become rank-1 rows by LogUp (ePrint 2022/1530) with multiplicities `m_t` of the table `0..2^b`:
//!
//! ```text
//! row k            u_k * (rho + q_k) = 1            k in 0..K
//! row K + t        v_t * (rho + t)   = m_t          t in 0..2^b
//! row K + T + g    a_g * b_g         = 0            g in 0..G
//! last row         (sum u - sum v) * 1 = 0
//! ```
//!
//! One walk over the graph ([`cells::walk`]) describes the system; what it means is up to the [`System`] that it is
//! given: counting ([`Plan`]), integers ([`witness`]) or columns at a point ([`columns`]). So the prover and the
//! setup cannot disagree on a constraint.

pub mod cells;
pub mod columns;
pub mod witness;

use crate::domain;
use crate::ir::Graph;
use crate::linear::Taps;

/// Limb widths that the planner tries; a table has `2^b` rows.
pub const LIMB_BITS: std::ops::RangeInclusive<u32> = 4..=14;

/// Families of constraints: the name of a violated one, and what a test can leave out to see that it bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `0 <= x + 2^(f-1) - u 2^f < 2^f`.
    Remainder,
    /// `lo <= y <= hi`.
    OutputRange,
    /// `0 <= e_lo + e_hi`.
    Excess,
    /// `e_lo (y - lo) = 0`.
    SaturateLow,
    /// `e_hi (hi - y) = 0`.
    SaturateHigh,
    /// `0 <= |m - x|`, the greater minus the lesser.
    MaxRange,
    /// `p (p - m + x) = 0`: `p` is 0 or `m - x`.
    MaxChoice,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] = [
        Self::Remainder,
        Self::OutputRange,
        Self::Excess,
        Self::SaturateLow,
        Self::SaturateHigh,
        Self::MaxRange,
        Self::MaxChoice,
    ];
}

/// What a walk over the graph talks to.
pub trait System {
    /// A linear combination of wires.
    type Expr: Clone;

    /// A constant.
    fn constant(&self, value: i64) -> Self::Expr;
    /// `sum += factor * term`.
    fn add(&self, sum: &mut Self::Expr, factor: i64, term: &Self::Expr);
    /// The value of a combination where values are known, else 0. Hints are computed from it, never constraints.
    fn value(&self, expr: &Self::Expr) -> i64;
    /// The next public input wire.
    fn input(&mut self) -> Self::Expr;
    /// The next public output wire; `value` is the hint.
    fn output(&mut self, value: i64) -> Self::Expr;
    /// A new private wire; `value` is the hint.
    fn wire(&mut self, value: i64) -> Self::Expr;
    /// The accumulators of a linear node over its operands.
    fn linear(&mut self, node: usize, taps: &Taps<'_>, operands: &[Self::Expr]) -> Vec<Self::Expr>;
    /// `expr in 0..2^b`.
    fn lookup(&mut self, family: Family, expr: &Self::Expr);
    /// `a * b = 0`.
    fn gate(&mut self, family: Family, a: &Self::Expr, b: &Self::Expr);
    /// A node is done.
    fn end_node(&mut self, _node: usize) {}
}

/// Sizes of the constraint system of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Limb width `b`.
    pub limb_bits: u32,
    /// Public input wires.
    pub inputs: usize,
    /// Public output wires.
    pub outputs: usize,
    /// Private wires, without multiplicities.
    pub wires: usize,
    /// Lookups `K`.
    pub lookups: usize,
    /// Gates `G`.
    pub gates: usize,
    /// Lookups and gates of each node.
    pub nodes: Vec<Cost>,
}

/// Constraints of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Lookups.
    pub lookups: usize,
    /// Gates.
    pub gates: usize,
}

impl Plan {
    /// The plan with the limb width that makes proving cheapest.
    pub fn new(graph: &Graph) -> Self {
        let plans = LIMB_BITS.map(|limb_bits| Self::with_limb_bits(graph, limb_bits));
        plans.min_by_key(|plan| (plan.cost(), plan.limb_bits)).expect("there is a limb width")
    }

    /// Estimate of proving in additions of points: the quotient's multiplication and transforms take about 32 a point
    /// of the domain, small scalars 7 a row, and each row of the table is in four full-width multiplications.
    pub fn cost(&self) -> usize {
        32 * self.domain() + 7 * self.rows() + 4 * 26 * self.table()
    }

    /// The plan for a given limb width.
    pub fn with_limb_bits(graph: &Graph, limb_bits: u32) -> Self {
        let mut count = Count { plan: Self::empty(limb_bits), at: Cost::default() };
        cells::walk(graph, limb_bits, &mut count);
        count.plan
    }

    fn empty(limb_bits: u32) -> Self {
        Self { limb_bits, inputs: 0, outputs: 0, wires: 0, lookups: 0, gates: 0, nodes: Vec::new() }
    }

    /// Rows of the table, `T = 2^b`.
    pub fn table(&self) -> usize {
        1 << self.limb_bits
    }

    /// Rank-1 rows: lookups, table, gates, sum.
    pub fn rows(&self) -> usize {
        self.lookups + self.table() + self.gates + 1
    }

    /// First gate row.
    pub fn first_gate(&self) -> usize {
        self.lookups + self.table()
    }

    /// The row of the sum.
    pub fn sum_row(&self) -> usize {
        self.rows() - 1
    }

    /// Size of the evaluation domain.
    pub fn domain(&self) -> usize {
        domain::size_for(self.rows())
    }
}

struct Count {
    plan: Plan,
    at: Cost,
}

impl System for Count {
    type Expr = ();

    fn constant(&self, _value: i64) {}
    fn add(&self, _sum: &mut (), _factor: i64, _term: &()) {}
    fn value(&self, _expr: &()) -> i64 {
        0
    }
    fn input(&mut self) {
        self.plan.inputs += 1;
    }
    fn output(&mut self, _value: i64) {
        self.plan.outputs += 1;
    }
    fn wire(&mut self, _value: i64) {
        self.plan.wires += 1;
    }
    fn linear(&mut self, _node: usize, taps: &Taps<'_>, _operands: &[()]) -> Vec<()> {
        vec![(); taps.outputs()]
    }
    fn lookup(&mut self, _family: Family, _expr: &()) {
        self.plan.lookups += 1;
    }
    fn gate(&mut self, _family: Family, _a: &(), _b: &()) {
        self.plan.gates += 1;
    }
    fn end_node(&mut self, _node: usize) {
        let total = Cost { lookups: self.plan.lookups, gates: self.plan.gates };
        let cost = Cost { lookups: total.lookups - self.at.lookups, gates: total.gates - self.at.gates };
        self.plan.nodes.push(cost);
        self.at = total;
    }
}
