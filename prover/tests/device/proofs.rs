//! Proofs made on the device are those of the processor, byte for byte.

use ark_bn254::Fr;
use ark_ff::UniformRand;
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, TensorId};
use assay_circuits::r1cs::witness::Witness;
use assay_circuits::samples;
use assay_prover::backend::Accelerator;
use assay_prover::groth16::{Prover, ProvingKey, Secret, draw_salts, setup};
use assay_verifier::proof;

use crate::{accelerator, alone, emulated};

fn key(graph: &Graph) -> ProvingKey {
    setup(graph, Secret::Seed([7; 32]), None, &|_, _| {})
}

#[test]
fn the_same_randomness_makes_the_same_proof() {
    let Some(accelerator) = accelerator() else { return };
    // Lookups, products and the rows over the field of a commitment.
    let cases = [
        (samples::dense(), vec![vec![3, 200, 17]]),
        (samples::product(), vec![vec![100]]),
        (samples::hidden_cell().committing(true, false), vec![vec![41]]),
    ];
    for (graph, inputs) in cases {
        let key = key(&graph);
        let here = Prover::new(graph.clone(), key.clone()).expect("a prover");
        let mut there = Prover::new(graph.clone(), key).expect("a prover");
        there.copy_to(&accelerator).expect("room");
        let trace = graph.run(&inputs).expect("inputs fit");
        let salts = draw_salts(&graph);
        let witness = Witness::new(&graph, here.plan(), &trace).expect("a witness");
        let statement = here.statement(&trace, [1; 32], &salts);
        let [on_cpu, on_device] = [&here, &there].map(|prover| {
            let mut rng = ark_std::test_rng();
            prover.prove_with(&witness, &statement, &salts, &mut || Fr::rand(&mut rng))
        });
        assert_eq!(on_cpu, on_device);
        proof::verify(here.verifying_key(), &statement, &on_device).expect("it verifies");
        let (statement, proof) = there.prove(&trace, [2; 32], &salts).expect("a proof");
        proof::verify(here.verifying_key(), &statement, &proof).expect("it verifies");
        assert!(accelerator.gpu().is_some(), "the device answered");
    }
}

#[test]
fn a_device_that_begins_to_compute_wrong_is_given_up_and_the_proof_made_anew() {
    let _alone = alone();
    let Some(gpu) = emulated(9) else { return };
    let accelerator = Accelerator::new(gpu).expect("it computes right at first");
    let graph = samples::dense();
    let mut prover = Prover::new(graph.clone(), key(&graph)).expect("a prover");
    prover.copy_to(&accelerator).expect("room");
    let trace = graph.run(&[vec![3, 200, 17]]).expect("inputs fit");
    for _ in 0..3 {
        let (statement, proof) = prover.prove(&trace, [3; 32], &[]).expect("a proof, whoever makes it");
        proof::verify(prover.verifying_key(), &statement, &proof).expect("it verifies");
    }
    assert!(accelerator.gpu().is_none(), "the device is given up");
}

#[test]
fn a_witness_that_is_wrong_costs_no_device() {
    let Some(accelerator) = accelerator() else { return };
    let graph = samples::dense();
    let mut prover = Prover::new(graph.clone(), key(&graph)).expect("a prover");
    prover.copy_to(&accelerator).expect("room");
    let trace = graph.run(&[vec![3, 200, 17]]).expect("inputs fit");
    // The last tensor is the output; one more or less is still of its type.
    let mut tensors: Vec<Vec<i64>> =
        (0..graph.tensors() as u32).map(|id| trace.tensor(TensorId(id)).to_vec()).collect();
    let output = tensors.last_mut().and_then(|tensor| tensor.first_mut()).expect("an output");
    *output += if *output > 0 { -1 } else { 1 };
    assert!(prover.prove(&Trace::from_tensors(tensors), [4; 32], &[]).is_err());
    assert!(accelerator.gpu().is_some(), "the device computed right");
}
