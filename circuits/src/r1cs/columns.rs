//! Columns of the constraint matrices at a point, without the matrices.
//!
//! Given `lambda_row`, the Lagrange polynomials of the domain at `tau`, the column of wire `i` is
//! `A_i = sum_row A[row,i] lambda_row`, likewise `B_i`. Cells are sparse, so their rows are added as they come. An
//! accumulator is a linear combination of wires; its column is pushed back through the *transposed* layer, as a
//! gradient is, in `O(weights)` time and `O(activations)` memory.
//!
//! `C` is 1 on lookup rows and `m_t` on table rows, which the setup adds itself; the walk has the rest of it.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field, Zero};

use super::field::{self, Committed, FieldSystem};
use super::freivalds::{self, FreivaldsSystem, Product, Right};
use super::{Family, Plan, System, cells};
use crate::ir::{Graph, MatMul, Port};
use crate::linear::Taps;

/// Columns `A_i(tau)`, `B_i(tau)`, `C_i(tau)` of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// A side.
    pub a: Fr,
    /// B side.
    pub b: Fr,
    /// C side.
    pub c: Fr,
}

impl Column {
    fn add(&mut self, factor: Fr, weight: &Self) {
        if factor == Fr::ONE {
            self.a += weight.a;
            self.b += weight.b;
            self.c += weight.c;
            return;
        }
        for (sum, weight) in [(&mut self.a, weight.a), (&mut self.b, weight.b), (&mut self.c, weight.c)] {
            if !weight.is_zero() {
                *sum += factor * weight;
            }
        }
    }

    fn is_zero(&self) -> bool {
        self.a.is_zero() && self.b.is_zero() && self.c.is_zero()
    }
}

/// Columns of every wire but multiplicities and inverses, whose rows do not depend on the model. Those of the challenge
/// are here as far as they do.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The constant wire.
    pub one: Column,
    /// The challenge's B side in the rows of products of matrices.
    pub challenge: Fr,
    /// Public inputs.
    pub inputs: Vec<Column>,
    /// Public outputs, in wire order.
    pub outputs: Vec<Column>,
    /// Commitments, inputs' first.
    pub commitments: Vec<Column>,
    /// Private wires before the challenge.
    pub wires: Vec<Column>,
    /// Private wires of the rows over the field.
    pub field_wires: Vec<Column>,
    /// Private wires of the rows of products of matrices.
    pub matrix_wires: Vec<Column>,
    /// The table of each lookup.
    pub lookup_tables: Vec<u32>,
}

impl Columns {
    /// Evaluates all columns; `lambda` has an entry a row. `omit` leaves a family of constraints out: keys made so
    /// are unsound, which is what tests show with them.
    pub fn new(graph: &Graph, plan: &Plan, lambda: &[Fr], omit: Option<Family>) -> Self {
        let mut walk = Walk {
            lambda,
            omit,
            product: plan.first_product(),
            gate: plan.first_gate(),
            field_row: plan.integer_rows(),
            matrix_row: plan.first_matrix_row(),
            columns: Self {
                one: Column::default(),
                challenge: Fr::ZERO,
                inputs: Vec::with_capacity(plan.inputs),
                outputs: Vec::with_capacity(plan.outputs),
                commitments: Vec::with_capacity(plan.commitments),
                wires: Vec::with_capacity(plan.wires),
                field_wires: Vec::with_capacity(plan.field_wires),
                matrix_wires: Vec::with_capacity(plan.matrix_wires),
                lookup_tables: Vec::with_capacity(plan.lookups),
            },
            accumulators: Vec::new(),
            layers: Vec::new(),
            committed: Vec::new(),
            matrices: Vec::new(),
            first_entries: plan.functions.first_values().collect(),
        };
        cells::walk(graph, plan.limb_bits, &mut walk);
        let committed = std::mem::take(&mut walk.committed);
        field::walk(&committed, &[], &mut walk);
        let matrices = std::mem::take(&mut walk.matrices);
        freivalds::walk(&matrices, &mut walk);
        walk.push_back(graph);
        walk.columns
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Var {
    Input(u32),
    Output(u32),
    Wire(u32),
    Accumulator(u32),
    Commitment(u32),
    FieldWire(u32),
    MatrixWire(u32),
}

/// `constant + sum factor * var`, with integer factors.
#[derive(Clone, Debug)]
struct Combination {
    constant: i64,
    terms: Vec<(Var, i64)>,
}

/// The same with factors of the field.
#[derive(Clone, Debug)]
struct FieldCombination {
    constant: Fr,
    terms: Vec<(Var, Fr)>,
}

impl From<Var> for Combination {
    fn from(var: Var) -> Self {
        Self { constant: 0, terms: vec![(var, 1)] }
    }
}

struct Layer {
    node: usize,
    first: usize,
    operands: Vec<Combination>,
}

struct Walk<'a> {
    lambda: &'a [Fr],
    omit: Option<Family>,
    product: usize,
    gate: usize,
    field_row: usize,
    matrix_row: usize,
    columns: Columns,
    accumulators: Vec<Column>,
    layers: Vec<Layer>,
    committed: Vec<Committed<Combination>>,
    matrices: Vec<Product<Combination>>,
    /// The first row of each function's table.
    first_entries: Vec<i64>,
}

impl Walk<'_> {
    fn column(&mut self, var: Var) -> &mut Column {
        match var {
            Var::Input(i) => &mut self.columns.inputs[i as usize],
            Var::Output(i) => &mut self.columns.outputs[i as usize],
            Var::Wire(i) => &mut self.columns.wires[i as usize],
            Var::Accumulator(i) => &mut self.accumulators[i as usize],
            Var::Commitment(i) => &mut self.columns.commitments[i as usize],
            Var::FieldWire(i) => &mut self.columns.field_wires[i as usize],
            Var::MatrixWire(i) => &mut self.columns.matrix_wires[i as usize],
        }
    }

