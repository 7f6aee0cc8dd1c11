//! Multi-scalar multiplication `sum_i k_i P_i`, for the shapes of scalars that a proof has.
//!
//! Pippenger's method with signed digits: per window of `c` bits every point goes to the bucket of its digit, and
//! `sum_d d S_d` is taken over the bucket sums `S_d` by running sums. Bucket sums are made by *affine* additions,
//! pairwise in a tree, with one inversion for many additions (Montgomery's trick): about 6 multiplications an
//! addition instead of 10.
//!
//! Scalars are full-width field elements, or small signed integers (most wires of a quantised network), for which
//! only the windows that are not empty cost anything; or *grouped*: few distinct scalars, many points each (the
//! inverses of a lookup argument), where bucket sums come first and one multiplication a group follows.

use ark_bn254::Fr;
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ff::{AdditiveGroup, Field, PrimeField, Zero};
use rayon::prelude::*;

/// Additions that share one inversion: enough to hide it, few enough to stay in the cache.
const BATCH: usize = 512;
/// Entries that one task sums at least.
const GRAIN: usize = 4096;

/// `sum scalars_i bases_i` for full-width scalars.
pub fn msm<P: SWCurveConfig<ScalarField = Fr>>(bases: &[Affine<P>], scalars: &[Fr]) -> Projective<P> {
    let size = bases.len().min(scalars.len());
    let c = window(size);
    // One more bit than the modulus, for the carry of the signed digits.
    let windows = (Fr::MODULUS_BIT_SIZE as usize + 1).div_ceil(c);
    let mut digits = vec![0i32; windows * size];
    let rows: Vec<Vec<i32>> = scalars[..size]
        .par_chunks(GRAIN)
        .map(|chunk| {
            chunk.iter().flat_map(|scalar| signed_digits(scalar.into_bigint().0, c, windows)).collect()
        })
        .collect();
    for (i, scalar) in rows.iter().flat_map(|chunk| chunk.chunks_exact(windows)).enumerate() {
        scalar.iter().enumerate().for_each(|(w, &digit)| digits[w * size + i] = digit);
    }
    windowed(bases, &digits, size, c)
}

/// `sum scalars_i bases_i` for small integers.
pub fn msm_small<P: SWCurveConfig>(bases: &[Affine<P>], scalars: &[i64]) -> Projective<P> {
    let size = bases.len().min(scalars.len());
    let scalars = &scalars[..size];
    let bits = scalars.iter().map(|k| 64 - k.unsigned_abs().leading_zeros() as usize).max().unwrap_or(0);
    if bits == 0 {
        return Projective::zero();
    }
    let c = small_window(size, bits);
    let windows = (bits + 1).div_ceil(c);
    let mut digits = vec![0i32; windows * size];
    for (i, &scalar) in scalars.iter().enumerate() {
        let magnitude = scalar.unsigned_abs();
        for (w, digit) in signed_digits([magnitude, 0, 0, 0], c, windows).enumerate() {
            digits[w * size + i] = if scalar < 0 { -digit } else { digit };
        }
    }
    windowed(bases, &digits, size, c)
}

/// Sums of the points of each group: `S_g = sum over groups[i] = g of bases_i`.
pub fn group_sums<P: SWCurveConfig>(bases: &[Affine<P>], groups: &[u32], count: usize) -> Vec<Affine<P>> {
    let entries = groups.iter().enumerate().map(|(i, &group)| (group, i as u32 * 2));
    let mut sums = vec![Affine::identity(); count];
    for (bucket, sum) in bucket_sums(bases, &sort(entries, count)) {
        sums[bucket as usize] = sum;
    }
    sums
}

fn window(size: usize) -> usize {
    // Minimises windows * (size * affine addition + 2^(c-1) * 2 projective additions), the latter about 2.5 times
    // as dear as the former.
    let cost = |c: usize| (Fr::MODULUS_BIT_SIZE as usize + 1).div_ceil(c) * (size + (5 << (c - 1)));
    (3..=16).min_by_key(|&c| cost(c)).unwrap_or(3)
}

fn small_window(size: usize, bits: usize) -> usize {
    let cost = |c: usize| (bits + 1).div_ceil(c) * (size + (5 << (c - 1)));
    (3..=16).min_by_key(|&c| cost(c)).unwrap_or(3)
}

/// Digits in `-2^(c-1)..=2^(c-1)` of a scalar, least significant first.
fn signed_digits(limbs: [u64; 4], c: usize, windows: usize) -> impl Iterator<Item = i32> {
    let mut carry = 0;
    (0..windows).map(move |w| {
        let bit = w * c;
        let (limb, shift) = (bit / 64, bit % 64);
        let mut raw = limbs.get(limb).map_or(0, |l| l >> shift);
        if shift + c > 64 {
            raw |= limbs.get(limb + 1).map_or(0, |l| l << (64 - shift));
        }
        let digit = (raw & ((1 << c) - 1)) as i32 + carry;
        carry = i32::from(digit > 1 << (c - 1));
        digit - (carry << c)
    })
}

