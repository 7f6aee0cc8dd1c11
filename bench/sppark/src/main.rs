//! sppark's sums of points over BN254's G1, on the same number of points and the same kinds of scalars as
//! `assay-bench gpu`: points resident, scalars in the machine's memory, the result in it again.
//!
//!     assay-bench-sppark [LEAST [MOST [RUNS]]]      logarithms of the numbers of points; a line of JSON a size
//!
//! Results up to 2^18 points are compared with the processor's.

use std::ffi::{c_int, c_void};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ark_bn254::{Fq, Fr, G1Affine, G1Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{AffineRepr, PrimeGroup, VariableBaseMSM};
use ark_ff::{AdditiveGroup, BigInt, PrimeField};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

// Static libraries that the template needs: fields on the processor, and the list of devices.
use blst as _;
use sppark as _;

/// Coordinates in Montgomery form, zeros for the neutral element: both sides have this layout.
type Point = [[u64; 4]; 2];

unsafe extern "C" {
    fn assay_sppark_open(points: *const Point, count: usize) -> *mut c_void;
    fn assay_sppark_sum(sum: *mut c_void, out: *mut [[u64; 4]; 3], scalars: *const [u64; 4], count: usize) -> c_int;
    fn assay_sppark_close(sum: *mut c_void);
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let mut number = |default: u32| arguments.next().unwrap_or(Ok(default)).context("a number is expected");
    let (least, most, runs) = (number(16)?, number(22)?, number(5)?);
    ensure!(least <= most && most <= 24 && runs > 0, "sizes up to 24, at least one run");
    let full: Vec<Fr> = (0..1u64 << most)
        .into_par_iter()
        .map(|i| Fr::from_le_bytes_mod_order(&StdRng::seed_from_u64(i).random::<[u8; 64]>()))
        .collect();
    let points = BatchMulPreprocessing::new(G1Projective::generator(), full.len()).batch_mul(&full);
    let mut numbers = StdRng::seed_from_u64(2);
    let small: Vec<Fr> = (0..full.len()).map(|_| Fr::from(numbers.random_range(-128..128i64).max(0))).collect();
    for log in (least..=most).step_by(2) {
        let n = 1usize << log;
        for (kind, scalars) in [("full", &full[..n]), ("8-bit", &small[..n])] {
            let seconds = measure(&points[..n], scalars, runs)?;
            let size = format!("2^{log} {kind}");
            println!("{}", serde_json::json!({ "what": "sppark MSM G1", "size": size, "gpu_seconds": seconds }));
        }
    }
    Ok(())
}

/// The median time of a sum.
fn measure(points: &[G1Affine], scalars: &[Fr], runs: u32) -> Result<f64> {
    let words: Vec<Point> = points
        .par_iter()
        .map(|point| point.xy().map_or(Point::default(), |(x, y)| [x.0.0, y.0.0]))
        .collect();
    let scalar_words: Vec<[u64; 4]> = scalars.par_iter().map(|scalar| scalar.0.0).collect();
    // SAFETY: as many points as said, which are copied to the device before the call returns.
    let sum = unsafe { assay_sppark_open(words.as_ptr(), words.len()) };
    ensure!(!sum.is_null(), "sppark does not open the device");
    let mut times = Vec::new();
    let mut out = [[0u64; 4]; 3];
    // The first run warms up.
    for _ in 0..=runs {
        let began = Instant::now();
        // SAFETY: an open sum, room for one point, and as many scalars as it has points.
        let code = unsafe { assay_sppark_sum(sum, &raw mut out, scalar_words.as_ptr(), scalar_words.len()) };
        times.push(began.elapsed().as_secs_f64());
        ensure!(code == 0, "sppark failed with error {code}");
    }
    // SAFETY: it is not used again.
    unsafe { assay_sppark_close(sum) };
    if points.len() <= 1 << 18 {
        let [x, y, z] = out.map(|words| Fq::new_unchecked(BigInt(words)));
        let result = if z == Fq::ZERO { G1Projective::default() } else { G1Projective::new_unchecked(x, y, z) };
        let expected = G1Projective::msm(points, scalars).map_err(|n| anyhow::anyhow!("{n} scalars"))?;
        ensure!(result == expected, "sppark computes another sum of {} points", points.len());
    }
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
