//! Proving keys of small models, made once a run.

use std::sync::OnceLock;

use assay_circuits::ir::Graph;
use assay_circuits::r1cs::Family;
use assay_circuits::r1cs::witness::{Forgery, Witness};
use assay_circuits::samples;
use assay_prover::groth16::{Prover, Secret, setup};
use assay_verifier::proof::{self, ProofError, Statement};

pub const SEED: Secret = Secret::Seed([42; 32]);

pub fn prover(graph: Graph, omit: Option<Family>) -> Prover {
    let key = setup(&graph, SEED, omit, &|_, _| ());
    Prover::new(graph, key).expect("the key is the graph's")
}

pub fn dense() -> &'static Prover {
    static PROVER: OnceLock<Prover> = OnceLock::new();
    PROVER.get_or_init(|| prover(samples::dense(), None))
}

/// An honest proof of the dense sample.
pub fn proven(inputs: &[i32], job: u8) -> (Statement, Vec<u8>) {
    let trace = dense().graph().run(&[inputs.to_vec()]).expect("inputs fit");
    dense().prove(&trace, [job; 32]).expect("an honest proof")
}

/// Proves a forged witness and says what the verifier makes of it.
pub fn outcome(prover: &Prover, inputs: &[i32], forgery: Forgery<'_>) -> Result<(), ProofError> {
    let inputs = vec![inputs.to_vec()];
    let witness = Witness::forged(prover.graph(), prover.plan(), &inputs, forgery);
    outcome_of(prover, inputs, &witness)
}

pub fn outcome_of(prover: &Prover, inputs: Vec<Vec<i32>>, witness: &Witness) -> Result<(), ProofError> {
    let outputs = vec![witness.outputs.iter().map(|&v| i32::try_from(v).expect("small")).collect()];
    let statement = Statement { job: [1; 32], inputs, outputs };
    let proof = prover.prove_witness(witness, &statement);
    proof::verify(prover.verifying_key(), &statement, &proof)
}
