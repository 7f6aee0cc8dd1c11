//! From float layers and one choice a layer to the integer graph.
//!
//! With `s_x`, `s_y` the scales of a layer's operand and result and `f` its shift,
//! `W_int = round(W s_x / s_y 2^f)` and `b_int = round(b / s_y 2^f)`, so that the accumulator shifted right by `f`
//! is the result.
//!
//! Rounding `W` shifts the mean of every sum by `(W s_x / s_y 2^f - W_int) E[x_int]`; the bias takes that up
//! (bias correction, Nagel et al. 2019), so that only the operands' variation about their mean still sees it.

use super::builder::still;
use super::network::{Layer, Map, Network};
use crate::error::ModelError;
use crate::graph::image;
use crate::ir::{Graph, Node, Op, Output, Port, QuantParams, Requantize, Shape, TensorId};
use crate::linear::{Conv2d, Dense};

/// How one layer's result is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Right shift of the accumulator.
    pub shift: u8,
    /// Integer type of the result.
    pub quant: QuantParams,
}

/// An integer graph, and where the network's activations are in it.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The graph.
    pub graph: Graph,
    /// Tensor and type of every activation: inputs first, then one a layer.
    pub activations: Vec<(TensorId, QuantParams)>,
}

impl Emitted {
    /// Nodes of a layer: those after the layer before it, up to its own `Requantize`.
    pub fn nodes(&self, layer: usize) -> std::ops::Range<usize> {
        let inputs = self.graph.inputs().len();
        let end = |activation: usize| (self.activations[activation].0.0 as usize + 1).saturating_sub(inputs);
        let start = if layer == 0 { 0 } else { end(inputs + layer - 1) };
        start..end(inputs + layer)
    }
}

/// The integer graph for a choice a layer.
///
/// `means` holds the mean of every element of every activation.
pub fn graph(
    network: &Network,
    ports: &[Port],
    choices: &[Choice],
    means: &[Vec<f64>],
) -> Result<Emitted, ModelError> {
    let mut emission = Emission { inputs: ports.len(), nodes: Vec::new(), activations: Vec::new() };
    for (index, port) in ports.iter().enumerate() {
        emission.activations.push((TensorId(index as u32), port.shape.clone(), port.quant));
    }
    for (layer, choice) in network.layers.iter().zip(choices) {
        emission.layer(layer, choice, &means[layer.input])?;
    }
    let mut outputs = Vec::new();
    for output in &network.outputs {
        let (tensor, shape, quant) = emission.activations[output.activation].clone();
        let tensor = emission.reshaped(&output.name, tensor, &shape, &output.shape);
        let port = Port { name: output.name.clone(), shape: output.shape.clone(), quant };
        outputs.push(Output { port, tensor });
    }
    let graph = Graph::new(ports.to_vec(), emission.nodes, outputs)?;
    let activations = emission.activations.into_iter().map(|(tensor, _, quant)| (tensor, quant)).collect();
    Ok(Emitted { graph, activations })
}

struct Emission {
    inputs: usize,
    nodes: Vec<Node>,
    activations: Vec<(TensorId, Shape, QuantParams)>,
}

