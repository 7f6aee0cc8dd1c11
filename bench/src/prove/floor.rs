//! The arithmetic that no prover of this kind gets below with arkworks' own routines.

use std::time::Instant;

use ark_bn254::{Fr, G1Affine, G1Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{PrimeGroup, VariableBaseMSM};
use ark_ff::PrimeField;
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use rand::RngExt;
use rand::rngs::StdRng;
use rayon::prelude::*;

/// FFTs of a textbook Groth16 prover.
pub const FFTS: usize = 7;

/// Points, scalars and values of one domain.
pub struct Floor {
    bases: Vec<G1Affine>,
    scalars: Vec<Fr>,
    domain: Radix2EvaluationDomain<Fr>,
    values: Vec<Fr>,
    msm: Vec<f64>,
    ffts: Vec<f64>,
}

/// Seconds of every run.
pub struct FloorTimes {
    pub fft_size: usize,
    pub msm: Vec<f64>,
    pub ffts: Vec<f64>,
}

impl Floor {
    /// Draws random full-width operands.
    pub fn new(size: usize, random: &mut StdRng) -> Self {
        let mut draw = |count: usize| -> Vec<Fr> {
            let wide: Vec<[u8; 64]> = (0..count).map(|_| random.random()).collect();
            wide.par_iter().map(|bytes| Fr::from_le_bytes_mod_order(bytes)).collect()
        };
        let (exponents, scalars, values) = (draw(size), draw(size), draw(size.next_power_of_two()));
        let bases = BatchMulPreprocessing::new(G1Projective::generator(), size).batch_mul(&exponents);
        let domain = Radix2EvaluationDomain::new(values.len()).expect("BN254 has roots of unity of 2^28");
        Self { bases, scalars, domain, values, msm: Vec::new(), ffts: Vec::new() }
    }

    /// Times both parts once.
    pub fn run(&mut self) {
        let began = Instant::now();
        let sum = G1Projective::msm_unchecked(&self.bases, &self.scalars);
        self.msm.push(began.elapsed().as_secs_f64());
        // The sum is used, so that it is computed.
        let _ = std::hint::black_box(sum);
        let began = Instant::now();
        for _ in 0..FFTS {
            self.domain.fft_in_place(&mut self.values);
        }
        self.ffts.push(began.elapsed().as_secs_f64());
    }

    /// What was measured.
    pub fn into_times(self) -> FloorTimes {
        FloorTimes { fft_size: self.values.len(), msm: self.msm, ffts: self.ffts }
    }
}
