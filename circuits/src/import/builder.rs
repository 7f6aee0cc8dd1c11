//! Turns a sequence of elementary float operations into layers `clamp(pool(map(x)))`.
//!
//! - `affine(map(x))` and `map(affine(x))` are one map;
//! - a pool after a clamp moves before it: `max(clamp(x)) = clamp(max(x))`;
//! - a tensor that is needed twice is one layer if nothing follows it, and a copy of the map, which costs
//!   no constraint, if something does;
//! - a reordering of elements is remembered and undone in the weights that read it.

use std::sync::Arc;

use super::network::{Layer, Map, Network, Output, Pool};
use crate::error::ModelError;
use crate::graph::image;
use crate::ir::{Shape, elements, limits};
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// A float tensor of the network under construction.
#[derive(Clone, Debug)]
pub struct View {
    value: Value,
    shape: Shape,
    /// `view[i] = value[order[i]]`; `None` is the identity.
    order: Option<Arc<Vec<u32>>>,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Input(usize),
    Chain(usize),
}

/// A layer that may still grow, and its activation once something reads it.
struct Chain {
    layer: Layer,
    activation: Option<usize>,
}

/// Builds a [`Network`].
pub struct Builder {
    inputs: Vec<(String, Shape)>,
    chains: Vec<Chain>,
    layers: Vec<Layer>,
    outputs: Vec<Output>,
    /// Weights of all maps so far, which are kept until the network is finished.
    weights: usize,
}

/// Weights that folding may leave in memory.
const WEIGHTS: usize = 1 << 29;
const FREE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

impl Builder {
    /// A network without layers.
    pub fn new(inputs: Vec<(String, Shape)>) -> Self {
        Self { inputs, chains: Vec::new(), layers: Vec::new(), outputs: Vec::new(), weights: 0 }
    }

    /// The network.
    pub fn finish(self) -> Network {
        Network { inputs: self.inputs, layers: self.layers, outputs: self.outputs }
    }

    /// An input.
    pub fn input(&self, index: usize) -> View {
        View { value: Value::Input(index), shape: self.inputs[index].1.clone(), order: None }
    }

