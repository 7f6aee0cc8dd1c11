//! The graph as a rank-1 constraint system with lookups.
//!
//! Wires are integers. Linear layers add none: an accumulator is a linear combination of wires. Non-linear cells
//! ([`cells`]) emit three kinds of constraint,
//!
//! ```text
//! lookup k:  q_k in table j_k        product p:  a_p * b_p = c_p        gate g:  a_g * b_g = 0
//! ```
//!
//! with `q`, `a`, `b`, `c` linear combinations. Table 0 is the range `0..2^b`; the others are functions, see
//! [`tables`]. Over a challenge `rho`, drawn when all wires are fixed, the lookups become rank-1 rows by LogUp (ePrint
//! 2022/1530), with multiplicities `m_t` of the rows `e_t` of all tables:
//!
//! ```text
//! row k                    u_k * (rho + q_k) = 1            k in 0..K
//! row K + t                v_t * (rho + e_t) = m_t          t in 0..T
//! row K + T + p            a_p * b_p         = c_p          p in 0..P
//! row K + T + P + g        a_g * b_g         = 0            g in 0..G
//! row K + T + P + G + j    (sum of u_k of table j - sum of v_t of table j) * 1 = 0
//! then                     rows over the whole field ([`field`]), products of matrices ([`freivalds`])
//! ```
//!
//! Every table has a sum of its own, so that a row of one never serves a lookup in another.
//!
//! One walk over the graph ([`cells::walk`]) describes the system; what it means is up to the [`System`] that it is
//! given: counting ([`Plan`]), integers ([`witness`]) or columns at a point ([`columns`]). So the prover and the
//! setup cannot disagree on a constraint.

pub mod cells;
pub mod columns;
pub mod field;
pub mod freivalds;
pub mod tables;
pub mod witness;

use crate::commitment;
use crate::domain;
use crate::ir::{Graph, MatMul, Port, elements};
use crate::linear::Taps;
use tables::Functions;

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
    /// `(x, y)` is a row of a function's table.
    Entry,
    /// `y` of a function is a small number.
    EntryRange,
    /// `c = a b` of two activations.
    Product,
    /// `C s = A (B s)` of matrices.
    Matrix,
    /// `y^2 <= x` of a root.
    RootLow,
    /// `x < (y + 1)^2` of a root.
    RootHigh,
    /// `lo <= x <= hi` of an input that the statement commits to.
    InputRange,
    /// The statement's commitment is the hash of the values.
    Commitment,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 15] = [
        Self::Remainder,
        Self::OutputRange,
        Self::Excess,
        Self::SaturateLow,
        Self::SaturateHigh,
        Self::MaxRange,
        Self::MaxChoice,
        Self::Entry,
        Self::EntryRange,
        Self::Product,
        Self::Matrix,
        Self::RootLow,
        Self::RootHigh,
        Self::InputRange,
        Self::Commitment,
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
    /// The next element of the inputs, as a public wire.
    fn input(&mut self) -> Self::Expr;
    /// The next element of the inputs, as a private wire.
    fn committed_input(&mut self) -> Self::Expr;
    /// The next public output wire; `value` is the hint.
    fn output(&mut self, value: i64) -> Self::Expr;
    /// A new private wire; `value` is the hint.
    fn wire(&mut self, value: i64) -> Self::Expr;
    /// The accumulators of a linear node over its operands.
    fn linear(&mut self, node: usize, taps: &Taps<'_>, operands: &[Self::Expr]) -> Vec<Self::Expr>;
    /// `expr in 0..2^b`.
    fn lookup(&mut self, family: Family, expr: &Self::Expr);
    /// `expr` is row `row` of a function's table; `row` is the hint.
    fn entry(&mut self, table: usize, row: i64, expr: &Self::Expr);
    /// `a * b = 0`; the terms of `a` are private wires.
    fn gate(&mut self, family: Family, a: &Self::Expr, b: &Self::Expr);
    /// `a * b = c`.
    fn product(&mut self, a: &Self::Expr, b: &Self::Expr, c: &Self::Expr);
    /// `c = a b` of matrices, in rows after the challenge.
    fn matrices(&mut self, sizes: &MatMul, matrices: [&[Self::Expr]; 3]);
    /// The next commitment of the statement is to these values of a port.
    fn commit(&mut self, port: &Port, values: &[Self::Expr]);
    /// A node is done.
    fn end_node(&mut self, _node: usize) {}
}

/// Sizes of the constraint system of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Limb width `b`.
    pub limb_bits: u32,
    /// Tables of functions.
    pub functions: Functions,
    /// Public input wires.
    pub inputs: usize,
    /// Public output wires.
    pub outputs: usize,
    /// Commitments, a public wire each.
    pub commitments: usize,
    /// Private wires before the challenge, without multiplicities.
    pub wires: usize,
    /// Lookups `K`.
    pub lookups: usize,
    /// Products `P`.
    pub products: usize,
    /// Gates `G`.
    pub gates: usize,
    /// Rows over the whole field.
    pub field_rows: usize,
    /// Private wires of those rows.
    pub field_wires: usize,
    /// Rows of products of matrices.
    pub matrix_rows: usize,
    /// Private wires of those rows.
    pub matrix_wires: usize,
    /// Constraints of each node.
    pub nodes: Vec<Cost>,
}

