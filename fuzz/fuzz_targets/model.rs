//! A model's canonical bytes: what is accepted encodes to the same bytes.
#![no_main]

use assay_circuits::ir::Graph;
use assay_circuits::samples;

fn seeds() {
    let graphs = [
        samples::cell(),
        samples::maximum(),
        samples::dense(),
        samples::convolution(),
        samples::function(),
        samples::product(),
        samples::attention().committing(true, true),
    ];
    assay_fuzz::seed("model", graphs.map(|graph| graph.to_bytes()));
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(graph) = Graph::from_bytes(bytes) {
        assert_eq!(graph.to_bytes(), bytes);
    }
});
