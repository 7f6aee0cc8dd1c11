//! From float layers and one choice a layer to the integer graph.
//!
//! With `s_x`, `s_y` the scales of a layer's operand and result and `f` its shift,
//! `W_int = round(W s_x / s_y 2^f)` and `b_int = round(b / s_y 2^f)`, so that the accumulator shifted right by `f`
//! is the result.
//!
//! Rounding `W` shifts the mean of every sum by `(W s_x / s_y 2^f - W_int) E[x_int]`; the bias takes that up
//! (bias correction, Nagel et al. 2019), so that only the operands' variation about their mean still sees it.

use super::builder::still;
use super::network::{Kind, Layer, Map, Network, Over, finite};
use super::scalar::Scalar;
use crate::error::ModelError;
use crate::graph::image;
use crate::ir::{
    Combine, Graph, Node, Op, Output, Port, QuantParams, Requantize, Shape, Table, TensorId, elements,
};
use crate::linear::{Conv2d, Dense, Sparse};

/// How one layer's result is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Right shift of the accumulator.
    pub shift: u8,
    /// Integer type of the result.
    pub quant: QuantParams,
    /// Integer type that a function's operand is brought to first, if not its own.
    pub argument: Option<QuantParams>,
}

/// Right shift of an activation that is brought to another type.
const COPY: u8 = 14;

/// An integer graph, and where the network's activations are in it.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The graph.
    pub graph: Graph,
    /// Tensor and type of every activation: inputs first, then one a layer.
    pub activations: Vec<(TensorId, QuantParams)>,
}

impl Emitted {
    /// Nodes of a layer: those after the layer before it, up to its own activation.
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
    let mut emission =
        Emission { inputs: ports.len(), nodes: Vec::new(), activations: Vec::new(), copies: Vec::new() };
    for (index, port) in ports.iter().enumerate() {
        emission.activations.push((TensorId(index as u32), port.shape.clone(), port.quant));
    }
    for (layer, choice) in network.layers.iter().zip(choices) {
        emission.layer(layer, choice, &means[layer.inputs[0]])?;
    }
    let mut outputs = Vec::new();
    for output in &network.outputs {
        let (tensor, shape, quant) = emission.activations[output.activation].clone();
        let tensor = emission.reshaped(&output.name, tensor, &shape, &output.shape);
        let port = Port::public(output.name.clone(), output.shape.clone(), quant);
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
    /// Copies of activations in other types.
    copies: Vec<(TensorId, QuantParams, TensorId)>,
}

impl Emission {
    fn layer(&mut self, layer: &Layer, choice: &Choice, means: &[f64]) -> Result<(), ModelError> {
        let (tensor, to, scale) = match &layer.kind {
            Kind::Map(map) => {
                let x = self.activations[layer.inputs[0]].clone();
                let unit = f64::from(1u32 << choice.shift);
                let scale = choice.quant.scale;
                let (weight, bias) = (x.2.scale / scale * unit, unit / scale);
                let rounding = Rounding { node: &layer.name, weight, bias };
                let means: Vec<f64> =
                    map.operand_means(&layer.from, means).iter().map(|m| m / x.2.scale).collect();
                let (tensor, to) = self.map(layer, map, (x.0, x.1), &rounding, &means)?;
                (tensor, to, choice.quant)
            }
            Kind::Sum { factors, bias } => {
                let unit = f64::from(1u32 << choice.shift) / choice.quant.scale;
                let operands = layer.inputs.iter().map(|&input| {
                    let (tensor, _, x) = self.activations[input];
                    (tensor, x.scale)
                });
                let operands: Vec<(TensorId, f64)> = operands.collect();
                let tensor = self.sum(layer, factors, *bias, &operands, unit)?;
                (tensor, layer.to.clone(), choice.quant)
            }
            Kind::Root(linear) => self.root(layer, linear, choice)?,
            Kind::Product(_) => self.product(layer, Op::Multiply, choice)?,
            Kind::MatMul(sizes, _) => self.product(layer, Op::MatMul(*sizes), choice)?,
            Kind::Function(function) => return self.function(layer, function, choice),
            Kind::Functions { functions, which } => return self.functions(layer, functions, which, choice),
            Kind::Select(index) => return self.select(layer, index, choice),
        };
        let (tensor, _) = self.pooled(layer, tensor, to);
        self.requantize(layer, tensor, layer.shape().clone(), choice.shift, scale);
        Ok(())
    }

