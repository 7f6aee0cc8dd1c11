//! From ONNX nodes to layers, a function an operator.
//!
//! A tensor is a constant or a *wire*, a view of the network under construction. Every operator is written once, over
//! both: helpers evaluate what is constant and build layers for the rest.

mod dynamic;
mod elementwise;
mod gather;
mod linear;
mod normalise;
mod rearrange;
mod recurrent;
mod reduce;
mod resize;
mod top;
mod window;

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::builder::{Builder, View};
use super::network::Network;
use super::roots;
use super::scalar::{Pair, Scalar};
use super::source::{Source, node_name};
use super::tensor::{Tensor, Type, broadcast, spread};
use crate::error::ModelError;
use crate::ir::{Shape, limits};

/// Lowers a checked ONNX graph. Every node is either lowered or refused by name.
pub fn network(source: &Source) -> Result<Network, ModelError> {
    let Some(graph) = &source.proto.graph else { return Err(ModelError::Import("it holds no graph".into())) };
    let inputs: Vec<(String, Shape)> =
        source.inputs.iter().map(|i| (i.name.clone(), i.shape.clone())).collect();
    let mut lowering = Lowering {
        builder: Builder::new(inputs),
        values: HashMap::new(),
        opset: source.opset,
        ranges: HashMap::new(),
        folded: 0,
        folded_dynamically: dynamic::Readers::of(graph).folded(graph),
    };
    for (index, input) in source.inputs.iter().enumerate() {
        let view = lowering.builder.input(index);
        lowering.values.insert(input.name.clone(), Value::Wire(view, input.r#type));
    }
    for tensor in &graph.initializer {
        lowering.ranges.insert(tensor.name.clone(), range_of(tensor.data_type));
        lowering.values.insert(tensor.name.clone(), Value::Constant(Tensor::read(&tensor.name, tensor)?));
    }
    for (name, constant) in &source.constants {
        lowering.values.insert(name.clone(), Value::Constant(constant.clone()));
    }
    lowering.nodes(&graph.node)?;
    for name in &source.outputs {
        let node = NodeProto { name: name.clone(), op_type: "output".into(), ..NodeProto::default() };
        let value = lowering.values.get(name).cloned();
        let value = value.ok_or_else(|| ModelError::Import(format!("output {name:?} is not computed")))?;
        let (view, r#type) = lowering.wire(&node, &value)?;
        lowering.builder.output(name, &view, r#type != Type::Float)?;
    }
    Ok(roots::fused(lowering.builder.finish()))
}

/// A tensor.
#[derive(Clone, Debug)]
enum Value {
    Constant(Tensor),
    Wire(View, Type),
}

impl Value {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Constant(tensor) => tensor.shape.clone(),
            Self::Wire(view, _) => view.shape().iter().map(|&d| d as usize).collect(),
        }
    }

    fn r#type(&self) -> Type {
        match self {
            Self::Constant(tensor) => tensor.r#type,
            Self::Wire(_, r#type) => *r#type,
        }
    }

    fn typed(self, r#type: Type) -> Self {
        match self {
            Self::Constant(tensor) => Self::Constant(Tensor { r#type, ..tensor }),
            Self::Wire(view, _) => Self::Wire(view, r#type),
        }
    }

    fn elements(&self) -> usize {
        self.shape().iter().product()
    }
}

struct Lowering {
    builder: Builder,
    values: HashMap<String, Value>,
    opset: i64,
    /// Least and greatest number of the types of the file's own tensors, by name.
    ranges: HashMap<String, (f64, f64)>,
    /// Elements of all constants that were computed.
    folded: usize,
    /// Results of `DynamicQuantizeLinear` that stand for what they were made of.
    folded_dynamically: Vec<String>,
}

/// Elements that constant expressions may take in all.
const FOLDED: usize = 1 << 28;

impl Lowering {
    fn nodes(&mut self, nodes: &[NodeProto]) -> Result<(), ModelError> {
        for node in nodes {
            let results = self.node(node)?;
            for (name, value) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
                self.check_size(node, &value)?;
                self.values.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// The branch that a constant condition takes.
    fn branch(&mut self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        let condition = self.constant(node, 0)?.values.first().is_some_and(|c| *c != 0.0);
        let name = if condition { "then_branch" } else { "else_branch" };
        let graph = attribute(node, name).and_then(|attribute| attribute.g.as_ref());
        let graph = graph.ok_or_else(|| ModelError::node(node_name(node), format!("{name} is missing")))?;
        for tensor in &graph.initializer {
            self.values.insert(tensor.name.clone(), Value::Constant(Tensor::read(&tensor.name, tensor)?));
        }
        self.nodes(&graph.node)?;
        let value = |output: &tract_onnx::pb::ValueInfoProto| {
            let value = self.values.get(&output.name).cloned();
            value.ok_or_else(|| {
                ModelError::node(node_name(node), format!("{:?} is not computed", output.name))
            })
        };
        graph.output.iter().map(value).collect()
    }

    fn node(&mut self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        if let ("Constant", Some(name), Some(tensor)) =
            (node.op_type.as_str(), node.output.first(), attribute(node, "value").and_then(|a| a.t.as_ref()))
        {
            self.ranges.insert(name.clone(), range_of(tensor.data_type));
        }
        if node.op_type == "If" {
            return self.branch(node);
        }
        let families = [
            Self::elementwise,
            Self::rearrange,
            Self::linear,
            Self::window,
            Self::reduce,
            Self::normalise,
            Self::recurrent,
            Self::top,
            Self::dynamic,
        ];
        for family in families {
            if let Some(results) = family(self, node)? {
                return Ok(results);
            }
        }
        Err(self.unsupported(node, "an equation, a constraint and an import rule for it"))
    }

    /// The `index`-th operand; `None` if it is left out.
    fn optional(&self, node: &NodeProto, index: usize) -> Result<Option<Value>, ModelError> {
        let Some(name) = node.input.get(index).filter(|name| !name.is_empty()) else { return Ok(None) };
        let value = self.values.get(name).cloned();
        value
            .map(Some)
            .ok_or_else(|| ModelError::node(node_name(node), format!("operand {name:?} is not computed")))
    }

    fn operand(&self, node: &NodeProto, index: usize) -> Result<Value, ModelError> {
        self.optional(node, index)?
            .ok_or_else(|| ModelError::node(node_name(node), format!("operand {index} is missing")))
    }

    fn operands(&self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        (0..node.input.len()).map(|index| self.operand(node, index)).collect()
    }

    /// An operand that has to be known when the model is imported.
    fn constant(&self, node: &NodeProto, index: usize) -> Result<Tensor, ModelError> {
        match self.operand(node, index)? {
            Value::Constant(tensor) => Ok(tensor),
            Value::Wire(..) => Err(self.unsupported(node, &format!("operand {index} to be a constant"))),
        }
    }

    fn optional_constant(&self, node: &NodeProto, index: usize) -> Result<Option<Tensor>, ModelError> {
        match self.optional(node, index)? {
            None => Ok(None),
            Some(_) => self.constant(node, index).map(Some),
        }
    }

    /// Axes and the like: an operand of newer operator sets, an attribute of older ones.
    fn integers(
        &self,
        node: &NodeProto,
        index: usize,
        attribute: &str,
    ) -> Result<Option<Vec<i64>>, ModelError> {
        match self.optional_constant(node, index)? {
            Some(tensor) => Ok(Some(tensor.integers())),
            None => Ok(ints(node, attribute).map(<[i64]>::to_vec)),
        }
    }

    /// The tensor as a view; a constant becomes a layer that reads nothing.
    fn wire(&mut self, node: &NodeProto, value: &Value) -> Result<(View, Type), ModelError> {
        match value {
            Value::Wire(view, r#type) => Ok((view.clone(), *r#type)),
            Value::Constant(tensor) => {
                let shape = self.dims(node, &tensor.shape)?;
                let finite = |v: &f64| if v.is_finite() { *v } else { v.clamp(-1e30, 1e30) };
                let values: Vec<f64> = tensor.values.iter().map(finite).collect();
                Ok((self.builder.constant(node_name(node), &values, shape)?, tensor.r#type))
            }
        }
    }

    /// A function of every element.
    fn unary(
        &mut self,
        node: &NodeProto,
        value: &Value,
        apply: impl FnOnce(Scalar) -> Scalar,
    ) -> Result<Value, ModelError> {
        match value {
            Value::Constant(tensor) => {
                let function = apply(Scalar::X);
                let values = tensor.values.iter().map(|&x| function.at(x)).collect();
                Ok(Value::Constant(Tensor { values, ..tensor.clone() }))
            }
            Value::Wire(view, r#type) => {
                Ok(Value::Wire(self.builder.scalar(node_name(node), view, apply)?, *r#type))
            }
        }
    }

    /// An operator of two tensors that broadcast.
    fn binary(&mut self, node: &NodeProto, pair: Pair, a: &Value, b: &Value) -> Result<Value, ModelError> {
        let shape = broadcast(&a.shape(), &b.shape())
            .ok_or_else(|| ModelError::node(node_name(node), "operands do not broadcast"))?;
        self.check_elements(node, &shape)?;
        let r#type = if a.r#type() == Type::Float { a.r#type() } else { b.r#type() };
        if let (Pair::Divide, Value::Wire(..), Value::Constant(c)) = (pair, a, b)
            && c.values.contains(&0.0)
        {
            return Err(ModelError::node(node_name(node), "division by zero"));
        }
        let result = match (a, b) {
            (Value::Constant(_), Value::Constant(_)) => {
                let (Value::Constant(a), Value::Constant(b)) =
                    (self.expand(a, &shape), self.expand(b, &shape))
                else {
                    return Err(ModelError::node(node_name(node), "a constant expected"));
                };
                let values = a.values.iter().zip(&b.values).map(|(&a, &b)| pair.at(a, b)).collect();
                Value::Constant(Tensor { shape, values, r#type })
            }
            (Value::Wire(..), Value::Constant(c)) if c.uniform().is_some() => {
                let c = c.uniform().unwrap_or(0.0);
                let x = self.expand(a, &shape);
                self.unary(node, &x, |x| x.both(pair, Scalar::Constant(c)))?
            }
            (Value::Constant(c), Value::Wire(..)) if c.uniform().is_some() => {
                let c = c.uniform().unwrap_or(0.0);
                let x = self.expand(b, &shape);
                self.unary(node, &x, |x| Scalar::Constant(c).both(pair, x))?
            }
            (Value::Wire(..), Value::Constant(_)) => {
                let (x, c) = (self.expand(a, &shape), self.expand(b, &shape));
                self.with_constants(node, pair, &x, &c, false)?
            }
            (Value::Constant(_), Value::Wire(..)) => {
                let (c, x) = (self.expand(a, &shape), self.expand(b, &shape));
                self.with_constants(node, pair, &x, &c, true)?
            }
            (Value::Wire(..), Value::Wire(..)) => {
                let (a, b) = (self.expand(a, &shape), self.expand(b, &shape));
                let ((a, _), (b, _)) = (self.wire(node, &a)?, self.wire(node, &b)?);
                Value::Wire(self.builder.both(node_name(node), pair, &a, &b)?, r#type)
            }
        };
        Ok(result.typed(r#type))
    }

    /// A wire and a constant of one shape, with a number for every element.
    fn with_constants(
        &mut self,
        node: &NodeProto,
        pair: Pair,
        x: &Value,
        c: &Value,
        constant_first: bool,
    ) -> Result<Value, ModelError> {
        let (Value::Wire(view, r#type), Value::Constant(tensor)) = (x, c) else {
            return Err(ModelError::node(node_name(node), "a constant expected"));
        };
        let name = node_name(node);
        let constants = self.floats(node, tensor)?;
        let n = constants.len();
        let line = |builder: &mut Builder, view: &View, scale: Vec<f32>, offset: Vec<f32>| {
            Ok(Value::Wire(builder.affine(name, view, scale, offset)?, *r#type))
        };
        match pair {
            Pair::Add => line(&mut self.builder, view, vec![1.0; n], constants),
            Pair::Multiply => line(&mut self.builder, view, constants, vec![0.0; n]),
            Pair::Divide if !constant_first => {
                let inverse: Vec<f32> = constants.iter().map(|c| 1.0 / c).collect();
                if inverse.iter().any(|c| !c.is_finite()) {
                    return Err(ModelError::node(name, "division by zero"));
                }
                line(&mut self.builder, view, inverse, vec![0.0; n])
            }
            Pair::Divide => {
                let inverse = self.unary(node, x, |x| x.of(super::scalar::Function::Reciprocal))?;
                self.with_constants(node, Pair::Multiply, &inverse, c, false)
            }
            // max(x, c) = c + max(x - c, 0), min(x, c) = c + min(x - c, 0).
            Pair::Maximum | Pair::Minimum => {
                let negated: Vec<f32> = constants.iter().map(|c| -c).collect();
                let (lo, hi) = match pair {
                    Pair::Maximum => (0.0, f64::INFINITY),
                    _ => (f64::NEG_INFINITY, 0.0),
                };
                let moved = line(&mut self.builder, view, vec![1.0; n], negated)?;
                let bounded = self.unary(node, &moved, |x| x.clamp(lo, hi))?;
                self.with_constants(node, Pair::Add, &bounded, c, false)
            }
            Pair::Power => {
                let (mut functions, mut which) = (Vec::new(), Vec::new());
                for &c in &tensor.values {
                    let constant = Scalar::Constant(c);
                    let function = match constant_first {
                        true => constant.both(Pair::Power, Scalar::X),
                        false => Scalar::X.both(Pair::Power, constant),
                    };
                    let known = functions.iter().position(|other| *other == function);
                    which.push(known.unwrap_or_else(|| {
                        functions.push(function);
                        functions.len() - 1
                    }) as u32);
                }
                Ok(Value::Wire(self.builder.functions(name, view, functions, which)?, *r#type))
            }
        }
    }

    /// `y[i] = x[index[i]]`.
    fn select(&self, value: &Value, index: Vec<u32>, shape: &[usize]) -> Value {
        match value {
            // Nothing depends on nothing.
            _ if index.is_empty() => {
                Value::Constant(Tensor { shape: shape.to_vec(), values: Vec::new(), r#type: value.r#type() })
            }
            Value::Constant(tensor) => Value::Constant(tensor.select(&index, shape.to_vec())),
            Value::Wire(view, r#type) => {
                let shape = shape.iter().map(|&d| d as u32).collect();
                Value::Wire(self.builder.select(view, index, shape), *r#type)
            }
        }
    }

    /// A tensor broadcast to a shape.
    fn expand(&self, value: &Value, shape: &[usize]) -> Value {
        let from = value.shape();
        if from == shape { value.clone() } else { self.select(value, spread(&from, shape), shape) }
    }

    fn reshape(&self, node: &NodeProto, value: &Value, shape: &[usize]) -> Result<Value, ModelError> {
        if shape.iter().product::<usize>() != value.elements() {
            let reason = format!("shapes {:?} and {shape:?} differ in size", value.shape());
            return Err(ModelError::node(node_name(node), reason));
        }
        Ok(match value {
            Value::Constant(tensor) => Value::Constant(Tensor { shape: shape.to_vec(), ..tensor.clone() }),
            Value::Wire(view, r#type) => {
                let shape = self.dims(node, shape)?;
                Value::Wire(self.builder.reshape(node_name(node), view, shape)?, *r#type)
            }
        })
    }

    /// An axis counted from either end.
    fn axis(&self, node: &NodeProto, axis: i64, rank: usize) -> Result<usize, ModelError> {
        let from_end = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_end).ok().filter(|&axis| axis < rank).ok_or_else(|| {
            ModelError::node(node_name(node), format!("axis {axis} of a tensor with {rank} dimensions"))
        })
    }

    fn axes(&self, node: &NodeProto, axes: &[i64], rank: usize) -> Result<Vec<usize>, ModelError> {
        let mut axes: Vec<usize> =
            axes.iter().map(|&axis| self.axis(node, axis, rank)).collect::<Result<_, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// A constant's values as weights: finite.
    fn floats(&self, node: &NodeProto, tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
        let values: Vec<f32> = tensor.values.iter().map(|&v| v as f32).collect();
        match values.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(ModelError::node(node_name(node), format!("a folded constant is {v}"))),
            None => Ok(values),
        }
    }

    fn dims(&self, node: &NodeProto, shape: &[usize]) -> Result<Shape, ModelError> {
        self.check_elements(node, shape)?;
        Ok(shape.iter().map(|&d| d as u32).collect())
    }

    fn check_elements(&self, node: &NodeProto, shape: &[usize]) -> Result<(), ModelError> {
        let name = node_name(node);
        let limit = |what: &str, got: usize, limit: usize| match got <= limit {
            true => Ok(()),
            false => {
                let what = format!("{what} of {name}");
                Err(ModelError::Limit { what, got: got as u64, limit: limit as u64 })
            }
        };
        limit("rank", shape.len(), limits::RANK)?;
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        limit("number of elements", elements, limits::ELEMENTS)
    }

    fn check_size(&mut self, node: &NodeProto, value: &Value) -> Result<(), ModelError> {
        match value {
            Value::Wire(view, _) if view.shape().contains(&0) => {
                Err(ModelError::node(node_name(node), "a dimension is zero"))
            }
            Value::Wire(view, _) => {
                self.check_elements(node, &view.shape().iter().map(|&d| d as usize).collect::<Vec<_>>())
            }
            Value::Constant(tensor) => {
                self.folded += tensor.values.len();
                if self.folded <= FOLDED {
                    return Ok(());
                }
                let what = format!("number of elements of constants folded up to {}", node_name(node));
                Err(ModelError::Limit { what, got: self.folded as u64, limit: FOLDED as u64 })
            }
        }
    }

    fn unsupported(&self, node: &NodeProto, needed: &str) -> ModelError {
        ModelError::Unsupported {
            node: node_name(node).into(),
            op: node.op_type.clone(),
            needed: needed.into(),
        }
    }
}

/// Least and greatest number of an ONNX integer type; unbounded for others.
fn range_of(data_type: i32) -> (f64, f64) {
    use tract_onnx::pb::tensor_proto::DataType;
    match DataType::try_from(data_type) {
        Ok(DataType::Int8) => (-128.0, 127.0),
        Ok(DataType::Uint8) => (0.0, 255.0),
        Ok(DataType::Int16) => (-32768.0, 32767.0),
        Ok(DataType::Uint16) => (0.0, 65535.0),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

fn float(node: &NodeProto, name: &str, default: f64) -> f64 {
    attribute(node, name).map_or(default, |attribute| attribute.f.into())
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| attribute.ints.as_slice())
}

fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    attribute(node, name).and_then(|a| std::str::from_utf8(&a.s).ok()).unwrap_or(default)
}
