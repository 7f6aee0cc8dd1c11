//! Construction, validation and canonical bytes of a [`Graph`], and the static range of every tensor.

mod check;

use borsh::BorshDeserialize;

use crate::error::ModelError;
use crate::ir::{
    Graph, ModelId, Node, Op, Output, Port, QuantParams, Range, Shape, TensorId, Visibility, elements, limits,
};
use crate::linear::Taps;
use check::{check_port, limit};

const MAGIC: &[u8; 8] = b"ASSAYIR\x02";
const ID_CONTEXT: &str = "assay.v1 model id";

#[derive(BorshDeserialize)]
struct Parts {
    inputs: Vec<Port>,
    nodes: Vec<Node>,
    outputs: Vec<Output>,
}

impl Graph {
    /// Checks every rule of the integer graph: limits, order, shapes, and accumulators within
    /// [`limits::ACCUMULATOR_BITS`] for every input that the types admit.
    pub fn new(inputs: Vec<Port>, nodes: Vec<Node>, outputs: Vec<Output>) -> Result<Self, ModelError> {
        let mut graph =
            Self { inputs, nodes: Vec::new(), outputs: Vec::new(), ranges: Vec::new(), terms: Vec::new() };
        limit("number of inputs", graph.inputs.len(), limits::PORTS)?;
        limit("number of nodes", nodes.len(), limits::NODES)?;
        limit("number of outputs", outputs.len(), limits::PORTS)?;
        if graph.inputs.is_empty() || outputs.is_empty() {
            return Err(ModelError::Malformed("a model needs an input and an output".into()));
        }
        for port in &graph.inputs {
            check_port(port)?;
            graph.ranges.push(Range { lo: port.quant.lo.into(), hi: port.quant.hi.into() });
            graph.terms.push(1);
        }
        for node in nodes {
            let (range, terms) = graph.check_node(&node)?;
            graph.nodes.push(node);
            graph.ranges.push(range);
            graph.terms.push(terms);
        }
        for output in outputs {
            graph.check_output(&output)?;
            graph.outputs.push(output);
        }
        Ok(graph)
    }

    /// Input ports, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Outputs, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Number of tensors: inputs, then nodes.
    pub fn tensors(&self) -> usize {
        self.inputs.len() + self.nodes.len()
    }

    /// The node that produces a tensor; `None` for an input.
    pub fn producer(&self, tensor: TensorId) -> Option<&Node> {
        (tensor.0 as usize).checked_sub(self.inputs.len()).map(|node| &self.nodes[node])
    }

    /// Shape of a tensor.
    pub fn shape(&self, tensor: TensorId) -> &Shape {
        self.producer(tensor).map_or_else(|| &self.inputs[tensor.0 as usize].shape, |node| &node.shape)
    }

    /// Static range of a tensor.
    pub fn range(&self, tensor: TensorId) -> Range {
        self.ranges[tensor.0 as usize]
    }

    /// Tensor that a node produces.
    pub fn tensor_of(&self, node: usize) -> TensorId {
        TensorId((self.inputs.len() + node) as u32)
    }

    /// The linear map of a node; `None` for other operators.
    pub fn taps<'a>(&'a self, node: &'a Node) -> Option<Taps<'a>> {
        let from = self.shape(*node.inputs.first()?);
        match &node.op {
            Op::Dense(dense) => Some(Taps::Dense(dense, elements(&node.shape) / dense.bias.len().max(1))),
            Op::Conv2d(conv) => Some(Taps::Conv2d(conv, image(from)?, image(&node.shape)?)),
            Op::Sparse(sparse) => Some(Taps::Sparse(sparse, elements(from))),
            Op::Combine(_)
            | Op::Select(_)
            | Op::Multiply
            | Op::MatMul(_)
            | Op::MaxPool2d(_)
            | Op::Max(_)
            | Op::Table(_)
            | Op::Requantize(_)
            | Op::Reshape
            | Op::Sqrt => None,
        }
    }

    /// The ports whose values statements commit to, inputs first.
    pub fn committed(&self) -> impl Iterator<Item = &Port> {
        let outputs = self.outputs.iter().map(|output| &output.port);
        self.inputs.iter().chain(outputs).filter(|port| port.visibility == Visibility::Committed)
    }

