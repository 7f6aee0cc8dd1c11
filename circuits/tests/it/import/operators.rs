//! Every operator that is imported agrees with tract's float result.

use assay_circuits::import::{self, Options, Reference};
use assay_circuits::ir::{Graph, Op, elements};

use super::onnx::{Onnx, float, int, ints, string, uniform};
use tract_onnx::pb::AttributeProto;

/// Tight enough that a wrong weight, axis or window is far outside.
const MAX_ERROR: f64 = 5e-4;

/// Imports a model of input `x` and output `y` and compares both on samples that it was not calibrated on.
fn agrees(model: Onnx, range: (f32, f32)) -> Graph {
    let bytes = model.output("y").bytes();
    agrees_all(&bytes, range)
}

fn agrees_all(bytes: &[u8], range: (f32, f32)) -> Graph {
    let options = Options { range, max_error: MAX_ERROR, ..Options::default() };
    let graph = import::onnx(bytes, &options).unwrap().graph;
    let reference = Reference::new(bytes, &options).unwrap();
    let mut pairs: Vec<Vec<(f32, f32)>> = vec![Vec::new(); graph.outputs().len()];
    for seed in 0..24 {
        let inputs: Vec<Vec<f32>> = graph
            .inputs()
            .iter()
            .map(|port| uniform(1000 + seed, elements(&port.shape), range.0, range.1))
            .collect();
        let quantised: Vec<Vec<i32>> = graph
            .inputs()
            .iter()
            .zip(&inputs)
            .map(|(port, values)| values.iter().map(|&v| port.quant.quantize(v)).collect())
            .collect();
        let integers = graph.run(&quantised).unwrap().outputs(&graph);
        let floats = reference.run(&inputs).unwrap();
        for (index, output) in graph.outputs().iter().enumerate() {
            assert_eq!(integers[index].len(), floats[index].len());
            let real = |&q: &i32| output.port.quant.dequantize(q);
            pairs[index].extend(integers[index].iter().map(real).zip(floats[index].iter().copied()));
        }
    }
    for pairs in pairs {
        let error = pairs.iter().map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / pairs.len() as f64;
        let (lo, hi) = pairs.iter().fold((f32::MAX, f32::MIN), |(lo, hi), (_, b)| (lo.min(*b), hi.max(*b)));
        assert!(hi > lo, "the test distinguishes nothing");
        let share = error / f64::from(hi - lo);
        // Rounding of the inputs is not the search's to choose.
        let step = graph.inputs().iter().map(|port| port.quant.scale).fold(0.0, f64::max);
        let allowed = 4.0 * MAX_ERROR + step / f64::from(hi - lo);
        assert!(share < allowed, "mean error is {:.3} % of the range {lo}..{hi}", share * 100.0);
    }
    graph
}

fn operators(graph: &Graph) -> Vec<&'static str> {
    let name = |op: &Op| match op {
        Op::Dense(_) => "Dense",
        Op::Conv2d(_) => "Conv2d",
        Op::MaxPool2d(_) => "MaxPool2d",
        Op::Requantize(_) => "Requantize",
        Op::Reshape => "Reshape",
        other => panic!("{other:?}"),
    };
    graph.nodes().iter().map(|node| name(&node.op)).collect()
}

fn image() -> Onnx {
    Onnx::new(&[1, 4, 9, 8])
}

fn conv(
    model: Onnx,
    input: &str,
    output: &str,
    out: i64,
    depth: i64,
    kernel: &[i64],
    rest: Vec<AttributeProto>,
) -> Onnx {
    let (w, b) = (format!("{output}.w"), format!("{output}.b"));
    let dims: Vec<i64> = [out, depth].iter().chain(kernel).copied().collect();
    let model = model.weights(&w, &dims, -0.6, 0.5).weights(&b, &[out], -0.3, 0.3);
    model.node("Conv", &[input, &w, &b], output, rest)
}