    fn add_terms(&mut self, combination: &Combination, weight: &Column) {
        self.columns.one.add(Fr::from(combination.constant), weight);
        for &(var, factor) in &combination.terms {
            self.column(var).add(Fr::from(factor), weight);
        }
    }

    fn add_field_terms(&mut self, combination: &FieldCombination, weight: &Column) {
        self.columns.one.add(combination.constant, weight);
        for &(var, factor) in &combination.terms {
            self.column(var).add(factor, weight);
        }
    }

    fn sides(weight: Fr) -> [Column; 3] {
        let zero = Column::default();
        [Column { a: weight, ..zero }, Column { b: weight, ..zero }, Column { c: weight, ..zero }]
    }

    fn push_back(&mut self, graph: &Graph) {
        while let Some(layer) = self.layers.pop() {
            let taps = graph.taps(&graph.nodes()[layer.node]).expect("linear operators have taps");
            let mut operands = vec![Column::default(); taps.inputs()];
            for output in 0..taps.outputs() {
                let weight = self.accumulators[layer.first + output];
                if weight.is_zero() {
                    continue;
                }
                self.columns.one.add(Fr::from(taps.bias(output)), &weight);
                taps.row(output, |input, w| {
                    if w != 0 {
                        operands[input].add(Fr::from(w), &weight);
                    }
                });
            }
            for (combination, weight) in layer.operands.iter().zip(operands) {
                if !weight.is_zero() {
                    self.add_terms(combination, &weight);
                }
            }
        }
    }

    fn new_var(columns: &mut Vec<Column>, var: fn(u32) -> Var) -> Var {
        columns.push(Column::default());
        var(columns.len() as u32 - 1)
    }
}

impl System for Walk<'_> {
    type Expr = Combination;

    fn constant(&self, value: i64) -> Combination {
        Combination { constant: value, terms: Vec::new() }
    }

    fn add(&self, sum: &mut Combination, factor: i64, term: &Combination) {
        sum.constant += factor * term.constant;
        sum.terms.extend(term.terms.iter().map(|&(var, f)| (var, factor * f)));
    }

    fn value(&self, _expr: &Combination) -> i64 {
        0
    }

    fn input(&mut self) -> Combination {
        Self::new_var(&mut self.columns.inputs, Var::Input).into()
    }

    fn committed_input(&mut self) -> Combination {
        System::wire(self, 0)
    }

    fn output(&mut self, _hint: i64) -> Combination {
        Self::new_var(&mut self.columns.outputs, Var::Output).into()
    }

    fn wire(&mut self, _hint: i64) -> Combination {
        Self::new_var(&mut self.columns.wires, Var::Wire).into()
    }

    fn linear(&mut self, node: usize, taps: &Taps<'_>, operands: &[Combination]) -> Vec<Combination> {
        let first = self.accumulators.len();
        self.accumulators.resize(first + taps.outputs(), Column::default());
        self.layers.push(Layer { node, first, operands: operands.to_vec() });
        (first..first + taps.outputs()).map(|i| Var::Accumulator(i as u32).into()).collect()
    }

    fn lookup(&mut self, family: Family, expr: &Combination) {
        if self.omit != Some(family) {
            let [_, b, _] = Self::sides(self.lambda[self.columns.lookup_tables.len()]);
            self.add_terms(expr, &b);
        }
        self.columns.lookup_tables.push(0);
    }

    fn entry(&mut self, table: usize, _row: i64, expr: &Combination) {
        let row = self.columns.lookup_tables.len();
        let [_, b, _] = Self::sides(self.lambda[row]);
        if self.omit == Some(Family::Entry) {
            // The first row of the table in the place of the combination, which says nothing.
            self.columns.one.add(Fr::from(self.first_entries[table]), &b);
        } else {
            self.add_terms(expr, &b);
        }
        self.columns.lookup_tables.push(table as u32 + 1);
    }

    fn gate(&mut self, family: Family, a: &Combination, b: &Combination) {
        if self.omit != Some(family) {
            let [a_side, b_side, _] = Self::sides(self.lambda[self.gate]);
            self.add_terms(a, &a_side);
            self.add_terms(b, &b_side);
        }
        self.gate += 1;
    }

    fn product(&mut self, a: &Combination, b: &Combination, c: &Combination) {
        if self.omit != Some(Family::Product) {
            for (side, expr) in Self::sides(self.lambda[self.product]).iter().zip([a, b, c]) {
                self.add_terms(expr, side);
            }
        }
        self.product += 1;
    }

    fn matrices(&mut self, sizes: &MatMul, matrices: [&[Combination]; 3]) {
        let matrices = matrices.map(<[Combination]>::to_vec);
        self.matrices.push(Product { sizes: *sizes, matrices });
    }

    fn commit(&mut self, port: &Port, values: &[Combination]) {
        self.committed.push(Committed::new(port, values));
    }
}

