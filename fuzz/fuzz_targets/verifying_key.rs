//! A verifying key's file.
#![no_main]

use assay_verifier::proof::{KeyParts, VerifyingKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(parts) = KeyParts::from_bytes(bytes) {
        assert_eq!(parts.to_bytes(), bytes);
        let _ = VerifyingKey::decode(bytes);
    }
});