#[test]
fn gemm_with_transposed_weights_alpha_and_beta() {
    let model = Onnx::new(&[1, 12]).weights("w", &[7, 12], -1.0, 1.0).weights("b", &[7], -1.0, 1.0);
    let attributes = vec![int("transB", 1), float("alpha", 0.5), float("beta", -2.0)];
    let graph = agrees(model.node("Gemm", &["x", "w", "b"], "y", attributes), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Dense", "Requantize"]);
}

#[test]
fn matmul_then_add_is_one_dense_layer() {
    let model = Onnx::new(&[1, 12]).weights("w", &[12, 7], -1.0, 1.0).weights("b", &[7], -1.0, 1.0);
    let model = model.node("MatMul", &["x", "w"], "m", vec![]).node("Add", &["b", "m"], "y", vec![]);
    assert_eq!(operators(&agrees(model, (-1.0, 1.0))), ["Dense", "Requantize"]);
}

#[test]
fn matmul_of_a_constant_and_an_activation() {
    let model = Onnx::new(&[12, 1]).weights("w", &[7, 12], -1.0, 1.0);
    agrees(model.node("MatMul", &["w", "x"], "y", vec![]), (-1.0, 1.0));
}

#[test]
fn a_perceptron_with_relu() {
    let model = Onnx::new(&[1, 20]).weights("w1", &[20, 16], -0.5, 0.5).weights("w2", &[16, 5], -0.5, 0.5);
    let model = model.node("MatMul", &["x", "w1"], "h", vec![]).node("Relu", &["h"], "r", vec![]);
    let graph = agrees(model.node("MatMul", &["r", "w2"], "y", vec![]), (-1.0, 1.0));
    assert_eq!(operators(&graph), ["Dense", "Requantize", "Dense", "Requantize"]);
    let Op::Requantize(rule) = &graph.nodes()[1].op else { panic!("expected a Requantize") };
    assert_eq!(rule.lo, 0, "Relu is the lower bound of the type");
}

#[test]
fn convolutions_with_stride_padding_dilation_and_groups() {
    let plain = vec![ints("kernel_shape", &[3, 3])];
    agrees(conv(image(), "x", "y", 5, 4, &[3, 3], plain), (0.0, 1.0));
    let all = vec![
        ints("strides", &[2, 1]),
        ints("pads", &[1, 2, 0, 1]),
        ints("dilations", &[1, 2]),
        int("group", 2),
    ];
    agrees(conv(image(), "x", "y", 6, 2, &[3, 2], all), (-1.0, 1.0));
    let depthwise = vec![int("group", 4), ints("pads", &[1, 1, 1, 1])];
    agrees(conv(image(), "x", "y", 8, 1, &[3, 3], depthwise), (0.0, 1.0));
}

#[test]
fn convolutions_whose_padding_is_named() {
    for padding in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let attributes = vec![string("auto_pad", padding), ints("strides", &[2, 2])];
        agrees(conv(image(), "x", "y", 3, 4, &[3, 4], attributes), (0.0, 1.0));
    }
}

#[test]
fn a_convolution_over_one_axis() {
    let attributes = vec![ints("strides", &[2]), ints("pads", &[2, 1])];
    agrees(conv(Onnx::new(&[1, 4, 30]), "x", "y", 5, 4, &[5], attributes), (0.0, 1.0));
}

