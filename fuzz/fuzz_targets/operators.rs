//! ONNX graphs of known operators with arbitrary operands and attributes: imported or refused, and what is imported is
//! a model that runs.
#![no_main]

use assay_circuits::import::{self, Options};
use assay_circuits::ir::{Graph, Port, elements};
use assay_fuzz::onnx::{Onnx, float, int, ints, string};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use tract_onnx::pb::AttributeProto;

const OPERATORS: [&str; 35] = [
    "Conv",
    "Gemm",
    "MatMul",
    "BatchNormalization",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Relu",
    "Clip",
    "Max",
    "Min",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Dropout",
    "Constant",
    "Shape",
    "Gather",
    "Concat",
    "Slice",
    "Cast",
    "Softmax",
    "LSTM",
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

fn sizes(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<i64>> {
    (0..u.int_in_range(0..=most)?).map(|_| size(u)).collect()
}

fn attribute(u: &mut Unstructured<'_>) -> Result<AttributeProto> {
    Ok(match u.int_in_range(0..=14)? {
        0 => ints("kernel_shape", &sizes(u, 3)?),
        1 => ints("strides", &sizes(u, 3)?),
        2 => ints("dilations", &sizes(u, 3)?),
        3 => ints(
            "pads",
            &(0..u.int_in_range(0..=6)?).map(|_| u.int_in_range(-1..=3)).collect::<Result<Vec<_>>>()?,
        ),
        4 => ints(
            "axes",
            &(0..u.int_in_range(0..=3)?).map(|_| u.int_in_range(-4..=4)).collect::<Result<Vec<_>>>()?,
        ),
        5 => ints(
            "perm",
            &(0..u.int_in_range(0..=4)?).map(|_| u.int_in_range(0..=3)).collect::<Result<Vec<_>>>()?,
        ),
        6 => int("axis", u.int_in_range(-4..=4)?),
        7 => int("group", size(u)?),
        8 => int(u.choose(&["transA", "transB"])?, u.int_in_range(0..=1)?),
        9 => int(
            u.choose(&["keepdims", "ceil_mode", "count_include_pad", "noop_with_empty_axes"])?,
            u.int_in_range(0..=1)?,
        ),
        10 => float(u.choose(&["alpha", "beta", "epsilon", "min", "max", "momentum"])?, u.arbitrary()?),
        11 => string("auto_pad", u.choose(&["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "?"])?),
        12 => int(u.choose(&["start", "end", "to", "storage_order", "allowzero"])?, u.int_in_range(-2..=12)?),
        13 => ints(u.choose(&["value_ints", "starts", "ends", "output_shape"])?, &sizes(u, 4)?),
        _ => float("value_float", u.arbitrary()?),
    })
}

fn model(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut model = Onnx::new(&sizes(u, 4)?);
    let mut names = vec!["x".to_owned()];
    for index in 0..u.int_in_range(0..=4)? {
        let name = format!("c{index}");
        if u.ratio(1, 3)? {
            model = model.integers(&name, &sizes(u, 4)?);
        } else {
            let dims =
                (0..u.int_in_range(0..=4)?).map(|_| u.int_in_range(1..=3)).collect::<Result<Vec<i64>>>()?;
            let values = (0..dims.iter().product::<i64>()).map(|_| match u.int_in_range(0..=15)? {
                0 => u.arbitrary(),
                _ => Ok(f32::from(u.arbitrary::<i8>()?) / 32.0),
            });
            let values = values.collect::<Result<Vec<f32>>>()?;
            model = model.constant(&name, &dims, &values);
        }
        names.push(name);
    }
    for index in 0..u.int_in_range(1..=5)? {
        let operator = u.choose(&OPERATORS)?;
        // The last value first, so that chains are frequent.
        let mut operands = vec![match u.ratio(3, 4)? {
            true => names.last().cloned().unwrap_or_default(),
            false => u.choose(&names)?.clone(),
        }];
        for _ in 0..u.int_in_range(0..=4)? {
            operands.push(if u.ratio(1, 16)? { String::new() } else { u.choose(&names)?.clone() });
        }
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        let attributes = (0..u.int_in_range(0..=4)?).map(|_| attribute(u)).collect::<Result<Vec<_>>>()?;
        let name = format!("n{index}");
        model = model.node(operator, &operands, &name, attributes);
        names.push(name);
    }
    Ok(model.output(names.last().map_or("x", String::as_str)).bytes())
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
