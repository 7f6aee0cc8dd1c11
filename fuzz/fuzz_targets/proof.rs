//! A proof's bytes, against the key of a small model: nothing that is not the proof holds.
#![no_main]

use std::sync::LazyLock;

use assay_circuits::samples;
use assay_prover::groth16::{Prover, Secret, setup};
use assay_verifier::proof::{Statement, verify};

static SAMPLE: LazyLock<(Prover, Statement, Vec<u8>)> = LazyLock::new(|| {
    let key = setup(&samples::dense(), Secret::Seed([1; 32]), None, &|_, _| ());
    let prover = Prover::new(samples::dense(), key).expect("the key is the model's");
    let trace = prover.graph().run(&[vec![1, 2, 3]]).expect("fits");
    let (statement, proof) = prover.prove(&trace, [0; 32]).expect("honest");
    (prover, statement, proof)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (prover, statement, proof) = &*SAMPLE;
    // Bytes are laid over an honest proof, so that changes of single points are reached.
    let mut changed = proof.clone();
    changed.iter_mut().zip(bytes).for_each(|(old, new)| *old ^= new);
    let held = verify(prover.verifying_key(), statement, &changed).is_ok();
    assert_eq!(held, changed == *proof);
    let _ = verify(prover.verifying_key(), statement, bytes);
});
