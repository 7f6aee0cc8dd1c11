//! Rows over the whole field: the hash of a commitment ([`crate::commitment`]).
//!
//! An S-box `x^5` takes three rows, `x x = x2`, `x2 x2 = x4`, `x4 x = y`; constants and matrix are linear combinations. The
//! last row of a commitment is `digest * 1 = commitment`. The salt is a private wire without a constraint of its own.
//!
//! As in [`super::cells`], one walk describes the rows to whatever implements [`FieldSystem`].

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};

use super::Family;
use crate::commitment::{self, FULL_ROUNDS, PARTIAL_ROUNDS, RATE};
use crate::ir::{Port, QuantParams};

/// State of the permutation.
const WIDTH: usize = RATE + 1;
const S_BOXES: usize = FULL_ROUNDS * WIDTH + PARTIAL_ROUNDS;

/// A port's values that a commitment of the statement is to.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed<E> {
    /// Type of the values.
    pub quant: QuantParams,
    /// The values.
    pub values: Vec<E>,
}

impl<E: Clone> Committed<E> {
    /// The values of a port.
    pub fn new(port: &Port, values: &[E]) -> Self {
        Self { quant: port.quant, values: values.to_vec() }
    }
}

/// What the walk talks to.
pub trait FieldSystem {
    /// A combination of the wires over integers.
    type Integer;
    /// A linear combination of wires.
    type Expr: Clone;

    /// A constant.
    fn constant(&self, value: Fr) -> Self::Expr;
    /// An integer combination as one over the field.
    fn lift(&self, integer: &Self::Integer) -> Self::Expr;
    /// `sum += factor * term`.
    fn add(&self, sum: &mut Self::Expr, factor: Fr, term: &Self::Expr);
    /// The value where values are known, else 0.
    fn value(&self, expr: &Self::Expr) -> Fr;
    /// A new private wire.
    fn wire(&mut self, hint: Fr) -> Self::Expr;
    /// The next commitment of the statement.
    fn commitment(&mut self) -> Self::Expr;
    /// `a * b = c`.
    fn row(&mut self, family: Family, a: &Self::Expr, b: &Self::Expr, c: &Self::Expr);
}

/// Rows of a commitment to so many words.
pub fn rows(words: usize) -> usize {
    3 * S_BOXES * permutations(words) + 1
}

/// Private wires of a commitment to so many words: the S-boxes' and the salt.
pub fn wires(words: usize) -> usize {
    3 * S_BOXES * permutations(words) + 1
}

fn permutations(words: usize) -> usize {
    (1 + words).div_ceil(RATE)
}

/// Walks all commitments; `salts` are hints.
pub fn walk<S: FieldSystem>(committed: &[Committed<S::Integer>], salts: &[Fr], system: &mut S) {
    for (index, port) in committed.iter().enumerate() {
        let salt = system.wire(salts.get(index).copied().unwrap_or(Fr::ZERO));
        let mut message = vec![salt];
        message.extend(words(port, system));
        let digest = sponge(&message, system);
        let (one, commitment) = (system.constant(Fr::ONE), system.commitment());
        system.row(Family::Commitment, &digest, &one, &commitment);
    }
}

fn words<S: FieldSystem>(port: &Committed<S::Integer>, system: &S) -> Vec<S::Expr> {
    let step = Fr::from(1u64 << commitment::value_bits(&port.quant));
    let chunks = port.values.chunks(commitment::values_a_word(&port.quant));
    let word = |values: &[S::Integer]| {
        let (mut sum, mut factor) = (system.constant(Fr::ZERO), Fr::ONE);
        for value in values {
            system.add(&mut sum, factor, &system.lift(value));
            system.add(&mut sum, factor, &system.constant(Fr::from(-i64::from(port.quant.lo))));
            factor *= step;
        }
        sum
    };
    chunks.map(word).collect()
}

/// The sponge: blocks are added to the elements after the first, the digest is the second.
fn sponge<S: FieldSystem>(message: &[S::Expr], system: &mut S) -> S::Expr {
    let mut state = vec![system.constant(Fr::ZERO); WIDTH];
    for block in message.chunks(RATE) {
        for (element, word) in state[1..].iter_mut().zip(block) {
            system.add(element, Fr::ONE, word);
        }
        state = permutation(state, system);
    }
    state[1].clone()
}

