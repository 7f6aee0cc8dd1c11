//! Multi-scalar multiplication for the shapes of scalars that a proof has, beside arkworks' in the same group.

use std::hint::black_box;

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{PrimeGroup, VariableBaseMSM};
use ark_ff::PrimeField;
use assay_prover::msm::{group_sums, msm, msm_small};
use criterion::{BenchmarkId, Criterion};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Distinct values of the inverses that a table of 8-bit limbs gives.
const VALUES: usize = 256;

/// Sums of 2^14 points of G1.
pub fn g1(criterion: &mut Criterion) {
    shapes::<ark_bn254::g1::Config>(criterion, "msm::g1", G1Projective::generator(), 1 << 14);
}

/// Sums of 2^12 points of G2.
pub fn g2(criterion: &mut Criterion) {
    shapes::<ark_bn254::g2::Config>(criterion, "msm::g2", G2Projective::generator(), 1 << 12);
}

fn shapes<P: SWCurveConfig<ScalarField = Fr>>(
    criterion: &mut Criterion,
    name: &str,
    generator: Projective<P>,
    n: usize,
) {
    let mut random = StdRng::seed_from_u64(1);
    let mut full = |count: usize| -> Vec<Fr> {
        (0..count).map(|_| Fr::from_le_bytes_mod_order(&random.random::<[u8; 64]>())).collect()
    };
    let bases: Vec<Affine<P>> = BatchMulPreprocessing::new(generator, n).batch_mul(&full(n));
    let (scalars, values) = (full(n), full(VALUES));
    // Activations behind a ReLU: half are 0, the others mostly small.
    let skewed: Vec<i64> = (0..n)
        .map(|_| (random.random_range(0..256i64) * random.random_range(-256..256)).max(0) >> 8)
        .collect();
    let groups: Vec<u32> = (0..n).map(|_| random.random_range(0..VALUES as u32)).collect();

    let mut group = criterion.benchmark_group(name);
    let id = |scalars, by| BenchmarkId::from_parameter(format!("scalars={scalars}/n={n}/by={by}"));
    let mut arkworks = |shape, scalars: &[Fr]| {
        group.bench_function(id(shape, "arkworks"), |b| {
            b.iter(|| Projective::msm_unchecked(black_box(&bases), scalars))
        });
    };
    arkworks("full", &scalars);
    arkworks("8bit", &skewed.iter().map(|&k| Fr::from(k)).collect::<Vec<_>>());
    arkworks("few", &groups.iter().map(|&group| values[group as usize]).collect::<Vec<_>>());
    group.bench_function(id("full", "assay"), |b| b.iter(|| msm(black_box(&bases), &scalars)));
    group.bench_function(id("8bit", "assay"), |b| b.iter(|| msm_small(black_box(&bases), &skewed)));
    group.bench_function(id("few", "assay"), |b| {
        b.iter(|| msm(&group_sums(black_box(&bases), &groups, VALUES), &values));
    });
    group.finish();
}
