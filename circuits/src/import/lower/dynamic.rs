//! Quantisation by the range of the tensor at hand, `DynamicQuantizeLinear`, folded to our rule.
//!
//! `y = round(x / s) + z` with a scale `s` and a zero point `z` that depend on `x`. Where all that reads `y` takes `z` away
//! again and multiplies by `s`, as exporters write it, the result is one of `x` and of roundings:
//!
//! ```text
//! y, s, z = DynamicQuantizeLinear(x)        Mul(Cast(MatMulInteger(y, w, z, ..)), Mul(s, c)) = c x w + rounding
//! ```
//!
//! Here `y` is `x`, `s` is 1 and `z` is 0: the model is quantised once, by our rule, and the difference is at most half a
//! step of the source's, a 510th of the range of `x`. A `y` that anything else reads is refused.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::{Lowering, Value};
use crate::error::ModelError;
use crate::import::tensor::{Tensor, Type};

/// Who reads each tensor of a graph, `None` for whoever asked for the model's outputs.
pub(super) struct Readers<'a>(HashMap<&'a str, Vec<Option<&'a NodeProto>>>);

impl<'a> Readers<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<Option<&NodeProto>>> = HashMap::new();
        for node in &graph.node {
            node.input.iter().for_each(|name| readers.entry(name).or_default().push(Some(node)));
            // What a branch reads is no part of this chain.
            let branches = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
            for inner in branches.flat_map(|graph| &graph.node) {
                inner.input.iter().for_each(|name| readers.entry(name).or_default().push(None));
            }
        }
        graph.output.iter().for_each(|output| readers.entry(&output.name).or_default().push(None));
        Self(readers)
    }

    /// The names of the quantised tensors that only sums in units of their scale are made of.
    pub(super) fn folded(&self, graph: &GraphProto) -> Vec<String> {
        let dynamic = graph.node.iter().filter(|node| node.op_type == "DynamicQuantizeLinear");
        let folds = dynamic.filter(|node| self.folds(node));
        folds.filter_map(|node| node.output.first().cloned()).collect()
    }

    fn all(&self, name: &str, check: impl Fn(&NodeProto) -> bool) -> bool {
        self.0.get(name).is_none_or(|readers| readers.iter().all(|reader| reader.is_some_and(&check)))
    }

    fn folds(&self, node: &NodeProto) -> bool {
        let [y, scale, zero] = node.output.as_slice() else { return false };
        let is_pair = |reader: &NodeProto| operand(reader, 1) == scale && operand(reader, 2) == zero;
        let dequantizes = |reader: &NodeProto| {
            reader.op_type == "DequantizeLinear" && operand(reader, 0) == y && is_pair(reader)
        };
        let multiplies = |reader: &NodeProto| {
            let is_left = operand(reader, 0) == y && operand(reader, 2) == zero && operand(reader, 1) != y;
            let is_right = operand(reader, 1) == y && operand(reader, 3) == zero && operand(reader, 0) != y;
            match reader.op_type.as_str() {
                "MatMulInteger" => is_left || is_right,
                "ConvInteger" => is_left,
                _ => false,
            }
        };
        // Results in units of the scale: of products, and casts of those.
        let mut results: Vec<&str> = Vec::new();
        for product in self.readers(y).filter(|reader| multiplies(reader)) {
            let mut result = product.output.first();
            while let Some(name) = result.filter(|name| !results.contains(&name.as_str())) {
                results.push(name);
                result = self
                    .readers(name)
                    .find(|node| node.op_type == "Cast")
                    .and_then(|node| node.output.first());
            }
        }
        let reads = |reader: &NodeProto| dequantizes(reader) || multiplies(reader);
        let is_result = |name: &str| results.contains(&name);
        // The scale comes back once: itself, or times something else.
        let scales = |reader: &NodeProto, scale: &str| other_factor(reader, scale).is_some_and(is_result);
        let is_scale = |reader: &NodeProto| {
            let product = reader.output.first().filter(|_| other_factor(reader, scale).is_some());
            product.is_some_and(|product| self.all(product, |reader| scales(reader, product)))
        };
        let scaled = self
            .readers(scale)
            .filter(|reader| other_factor(reader, scale).is_some_and(|other| !is_result(other)));
        let mut products: Vec<&str> =
            scaled.filter_map(|reader| reader.output.first()).map(String::as_str).collect();
        products.push(scale);
        self.all(y, reads)
            && self.all(zero, reads)
            && self.all(scale, |reader| dequantizes(reader) || scales(reader, scale) || is_scale(reader))
            && results.iter().all(|result| {
                let is_scaled = |reader: &NodeProto| {
                    other_factor(reader, result)
                        .is_some_and(|other| products.contains(&other) && !is_result(other))
                };
                self.all(result, |reader| reader.op_type == "Cast" || is_scaled(reader))
            })
    }

    fn readers(&self, name: &str) -> impl Iterator<Item = &'a NodeProto> + '_ {
        self.0.get(name).into_iter().flatten().flatten().copied()
    }
}

fn operand(node: &NodeProto, index: usize) -> &str {
    node.input.get(index).map_or("", String::as_str)
}

/// The other operand of a product of a tensor with another one.
fn other_factor<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    match node.input.as_slice() {
        [a, b] if node.op_type == "Mul" && a == name && b != name => Some(b),
        [a, b] if node.op_type == "Mul" && b == name && a != name => Some(a),
        _ => None,
    }
}

impl Lowering {
    pub(super) fn dynamic(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        if node.op_type != "DynamicQuantizeLinear" {
            return Ok(None);
        }
        if node.output.first().is_none_or(|name| !self.folded_dynamically.contains(name)) {
            let needed = "MatMulInteger, ConvInteger or DequantizeLinear to read it with its zero point, and Mul with its scale";
            return Err(self.unsupported(node, needed));
        }
        let x = self.operand(node, 0)?;
        let number =
            |value, r#type| Value::Constant(Tensor { shape: Vec::new(), values: vec![value], r#type });
        Ok(Some(vec![x, number(1.0, Type::Float), number(0.0, Type::Int)]))
    }
}
