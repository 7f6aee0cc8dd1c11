//! A proof's bytes: nothing that is not the proof holds, alone or in a batch.
#![no_main]

use assay_fuzz::{HONEST, changed};
use assay_verifier::proof::{verify, verify_batch};

fn seeds() {
    assay_fuzz::seed("proof", [HONEST.proof.clone(), vec![], vec![31, 0, 0, 0x80]]);
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let (key, statement) = (HONEST.prover.verifying_key(), &HONEST.statement);
    for proof in [bytes.to_vec(), changed(&HONEST.proof, bytes)] {
        let is_the_proof = proof == HONEST.proof;
        assert_eq!(verify(key, statement, &proof).is_ok(), is_the_proof);
        let batch = [(statement.clone(), HONEST.proof.clone()), (statement.clone(), proof)];
        match verify_batch(key, &batch) {
            Ok(()) => assert!(is_the_proof),
            Err(error) => assert!(!is_the_proof && error.index == 1),
        }
    }
});
