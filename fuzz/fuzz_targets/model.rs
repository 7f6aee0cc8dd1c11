//! A model's canonical bytes: what is accepted encodes to the same bytes.
#![no_main]

use assay_circuits::ir::Graph;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = Graph::from_bytes(bytes) {
        assert_eq!(graph.to_bytes(), bytes);
    }
});
