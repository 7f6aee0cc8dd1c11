//! From the values of a polynomial on the domain `H` of `n` points to its values on the coset `g H` with `g^n = -1`.
//!
//! With `P = A B` of degree below `2n`, `P mod (X^n - 1) = C` on `H` and `P mod (X^n + 1) = D` on the coset, so the
//! quotient of `A B - C` by `X^n - 1` is `(C - D) / 2`: two such transforms are all the FFT work of a proof, four
//! FFTs instead of seven.
//!
//! Sizes are `2^k` or `3 * 2^k`; for the latter one radix-3 step joins three transforms of size `2^k`:
//! `X[j + t m] = sum_r w^(rj) z^(rt) F_r[j]`, `z = w^m`, `F_r` the transform of the coefficients `r mod 3`.

use ark_bn254::Fr;
use ark_ff::Field;
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use assay_circuits::domain;
use rayon::prelude::*;

/// Roots of unity of one size, prepared once a key.
#[derive(Debug)]
pub struct Coset {
    size: usize,
    radix2: Radix2EvaluationDomain<Fr>,
    /// `g^i / n`: from unscaled coefficients to those of `P(gX)`.
    shift: Vec<Fr>,
    /// Powers of the root of unity, for the radix-3 step; empty if there is none.
    roots: Vec<Fr>,
}

impl Coset {
    /// Prepares a size of the form `2^k` or `3 * 2^k`.
    pub fn new(size: usize) -> Self {
        let power = size >> size.trailing_zeros();
        assert!(power == 1 || power == 3, "domain sizes are 2^k or 3 * 2^k");
        let radix2 =
            Radix2EvaluationDomain::new(size / power).expect("the field has roots of unity of this order");
        let omega = domain::root(size);
        assert_eq!(omega.pow([power as u64]), radix2.group_gen, "roots of the two sizes belong together");
        let n_inverse = Fr::from(size as u64).inverse().expect("the size is not 0 in the field");
        let roots = if power == 1 { Vec::new() } else { powers(Fr::ONE, omega, size) };
        Self { size, radix2, shift: powers(n_inverse, Self::shift(size), size), roots }
    }

    /// The coset's shift `g`, `g^n = -1`.
    pub fn shift(size: usize) -> Fr {
        domain::root(2 * size)
    }

    /// The powers of the root of unity, and `g^i / n`, one a point each: what a device needs for the same.
    pub fn tables(&self) -> (Vec<Fr>, &[Fr]) {
        (powers(Fr::ONE, domain::root(self.size), self.size), &self.shift)
    }

    /// Values on `H` to values on `g H`, in place.
    pub fn extend(&self, values: &mut Vec<Fr>) {
        // The inverse transform is the transform with the order of the points reversed, over n; the division is in
        // `shift`.
        self.transform(values);
        values[1..].reverse();
        values.par_iter_mut().zip(&self.shift).with_min_len(1024).for_each(|(value, shift)| *value *= shift);
        self.transform(values);
    }

    fn transform(&self, values: &mut Vec<Fr>) {
        debug_assert_eq!(values.len(), self.size);
        if self.roots.is_empty() {
            self.radix2.fft_in_place(values);
            return;
        }
        let m = self.size / 3;
        let mut parts: [Vec<Fr>; 3] =
            std::array::from_fn(|r| values.iter().skip(r).step_by(3).copied().collect());
        parts.par_iter_mut().for_each(|part| self.radix2.fft_in_place(part));
        let (z1, z2) = (self.roots[m], self.roots[2 * m]);
        let [f0, f1, f2] = &parts;
        let (first, rest) = values.split_at_mut(m);
        let (second, third) = rest.split_at_mut(m);
        first.par_iter_mut().zip(second).zip(third).enumerate().with_min_len(1024).for_each(
            |(j, ((x, y), z))| {
                let a = f0[j];
                let b = f1[j] * self.roots[j];
                let c = f2[j] * self.roots[2 * j];
                *x = a + b + c;
                *y = a + b * z1 + c * z2;
                *z = a + b * z2 + c * z1;
            },
        );
    }
}

fn powers(first: Fr, base: Fr, count: usize) -> Vec<Fr> {
    std::iter::successors(Some(first), |x| Some(*x * base)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_ff::UniformRand;
    use ark_poly::univariate::DensePolynomial;
    use ark_poly::{DenseUVPolynomial, Polynomial};

    #[test]
    fn extend_evaluates_the_same_polynomial_on_the_coset() {
        let mut rng = ark_std::test_rng();
        for size in [4, 6, 16, 24, 48, 64] {
            let polynomial =
                DensePolynomial::from_coefficients_vec((0..size).map(|_| Fr::rand(&mut rng)).collect());
            let omega = domain::root(size);
            let mut values: Vec<Fr> =
                powers(Fr::ONE, omega, size).iter().map(|x| polynomial.evaluate(x)).collect();
            let expected: Vec<Fr> =
                powers(Coset::shift(size), omega, size).iter().map(|x| polynomial.evaluate(x)).collect();
            Coset::new(size).extend(&mut values);
            assert_eq!(values, expected, "{size}");
            assert_eq!(Coset::shift(size).pow([size as u64]), -Fr::ONE);
        }
    }
}
