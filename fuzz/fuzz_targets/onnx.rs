//! An ONNX file from a stranger: imported or refused, and what is imported is a model.
#![no_main]

use assay_circuits::import::{self, Options, Reference};
use assay_circuits::ir::Graph;
use assay_fuzz::onnx::{Onnx, int, ints};

fn seeds() {
    let dense = Onnx::new(&[1, 3]).weights("w", &[2, 3], -1.0, 1.0).weights("b", &[2], -1.0, 1.0);
    let dense = dense.node("Gemm", &["x", "w", "b"], "h", vec![int("transB", 1)]);
    let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), ints("pads", &[0, 0, 1, 1])];
    let conv = Onnx::new(&[1, 2, 5, 5]).weights("w", &[2, 1, 2, 2], -1.0, 1.0);
    let conv =
        conv.node("Conv", &["x", "w"], "c", vec![int("group", 2)]).node("MaxPool", &["c"], "p", window);
    let axes =
        Onnx::new(&[1, 2, 3]).integers("shape", &[1, -1]).node("Reshape", &["x", "shape"], "r", vec![]);
    let axes = axes.node("Transpose", &["r"], "t", vec![ints("perm", &[1, 0])]).constant("c", &[1], &[2.0]);
    let seeds = [
        dense.node("Relu", &["h"], "y", vec![]),
        conv.node("Flatten", &["p"], "y", vec![int("axis", 1)]),
        axes.node("Mul", &["t", "c"], "y", vec![]),
    ];
    assay_fuzz::seed("onnx", seeds.map(|model| model.output("y").bytes()));
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(imported) = import::onnx(bytes, &Options::default()) {
        let bytes = imported.graph.to_bytes();
        assert!(Graph::from_bytes(&bytes).is_ok_and(|graph| graph == imported.graph));
    }
    let _ = Reference::new(bytes, &Options::default());
});
