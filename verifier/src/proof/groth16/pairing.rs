//! The Miller loops of a whole batch in one: the squarings, which are half of a loop's work, are shared, and whether a
//! point is in G2 is read off the loop's own end.
//!
//! ```text
//! f = prod_j f_j,  f_j = the lines of the optimal ate loop of (P_j, Q_j)
//! R_j = [6x + 2] Q_j + psi(Q_j) - psi^2(Q_j)          where the loop of Q_j ends
//! Q_j in G2  iff  R_j = -psi^3(Q_j)
//! ```
//!
//! `psi` is the Frobenius map on the twist; on G2 it is multiplication by `p`, and
//! `6x + 2 + p - p^2 + p^3 = 0 mod r`. Conversely a point of the twist that `6x + 2 + psi - psi^2 + psi^3` takes to zero has an
//! order that divides the norm of this element of `Z[psi]`, and the greatest common divisor of that norm and the order of the
//! twist over `Fq2` is `r` (eprint 2022/348, section 3). The formulas of the lines miss doublings and
//! additions that end in zero or begin with equal points; from there on `z = 0`, which no end of a point of G2 has.

use ark_bn254::{Bn254, Config, Fq, Fq2, Fq12, Fr, G1Affine, G1Projective, G2Affine, g1, g2};
use ark_ec::bn::BnConfig;
use ark_ec::pairing::Pairing;
use ark_ec::scalar_mul::glv::GLVConfig;
use ark_ec::short_weierstrass::SWCurveConfig;
use ark_ec::{CurveGroup, VariableBaseMSM};
use ark_ff::{AdditiveGroup, Field, One, Zero};

type Target = <Bn254 as Pairing>::TargetField;

/// A coefficient of a batch: `low + lambda high`, where multiplication by `lambda` costs one product on G1. Different
/// coefficients of 128 bits are different scalars, since no two vectors as short as these are one modulo the lattice of
/// `lambda`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coefficient {
    pub low: u64,
    pub high: u64,
}

impl Coefficient {
    /// The scalar.
    pub fn scalar(self) -> Fr {
        Self::combine(Fr::from(self.low), Fr::from(self.high))
    }

    /// `low + lambda high` of sums of both parts.
    pub fn combine(low: Fr, high: Fr) -> Fr {
        low + g1::Config::LAMBDA * high
    }
}

/// `sum c_j P_j`.
pub(super) fn weighted_sum(points: &[G1Affine], coefficients: &[Coefficient]) -> G1Projective {
    let (mut bases, mut scalars) = (points.to_vec(), Vec::with_capacity(points.len().saturating_mul(2)));
    bases.extend(points.iter().map(g1::Config::endomorphism_affine));
    scalars.extend(coefficients.iter().map(|coefficient| coefficient.low));
    scalars.extend(coefficients.iter().map(|coefficient| coefficient.high));
    G1Projective::msm_u64(&bases, &scalars)
}

/// `c_j P_j` each, by one chain of doublings for both halves of a coefficient.
pub(super) fn scaled(points: &[G1Affine], coefficients: &[Coefficient]) -> Vec<G1Affine> {
    let images: Vec<G1Affine> = points.iter().map(g1::Config::endomorphism_affine).collect();
    let both: Vec<G1Projective> = points.iter().zip(&images).map(|(&point, &image)| point + image).collect();
    let both = G1Projective::normalize_batch(&both);
    let scale = |(((point, image), both), by): (((&G1Affine, &G1Affine), &G1Affine), &Coefficient)| {
        (0..u64::BITS).rev().fold(G1Projective::zero(), |mut sum, bit| {
            sum.double_in_place();
            match (by.low >> bit & 1, by.high >> bit & 1) {
                (0, 0) => {}
                (0, _) => sum += image,
                (_, 0) => sum += point,
                (_, _) => sum += both,
            }
            sum
        })
    };
    let sums: Vec<G1Projective> =
        points.iter().zip(&images).zip(&both).zip(coefficients).map(scale).collect();
    G1Projective::normalize_batch(&sums)
}

