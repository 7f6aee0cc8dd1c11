//! An ONNX file from a stranger.
#![no_main]

use assay_circuits::import;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = import::onnx(bytes, &import::Options::default());
});