    fn requantize(&mut self, layer: &Layer, tensor: TensorId, shape: Shape, shift: u8, y: QuantParams) {
        let rule = Requantize { shift, lo: y.lo, hi: y.hi };
        let name = format!("{}.requantize", layer.name);
        let tensor = self.push(name, Op::Requantize(rule), vec![tensor], shape.clone());
        self.activations.push((tensor, shape, y));
    }

    fn map(
        &mut self,
        layer: &Layer,
        map: &Map,
        (mut tensor, shape): (TensorId, Shape),
        rounding: &Rounding<'_>,
        means: &[f64],
    ) -> Result<(TensorId, Shape), ModelError> {
        let (op, from, to) = match map {
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
            Map::Sparse { bias, taps } => {
                (Op::Sparse(rounding.sparse(bias, taps, means)?), None, layer.to.clone())
            }
        };
        if let Some(from) = from {
            tensor = self.reshaped(&layer.name, tensor, &shape, &from);
        }
        tensor = self.push(layer.name.clone(), op, vec![tensor], to.clone());
        Ok((tensor, to))
    }

    /// `sum_j round(a_j s_j unit) x_j`, `unit` integers being 1.
    fn sum(
        &mut self,
        layer: &Layer,
        factors: &[f64],
        bias: f64,
        operands: &[(TensorId, f64)],
        unit: f64,
    ) -> Result<TensorId, ModelError> {
        let rounding = Rounding { node: &layer.name, weight: unit, bias: unit };
        let mut integers = Vec::new();
        for (factor, (_, scale)) in factors.iter().zip(operands) {
            integers.push(rounding.round(factor * scale * unit, BIAS)?);
        }
        let combine = Combine { factors: integers, bias: rounding.round(bias * unit, BIAS)? };
        let operands = operands.iter().map(|(tensor, _)| *tensor).collect();
        Ok(self.push(layer.name.clone(), Op::Combine(combine), operands, layer.to.clone()))
    }

    /// The root has steps of `s_y / 2^f`, so that what it is taken of has steps of their square.
    fn root(
        &mut self,
        layer: &Layer,
        linear: &Kind,
        choice: &Choice,
    ) -> Result<(TensorId, Shape, QuantParams), ModelError> {
        let unit = (f64::from(1u32 << choice.shift) / choice.quant.scale).powi(2);
        let mut squares = Vec::new();
        for &input in &layer.inputs {
            let (tensor, shape, x) = self.activations[input].clone();
            let name = format!("{}.square", layer.name);
            let square = self.push(name, Op::Multiply, vec![tensor, tensor], shape.clone());
            squares.push((square, shape, x.scale.powi(2)));
        }
        let (tensor, to) = match linear {
            Kind::Map(map) => {
                let (square, shape, scale) = squares[0].clone();
                let rounding = Rounding { node: &layer.name, weight: scale * unit, bias: unit };
                let means = vec![0.0; elements(&shape)];
                self.map(layer, map, (square, shape), &rounding, &means)?
            }
            Kind::Sum { factors, bias } => {
                let operands: Vec<_> = squares.iter().map(|(square, _, scale)| (*square, *scale)).collect();
                (self.sum(layer, factors, *bias, &operands, unit)?, layer.to.clone())
            }
            _ => return Err(ModelError::node(&layer.name, "the root of what is no linear layer")),
        };
        let root = self.push(format!("{}.root", layer.name), Op::Sqrt, vec![tensor], to.clone());
        Ok((root, to, choice.quant))
    }

