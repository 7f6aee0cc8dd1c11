//! Every input that cannot be imported is refused with one clear line.

use std::collections::BTreeMap;

use assay_circuits::error::ModelError;
use assay_circuits::import::{self, Options, Samples};
use assay_circuits::ir::{Port, elements};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{TensorProto, type_proto};

use super::onnx::{Dim, Onnx, float, int, ints, tensor};

fn dense() -> Onnx {
    let model = Onnx::new(&[1, 6]).weights("w", &[6, 4], -1.0, 1.0);
    model.node("MatMul", &["x", "w"], "y", vec![]).output("y")
}

fn refused(model: &Onnx) -> String {
    refused_with(&model.bytes(), &Options::default())
}

fn refused_with(bytes: &[u8], options: &Options) -> String {
    let line = import::onnx(bytes, options).expect_err("it is imported").to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.len() < 400, "{line}");
    line
}

/// The message names all of these.
fn names(line: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(line.contains(word), "{word:?} is not in {line:?}"));
}

fn unsupported(model: Onnx, node: &str, op: &str) -> String {
    match import::onnx(&model.output("y").bytes(), &Options::default()) {
        Err(ModelError::Unsupported { node: named, op: refused, needed }) => {
            assert_eq!((named.as_str(), refused.as_str()), (node, op));
            assert!(!needed.is_empty());
            needed
        }
        other => panic!("expected {op} to be unsupported, got {other:?}"),
    }
}

#[test]
fn the_model_that_the_others_are_made_from_is_imported() {
    assert!(import::onnx(&dense().bytes(), &Options::default()).is_ok());
}

#[test]
fn weights_that_are_no_numbers_name_their_node() {
    let with = |bad: f32| {
        let mut model = dense();
        model.graph().initializer[0].raw_data[8..12].copy_from_slice(&bad.to_le_bytes());
        refused(&model)
    };
    names(&with(f32::NAN), &["node y", "\"w\"", "element 2"]);
    names(&with(f32::INFINITY), &["node y", "inf"]);
    names(&with(f32::NEG_INFINITY), &["node y", "-inf"]);
    let mut model = dense();
    let weights = &mut model.graph().initializer[0];
    (weights.raw_data, weights.float_data) = (Vec::new(), vec![f32::NAN; 24]);
    names(&refused(&model), &["node y", "\"w\"", "NaN", "element 0"]);
}

#[test]
fn attributes_that_are_no_numbers_name_their_node() {
    let model = Onnx::new(&[1, 6]).weights("w", &[6, 4], -1.0, 1.0);
    let model = model.node("Gemm", &["x", "w"], "y", vec![float("alpha", f32::NAN)]).output("y");
    names(&refused(&model), &["node y", "\"alpha\"", "NaN"]);
}