fn permutation<S: FieldSystem>(mut state: Vec<S::Expr>, system: &mut S) -> Vec<S::Expr> {
    let parameters = commitment::parameters();
    let half = FULL_ROUNDS / 2;
    for (round, constants) in parameters.ark.iter().enumerate() {
        for (element, constant) in state.iter_mut().zip(constants) {
            let constant = system.constant(*constant);
            system.add(element, Fr::ONE, &constant);
        }
        let boxes = if (half..half + PARTIAL_ROUNDS).contains(&round) { 1 } else { WIDTH };
        for element in &mut state[..boxes] {
            *element = s_box(element, system);
        }
        let mixed = |row: &Vec<Fr>| {
            let mut sum = system.constant(Fr::ZERO);
            row.iter().zip(&state).for_each(|(factor, element)| system.add(&mut sum, *factor, element));
            sum
        };
        state = parameters.mds.iter().map(mixed).collect();
    }
    state
}

fn s_box<S: FieldSystem>(x: &S::Expr, system: &mut S) -> S::Expr {
    let value = system.value(x);
    let square = value.square();
    let fourth = square.square();
    let x2 = system.wire(square);
    let x4 = system.wire(fourth);
    let y = system.wire(fourth * value);
    system.row(Family::Commitment, x, x, &x2);
    system.row(Family::Commitment, &x2, &x2, &x4);
    system.row(Family::Commitment, &x4, x, &y);
    y
}

/// Values of all wires and rows.
#[derive(Clone, Debug, Default)]
pub struct FieldWitness {
    /// Private wires.
    pub wires: Vec<Fr>,
    /// `a`, `b`, `c` of every row.
    pub rows: Vec<[Fr; 3]>,
    commitments: std::vec::IntoIter<Fr>,
    omit: Option<Family>,
}

impl FieldWitness {
    /// The assignment for values, salts, and the commitments of the statement, which an honest prover computed.
    pub fn new(
        committed: &[Committed<i64>],
        salts: &[Fr],
        commitments: Vec<Fr>,
        omit: Option<Family>,
    ) -> Self {
        let mut witness = Self { commitments: commitments.into_iter(), omit, ..Self::default() };
        walk(committed, salts, &mut witness);
        witness
    }
}

impl FieldSystem for FieldWitness {
    type Integer = i64;
    type Expr = Fr;

    fn constant(&self, value: Fr) -> Fr {
        value
    }

    fn lift(&self, integer: &i64) -> Fr {
        Fr::from(*integer)
    }

    fn add(&self, sum: &mut Fr, factor: Fr, term: &Fr) {
        *sum += factor * term;
    }

    fn value(&self, expr: &Fr) -> Fr {
        *expr
    }

    fn wire(&mut self, hint: Fr) -> Fr {
        self.wires.push(hint);
        hint
    }

    fn commitment(&mut self) -> Fr {
        self.commitments.next().unwrap_or(Fr::ZERO)
    }

    fn row(&mut self, family: Family, a: &Fr, b: &Fr, c: &Fr) {
        let zero = [Fr::ZERO; 3];
        self.rows.push(if self.omit == Some(family) { zero } else { [*a, *b, *c] });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::{Salt, commit};

    #[test]
    fn the_walk_computes_the_hash_of_the_library() {
        let quant = QuantParams { scale: 1.0, lo: -8, hi: 100 };
        for count in [1, 35, 36, 7 * 36, 8 * 36, 20 * 36 + 1] {
            let values: Vec<i32> = (0..count).map(|i| i * 7 % 109 - 8).collect();
            let salt = Salt::from_uniform(&[count as u8; 64]);
            let expected = commit(&quant, &values, &salt).element().expect("canonical");
            let committed = Committed { quant, values: values.iter().map(|&v| i64::from(v)).collect() };
            let witness = FieldWitness::new(&[committed], &[salt.element()], vec![expected], None);
            assert!(witness.rows.iter().all(|[a, b, c]| a * b == *c), "{count} values");
            let words = commitment::words(&quant, count as usize);
            assert_eq!((witness.rows.len(), witness.wires.len()), (rows(words), wires(words)));
            assert!(
                witness.wires.contains(&expected)
                    || witness.rows.last().is_some_and(|row| row[0] == expected)
            );
        }
    }
}