#[test]
fn batch_normalisation_folds_into_the_convolution_before_it() {
    let model = conv(image(), "x", "c", 5, 4, &[3, 3], vec![]);
    let graph = agrees(batch_norm(model, "c", "y", 5), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Conv2d", "Requantize"]);
}

#[test]
fn batch_normalisation_of_an_input_folds_into_the_layer_behind_it() {
    let model = conv(batch_norm(image(), "x", "n", 4), "n", "y", 3, 4, &[3, 3], vec![]);
    assert_eq!(operators(&agrees(model, (0.0, 1.0))), ["Conv2d", "Requantize"]);
}

#[test]
fn batch_normalisation_before_a_padded_convolution_is_a_layer_of_its_own() {
    let model = batch_norm(image(), "x", "n", 4);
    let model = conv(model, "n", "y", 3, 4, &[3, 3], vec![ints("pads", &[1, 1, 1, 1])]);
    let graph = agrees(model, (0.0, 1.0));
    assert_eq!(operators(&graph).iter().filter(|&&op| op == "Conv2d").count(), 2);
}

fn batch_norm(model: Onnx, input: &str, output: &str, channels: i64) -> Onnx {
    let name = |part: &str| format!("{output}.{part}");
    let names = [name("scale"), name("bias"), name("mean"), name("var")];
    let model = model.weights(&names[0], &[channels], -1.5, 1.5).weights(&names[1], &[channels], -1.0, 1.0);
    let model = model.weights(&names[2], &[channels], -1.0, 1.0).weights(&names[3], &[channels], 0.5, 2.0);
    let inputs: Vec<&str> = std::iter::once(input).chain(names.iter().map(String::as_str)).collect();
    model.node("BatchNormalization", &inputs, output, vec![float("epsilon", 1e-3)])
}

#[test]
fn normalising_an_input_with_sub_and_div_costs_nothing() {
    let model = image().weights("mean", &[1, 4, 1, 1], 0.3, 0.6).weights("std", &[4, 1, 1], 0.2, 0.5);
    let model = model.node("Sub", &["x", "mean"], "s", vec![]).node("Div", &["s", "std"], "n", vec![]);
    let graph = agrees(conv(model, "n", "y", 3, 4, &[3, 3], vec![]), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Conv2d", "Requantize"]);
}

#[test]
fn constants_are_subtracted_from_and_activations_negated() {
    let model = Onnx::new(&[1, 6]).weights("c", &[1, 6], -1.0, 1.0).weights("w", &[6, 4], -1.0, 1.0);
    let model = model.node("MatMul", &["x", "w"], "m", vec![]).constant("two", &[], &[2.0]);
    let model = model.node("Sub", &["two", "m"], "s", vec![]).node("Mul", &["two", "s"], "t", vec![]);
    agrees(model.node("Relu", &["t"], "y", vec![]), (-1.0, 1.0));
}

#[test]
fn an_elementwise_scale_behind_a_relu_folds_into_the_next_layer() {
    let model = Onnx::new(&[1, 8]).weights("w1", &[8, 8], -1.0, 1.0).weights("w2", &[8, 4], -1.0, 1.0);
    let model = model.node("MatMul", &["x", "w1"], "m", vec![]).node("Relu", &["m"], "r", vec![]);
    let model = model.weights("s", &[1, 8], -1.0, 1.0).weights("o", &[8], -1.0, 1.0);
    let model = model.node("Mul", &["r", "s"], "rs", vec![]).node("Add", &["rs", "o"], "n", vec![]);
    let graph = agrees(model.node("MatMul", &["n", "w2"], "y", vec![]), (-1.0, 1.0));
    assert_eq!(operators(&graph), ["Dense", "Requantize", "Dense", "Requantize"]);
}

#[test]
fn an_output_may_be_elementwise() {
    let model = Onnx::new(&[1, 3, 5]).weights("s", &[3, 1], -2.0, 2.0).weights("o", &[5], -1.0, 1.0);
    agrees(model.node("Mul", &["x", "s"], "m", vec![]).node("Add", &["m", "o"], "y", vec![]), (-1.0, 1.0));
}

#[test]
fn clips_are_bounds_of_the_integer_type() {
    let dense = |lo: f32, hi: f32| {
        let model = Onnx::new(&[1, 10]).weights("w", &[10, 6], -2.0, 2.0);
        let model = model.constant("lo", &[], &[lo]).constant("hi", &[], &[hi]);
        model.node("MatMul", &["x", "w"], "m", vec![]).node("Clip", &["m", "lo", "hi"], "y", vec![])
    };
    for (lo, hi) in [(0.0, 1.5), (-1.0, 1.0), (-0.25, 2.0), (-2.0, 0.25), (f32::NEG_INFINITY, 1.0)] {
        let graph = agrees(dense(lo, hi), (-1.0, 1.0));
        let quant = graph.outputs()[0].port.quant;
        let (least, greatest) = (f64::from(quant.lo) * quant.scale, f64::from(quant.hi) * quant.scale);
        assert!(greatest <= f64::from(hi) + quant.scale, "{lo} {hi} {quant:?}");
        assert!(least >= f64::from(lo) - quant.scale * 1.5, "{lo} {hi} {quant:?}");
    }
}

#[test]
fn min_and_max_with_a_number_are_bounds() {
    let model = Onnx::new(&[1, 10]).weights("w", &[10, 6], -2.0, 2.0).constant("six", &[1], &[1.25]);
    let model = model.constant("zero", &[], &[0.0]).node("MatMul", &["x", "w"], "m", vec![]);
    let model = model.node("Max", &["m", "zero"], "a", vec![]).node("Min", &["six", "a"], "y", vec![]);
    agrees(model, (-1.0, 1.0));
}

#[test]
fn max_pools_move_before_the_relu() {
    let model = conv(image(), "x", "c", 3, 4, &[2, 2], vec![]).node("Relu", &["c"], "r", vec![]);
    let pool = vec![ints("kernel_shape", &[2, 3]), ints("strides", &[2, 1])];
    let graph = agrees(model.node("MaxPool", &["r"], "y", pool), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Conv2d", "MaxPool2d", "Requantize"]);
}

#[test]
fn max_pools_with_padding_dilation_and_rounding_up() {
    let pools = [
        vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])],
        vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 3])],
        vec![ints("kernel_shape", &[2, 3]), ints("strides", &[2, 3]), int("ceil_mode", 1)],
    ];
    for pool in pools {
        let model = conv(image(), "x", "c", 3, 4, &[2, 2], vec![ints("pads", &[1, 0, 0, 1])]);
        agrees(model.node("MaxPool", &["c"], "y", pool), (-1.0, 1.0));
    }
}

