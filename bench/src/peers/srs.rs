//! A structured reference string of KZG in the layout that EZKL reads. Its secret is public: for measurements only.
//!
//! ```text
//! file = k (u32) || s^i G, i in 0..2^k || l_i(s) G, i in 0..2^k || H || s H
//! ```
//!
//! `G`, `H` generate the two groups of BN254, `l_i` are the Lagrange polynomials of the domain of `2^k` points. Points
//! are uncompressed; coordinates are four words of 64 bits in Montgomery form; all little-endian. EZKL can make such a
//! file itself, but takes minutes for what the fixed-base multiplications here take seconds for.

use std::io::{Result, Write};

use ark_bn254::{Fq, Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::{Field, PrimeField, batch_inversion};

/// The secret that nobody would know if the string were to be trusted.
const SECRET: u64 = 0xa55a_75ee;
/// BN254's scalar field has roots of unity of order `2^28`.
const TWO_ADICITY: u32 = 28;

/// Writes the string for `2^k` rows.
pub fn write(k: u32, mut to: impl Write) -> Result<()> {
    if k > TWO_ADICITY {
        return Err(std::io::Error::other(format!("no domain of 2^{k} points, at most 2^{TWO_ADICITY}")));
    }
    let secret = Fr::from(SECRET);
    let (powers, lagrange) = (powers(secret, 1 << k), lagrange(secret, k));
    let table = BatchMulPreprocessing::new(G1Projective::generator(), 1 << k);
    to.write_all(&k.to_le_bytes())?;
    for scalars in [powers, lagrange] {
        table.batch_mul(&scalars).iter().try_for_each(|point| write_g1(&mut to, point))?;
    }
    let generator = G2Projective::generator();
    for point in [generator, generator * secret] {
        write_g2(&mut to, &point.into_affine())?;
    }
    to.flush()
}

fn powers(base: Fr, count: usize) -> Vec<Fr> {
    std::iter::successors(Some(Fr::ONE), |power| Some(*power * base)).take(count).collect()
}

/// `l_i(s) = w^i (s^n - 1) / (n (s - w^i))`.
fn lagrange(secret: Fr, k: u32) -> Vec<Fr> {
    let n = 1u64 << k;
    let roots = powers(root_of_unity(k), 1 << k);
    let mut values: Vec<Fr> = roots.iter().map(|root| (secret - root) * Fr::from(n)).collect();
    batch_inversion(&mut values);
    let vanishing = secret.pow([n]) - Fr::ONE;
    values.iter_mut().zip(roots).for_each(|(value, root)| *value *= root * vanishing);
    values
}

/// halo2 takes the powers of 7 for its roots of unity, arkworks those of 5: one domain in two orders.
fn root_of_unity(k: u32) -> Fr {
    let mut exponent = Fr::MODULUS;
    exponent.0[0] -= 1;
    let mut root = Fr::from(7u64).pow(exponent >> TWO_ADICITY);
    (k..TWO_ADICITY).for_each(|_| {
        root.square_in_place();
    });
    root
}

fn write_field(to: &mut impl Write, value: &Fq) -> Result<()> {
    // The representation in memory is the Montgomery form.
    value.0.0.iter().try_for_each(|word| to.write_all(&word.to_le_bytes()))
}

fn write_g1(to: &mut impl Write, point: &G1Affine) -> Result<()> {
    [point.x, point.y].iter().try_for_each(|value| write_field(to, value))
}

fn write_g2(to: &mut impl Write, point: &G2Affine) -> Result<()> {
    [point.x.c0, point.x.c1, point.y.c0, point.y.c1].iter().try_for_each(|value| write_field(to, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_ec::AffineRepr;
    use ark_ec::pairing::Pairing;
    use ark_ff::BigInt;

    const K: u32 = 4;

    fn fields(bytes: &[u8]) -> Vec<Fq> {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let montgomery = |bytes: &[u8]| {
            let words: Vec<u64> = bytes.chunks(8).map(word).collect();
            Fq::new_unchecked(BigInt(words.try_into().unwrap()))
        };
        bytes.chunks(32).map(montgomery).collect()
    }

    fn string() -> (Vec<G1Affine>, Vec<G1Affine>, [G2Affine; 2]) {
        let mut bytes = Vec::new();
        write(K, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 4 + 2 * (64 << K) + 2 * 128);
        assert_eq!(bytes[..4], K.to_le_bytes());
        let (g1, g2) = bytes[4..].split_at(2 * (64 << K));
        let points: Vec<G1Affine> = fields(g1).chunks(2).map(|c| G1Affine::new(c[0], c[1])).collect();
        let (powers, lagrange) = points.split_at(1 << K);
        let g2 = fields(g2);
        let point =
            |c: &[Fq]| G2Affine::new(ark_bn254::Fq2::new(c[0], c[1]), ark_bn254::Fq2::new(c[2], c[3]));
        (powers.to_vec(), lagrange.to_vec(), [point(&g2[..4]), point(&g2[4..])])
    }

    #[test]
    fn powers_follow_one_secret_in_both_groups() {
        let (powers, _, [generator, scaled]) = string();
        assert_eq!((powers[0], generator), (G1Affine::generator(), G2Affine::generator()));
        for pair in powers.windows(2) {
            let sides = [(pair[0], scaled), (pair[1], generator)];
            let [left, right] = sides.map(|(a, b)| ark_bn254::Bn254::pairing(a, b));
            assert_eq!(left, right);
        }
    }

    #[test]
    fn lagrange_points_commit_to_the_same_polynomials() {
        let (powers, lagrange, _) = string();
        let omega = root_of_unity(K);
        assert!(omega.pow([1 << K]) == Fr::ONE && omega.pow([1 << (K - 1)]) != Fr::ONE);
        // The commitment to x^d is s^d G, and sum over the domain of w^(i d) l_i(s) G.
        for (degree, power) in powers.iter().enumerate() {
            let values = (0..1u64 << K).map(|i| omega.pow([i * degree as u64]));
            let sum: G1Projective = lagrange.iter().zip(values).map(|(&point, value)| point * value).sum();
            assert_eq!(sum.into_affine(), *power, "{degree}");
        }
    }

    #[test]
    fn a_domain_that_does_not_exist_is_refused() {
        assert!(write(29, Vec::new()).is_err());
    }
}