    /// The choice made the result's step `factor s_a s_b 2^f`, so a product needs no factor of its own, but its sign and
    /// a 2 where nothing is to be rounded: no shift is 0.
    fn product(
        &mut self,
        layer: &Layer,
        op: Op,
        choice: &Choice,
    ) -> Result<(TensorId, Shape, QuantParams), ModelError> {
        let operands = layer.inputs.iter().map(|&input| self.activations[input].0).collect();
        let mut tensor = self.push(layer.name.clone(), op, operands, layer.to.clone());
        let scales = layer.inputs.iter().map(|&input| self.activations[input].2.scale);
        let unit = layer.kind.factor() * scales.product::<f64>();
        let factor = (unit * f64::from(1u32 << choice.shift) / choice.quant.scale).round() as i64;
        if factor != 1 {
            let combine = Combine { factors: vec![factor], bias: 0 };
            let name = format!("{}.scaled", layer.name);
            tensor = self.push(name, Op::Combine(combine), vec![tensor], layer.to.clone());
        }
        Ok((tensor, layer.to.clone(), choice.quant))
    }

    fn function(&mut self, layer: &Layer, function: &Scalar, choice: &Choice) -> Result<(), ModelError> {
        let (tensor, x) = self.argument(layer, choice)?;
        let table = tabulated(function, x, layer.clamp, choice.quant);
        let tensor = self.push(layer.name.clone(), Op::Table(table), vec![tensor], layer.to.clone());
        // The greatest of values of a type is one of it.
        let (tensor, shape) = self.pooled(layer, tensor, layer.to.clone());
        self.activations.push((tensor, shape, choice.quant));
        Ok(())
    }

    /// The layer's maxima, in order.
    fn pooled(&mut self, layer: &Layer, tensor: TensorId, shape: Shape) -> (TensorId, Shape) {
        layer.pools.iter().fold((tensor, shape), |(tensor, shape), pool| {
            let tensor = self.reshaped(&pool.name, tensor, &shape, &pool.from);
            let op = match pool.over {
                Over::Window(window) => Op::MaxPool2d(window),
                Over::Group(size) => Op::Max(size),
            };
            (self.push(pool.name.clone(), op, vec![tensor], pool.to.clone()), pool.to.clone())
        })
    }

    /// Elements with one function each are brought together, looked up, and put back in their places.
    fn functions(
        &mut self,
        layer: &Layer,
        functions: &[Scalar],
        which: &[u32],
        choice: &Choice,
    ) -> Result<(), ModelError> {
        let (tensor, x) = self.argument(layer, choice)?;
        let mut places = vec![0u32; which.len()];
        let (mut parts, mut first) = (Vec::new(), 0u32);
        for (number, function) in functions.iter().enumerate() {
            let of: Vec<u32> =
                (0..which.len()).filter(|&i| which[i] as usize == number).map(|i| i as u32).collect();
            if of.is_empty() {
                continue;
            }
            of.iter().zip(first..).for_each(|(&i, place)| places[i as usize] = place);
            let shape = vec![of.len() as u32];
            first += shape[0];
            let name = format!("{}.{number}", layer.name);
            let part = self.push(name.clone(), Op::Select(of), vec![tensor], shape.clone());
            let table = tabulated(function, x, layer.clamp, choice.quant);
            parts.push(self.push(name, Op::Table(table), vec![part], shape));
        }
        let joined = self.push(layer.name.clone(), Op::Select(places), parts, layer.to.clone());
        self.activations.push((joined, layer.to.clone(), choice.quant));
        Ok(())
    }

    /// The operand of a function, in a type that a table can reach over.
    fn argument(&mut self, layer: &Layer, choice: &Choice) -> Result<(TensorId, QuantParams), ModelError> {
        let (tensor, _, x) = self.activations[layer.inputs[0]];
        match choice.argument {
            Some(argument) if argument != x => Ok((self.copy(layer, layer.inputs[0], argument)?, argument)),
            _ => Ok((tensor, x)),
        }
    }

