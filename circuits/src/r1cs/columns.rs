//! Columns of the constraint matrices at a point, without the matrices.
//!
//! Given `lambda_row`, the Lagrange polynomials of the domain at `tau`, the column of wire `i` is
//! `A_i = sum_row A[row,i] lambda_row`, likewise `B_i`. Cells are sparse, so their rows are added as they come. An
//! accumulator is a linear combination of wires; its column is pushed back through the *transposed* layer, as a
//! gradient is, in `O(weights)` time and `O(activations)` memory.
//!
//! Accumulators occur on the B side only (a gate's `a` is a wire), lookups on the B side only, and `C` is 1 on lookup
//! rows and `m_t` on table rows, so `A` needs no push and `C` no walk.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Zero};

use super::{Family, Plan, System, cells};
use crate::ir::Graph;
use crate::linear::Taps;

/// Columns `A_i(tau)`, `B_i(tau)` of a group of wires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// A side.
    pub a: Fr,
    /// B side.
    pub b: Fr,
}

/// Columns of the public wires and of the private wires before the challenge (without multiplicities).
#[derive(Clone, Debug)]
pub struct Columns {
    /// The constant wire.
    pub one: Column,
    /// Inputs.
    pub inputs: Vec<Column>,
    /// Outputs, in wire order.
    pub outputs: Vec<Column>,
    /// Private wires.
    pub wires: Vec<Column>,
}

impl Columns {
    /// Evaluates all columns; `lambda` has an entry a row. `omit` leaves a family of constraints out: keys made so
    /// are unsound, which is what tests show with them.
    pub fn new(graph: &Graph, plan: &Plan, lambda: &[Fr], omit: Option<Family>) -> Self {
        let mut walk = Walk {
            lambda,
            omit,
            lookup: 0,
            gate: plan.first_gate(),
            columns: Self {
                one: Column::default(),
                inputs: Vec::with_capacity(plan.inputs),
                outputs: Vec::with_capacity(plan.outputs),
                wires: Vec::with_capacity(plan.wires),
            },
            accumulators: Vec::new(),
            layers: Vec::new(),
        };
        cells::walk(graph, plan.limb_bits, &mut walk);
        walk.push_back(graph);
        walk.columns
    }
}

#[derive(Clone, Copy, Debug)]
enum Var {
    Input(u32),
    Output(u32),
    Wire(u32),
    Accumulator(u32),
}

/// `constant + sum factor * var`.
#[derive(Clone, Debug)]
struct Combination {
    constant: i64,
    terms: Vec<(Var, i64)>,
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
    lookup: usize,
    gate: usize,
    columns: Columns,
    accumulators: Vec<Fr>,
    layers: Vec<Layer>,
}

impl Walk<'_> {
    fn add_b(&mut self, combination: &Combination, weight: Fr) {
        self.columns.one.b += weight * Fr::from(combination.constant);
        for &(var, factor) in &combination.terms {
            let value = if factor == 1 { weight } else { weight * Fr::from(factor) };
            match var {
                Var::Input(i) => self.columns.inputs[i as usize].b += value,
                Var::Output(i) => self.columns.outputs[i as usize].b += value,
                Var::Wire(i) => self.columns.wires[i as usize].b += value,
                Var::Accumulator(i) => self.accumulators[i as usize] += value,
            }
        }
    }

    fn push_back(&mut self, graph: &Graph) {
        while let Some(layer) = self.layers.pop() {
            let taps = graph.taps(&graph.nodes()[layer.node]).expect("linear operators have taps");
            let mut operands = vec![Fr::ZERO; taps.inputs()];
            for output in 0..taps.outputs() {
                let weight = self.accumulators[layer.first + output];
                if weight.is_zero() {
                    continue;
                }
                self.columns.one.b += weight * Fr::from(taps.bias(output));
                taps.row(output, |input, w| {
                    if w != 0 {
                        operands[input] += weight * Fr::from(w);
                    }
                });
            }
            for (combination, weight) in layer.operands.iter().zip(operands) {
                self.add_b(combination, weight);
            }
        }
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
        self.columns.inputs.push(Column::default());
        Var::Input(self.columns.inputs.len() as u32 - 1).into()
    }

    fn output(&mut self, _hint: i64) -> Combination {
        self.columns.outputs.push(Column::default());
        Var::Output(self.columns.outputs.len() as u32 - 1).into()
    }

    fn wire(&mut self, _hint: i64) -> Combination {
        self.columns.wires.push(Column::default());
        Var::Wire(self.columns.wires.len() as u32 - 1).into()
    }

    fn linear(&mut self, node: usize, taps: &Taps<'_>, operands: &[Combination]) -> Vec<Combination> {
        let first = self.accumulators.len();
        self.accumulators.resize(first + taps.outputs(), Fr::ZERO);
        self.layers.push(Layer { node, first, operands: operands.to_vec() });
        (first..first + taps.outputs()).map(|i| Var::Accumulator(i as u32).into()).collect()
    }

    fn lookup(&mut self, family: Family, expr: &Combination) {
        if self.omit != Some(family) {
            self.add_b(expr, self.lambda[self.lookup]);
        }
        self.lookup += 1;
    }

    fn gate(&mut self, family: Family, a: &Combination, b: &Combination) {
        if self.omit != Some(family) {
            let weight = self.lambda[self.gate];
            for &(var, factor) in &a.terms {
                let Var::Wire(wire) = var else { unreachable!("a gate's left side is a private wire") };
                self.columns.wires[wire as usize].a += weight * Fr::from(factor);
            }
            self.add_b(b, weight);
        }
        self.gate += 1;
    }
}