impl FreivaldsSystem for Walk<'_> {
    type Integer = Combination;
    type Expr = Combination;

    fn lift(&self, integer: &Combination) -> Combination {
        integer.clone()
    }

    fn zero(&self) -> Combination {
        Combination { constant: 0, terms: Vec::new() }
    }

    fn step(&mut self, sum: &Combination, a: &Combination, b: Right<'_, Combination>) -> Combination {
        let wire = Self::new_var(&mut self.columns.matrix_wires, Var::MatrixWire).into();
        self.close(sum, a, b, &wire);
        wire
    }

    fn close(&mut self, sum: &Combination, a: &Combination, b: Right<'_, Combination>, total: &Combination) {
        if self.omit != Some(Family::Matrix) {
            let lambda = self.lambda[self.matrix_row];
            let [a_side, b_side, c_side] = Self::sides(lambda);
            self.add_terms(a, &a_side);
            match b {
                Right::Challenge => self.columns.challenge += lambda,
                Right::Integer(b) => self.add_terms(b, &b_side),
            }
            self.add_terms(total, &c_side);
            self.add_terms(sum, &Column { c: -lambda, ..Column::default() });
        }
        self.matrix_row += 1;
    }
}

impl FieldSystem for Walk<'_> {
    type Integer = Combination;
    type Expr = FieldCombination;

    fn constant(&self, value: Fr) -> FieldCombination {
        FieldCombination { constant: value, terms: Vec::new() }
    }

    fn lift(&self, integer: &Combination) -> FieldCombination {
        let terms = integer.terms.iter().map(|&(var, factor)| (var, Fr::from(factor)));
        let mut terms: Vec<_> = terms.collect();
        terms.sort_by_key(|(var, _)| *var);
        FieldCombination { constant: Fr::from(integer.constant), terms }
    }

    fn add(&self, sum: &mut FieldCombination, factor: Fr, term: &FieldCombination) {
        sum.constant += factor * term.constant;
        // Both sides are in ascending order of their wires: states of a permutation combine the same few again and again.
        let (mut old, mut new) =
            (std::mem::take(&mut sum.terms).into_iter().peekable(), term.terms.iter().peekable());
        while let (Some(a), Some(b)) = (old.peek(), new.peek()) {
            let order = a.0.cmp(&b.0);
            let a = if order.is_le() { old.next() } else { None };
            let b = if order.is_ge() { new.next().map(|&(var, f)| (var, factor * f)) } else { None };
            sum.terms.extend(match (a, b) {
                (Some((var, x)), Some((_, y))) => Some((var, x + y)),
                (one, other) => one.or(other),
            });
        }
        sum.terms.extend(old);
        sum.terms.extend(new.map(|&(var, f)| (var, factor * f)));
    }

    fn value(&self, _expr: &FieldCombination) -> Fr {
        Fr::ZERO
    }

    fn wire(&mut self, _hint: Fr) -> FieldCombination {
        let var = Self::new_var(&mut self.columns.field_wires, Var::FieldWire);
        FieldCombination { constant: Fr::ZERO, terms: vec![(var, Fr::ONE)] }
    }

    fn commitment(&mut self) -> FieldCombination {
        let var = Self::new_var(&mut self.columns.commitments, Var::Commitment);
        FieldCombination { constant: Fr::ZERO, terms: vec![(var, Fr::ONE)] }
    }

    fn row(&mut self, family: Family, a: &FieldCombination, b: &FieldCombination, c: &FieldCombination) {
        if self.omit != Some(family) {
            for (side, expr) in Self::sides(self.lambda[self.field_row]).iter().zip([a, b, c]) {
                self.add_field_terms(expr, side);
            }
        }
        self.field_row += 1;
    }
}
