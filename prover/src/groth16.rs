//! The two-delta Groth16 prover; see `assay_verifier::proof` for the equation that a proof satisfies.
//!
//! Wires: public ones (constant, inputs, outputs, challenge `rho`), `R1` (fixed before the challenge), `R2` (the
//! inverses, and the wires of the rows over the field). With `K_i = beta A_i + alpha B_i + C_i` at `tau`:
//!
//! ```text
//! C1 = sum_(R1) w_i [K_i/delta1] + r1 [delta2]
//! A  = [alpha] + sum_row a_row [lambda_row] + r [delta2]
//! B  = [beta]  + sum_row b_row [lambda_row] + s [delta2]
//! C2 = sum_(R2) w_i [K_i/delta2] + [h Z/delta2] + s A + r B - r s [delta2] - r1 [delta1]
//! ```
//!
//! `a`, `b` are the rows of the constraint system at the witness, so the queries of `A` and `B` are the Lagrange
//! points themselves, the same for all wires. The quotient `h = (C - D)/2` ([`crate::fft`]) is taken from `C` on the
//! domain, where it is 1 on lookup rows, `m_t` on table rows and known on products and field rows, and from `D = A B` on
//! the coset. Rows over the field have full-width scalars on all sides; there are none unless a model commits to a port.

pub mod key;
pub mod prove;
mod resident;
pub mod setup;

use ark_bn254::Fr;
use ark_ff::PrimeField;

pub use key::{KeyError, ProvingKey};
pub use prove::Prover;

pub use crate::prover::{ProveError, draw_salts};
pub use setup::{Secret, setup};

/// Field elements from the operating system's randomness.
///
/// # Panics
/// If the operating system has no randomness to give: nothing secret could be made then.
fn random() -> Fr {
    Fr::from_le_bytes_mod_order(&uniform())
}

fn uniform() -> [u8; 64] {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
