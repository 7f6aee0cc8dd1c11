//! The ONNX file before it is lowered: decoded, bounded, its symbolic dimensions bound.
//!
//! Recorded shapes (`value_info`) are dropped: they may contradict the bound dimensions.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto,
    tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::Framework;

use super::tensor::{Tensor, Type};
use super::{Options, attributes};
use crate::error::ModelError;
use crate::ir::{Shape, limits};

/// Limits on an ONNX file.
pub mod bounds {
    /// Bytes of a file.
    pub const BYTES: usize = 1 << 30;
    /// Nodes of a graph.
    pub const NODES: usize = 1 << 12;
    /// Tensors that are given by name.
    pub const INITIALIZERS: usize = 1 << 14;
    /// Graphs within graphs, as a branch is.
    pub const DEPTH: usize = 8;
    /// Operator sets that are understood.
    pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
}

/// An input that the file does not give itself.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name.
    pub name: String,
    /// Shape, all dimensions bound.
    pub shape: Shape,
    /// What its values are.
    pub r#type: Type,
}

/// A checked ONNX model.
pub struct Source {
    /// The model with all dimensions bound and without recorded shapes.
    pub proto: ModelProto,
    /// Inputs that remain inputs.
    pub inputs: Vec<Input>,
    /// Inputs that were given a value.
    pub constants: BTreeMap<String, Tensor>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Version of the standard operators.
    pub opset: i64,
}

/// What whoever imports says of the inputs.
pub trait Binding {
    /// Size of a symbolic dimension.
    fn size(&mut self, input: &str, axis: usize, symbol: &str) -> Option<u32>;
    /// Shape of an input, whatever the file says.
    fn shape(&mut self, input: &str) -> Option<Shape>;
    /// Values of an input that is a constant.
    fn constant(&mut self, input: &str) -> Option<Vec<f64>>;
}

struct Given<'a> {
    options: &'a Options,
    symbols: BTreeSet<String>,
    inputs: BTreeSet<String>,
}

impl Binding for Given<'_> {
    fn size(&mut self, _input: &str, _axis: usize, symbol: &str) -> Option<u32> {
        self.symbols.insert(symbol.to_owned());
        self.options.dims.get(symbol).copied()
    }

    fn shape(&mut self, input: &str) -> Option<Shape> {
        self.inputs.insert(input.to_owned());
        self.options.shapes.get(input).cloned()
    }

    fn constant(&mut self, input: &str) -> Option<Vec<f64>> {
        self.options.constants.get(input).cloned()
    }
}