impl Emission {
    fn layer(&mut self, layer: &Layer, choice: &Choice, means: &[f64]) -> Result<(), ModelError> {
        let (mut tensor, mut shape, x) = self.activations[layer.input].clone();
        let y = choice.quant;
        let unit = f64::from(1u32 << choice.shift);
        let rounding = Rounding { node: &layer.name, weight: x.scale / y.scale * unit, bias: unit / y.scale };
        let means: Vec<f64> =
            layer.map.operand_means(&layer.from, means).iter().map(|m| m / x.scale).collect();
        let (op, from, to) = match &*layer.map {
            Map::Dense { weights, bias } => {
                let (weights, bias) = rounding.rows(weights, bias, |_, input| means[input])?;
                (Op::Dense(Dense { weights, bias }), None, layer.to.clone())
            }
            Map::Conv2d { weights, bias, kernel, window, groups } => {
                let (kernel, window, groups) = (*kernel, *window, *groups);
                let channels = image(&layer.from).map_or(1, |[channels, ..]| channels as usize);
                let (area, plane) = ((kernel[0] * kernel[1]) as usize, (means.len() / channels).max(1));
                let (depth, group) = (channels / groups as usize, bias.len() / groups as usize);
                let mean = |output: usize, tap: usize| means[(output / group * depth + tap / area) * plane];
                let (weights, bias) = rounding.rows(weights, bias, mean)?;
                let conv = Conv2d { weights, bias, kernel, window, groups };
                (Op::Conv2d(conv), Some(layer.from.clone()), layer.to.clone())
            }
            // One channel an element, each with its own factor.
            Map::Affine { scale, offset } => {
                let groups = u32::try_from(scale.len())
                    .map_err(|_| ModelError::node(&layer.name, "too many elements"))?;
                let (weights, bias) = rounding.rows(scale, offset, |output, _| means[output])?;
                let conv = Conv2d { weights, bias, kernel: [1, 1], window: still(), groups };
                let shape = vec![1, groups, 1, 1];
                (Op::Conv2d(conv), Some(shape.clone()), shape)
            }
        };
        if let Some(from) = from {
            tensor = self.reshaped(&layer.name, tensor, &shape, &from);
        }
        tensor = self.push(layer.name.clone(), op, tensor, to.clone());
        shape = to;
        for pool in &layer.pools {
            tensor = self.reshaped(&pool.name, tensor, &shape, &pool.from);
            tensor = self.push(pool.name.clone(), Op::MaxPool2d(pool.pool), tensor, pool.to.clone());
            shape = pool.to.clone();
        }
        let rule = Requantize { shift: choice.shift, lo: y.lo, hi: y.hi };
        let shape = layer.shape().clone();
        tensor = self.push(format!("{}.requantize", layer.name), Op::Requantize(rule), tensor, shape.clone());
        self.activations.push((tensor, shape, y));
        Ok(())
    }

    fn reshaped(&mut self, name: &str, tensor: TensorId, from: &Shape, to: &Shape) -> TensorId {
        if from == to {
            return tensor;
        }
        self.push(format!("{name}.reshape"), Op::Reshape, tensor, to.clone())
    }

    fn push(&mut self, name: String, op: Op, input: TensorId, shape: Shape) -> TensorId {
        self.nodes.push(Node { name, op, inputs: vec![input], shape });
        // `Graph::new` limits the number of nodes.
        TensorId((self.inputs + self.nodes.len() - 1) as u32)
    }
}

struct Rounding<'a> {
    node: &'a str,
    weight: f64,
    bias: f64,
}

impl Rounding<'_> {
    /// Integer weights and biases; `mean(output, tap)` is the mean of the integer that a weight is multiplied by.
    fn rows(
        &self,
        weights: &[f32],
        bias: &[f32],
        mean: impl Fn(usize, usize) -> f64,
    ) -> Result<(Vec<i32>, Vec<i64>), ModelError> {
        let width = (weights.len() / bias.len().max(1)).max(1);
        let mut integers = (Vec::with_capacity(weights.len()), Vec::with_capacity(bias.len()));
        for (output, (row, &b)) in weights.chunks(width).zip(bias).enumerate() {
            let mut lost = 0f64;
            for (tap, &w) in row.iter().enumerate() {
                let exact = f64::from(w) * self.weight;
                let integer = self.round(exact, f64::from(i32::MAX))?;
                lost += (exact - integer as f64) * mean(output, tap);
                integers.0.push(integer as i32);
            }
            integers.1.push(self.round(f64::from(b) * self.bias + lost, BIAS)?);
        }
        Ok(integers)
    }

    /// The nearest integer, if it is at most `limit` in size.
    fn round(&self, value: f64, limit: f64) -> Result<i64, ModelError> {
        let value = value.round();
        // False for NaN too; inside the limit the conversion is exact.
        if value.abs() <= limit {
            return Ok(value as i64);
        }
        Err(ModelError::node(
            self.node,
            format!("an integer weight would be {value:e}: its range is too wide"),
        ))
    }
}

/// Greatest integer bias.
const BIAS: f64 = (1i64 << 60) as f64;