    /// Tensors of one type keep it; others become the chosen one.
    fn select(&mut self, layer: &Layer, index: &[u32], choice: &Choice) -> Result<(), ModelError> {
        let first = self.activations[layer.inputs[0]].2;
        let same = layer.inputs.iter().all(|&input| self.activations[input].2 == first);
        let quant = if same { first } else { choice.quant };
        let mut operands = Vec::new();
        for &input in &layer.inputs {
            operands.push(match same {
                true => self.activations[input].0,
                false => self.copy(layer, input, quant)?,
            });
        }
        let tensor = self.push(layer.name.clone(), Op::Select(index.to_vec()), operands, layer.to.clone());
        self.activations.push((tensor, layer.to.clone(), quant));
        Ok(())
    }

    /// An activation in another type.
    fn copy(&mut self, layer: &Layer, input: usize, quant: QuantParams) -> Result<TensorId, ModelError> {
        let (tensor, shape, x) = self.activations[input].clone();
        if x == quant {
            return Ok(tensor);
        }
        if let Some((_, _, copy)) = self.copies.iter().find(|(of, as_, _)| *of == tensor && *as_ == quant) {
            return Ok(*copy);
        }
        let rounding = Rounding { node: &layer.name, weight: 1.0, bias: 1.0 };
        let factor = rounding.round(x.scale / quant.scale * f64::from(1u32 << COPY), BIAS)?;
        let name = format!("{}.retyped", layer.name);
        let combine = Op::Combine(Combine { factors: vec![factor], bias: 0 });
        let sum = self.push(name.clone(), combine, vec![tensor], shape.clone());
        let rule = Requantize { shift: COPY, lo: quant.lo, hi: quant.hi };
        let copy = self.push(name, Op::Requantize(rule), vec![sum], shape);
        self.copies.push((tensor, quant, copy));
        Ok(copy)
    }

