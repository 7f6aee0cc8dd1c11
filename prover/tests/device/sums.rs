//! Sums of points and transforms of the device beside those of the processor.

use ark_bn254::{Fr, G1Projective, G2Projective, g1, g2};
use ark_ec::short_weierstrass::{Affine, Projective};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{Field, UniformRand};
use assay_circuits::domain;
use assay_cuda_kernels::Gpu;
use assay_cuda_kernels::msm::Scalars;
use assay_prover::bases::{Bases, Curve, elements, total, upload};
use assay_prover::column::{Part, on_device, on_processor};
use assay_prover::fft::Coset;
use assay_prover::msm::{msm, msm_small};

use crate::{accelerator, device};

fn points<P: Curve>(n: usize) -> Vec<Affine<P>> {
    let mut rng = ark_std::test_rng();
    // Chains of additions are faster than as many multiplications, and neighbours differ by a known point.
    let (mut point, step) = (Projective::<P>::rand(&mut rng), Projective::<P>::rand(&mut rng));
    let points: Vec<Projective<P>> = std::iter::repeat_with(|| {
        point += step;
        point
    })
    .take(n)
    .collect();
    Projective::normalize_batch(&points)
}

fn scalars(n: usize) -> Vec<Fr> {
    let mut rng = ark_std::test_rng();
    (0..n).map(|_| Fr::rand(&mut rng)).collect()
}

/// Kinds of scalars that quantised networks have, and those that are at the ends of the digits.
fn kinds(n: usize) -> Vec<(&'static str, Vec<Fr>)> {
    let small = |i: usize| Fr::from((i * 7919 % 256) as i64 - 128);
    let half = -Fr::ONE / Fr::from(2);
    vec![
        ("random", scalars(n)),
        ("zeros", vec![Fr::from(0); n]),
        ("ones", vec![Fr::ONE; n]),
        ("minus ones", vec![-Fr::ONE; n]),
        ("small and signed", (0..n).map(small).collect()),
        ("one in a hundred", (0..n).map(|i| Fr::from(u64::from(i % 100 == 7) * 5)).collect()),
        (
            "ends",
            [Fr::from(0), Fr::ONE, -Fr::ONE, half, half + Fr::ONE].into_iter().cycle().take(n).collect(),
        ),
    ]
}

fn check<P: Curve>(gpu: &Gpu, n: usize, kind: &str, bases: &[Affine<P>], scalars: &[Fr]) {
    let resident = upload(gpu, bases).expect("room");
    let on_device = gpu.elements(&elements(scalars)).expect("room");
    let sums = gpu.msm(&resident, 0..n, Scalars::Field(&on_device)).expect("a sum");
    assert_eq!(total::<P>(&sums), msm(bases, scalars), "{n} {kind}");
}

#[test]
fn sums_in_g1_agree_for_every_kind_of_scalar() {
    let Some(gpu) = device() else { return };
    for n in [0, 1, 2, 64, 65, 300] {
        let bases = points::<g1::Config>(n);
        for (kind, scalars) in kinds(n) {
            check(&gpu, n, kind, &bases, &scalars);
        }
    }
    let bases = points::<g1::Config>(4096);
    for (kind, scalars) in
        [kinds(4096).swap_remove(0), kinds(4096).swap_remove(2), kinds(4096).swap_remove(4)]
    {
        check(&gpu, 4096, kind, &bases, &scalars);
    }
}

#[test]
fn sums_in_g2_agree_for_every_kind_of_scalar() {
    let Some(gpu) = device() else { return };
    for n in [1, 130] {
        let bases = points::<g2::Config>(n);
        for (kind, scalars) in kinds(n) {
            check(&gpu, n, kind, &bases, &scalars);
        }
    }
}

#[test]
fn equal_opposite_and_neutral_points_are_summed_right() {
    let Some(gpu) = device() else { return };
    let p = points::<g1::Config>(1)[0];
    let none = Affine::<g1::Config>::zero();
    let mut bases = vec![p, p, p, -p, none, -p, p, none];
    bases.extend(vec![p; 200]);
    let scalars = vec![Fr::from(5); bases.len()];
    check(&gpu, bases.len(), "equal points", &bases, &scalars);
    let q = points::<g2::Config>(1)[0];
    let bases = [q, -q, q, q, Affine::zero()];
    check(&gpu, bases.len(), "equal points", &bases, &scalars[..5]);
}

#[test]
fn small_scalars_and_parts_of_the_points_agree() {
    let Some(accelerator) = accelerator() else { return };
    let host = points::<g1::Config>(900);
    let resident = upload(accelerator.gpu().expect("a device"), &host).expect("room");
    let bases = Bases::new(&host, Some((&*accelerator, &resident)));
    let (first, rest) = bases.split_at(333);
    for bits in [0u32, 1, 7, 22, 62] {
        let sign = |i: i64| if i % 3 == 0 { -1 } else { 1 };
        let scalars: Vec<i64> = (0..567).map(|i| (i * 7919 % (1i64 << bits)) * sign(i)).collect();
        assert_eq!(rest.msm_small(&scalars), msm_small(&host[333..], &scalars), "{bits}");
    }
    assert_eq!(rest.msm_small(&[i64::MIN, i64::MAX]), msm_small(&host[333..], &[i64::MIN, i64::MAX]));
    let full = scalars(333);
    assert_eq!(first.msm(&full), msm(&host[..333], &full));
    assert!(accelerator.gpu().is_some(), "the device answered");
}

