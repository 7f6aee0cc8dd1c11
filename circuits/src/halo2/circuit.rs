//! Columns, gates and cells.
//!
//! Fixed: `active` (1 in rows `1..last`), `first` (row 0), `last`, `table`, `width` (`W`), `step` (`S`), `slope` (`S/W`),
//! `offset` (`O`), `quantises` (`Q`). With `y`, `r`, `e`, `d_j` the sums of their limbs, `m` the maximum, `g` the
//! instance, `c` the challenge:
//!
//! ```text
//! requantize        Q (m - S y - slope e (2y - W) - r - O) = 0
//! saturate          active e y (W - y) = 0
//! window            active d_0 .. d_(T-1) = 0
//! challenge         active (c - c_prev) = 0           first (c - g) = 0        active (c2 - c c) = 0
//! linear            active (h - h_prev c^T - sum_j c^j (m - d_j) + g (Q y + (1 - Q) m)) = 0
//!                   first h = 0                       last (h_prev - g) = 0
//! lookup            active (p_k - p_(k-1)) prod (c + q) = active sum of the products without one factor
//!                   first p = 0                       last p_prev = 0
//! ```
//!
//! A lookup column takes three of the queries `q`, the table first, with numerator `-multiplicity`; the column before the
//! first is the last one of the row before. Every gate has degree 5 at most, so the quotient has four pieces.
//!
//! `halo2_proofs` configures a type of circuit, not a value; the shape of the value at hand is passed beside it, in a
//! thread-local that is set for the length of one call.

use std::cell::Cell;

use ff::Field;
use halo2_proofs::circuit::{Layouter, Region, SimpleFloorPlanner, Value};
use halo2_proofs::dev::MockProver;
use halo2_proofs::plonk::{
    Advice, Circuit, Column, ConstraintSystem, Error, Expression, Fixed, Instance, ProvingKey, VerifyingKey,
    VirtualCells, create_proof, keygen_pk, keygen_vk,
};
use halo2_proofs::poly::Rotation;
use halo2_proofs::poly::commitment::Params;
use halo2_proofs::transcript::{Challenge255, TranscriptWrite};
use rand_core::Rng;

use crate::halo2::layout::Layout;
use crate::halo2::shape::{Family, LOOKUPS_PER_COLUMN, Lookup, Shape, Wire};
use crate::halo2::witness::{Second, Witness};
use crate::halo2::{EqAffine, Fp, integer};

thread_local! {
    static SHAPE: Cell<Shape> = const { Cell::new(Shape::LEAST) };
}

/// Runs something that configures circuits of this shape.
fn shaped<T>(shape: Shape, run: impl FnOnce() -> T) -> T {
    struct Restore(Shape);
    impl Drop for Restore {
        fn drop(&mut self) {
            SHAPE.set(self.0);
        }
    }
    let _restore = Restore(SHAPE.replace(shape));
    run()
}

/// Fixed columns of every circuit.
pub const FIXED_COLUMNS: usize = 9;

/// The circuit of a layout, with the cells that are known so far.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// What each row computes.
    pub layout: &'a Layout,
    /// The first phase; unknown when keys are made.
    pub witness: Option<&'a Witness>,
    /// The second phase; unknown until the first is committed to.
    pub second: Option<&'a Second>,
}

impl<'a> Rows<'a> {
    /// The circuit without a witness.
    pub fn blank(layout: &'a Layout) -> Self {
        Self { layout, witness: None, second: None }
    }

    /// The verifying key.
    pub fn verifying_key(&self, params: &Params<EqAffine>) -> Result<VerifyingKey<EqAffine>, Error> {
        shaped(self.layout.shape, || keygen_vk(params, self))
    }

    /// The proving key.
    pub fn proving_key(&self, params: &Params<EqAffine>) -> Result<ProvingKey<EqAffine>, Error> {
        let verifying = self.verifying_key(params)?;
        shaped(self.layout.shape, || keygen_pk(params, verifying, self))
    }

    /// Writes a proof to a transcript.
    pub fn prove(
        &self,
        params: &Params<EqAffine>,
        key: &ProvingKey<EqAffine>,
        instance: &[Fp],
        rng: impl Rng,
        transcript: &mut impl TranscriptWrite<EqAffine, Challenge255<EqAffine>>,
    ) -> Result<(), Error> {
        shaped(self.layout.shape, || create_proof(params, key, &[*self], &[&[instance]], rng, transcript))
    }

