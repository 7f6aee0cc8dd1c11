//! Products of matrices by Freivalds' test (IFIP 1977), in rows after the challenge.
//!
//! `C = A B` is shown by `C s = A (B s)` for `s = (1, rho, rho^2, ..)`. `C` is fixed before `rho`; where it is another
//! matrix, a row of `(C - A B) s` is a polynomial in `rho` of a degree below the number of columns that is not 0, so the
//! test passes for fewer challenges than there are columns. Horner's rule folds a row of `B` or `C`,
//!
//! ```text
//! f_(n-1) = x_(n-1)        f_(j+1) * rho = f_j - x_j
//! ```
//!
//! to `v_l` and `z_i`, and a chain of products adds up `A v`, its last sum `z_i`:
//!
//! ```text
//! v_l * A_il = t_l - t_(l-1)        t_(-1) = 0, t_(k-1) = z_i
//! ```
//!
//! That is `(k + m)(n - 1) + m k` rows for `m k n` multiplications. Their wires have the width of the field, so each costs
//! as much as some rows over integers, and a small product is cheaper without ([`pays`]). The right side of every row
//! is the challenge or a small integer.

use ark_bn254::Fr;
use ark_ff::AdditiveGroup;

use super::Family;
use crate::ir::MatMul;

/// Estimate of proving, in additions of points: a row over integers, and one whose left side, result and wire are as wide
/// as the field. See [`super::Plan::cost`].
const NARROW_ROW: usize = 32 + 7;
const WIDE_ROW: usize = 32 + 3 * 26;

/// A product of matrices whose result is claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Product<E> {
    /// Sizes.
    pub sizes: MatMul,
    /// Left operand, right operand, product.
    pub matrices: [Vec<E>; 3],
}

/// The right side of a row.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a, I> {
    /// The challenge.
    Challenge,
    /// A combination of wires over integers.
    Integer(&'a I),
}

/// What the walk talks to.
pub trait FreivaldsSystem {
    /// A combination of the wires over integers.
    type Integer;
    /// The same with wires after the challenge.
    type Expr: Clone;

