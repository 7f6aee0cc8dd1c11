//! Evaluation domains of size `2^k` or `3 * 2^k` in BN254's scalar field.

use ark_bn254::Fr;
use ark_ff::{FftField, Field, Zero, batch_inversion};

/// Largest domain; every size up to it, and its double, divides the multiplicative group's order.
pub const MAX_SIZE: usize = 1 << 27;

/// Least size of the form `2^k` or `3 * 2^k` that is at least `rows`.
///
/// # Panics
/// If `rows` exceeds [`MAX_SIZE`]: models are refused long before.
pub fn size_for(rows: usize) -> usize {
    assert!(rows <= MAX_SIZE, "the constraint system exceeds the largest domain");
    let power = rows.next_power_of_two().max(4);
    let three_quarters = power / 4 * 3;
    if three_quarters >= rows && three_quarters >= 6 { three_quarters } else { power }
}

/// A primitive `size`-th root of unity.
pub fn root(size: usize) -> Fr {
    Fr::get_root_of_unity(size as u64).expect("2^k and 3 * 2^k up to the limit divide the group's order")
}

/// The Lagrange polynomials of the coset `shift * <omega>` of `size` points at `tau`:
/// `lambda_j = (tau^n - shift^n) shift w^j / (n shift^n (tau - shift w^j))`.
///
/// `None` if `tau` lies in the coset.
pub fn lagrange(size: usize, shift: Fr, tau: Fr) -> Option<Vec<Fr>> {
    let (omega, n) = (root(size), Fr::from(size as u64));
    let shift_n = shift.pow([size as u64]);
    let mut points = Vec::with_capacity(size);
    let mut point = shift;
    for _ in 0..size {
        points.push(point);
        point *= omega;
    }
    let mut inverses: Vec<Fr> = points.iter().map(|&x| (tau - x) * n * shift_n).collect();
    if inverses.iter().any(Fr::is_zero) {
        return None;
    }
    batch_inversion(&mut inverses);
    let vanishing = tau.pow([size as u64]) - shift_n;
    Some(points.iter().zip(inverses).map(|(&x, inverse)| vanishing * x * inverse).collect())
}