    /// Shape of a tensor.
    pub fn shape<'a>(&self, view: &'a View) -> &'a Shape {
        &view.shape
    }

    /// A fully connected layer over all elements of a tensor, in their order.
    pub fn dense(
        &mut self,
        name: &str,
        x: &View,
        weights: Vec<f32>,
        bias: Vec<f32>,
        to: Shape,
    ) -> Result<View, ModelError> {
        let (from, mut weights) = (x.shape.clone(), weights);
        if let Some(order) = &x.order {
            let width = order.len().max(1);
            let read = |row: &[f32]| {
                let mut moved = vec![0.0; width];
                order.iter().zip(row).for_each(|(&at, &w)| moved[at as usize] = w);
                moved
            };
            weights = weights.chunks(width).flat_map(read).collect();
        }
        let mut map = Map::Dense { weights, bias };
        let mut input = x.value;
        if let Some((before, scale, offset)) = self.affine_before(x) {
            fold_into_dense(&mut map, scale, offset);
            input = before;
        }
        self.chain(name, input, from, map, to)
    }

    /// A convolution over an image `[1, C, H, W]`.
    pub fn conv(&mut self, name: &str, x: &View, map: Map, to: Shape) -> Result<View, ModelError> {
        self.in_order(name, "Conv", x)?;
        let (from, mut map, mut input) = (x.shape.clone(), map, x.value);
        if let Some((before, scale, offset)) = self.affine_before(x)
            && let Some(folded) = folded_into_conv(&map, &from, scale, offset)
        {
            (map, input) = (folded, before);
        }
        self.chain(name, input, from, map, to)
    }

    /// `scale[i] x[i] + offset[i]`, in the order of the view.
    pub fn affine(
        &mut self,
        name: &str,
        x: &View,
        scale: Vec<f32>,
        offset: Vec<f32>,
    ) -> Result<View, ModelError> {
        let place = |values: Vec<f32>| match &x.order {
            None => values,
            Some(order) => {
                let mut placed = vec![0.0; values.len()];
                order.iter().zip(values).for_each(|(&at, v)| placed[at as usize] = v);
                placed
            }
        };
        let (scale, offset) = (place(scale), place(offset));
        if let Value::Chain(chain) = x.value {
            let layer = &self.chains[chain].layer;
            if layer.pools.is_empty()
                && layer.clamp == FREE
                && let Some(map) = folded_behind(&layer.map, &layer.to, &scale, &offset)
            {
                let layer = Layer { map: Arc::new(map), ..layer.clone() };
                return Ok(View { value: self.push(layer)?, ..x.clone() });
            }
        }
        let shape = vec![count(&x.shape)];
        let view = self.chain(name, x.value, shape.clone(), Map::Affine { scale, offset }, shape)?;
        Ok(View { value: view.value, ..x.clone() })
    }

    /// `min(max(x, lo), hi)`.
    ///
    /// The result must be able to be 0, since the integer types that hold it are.
    pub fn clamp(&mut self, name: &str, x: &View, lo: f64, hi: f64) -> Result<View, ModelError> {
        let mut layer = self.open(name, x);
        let bound = |v: f64| v.max(lo).min(hi);
        layer.clamp = (bound(layer.clamp.0), bound(layer.clamp.1));
        if layer.clamp.0 > 0.0 || layer.clamp.1 <= 0.0 {
            return Err(ModelError::Unsupported {
                node: name.into(),
                op: "Clip".into(),
                needed: format!("bounds around 0, not {} to {}", layer.clamp.0, layer.clamp.1),
            });
        }
        Ok(View { value: self.push(layer)?, ..x.clone() })
    }

    /// Maximum over the windows of an image `[1, C, H, W]`.
    pub fn max_pool(&mut self, name: &str, x: &View, pool: MaxPool2d, to: Shape) -> Result<View, ModelError> {
        self.in_order(name, "MaxPool", x)?;
        let mut layer = self.open(name, x);
        layer.pools.push(Pool { name: name.into(), pool, from: x.shape.clone(), to: to.clone() });
        Ok(View { value: self.push(layer)?, shape: to, order: None })
    }

    /// The same elements in the same order.
    pub fn reshape(&self, name: &str, x: &View, shape: Shape) -> Result<View, ModelError> {
        if elements(&shape) == elements(&x.shape) {
            return Ok(View { shape, ..x.clone() });
        }
        Err(ModelError::node(name, format!("shapes {:?} and {shape:?} differ in size", x.shape)))
    }

    /// `y[i] = x[order[i]]`.
    pub fn permute(&self, x: &View, order: Vec<u32>, shape: Shape) -> View {
        let order: Vec<u32> = match &x.order {
            None => order,
            Some(before) => order.into_iter().map(|at| before[at as usize]).collect(),
        };
        let identity = order.iter().enumerate().all(|(i, &at)| i == at as usize);
        View { value: x.value, shape, order: (!identity).then(|| Arc::new(order)) }
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, x: &View) -> Result<(), ModelError> {
        self.in_order(name, "output", x)?;
        let layer = match x.value {
            Value::Input(_) => {
                let layer = self.open(name, x);
                self.push(layer)?
            }
            Value::Chain(_) => x.value,
        };
        let activation = self.activation(layer);
        self.outputs.push(Output { name: name.into(), shape: x.shape.clone(), activation });
        Ok(())
    }

    /// The layer that ends in a tensor: a copy that can be extended, or an identity over what is no layer.
    fn open(&mut self, name: &str, x: &View) -> Layer {
        match x.value {
            Value::Chain(chain) => self.chains[chain].layer.clone(),
            Value::Input(input) => {
                let shape = vec![count(&x.shape)];
                let ones = vec![1.0; elements(&x.shape)];
                let map = Map::Affine { offset: vec![0.0; ones.len()], scale: ones };
                let (from, to) = (shape.clone(), shape);
                let (pools, clamp) = (Vec::new(), FREE);
                Layer { name: name.into(), input, from, map: Arc::new(map), to, pools, clamp }
            }
        }
    }

    fn chain(
        &mut self,
        name: &str,
        input: Value,
        from: Shape,
        map: Map,
        to: Shape,
    ) -> Result<View, ModelError> {
        let input = self.activation(input);
        let (pools, clamp) = (Vec::new(), FREE);
        let layer =
            Layer { name: name.into(), input, from, map: Arc::new(map), to: to.clone(), pools, clamp };
        Ok(View { value: self.push(layer)?, shape: to, order: None })
    }

    fn push(&mut self, layer: Layer) -> Result<Value, ModelError> {
        // A map that is shared with an earlier chain takes no memory of its own.
        if Arc::strong_count(&layer.map) == 1 {
            self.weights += layer.map.weights();
        }
        if self.weights > WEIGHTS {
            let what = format!("number of weights folded up to {}", layer.name);
            return Err(ModelError::Limit { what, got: self.weights as u64, limit: WEIGHTS as u64 });
        }
        self.chains.push(Chain { layer, activation: None });
        Ok(Value::Chain(self.chains.len() - 1))
    }

    /// Number of the activation that holds a value; a layer is closed when it is first asked for.
    fn activation(&mut self, value: Value) -> usize {
        let chain = match value {
            Value::Input(input) => return input,
            Value::Chain(chain) => &mut self.chains[chain],
        };
        *chain.activation.get_or_insert_with(|| {
            self.layers.push(chain.layer.clone());
            self.inputs.len() + self.layers.len() - 1
        })
    }

    /// The operand, factors and summands of a tensor that is an affine map and nothing else.
    fn affine_before(&self, x: &View) -> Option<(Value, &[f32], &[f32])> {
        let Value::Chain(chain) = x.value else { return None };
        let layer = &self.chains[chain].layer;
        let Map::Affine { scale, offset } = &*layer.map else { return None };
        if !layer.pools.is_empty() || layer.clamp != FREE {
            return None;
        }
        let value = match layer.input.checked_sub(self.inputs.len()) {
            None => Value::Input(layer.input),
            Some(before) => {
                let closed = |c: &Chain| c.activation == Some(self.inputs.len() + before);
                Value::Chain(self.chains.iter().position(closed)?)
            }
        };
        Some((value, scale, offset))
    }

    fn in_order(&self, name: &str, op: &str, x: &View) -> Result<(), ModelError> {
        if x.order.is_none() {
            return Ok(());
        }
        Err(ModelError::Unsupported {
            node: name.into(),
            op: format!("Transpose before {op}"),
            needed: "an operator that reorders elements; only a dense layer may read a transposed tensor"
                .into(),
        })
    }
}

