//! ONNX graphs of known operators with arbitrary operands and attributes: imported or refused, and what is imported is
//! a model that runs.
#![no_main]

use assay_circuits::import::{self, Options};
use assay_circuits::ir::{Graph, Port, elements};
use assay_fuzz::onnx::{Onnx, float, int, ints, string};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use tract_onnx::pb::AttributeProto;

/// Every operator that is imported, and some that are not.
const OPERATORS: &str = "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast \
    CastLike Ceil Celu CenterCropPad Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh \
    CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather \
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual \
    GroupNormalization HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM \
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max \
    MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NegativeLogLikelihoodLoss NonZero Not OneHot Or PRelu Pad \
    Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum \
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize \
    ReverseSequence Round Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Silu \
    SimplifiedLayerNormalization Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split \
    Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor";

const SIZES: [&str; 7] =
    ["kernel_shape", "strides", "dilations", "output_shape", "output_padding", "split", "value_ints"];
const AXES: [&str; 5] = ["axes", "starts", "ends", "perm", "pads"];
const FLAGS: [&str; 22] = [
    "transA",
    "transB",
    "keepdims",
    "ceil_mode",
    "count_include_pad",
    "noop_with_empty_axes",
    "allowzero",
    "exclusive",
    "reverse",
    "upper",
    "fmod",
    "layout",
    "linear_before_reset",
    "input_forget",
    "select_last_index",
    "training_mode",
    "antialias",
    "exclude_outside",
    "broadcast",
    "time_axis",
    "batch_axis",
    "largest",
];
const NUMBERS: [&str; 16] = [
    "axis",
    "start",
    "end",
    "group",
    "to",
    "dtype",
    "p",
    "k",
    "size",
    "blocksize",
    "num_groups",
    "num_outputs",
    "batch_dims",
    "hidden_size",
    "value_int",
    "ignore_index",
];
const REALS: [&str; 13] = [
    "alpha",
    "beta",
    "gamma",
    "epsilon",
    "min",
    "max",
    "bias",
    "lambd",
    "clip",
    "ratio",
    "value",
    "value_float",
    "cubic_coeff_a",
];
const TEXTS: [(&str, &str); 27] = [
    ("auto_pad", "SAME_UPPER"),
    ("auto_pad", "SAME_LOWER"),
    ("auto_pad", "VALID"),
    ("mode", "reflect"),
    ("mode", "edge"),
    ("mode", "wrap"),
    ("mode", "linear"),
    ("mode", "cubic"),
    ("mode", "CRD"),
    ("direction", "reverse"),
    ("direction", "bidirectional"),
    ("reduction", "sum"),
    ("reduction", "none"),
    ("reduction", "mul"),
    ("reduction", "max"),
    ("approximate", "tanh"),
    ("nearest_mode", "ceil"),
    ("nearest_mode", "round_prefer_ceil"),
    ("coordinate_transformation_mode", "align_corners"),
    ("coordinate_transformation_mode", "asymmetric"),
    ("coordinate_transformation_mode", "tf_crop_and_resize"),
    ("keep_aspect_ratio_policy", "not_larger"),
    ("keep_aspect_ratio_policy", "not_smaller"),
    ("equation", "ij,jk->ik"),
    ("equation", "...i,i...->"),
    ("equation", "ii"),
    ("equation", "bij->bji"),
];

/// A size: mostly small, sometimes absurd.
fn size(u: &mut Unstructured<'_>) -> Result<i64> {
    match u.int_in_range(0..=63)? {
        0 => u.arbitrary(),
        1 => Ok(0),
        2 => Ok(-1),
        3 => Ok(300),
        _ => u.int_in_range(1..=4),
    }
}

/// An axis or a distance: mostly in a small range around 0.
fn axis(u: &mut Unstructured<'_>) -> Result<i64> {
    if u.ratio(1, 64)? { u.arbitrary() } else { u.int_in_range(-3..=4) }
}

fn real(u: &mut Unstructured<'_>) -> Result<f32> {
    if u.ratio(1, 16)? { u.arbitrary() } else { Ok(f32::from(u.arbitrary::<i8>()?) / 32.0) }
}

fn many<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    draw: fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| draw(u)).collect()
}

fn attribute(u: &mut Unstructured<'_>) -> Result<AttributeProto> {
    Ok(match u.int_in_range(0..=5)? {
        0 => ints(u.choose(&SIZES)?, &many(u, 4, size)?),
        1 => ints(u.choose(&AXES)?, &many(u, 6, axis)?),
        2 => int(u.choose(&FLAGS)?, u.int_in_range(0..=1)?),
        3 => int(u.choose(&NUMBERS)?, if u.arbitrary()? { axis(u)? } else { size(u)? }),
        4 => float(u.choose(&REALS)?, real(u)?),
        _ => {
            let (name, value) = u.choose(&TEXTS)?;
            string(name, value)
        }
    })
}

fn model(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let operators: Vec<&str> = OPERATORS.split_whitespace().collect();
    let mut model = Onnx::new(&many(u, 4, size)?);
    if u.ratio(1, 4)? {
        model.proto.opset_import[0].version = u.int_in_range(7..=25)?;
    }
    let mut names = vec!["x".to_owned()];
    for index in 0..u.int_in_range(0..=4)? {
        let name = format!("c{index}");
        if u.ratio(1, 3)? {
            let number = if u.arbitrary()? { size } else { axis };
            model = model.integers(&name, &many(u, 5, number)?);
        } else {
            let dims = many(u, 4, |u| u.int_in_range(1..=3))?;
            let values = (0..dims.iter().product::<i64>()).map(|_| real(u)).collect::<Result<Vec<f32>>>()?;
            model = model.constant(&name, &dims, &values);
        }
        names.push(name);
    }
    for index in 0..u.int_in_range(1..=5)? {
        let operator = u.choose(&operators)?;
        // The last value first, so that chains are frequent.
        let mut operands = vec![match u.ratio(3, 4)? {
            true => names.last().cloned().unwrap_or_default(),
            false => u.choose(&names)?.clone(),
        }];
        for _ in 0..u.int_in_range(0..=4)? {
            operands.push(if u.ratio(1, 16)? { String::new() } else { u.choose(&names)?.clone() });
        }
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        let name = format!("n{index}");
        model = model.node(operator, &operands, &name, many(u, 4, attribute)?);
        names.push(name.clone());
        for other in 1..u.int_in_range(1..=3)? {
            let other = format!("{name}_{other}");
            model.graph().node[index].output.push(other.clone());
            names.push(other);
        }
    }
    let output = if u.arbitrary()? { names.last() } else { Some(u.choose(&names)?) };
    Ok(model.output(output.map_or("x", String::as_str)).bytes())
}

libfuzzer_sys::fuzz_target!(init: assay_fuzz::seed("operators", assay_fuzz::arbitrary()), |bytes: &[u8]| {
    let Ok(file) = model(&mut Unstructured::new(bytes)) else { return };
    let Ok(imported) = import::onnx(&file, &Options::default()) else { return };
    let graph = imported.graph;
    assert!(Graph::from_bytes(&graph.to_bytes()).is_ok_and(|again| again == graph));
    for greatest in [false, true] {
        let end = |port: &Port| if greatest { port.quant.hi } else { port.quant.lo };
        let inputs: Vec<Vec<i32>> =
            graph.inputs().iter().map(|port| vec![end(port); elements(&port.shape)]).collect();
        assert!(graph.run(&inputs).is_ok());
    }
});
