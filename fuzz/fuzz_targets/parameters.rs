//! A file of halo2 parameters: what is accepted encodes to the same bytes.
#![no_main]

use std::sync::LazyLock;

use assay_fuzz::changed;
use assay_verifier::proof::halo2::Parameters;

/// Bytes of the digest at the end.
const DIGEST: usize = 32;

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| Parameters::get(3).to_bytes());

fn seeds() {
    assay_fuzz::seed("parameters", [FILE.clone(), vec![], vec![8, 0, 0, 1], vec![12, 0, 0, 1]]);
}

fn check(bytes: &[u8]) {
    if let Ok(parameters) = Parameters::from_bytes(bytes) {
        assert_eq!(parameters.to_bytes(), bytes);
    }
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    check(bytes);
    let mut other = changed(&FILE, bytes);
    assert_eq!(Parameters::from_bytes(&other).is_ok(), other == *FILE);
    other.truncate(FILE.len() - DIGEST);
    let digest = blake3::hash(&other);
    other.extend(digest.as_bytes());
    check(&other);
});
