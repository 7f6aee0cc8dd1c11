//! The integer assignment of every wire and row, from the trace that the inference left.

use super::field::Committed;
use super::freivalds::Product;
use super::{Family, Plan, System, cells};
use crate::error::ModelError;
use crate::interpret::Trace;
use crate::ir::{Graph, MatMul, Port, TensorId};
use crate::linear::Taps;

/// Values of the whole constraint system before the challenge.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness {
    /// Public outputs in wire order (the order of the nodes that produce them).
    pub outputs: Vec<i64>,
    /// Private wires, without multiplicities.
    pub wires: Vec<i64>,
    /// Value of every lookup; an honest one is a row of its table.
    pub lookups: Vec<i64>,
    /// The table row that each lookup meets, among the rows of all tables.
    pub rows: Vec<u32>,
    /// `a`, `b`, `c` of every product.
    pub products: Vec<[i64; 3]>,
    /// Both factors of every gate; an honest product is 0.
    pub gates: Vec<(i64, i64)>,
    /// Products of matrices that are shown after the challenge.
    pub matrices: Vec<Product<i64>>,
    /// How often each table row is looked up.
    pub multiplicities: Vec<u32>,
    /// The values of every committed port, in the order of the statement's commitments.
    pub committed: Vec<Committed<i64>>,
    omit: Option<Family>,
    violations: Vec<Family>,
}

impl Witness {
    /// The assignment of an inference.
    pub fn new(graph: &Graph, plan: &Plan, trace: &Trace) -> Result<Self, ModelError> {
        let witness = Self::build(graph, plan, Source::Trace(trace));
        // The interpreter and the cells implement one rule; a difference is a fault of this crate, and a proof from
        // such a witness would be refused by every verifier.
        match witness.violations.first() {
            None => Ok(witness),
            Some(family) => Err(ModelError::node("witness", format!("constraint {family:?} does not hold"))),
        }
    }

    /// The assignment that a dishonest prover would make: hints of the private wires (or public outputs)
    /// replaced, everything that follows from them recomputed. For tests of what is refused.
    pub fn forged(graph: &Graph, plan: &Plan, inputs: &[Vec<i32>], forgery: Forgery<'_>) -> Self {
        Self::build(graph, plan, Source::Inputs(inputs, forgery))
    }

    /// The family of constraints that this assignment was made without.
    pub fn omitted(&self) -> Option<Family> {
        self.omit
    }

    /// The families whose constraints over integers this assignment breaks, in row order.
    pub fn violations(&self) -> &[Family] {
        &self.violations
    }

    fn build(graph: &Graph, plan: &Plan, source: Source<'_>) -> Self {
        let inputs: Vec<i64> = match &source {
            Source::Trace(trace) => {
                let ports = 0..graph.inputs().len() as u32;
                ports.flat_map(|port| trace.tensor(TensorId(port)).iter().copied()).collect()
            }
            Source::Inputs(inputs, _) => inputs.iter().flatten().map(|&v| i64::from(v)).collect(),
        };
        let mut integers = Integers {
            graph,
            inputs: inputs.into_iter(),
            range: plan.range_table() as i64,
            tables: plan.table_ranges(),
            table_values: plan.table_values().collect(),
            witness: Self {
                outputs: Vec::with_capacity(plan.outputs),
                wires: Vec::with_capacity(plan.wires),
                lookups: Vec::with_capacity(plan.lookups),
                rows: Vec::with_capacity(plan.lookups),
                products: Vec::with_capacity(plan.products),
                gates: Vec::with_capacity(plan.gates),
                matrices: Vec::new(),
                multiplicities: vec![0; plan.table()],
                committed: Vec::new(),
                omit: match &source {
                    Source::Trace(_) => None,
                    Source::Inputs(_, forgery) => forgery.omit,
                },
                violations: Vec::new(),
            },
            source,
        };
        cells::walk(graph, plan.limb_bits, &mut integers);
        integers.witness
    }
}

/// Replaced hints, by index of the wire or output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgery<'a> {
    /// `(private wire, value)`.
    pub wires: &'a [(usize, i64)],
    /// `(public output wire, value)`.
    pub outputs: &'a [(usize, i64)],
    /// A family of constraints that is not there.
    pub omit: Option<Family>,
}

enum Source<'a> {
    Trace(&'a Trace),
    Inputs(&'a [Vec<i32>], Forgery<'a>),
}

