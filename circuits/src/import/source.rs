//! The ONNX file before tract sees it: decoded, bounded, its symbolic dimensions bound, every operator
//! admitted by name.
//!
//! tract folds constant expressions while it analyses, so their sizes are bounded here, from the file alone.
//! Recorded shapes (`value_info`) are dropped: they may contradict the bound dimensions, and tract infers them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto,
    tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::Framework;

use super::{attributes, operators};
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
    /// Elements that one constant expression may take.
    pub const FOLDED: u64 = 1 << 28;
    /// Operator sets that are understood.
    pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;
}

/// A checked ONNX model.
pub struct Source {
    /// The model with all dimensions bound and without recorded shapes.
    pub proto: ModelProto,
    /// Name and shape of every input that the file does not give itself.
    pub inputs: Vec<(String, Shape)>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    nodes: BTreeMap<String, String>,
}

impl Source {
    /// Name and operator of the ONNX node that a node of tract's was made from: tract appends `.` and a suffix.
    pub fn origin<'a>(&'a self, tract_name: &'a str) -> (&'a str, Option<&'a str>) {
        let ends = tract_name.match_indices('.').map(|(at, _)| at).rev();
        std::iter::once(tract_name.len())
            .chain(ends)
            .filter_map(|end| self.nodes.get_key_value(&tract_name[..end]))
            .map(|(name, op)| (name.as_str(), Some(op.as_str())))
            .next()
            .unwrap_or((tract_name, None))
    }
}

/// Decodes and checks an ONNX file; `dims` binds symbolic dimensions by name.
pub fn read(bytes: &[u8], dims: &BTreeMap<String, u32>) -> Result<Source, ModelError> {
    let mut symbols = BTreeSet::new();
    let source = read_with(bytes, |_, _, symbol| {
        symbols.insert(symbol.to_owned());
        dims.get(symbol).copied()
    })?;
    match dims.keys().find(|name| !symbols.contains(*name)) {
        None => Ok(source),
        Some(name) => {
            let known = symbols.into_iter().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".into() } else { known };
            Err(ModelError::Import(format!(
                "no input has a dimension {name:?}; symbolic dimensions: {known}"
            )))
        }
    }
}

/// As [`read`]; `size` gives the size of a symbolic dimension by input, axis and symbol.
pub fn read_with(
    bytes: &[u8],
    mut size: impl FnMut(&str, usize, &str) -> Option<u32>,
) -> Result<Source, ModelError> {
    limit("size of the ONNX file in bytes", bytes.len() as u64, bounds::BYTES as u64)?;
    let mut proto = tract_onnx::onnx().proto_model_for_read(&mut &*bytes).map_err(|e| {
        ModelError::Import(format!("not an ONNX file, or a truncated one ({})", e.root_cause()))
    })?;
    let opset = proto.opset_import.iter().find(|set| is_default_domain(&set.domain)).map(|set| set.version);
    let Some(graph) = proto.graph.as_mut() else {
        return Err(ModelError::Import("not an ONNX file, or a truncated one (it holds no graph)".into()));
    };
    match opset {
        Some(version) if bounds::OPSETS.contains(&version) => {}
        Some(version) => {
            let (least, greatest) = (bounds::OPSETS.start(), bounds::OPSETS.end());
            return Err(ModelError::Import(format!(
                "operator set {version} is not understood, expected {least} to {greatest}"
            )));
        }
        None => return Err(ModelError::Import("the file names no operator set (is it truncated?)".into())),
    }
    limit("number of ONNX nodes", graph.node.len() as u64, bounds::NODES as u64)?;
    limit("number of ONNX initializers", graph.initializer.len() as u64, bounds::INITIALIZERS as u64)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(ModelError::Import("sparse weights are not supported: store them densely".into()));
    }
    check_names(graph)?;
    name_nodes(graph);
    drop_dropout(graph);
    graph.node.iter().try_for_each(operators::admit)?;
    check_constants(graph)?;
    check_folding(graph)?;
    attributes::check(graph)?;
    let inputs = bind(graph, &mut size)?;
    limit("number of inputs", inputs.len() as u64, limits::PORTS as u64)?;
    limit("number of outputs", graph.output.len() as u64, limits::PORTS as u64)?;
    if inputs.is_empty() || graph.output.is_empty() {
        return Err(ModelError::Import("a model needs an input and an output".into()));
    }
    graph.value_info.clear();
    let outputs = graph.output.iter().map(|output| output.name.clone()).collect();
    let nodes = graph.node.iter().map(|node| (node_name(node).to_owned(), node.op_type.clone())).collect();
    Ok(Source { proto, inputs, outputs, nodes })
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
    // The first node that uses a tensor, and whether it is a bound wherever it is used.
    let mut users: HashMap<&str, (&str, bool)> = HashMap::new();
    for node in &graph.node {
        for input in &node.input {
            users.entry(input).or_insert((node_name(node), true)).1 &= is_bound_consumer(node);
        }
    }
    for tensor in &graph.initializer {
        let (user, bound) = users.get(tensor.name.as_str()).copied().unwrap_or((&tensor.name, false));
        check_tensor(user, tensor, bound)?;
    }
    for node in &graph.node {
        // A constant node may feed the bound of a Clip, which may be infinite; NaN is refused everywhere.
        let infinite = is_bound_consumer(node) || node.op_type == "Constant";
        for attribute in &node.attribute {
            check_attribute(node_name(node), attribute, infinite)?;
        }
    }
    Ok(())
}

