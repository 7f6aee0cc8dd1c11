//! Integers that say where and how far an operator reaches, bounded before the parser computes with them.
//!
//! tract takes axes, windows and permutations at their word: a squeeze of axis `2^40` makes it allocate a shape of
//! that many dimensions.

use std::ops::RangeInclusive;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

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

/// Checks the attributes of every node.
pub fn check(graph: &GraphProto) -> Result<(), ModelError> {
    graph
        .node
        .iter()
        .try_for_each(|node| node.attribute.iter().try_for_each(|attribute| check_attribute(node, attribute)))
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), ModelError> {
    let name = attribute.name.as_str();
    let list = attribute.ints.as_slice();
    match name {
        "axis" => check_values(node, name, &[attribute.i], AXES),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto { name: "node".into(), op_type: "Op".into(), attribute, ..NodeProto::default() }
    }

    fn attribute(name: &str, i: i64, ints: &[i64]) -> AttributeProto {
        AttributeProto { name: name.into(), i, ints: ints.to_vec(), ..AttributeProto::default() }
    }

    fn accepts(node: NodeProto) -> bool {
        check(&GraphProto { node: vec![node], ..GraphProto::default() }).is_ok()
    }

    #[test]
    fn every_attribute_has_its_range() {
        let one = |name: &str, value: i64| accepts(node(vec![attribute(name, value, &[])]));
        let list = |name: &str, values: &[i64]| accepts(node(vec![attribute(name, 0, values)]));
        let axis = |value| one("axis", value);
        assert!(axis(-8) && axis(8) && !axis(9) && !axis(-9) && !axis(i64::MIN));
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
}