    /// The same model with inputs, outputs, or both committed to instead of shown; another model by its id.
    #[must_use]
    pub fn committing(mut self, inputs: bool, outputs: bool) -> Self {
        let visibility = |committed| if committed { Visibility::Committed } else { Visibility::Public };
        self.inputs.iter_mut().for_each(|port| port.visibility = visibility(inputs));
        self.outputs.iter_mut().for_each(|output| output.port.visibility = visibility(outputs));
        self
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        borsh::to_writer(&mut bytes, self).expect("a Vec takes any number of bytes");
        bytes
    }

    /// Strict inverse of [`Graph::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        limit("size of the model in bytes", bytes.len(), limits::MODEL_BYTES)?;
        let body = bytes.strip_prefix(MAGIC).ok_or(ModelError::Magic)?;
        let parts: Parts = borsh::from_slice(body).map_err(|e| ModelError::Malformed(e.to_string()))?;
        Self::new(parts.inputs, parts.nodes, parts.outputs)
    }

    /// Digest of the canonical bytes.
    pub fn id(&self) -> ModelId {
        ModelId(blake3::derive_key(ID_CONTEXT, &self.to_bytes()))
    }

    /// Checks that integers fit the input ports.
    pub fn check_inputs(&self, inputs: &[Vec<i32>]) -> Result<(), ModelError> {
        if inputs.len() != self.inputs.len() {
            return Err(ModelError::Input {
                port: "all".into(),
                expected: format!("{} tensors", self.inputs.len()),
                got: inputs.len().to_string(),
            });
        }
        self.inputs.iter().zip(inputs).try_for_each(|(port, values)| port.check(values))
    }

    fn check_output(&self, output: &Output) -> Result<(), ModelError> {
        let port = &output.port;
        check_port(port)?;
        let tensor = output.tensor;
        if tensor.0 as usize >= self.tensors() || *self.shape(tensor) != port.shape {
            return Err(ModelError::node(&port.name, "output names no tensor of its shape"));
        }
        let source = self.source(tensor);
        if self.outputs.iter().any(|other| self.source(other.tensor) == source) {
            return Err(ModelError::node(&port.name, "two outputs name one tensor"));
        }
        match self.producer(source).map(|node| &node.op) {
            Some(Op::Requantize(rule)) if (rule.lo, rule.hi) == (port.quant.lo, port.quant.hi) => Ok(()),
            Some(Op::Table(table)) if port.quant.range().contains(table.range()) => Ok(()),
            Some(Op::Sqrt) if port.quant.range().contains(self.range(source)) => Ok(()),
            _ => Err(ModelError::node(
                &port.name,
                "an output is the result of a Requantize of exactly its type, or of a Table or Sqrt within it",
            )),
        }
    }
}

impl Port {
    /// Checks the port itself: name, shape, type and scale.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_port(self)
    }

    /// Checks the number of values and the range of each.
    pub fn check(&self, values: &[i32]) -> Result<(), ModelError> {
        let fail =
            |expected: String, got: String| ModelError::Input { port: self.name.clone(), expected, got };
        if values.len() != elements(&self.shape) {
            return Err(fail(format!("{} values", elements(&self.shape)), values.len().to_string()));
        }
        match values.iter().find(|v| !(self.quant.lo..=self.quant.hi).contains(v)) {
            Some(v) => Err(fail(format!("values in {}..={}", self.quant.lo, self.quant.hi), v.to_string())),
            None => Ok(()),
        }
    }
}

impl QuantParams {
    /// The integers of this type.
    pub fn range(&self) -> Range {
        Range { lo: self.lo.into(), hi: self.hi.into() }
    }

    /// Nearest integer of a real value, saturated. NaN becomes 0.
    pub fn quantize(&self, value: f32) -> i32 {
        // `as` saturates and maps NaN to 0.
        ((f64::from(value) / self.scale).round() as i32).clamp(self.lo, self.hi)
    }

    /// Real value of an integer.
    pub fn dequantize(&self, value: i32) -> f32 {
        (f64::from(value) * self.scale) as f32
    }
}

/// `[C, H, W]` of a shape `[1, C, H, W]`.
pub fn image(shape: &[u32]) -> Option<[u32; 3]> {
    match *shape {
        [1, c, h, w] => Some([c, h, w]),
        _ => None,
    }
}