fn is_bound_consumer(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Clip" | "Min" | "Max")
}

fn check_attribute(node: &str, attribute: &AttributeProto, infinite: bool) -> Result<(), ModelError> {
    if attribute.g.is_some() || !attribute.graphs.is_empty() || attribute.sparse_tensor.is_some() {
        return Err(ModelError::node(
            node,
            format!("attribute {:?} is of no supported kind", attribute.name),
        ));
    }
    let floats = attribute.floats.iter().chain([&attribute.f]);
    check_finite(node, &attribute.name, floats.map(|&v| f64::from(v)), infinite)?;
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_tensor(node, tensor, infinite))
}

fn check_tensor(node: &str, tensor: &TensorProto, infinite: bool) -> Result<(), ModelError> {
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
        _ => return fail(format!("has data type {}, which is not supported", tensor.data_type)),
    };
    let got = if tensor.raw_data.is_empty() { typed } else { tensor.raw_data.len() / width };
    let ragged = !tensor.raw_data.len().is_multiple_of(width);
    if ragged || got as u64 != elements {
        return fail(format!("holds {got} elements, its shape wants {elements}"));
    }
    let raw = |width: usize| tensor.raw_data.chunks_exact(width);
    let read = |chunk: &[u8]| match chunk {
        [a, b, c, d] => f64::from(f32::from_le_bytes([*a, *b, *c, *d])),
        _ => chunk.try_into().map_or(f64::NAN, f64::from_le_bytes),
    };
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            let typed = tensor.float_data.iter().map(|&v| f64::from(v));
            check_finite(node, name, typed.chain(raw(4).map(read)), infinite)
        }
        Ok(DataType::Double) => {
            let typed = tensor.double_data.iter().copied();
            check_finite(node, name, typed.chain(raw(8).map(read)), infinite)
        }
        _ => Ok(()),
    }
}

fn check_finite(
    node: &str,
    what: &str,
    values: impl Iterator<Item = f64>,
    infinite: bool,
) -> Result<(), ModelError> {
    for (index, value) in values.enumerate() {
        if value.is_nan() || (value.is_infinite() && !infinite) {
            return Err(ModelError::node(
                node,
                format!("constant {what:?} holds {value} at element {index}"),
            ));
        }
    }
    Ok(())
}