    /// An integer combination as one of all wires.
    fn lift(&self, integer: &Self::Integer) -> Self::Expr;
    /// Nothing.
    fn zero(&self) -> Self::Expr;
    /// A new wire `w`, and the row `a * b = w - sum`.
    fn step(&mut self, sum: &Self::Expr, a: &Self::Expr, b: Right<'_, Self::Integer>) -> Self::Expr;
    /// The row `a * b = total - sum`.
    fn close(&mut self, sum: &Self::Expr, a: &Self::Expr, b: Right<'_, Self::Integer>, total: &Self::Expr);
}

/// Whether a product is proven this way.
pub fn pays(sizes: &MatMul) -> bool {
    WIDE_ROW * rows(sizes) < NARROW_ROW * sizes.outputs() * sizes.inner as usize
}

/// What the rows cost beyond as many rows over integers.
pub fn excess(rows: usize) -> usize {
    (WIDE_ROW - NARROW_ROW) * rows
}

/// Rows of a product.
pub fn rows(sizes: &MatMul) -> usize {
    wires(sizes) + sizes.batch as usize * sizes.rows as usize
}

/// Private wires of a product.
pub fn wires(sizes: &MatMul) -> usize {
    let [batch, m, k, n] = [sizes.batch, sizes.rows, sizes.inner, sizes.columns].map(|size| size as usize);
    batch * ((k + m) * (n - 1) + m * (k - 1))
}

/// Walks all products.
pub fn walk<S: FreivaldsSystem>(products: &[Product<S::Integer>], system: &mut S) {
    for Product { sizes, matrices: [a, b, c] } in products {
        let [m, k, n] = [sizes.rows, sizes.inner, sizes.columns].map(|size| size as usize);
        for ((a, b), c) in a.chunks(m * k).zip(b.chunks(k * n)).zip(c.chunks(m * n)) {
            let folded: Vec<S::Expr> = b.chunks(n).map(|row| fold(row, system)).collect();
            for (a, c) in a.chunks(k).zip(c.chunks(n)) {
                let total = fold(c, system);
                let mut sum = system.zero();
                for (x, v) in a.iter().zip(&folded).take(k - 1) {
                    sum = system.step(&sum, v, Right::Integer(x));
                }
                system.close(&sum, &folded[k - 1], Right::Integer(&a[k - 1]), &total);
            }
        }
    }
}

/// `sum_j row_j rho^j`.
fn fold<S: FreivaldsSystem>(row: &[S::Integer], system: &mut S) -> S::Expr {
    let (last, rest) = row.split_last().expect("a matrix has columns");
    let start = system.lift(last);
    rest.iter().rev().fold(start, |ahead, x| {
        let x = system.lift(x);
        system.step(&x, &ahead, Right::Challenge)
    })
}

/// Values of all wires and rows under a challenge.
#[derive(Clone, Debug, Default)]
pub struct FreivaldsWitness {
    /// Private wires.
    pub wires: Vec<Fr>,
    /// Left side of every row.
    pub a: Vec<Fr>,
    /// Right side: an integer, or the challenge where it is `None`.
    pub b: Vec<Option<i64>>,
    /// Result of every row.
    pub c: Vec<Fr>,
    rho: Fr,
    omit: bool,
}

impl FreivaldsWitness {
    /// The assignment for the products of a witness.
    pub fn new(products: &[Product<i64>], rho: Fr, omit: Option<Family>) -> Self {
        let mut witness = Self { rho, omit: omit == Some(Family::Matrix), ..Self::default() };
        walk(products, &mut witness);
        witness
    }

    fn times(&self, a: &Fr, b: &Right<'_, i64>) -> Fr {
        match b {
            Right::Challenge => *a * self.rho,
            Right::Integer(b) => *a * Fr::from(**b),
        }
    }

    fn row(&mut self, a: Fr, b: &Right<'_, i64>, c: Fr) {
        let (a, b, c) = match (self.omit, b) {
            (true, _) => (Fr::ZERO, Some(0), Fr::ZERO),
            (false, Right::Challenge) => (a, None, c),
            (false, Right::Integer(b)) => (a, Some(**b), c),
        };
        self.a.push(a);
        self.b.push(b);
        self.c.push(c);
    }
}

impl FreivaldsSystem for FreivaldsWitness {
    type Integer = i64;
    type Expr = Fr;

    fn lift(&self, integer: &i64) -> Fr {
        Fr::from(*integer)
    }

    fn zero(&self) -> Fr {
        Fr::ZERO
    }

    fn step(&mut self, sum: &Fr, a: &Fr, b: Right<'_, i64>) -> Fr {
        let product = self.times(a, &b);
        self.row(*a, &b, product);
        self.wires.push(*sum + product);
        *sum + product
    }

    fn close(&mut self, sum: &Fr, a: &Fr, b: Right<'_, i64>, total: &Fr) {
        self.row(*a, &b, *total - sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(sizes: MatMul) -> Product<i64> {
        let count = |rows: u32, columns: u32| i64::from(sizes.batch * rows * columns);
        let a: Vec<i64> = (0..count(sizes.rows, sizes.inner)).map(|i| i * 7 % 23 - 11).collect();
        let b: Vec<i64> = (0..count(sizes.inner, sizes.columns)).map(|i| i * 5 % 19 - 9).collect();
        let element = |output| sizes.terms(output).map(|(i, j)| a[i] * b[j]).sum();
        let c = (0..sizes.outputs()).map(element).collect();
        Product { sizes, matrices: [a, b, c] }
    }

    fn holds(witness: &FreivaldsWitness, rho: Fr) -> bool {
        let right = |b: &Option<i64>| b.map_or(rho, Fr::from);
        let mut rows = witness.a.iter().zip(&witness.b).zip(&witness.c);
        rows.all(|((a, b), c)| *a * right(b) == *c)
    }

    #[test]
    fn a_product_passes_and_any_other_matrix_does_not() {
        for [batch, rows, inner, columns] in [[1, 1, 1, 1], [1, 3, 1, 4], [2, 3, 4, 1], [2, 2, 5, 3]] {
            let sizes = MatMul { batch, rows, inner, columns };
            let (honest, rho) = (product(sizes), Fr::from(1_000_003u64));
            let witness = FreivaldsWitness::new(std::slice::from_ref(&honest), rho, None);
            assert!(holds(&witness, rho));
            assert_eq!((witness.a.len(), witness.wires.len()), (super::rows(&sizes), wires(&sizes)));
            for output in 0..sizes.outputs() {
                let mut lie = honest.clone();
                lie.matrices[2][output] += 1;
                assert!(!holds(&FreivaldsWitness::new(&[lie.clone()], rho, None), rho), "{output}");
                assert!(holds(&FreivaldsWitness::new(&[lie], rho, Some(Family::Matrix)), rho));
            }
        }
    }

    /// Errors in one row that cancel need a challenge that is a root: here `C - A B = (-3, 1)`, so `rho = 3`.
    #[test]
    fn a_lie_passes_only_for_the_roots_of_its_polynomial() {
        let sizes = MatMul { batch: 1, rows: 1, inner: 2, columns: 2 };
        let mut lie = product(sizes);
        lie.matrices[2][0] -= 3;
        lie.matrices[2][1] += 1;
        for rho in 0..100u64 {
            let rho = Fr::from(rho);
            let witness = FreivaldsWitness::new(std::slice::from_ref(&lie), rho, None);
            assert_eq!(holds(&witness, rho), rho == Fr::from(3u64));
        }
    }

    #[test]
    fn large_products_are_proven_so_and_small_ones_are_not() {
        let square = |size| MatMul { batch: 1, rows: size, inner: size, columns: size };
        assert!([1, 2, 4, 7].iter().all(|&size| !pays(&square(size))));
        assert!([8, 16, 128].iter().all(|&size| pays(&square(size))));
        // One row by a matrix has nothing to gain.
        assert!(!pays(&MatMul { batch: 12, rows: 1, inner: 64, columns: 128 }));
    }
}
