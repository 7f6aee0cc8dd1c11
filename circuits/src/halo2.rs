//! The graph as a PLONKish circuit for `halo2_proofs` over Pasta, with one kind of row.
//!
//! ```text
//! row:   y = requantise(max(t_0, .., t_(T-1)))          t_j linear in earlier rows and in the public inputs
//! ```
//!
//! Cells of a row are limbs, so small and never negative; every gate looks at one row only. What joins rows is linear,
//! all of it: layers, windows, outputs. One equation checks every linear relation at once, over a challenge `r` that
//! is drawn when the limbs are committed to:
//!
//! ```text
//! sum_(i,j) r^(j - T i) (t_(i,j) - m_i + d_(i,j)) = 0
//! ```
//!
//! Its terms `m_i - d_(i,j)` are summed in the circuit, its terms in `t` by whoever knows the weights: their share is
//! `sum_i g_i y_i + c`, and `g`, a pass of the powers of `r` back through the transposed layers ([`public`]), is an
//! instance column. So weights and multiply-accumulates cost no cell, and no copy constraint exists. The crate's
//! README, section 4, derives it.

pub mod circuit;
pub mod layout;
pub mod public;
pub mod shape;
pub mod witness;

pub use halo2_proofs;
pub use halo2_proofs::pasta::{EqAffine, Fp};
pub use layout::Layout;
pub use shape::{Family, Shape, Wire};
pub use witness::{Second, Witness};

/// An integer as a field element.
pub fn integer(value: i64) -> Fp {
    let magnitude = Fp::from(value.unsigned_abs());
    if value < 0 { -magnitude } else { magnitude }
}