#[test]
fn points_grouped_by_value_agree() {
    let Some(accelerator) = accelerator() else { return };
    let host = points::<g1::Config>(1000);
    let resident = upload(accelerator.gpu().expect("a device"), &host).expect("room");
    let (here, there) = (Bases::new(&host, None), Bases::new(&host, Some((&*accelerator, &resident))));
    let count = 50;
    // Most points in one group, some groups without points.
    for groups in [vec![7u32; 950], (0..950).map(|i| i * i % 37).collect(), Vec::new()] {
        let scalars = scalars(count + 1000 - groups.len());
        assert_eq!(there.grouped(&groups, count, &scalars), here.grouped(&groups, count, &scalars));
    }
    let host = points::<g2::Config>(70);
    let resident = upload(accelerator.gpu().expect("a device"), &host).expect("room");
    let (here, there) = (Bases::new(&host, None), Bases::new(&host, Some((&*accelerator, &resident))));
    let (groups, scalars) = ((0..60).map(|i| i * i % 5).collect::<Vec<_>>(), scalars(16));
    assert_eq!(there.grouped(&groups, 6, &scalars), here.grouped(&groups, 6, &scalars));
    assert!(accelerator.gpu().is_some(), "the device answered");
}

#[test]
fn values_are_extended_to_the_coset_for_both_kinds_of_size() {
    let Some(gpu) = device() else { return };
    // The largest take more than one pass over memory.
    for size in [4, 6, 8, 12, 96, 512, 1024, 3072, 6144, 16_384] {
        let coset = Coset::new(size);
        let (roots, shift) = coset.tables();
        assert_eq!(roots[1], domain::root(size));
        let domain = gpu.domain(&elements(&roots), &elements(shift)).expect("room");
        let mut values = scalars(size);
        let on_device = gpu.elements(&elements(&values)).expect("room");
        let extended = gpu.extend(&domain, &on_device).expect("a transform").read().expect("read");
        coset.extend(&mut values);
        assert_eq!(extended, elements(&values), "{size}");
    }
}

#[test]
fn columns_are_made_alike_on_both_sides() {
    let Some(gpu) = device() else { return };
    let (few, added) = (scalars(7), scalars(1)[0]);
    let places: Vec<u32> = (0..700).map(|i| i * i % 7).collect();
    let mut small: Vec<i64> = (-300..300).collect();
    small.extend([i64::MIN, i64::MAX, i64::MIN + 1]);
    let all = [
        Part::Chosen(&places, &few),
        Part::Field(&few),
        Part::Small(&small, added),
        Part::Small(&small, Fr::from(0)),
        Part::Field(&[]),
        Part::Chosen(&[], &[]),
        Part::Small(&[], added),
    ];
    for parts in [&all[..], &all[2..3], &all[4..], &[]] {
        for size in [2048, 4096] {
            let there = on_device(&gpu, size, parts).expect("room").read().expect("a copy");
            assert_eq!(there, elements(&on_processor(size, parts)), "{parts:?} of {size}");
        }
    }
}

#[test]
fn columns_that_no_kernel_may_make_are_refused_before_one_is_launched() {
    let Some(gpu) = device() else { return };
    let few = scalars(3);
    let refused = |size: usize, part: Part<'_>| {
        let made = std::panic::catch_unwind(|| on_device(&gpu, size, &[part]).map(|_| ()));
        assert!(made.is_err(), "{part:?} of {size}");
    };
    refused(2, Part::Field(&few));
    refused(4, Part::Small(&[1; 5], few[0]));
    refused(4, Part::Chosen(&[0, 3], &few));
    assert!(on_device(&gpu, 4, &[Part::Chosen(&[0, 2], &few)]).is_ok());
}

#[test]
fn products_are_those_of_arkworks_at_the_ends_of_the_field() {
    let Some(gpu) = device() else { return };
    let mut values = vec![Fr::from(0), Fr::ONE, -Fr::ONE, Fr::from(2), -Fr::ONE / Fr::from(2)];
    values.extend(scalars(60));
    let left: Vec<Fr> = values.iter().flat_map(|a| vec![*a; values.len()]).collect();
    let right: Vec<Fr> = values.iter().cycle().take(left.len()).copied().collect();
    let mut product = gpu.elements(&elements(&left)).expect("room");
    let other = gpu.elements(&elements(&right)).expect("room");
    gpu.multiply_elements(&mut product, &other).expect("products");
    let expected: Vec<Fr> = left.iter().zip(&right).map(|(a, b)| a * b).collect();
    assert_eq!(product.read().expect("read"), elements(&expected));
    // Points of both groups, for the fields that only they use.
    let _: (G1Projective, G2Projective) =
        (points::<g1::Config>(1)[0].into(), points::<g2::Config>(1)[0].into());
}
