//! From an input to a proof, step by step, and verification alone and in batches.

use std::hint::black_box;

use assay_circuits::r1cs::witness::Witness;
use assay_verifier::proof::{Statement, verify as verify_proof, verify_batch};
use criterion::{BenchmarkId, Criterion};

use crate::models::{MODELS, graph, input, prover};

/// Inference, witness, proof.
pub fn prove(criterion: &mut Criterion) {
    for model in MODELS {
        let prover = prover(graph(model));
        let (graph, plan) = (prover.graph(), prover.plan());
        let input = input(graph, 1);
        let trace = graph.run(&input).expect("the input fits");
        let witness = Witness::new(graph, plan, &trace).expect("honest");
        let statement = prover.statement(&trace, [0; 32], &[]);
        let id = |name: &str| BenchmarkId::new(name, format!("model={model}"));
        criterion.bench_with_input(id("infer::run"), &input, |b, input| b.iter(|| graph.run(input)));
        criterion.bench_with_input(id("witness::new"), &trace, |b, trace| {
            b.iter(|| Witness::new(graph, plan, black_box(trace)));
        });
        criterion.bench_with_input(id("proof::prove"), &witness, |b, witness| {
            b.iter(|| prover.prove_witness(witness, &statement, &[]));
        });
    }
}

/// One proof, and batches of distinct proofs of one key.
pub fn verify(criterion: &mut Criterion) {
    let prover = prover(graph("mlp"));
    let key = prover.verifying_key();
    let proofs: Vec<(Statement, Vec<u8>)> = (0..256)
        .map(|seed| {
            let trace = prover.graph().run(&input(prover.graph(), seed)).expect("the input fits");
            let witness = Witness::new(prover.graph(), prover.plan(), &trace).expect("honest");
            let statement = prover.statement(&trace, [0; 32], &[]);
            let proof = prover.prove_witness(&witness, &statement, &[]);
            (statement, proof)
        })
        .collect();
    let (statement, proof) = &proofs[0];
    criterion.bench_function("proof::verify/model=mlp", |b| {
        b.iter(|| verify_proof(key, black_box(statement), proof).expect("honest"));
    });
    for count in [4, 32, 256] {
        criterion.bench_function(&format!("proof::verify_batch/proofs={count}"), |b| {
            b.iter(|| verify_batch(key, black_box(&proofs[..count])).expect("honest"));
        });
    }
}
