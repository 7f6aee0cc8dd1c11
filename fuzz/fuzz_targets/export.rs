//! The file that an auditor gets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = assay_verifier::audit::audit(bytes, &mut |_| ());
});
