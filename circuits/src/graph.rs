//! Construction, validation and canonical bytes of a [`Graph`], and the static range of every tensor.

use borsh::BorshDeserialize;

use crate::error::ModelError;
use crate::ir::{
    Graph, ModelId, Node, Op, Output, Port, QuantParams, Range, Requantize, Shape, TensorId, elements,
    limits, quotient,
};
use crate::linear::Taps;

const MAGIC: &[u8; 8] = b"ASSAYIR\x01";
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
        let mut graph = Self { inputs, nodes: Vec::new(), outputs: Vec::new(), ranges: Vec::new() };
        limit("number of inputs", graph.inputs.len(), limits::PORTS)?;
        limit("number of nodes", nodes.len(), limits::NODES)?;
        limit("number of outputs", outputs.len(), limits::PORTS)?;
        if graph.inputs.is_empty() || outputs.is_empty() {
            return Err(ModelError::Malformed("a model needs an input and an output".into()));
        }
        for port in &graph.inputs {
            check_port(port)?;
            graph.ranges.push(Range { lo: port.quant.lo.into(), hi: port.quant.hi.into() });
        }
        for node in nodes {
            let range = graph.check_node(&node)?;
            graph.nodes.push(node);
            graph.ranges.push(range);
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
        match &node.op {
            Op::Dense(dense) => Some(Taps::Dense(dense)),
            Op::Conv2d(conv) => {
                Some(Taps::Conv2d(conv, image(self.shape(node.inputs[0]))?, image(&node.shape)?))
            }
            Op::MaxPool2d(_) | Op::Requantize(_) | Op::Reshape => None,
        }
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

    fn check_node(&self, node: &Node) -> Result<Range, ModelError> {
        let fail = |reason: &str| ModelError::node(&node.name, reason);
        check_name(&node.name)?;
        check_shape(&node.name, &node.shape)?;
        let [input] = node.inputs[..] else { return Err(fail("expected one operand")) };
        if input.0 as usize >= self.tensors() {
            return Err(fail("operand is not an earlier tensor"));
        }
        let (from, range) = (self.shape(input), self.range(input));
        match &node.op {
            Op::Dense(dense) => {
                limit("number of weights", dense.weights.len(), limits::WEIGHTS)?;
                let (rows, width) = (dense.bias.len(), elements(from));
                if rows != elements(&node.shape) || Some(dense.weights.len()) != rows.checked_mul(width) {
                    return Err(fail("weights and bias do not fit the shapes"));
                }
                accumulator_range(&node.name, &Taps::Dense(dense), range)
            }
            Op::Conv2d(conv) => {
                limit("number of weights", conv.weights.len(), limits::WEIGHTS)?;
                let (Some(x), Some(y)) = (image(from), image(&node.shape)) else {
                    return Err(fail("a convolution maps [1, C, H, W] to [1, C, H, W]"));
                };
                let groups = conv.groups;
                if groups == 0 || x[0] % groups != 0 || y[0] % groups != 0 {
                    return Err(fail("channels are no multiple of the groups"));
                }
                if conv.window.output([x[1], x[2]], conv.kernel) != Some([y[1], y[2]]) {
                    return Err(fail("window, kernel and shapes do not agree"));
                }
                check_taps(elements(&node.shape), [conv.kernel[0], conv.kernel[1], x[0] / groups])?;
                let taps = u64::from(y[0]) * u64::from(x[0] / groups);
                let taps = taps.checked_mul(u64::from(conv.kernel[0]) * u64::from(conv.kernel[1]));
                if taps != Some(conv.weights.len() as u64) || conv.bias.len() != y[0] as usize {
                    return Err(fail("weights and bias do not fit the shapes"));
                }
                accumulator_range(&node.name, &Taps::Conv2d(conv, x, y), range)
            }
            Op::MaxPool2d(pool) => {
                let (Some(x), Some(y)) = (image(from), image(&node.shape)) else {
                    return Err(fail("a pool maps [1, C, H, W] to [1, C, H, W]"));
                };
                if x[0] != y[0] || pool.window.output([x[1], x[2]], pool.kernel) != Some([y[1], y[2]]) {
                    return Err(fail("window, kernel and shapes do not agree"));
                }
                check_taps(elements(&node.shape), [pool.kernel[0], pool.kernel[1], 1])?;
                let empty = |output| {
                    let mut empty = true;
                    pool.taps(output, x, y, |_| empty = false);
                    empty
                };
                if (0..elements(&node.shape)).any(empty) {
                    return Err(fail("a window lies wholly in the padding"));
                }
                Ok(range)
            }
            Op::Requantize(rule) => {
                if elements(from) != elements(&node.shape) {
                    return Err(fail("shapes differ in their number of elements"));
                }
                if rule.shift == 0 || rule.shift > limits::SHIFT {
                    return Err(fail("shift is out of range"));
                }
                check_type(&node.name, rule.lo, rule.hi)?;
                Ok(requantized(range, rule))
            }
            Op::Reshape if elements(from) == elements(&node.shape) => Ok(range),
            Op::Reshape => Err(fail("shapes differ in their number of elements")),
        }
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
            _ => Err(ModelError::node(&port.name, "an output is the result of a Requantize of its type")),
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

fn limit(what: &str, got: usize, limit: usize) -> Result<(), ModelError> {
    if got <= limit {
        return Ok(());
    }
    Err(ModelError::Limit { what: what.into(), got: got as u64, limit: limit as u64 })
}

fn check_taps(outputs: usize, window: [u32; 3]) -> Result<(), ModelError> {
    let taps = window.iter().fold(outputs, |product, &side| product.saturating_mul(side as usize));
    limit("number of taps of a node", taps, limits::TAPS)
}

fn check_name(name: &str) -> Result<(), ModelError> {
    limit("length of a name", name.len(), limits::NAME)
}

fn check_shape(name: &str, shape: &[u32]) -> Result<(), ModelError> {
    limit(&format!("rank of {name}"), shape.len(), limits::RANK)?;
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize)).unwrap_or(usize::MAX);
    limit(&format!("number of elements of {name}"), elements, limits::ELEMENTS)?;
    if elements == 0 { Err(ModelError::node(name, "a dimension is zero")) } else { Ok(()) }
}