#[test]
fn a_pool_of_the_input_and_a_pool_over_one_axis() {
    let pool = || vec![ints("kernel_shape", &[2]), ints("strides", &[2])];
    let model = Onnx::new(&[1, 3, 16]).node("MaxPool", &["x"], "p", pool());
    agrees(conv(model, "p", "y", 4, 3, &[3], vec![]), (-1.0, 1.0));
}

#[test]
fn averages_are_convolutions() {
    let pool = vec![ints("kernel_shape", &[3, 2]), ints("strides", &[2, 2])];
    agrees(image().node("AveragePool", &["x"], "y", pool), (-1.0, 1.0));
    let padded =
        vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1]), int("count_include_pad", 1)];
    agrees(image().node("AveragePool", &["x"], "y", padded), (-1.0, 1.0));
    agrees(image().node("GlobalAveragePool", &["x"], "y", vec![]), (-1.0, 1.0));
    let mean = vec![ints("axes", &[2, 3]), int("keepdims", 0)];
    agrees(image().node("ReduceMean", &["x"], "y", mean), (-1.0, 1.0));
}

#[test]
fn global_maxima_are_pools() {
    agrees(image().node("GlobalMaxPool", &["x"], "y", vec![]), (-1.0, 1.0));
}

#[test]
fn shapes_computed_in_the_graph_are_folded() {
    let model = conv(image(), "x", "c", 3, 4, &[3, 3], vec![]).node("Shape", &["c"], "shape", vec![]);
    let model = model.integers("zero", &[0]).integers("rest", &[-1]);
    let model = model.node("Gather", &["shape", "zero"], "batch", vec![int("axis", 0)]);
    let model = model.node("Concat", &["batch", "rest"], "target", vec![int("axis", 0)]);
    let model = model.node("Reshape", &["c", "target"], "flat", vec![]).weights("w", &[126, 5], -0.3, 0.3);
    agrees(model.node("MatMul", &["flat", "w"], "y", vec![]), (0.0, 1.0));
}

