//! A verifying key's file, of either system: what is accepted encodes to the same bytes.
#![no_main]

use assay_circuits::samples;
use assay_fuzz::{HONEST, changed};
use assay_verifier::proof::{KeyParts, VerifyingKey, halo2, verify};

fn seeds() {
    let halo2 = halo2::key_bytes(&samples::convolution());
    assay_fuzz::seed("verifying_key", [HONEST.verifying_key.clone(), halo2, vec![30, 0, 0, 1]]);
}

fn check(bytes: &[u8]) -> Option<VerifyingKey> {
    if let Ok(parts) = KeyParts::from_bytes(bytes) {
        assert_eq!(parts.to_bytes(), bytes);
    }
    let key = VerifyingKey::decode(bytes).ok()?;
    if let VerifyingKey::Halo2(key) = &key {
        assert_eq!(halo2::key_bytes(key.graph()), bytes);
    }
    Some(key)
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