/// Bounds the size of every constant expression, which tract evaluates: the product of the operands' sizes,
/// or their sum where they are concatenated.
fn check_folding(graph: &GraphProto) -> Result<(), ModelError> {
    let volume = |tensor: &TensorProto| tensor.dims.iter().map(|&d| d.unsigned_abs()).product::<u64>().max(1);
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    sizes.extend(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), volume(tensor))));
    for node in &graph.node {
        let operands: Option<Vec<u64>> =
            node.input.iter().filter(|i| !i.is_empty()).map(|i| sizes.get(i.as_str()).copied()).collect();
        let size = match (node.op_type.as_str(), operands) {
            ("Shape", _) => limits::RANK as u64,
            ("Constant", _) => {
                let lists = |a: &AttributeProto| (a.floats.len() + a.ints.len()) as u64;
                let held = |a: &AttributeProto| a.t.as_ref().map_or(lists(a), volume);
                node.attribute.iter().map(held).max().unwrap_or(1).max(1)
            }
            (_, None) => continue,
            (op, Some(operands)) => match operators::folding(op) {
                operators::Folding::First => operands.first().copied().unwrap_or(1),
                operators::Folding::Sum => operands.iter().fold(0u64, |n, &size| n.saturating_add(size)),
                operators::Folding::Product => operands.iter().fold(1u64, |n, &size| n.saturating_mul(size)),
                operators::Folding::Never => {
                    return Err(ModelError::node(node_name(node), format!("{op} of constants only")));
                }
            },
        };
        limit(&format!("size of the constant expression {}", node_name(node)), size, bounds::FOLDED)?;
        sizes.extend(node.output.iter().map(|output| (output.as_str(), size)));
    }
    Ok(())
}

/// Binds the symbolic dimensions of the inputs and returns their names and shapes.
fn bind(
    graph: &mut GraphProto,
    size: &mut impl FnMut(&str, usize, &str) -> Option<u32>,
) -> Result<Vec<(String, Shape)>, ModelError> {
    let given: BTreeSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    let free = graph.input.iter_mut().filter(|input| !given.contains(&input.name));
    free.map(|input| Ok((input.name.clone(), bind_input(input, size)?))).collect()
}

fn bind_input(
    input: &mut ValueInfoProto,
    size: &mut impl FnMut(&str, usize, &str) -> Option<u32>,
) -> Result<Shape, ModelError> {
    use tensor_shape_proto::dimension::Value;
    let name = input.name.clone();
    let fail = |reason: String| ModelError::Import(format!("input {name}: {reason}"));
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut input.r#type else {
        return Err(fail("it is no tensor".into()));
    };
    if tensor.elem_type != tensor_proto::DataType::Float as i32 {
        return Err(fail(format!("element type {} is not supported, expected float32", tensor.elem_type)));
    }
    let Some(shape) = &mut tensor.shape else { return Err(fail("its shape is not recorded".into())) };
    let mut bound = Shape::new();
    for (axis, dim) in shape.dim.iter_mut().enumerate() {
        let symbol = match &dim.value {
            Some(Value::DimValue(size)) if *size > 0 => {
                bound.push(u32::try_from(*size).map_err(|_| fail(format!("dimension {axis} is {size}")))?);
                continue;
            }
            Some(Value::DimParam(symbol)) if !symbol.is_empty() => symbol.clone(),
            _ => format!("{name}.{axis}"),
        };
        let size = size(&name, axis, &symbol).filter(|&size| size > 0).ok_or_else(|| {
            fail(format!("dimension {axis} is symbolic; bind it with `--dim {symbol}=SIZE`"))
        })?;
        dim.value = Some(Value::DimValue(size.into()));
        bound.push(size);
    }
    Ok(bound)
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
    fn a_node_of_the_parsers_is_traced_to_the_longest_name_that_it_was_made_from() {
        let nodes = [("fc", "Gemm"), ("fc.1", "Relu")].map(|(name, op)| (name.to_owned(), op.to_owned()));
        let source =
            Source { proto: ModelProto::default(), inputs: vec![], outputs: vec![], nodes: nodes.into() };
        assert_eq!(source.origin("fc.ab"), ("fc", Some("Gemm")));
        assert_eq!(source.origin("fc.1.low.cst"), ("fc.1", Some("Relu")));
        assert_eq!(source.origin("fc"), ("fc", Some("Gemm")));
        assert_eq!(source.origin("fcx.ab"), ("fcx.ab", None));
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