    /// Checks every constraint on its own.
    pub fn mock(&self, instance: Vec<Fp>) -> Result<MockProver<Fp>, Error> {
        shaped(self.layout.shape, || MockProver::run(self.layout.k, self, vec![instance]))
    }
}

/// Columns of a circuit.
#[derive(Clone, Debug)]
pub struct Config {
    shape: Shape,
    active: Column<Fixed>,
    first: Column<Fixed>,
    last: Column<Fixed>,
    table: Column<Fixed>,
    width: Column<Fixed>,
    step: Column<Fixed>,
    slope: Column<Fixed>,
    offset: Column<Fixed>,
    quantises: Column<Fixed>,
    instance: Column<Instance>,
    /// First phase, in the order of [`Shape::wires`].
    wires: Vec<Column<Advice>>,
    challenge: Column<Advice>,
    square: Option<Column<Advice>>,
    linear: Column<Advice>,
    lookups: Vec<Column<Advice>>,
}

type Expr = Expression<Fp>;

fn constant(value: i64) -> Expr {
    Expression::Constant(integer(value))
}

/// The values of a row as expressions.
struct Row<'m, 'c> {
    cells: &'m mut VirtualCells<'c, Fp>,
    config: &'m Config,
}

impl Row<'_, '_> {
    fn fixed(&mut self, column: Column<Fixed>) -> Expr {
        self.cells.query_fixed(column)
    }

    fn advice(&mut self, column: Column<Advice>) -> Expr {
        self.cells.query_advice(column, Rotation::cur())
    }

    fn before(&mut self, column: Column<Advice>) -> Expr {
        self.cells.query_advice(column, Rotation::prev())
    }

    fn instance(&mut self) -> Expr {
        self.cells.query_instance(self.config.instance, Rotation::cur())
    }

    fn wire(&mut self, wire: Wire) -> Expr {
        self.advice(self.config.wires[self.config.shape.column(wire)])
    }

    /// `sum_j 2^(bj) limb_j`, the first limb with `j = from`.
    fn sum(&mut self, limbs: impl Iterator<Item = Wire>, from: u32) -> Expr {
        let radix = Fp::from(1 << self.config.shape.limb_bits);
        limbs
            .zip(from..)
            .map(|(wire, limb)| self.wire(wire) * radix.pow_vartime([u64::from(limb)]))
            .reduce(|sum, term| sum + term)
            .unwrap_or_else(|| constant(0))
    }

    fn output(&mut self) -> Expr {
        self.sum((0..self.config.shape.output).map(Wire::Output), 0)
    }

    fn remainder(&mut self) -> Expr {
        self.sum((0..self.config.shape.remainder).map(Wire::Remainder), 0)
    }

    fn excess(&mut self) -> Expr {
        self.sum((0..self.config.shape.excess).map(Wire::Excess), 0)
    }

    fn distance(&mut self, tap: usize) -> Expr {
        let limbs = if self.config.shape.taps > 1 { self.config.shape.distance } else { 0 };
        self.sum((0..limbs).map(|limb| Wire::Distance(tap, limb)), 0)
    }

    /// `c^power` for a power of at most 4, of degree at most 2.
    fn power(&mut self, power: usize) -> Expr {
        let challenge = self.advice(self.config.challenge);
        let square = self.config.square.map(|square| self.advice(square));
        match (power, square) {
            (0, _) => constant(1),
            (1, _) => challenge,
            (2, Some(square)) => square,
            (3, Some(square)) => square * challenge,
            (4, Some(square)) => square.clone() * square,
            _ => challenge.clone() * challenge,
        }
    }

    fn lookup(&mut self, lookup: Lookup) -> Expr {
        let shape = self.config.shape;
        match lookup {
            Lookup::Cell(wire) => self.wire(wire),
            Lookup::OutputRest => {
                let complement = self.sum((1..shape.output).map(Wire::OutputComplement), 1);
                self.fixed(self.config.width) - self.output() - complement
            }
            Lookup::RemainderRest => {
                let complement = self.sum((1..shape.remainder).map(Wire::RemainderComplement), 1);
                self.fixed(self.config.step) - constant(1) - self.remainder() - complement
            }
        }
    }
}

impl Config {
    fn gate(
        &self,
        meta: &mut ConstraintSystem<Fp>,
        family: Family,
        build: impl FnOnce(&mut Row<'_, '_>) -> Expr,
    ) {
        if self.shape.has(family) {
            meta.create_gate(family.name(), |cells| {
                [(family.name(), build(&mut Row { cells, config: self }))]
            });
        }
    }

