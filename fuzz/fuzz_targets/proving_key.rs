//! A proving key's file.
#![no_main]

use assay_circuits::samples;
use assay_prover::groth16::ProvingKey;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ProvingKey::read(bytes, &samples::cell());
});