#[test]
fn constants_that_become_infinite_when_folded_name_their_node() {
    let model = Onnx::new(&[1, 6]).constant("zero", &[], &[0.0]).node("Div", &["x", "zero"], "y", vec![]);
    names(&refused(&model.output("y")), &["node y", "division by zero"]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = dense().bytes();
    for end in 0..bytes.len() {
        let line = refused_with(&bytes[..end], &Options::default());
        assert!(line.starts_with("import: ") && line.contains("truncated"), "{line}");
    }
}

#[test]
fn what_is_no_onnx_file_is_refused() {
    for bytes in [&b""[..], b"PK\x03\x04", b"hello, world", &[0xff; 64]] {
        names(&refused_with(bytes, &Options::default()), &["import: ", "truncated"]);
    }
}

#[test]
fn operator_sets_outside_the_known_ones_are_refused() {
    for version in [0, 6, 29, i64::MAX] {
        let mut model = dense();
        model.proto.opset_import[0].version = version;
        names(&refused(&model), &["operator set", &version.to_string()]);
    }
}

#[test]
fn unsupported_operators_are_named_with_what_they_need() {
    let unary = |op: &str| Onnx::new(&[1, 6]).node(op, &["x"], "y", vec![]);
    for op in ["TopK", "GridSample", "NonZero", "Loop", "BitShift", "NoSuchOperator"] {
        unsupported(unary(op), "y", op);
    }
    let mut foreign = unary("Relu");
    foreign.graph().node[0].domain = "com.example".into();
    names(&unsupported(foreign, "y", "Relu"), &["standard"]);
}

#[test]
fn weights_outside_the_file_are_refused() {
    let mut model = dense();
    model.graph().initializer[0].data_location = Some(1);
    names(&refused(&model), &["node y", "\"w\"", "outside the file"]);
}

#[test]
fn weights_that_do_not_fill_their_shape_are_refused() {
    for cut in [1, 4, 92, 96] {
        let mut model = dense();
        let data = &mut model.graph().initializer[0].raw_data;
        data.truncate(96 - cut);
        names(&refused(&model), &["node y", "\"w\"", "24"]);
    }
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_anything_is_allocated() {
    let mut model = dense();
    model.graph().initializer[0].dims = vec![1 << 40, 1 << 40];
    names(&refused(&model), &["\"w\""]);
    names(&refused(&Onnx::new(&[1, 1 << 30]).node("Relu", &["x"], "y", vec![]).output("y")), &["limit"]);
    let outer =
        Onnx::new(&[1, 6]).weights("a", &[1 << 15, 1], 0.0, 1.0).weights("b", &[1, 1 << 15], 0.0, 1.0);
    let outer = outer.node("Add", &["a", "b"], "c", vec![]).node("Add", &["x", "c"], "y", vec![]).output("y");
    names(&refused(&outer), &["number of elements of c", "limit"]);
}

#[test]
fn operands_and_outputs_that_nothing_produces_are_refused() {
    let model = Onnx::new(&[1, 6]).node("Relu", &["nothing"], "y", vec![]).output("y");
    names(&refused(&model), &["node y", "\"nothing\""]);
    names(&refused(&dense().output("z")), &["\"z\""]);
    let twice = Onnx::new(&[1, 6]).node("Relu", &["x"], "y", vec![]).node("Relu", &["x"], "y", vec![]);
    names(&refused(&twice.output("y")), &["node y", "already"]);
}

#[test]
fn shapes_that_do_not_fit_name_the_node() {
    let model = Onnx::new(&[1, 5]).weights("w", &[6, 4], -1.0, 1.0);
    names(&refused(&model.node("MatMul", &["x", "w"], "y", vec![]).output("y")), &["y"]);
}

#[test]
fn symbolic_dimensions_must_be_bound_by_their_name() {
    let model = || {
        let mut model = Onnx::new(&[]);
        model.graph().input.clear();
        model.input("x", vec![Dim::Symbol("batch"), Dim::Size(6)]).weights("w", &[6, 4], -1.0, 1.0)
    };
    let bytes = model().node("MatMul", &["x", "w"], "y", vec![]).output("y").bytes();
    let bind =
        |name: &str, size| Options { dims: BTreeMap::from([(name.into(), size)]), ..Options::default() };
    names(&refused_with(&bytes, &Options::default()), &["input x", "dimension 0", "--dim batch=SIZE"]);
    names(&refused_with(&bytes, &bind("batch", 0)), &["--dim batch=SIZE"]);
    let typo =
        Options { dims: BTreeMap::from([("batch".into(), 1), ("bach".into(), 1)]), ..Options::default() };
    names(&refused_with(&bytes, &typo), &["\"bach\"", "batch"]);
    let graph = import::onnx(&bytes, &bind("batch", 1)).unwrap().graph;
    assert_eq!(graph.inputs()[0].shape, [1, 6]);
    assert!(import::Reference::of(&bytes, &graph, &BTreeMap::new()).is_ok(), "the graph binds the dimension");
}

#[test]
fn inputs_of_other_types_are_refused() {
    let mut model = dense();
    let Some(type_proto::Value::TensorType(kind)) =
        &mut model.graph().input[0].r#type.as_mut().unwrap().value
    else {
        panic!("expected a tensor")
    };
    kind.elem_type = DataType::String as i32;
    names(&refused(&model), &["input x", "numbers"]);
}

#[test]
fn weights_that_are_no_real_numbers_are_refused() {
    let mut model = Onnx::new(&[1, 6]);
    model.graph().initializer.push(tensor("w", DataType::Complex64, &[6, 4], vec![0; 192]));
    names(&refused(&model.node("MatMul", &["x", "w"], "y", vec![]).output("y")), &["\"w\"", "data type"]);
}

#[test]
fn calibration_data_that_does_not_fit_is_refused() {
    let samples = |name: Option<&str>, shape: &[usize], value: f32| Options {
        calibration: vec![Samples {
            name: name.map(str::to_owned),
            shape: shape.to_vec(),
            values: vec![value; shape.iter().product()],
        }],
        ..Options::default()
    };
    let bytes = dense().bytes();
    assert!(import::onnx(&bytes, &samples(None, &[3, 6], 0.5)).is_ok());
    names(&refused_with(&bytes, &samples(Some("image"), &[3, 6], 0.5)), &["\"image\"", "(x)"]);
    names(&refused_with(&bytes, &samples(Some("x"), &[3, 7], 0.5)), &["input x", "[1, 6]", "[3, 7]"]);
    names(&refused_with(&bytes, &samples(Some("x"), &[0, 6], 0.5)), &["input x", "[0, 6]"]);
    names(&refused_with(&bytes, &samples(Some("x"), &[3, 6], f32::NAN)), &["input x", "NaN"]);
}

#[test]
fn options_outside_their_range_are_refused() {
    let bytes = dense().bytes();
    let default = Options::default;
    for options in [
        Options { range: (1.0, 0.0), ..default() },
        Options { range: (0.0, f32::INFINITY), ..default() },
        Options { bits: Some(3), ..default() },
        Options { bits: Some(17), ..default() },
        Options { input_bits: Some(7), ..default() },
        Options { input_bits: Some(17), ..default() },
        Options { max_error: 0.0, ..default() },
        Options { max_error: f64::NAN, ..default() },
    ] {
        names(&refused_with(&bytes, &options), &["option"]);
    }
}

#[test]
fn a_reference_for_another_models_graph_is_refused() {
    let graph = import::onnx(&dense().bytes(), &Options::default()).unwrap().graph;
    let other = Onnx::new(&[1, 7]).weights("w", &[7, 4], 0.0, 1.0).node("MatMul", &["x", "w"], "y", vec![]);
    let other = other.output("y");
    assert!(import::Reference::of(&other.bytes(), &graph, &BTreeMap::new()).is_err());
    let renamed = Onnx::new(&[1, 6]).node("Relu", &["x"], "z", vec![]).output("z");
    assert!(import::Reference::of(&renamed.bytes(), &graph, &BTreeMap::new()).is_err());
}

#[test]
fn absurd_windows_are_refused() {
    const ABSURD: [i64; 6] = [0, -1, 1 << 20, 1 << 33, i64::MIN, i64::MAX];
    let conv = |name: &str, value: i64, length: usize| {
        let attribute = ints(name, &vec![value; length]);
        let model = Onnx::new(&[1, 2, 6, 6]).weights("w", &[3, 2, 3, 3], -1.0, 1.0);
        let conv = model.clone().node("Conv", &["x", "w"], "y", vec![attribute.clone()]).output("y");
        let kernel = ints("kernel_shape", &[2, 2]);
        let attributes = if name == "kernel_shape" { vec![attribute] } else { vec![kernel, attribute] };
        let pool = |op| model.clone().node(op, &["x"], "y", attributes.clone()).output("y");
        [conv, pool("MaxPool"), pool("AveragePool")]
    };
    for value in ABSURD {
        for (name, length) in [("kernel_shape", 2), ("strides", 2), ("dilations", 2), ("pads", 4)] {
            // Padding of 0 and strides beyond the image are no mistake.
            if (name, value) == ("pads", 0) || (name == "strides" && value > 0) {
                continue;
            }
            conv(name, value, length).iter().for_each(|model| drop(refused(model)));
        }
        let model = Onnx::new(&[1, 2, 6, 6]).weights("w", &[3, 2, 3, 3], -1.0, 1.0);
        refused(&model.node("Conv", &["x", "w"], "y", vec![int("group", value)]).output("y"));
    }
    for length in [0, 1, 3, 9] {
        conv("strides", 1, length).iter().for_each(|model| {
            // tract reads absent and surplus strides its own way; it must not matter for safety.
            let _ = import::onnx(&model.bytes(), &Options::default());
        });
    }
}

#[test]
fn a_pool_that_would_take_minutes_is_refused() {
    let side = 50_000;
    let pool = vec![
        ints("kernel_shape", &[side, side]),
        ints("pads", &[side - 1; 4]),
        ints("strides", &[side / 4, side / 4]),
    ];
    let model = Onnx::new(&[1, 1, 1, 1]).node("MaxPool", &["x"], "y", pool).output("y");
    names(&refused(&model), &["comparisons", "limit"]);
}

#[test]
fn losses_of_scores_without_classes_are_refused() {
    for operator in ["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"] {
        for (shape, classes) in [(&[5][..], &[1][..]), (&[2, 3], &[0, 1, 2]), (&[2, 3], &[])] {
            let model = Onnx::new(shape).integers("classes", classes);
            refused(&model.node(operator, &["x", "classes"], "y", vec![]).output("y"));
        }
    }
}

#[test]
fn a_number_has_no_axis() {
    for operator in ["ArgMax", "ArgMin", "Hardmax", "Softmax", "LogSoftmax"] {
        let model = Onnx::new(&[3]).integers("first", &[0]).integers("none", &[]);
        let model =
            model.node("Gather", &["x", "first"], "g", vec![]).node("Reshape", &["g", "none"], "n", vec![]);
        names(&refused(&model.node(operator, &["n"], "y", vec![]).output("y")), &["axis"]);
    }
}

#[test]
fn operands_with_another_number_of_axes_are_refused() {
    let vector = Onnx::new(&[4]).node("EyeLike", &["x"], "e", vec![]).node("Add", &["x", "e"], "y", vec![]);
    names(&refused(&vector.output("y")), &["node e", "expected a matrix"]);
    let model = Onnx::new(&[2, 3]).integers("i", &[0]).constant("u", &[1], &[1.0]);
    let model = model.node("ScatterElements", &["x", "i", "u"], "y", vec![]).output("y");
    names(&refused(&model), &["node y", "indices do not fit"]);
    let model = Onnx::new(&[2, 3]).weights("w", &[1, 4, 3], -1.0, 1.0).weights("r", &[1, 4, 4], -1.0, 1.0);
    let recurrent = vec![int("layout", 1), int("hidden_size", 4)];
    let model = model.node("RNN", &["x", "w", "r"], "y", recurrent).output("y");
    names(&refused(&model), &["node y", "do not agree"]);
}

/// Windows that are listed one by one are counted first.
#[test]
fn padding_that_makes_billions_of_windows_is_refused() {
    for (operator, last) in [("AveragePool", 65536), ("LpPool", 65536), ("AveragePool", 4096)] {
        let pool = vec![ints("kernel_shape", &[1, 1]), ints("pads", &[65536, 65536, 65536, last])];
        let model = Onnx::new(&[1, 1, 3, 3]).node(operator, &["x"], "y", pool).output("y");
        names(&refused(&model), &["number of", "limit"]);
    }
}

#[test]
fn absurd_shapes_are_refused() {
    let image = || Onnx::new(&[1, 2, 6, 6]);
    for target in
        [&[-1, -1][..], &[7, -1], &[1 << 40, 1 << 40], &[-2, 72], &[i64::MIN], &[71], &[-1, 0, 0, 0, 0, 5]]
    {
        let model = image().integers("shape", target);
        refused(&model.node("Reshape", &["x", "shape"], "y", vec![]).output("y"));
    }
    for perm in
        [&[0, 0, 1, 2][..], &[0, 1, 2], &[0, 1, 2, 4], &[-1, 0, 1, 2], &[i64::MAX, 0, 1, 2], &[0, 1, 2, 3, 4]]
    {
        refused(&image().node("Transpose", &["x"], "y", vec![ints("perm", perm)]).output("y"));
    }
    for axis in [-6, 6, i64::MIN, i64::MAX] {
        refused(&image().node("Flatten", &["x"], "y", vec![int("axis", axis)]).output("y"));
        let model = image().integers("axes", &[axis]);
        refused(&model.clone().node("Unsqueeze", &["x", "axes"], "y", vec![]).output("y"));
        refused(&model.node("Squeeze", &["x", "axes"], "y", vec![]).output("y"));
        refused(&image().node("ReduceMean", &["x"], "y", vec![ints("axes", &[axis])]).output("y"));
        refused(&image().node("Concat", &["x", "x"], "y", vec![int("axis", axis)]).output("y"));
    }
}

#[test]
fn a_reference_runs_on_its_own_shapes_only() {
    let reference = import::Reference::new(&dense().bytes(), &Options::default()).unwrap();
    let inputs: Vec<_> =
        reference.inputs().iter().map(|input| (input.name.as_str(), input.shape.clone())).collect();
    assert_eq!(inputs, [("x", vec![1, 6])]);
    assert_eq!(reference.outputs(), ["y"]);
    assert_eq!(reference.run(&[vec![0.5; 6]]).unwrap()[0].len(), 4);
    for inputs in [vec![], vec![vec![0.5; 5]], vec![vec![0.5; 7]], vec![vec![0.5; 6], vec![0.5; 6]]] {
        assert!(matches!(reference.run(&inputs), Err(ModelError::Input { .. })));
    }
}

#[test]
fn more_initializers_than_the_limit_are_refused() {
    let mut model = dense();
    let one = model.graph().initializer[0].clone();
    for index in 0..import::bounds::INITIALIZERS {
        model.graph().initializer.push(TensorProto { name: index.to_string(), ..one.clone() });
    }
    names(&refused(&model), &["initializers", "16385", "16384"]);
}

/// `layers` dense layers with a Relu behind each.
fn deep(layers: usize) -> Vec<u8> {
    let mut model = Onnx::new(&[1, 6]).weights("w", &[6, 6], -0.4, 0.5);
    let mut last = "x".to_owned();
    for layer in 0..layers {
        let (dense, relu) = (format!("dense{layer}"), format!("relu{layer}"));
        model = model.node("MatMul", &[&last, "w"], &dense, vec![]).node("Relu", &[&dense], &relu, vec![]);
        last = relu;
    }
    model.output(&last).bytes()
}

#[test]
fn deep_networks_are_imported_up_to_the_limit_on_nodes() {
    let graph = import::onnx(&deep(300), &Options::default()).unwrap().graph;
    assert_eq!(graph.nodes().len(), 600);
    names(&refused_with(&deep(2049), &Options::default()), &["number of ONNX nodes", "4098", "4096"]);
}

/// A model with an operator of every kind, small enough to be imported many times.
fn varied() -> Onnx {
    let model = Onnx::new(&[1, 2, 6, 6]).weights("w", &[3, 2, 3, 3], -1.0, 1.0).weights("b", &[3], -1.0, 1.0);
    let attributes = vec![
        ints("pads", &[1, 1, 0, 0]),
        ints("strides", &[1, 1]),
        ints("dilations", &[1, 1]),
        ints("kernel_shape", &[3, 3]),
        int("group", 1),
    ];
    let model = model.node("Conv", &["x", "w", "b"], "c", attributes).node("Relu", &["c"], "r", vec![]);
    let pool = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), ints("pads", &[0; 4])];
    let model = model.node("MaxPool", &["r"], "p", pool.clone()).node("AveragePool", &["p"], "a", pool);
    let model = model.node("Transpose", &["a"], "t", vec![ints("perm", &[0, 2, 3, 1])]);
    let model = model.integers("target", &[1, 1, 3, 1]).node("Reshape", &["t", "target"], "s", vec![]);
    let model = model.integers("axes", &[3]).node("Squeeze", &["s", "axes"], "q", vec![]);
    let model = model.node("Unsqueeze", &["q", "axes"], "u", vec![]);
    let model = model.node("ReduceMean", &["u"], "m", vec![ints("axes", &[3]), int("keepdims", 1)]);
    let model = model.node("Flatten", &["m"], "f", vec![int("axis", 1)]).weights("v", &[4, 3], -1.0, 1.0);
    let model = model.node("Gemm", &["f", "v"], "g", vec![int("transB", 1), float("alpha", 0.5)]);
    let model = model.constant("lo", &[], &[-1.0]).constant("hi", &[], &[1.0]);
    model.node("Clip", &["g", "lo", "hi"], "y", vec![]).output("y")
}

