//! A verifying key's file: what is accepted encodes to the same bytes.
#![no_main]

use assay_fuzz::{HONEST, changed};
use assay_verifier::proof::{KeyParts, VerifyingKey, verify};

fn seeds() {
    assay_fuzz::seed("verifying_key", [HONEST.verifying_key.clone(), vec![30, 0, 0, 1]]);
}

fn check(bytes: &[u8]) -> Option<VerifyingKey> {
    let parts = KeyParts::from_bytes(bytes).ok()?;
    assert_eq!(parts.to_bytes(), bytes);
    VerifyingKey::decode(bytes).ok()
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    check(bytes);
    // Under another key, even one that differs in a name or in how it was made, the proof does not hold.
    let other = changed(&HONEST.verifying_key, bytes);
    if let Some(key) = check(&other) {
        let held = verify(&key, &HONEST.statement, &HONEST.proof).is_ok();
        assert_eq!(held, other == HONEST.verifying_key);
    }
});