impl Source<'_> {
    fn wire(&self, index: usize, hint: i64) -> i64 {
        match self {
            Self::Trace(_) => hint,
            Self::Inputs(_, forgery) => replaced(forgery.wires, index, hint),
        }
    }

    fn output(&self, index: usize, hint: i64) -> i64 {
        match self {
            Self::Trace(_) => hint,
            Self::Inputs(_, forgery) => replaced(forgery.outputs, index, hint),
        }
    }
}

fn replaced(forged: &[(usize, i64)], index: usize, hint: i64) -> i64 {
    forged.iter().find(|(at, _)| *at == index).map_or(hint, |&(_, value)| value)
}

struct Integers<'a> {
    graph: &'a Graph,
    source: Source<'a>,
    inputs: std::vec::IntoIter<i64>,
    range: i64,
    tables: Vec<std::ops::Range<usize>>,
    table_values: Vec<i64>,
    witness: Witness,
}

impl Integers<'_> {
    fn omits(&self, family: Family) -> bool {
        self.witness.omit == Some(family)
    }

    /// Notes a lookup of `value` that meets `row`, one of the rows of all tables.
    fn meet(&mut self, family: Family, value: i64, row: usize) {
        self.witness.lookups.push(value);
        self.witness.rows.push(row as u32);
        if self.table_values[row] == value {
            self.witness.multiplicities[row] += 1;
        } else {
            self.witness.violations.push(family);
        }
    }
}

impl System for Integers<'_> {
    type Expr = i64;

    fn constant(&self, value: i64) -> i64 {
        value
    }

    fn add(&self, sum: &mut i64, factor: i64, term: &i64) {
        *sum += factor * term;
    }

    fn value(&self, expr: &i64) -> i64 {
        *expr
    }

    fn input(&mut self) -> i64 {
        self.inputs.next().expect("inputs were checked against the graph")
    }

    fn output(&mut self, hint: i64) -> i64 {
        let value = self.source.output(self.witness.outputs.len(), hint);
        self.witness.outputs.push(value);
        value
    }

    fn wire(&mut self, hint: i64) -> i64 {
        let value = self.source.wire(self.witness.wires.len(), hint);
        self.witness.wires.push(value);
        value
    }

    fn linear(&mut self, node: usize, taps: &Taps<'_>, operands: &[i64]) -> Vec<i64> {
        match self.source {
            Source::Trace(trace) => trace.tensor(self.graph.tensor_of(node)).to_vec(),
            Source::Inputs(..) => (0..taps.outputs())
                .map(|output| {
                    let mut sum = taps.bias(output);
                    taps.row(output, |input, weight| sum += i64::from(weight) * operands[input]);
                    sum
                })
                .collect(),
        }
    }

    fn committed_input(&mut self) -> i64 {
        let value = self.input();
        self.wire(value)
    }

    fn lookup(&mut self, family: Family, expr: &i64) {
        let value = if self.omits(family) { 0 } else { *expr };
        self.meet(family, value, value.clamp(0, self.range - 1) as usize);
    }

    fn entry(&mut self, table: usize, row: i64, expr: &i64) {
        let rows = self.tables[1 + table].clone();
        if self.omits(Family::Entry) {
            self.meet(Family::Entry, self.table_values[rows.start], rows.start);
            return;
        }
        self.meet(Family::Entry, *expr, rows.start + row.clamp(0, rows.len() as i64 - 1) as usize);
    }

    fn gate(&mut self, family: Family, a: &i64, b: &i64) {
        let (a, b) = if self.omits(family) { (0, 0) } else { (*a, *b) };
        self.witness.gates.push((a, b));
        if a != 0 && b != 0 {
            self.witness.violations.push(family);
        }
    }

    fn product(&mut self, a: &i64, b: &i64, c: &i64) {
        let row = if self.omits(Family::Product) { [0; 3] } else { [*a, *b, *c] };
        self.witness.products.push(row);
        if i128::from(row[0]) * i128::from(row[1]) != i128::from(row[2]) {
            self.witness.violations.push(Family::Product);
        }
    }

    fn matrices(&mut self, sizes: &MatMul, matrices: [&[i64]; 3]) {
        let [a, b, c] = matrices;
        let product =
            |output| -> i128 { sizes.terms(output).map(|(i, j)| i128::from(a[i]) * i128::from(b[j])).sum() };
        if !self.omits(Family::Matrix) && (0..c.len()).any(|output| product(output) != c[output].into()) {
            self.witness.violations.push(Family::Matrix);
        }
        let matrices = matrices.map(<[i64]>::to_vec);
        self.witness.matrices.push(Product { sizes: *sizes, matrices });
    }

    fn commit(&mut self, port: &Port, values: &[i64]) {
        self.witness.committed.push(Committed::new(port, values));
    }
}