/// Every integer of the model: sizes of inputs and constants, attributes, integer constants.
fn numbers(model: &mut Onnx, mut each: impl FnMut(&mut i64)) {
    let graph = model.graph();
    for input in &mut graph.input {
        let Some(type_proto::Value::TensorType(kind)) = &mut input.r#type.as_mut().unwrap().value else {
            continue;
        };
        for dim in &mut kind.shape.as_mut().unwrap().dim {
            if let Some(Value::DimValue(size)) = &mut dim.value {
                each(size);
            }
        }
    }
    for tensor in &mut graph.initializer {
        tensor.dims.iter_mut().for_each(&mut each);
        if tensor.data_type == DataType::Int64 as i32 {
            for bytes in tensor.raw_data.chunks_exact_mut(8) {
                let mut value = i64::from_le_bytes(bytes.try_into().unwrap());
                each(&mut value);
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        each(&mut attribute.i);
        attribute.ints.iter_mut().for_each(&mut each);
    }
}

/// Imports and, where that succeeds, runs the model.
fn import_and_run(bytes: &[u8]) {
    if let Ok(imported) = import::onnx(bytes, &Options::default()) {
        let greatest = |port: &Port| vec![port.quant.hi; elements(&port.shape)];
        let inputs: Vec<Vec<i32>> = imported.graph.inputs().iter().map(greatest).collect();
        imported.graph.run(&inputs).unwrap();
    }
}

#[test]
fn the_varied_model_is_imported() {
    import::onnx(&varied().bytes(), &Options::default()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = varied().bytes();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        import_and_run(&bytes);
    }

    #[test]
    fn inserted_and_removed_bytes_never_panic(start in any::<usize>(), length in 0usize..40, insert in any::<u8>()) {
        let mut bytes = varied().bytes();
        let start = start % bytes.len();
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, vec![insert; length / 2]);
        import_and_run(&bytes);
    }

    #[test]
    fn changed_numbers_never_panic(changes in proptest::collection::vec((any::<usize>(), number()), 1..4)) {
        let mut model = varied();
        let mut count = 0;
        numbers(&mut model, |_| count += 1);
        for (place, value) in changes {
            let mut index = 0;
            numbers(&mut model, |number| {
                if index == place % count {
                    *number = value;
                }
                index += 1;
            });
        }
        import_and_run(&model.bytes());
    }
}