/// Constraints of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Lookups.
    pub lookups: usize,
    /// Products.
    pub products: usize,
    /// Gates.
    pub gates: usize,
    /// Rows of products of matrices.
    pub matrix_rows: usize,
}

impl Cost {
    /// All of them.
    pub fn constraints(&self) -> usize {
        self.lookups + self.products + self.gates + self.matrix_rows
    }
}

impl Plan {
    /// The plan with the limb width that makes proving cheapest.
    pub fn new(graph: &Graph) -> Self {
        let plans = LIMB_BITS.map(|limb_bits| Self::with_limb_bits(graph, limb_bits));
        plans.min_by_key(|plan| (plan.cost(), plan.limb_bits)).expect("there is a limb width")
    }

    /// Estimate of proving in additions of points: the quotient's multiplication and transforms take about 32 a point
    /// of the domain, small scalars 7 a row, and each row of a table is in four full-width multiplications, each of a
    /// product of matrices in three.
    pub fn cost(&self) -> usize {
        32 * self.domain() + 7 * self.rows() + 4 * 26 * self.table() + freivalds::excess(self.matrix_rows)
    }

    /// The plan for a given limb width.
    pub fn with_limb_bits(graph: &Graph, limb_bits: u32) -> Self {
        let functions = Functions::of(graph);
        let mut count = Count { plan: Self::empty(limb_bits, functions), at: Cost::default() };
        cells::walk(graph, limb_bits, &mut count);
        count.plan
    }

    fn empty(limb_bits: u32, functions: Functions) -> Self {
        Self {
            limb_bits,
            functions,
            inputs: 0,
            outputs: 0,
            commitments: 0,
            wires: 0,
            lookups: 0,
            products: 0,
            gates: 0,
            field_rows: 0,
            field_wires: 0,
            matrix_rows: 0,
            matrix_wires: 0,
            nodes: Vec::new(),
        }
    }

    /// Rows of all tables, `T`.
    pub fn table(&self) -> usize {
        self.range_table() + self.functions.rows()
    }

    /// Rows of the range table, `2^b`.
    pub fn range_table(&self) -> usize {
        1 << self.limb_bits
    }

    /// The rows of all tables, the range first.
    pub fn table_values(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.range_table() as i64).chain(self.functions.values())
    }

    /// The rows of each table, as a range of the rows of all tables.
    pub fn table_ranges(&self) -> Vec<std::ops::Range<usize>> {
        let sizes = [self.range_table()].into_iter().chain(self.functions.sizes());
        let mut first = 0;
        let range = |size| {
            first += size;
            first - size..first
        };
        sizes.map(range).collect()
    }

    /// Rank-1 rows over integers: lookups, tables, products, gates, sums.
    pub fn integer_rows(&self) -> usize {
        self.first_sum() + 1 + self.functions.len()
    }

    /// Rank-1 rows: those over integers, then those over the field, then those of products of matrices.
    pub fn rows(&self) -> usize {
        self.first_matrix_row() + self.matrix_rows
    }

    /// First row of the products of matrices.
    pub fn first_matrix_row(&self) -> usize {
        self.integer_rows() + self.field_rows
    }

    /// First product row.
    pub fn first_product(&self) -> usize {
        self.lookups + self.table()
    }

    /// First gate row.
    pub fn first_gate(&self) -> usize {
        self.first_product() + self.products
    }

    /// The row of the first table's sum.
    pub fn first_sum(&self) -> usize {
        self.first_gate() + self.gates
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
    fn committed_input(&mut self) {
        self.plan.wires += 1;
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
    fn entry(&mut self, _table: usize, _row: i64, _expr: &()) {
        self.plan.lookups += 1;
    }
    fn gate(&mut self, _family: Family, _a: &(), _b: &()) {
        self.plan.gates += 1;
    }
    fn product(&mut self, _a: &(), _b: &(), _c: &()) {
        self.plan.products += 1;
    }
    fn matrices(&mut self, sizes: &MatMul, _matrices: [&[()]; 3]) {
        self.plan.matrix_rows += freivalds::rows(sizes);
        self.plan.matrix_wires += freivalds::wires(sizes);
    }
    fn commit(&mut self, port: &Port, _values: &[()]) {
        let words = commitment::words(&port.quant, elements(&port.shape));
        self.plan.commitments += 1;
        self.plan.field_rows += field::rows(words);
        self.plan.field_wires += field::wires(words);
    }
    fn end_node(&mut self, _node: usize) {
        let Plan { lookups, products, gates, matrix_rows, .. } = self.plan;
        let total = Cost { lookups, products, gates, matrix_rows };
        self.plan.nodes.push(Cost {
            lookups: lookups - self.at.lookups,
            products: products - self.at.products,
            gates: gates - self.at.gates,
            matrix_rows: matrix_rows - self.at.matrix_rows,
        });
        self.at = total;
    }
}