/// The product of the Miller loops of all pairs; none if one of the second points is not in G2. Second points must be on the
/// curve and not the identity.
pub(super) fn miller_loops(pairs: &[(G1Affine, G2Affine)]) -> Option<Target> {
    let mut loops: Vec<Loop> = pairs.iter().map(|&(p, q)| Loop { p, q, r: Point::from(q) }).collect();
    let half = Fq::from(2_u8).inverse()?;
    let mut f = Target::one();
    let (_, digits) = Config::ATE_LOOP_COUNT.split_last()?;
    for digit in digits.iter().rev() {
        f.square_in_place();
        for each in &mut loops {
            let line = each.r.double(&half);
            each.multiply(&mut f, line);
        }
        for each in loops.iter_mut().filter(|_| *digit != 0) {
            let q = if *digit > 0 { each.q } else { -each.q };
            let line = each.r.add(&q);
            each.multiply(&mut f, line);
        }
    }
    for each in &mut loops {
        let first = psi(&each.q);
        let second = psi(&first);
        for step in [first, -second] {
            let line = each.r.add(&step);
            each.multiply(&mut f, line);
        }
        if !each.r.is(&-psi(&second)) {
            return None;
        }
    }
    Some(f)
}

/// The untwisted Frobenius map, twisted again.
fn psi(q: &G2Affine) -> G2Affine {
    let frobenius = |mut value: Fq2| {
        value.frobenius_map_in_place(1);
        value
    };
    let (x, y) = (frobenius(q.x) * Config::TWIST_MUL_BY_Q_X, frobenius(q.y) * Config::TWIST_MUL_BY_Q_Y);
    G2Affine::new_unchecked(x, y)
}

/// One pair in the middle of its loop.
struct Loop {
    p: G1Affine,
    q: G2Affine,
    r: Point,
}

impl Loop {
    /// Multiplies by a line at `P`.
    fn multiply(&self, f: &mut Fq12, line: Line) {
        let Line { mut at_y, mut at_x, one } = line;
        at_y.mul_assign_by_fp(&self.p.y);
        at_x.mul_assign_by_fp(&self.p.x);
        f.mul_by_034(&at_y, &at_x, &one);
    }
}

/// `at_y y + at_x x + one`.
struct Line {
    at_y: Fq2,
    at_x: Fq2,
    one: Fq2,
}

/// Homogeneous coordinates: `(x / z, y / z)`.
struct Point {
    x: Fq2,
    y: Fq2,
    z: Fq2,
}

impl From<G2Affine> for Point {
    fn from(q: G2Affine) -> Self {
        Self { x: q.x, y: q.y, z: Fq2::ONE }
    }
}

impl Point {
    /// Doubles, and gives the tangent (Costello, Lange, Naehrig: eprint 2009/615, section 4).
    fn double(&mut self, half: &Fq) -> Line {
        let mut a = self.x * self.y;
        a.mul_assign_by_fp(half);
        let (b, c) = (self.y.square(), self.z.square());
        let e = g2::Config::COEFF_B * (c.double() + c);
        let f = e.double() + e;
        let mut g = b + f;
        g.mul_assign_by_fp(half);
        let h = (self.y + self.z).square() - (b + c);
        let (j, e_square) = (self.x.square(), e.square());
        self.x = a * (b - f);
        self.y = g.square() - (e_square.double() + e_square);
        self.z = b * h;
        Line { at_y: -h, at_x: j.double() + j, one: e - b }
    }

    /// Adds a point, and gives the chord.
    fn add(&mut self, q: &G2Affine) -> Line {
        let theta = self.y - q.y * self.z;
        let lambda = self.x - q.x * self.z;
        let (c, d) = (theta.square(), lambda.square());
        let e = lambda * d;
        let (f, g) = (self.z * c, self.x * d);
        let h = e + f - g.double();
        self.x = lambda * h;
        self.y = theta * (g - h) - e * self.y;
        self.z *= e;
        Line { at_y: lambda, at_x: -theta, one: theta * q.x - lambda * q.y }
    }

    fn is(&self, q: &G2Affine) -> bool {
        !self.z.is_zero() && self.x == q.x * self.z && self.y == q.y * self.z
    }
}

#[cfg(test)]
mod tests {
    use ark_ec::pairing::MillerLoopOutput;
    use ark_ec::{AffineRepr, CurveConfig, PrimeGroup};
    use ark_ff::PrimeField;