    fn reshaped(&mut self, name: &str, tensor: TensorId, from: &Shape, to: &Shape) -> TensorId {
        if from == to {
            return tensor;
        }
        self.push(format!("{name}.reshape"), Op::Reshape, vec![tensor], to.clone())
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<TensorId>, shape: Shape) -> TensorId {
        self.nodes.push(Node { name, op, inputs, shape });
        // `Graph::new` limits the number of nodes.
        TensorId((self.inputs + self.nodes.len() - 1) as u32)
    }
}

/// A function's values for every integer of its operand's type.
fn tabulated(function: &Scalar, x: QuantParams, clamp: (f64, f64), y: QuantParams) -> Table {
    let value = |q: i32| {
        let real = finite(function.at(f64::from(q) * x.scale)).max(clamp.0).min(clamp.1);
        // The conversion saturates.
        ((real / y.scale).round() as i32).clamp(y.lo, y.hi)
    };
    Table { lo: x.lo, values: (x.lo..=x.hi).map(value).collect() }
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

    fn sparse(&self, bias: &[f32], taps: &[Vec<(u32, f32)>], means: &[f64]) -> Result<Sparse, ModelError> {
        let mut rows = Vec::with_capacity(bias.len());
        for (row, &b) in taps.iter().zip(bias) {
            let (mut integers, mut lost) = (Vec::with_capacity(row.len()), 0f64);
            for &(input, w) in row {
                let exact = f64::from(w) * self.weight;
                let integer = self.round(exact, f64::from(i32::MAX))?;
                lost += (exact - integer as f64) * means[input as usize];
                integers.push((input, integer as i32));
            }
            rows.push((self.round(f64::from(b) * self.bias + lost, BIAS)?, integers));
        }
        Ok(Sparse::new(rows))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::import::network::Output as Shown;

    fn network(map: Map, from: Shape, to: Shape) -> Network {
        let clamp = (f64::NEG_INFINITY, f64::INFINITY);
        let outputs = vec![Shown { name: "y".into(), shape: to.clone(), activation: 1, whole: false }];
        let inputs = vec![("x".into(), from.clone())];
        let kind = Kind::Map(Arc::new(map));
        let layer = Layer { name: "layer".into(), inputs: vec![0], from, kind, to, pools: Vec::new(), clamp };
        Network { inputs, layers: vec![layer], outputs }
    }

    fn port(shape: &[u32]) -> Port {
        Port::public("x", shape.to_vec(), QuantParams { scale: 1.0 / 255.0, lo: 0, hi: 255 })
    }

    fn choice(shift: u8, scale: f64) -> Choice {
        Choice { shift, quant: QuantParams { scale, lo: -2048, hi: 2047 }, argument: None }
    }

    #[test]
    fn the_bias_takes_up_what_rounding_the_weights_loses_on_average() {
        let weights: Vec<f32> = (0..64).map(|i| 0.013 + 0.001 * (i % 7) as f32).collect();
        let network = network(Map::Dense { weights: weights.clone(), bias: vec![0.5] }, vec![64], vec![1]);
        let real: f64 = weights.iter().map(|&w| f64::from(w)).sum::<f64>() * 0.6 + 0.5;
        let error = |means: Vec<f64>| {
            let graph = graph(&network, &[port(&[64])], &[choice(3, 0.01)], &[means]).unwrap().graph;
            let y = graph.run(&[vec![153; 64]]).unwrap().outputs(&graph)[0][0];
            (f64::from(y) * 0.01 - real).abs()
        };
        let (with, without) = (error(vec![0.6; 64]), error(vec![0.0; 64]));
        assert!(with <= 0.006 && without > 0.05, "{with} {without}");
    }

    #[test]
    fn a_convolutions_bias_takes_up_the_means_of_its_own_channels() {
        // Two groups of two channels each; only channel 2 has a mean.
        let weights = vec![0.0, 0.0, 0.3 / 255.0, 0.0];
        let window = still();
        let map = Map::Conv2d { weights, bias: vec![0.0, 0.0], kernel: [1, 1], window, groups: 2 };
        let network = network(map, vec![1, 4, 1, 2], vec![1, 2, 1, 2]);
        let means = vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        let ports = [port(&[1, 4, 1, 2])];
        let emitted = graph(&network, &ports, &[choice(1, 1.0 / 255.0)], &[means]).unwrap();
        let Op::Conv2d(conv) = &emitted.graph.nodes()[0].op else { panic!("expected a convolution") };
        // 0.3 / 255 of the scale 1/255 and shift 1 rounds to 0 of 0.6 / 255; times the mean 255 that is 0.6.
        assert_eq!((conv.weights.as_slice(), conv.bias.as_slice()), (&[0, 0, 0, 0][..], &[0, 1][..]));
    }

    #[test]
    fn weights_that_fit_no_integer_are_refused_with_their_layer() {
        let network = network(Map::Dense { weights: vec![1e30], bias: vec![0.0] }, vec![1], vec![1]);
        let error = graph(&network, &[port(&[1])], &[choice(8, 1.0)], &[vec![0.0]]).unwrap_err();
        assert!(error.to_string().contains("node layer"), "{error}");
    }

    #[test]
    fn the_nodes_of_a_layer_end_at_its_requantize() {
        let network = network(Map::Affine { scale: vec![1.0; 6], offset: vec![0.0; 6] }, vec![6], vec![6]);
        let emitted = graph(&network, &[port(&[6])], &[choice(8, 0.01)], &[vec![0.0; 6]]).unwrap();
        let ops = emitted.nodes(0).map(|node| emitted.graph.nodes()[node].name.clone()).collect::<Vec<_>>();
        assert_eq!(ops, ["layer.reshape", "layer", "layer.requantize"]);
    }
}
