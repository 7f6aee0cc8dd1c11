//! The digit classifiers that are part of the repository.

use std::io::Cursor;
use std::path::PathBuf;

use assay_circuits::import::{self, Imported, Options, Reference, Samples};
use assay_circuits::ir::Graph;
use assay_circuits::r1cs::Plan;
use ndarray::{ArrayD, Axis};
use ndarray_npy::NpzReader;

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../bench/models").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn images(name: &str) -> ArrayD<f32> {
    NpzReader::new(Cursor::new(file(name))).unwrap().by_name("image").unwrap()
}

fn imported(name: &str, options: Options) -> Imported {
    let images = images("calibration.npz");
    let shape = images.shape().to_vec();
    let samples = Samples { name: Some("image".into()), shape, values: images.into_iter().collect() };
    import::onnx(&file(name), &Options { calibration: vec![samples], ..options }).unwrap()
}

fn argmax(values: &[f32]) -> i64 {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap() as i64
}

fn run(graph: &Graph, image: &[f32]) -> Vec<f32> {
    let (port, output) = (&graph.inputs()[0], &graph.outputs()[0]);
    let integers = image.iter().map(|&v| port.quant.quantize(v)).collect();
    let trace = graph.run(&[integers]).unwrap();
    trace.outputs(graph)[0].iter().map(|&q| output.port.quant.dequantize(q)).collect()
}

#[test]
fn quantising_costs_at_most_half_a_point_of_accuracy_on_unseen_digits() {
    let labels: ArrayD<i64> =
        NpzReader::new(Cursor::new(file("digits.npz"))).unwrap().by_name("label").unwrap();
    for name in ["mlp.onnx", "lenet5.onnx"] {
        let graph = imported(name, Options::default()).graph;
        let reference = Reference::new(&file(name), &Options::default()).unwrap();
        let (mut float, mut integer, mut error) = (0, 0, 0f64);
        let (mut lo, mut hi) = (f32::MAX, f32::MIN);
        for (image, &label) in images("digits.npz").axis_iter(Axis(0)).zip(&labels) {
            let image: Vec<f32> = image.iter().copied().collect();
            let expected = reference.run(std::slice::from_ref(&image)).unwrap().remove(0);
            let got = run(&graph, &image);
            float += usize::from(argmax(&expected) == label);
            integer += usize::from(argmax(&got) == label);
            error += expected.iter().zip(&got).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
            (lo, hi) = expected.iter().fold((lo, hi), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        }
        let share = error / (labels.len() * 10) as f64 / f64::from(hi - lo);
        assert!(share < 0.005, "{name}: mean error is {:.2} % of the outputs' range", share * 100.0);
        assert!(200 * (float - integer.min(float)) <= labels.len(), "{name}: {integer} instead of {float}");
    }
}

#[test]
fn the_search_finds_the_least_domains_known() {
    for (name, domain) in [("mlp.onnx", 1536), ("lenet5.onnx", 16384)] {
        let imported = imported(name, Options::default());
        let report = &imported.report;
        assert!(report.error <= 0.005, "{name}: {}", report.error);
        assert!(report.domain <= domain, "{name}: {} rows, limb width {}", report.rows, report.limb_bits);
        let plan = Plan::new(&imported.graph);
        assert_eq!(
            (report.rows, report.domain, report.limb_bits),
            (plan.rows(), plan.domain(), plan.limb_bits)
        );
        let cells: usize = plan.nodes.iter().map(|cost| cost.lookups + cost.gates).sum();
        assert_eq!(report.layers.iter().map(|layer| layer.constraints).sum::<usize>(), cells);
    }
}

#[test]
fn a_tighter_tolerance_is_met_at_a_larger_domain() {
    let loose = imported("lenet5.onnx", Options::default()).report;
    let tight = imported("lenet5.onnx", Options { max_error: 2e-4, ..Options::default() }).report;
    assert!(tight.error <= 2e-4, "{}", tight.error);
    assert!(tight.domain > loose.domain);
}

#[test]
fn the_bits_asked_for_are_the_bits_of_every_inner_activation() {
    let report = imported("mlp.onnx", Options { bits: Some(8), ..Options::default() }).report;
    assert!(report.layers[..2].iter().all(|layer| layer.bits == 8), "{:?}", report.layers);
}

#[test]
fn pixels_keep_their_bytes() {
    let graph = imported("mlp.onnx", Options::default()).graph;
    let quant = graph.inputs()[0].quant;
    assert_eq!((quant.lo, quant.hi), (0, 255));
    assert_eq!((quant.quantize(1.0), quant.quantize(128.0 / 255.0), quant.quantize(0.0)), (255, 128, 0));
}

#[test]
fn the_same_file_and_data_give_the_same_bytes_on_any_number_of_threads() {
    let id = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| imported("lenet5.onnx", Options::default()).graph.id())
    };
    assert_eq!(id(1), id(3));
}