/// Decodes and checks an ONNX file; the options bind dimensions, shapes and values of inputs by name.
pub fn read(bytes: &[u8], options: &Options) -> Result<Source, ModelError> {
    let mut given = Given { options, symbols: BTreeSet::new(), inputs: BTreeSet::new() };
    let source = read_with(bytes, &mut given)?;
    let list = |names: &BTreeSet<String>| match names.is_empty() {
        true => "none".to_owned(),
        false => names.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    if let Some(name) = options.dims.keys().find(|name| !given.symbols.contains(*name)) {
        let known = list(&given.symbols);
        return Err(ModelError::Import(format!(
            "no input has a dimension {name:?}; symbolic dimensions: {known}"
        )));
    }
    let named = options.shapes.keys().chain(options.constants.keys());
    match named.into_iter().find(|name| !given.inputs.contains(*name)) {
        None => Ok(source),
        Some(name) => {
            let known = list(&given.inputs);
            Err(ModelError::Import(format!("the file has no input {name:?}; inputs: {known}")))
        }
    }
}

/// As [`read`], for any binding.
pub fn read_with(bytes: &[u8], binding: &mut impl Binding) -> Result<Source, ModelError> {
    limit("size of the ONNX file in bytes", bytes.len() as u64, bounds::BYTES as u64)?;
    let mut proto = tract_onnx::onnx().proto_model_for_read(&mut &*bytes).map_err(|e| {
        ModelError::Import(format!("not an ONNX file, or a truncated one ({})", e.root_cause()))
    })?;
    let opset = proto.opset_import.iter().find(|set| is_default_domain(&set.domain)).map(|set| set.version);
    let Some(graph) = proto.graph.as_mut() else {
        return Err(ModelError::Import("not an ONNX file, or a truncated one (it holds no graph)".into()));
    };
    let opset = match opset {
        Some(version) if bounds::OPSETS.contains(&version) => version,
        Some(version) => {
            let (least, greatest) = (bounds::OPSETS.start(), bounds::OPSETS.end());
            return Err(ModelError::Import(format!(
                "operator set {version} is not understood, expected {least} to {greatest}"
            )));
        }
        None => return Err(ModelError::Import("the file names no operator set (is it truncated?)".into())),
    };
    check_names(graph)?;
    name_nodes(graph);
    drop_dropout(graph);
    check_graph(graph, 0)?;
    let (inputs, constants) = bind(graph, binding)?;
    limit("number of inputs", inputs.len() as u64, limits::PORTS as u64)?;
    limit("number of outputs", graph.output.len() as u64, limits::PORTS as u64)?;
    if inputs.is_empty() || graph.output.is_empty() {
        return Err(ModelError::Import("a model needs an input and an output".into()));
    }
    graph.value_info.clear();
    let outputs = graph.output.iter().map(|output| output.name.clone()).collect();
    Ok(Source { proto, inputs, constants, outputs, opset })
}

/// Bounds of a graph and of those within it.
fn check_graph(graph: &GraphProto, depth: usize) -> Result<(), ModelError> {
    limit("depth of graphs within graphs", depth as u64, bounds::DEPTH as u64)?;
    limit("number of ONNX nodes", graph.node.len() as u64, bounds::NODES as u64)?;
    limit("number of ONNX initializers", graph.initializer.len() as u64, bounds::INITIALIZERS as u64)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(ModelError::Import("sparse weights are not supported: store them densely".into()));
    }
    for node in &graph.node {
        if !is_default_domain(&node.domain) {
            return Err(ModelError::Unsupported {
                node: node_name(node).into(),
                op: node.op_type.clone(),
                needed: "it is no standard operator; export the model with standard ONNX operators only"
                    .into(),
            });
        }
    }
    check_constants(graph)?;
    attributes::check(graph)?;
    let inner =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref());
    inner.into_iter().try_for_each(|graph| check_graph(graph, depth + 1))
}

/// Name of a node in messages: its own, or that of its first output.
pub fn node_name(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

/// Whether a domain is that of the standard operators.
pub fn is_default_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn limit(what: &str, got: u64, limit: u64) -> Result<(), ModelError> {
    if got <= limit { Ok(()) } else { Err(ModelError::Limit { what: what.into(), got, limit }) }
}

/// Every operand is an input, an initializer or an earlier output, and no two values share a name.
fn check_names(graph: &GraphProto) -> Result<(), ModelError> {
    let mut known: BTreeSet<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    for node in &graph.node {
        let name = node_name(node);
        if let Some(operand) = node.input.iter().find(|i| !i.is_empty() && !known.contains(i.as_str())) {
            return Err(ModelError::node(
                name,
                format!("operand {operand:?} is produced by no earlier node"),
            ));
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !known.insert(output) {
                return Err(ModelError::node(name, format!("output {output:?} is already defined")));
            }
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name.as_str())) {
        Some(output) => Err(ModelError::Import(format!("output {:?} is produced by no node", output.name))),
        None => Ok(()),
    }
}

/// Gives every node a name of its own: ONNX wants none, messages and tract do.
fn name_nodes(graph: &mut GraphProto) {
    let mut taken: BTreeSet<String> = graph.input.iter().map(|value| value.name.clone()).collect();
    taken.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    for (index, node) in graph.node.iter_mut().enumerate() {
        let mut name = node_name(node).to_owned();
        if name.is_empty() || taken.contains(&name) {
            name = format!("{name}#{index}");
        }
        taken.insert(name.clone());
        node.name = name;
    }
}

/// Makes a Dropout that is not training the identity that it is.
fn drop_dropout(graph: &mut GraphProto) {
    let outputs = graph.output.iter().map(|output| &output.name);
    let used: BTreeSet<String> =
        graph.node.iter().flat_map(|node| &node.input).chain(outputs).cloned().collect();
    let off = |name: &String| {
        let flag = graph.initializer.iter().find(|tensor| tensor.name == *name);
        flag.is_some_and(|tensor| {
            tensor.raw_data.iter().all(|&b| b == 0) && tensor.int32_data.iter().all(|&v| v == 0)
        })
    };
    let idle = |node: &NodeProto| {
        node.op_type == "Dropout"
            && node.input.get(2).is_none_or(|training| training.is_empty() || off(training))
            && node.output.iter().skip(1).all(|mask| !used.contains(mask))
    };
    let idle: Vec<bool> = graph.node.iter().map(idle).collect();
    for (node, _) in graph.node.iter_mut().zip(idle).filter(|(_, idle)| *idle) {
        node.op_type = "Identity".into();
        node.input.truncate(1);
        node.output.truncate(1);
        node.attribute.clear();
    }
}

/// Checks every tensor that the file holds, naming the node that uses it.
fn check_constants(graph: &GraphProto) -> Result<(), ModelError> {
    for tensor in &graph.initializer {
        let uses = |node: &&NodeProto| node.input.contains(&tensor.name);
        let user = graph.node.iter().find(uses).map_or(tensor.name.as_str(), node_name);
        check_tensor(user, tensor)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            check_attribute(node, attribute)?;
        }
    }
    Ok(())
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), ModelError> {
    let name = node_name(node);
    let branch = node.op_type == "If" && attribute.g.is_some();
    if attribute.g.is_some() && !branch || !attribute.graphs.is_empty() || attribute.sparse_tensor.is_some() {
        return Err(ModelError::node(
            name,
            format!("attribute {:?} is of no supported kind", attribute.name),
        ));
    }
    if let Some(at) = attribute.floats.iter().chain([&attribute.f]).position(|v| v.is_nan()) {
        return Err(ModelError::node(
            name,
            format!("constant {:?} holds NaN at element {at}", attribute.name),
        ));
    }
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_tensor(name, tensor))
}