fn count(shape: &[u32]) -> u32 {
    // Shapes are checked against `limits::ELEMENTS` before a builder sees them.
    const { assert!(limits::ELEMENTS <= u32::MAX as usize) };
    elements(shape) as u32
}

/// `W (a x + c) + b = (W a) x + (b + W c)`.
fn fold_into_dense(map: &mut Map, scale: &[f32], offset: &[f32]) {
    if let Map::Dense { weights, bias } = map {
        for (row, b) in weights.chunks_mut(scale.len().max(1)).zip(bias) {
            let moved: f64 = row.iter().zip(offset).map(|(&w, &c)| f64::from(w) * f64::from(c)).sum();
            *b = (f64::from(*b) + moved) as f32;
            row.iter_mut().zip(scale).for_each(|(w, a)| *w *= a);
        }
    }
}

/// As for a dense layer, if factors and summands are one a channel and no summand would be missing from the
/// padding.
fn folded_into_conv(map: &Map, from: &[u32], scale: &[f32], offset: &[f32]) -> Option<Map> {
    let Map::Conv2d { weights, bias, kernel, window, groups } = map else { return None };
    let channels = image(from)?[0];
    let (scale, offset) = (per_channel(scale, channels)?, per_channel(offset, channels)?);
    if window.pad != [0; 4] && offset.iter().any(|&c| c != 0.0) {
        return None;
    }
    let (mut weights, mut bias) = (weights.clone(), bias.clone());
    let depth = (channels / groups) as usize;
    let group_outputs = bias.len() / *groups as usize;
    let area = (kernel[0] * kernel[1]) as usize;
    for (index, taps) in weights.chunks_mut(area.max(1)).enumerate() {
        let output = index / depth;
        let channel = output / group_outputs * depth + index % depth;
        let moved: f64 = taps.iter().map(|&w| f64::from(w) * f64::from(offset[channel])).sum();
        bias[output] = (f64::from(bias[output]) + moved) as f32;
        taps.iter_mut().for_each(|w| *w *= scale[channel]);
    }
    Some(Map::Conv2d { weights, bias, kernel: *kernel, window: *window, groups: *groups })
}

