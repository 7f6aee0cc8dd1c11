//! The values of all cells: limbs from the integers that inference left, then, with the challenge, the sums.
//!
//! First phase, for the maximum `x` of the taps of a row that requantises:
//!
//! ```text
//! m = x - least x    d_j = x - t_j    u = floor((x + 2^(f-1)) / 2^f)    y = clamp(u, lo, hi)    e = |u - y|
//! ```
//!
//! Second phase, row by row: `h' = h r^T + sum_j r^j (m - d_j) - g y` and `p' = p - m_t/(r + t) + sum 1/(r + q)`.

use ff::{BatchInvert, Field};

use crate::halo2::layout::{Block, Layout, Tap};
use crate::halo2::shape::{LOOKUPS_PER_COLUMN, Lookup, Wire};
use crate::halo2::{Fp, integer};
use crate::interpret::Trace;
use crate::ir::{Requantize, quotient};

/// What the rows of a layout have in fixed columns, the same for every inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constants {
    /// `hi - lo`; 0 in a row that does not requantise.
    pub width: i64,
    /// `2^f`; 1 in a row that does not requantise.
    pub step: i64,
    /// `2^f lo - 2^(f-1) - least x`.
    pub offset: i64,
    /// Whether the row requantises.
    pub quantises: bool,
}

impl Constants {
    /// Of a row that does not requantise.
    pub const NONE: Self = Self { width: 0, step: 1, offset: 0, quantises: false };

    fn of(block: &Block, rule: &Requantize) -> Self {
        let step = 1i64 << rule.shift;
        let (lo, hi) = (i64::from(rule.lo), i64::from(rule.hi));
        Self { width: hi - lo, step, offset: step * lo - step / 2 - block.range.lo, quantises: true }
    }
}

impl Layout {
    /// The constants of every row up to the last.
    pub fn constants(&self) -> Vec<Constants> {
        let mut constants = vec![Constants::NONE; self.last + 1];
        for block in &self.blocks {
            if let Some(rule) = &block.rule {
                (0..block.elements).for_each(|element| {
                    constants[block.row_of(element)] = Constants::of(block, rule);
                });
            }
        }
        constants
    }
}

/// Values of the first phase: integers, a column a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// `columns[wire][row]`, rows `0..=last`.
    pub columns: Vec<Vec<i64>>,
}

impl Witness {
    /// The cells of an inference.
    pub fn new(layout: &Layout, trace: &Trace) -> Self {
        let shape = &layout.shape;
        let mut witness = Self { columns: vec![vec![0; layout.last + 1]; shape.first_phase()] };
        for block in &layout.blocks {
            witness.fill(layout, block, trace.tensor(block.operand));
        }
        witness.count(layout);
        witness
    }

    /// The value of a cell.
    pub fn get(&self, layout: &Layout, wire: Wire, row: usize) -> i64 {
        self.columns[layout.shape.column(wire)][row]
    }

    /// Puts a value in a cell, for tests of what the circuit refuses. [`Witness::count`] makes the multiplicities follow.
    pub fn set(&mut self, layout: &Layout, wire: Wire, row: usize, value: i64) {
        self.columns[layout.shape.column(wire)][row] = value;
    }

    /// Counts how often every row of the table is looked up. A value that is in no row is not counted.
    pub fn count(&mut self, layout: &Layout) {
        let constants = layout.constants();
        let mut counts = vec![0i64; layout.shape.table()];
        let lookups = layout.shape.lookups();
        for (row, constants) in constants.iter().enumerate().take(layout.last).skip(1) {
            for &lookup in &lookups {
                let value = self.lookup(layout, lookup, row, constants);
                if let Some(count) = usize::try_from(value).ok().and_then(|value| counts.get_mut(value)) {
                    *count += 1;
                }
            }
        }
        let column = &mut self.columns[layout.shape.column(Wire::Multiplicity)];
        column[1..=counts.len()].copy_from_slice(&counts);
    }