fn check_tensor(node: &str, tensor: &TensorProto) -> Result<(), ModelError> {
    use tensor_proto::DataType;
    let name = if tensor.name.is_empty() { "value" } else { tensor.name.as_str() };
    let fail = |reason: String| Err(ModelError::node(node, format!("constant {name:?} {reason}")));
    let external = tensor.data_location == Some(tensor_proto::DataLocation::External as i32);
    if external || !tensor.external_data.is_empty() || tensor.segment.is_some() {
        return fail("is stored outside the file: save the model as one file".into());
    }
    let elements = tensor.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?));
    let Some(elements) = elements else { return fail("has a dimension that is no size".into()) };
    limit(&format!("number of elements of constant {name:?}"), elements, limits::WEIGHTS as u64)?;
    limit(&format!("rank of constant {name:?}"), tensor.dims.len() as u64, limits::RANK as u64)?;
    let (width, typed) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => (4, tensor.float_data.len()),
        Ok(DataType::Double) => (8, tensor.double_data.len()),
        Ok(DataType::Int64) => (8, tensor.int64_data.len()),
        Ok(DataType::Int32) => (4, tensor.int32_data.len()),
        Ok(DataType::Uint8 | DataType::Int8 | DataType::Bool) => (1, tensor.int32_data.len()),
        Ok(DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16) => {
            (2, tensor.int32_data.len())
        }
        Ok(DataType::Uint32) => (4, tensor.uint64_data.len()),
        Ok(DataType::Uint64) => (8, tensor.uint64_data.len()),
        _ => return fail(format!("has data type {}, which is not supported", tensor.data_type)),
    };
    let got = if tensor.raw_data.is_empty() { typed } else { tensor.raw_data.len() / width };
    let ragged = !tensor.raw_data.len().is_multiple_of(width);
    if ragged || got as u64 != elements {
        return fail(format!("holds {got} elements, its shape wants {elements}"));
    }
    // Bounds may be infinite; what is folded into weights is checked when it is.
    let values = Tensor::read(name, tensor)?.values;
    match values.iter().position(|v| v.is_nan()) {
        Some(at) => fail(format!("holds NaN at element {at}")),
        None => Ok(()),
    }
}