/// `a (W x + b) + c = (a W) x + (a b + c)`; a convolution needs one factor and summand a channel.
fn folded_behind(map: &Map, to: &[u32], scale: &[f32], offset: &[f32]) -> Option<Map> {
    let line = |values: &[f32], scale: &[f32], offset: &[f32]| -> Vec<f32> {
        values
            .iter()
            .zip(scale)
            .zip(offset)
            .map(|((&b, &a), &c)| (f64::from(a) * f64::from(b) + f64::from(c)) as f32)
            .collect()
    };
    let rows = |weights: &[f32], scale: &[f32]| -> Vec<f32> {
        let width = (weights.len() / scale.len().max(1)).max(1);
        weights.chunks(width).zip(scale).flat_map(|(row, &a)| row.iter().map(move |w| a * w)).collect()
    };
    match map {
        Map::Dense { weights, bias } => {
            Some(Map::Dense { weights: rows(weights, scale), bias: line(bias, scale, offset) })
        }
        Map::Conv2d { weights, bias, kernel, window, groups } => {
            let channels = image(to)?[0];
            let (scale, offset) = (per_channel(scale, channels)?, per_channel(offset, channels)?);
            let (weights, bias) = (rows(weights, &scale), line(bias, &scale, &offset));
            Some(Map::Conv2d { weights, bias, kernel: *kernel, window: *window, groups: *groups })
        }
        Map::Affine { scale: a, offset: c } => {
            let scaled = a.iter().zip(scale).map(|(a, s)| a * s).collect();
            Some(Map::Affine { scale: scaled, offset: line(c, scale, offset) })
        }
    }
}

/// One value a channel, if all elements of a channel share it.
fn per_channel(values: &[f32], channels: u32) -> Option<Vec<f32>> {
    let area = (values.len() / channels.max(1) as usize).max(1);
    values.chunks(area).map(|plane| plane.iter().all(|v| *v == plane[0]).then_some(plane[0])).collect()
}