    fn fill(&mut self, layout: &Layout, block: &Block, x: &[i64]) {
        let mut maximum = i64::MIN;
        block.for_each(layout.shape.taps, |unit| {
            let values: Vec<i64> = unit
                .taps
                .iter()
                .map(|tap| match tap {
                    Tap::Element(element) => x[*element],
                    Tap::Previous => maximum,
                })
                .collect();
            maximum = values.iter().copied().fold(i64::MIN, i64::max);
            self.set(layout, Wire::Maximum, unit.row, maximum - block.range.lo);
            if layout.shape.taps > 1 {
                for (tap, value) in values.iter().enumerate() {
                    let wire = |limb| Wire::Distance(tap, limb);
                    self.split(layout, unit.row, maximum - value, 0..layout.shape.distance, wire);
                }
            }
            if let (true, Some(rule)) = (unit.last, &block.rule) {
                self.requantize(layout, unit.row, maximum, rule);
            }
        });
    }

    fn requantize(&mut self, layout: &Layout, row: usize, x: i64, rule: &Requantize) {
        let (lo, hi) = (i64::from(rule.lo), i64::from(rule.hi));
        let step = 1i64 << rule.shift;
        let u = quotient(x, rule.shift);
        let y = u.clamp(lo, hi);
        let remainder = x + step / 2 - u * step;
        self.put_output(layout, row, y - lo, hi - lo);
        self.put_remainder(layout, row, remainder, step - 1);
        self.put_excess(layout, row, (u - y).abs());
    }

    /// Puts `y - lo` and its complement in their cells.
    pub fn put_output(&mut self, layout: &Layout, row: usize, value: i64, width: i64) {
        let limbs = layout.shape.output;
        self.split(layout, row, value, 0..limbs, Wire::Output);
        self.split(layout, row, width - value, 1..limbs, Wire::OutputComplement);
    }

    /// Puts a remainder and its complement in their cells.
    pub fn put_remainder(&mut self, layout: &Layout, row: usize, value: i64, greatest: i64) {
        let limbs = layout.shape.remainder;
        self.split(layout, row, value, 0..limbs, Wire::Remainder);
        self.split(layout, row, greatest - value, 1..limbs, Wire::RemainderComplement);
    }

    /// Puts an excess in its cells.
    pub fn put_excess(&mut self, layout: &Layout, row: usize, value: i64) {
        self.split(layout, row, value, 0..layout.shape.excess, Wire::Excess);
    }

    /// Puts the distance of a tap from the maximum in its cells.
    pub fn put_distance(&mut self, layout: &Layout, row: usize, tap: usize, value: i64) {
        self.split(layout, row, value, 0..layout.shape.distance, |limb| Wire::Distance(tap, limb));
    }

    /// The top limb keeps every higher bit, so that a value out of range shows in it.
    fn split(
        &mut self,
        layout: &Layout,
        row: usize,
        value: i64,
        limbs: std::ops::Range<usize>,
        wire: impl Fn(usize) -> Wire,
    ) {
        let bits = layout.shape.limb_bits;
        for limb in limbs.clone() {
            let shifted = value >> (bits * limb as u32).min(63);
            let top = limb + 1 == limbs.end;
            let part = if top { shifted } else { shifted & ((1 << bits) - 1) };
            self.set(layout, wire(limb), row, part);
        }
    }

    fn sum(&self, layout: &Layout, row: usize, limbs: impl Iterator<Item = Wire>, from: u32) -> i64 {
        let bits = layout.shape.limb_bits;
        let weighted = limbs.zip(from..).map(|(wire, limb)| {
            self.get(layout, wire, row).wrapping_mul(1i64.checked_shl(bits * limb).unwrap_or(0))
        });
        weighted.fold(0, i64::wrapping_add)
    }

    /// `y - lo`.
    pub fn output(&self, layout: &Layout, row: usize) -> i64 {
        self.sum(layout, row, (0..layout.shape.output).map(Wire::Output), 0)
    }

    fn lookup(&self, layout: &Layout, lookup: Lookup, row: usize, constants: &Constants) -> i64 {
        let shape = &layout.shape;
        match lookup {
            Lookup::Cell(wire) => self.get(layout, wire, row),
            Lookup::OutputRest => {
                let complement = (1..shape.output).map(Wire::OutputComplement);
                constants.width - self.output(layout, row) - self.sum(layout, row, complement, 1)
            }
            Lookup::RemainderRest => {
                let value = self.sum(layout, row, (0..shape.remainder).map(Wire::Remainder), 0);
                let complement = (1..shape.remainder).map(Wire::RemainderComplement);
                constants.step - 1 - value - self.sum(layout, row, complement, 1)
            }
        }
    }
}

