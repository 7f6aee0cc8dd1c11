//! The trained models with keys, and inputs.

use std::fs::File;
use std::path::Path;

use assay_circuits::import::{self, Options, Samples};
use assay_circuits::ir::{Graph, elements};
use assay_prover::groth16::{Prover, Secret, setup};
use ndarray::ArrayD;
use ndarray_npy::NpzReader;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Names of the models.
pub const MODELS: [&str; 2] = ["mlp", "lenet5"];

/// The integer graph of a model of this crate's `models`.
pub fn graph(name: &str) -> Graph {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let calibration = File::open(folder.join("calibration.npz")).expect("a file of the repository");
    let images: ArrayD<f32> =
        NpzReader::new(calibration).expect("an archive").by_name("image").expect("images");
    let samples =
        Samples { name: None, shape: images.shape().to_vec(), values: images.into_iter().collect() };
    let options = Options { calibration: vec![samples], ..Options::default() };
    let file = std::fs::read(folder.join(format!("{name}.onnx"))).expect("a file of the repository");
    import::onnx(&file, &options).expect("a model of the repository").graph
}

/// A model ready to prove.
pub fn prover(graph: Graph) -> Prover {
    let key = setup(&graph, Secret::Random, None, &|_, _| ());
    Prover::new(graph, key).expect("a key that was just made")
}

/// Integers drawn evenly from the type of the only input.
pub fn input(graph: &Graph, seed: u64) -> Vec<Vec<i32>> {
    let mut random = StdRng::seed_from_u64(seed);
    let draw = |port: &assay_circuits::ir::Port| {
        (0..elements(&port.shape)).map(|_| random.random_range(port.quant.lo..=port.quant.hi)).collect()
    };
    graph.inputs().iter().map(draw).collect()
}