/// A window that moves by one and is not padded.
pub fn still() -> Window {
    Window { stride: [1, 1], pad: [0; 4], dilation: [1, 1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(builder: Builder, x: &[f64]) -> Vec<f64> {
        let network = builder.finish();
        let output = network.outputs[0].activation;
        network.run(vec![vec![x.to_vec()]]).swap_remove(output).swap_remove(0)
    }

    fn builder(shape: &[u32]) -> (Builder, View) {
        let builder = Builder::new(vec![("x".into(), shape.to_vec())]);
        let x = builder.input(0);
        (builder, x)
    }

    #[test]
    fn scales_before_and_behind_a_dense_layer_are_one_layer() {
        let (mut builder, x) = builder(&[2]);
        let x = builder.affine("a", &x, vec![2.0, 3.0], vec![1.0, -1.0]).unwrap();
        let y = builder.dense("d", &x, vec![1.0, 10.0, 0.5, -1.0], vec![0.25, 0.5], vec![2]).unwrap();
        let y = builder.affine("b", &y, vec![4.0, -2.0], vec![0.0, 1.0]).unwrap();
        builder.output("y", &y).unwrap();
        assert_eq!(builder.layers.len(), 1);
        // x = (1, 2) -> (3, 5) -> (53.25, -3) -> (213, 7)
        assert_eq!(run(builder, &[1.0, 2.0]), [213.0, 7.0]);
    }

    #[test]
    fn a_pool_behind_a_bound_moves_before_it() {
        let (mut builder, x) = builder(&[1, 1, 1, 4]);
        let x = builder.clamp("relu", &x, 0.0, 2.5).unwrap();
        let pool = MaxPool2d { kernel: [1, 2], window: Window { stride: [1, 2], ..still() } };
        let y = builder.max_pool("pool", &x, pool, vec![1, 1, 1, 2]).unwrap();
        builder.output("y", &y).unwrap();
        assert_eq!(builder.layers.len(), 1);
        assert_eq!(run(builder, &[-3.0, -1.0, 1.0, 7.0]), [0.0, 2.5]);
    }

    #[test]
    fn bounds_of_bounds_are_the_bounds_of_both() {
        let (mut builder, x) = builder(&[3]);
        let x = builder.clamp("a", &x, -4.0, 1.0).unwrap();
        let y = builder.clamp("b", &x, -2.0, 5.0).unwrap();
        builder.output("y", &y).unwrap();
        assert_eq!(builder.layers.len(), 1);
        assert_eq!(run(builder, &[-9.0, 0.5, 9.0]), [-2.0, 0.5, 1.0]);
    }

    #[test]
    fn reorderings_compose_and_cancel() {
        let (mut builder, x) = builder(&[2, 3]);
        let transposed = builder.permute(&x, vec![0, 3, 1, 4, 2, 5], vec![3, 2]);
        let back = builder.permute(&transposed, vec![0, 2, 4, 1, 3, 5], vec![2, 3]);
        assert!(back.order.is_none());
        // Row i of a unit matrix reads element i of the transposed tensor.
        let unit = (0..36).map(|i| if i % 7 == 0 { 1.0 } else { 0.0 }).collect();
        let scaled =
            builder.affine("s", &transposed, vec![1.0, 1.0, 1.0, 1.0, 1.0, 10.0], vec![0.0; 6]).unwrap();
        let y = builder.dense("d", &scaled, unit, vec![0.0; 6], vec![6]).unwrap();
        builder.output("y", &y).unwrap();
        assert_eq!(run(builder, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 4.0, 2.0, 5.0, 3.0, 60.0]);
    }

    #[test]
    fn folding_stops_before_it_fills_the_memory() {
        let (mut builder, x) = builder(&[2]);
        builder.weights = WEIGHTS - 8;
        let x = builder.affine("a", &x, vec![1.0; 2], vec![1.0; 2]).unwrap();
        let x = builder.clamp("shares the map", &x, -1.0, 1.0).unwrap();
        assert!(builder.clamp("too", &x, -0.5, 0.5).is_ok());
        let y = builder.dense("d", &x, vec![1.0; 6], vec![0.0; 3], vec![3]);
        assert!(matches!(y, Err(ModelError::Limit { .. })), "{y:?}");
    }

    #[test]
    fn an_offset_is_not_folded_into_a_padded_convolution() {
        let map = |pad| {
            let window = Window { pad, ..still() };
            Map::Conv2d { weights: vec![1.0, 1.0], bias: vec![0.0], kernel: [1, 2], window, groups: 1 }
        };
        let fold = |map: &Map, offset: f32| folded_into_conv(map, &[1, 1, 1, 3], &[2.0; 3], &[offset; 3]);
        assert!(fold(&map([0; 4]), 1.0).is_some());
        assert!(fold(&map([0, 1, 0, 0]), 0.0).is_some());
        assert!(fold(&map([0, 1, 0, 0]), 1.0).is_none());
        assert!(folded_into_conv(&map([0; 4]), &[1, 1, 1, 3], &[1.0, 2.0, 1.0], &[0.0; 3]).is_none());
    }

    #[test]
    fn a_tensor_that_is_read_twice_is_one_layer() {
        let (mut builder, x) = builder(&[2]);
        let x = builder.clamp("relu", &x, 0.0, f64::INFINITY).unwrap();
        let a = builder.dense("a", &x, vec![1.0, 1.0], vec![0.0], vec![1]).unwrap();
        let b = builder.dense("b", &x, vec![1.0, -1.0], vec![0.0], vec![1]).unwrap();
        builder.output("a", &a).unwrap();
        builder.output("b", &b).unwrap();
        assert_eq!(builder.layers.len(), 3);
    }
}
