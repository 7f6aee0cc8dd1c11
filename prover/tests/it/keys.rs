//! Proving keys of small models, made once a run.

use std::sync::OnceLock;

use assay_circuits::commitment::commit;
use assay_circuits::ir::Graph;
use assay_circuits::r1cs::Family;
use assay_circuits::r1cs::witness::{Forgery, Witness};
use assay_circuits::samples;
use assay_prover::groth16::{Prover, Secret, draw_salts, setup};
use assay_verifier::proof::{self, PortValue, ProofError, Statement};

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
    dense().prove(&trace, [job; 32], &[]).expect("an honest proof")
}

/// Proves a forged witness and says what the verifier makes of it; `committed` is what the statement commits to.
pub fn outcome(
    prover: &Prover,
    inputs: &[i32],
    forgery: Forgery<'_>,
    committed: &[i32],
) -> Result<(), ProofError> {
    let inputs = vec![inputs.to_vec()];
    let witness = Witness::forged(prover.graph(), prover.plan(), &inputs, forgery);
    outcome_of(prover, inputs, &witness, committed)
}

pub fn outcome_of(
    prover: &Prover,
    inputs: Vec<Vec<i32>>,
    witness: &Witness,
    committed: &[i32],
) -> Result<(), ProofError> {
    let outputs = vec![witness.outputs.iter().map(|&v| i32::try_from(v).expect("small")).collect()];
    let mut statement = Statement::public([1; 32], inputs, outputs);
    let salts = draw_salts(prover.graph());
    if let [salt] = &salts[..] {
        let quant = prover.graph().inputs()[0].quant;
        statement.inputs = vec![PortValue::Committed(commit(&quant, committed, salt))];
    }
    let proof = prover.prove_witness(witness, &statement, &salts);
    proof::verify(prover.verifying_key(), &statement, &proof)
}