    fn gates(&self, meta: &mut ConstraintSystem<Fp>) {
        self.gate(meta, Family::Requantize, |row| {
            let [width, step, slope, offset] =
                [self.width, self.step, self.slope, self.offset].map(|column| row.fixed(column));
            let (y, e) = (row.output(), row.excess());
            let side = slope * e * (y.clone() * integer(2) - width);
            let value = step * y + side + row.remainder() + offset;
            row.fixed(self.quantises) * (row.wire(Wire::Maximum) - value)
        });
        if self.shape.excess > 0 {
            self.gate(meta, Family::Saturate, |row| {
                let y = row.output();
                row.fixed(self.active) * row.excess() * y.clone() * (row.fixed(self.width) - y)
            });
        }
        if self.shape.taps > 1 {
            self.gate(meta, Family::Window, |row| {
                (0..self.shape.taps).fold(row.fixed(self.active), |product, tap| product * row.distance(tap))
            });
        }
        self.challenge_gates(meta);
        self.linear_gates(meta);
        self.lookup_gates(meta);
    }

    fn challenge_gates(&self, meta: &mut ConstraintSystem<Fp>) {
        self.gate(meta, Family::Challenge, |row| {
            row.fixed(self.active) * (row.advice(self.challenge) - row.before(self.challenge))
        });
        self.gate(meta, Family::ChallengeStart, |row| {
            row.fixed(self.first) * (row.advice(self.challenge) - row.instance())
        });
        if let Some(square) = self.square {
            self.gate(meta, Family::ChallengeSquare, |row| {
                let challenge = row.advice(self.challenge);
                row.fixed(self.active) * (row.advice(square) - challenge.clone() * challenge)
            });
        }
    }

    fn linear_gates(&self, meta: &mut ConstraintSystem<Fp>) {
        self.gate(meta, Family::Linear, |row| {
            let quantises = row.fixed(self.quantises);
            let maximum = row.wire(Wire::Maximum);
            let value = quantises.clone() * row.output() + (constant(1) - quantises) * maximum.clone();
            let carried = row.before(self.linear) * row.power(self.shape.taps);
            let terms = (0..self.shape.taps)
                .fold(carried, |sum, tap| sum + row.power(tap) * (maximum.clone() - row.distance(tap)));
            row.fixed(self.active) * (row.advice(self.linear) - terms + row.instance() * value)
        });
        self.gate(meta, Family::LinearStart, |row| row.fixed(self.first) * row.advice(self.linear));
        self.gate(meta, Family::LinearEnd, |row| {
            row.fixed(self.last) * (row.before(self.linear) - row.instance())
        });
    }

    fn lookup_gates(&self, meta: &mut ConstraintSystem<Fp>) {
        let end = self.lookups[self.lookups.len() - 1];
        if self.shape.has(Family::Lookup) {
            meta.create_gate(Family::Lookup.name(), |cells| {
                let row = &mut Row { cells, config: self };
                let active = row.fixed(self.active);
                let challenge = row.advice(self.challenge);
                let multiplicity = row.wire(Wire::Multiplicity);
                let mut terms = vec![(-multiplicity, challenge.clone() + row.fixed(self.table))];
                for lookup in self.shape.lookups() {
                    terms.push((constant(1), challenge.clone() + row.lookup(lookup)));
                }
                let mut before = row.before(end);
                let mut constraints = Vec::new();
                for (column, terms) in self.lookups.iter().zip(terms.chunks(LOOKUPS_PER_COLUMN)) {
                    let sum = row.advice(*column);
                    let without = |skip: Option<usize>| {
                        let kept = terms.iter().enumerate().filter(|(at, _)| Some(*at) != skip);
                        kept.fold(constant(1), |product, (_, (_, factor))| product * factor.clone())
                    };
                    let added = terms.iter().enumerate().fold(constant(0), |sum, (at, (numerator, _))| {
                        sum + numerator.clone() * without(Some(at))
                    });
                    let difference = (sum.clone() - before) * without(None) - added;
                    constraints.push((Family::Lookup.name(), active.clone() * difference));
                    before = sum;
                }
                constraints
            });
        }
        self.gate(meta, Family::LookupStart, |row| row.fixed(self.first) * row.advice(end));
        self.gate(meta, Family::LookupEnd, |row| row.fixed(self.last) * row.before(end));
    }
}

