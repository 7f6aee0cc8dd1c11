//! Sums of points, transforms and products of matrices.

use anyhow::{Result, ensure};
use ark_bn254::{Fr, g1, g2};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::short_weierstrass::{Affine, Projective};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::PrimeField;
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use assay_cuda_kernels::msm::Scalars;
use assay_prover::backend::Work;
use assay_prover::bases::{self, Bases, Curve};
use assay_prover::fft::Coset;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

use super::Bench;
use super::report::Row;

/// Products of an addition of an affine point; three times as many in the other group.
const ADDITION: f64 = 10.0;

impl Bench<'_> {
    /// Every size between two, by steps of four, once in each group and once as a transform.
    pub fn kernels(&mut self, least: u32, most: u32) -> Result<()> {
        let random = scalars(1 << most);
        let sizes: Vec<u32> = (least..=most).step_by(2).collect();
        self.sums::<g2::Config>("MSM G2", 3.0 * ADDITION, &random, sizes.iter().copied())?;
        self.sums::<g1::Config>("MSM G1", ADDITION, &random, sizes.iter().copied())?;
        for log in sizes {
            self.transform(&random[..1 << log])?;
        }
        for side in [256, 1024] {
            self.work(Work { seed: 1, side, rounds: 4 })?;
        }
        Ok(())
    }

    fn sums<P: Curve>(
        &mut self,
        what: &str,
        addition: f64,
        random: &[Fr],
        sizes: impl DoubleEndedIterator<Item = u32>,
    ) -> Result<()>
    where
        Projective<P>: CurveGroup<Affine = Affine<P>, ScalarField = Fr> + PrimeGroup<ScalarField = Fr>,
    {
        let sizes: Vec<u32> = sizes.collect();
        let Some(&most) = sizes.last() else { return Ok(()) };
        let all = 1 << most;
        let points: Vec<Affine<P>> =
            BatchMulPreprocessing::new(Projective::<P>::generator(), all).batch_mul(&random[..all]);
        let gpu = self.accelerator.device()?;
        let resident = bases::upload(gpu, &points)?;
        let mut numbers = StdRng::seed_from_u64(2);
        let small: Vec<i64> = (0..all).map(|_| numbers.random_range(-128..128i64).max(0)).collect();
        for log in sizes {
            let n = 1 << log;
            let points = &points[..n];
            let (here, there) =
                (Bases::new(points, None), Bases::new(points, Some((&**self.accelerator, &resident))));
            let (full, small) = (&random[..n], &small[..n]);
            let on_device = gpu.elements(&bases::elements(full))?;
            let mut windows = 0.0;
            let seconds = self.kernel_seconds(|| {
                let sums = gpu.msm(&resident, 0..n, Scalars::Field(&on_device))?;
                windows = 254.0 / sums.window_bits as f64;
                Ok(())
            })?;
            let work = windows.ceil() * n as f64 * addition;
            let share = work / self.ceilings.product / seconds;
            let row =
                self.measure(what, &format!("2^{log} full"), || Ok(here.msm(full)), || Ok(there.msm(full)))?;
            (row.kernel_seconds, row.share) = (Some(seconds), Some(share));
            let seconds =
                self.kernel_seconds(|| gpu.msm(&resident, 0..n, Scalars::Small(small)).map(|_| ()))?;
            let size = format!("2^{log} 8-bit");
            let row =
                self.measure(what, &size, || Ok(here.msm_small(small)), || Ok(there.msm_small(small)))?;
            row.kernel_seconds = Some(seconds);
        }
        Ok(())
    }

    fn transform(&mut self, values: &[Fr]) -> Result<()> {
        let n = values.len();
        let coset = Coset::new(n);
        let gpu = self.accelerator.device()?;
        let (roots, shift) = coset.tables();
        let domain = gpu.domain(&bases::elements(&roots), &bases::elements(shift))?;
        let cpu = Radix2EvaluationDomain::<Fr>::new(n).expect("the field has roots of this order");
        let on_device = gpu.elements(&bases::elements(values))?;
        let seconds = self.kernel_seconds(|| gpu.ntt(&domain, &on_device).map(|_| ()))?;
        let butterflies = n as f64 / 2.0 * f64::from(n.ilog2());
        let share = butterflies / self.ceilings.product / seconds;
        let row = self.measure(
            "NTT",
            &format!("2^{}", n.ilog2()),
            || Ok(bases::elements(&cpu.fft(values))),
            || Ok(gpu.ntt(&domain, &bases::upload_scalars(gpu, values)?)?.read()?),
        )?;
        (row.kernel_seconds, row.share) = (Some(seconds), Some(share));
        Ok(())
    }

    fn work(&mut self, work: Work) -> Result<()> {
        let gpu = self.accelerator.device()?;
        let size = format!("{} x {side}^3", work.rounds, side = work.side);
        self.measure("seeded work", &size, || Ok(work.reference()), || Ok(gpu.work(&work)?))?;
        Ok(())
    }

    /// A product of matrices of bytes; the result is checked by a random combination of its columns.
    pub fn gemm(&mut self, side: usize) -> Result<()> {
        let gpu = self.accelerator.device()?;
        let mut numbers = StdRng::seed_from_u64(4);
        let mut matrix = || (0..side * side).map(|_| numbers.random_range(-128..128i64)).collect::<Vec<_>>();
        let (a, b) = (matrix(), matrix());
        let [left, right] = [&a, &b].map(|x| gpu.operand(&gpu.tensor(&[x])?, [side, side], (-128, 127)));
        let (left, right) = (left?, right?);
        let seconds = self.kernel_seconds(|| gpu.product(&left, &right).map(|_| ()))?;
        let c = gpu.product(&left, &right)?.read()?.concat();
        // c v = a (b^T v), and v has as many values as an element of c has, about.
        let v: Vec<i64> = (0..side).map(|_| numbers.random_range(-(1 << 20)..1 << 20)).collect();
        let dot = |x: &[i64], y: &[i64]| {
            x.iter().zip(y).map(|(x, y)| i128::from(*x) * i128::from(*y)).sum::<i128>()
        };
        let columns =
            (0..side).into_par_iter().map(|k| (0..side).map(|n| b[n * side + k] * v[n]).sum::<i64>());
        let columns: Vec<i64> = columns.collect();
        let right = c.par_chunks(side).zip(a.par_chunks(side)).all(|(c, a)| dot(c, &v) == dot(a, &columns));
        ensure!(right, "the product of matrices of side {side} is wrong");
        let share = (side as f64).powi(3) / self.ceilings.tensor / seconds;
        let row = Row {
            kernel_seconds: Some(seconds),
            share: Some(share),
            ..Row::new("int8 GEMM", &format!("{side}^3"))
        };
        self.push(row)?;
        Ok(())
    }
}

fn scalars(n: usize) -> Vec<Fr> {
    (0..n as u64)
        .into_par_iter()
        .map(|i| Fr::from_le_bytes_mod_order(&StdRng::seed_from_u64(i).random::<[u8; 64]>()))
        .collect()
}
