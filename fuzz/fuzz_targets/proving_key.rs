//! A proving key's file: another one than was written is refused, and one with a digest that fits makes no proof that
//! is handed out and does not hold.
#![no_main]

use assay_circuits::samples;
use assay_fuzz::{HONEST, INPUT, changed};
use assay_prover::groth16::{Prover, ProvingKey};
use assay_verifier::proof::verify;

/// Bytes of the digest at a key's end.
const DIGEST: usize = 32;

fn seeds() {
    // The verifying key's length; the limb width behind the verifying key.
    let limbs = u32::try_from(16 + HONEST.verifying_key.len()).expect("a small key").to_le_bytes();
    assay_fuzz::seed(
        "proving_key",
        [HONEST.proving_key.clone(), vec![8, 0, 0, 1], vec![limbs[0], limbs[1], limbs[2], 1]],
    );
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let graph = samples::dense();
    assert_eq!(ProvingKey::read(bytes, &graph).is_ok(), bytes == HONEST.proving_key);
    let mut other = changed(&HONEST.proving_key, bytes);
    assert_eq!(ProvingKey::read(&other[..], &graph).is_ok(), other == HONEST.proving_key);

    other.truncate(HONEST.proving_key.len() - DIGEST);
    let digest = blake3::hash(&other);
    other.extend(digest.as_bytes());
    // A proof takes longer than all of the above.
    if other == HONEST.proving_key {
        return;
    }
    if let Ok(key) = ProvingKey::read(&other[..], &graph)
        && let Ok(prover) = Prover::new(graph, key)
    {
        let trace = prover.graph().run(&[INPUT.to_vec()]).expect("the input fits");
        if let Ok((statement, proof)) = prover.prove(&trace, [7; 32], &[]) {
            assert!(verify(prover.verifying_key(), &statement, &proof).is_ok());
        }
    }
});