    use super::*;

    fn g1(n: u64) -> G1Affine {
        (G1Projective::generator() * Fr::from(n)).into_affine()
    }

    fn g2(n: u64) -> G2Affine {
        (G2Affine::generator() * Fr::from(n)).into_affine()
    }

    /// A point of the twist that is not in G2, from a number.
    fn stranger(n: u64) -> G2Affine {
        let at = |x| G2Affine::get_point_from_x_unchecked(Fq2::new(Fq::from(x), Fq::from(7_u8)), false);
        (n..).find_map(at).expect("half of all numbers")
    }

    #[test]
    fn many_loops_in_one_pair_as_each_alone() {
        let pairs: Vec<_> = (1..=37).map(|n| (g1(n * n + 3), g2(5 * n + 1))).collect();
        for length in [0, 1, 2, 5, 37] {
            let (a, b): (Vec<_>, Vec<_>) = pairs[..length].iter().copied().unzip();
            let expected = Bn254::multi_pairing(a, b);
            let got = miller_loops(&pairs[..length]).expect("all are in the groups");
            assert_eq!(Bn254::final_exponentiation(MillerLoopOutput(got)), Some(expected), "{length}");
        }
    }

    #[test]
    fn the_identity_of_g1_pairs_to_one() {
        let got = miller_loops(&[(G1Affine::identity(), g2(3))]).expect("in the groups");
        assert!(Bn254::final_exponentiation(MillerLoopOutput(got)).is_some_and(|value| value.0.is_one()));
    }

    #[test]
    fn a_point_outside_g2_is_found_wherever_it_is() {
        for n in 0..20 {
            let outside = stranger(1_000 * n);
            assert!(outside.is_on_curve() && !outside.is_in_correct_subgroup_assuming_on_curve());
            let mut pairs: Vec<_> = (1..=4).map(|n| (g1(n), g2(n))).collect();
            pairs[usize::try_from(n).expect("small") % 4].1 = outside;
            assert!(miller_loops(&pairs).is_none());
            assert!(miller_loops(&[(g1(1), outside.clear_cofactor())]).is_some());
            // A member plus what the cofactor kills is no member.
            let mixed = (outside.mul_bigint(Fr::MODULUS) + g2(n + 1)).into_affine();
            assert!(miller_loops(&[(g1(1), mixed)]).is_none());
        }
    }

    /// Points of small order, where the formulas of the lines may miss.
    #[test]
    fn points_of_the_small_primes_of_the_cofactor_are_outside() {
        for prime in [10_069_u64, 5_864_401, 1_875_725_156_269] {
            let rest = divided(g2::Config::COFACTOR, prime);
            let point = stranger(3).mul_bigint(Fr::MODULUS).into_affine().mul_bigint(rest).into_affine();
            assert!(!point.is_zero() && point.mul_bigint([prime]).into_affine().is_zero(), "{prime}");
            assert!(miller_loops(&[(g1(1), point)]).is_none(), "{prime}");
        }
    }

    fn divided(number: &[u64], by: u64) -> Vec<u64> {
        let mut rest = 0_u128;
        let mut quotient: Vec<u64> = number
            .iter()
            .rev()
            .map(|&limb| {
                let part = rest << 64 | u128::from(limb);
                rest = part % u128::from(by);
                u64::try_from(part / u128::from(by)).expect("a limb")
            })
            .collect();
        assert_eq!(rest, 0, "{by} divides the cofactor");
        quotient.reverse();
        quotient
    }

    #[test]
    fn coefficients_are_scalars_and_scale_points() {
        let coefficients = [(0, 0), (1, 0), (0, 1), (u64::MAX, u64::MAX), (1 << 63, 12_345)]
            .map(|(low, high)| Coefficient { low, high });
        let points: Vec<G1Affine> = (1..=5).map(|n| g1(3 * n)).collect();
        let expected: Vec<G1Affine> =
            points.iter().zip(coefficients).map(|(&point, c)| (point * c.scalar()).into_affine()).collect();
        assert_eq!(scaled(&points, &coefficients), expected);
        let sum: G1Projective = expected.iter().map(|&point| G1Projective::from(point)).sum();
        assert_eq!(weighted_sum(&points, &coefficients), sum);
    }
}
