//! Integers that say where and how far an operator reaches, bounded before the parser computes with them.
//!
//! tract takes axes, windows and permutations at their word: a squeeze of axis `2^40` makes it allocate a shape of
//! that many dimensions.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

use super::source::node_name;
use crate::error::ModelError;
use crate::ir::limits;

/// Axes, counted from either end.
const AXES: RangeInclusive<i64> = -(limits::RANK as i64)..=limits::RANK as i64;
/// Sizes, steps and distances of a window.
const WINDOW: RangeInclusive<i64> = 1..=1 << 16;
/// Padding on one side.
const PADDING: RangeInclusive<i64> = 0..=1 << 16;
/// Groups of a convolution.
const GROUPS: RangeInclusive<i64> = 1..=limits::ELEMENTS as i64;

/// Checks the attributes and the constant axes of every node.
pub fn check(graph: &GraphProto) -> Result<(), ModelError> {
    let constants = constants(graph);
    graph.node.iter().try_for_each(|node| {
        node.attribute.iter().try_for_each(|attribute| check_attribute(node, attribute))?;
        check_operands(node, &constants)
    })
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), ModelError> {
    let name = attribute.name.as_str();
    let list = attribute.ints.as_slice();
    match name {
        "axis" | "start" | "end" => check_values(node, name, &[attribute.i], AXES),
        "group" => check_values(node, name, &[attribute.i], GROUPS),
        "axes" => check_values(node, name, list, AXES),
        "kernel_shape" | "strides" | "dilations" => check_values(node, name, list, WINDOW),
        "pads" => check_values(node, name, list, PADDING),
        "perm" => {
            let mut sorted = list.to_vec();
            sorted.sort_unstable();
            if list.len() <= limits::RANK && sorted.iter().zip(0..).all(|(&axis, place)| axis == place) {
                return Ok(());
            }
            Err(ModelError::node(node_name(node), format!("perm {} is no permutation", shown(list))))
        }
        _ => Ok(()),
    }
}

/// Axes that are an operand, as they are since operator set 13.
fn check_operands(node: &NodeProto, constants: &HashMap<&str, Vec<i64>>) -> Result<(), ModelError> {
    let axes = match node.op_type.as_str() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" | "ReduceMean" | "ReduceMax" => node.input.get(1),
        _ => None,
    };
    let Some(name) = axes.filter(|name| !name.is_empty()) else { return Ok(()) };
    match constants.get(name.as_str()) {
        Some(axes) => check_values(node, "axes", axes, AXES),
        None => Err(ModelError::node(node_name(node), format!("axes {name:?} are no constant of the file"))),
    }
}

fn check_values(
    node: &NodeProto,
    name: &str,
    values: &[i64],
    range: RangeInclusive<i64>,
) -> Result<(), ModelError> {
    if values.len() <= 2 * limits::RANK && values.iter().all(|value| range.contains(value)) {
        return Ok(());
    }
    let (least, greatest) = (range.start(), range.end());
    let reason = format!("{name} {}: expected values in {least}..={greatest}", shown(values));
    Err(ModelError::node(node_name(node), reason))
}

/// The first of a list's values, for a message.
fn shown(values: &[i64]) -> String {
    let first: Vec<String> = values.iter().take(limits::RANK).map(i64::to_string).collect();
    format!("[{}{}]", first.join(", "), if values.len() > first.len() { ", .." } else { "" })
}

/// Constants of integers, by name.
fn constants(graph: &GraphProto) -> HashMap<&str, Vec<i64>> {
    let mut constants = HashMap::new();
    for tensor in &graph.initializer {
        constants.insert(tensor.name.as_str(), integers(tensor));
    }
    for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
        if let (Some(name), Some(attribute)) = (node.output.first(), node.attribute.first()) {
            let values = match (&attribute.t, attribute.name.as_str()) {
                (Some(tensor), _) => integers(tensor),
                (None, "value_int") => vec![attribute.i],
                (None, _) => attribute.ints.clone(),
            };
            constants.insert(name, values);
        }
    }
    constants
}

/// The integers of a tensor, up to one more than any list of axes may have.
fn integers(tensor: &TensorProto) -> Vec<i64> {
    const MOST: usize = 2 * limits::RANK + 1;
    let raw = tensor.raw_data.as_slice();
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int64) => {
            let raw =
                raw.chunks_exact(8).filter_map(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)));
            raw.chain(tensor.int64_data.iter().copied()).take(MOST).collect()
        }
        Ok(DataType::Int32) => {
            let raw =
                raw.chunks_exact(4).filter_map(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
            raw.chain(tensor.int32_data.iter().copied()).take(MOST).map(i64::from).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
        let input = inputs.iter().map(|&name| name.to_owned()).collect();
        NodeProto { name: "node".into(), op_type: op.into(), input, attribute, ..NodeProto::default() }
    }

    fn attribute(name: &str, i: i64, ints: &[i64]) -> AttributeProto {
        AttributeProto { name: name.into(), i, ints: ints.to_vec(), ..AttributeProto::default() }
    }

    fn accepts(node: NodeProto, initializer: Vec<TensorProto>) -> bool {
        check(&GraphProto { node: vec![node], initializer, ..GraphProto::default() }).is_ok()
    }

    #[test]
    fn every_attribute_has_its_range() {
        let one =
            |name: &str, value: i64| accepts(node("Op", &[], vec![attribute(name, value, &[])]), Vec::new());
        let list = |name: &str, values: &[i64]| {
            accepts(node("Op", &[], vec![attribute(name, 0, values)]), Vec::new())
        };
        for name in ["axis", "start", "end"] {
            assert!(one(name, -8) && one(name, 8) && !one(name, 9) && !one(name, -9) && !one(name, i64::MIN));
        }
        assert!(one("group", 1) && !one("group", 0) && !one("group", -1) && !one("group", i64::MAX));
        assert!(list("axes", &[-8, 8]) && !list("axes", &[0, 9]) && !list("axes", &[0; 17]));
        for name in ["kernel_shape", "strides", "dilations"] {
            assert!(list(name, &[1, 65536]) && !list(name, &[1, 0]) && !list(name, &[65537]), "{name}");
        }
        assert!(list("pads", &[0, 65536]) && !list("pads", &[-1]) && !list("pads", &[65537]));
        assert!(list("perm", &[2, 0, 1]) && !list("perm", &[0, 2]) && !list("perm", &[0, 0]));
        assert!(!list("perm", &[0, 1, 2, 3, 4, 5, 6, 7, 8]));
        assert!(one("anything_else", i64::MAX));
    }

    #[test]
    fn axes_that_are_an_operand_are_constants_in_their_range() {
        let constant = |data_type: DataType, raw_data: Vec<u8>| {
            vec![TensorProto {
                name: "c".into(),
                data_type: data_type as i32,
                raw_data,
                ..TensorProto::default()
            }]
        };
        for op in ["Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceMax"] {
            let reads = |axes: &str, constants| accepts(node(op, &["x", axes], Vec::new()), constants);
            assert!(reads("c", constant(DataType::Int64, 2i64.to_le_bytes().to_vec())));
            assert!(reads("c", constant(DataType::Int32, (-8i32).to_le_bytes().to_vec())));
            assert!(!reads("c", constant(DataType::Int64, (1i64 << 40).to_le_bytes().to_vec())));
            assert!(!reads("c", constant(DataType::Int32, 9i32.to_le_bytes().to_vec())));
            assert!(!reads("unknown", Vec::new()));
            assert!(reads("", Vec::new()), "the operand is optional");
        }
        assert!(accepts(node("Add", &["x", "unknown"], Vec::new()), Vec::new()));
    }
}