fn windowed<P: SWCurveConfig>(bases: &[Affine<P>], digits: &[i32], size: usize, c: usize) -> Projective<P> {
    let sums: Vec<Projective<P>> = digits
        .par_chunks(size.max(1))
        .map(|digits| {
            let entries = digits.iter().enumerate().filter(|(_, digit)| **digit != 0);
            let entries =
                entries.map(|(i, &digit)| (digit.unsigned_abs(), i as u32 * 2 + u32::from(digit < 0)));
            weighted_sum(&bucket_sums(bases, &sort(entries, (1 << (c - 1)) + 1)))
        })
        .collect();
    sums.iter().rev().fold(Projective::zero(), |mut total, sum| {
        for _ in 0..c {
            total.double_in_place();
        }
        total + sum
    })
}

/// `sum_d d S_d` over bucket sums in ascending order of `d`, with gaps.
fn weighted_sum<P: SWCurveConfig>(buckets: &[(u32, Affine<P>)]) -> Projective<P> {
    let (mut running, mut total) = (Projective::<P>::zero(), Projective::<P>::zero());
    let mut below = buckets.iter().rev().skip(1).map(|(digit, _)| *digit).chain([0]);
    for (digit, sum) in buckets.iter().rev() {
        running += sum;
        let gap = digit - below.next().unwrap_or(0);
        match gap {
            1 => total += running,
            _ => total += running * P::ScalarField::from(gap),
        }
    }
    total
}

/// Entries in ascending order of bucket: the bucket, and twice the index of the point plus its sign.
struct Sorted {
    buckets: Vec<u32>,
    points: Vec<u32>,
}

/// Counting sort.
fn sort(entries: impl Iterator<Item = (u32, u32)> + Clone, count: usize) -> Sorted {
    let mut starts = vec![0u32; count + 1];
    entries.clone().for_each(|(bucket, _)| starts[bucket as usize + 1] += 1);
    (0..count).for_each(|bucket| starts[bucket + 1] += starts[bucket]);
    let size = starts[count] as usize;
    let mut sorted = Sorted { buckets: vec![0; size], points: vec![0; size] };
    for (bucket, point) in entries {
        let at = &mut starts[bucket as usize];
        sorted.buckets[*at as usize] = bucket;
        sorted.points[*at as usize] = point;
        *at += 1;
    }
    sorted
}

/// The sum of every bucket that is not empty, in ascending order.
fn bucket_sums<P: SWCurveConfig>(bases: &[Affine<P>], sorted: &Sorted) -> Vec<(u32, Affine<P>)> {
    let ranges = sorted.buckets.par_chunks(GRAIN).zip(sorted.points.par_chunks(GRAIN));
    let partial: Vec<Vec<(u32, Affine<P>)>> =
        ranges.map(|(buckets, points)| tree_sums(bases, buckets, points)).collect();
    // A bucket that crosses the border of two ranges has a partial sum in both.
    let mut sums: Vec<(u32, Affine<P>)> = Vec::with_capacity(partial.iter().map(Vec::len).sum());
    for (bucket, sum) in partial.into_iter().flatten() {
        match sums.last_mut() {
            Some((last, total)) if *last == bucket => *total = (*total + sum).into(),
            _ => sums.push((bucket, sum)),
        }
    }
    sums
}

fn tree_sums<P: SWCurveConfig>(
    bases: &[Affine<P>],
    buckets: &[u32],
    points: &[u32],
) -> Vec<(u32, Affine<P>)> {
    let mut segments: Vec<(u32, usize)> = Vec::new();
    for &bucket in buckets {
        match segments.last_mut() {
            Some((last, length)) if *last == bucket => *length += 1,
            _ => segments.push((bucket, 1)),
        }
    }
    let mut layer: Vec<Affine<P>> = points
        .iter()
        .map(|&point| {
            let base = bases[point as usize / 2];
            if point % 2 == 1 { -base } else { base }
        })
        .collect();
    let mut next = vec![Affine::identity(); layer.len()];
    let mut adder = Adder::default();
    while segments.iter().any(|(_, length)| *length > 1) {
        let (mut from, mut to) = (0, 0);
        for (_, length) in &mut segments {
            for pair in (from..from + *length - 1).step_by(2) {
                adder.add(&layer, pair, &mut next, to + (pair - from) / 2);
            }
            if *length % 2 == 1 {
                next[to + *length / 2] = layer[from + *length - 1];
            }
            from += *length;
            *length = length.div_ceil(2);
            to += *length;
        }
        adder.flush(&layer, &mut next);
        layer.truncate(to);
        std::mem::swap(&mut layer, &mut next);
    }
    segments.into_iter().map(|(bucket, _)| bucket).zip(layer).collect()
}

/// Affine additions of neighbours, waiting for their common inversion.
struct Adder<P: SWCurveConfig> {
    /// Where the left operand is, and where the sum goes.
    pending: Vec<(u32, u32)>,
    /// Product of the denominators of all earlier additions.
    prefixes: Vec<P::BaseField>,
    product: P::BaseField,
}