/// One layer a sample: the number of samples has a bound, and work up to it is not quadratic.
#[test]
fn a_batch_of_more_samples_than_layers_is_refused() {
    let convolved = |batch: i64| {
        let model = Onnx::new(&[batch, 2, 4, 4]).weights("w", &[3, 2, 3, 3], -1.0, 1.0);
        model.node("Conv", &["x", "w"], "y", vec![]).output("y").bytes()
    };
    assert!(import::onnx(&convolved(3), &Options::default()).is_ok());
    names(&refused_with(&convolved(1 << 16), &Options::default()), &["number of layers up to y", "16384"]);
}

/// Numbers around which sizes and axes go wrong.
fn number() -> impl Strategy<Value = i64> {
    let edges =
        vec![i64::MIN, -(1 << 32), -65536, 1 << 16, 1 << 24, 1 << 31, 1 << 32, 1 << 40, 1 << 62, i64::MAX];
    prop_oneof![-9i64..10, proptest::sample::select(edges)]
}

/// Folding away a scale that does not come back would give numbers of another size.
#[test]
fn dynamic_quantisation_whose_results_are_read_otherwise_is_refused() {
    let model = || {
        let model = Onnx::new(&[2, 4]).bytes_of("w", &[4, 3], &[7; 12]).bytes_of("other", &[], &[9]);
        model.nodes("DynamicQuantizeLinear", &["x"], &["q", "s", "z"], vec![])
    };
    let product = |zero: &str| model().node("MatMulInteger", &["q", "w", zero], "m", vec![]);
    let cast = |zero: &str| product(zero).node("Cast", &["m"], "c", vec![int("to", 1)]);
    let scaled = |zero: &str| cast(zero).node("Mul", &["c", "s"], "y", vec![]).output("y");
    assert!(import::onnx(&scaled("z").bytes(), &Options::default()).is_ok());
    let unscaled = cast("z").constant("one", &[], &[1.0]).node("Mul", &["c", "one"], "y", vec![]).output("y");
    let cases = [
        model().output("q"),
        scaled("z").output("q"),
        scaled("z").output("z"),
        scaled("z").output("m"),
        scaled("z").output("c"),
        scaled("z").output("s"),
        scaled("z").node("Neg", &["s"], "n", vec![]).output("n"),
        scaled("z").node("Mul", &["s", "x"], "n", vec![]).output("n"),
        scaled("other"),
        scaled(""),
        unscaled,
        cast("z").output("c"),
        cast("z").node("Mul", &["s", "s"], "y", vec![]).node("Mul", &["c", "y"], "o", vec![]).output("o"),
        model().node("MatMulInteger", &["q", "q", "z", "z"], "m", vec![]).output("m"),
    ];
    for model in cases {
        names(&refused(&model), &["DynamicQuantizeLinear", "MatMulInteger"]);
    }
}