/// Binds the symbolic dimensions of the inputs; those that are given a value become constants.
fn bind(
    graph: &mut GraphProto,
    binding: &mut impl Binding,
) -> Result<(Vec<Input>, BTreeMap<String, Tensor>), ModelError> {
    let given: BTreeSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    let (mut inputs, mut constants) = (Vec::new(), BTreeMap::new());
    for input in graph.input.iter_mut().filter(|input| !given.contains(&input.name)) {
        let name = input.name.clone();
        let (shape, r#type) = bind_input(input, binding)?;
        match binding.constant(&name) {
            None => inputs.push(Input { name, shape, r#type }),
            Some(values) => {
                let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
                let count = shape.iter().product::<usize>();
                let values = match values.as_slice() {
                    [value] => vec![*value; count],
                    _ => values,
                };
                if values.len() != count {
                    let reason = format!("input {name}: expected {count} values, got {}", values.len());
                    return Err(ModelError::Import(reason));
                }
                constants.insert(name, Tensor { shape, values, r#type });
            }
        }
    }
    Ok((inputs, constants))
}

fn bind_input(input: &mut ValueInfoProto, binding: &mut impl Binding) -> Result<(Shape, Type), ModelError> {
    use tensor_shape_proto::dimension::Value;
    let name = input.name.clone();
    let fail = |reason: String| ModelError::Import(format!("input {name}: {reason}"));
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut input.r#type else {
        return Err(fail("it is no tensor".into()));
    };
    let r#type = Type::of(tensor.elem_type).ok_or_else(|| {
        fail(format!("element type {} is not supported, expected numbers", tensor.elem_type))
    })?;
    let given = binding.shape(&name);
    let shape = match (&mut tensor.shape, given) {
        (_, Some(given)) => {
            let dim = |&size: &u32| tensor_shape_proto::Dimension {
                value: Some(Value::DimValue(size.into())),
                ..Default::default()
            };
            tensor.shape = Some(tract_onnx::pb::TensorShapeProto { dim: given.iter().map(dim).collect() });
            given
        }
        (None, None) => {
            return Err(fail(format!("its shape is not recorded; give it with `--shape {name}=..`")));
        }
        (Some(shape), None) => {
            let mut bound = Shape::new();
            for (axis, dim) in shape.dim.iter_mut().enumerate() {
                let symbol = match &dim.value {
                    Some(Value::DimValue(size)) if *size > 0 => {
                        bound.push(
                            u32::try_from(*size).map_err(|_| fail(format!("dimension {axis} is {size}")))?,
                        );
                        continue;
                    }
                    Some(Value::DimParam(symbol)) if !symbol.is_empty() => symbol.clone(),
                    _ => format!("{name}.{axis}"),
                };
                let size = binding.size(&name, axis, &symbol).filter(|&size| size > 0).ok_or_else(|| {
                    fail(format!("dimension {axis} is symbolic; bind it with `--dim {symbol}=SIZE`"))
                })?;
                dim.value = Some(Value::DimValue(size.into()));
                bound.push(size);
            }
            bound
        }
    };
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.into())).unwrap_or(u64::MAX);
    limit(&format!("number of elements of input {name}"), elements, limits::ELEMENTS as u64)?;
    limit(&format!("rank of input {name}"), shape.len() as u64, limits::RANK as u64)?;
    if elements == 0 {
        return Err(fail("a dimension is zero".into()));
    }
    Ok((shape, r#type))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (input, output) = (list(inputs), list(outputs));
        NodeProto { name: name.into(), op_type: op.into(), input, output, ..NodeProto::default() }
    }

    #[test]
    fn nodes_without_a_name_or_with_a_taken_one_get_their_own() {
        let mut graph = GraphProto {
            node: vec![
                node("", "Relu", &["x"], &["a"]),
                node("a", "Relu", &["a"], &["b"]),
                node("a", "Relu", &["b"], &["c"]),
            ],
            ..GraphProto::default()
        };
        name_nodes(&mut graph);
        assert_eq!(graph.node.iter().map(node_name).collect::<Vec<_>>(), ["a", "a#1", "a#2"]);
    }

    #[test]
    fn a_dropout_is_an_identity_unless_it_trains_or_its_mask_is_used() {
        let flag = |name: &str, value: u8| TensorProto {
            name: name.into(),
            raw_data: vec![value],
            ..TensorProto::default()
        };
        let mut graph = GraphProto {
            node: vec![
                node("plain", "Dropout", &["x", "ratio"], &["a", "unused"]),
                node("off", "Dropout", &["a", "ratio", "no"], &["b"]),
                node("on", "Dropout", &["b", "ratio", "yes"], &["c"]),
                node("masked", "Dropout", &["c"], &["d", "mask"]),
                node("user", "Relu", &["mask"], &["e"]),
            ],
            initializer: vec![flag("no", 0), flag("yes", 1)],
            ..GraphProto::default()
        };
        drop_dropout(&mut graph);
        let ops: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(ops, ["Identity", "Identity", "Dropout", "Dropout", "Relu"]);
    }
}