impl<P: SWCurveConfig> Default for Adder<P> {
    fn default() -> Self {
        let (pending, prefixes) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Self { pending, prefixes, product: P::BaseField::ONE }
    }
}

impl<P: SWCurveConfig> Adder<P> {
    /// `to[sum] = from[pair] + from[pair + 1]`, perhaps only when flushed.
    fn add(&mut self, from: &[Affine<P>], pair: usize, to: &mut [Affine<P>], sum: usize) {
        let (left, right) = (&from[pair], &from[pair + 1]);
        let denominator = right.x - left.x;
        if denominator.is_zero() || left.is_zero() || right.is_zero() {
            // Equal, opposite or no points: rare, so they may be slow.
            to[sum] = (*left + right).into();
            return;
        }
        self.pending.push((pair as u32, sum as u32));
        self.prefixes.push(self.product);
        self.product *= denominator;
        if self.pending.len() == BATCH {
            self.flush(from, to);
        }
    }

    /// Montgomery's trick: one inversion of the product, then back through the prefixes.
    fn flush(&mut self, from: &[Affine<P>], to: &mut [Affine<P>]) {
        // No denominator is 0, so neither is their product.
        let mut inverse = self.product.inverse().unwrap_or(P::BaseField::ZERO);
        self.product = P::BaseField::ONE;
        for ((pair, sum), prefix) in self.pending.drain(..).zip(self.prefixes.drain(..)).rev() {
            let (left, right) = (&from[pair as usize], &from[pair as usize + 1]);
            let slope = (right.y - left.y) * (prefix * inverse);
            inverse *= right.x - left.x;
            let x = slope.square() - left.x - right.x;
            let y = slope * (left.x - x) - left.y;
            to[sum as usize] = Affine::new_unchecked(x, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{G1Affine, G1Projective, G2Affine, G2Projective};
    use ark_ec::{CurveGroup, PrimeGroup, VariableBaseMSM};
    use ark_ff::UniformRand;

    fn points<G: CurveGroup + PrimeGroup<ScalarField = Fr>>(n: usize) -> Vec<G::Affine> {
        let mut rng = ark_std::test_rng();
        let points: Vec<G> = (0..n).map(|_| G::rand(&mut rng)).collect();
        G::normalize_batch(&points)
    }

    #[test]
    fn full_width_agrees_with_arkworks_at_every_size() {
        let mut rng = ark_std::test_rng();
        for n in [0, 1, 2, 31, 700, 5000] {
            let bases = points::<G1Projective>(n);
            let mut scalars: Vec<Fr> = (0..n).map(|_| Fr::rand(&mut rng)).collect();
            for (i, extreme) in [Fr::from(0), Fr::from(1), -Fr::from(1), -Fr::from(2)].into_iter().enumerate()
            {
                if let Some(scalar) = scalars.get_mut(i * 3) {
                    *scalar = extreme;
                }
            }
            assert_eq!(msm(&bases, &scalars), G1Projective::msm_unchecked(&bases, &scalars), "{n}");
        }
    }

    #[test]
    fn small_signed_scalars_agree_with_arkworks() {
        let bases = points::<G1Projective>(3000);
        for bits in [1, 7, 11, 22, 40] {
            let scalars: Vec<i64> =
                (0..3000).map(|i| (i * 7919 % (1 << bits)) * if i % 3 == 0 { -1 } else { 1 }).collect();
            let field: Vec<Fr> = scalars.iter().map(|&k| Fr::from(k)).collect();
            assert_eq!(msm_small(&bases, &scalars), G1Projective::msm_unchecked(&bases, &field));
        }
        assert!(msm_small(&bases, &[0; 3000]).is_zero());
    }

    #[test]
    fn small_scalars_agree_in_g2() {
        let bases: Vec<G2Affine> = points::<G2Projective>(600);
        let scalars: Vec<i64> = (0..600).map(|i| i * 37 % 2048 - 100).collect();
        let field: Vec<Fr> = scalars.iter().map(|&k| Fr::from(k)).collect();
        assert_eq!(msm_small(&bases, &scalars), G2Projective::msm_unchecked(&bases, &field));
    }

    #[test]
    fn equal_points_opposite_points_and_the_identity_are_summed_right() {
        let p = points::<G1Projective>(1)[0];
        let bases = [p, p, p, -p, G1Affine::identity(), -p, p, G1Affine::identity()];
        assert_eq!(group_sums(&bases, &[0; 8], 1)[0], (p + p).into_affine());
        assert_eq!(group_sums(&bases, &[1, 1, 0, 0, 2, 2, 3, 3], 5)[0], G1Affine::identity());
        assert_eq!(msm_small(&bases, &[5, 5, 5, 5, 5, 5, 5, 5]), p * Fr::from(10));
    }

    #[test]
    fn a_group_larger_than_a_task_is_merged() {
        let bases = points::<G1Projective>(3 * GRAIN + 17);
        let sums = group_sums(&bases, &vec![2; bases.len()], 4);
        let expected: G1Projective = bases.iter().sum();
        assert_eq!(sums[2], expected.into_affine());
        assert!(sums[0].is_zero() && sums[3].is_zero());
    }
}
