//! A halo2 proof's bytes: nothing but the proof holds, alone or in a batch.
#![no_main]

use std::sync::LazyLock;

use assay_circuits::samples;
use assay_fuzz::changed;
use assay_prover::halo2::Prover;
use assay_verifier::proof::{Statement, verify, verify_batch};

/// A model with a proof.
static PROOF: LazyLock<(Prover, Statement, Vec<u8>)> = LazyLock::new(|| {
    let prover = Prover::new(&samples::cell()).expect("the model has a layout");
    let trace = prover.graph().run(&[vec![5]]).expect("the input fits");
    let (statement, proof) = prover.prove(&trace, [7; 32], &[]).expect("honest");
    (prover, statement, proof)
});

fn seeds() {
    assay_fuzz::seed("halo2_proof", [PROOF.2.clone(), vec![], vec![31, 0, 0, 0x80]]);
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let (prover, statement, honest) = &*PROOF;
    let key = prover.verifying_key();
    for proof in [bytes.to_vec(), changed(honest, bytes)] {
        let is_the_proof = proof == *honest;
        assert_eq!(verify(key, statement, &proof).is_ok(), is_the_proof);
        let batch = [(statement.clone(), honest.clone()), (statement.clone(), proof)];
        match verify_batch(key, &batch) {
            Ok(()) => assert!(is_the_proof),
            Err(error) => assert!(!is_the_proof && error.index == 1),
        }
    }
});