/// Values of the second phase, which follow from the first, the challenge and the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second {
    /// The challenge, in every row.
    pub challenge: Vec<Fp>,
    /// Its square, in every row.
    pub square: Vec<Fp>,
    /// `h` of every row.
    pub linear: Vec<Fp>,
    /// `p` of every row, a column for every few lookups.
    pub lookups: Vec<Vec<Fp>>,
}

impl Second {
    /// The sums over an instance, whose first value is the challenge. `None` where the challenge meets a row of the
    /// table, which has a chance of `2^-240`.
    pub fn new(layout: &Layout, witness: &Witness, instance: &[Fp]) -> Option<Self> {
        let challenge = *instance.first()?;
        let constants = layout.constants();
        let linear = linear(layout, witness, &constants, challenge, instance);
        let lookups = lookups(layout, witness, &constants, challenge)?;
        let column = |value| vec![value; layout.last + 1];
        Some(Self { challenge: column(challenge), square: column(challenge.square()), linear, lookups })
    }
}

fn linear(
    layout: &Layout,
    witness: &Witness,
    constants: &[Constants],
    challenge: Fp,
    instance: &[Fp],
) -> Vec<Fp> {
    let shape = &layout.shape;
    let powers: Vec<Fp> =
        std::iter::successors(Some(Fp::ONE), |power| Some(power * challenge)).take(shape.taps + 1).collect();
    let mut sums = vec![Fp::ZERO; layout.last + 1];
    let mut sum = Fp::ZERO;
    for (row, constants) in constants.iter().enumerate().take(layout.last).skip(1) {
        sum *= powers[shape.taps];
        let maximum = witness.get(layout, Wire::Maximum, row);
        if row <= layout.units {
            for (tap, power) in powers[..shape.taps].iter().enumerate() {
                let limbs = if shape.taps > 1 { shape.distance } else { 0 };
                let distance = (0..limbs).map(|limb| Wire::Distance(tap, limb));
                sum += *power * integer(maximum.wrapping_sub(witness.sum(layout, row, distance, 0)));
            }
            let value = if constants.quantises { witness.output(layout, row) } else { maximum };
            sum -= instance.get(row).copied().unwrap_or(Fp::ZERO) * integer(value);
        }
        sums[row] = sum;
    }
    sums
}

fn lookups(
    layout: &Layout,
    witness: &Witness,
    constants: &[Constants],
    challenge: Fp,
) -> Option<Vec<Vec<Fp>>> {
    let shape = &layout.shape;
    let mut inverses: Vec<Fp> = (0..shape.table() as u64).map(|t| challenge + Fp::from(t)).collect();
    if inverses.contains(&Fp::ZERO) {
        return None;
    }
    inverses.iter_mut().batch_invert();
    let inverse = |value: i64| {
        let known = usize::try_from(value).ok().and_then(|value| inverses.get(value));
        // A value in no row of the table occurs in forged witnesses only.
        known.copied().unwrap_or_else(|| (challenge + integer(value)).invert().unwrap_or(Fp::ZERO))
    };
    let order = shape.lookups();
    let mut columns = vec![vec![Fp::ZERO; layout.last + 1]; shape.lookup_columns()];
    let mut sum = Fp::ZERO;
    // Left-over rows look up nothing but zeros.
    let idle = inverse(0);
    for (row, constants) in constants.iter().enumerate().take(layout.last).skip(1) {
        let mut slot = |at: usize, term: Fp| {
            sum += term;
            if (at + 1).is_multiple_of(LOOKUPS_PER_COLUMN) || at == order.len() {
                columns[at / LOOKUPS_PER_COLUMN][row] = sum;
            }
        };
        let count = witness.get(layout, Wire::Multiplicity, row);
        let table = inverses.get(row - 1).copied().unwrap_or(idle);
        slot(0, -(table * integer(count)));
        for (at, &lookup) in order.iter().enumerate() {
            slot(at + 1, inverse(witness.lookup(layout, lookup, row, constants)));
        }
    }
    Some(columns)
}