#[test]
fn flatten_squeeze_unsqueeze_identity_and_dropout_are_free() {
    let model = Onnx::new(&[1, 3, 1, 5]).integers("axis", &[2]).integers("front", &[0]);
    let model =
        model.node("Squeeze", &["x", "axis"], "s", vec![]).node("Unsqueeze", &["s", "front"], "u", vec![]);
    let model = model.node("Identity", &["u"], "i", vec![]).node("Dropout", &["i"], "d", vec![]);
    let model = model.node("Flatten", &["d"], "f", vec![int("axis", 1)]).weights("w", &[15, 4], -1.0, 1.0);
    let graph = agrees(model.node("MatMul", &["f", "w"], "y", vec![]), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Dense", "Requantize"]);
}

#[test]
fn a_transposed_tensor_is_read_by_a_dense_layer_in_its_own_order() {
    let model = conv(image(), "x", "c", 3, 4, &[3, 3], vec![]).node("Relu", &["c"], "r", vec![]);
    let model = model.node("Transpose", &["r"], "t", vec![ints("perm", &[0, 2, 3, 1])]);
    let model = model.node("Flatten", &["t"], "f", vec![]).weights("w", &[126, 5], -0.3, 0.3);
    let graph = agrees(model.node("MatMul", &["f", "w"], "y", vec![]), (0.0, 1.0));
    assert_eq!(operators(&graph), ["Conv2d", "Requantize", "Dense", "Requantize"]);
}

#[test]
fn an_image_of_one_channel_may_have_its_channel_last() {
    let model = Onnx::new(&[1, 9, 8, 1]).node("Transpose", &["x"], "t", vec![ints("perm", &[0, 3, 1, 2])]);
    agrees(conv(model, "t", "y", 3, 1, &[3, 3], vec![]), (0.0, 1.0));
}

#[test]
fn two_outputs_share_a_trunk_and_two_inputs_stay_apart() {
    let model = Onnx::new(&[1, 8]).input("z", vec![super::onnx::Dim::Size(1), super::onnx::Dim::Size(6)]);
    let model = model.weights("w1", &[8, 8], -1.0, 1.0).weights("w2", &[8, 4], -1.0, 1.0);
    let model = model.weights("w3", &[8, 3], -1.0, 1.0).weights("w4", &[6, 3], -1.0, 1.0);
    let model = model.node("MatMul", &["x", "w1"], "m", vec![]).node("Relu", &["m"], "r", vec![]);
    let model = model.node("MatMul", &["r", "w2"], "a", vec![]).node("MatMul", &["r", "w3"], "b", vec![]);
    let model = model.node("MatMul", &["z", "w4"], "c", vec![]);
    let model = model.output("b").output("a").output("c").output("r");
    let graph = agrees_all(&model.bytes(), (-1.0, 1.0));
    let names: Vec<&str> = graph.outputs().iter().map(|output| output.port.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c", "r"]);
    assert_eq!(
        operators(&graph).iter().filter(|&&op| op == "Dense").count(),
        4,
        "the trunk is computed once"
    );
}

#[test]
fn the_greatest_of_a_functions_values() {
    let model =
        Onnx::new(&[1, 3, 8]).node("Tanh", &["x"], "t", vec![]).node("GlobalMaxPool", &["t"], "y", vec![]);
    let graph = agrees(model, (-2.0, 2.0));
    assert!(graph.nodes().iter().any(|node| matches!(node.op, Op::Table(_))));
}

#[test]
fn a_function_spelt_out_is_one_table() {
    let model =
        Onnx::new(&[1, 16]).node("Sigmoid", &["x"], "s", vec![]).node("Mul", &["x", "s"], "y", vec![]);
    let graph = agrees(model, (-4.0, 4.0));
    let tables = graph.nodes().iter().filter(|node| matches!(node.op, Op::Table(_))).count();
    assert_eq!((tables, graph.nodes().iter().any(|node| node.op == Op::Multiply)), (1, false));
}

/// Near 0 a table over few bits would lose the root.
#[test]
fn the_root_of_a_sum_of_squares_is_exact() {
    let model = Onnx::new(&[1, 3, 8]).node("ReduceL2", &["x"], "y", vec![ints("axes", &[1])]);
    let graph = agrees(model, (-1.0, 1.0));
    let tables = graph.nodes().iter().any(|node| matches!(node.op, Op::Table(_)));
    assert_eq!((tables, graph.nodes().iter().filter(|node| node.op == Op::Sqrt).count()), (false, 1));
    let small = graph.run(&[vec![3; 24]]).unwrap().outputs(&graph);
    let (x, y) = (graph.inputs()[0].quant.scale, graph.outputs()[0].port.quant.scale);
    let expected = 27f64.sqrt() * x / y;
    assert!(small[0].iter().all(|&got| (f64::from(got) - expected).abs() <= 1.0), "{small:?} for {expected}");
}

#[test]
fn sums_and_products_of_two_activations() {
    let model =
        Onnx::new(&[1, 12]).weights("w", &[12, 12], -0.5, 0.5).node("MatMul", &["x", "w"], "h", vec![]);
    let model = model.node("Mul", &["x", "h"], "p", vec![]).node("Add", &["p", "x"], "y", vec![]);
    let graph = agrees(model, (-1.0, 1.0));
    assert!(graph.nodes().iter().any(|node| node.op == Op::Multiply));
}

/// A model whose first operator quantises dynamically, its product scaled as exporters write it, or not.
fn quantised_dynamically(scaled: bool, weights: &[u8]) -> Onnx {
    let model = Onnx::new(&[2, 12]).bytes_of("w", &[12, 3], weights).bytes_of("wz", &[], &[100]);
    let model = model.constant("ws", &[], &[0.02]).constant("one", &[], &[1.0]);
    let model = model.nodes("DynamicQuantizeLinear", &["x"], &["q", "s", "z"], vec![]);
    let model = model.node("MatMulInteger", &["q", "w", "z", "wz"], "m", vec![]);
    let model = model.node("Cast", &["m"], "c", vec![int("to", 1)]).node("Mul", &["s", "ws"], "sw", vec![]);
    model.node("Mul", &["c", if scaled { "sw" } else { "one" }], "y", vec![])
}

#[test]
fn dynamic_quantisation_is_folded_where_its_scale_comes_back() {
    let weights: Vec<u8> = (0..36).map(|i| (i * 41 % 251) as u8).collect();
    let options = Options { range: (-1.0, 1.0), max_error: MAX_ERROR, ..Options::default() };
    let bytes = quantised_dynamically(true, &weights).output("y").bytes();
    let folded = import::onnx(&bytes, &options).unwrap().graph;
    let plain: Vec<f32> = weights.iter().map(|&w| (f32::from(w) - 100.0) * 0.02).collect();
    let plain = Onnx::new(&[2, 12]).constant("w", &[12, 3], &plain).node("MatMul", &["x", "w"], "y", vec![]);
    let plain = import::onnx(&plain.output("y").bytes(), &options).unwrap().graph;
    for seed in 0..8 {
        let x = uniform(seed, 24, -1.0, 1.0);
        let run = |graph: &Graph| {
            let input = x.iter().map(|&v| graph.inputs()[0].quant.quantize(v)).collect();
            let output = graph.run(&[input]).unwrap().outputs(graph).concat();
            output.iter().map(|&q| graph.outputs()[0].port.quant.dequantize(q)).collect::<Vec<f32>>()
        };
        for (a, b) in run(&folded).iter().zip(run(&plain)) {
            assert!((a - b).abs() < 0.02, "{a} and {b}");
        }
    }
}

#[test]
fn the_greatest_elements_and_their_places() {
    let model = |axis, k, largest| {
        let model = Onnx::new(&[3, 6]).integers("k", &[k]);
        let attributes = vec![int("axis", axis), int("largest", largest)];
        let model = model.nodes("TopK", &["x", "k"], &["v", "i"], attributes);
        model.node("Cast", &["i"], "p", vec![int("to", 1)]).output("v").output("p")
    };
    for (axis, k, largest) in [(1, 3, 1), (-1, 2, 0), (0, 3, 1), (1, 6, 0)] {
        let bytes = model(axis, k, largest).bytes();
        let options = Options { range: (0.0, 15.0), max_error: MAX_ERROR, ..Options::default() };
        let graph = import::onnx(&bytes, &options).unwrap().graph;
        // Whole numbers, so that some are equal and each is exact.
        let x: Vec<f32> = (0..18).map(|i| (i * 7 % 11) as f32).collect();
        let input = x.iter().map(|&v| graph.inputs()[0].quant.quantize(v)).collect();
        let outputs = graph.run(&[input]).unwrap().outputs(&graph);
        let real = |port: usize| -> Vec<f32> {
            outputs[port].iter().map(|&q| graph.outputs()[port].port.quant.dequantize(q)).collect()
        };
        let (values, places) = (real(0), real(1));
        let (lines, stride, step, size) = if axis == 0 { (6, 1, 6, 3) } else { (3, 6, 1, 6) };
        for line in 0..lines {
            let mut order: Vec<usize> = (0..size).collect();
            let at = |e: usize| x[line * stride + e * step];
            let sign = if largest == 1 { -1.0 } else { 1.0 };
            order.sort_by(|&a, &b| (sign * at(a)).total_cmp(&(sign * at(b))));
            for (rank, &element) in order.iter().take(k as usize).enumerate() {
                let y = if axis == 0 { rank * 6 + line } else { line * k as usize + rank };
                assert!(
                    (places[y] - element as f32).abs() < 0.05,
                    "{axis} {k} {largest}: place {rank} of {line}"
                );
                assert!(
                    (values[y] - at(element)).abs() < 0.1,
                    "{axis} {k} {largest}: value {rank} of {line}"
                );
            }
        }
    }
}

#[test]
fn products_of_whole_numbers_are_exact() {
    let model = Onnx::new(&[6]).integers("back", &[5, 4, 3, 2, 1, 0]).node("Floor", &["x"], "f", vec![]);
    let model = model.node("Gather", &["f", "back"], "g", vec![]).node("Mul", &["f", "g"], "y", vec![]);
    let options = Options { range: (0.0, 15.0), max_error: 0.05, ..Options::default() };
    let graph = import::onnx(&model.output("y").bytes(), &options).unwrap().graph;
    let numbers = [1, 14, 3, 7, 5, 11];
    let input = numbers.iter().map(|&n| graph.inputs()[0].quant.quantize(n as f32 + 0.5)).collect();
    let output = graph.run(&[input]).unwrap().outputs(&graph).concat();
    let real: Vec<f32> = output.iter().map(|&q| graph.outputs()[0].port.quant.dequantize(q)).collect();
    let expected: Vec<f32> = (0..6).map(|i| (numbers[i] * numbers[5 - i]) as f32).collect();
    assert_eq!(real, expected);
}