fn check_type(name: &str, lo: i32, hi: i32) -> Result<(), ModelError> {
    let bound = 1 << limits::ACTIVATION_BITS;
    if lo > 0 || hi < 1 || lo < -bound || hi >= bound || hi - lo >= bound {
        return Err(ModelError::node(name, format!("type {lo}..={hi} is out of range")));
    }
    Ok(())
}

fn check_port(port: &Port) -> Result<(), ModelError> {
    check_name(&port.name)?;
    check_shape(&port.name, &port.shape)?;
    check_type(&port.name, port.quant.lo, port.quant.hi)?;
    if !(port.quant.scale.is_finite() && port.quant.scale > 0.0) {
        return Err(ModelError::node(&port.name, "scale is not a positive number"));
    }
    Ok(())
}

/// Interval analysis: `bias + sum w x` with every `x` anywhere in its range.
fn accumulator_range(name: &str, taps: &Taps<'_>, x: Range) -> Result<Range, ModelError> {
    let (mut lo, mut hi) = (i128::MAX, i128::MIN);
    for output in 0..taps.outputs() {
        let (mut least, mut greatest) = (i128::from(taps.bias(output)), i128::from(taps.bias(output)));
        taps.row(output, |_, w| {
            let (a, b) = (i128::from(w) * i128::from(x.lo), i128::from(w) * i128::from(x.hi));
            least += a.min(b);
            greatest += a.max(b);
        });
        (lo, hi) = (lo.min(least), hi.max(greatest));
    }
    let bits = 128 - lo.unsigned_abs().max(hi.unsigned_abs()).leading_zeros();
    match (i64::try_from(lo), i64::try_from(hi)) {
        (Ok(lo), Ok(hi)) if bits <= limits::ACCUMULATOR_BITS => Ok(Range { lo, hi }),
        _ => Err(ModelError::Overflow { node: name.into(), bits, limit: limits::ACCUMULATOR_BITS }),
    }
}

fn requantized(x: Range, rule: &Requantize) -> Range {
    let clamp = |v: i64| quotient(v, rule.shift).clamp(rule.lo.into(), rule.hi.into());
    Range { lo: clamp(x.lo), hi: clamp(x.hi) }
}