impl Circuit<Fp> for Rows<'_> {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;

    fn without_witnesses(&self) -> Self {
        Self::blank(self.layout)
    }

    fn configure(meta: &mut ConstraintSystem<Fp>) -> Config {
        let shape = SHAPE.get();
        // The columns of the first phase come first: a proof begins with the commitments to them.
        let wires = (0..shape.first_phase()).map(|_| meta.advice_column()).collect();
        let config = Config {
            shape,
            active: meta.fixed_column(),
            first: meta.fixed_column(),
            last: meta.fixed_column(),
            table: meta.fixed_column(),
            width: meta.fixed_column(),
            step: meta.fixed_column(),
            slope: meta.fixed_column(),
            offset: meta.fixed_column(),
            quantises: meta.fixed_column(),
            instance: meta.instance_column(),
            wires,
            challenge: meta.advice_column(),
            square: shape.squares().then(|| meta.advice_column()),
            linear: meta.advice_column(),
            lookups: (0..shape.lookup_columns()).map(|_| meta.advice_column()).collect(),
        };
        config.gates(meta);
        config
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fp>) -> Result<(), Error> {
        if config.shape != self.layout.shape {
            return Err(Error::Synthesis);
        }
        layouter.assign_region(
            || "rows",
            |mut region| {
                self.fix(&config, &mut region)?;
                self.first_phase(&config, &mut region)?;
                self.second_phase(&config, &mut region)
            },
        )
    }
}

impl Rows<'_> {
    fn fix(&self, config: &Config, region: &mut Region<'_, Fp>) -> Result<(), Error> {
        let layout = self.layout;
        let mut slopes = std::collections::BTreeMap::new();
        for (row, constants) in layout.constants().iter().enumerate() {
            let active = i64::from(row > 0 && row < layout.last);
            let table = if active == 1 && row <= layout.shape.table() { row as i64 - 1 } else { 0 };
            let slope = *slopes.entry((constants.step, constants.width)).or_insert_with(|| {
                let inverse = Option::<Fp>::from(integer(constants.width).invert());
                inverse.map_or(Fp::ZERO, |inverse| inverse * integer(constants.step))
            });
            let cells = [
                (config.active, integer(active)),
                (config.first, integer(i64::from(row == 0))),
                (config.last, integer(i64::from(row == layout.last))),
                (config.table, integer(table)),
                (config.width, integer(constants.width)),
                (config.step, integer(constants.step)),
                (config.slope, slope),
                (config.offset, integer(constants.offset)),
                (config.quantises, integer(constants.quantises.into())),
            ];
            for (column, value) in cells {
                region.assign_fixed(|| "", column, row, || Value::known(value))?;
            }
        }
        Ok(())
    }

    fn first_phase(&self, config: &Config, region: &mut Region<'_, Fp>) -> Result<(), Error> {
        for (wire, &column) in config.wires.iter().enumerate() {
            for row in 0..=self.layout.last {
                let value = || {
                    let cell = self.witness.and_then(|witness| witness.columns.get(wire)?.get(row));
                    cell.map_or(Value::unknown(), |&value| Value::known(integer(value)))
                };
                region.assign_advice(|| "", column, row, value)?;
            }
        }
        Ok(())
    }

    /// Without a second phase its cells are zeros where the first phase is known, so that it can be committed to.
    fn second_phase(&self, config: &Config, region: &mut Region<'_, Fp>) -> Result<(), Error> {
        let mut assign = |column: Column<Advice>, value: &dyn Fn(&Second, usize) -> Fp| {
            for row in 0..=self.layout.last {
                let cell = || match (self.witness, self.second) {
                    (_, Some(second)) => Value::known(value(second, row)),
                    (Some(_), None) => Value::known(Fp::ZERO),
                    (None, None) => Value::unknown(),
                };
                region.assign_advice(|| "", column, row, cell)?;
            }
            Ok::<(), Error>(())
        };
        assign(config.challenge, &|second, row| second.challenge[row])?;
        if let Some(square) = config.square {
            assign(square, &|second, row| second.square[row])?;
        }
        assign(config.linear, &|second, row| second.linear[row])?;
        for (at, &column) in config.lookups.iter().enumerate() {
            assign(column, &|second, row| second.lookups[at][row])?;
        }
        Ok(())
    }
}
