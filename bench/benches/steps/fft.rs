//! Values on a domain to values on a coset, two transforms, beside arkworks' inverse and coset transform.

use std::hint::black_box;

use ark_bn254::Fr;
use ark_ff::PrimeField;
use ark_poly::{EvaluationDomain, GeneralEvaluationDomain};
use assay_prover::fft::Coset;
use criterion::{BatchSize, BenchmarkId, Criterion};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Domains of both forms.
pub fn extend(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fft::extend");
    let mut random = StdRng::seed_from_u64(1);
    for (name, size) in [("2^14", 1 << 14), ("3*2^12", 3 << 12), ("2^16", 1 << 16), ("3*2^14", 3 << 14)] {
        let values: Vec<Fr> =
            (0..size).map(|_| Fr::from_le_bytes_mod_order(&random.random::<[u8; 64]>())).collect();
        let mut bench = |by, extend: &dyn Fn(&mut Vec<Fr>)| {
            let id = BenchmarkId::from_parameter(format!("size={name}/by={by}"));
            group.bench_function(id, |b| {
                let extend = |values: &mut Vec<Fr>| extend(black_box(values));
                b.iter_batched_ref(|| values.clone(), extend, BatchSize::LargeInput);
            });
        };
        let coset = Coset::new(size);
        bench("assay", &|values| coset.extend(values));
        let domain = GeneralEvaluationDomain::<Fr>::new(size).expect("a domain of this size");
        let shifted = domain.get_coset(Coset::shift(size)).expect("the shift is not 0");
        assert_eq!(domain.size(), size, "arkworks has domains of both forms, too");
        bench("arkworks", &|values| {
            domain.ifft_in_place(values);
            shifted.fft_in_place(values);
        });
    }
    group.finish();
}
