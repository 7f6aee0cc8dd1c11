//! Turns a sequence of elementary float operations into layers.
//!
//! - `affine(map(x))` and `map(affine(x))` are one map;
//! - a pool after a clamp moves before it: `max(clamp(x)) = clamp(max(x))`;
//! - elementwise operators on one tensor are one function of it ([`Scalar`]), which becomes bounds, a line or a table
//!   when something reads it;
//! - a rearrangement is an index that later ones compose with; it becomes a layer, without cells, when something reads
//!   it in order;
//! - a tensor that is needed twice is one layer if nothing follows it, and a copy of the map, which costs
//!   no constraint, if something does.

use std::sync::Arc;

use super::fold::{fold_into_dense, folded_behind, folded_into_conv};
use super::network::{Kind, Layer, Map, Network, Output, Over, Pool};
use super::scalar::{Function, Pair, Scalar, Step};
use crate::error::ModelError;
use crate::ir::{MatMul, Shape, ZERO, elements, limits};
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// A float tensor of the network under construction: `view[i] = scalar(value[order[i]])`, and 0 where the order says
/// [`ZERO`].
#[derive(Clone, Debug)]
pub struct View {
    value: Value,
    shape: Shape,
    /// `None` is the identity.
    order: Option<Arc<Vec<u32>>>,
    scalar: Scalar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// What became of functions and rearrangements that were read before.
    settled: Vec<(Value, Scalar, Value)>,
    arranged: Vec<(Value, Arc<Vec<u32>>, Value)>,
}

/// Weights that folding may leave in memory.
const WEIGHTS: usize = 1 << 29;
/// Layers under construction, of which those that nothing reads are dropped before they count as [`limits::NODES`].
const CHAINS: usize = 4 * limits::NODES;
/// Nodes of a composed function.
const SCALAR: usize = 256;
const FREE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

impl View {
    /// Shape of the tensor.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    fn of(value: Value, shape: Shape) -> Self {
        Self { value, shape, order: None, scalar: Scalar::X }
    }

    fn has_zero(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.contains(&ZERO))
    }

    fn same_elements(&self, other: &Self) -> bool {
        let orders = match (&self.order, &other.order) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        self.value == other.value && orders && elements(&self.shape) == elements(&other.shape)
    }

    /// The factor and the summand, if the view is a line over its value.
    fn line(&self) -> (f64, f64, Self) {
        match &self.scalar {
            Scalar::Affine(a, b, of) if !(self.has_zero() && *b != 0.0) => {
                (*a, *b, Self { scalar: (**of).clone(), ..self.clone() })
            }
            _ => (1.0, 0.0, self.clone()),
        }
    }
}

impl Builder {
    /// A network without layers.
    pub fn new(inputs: Vec<(String, Shape)>) -> Self {
        Self {
            inputs,
            chains: Vec::new(),
            layers: Vec::new(),
            outputs: Vec::new(),
            weights: 0,
            settled: Vec::new(),
            arranged: Vec::new(),
        }
    }

    /// The network.
    pub fn finish(self) -> Network {
        Network { inputs: self.inputs, layers: self.layers, outputs: self.outputs }
    }

    /// An input.
    pub fn input(&self, index: usize) -> View {
        View::of(Value::Input(index), self.inputs[index].1.clone())
    }

    /// Numbers that do not depend on any input.
    pub fn constant(&mut self, name: &str, values: &[f64], shape: Shape) -> Result<View, ModelError> {
        let input = self.input(0);
        let map = Map::Sparse {
            bias: values.iter().map(|&v| v as f32).collect(),
            taps: vec![Vec::new(); values.len()],
        };
        self.chain(name, vec![input.value], input.shape, Kind::Map(Arc::new(map)), shape)
    }

    /// `y[r,o] = bias[o] + sum_i w[o,i] x[r,i]` over the rows of a tensor.
    pub fn dense(
        &mut self,
        name: &str,
        x: &View,
        weights: Vec<f32>,
        bias: Vec<f32>,
        to: Shape,
    ) -> Result<View, ModelError> {
        let x = self.settle(name, x)?;
        let width = (weights.len() / bias.len().max(1)).max(1);
        let one_row = width == elements(&x.shape);
        let (x, mut weights) = match &x.order {
            // A permutation of the operand of a single row is one of the weights.
            Some(order) if one_row && self.is_permuted(x.value, order) => {
                let read = |row: &[f32]| {
                    let mut moved = vec![0.0; width];
                    order.iter().zip(row).for_each(|(&at, &w)| moved[at as usize] = w);
                    moved
                };
                let weights = weights.chunks(width).flat_map(read).collect();
                (View { order: None, ..x.clone() }, weights)
            }
            _ => (self.arrange(name, &x)?, weights),
        };
        let (mut bias, mut input) = (bias, x.value);
        if one_row && let Some((before, scale, offset)) = self.affine_before(&x) {
            fold_into_dense(&mut weights, &mut bias, scale, offset);
            input = before;
        }
        let map = Map::Dense { weights, bias };
        self.chain(name, vec![input], x.shape, Kind::Map(Arc::new(map)), to)
    }

    /// A convolution over an image `[1, C, H, W]`.
    pub fn conv(&mut self, name: &str, x: &View, map: Map, to: Shape) -> Result<View, ModelError> {
        let x = self.read(name, x)?;
        let (from, mut map, mut input) = (x.shape.clone(), map, x.value);
        if let Some((before, scale, offset)) = self.affine_before(&x)
            && let Some(folded) = folded_into_conv(&map, &from, scale, offset)
        {
            (map, input) = (folded, before);
        }
        self.chain(name, vec![input], from, Kind::Map(Arc::new(map)), to)
    }

    /// `y[o] = bias[o] + sum over taps of w x[i]`.
    pub fn sparse(
        &mut self,
        name: &str,
        x: &View,
        taps: Vec<Vec<(u32, f32)>>,
        bias: Vec<f32>,
        to: Shape,
    ) -> Result<View, ModelError> {
        let mut x = self.settle(name, x)?;
        let mut taps = taps;
        if let Some(order) = x.order.take() {
            let moved = |&(i, w): &(u32, f32)| Some((order[i as usize], w)).filter(|(i, _)| *i != ZERO);
            taps = taps.iter().map(|row| row.iter().filter_map(moved).collect()).collect();
        }
        let map = Map::Sparse { bias, taps };
        self.chain(name, vec![x.value], x.shape, Kind::Map(Arc::new(map)), to)
    }

    /// `scale[i] x[i] + offset[i]`.
    pub fn affine(
        &mut self,
        name: &str,
        x: &View,
        scale: Vec<f32>,
        offset: Vec<f32>,
    ) -> Result<View, ModelError> {
        if let (Some(a), Some(b)) = (uniform(&scale), uniform(&offset)) {
            return self.scalar(name, x, |x| x.affine(a.into(), b.into()));
        }
        let mut x = self.settle(name, x)?;
        let (mut scale, mut offset) = (scale, offset);
        match &x.order {
            Some(order) if self.is_permuted(x.value, order) => {
                for values in [&mut scale, &mut offset] {
                    let mut placed = vec![0.0; values.len()];
                    order.iter().zip(values.iter()).for_each(|(&at, v)| placed[at as usize] = *v);
                    *values = placed;
                }
            }
            Some(_) => x = self.arrange(name, &x)?,
            None => {}
        }
        if let Value::Chain(chain) = x.value {
            let layer = &self.chains[chain].layer;
            if layer.pools.is_empty()
                && layer.clamp == FREE
                && let Some(map) = layer.map()
                && let Some(map) = folded_behind(map, &layer.to, &scale, &offset)
            {
                let layer = Layer { kind: Kind::Map(Arc::new(map)), ..layer.clone() };
                return Ok(View { value: self.push(layer)?, ..x });
            }
        }
        let shape = vec![count(&x.shape)];
        let kind = Kind::Map(Arc::new(Map::Affine { scale, offset }));
        let view = self.chain(name, vec![x.value], shape.clone(), kind, shape)?;
        Ok(View { value: view.value, ..x })
    }

    /// A function of every element.
    pub fn scalar(
        &mut self,
        name: &str,
        x: &View,
        apply: impl FnOnce(Scalar) -> Scalar,
    ) -> Result<View, ModelError> {
        let mut x = x.clone();
        if x.scalar.size() > SCALAR {
            x = self.settle(name, &x)?;
        }
        let next = apply(x.scalar.clone());
        // A 0 that no element stands behind stays 0 only under functions that map 0 to 0.
        if x.has_zero() {
            let before = View { scalar: x.scalar.clone(), ..x.clone() };
            x = self.read(name, &before)?;
            return Ok(View { scalar: replay(&next, &before.scalar), ..x });
        }
        Ok(View { scalar: next, ..x })
    }

    /// One function an element, of several.
    pub fn functions(
        &mut self,
        name: &str,
        x: &View,
        functions: Vec<Scalar>,
        which: Vec<u32>,
    ) -> Result<View, ModelError> {
        let x = self.read(name, x)?;
        let kind = Kind::Functions { functions: Arc::new(functions), which: Arc::new(which) };
        self.chain(name, vec![x.value], x.shape.clone(), kind, x.shape)
    }

    /// An operator of two tensors of one shape.
    pub fn both(&mut self, name: &str, pair: Pair, a: &View, b: &View) -> Result<View, ModelError> {
        let small = a.scalar.size() + b.scalar.size() < SCALAR;
        if a.same_elements(b) && small && !a.has_zero() {
            return Ok(View { scalar: a.scalar.clone().both(pair, b.scalar.clone()), ..a.clone() });
        }
        match pair {
            Pair::Add => self.sum(name, &[(1.0, a), (1.0, b)]),
            Pair::Multiply => self.product(name, a, b),
            Pair::Divide => {
                let inverse = self.scalar(name, b, |b| b.of(Function::Reciprocal))?;
                self.product(name, a, &inverse)
            }
            // The greater is one of them plus what the other has more, the lesser is less that.
            Pair::Maximum | Pair::Minimum => {
                let more = self.sum(name, &[(1.0, a), (-1.0, b)])?;
                let more = self.scalar(name, &more, |d| d.clamp(0.0, f64::INFINITY))?;
                match pair {
                    Pair::Maximum => self.sum(name, &[(1.0, b), (1.0, &more)]),
                    _ => self.sum(name, &[(1.0, a), (-1.0, &more)]),
                }
            }
            Pair::Power => Err(ModelError::Unsupported {
                node: name.into(),
                op: "Pow".into(),
                needed: "a constant base or exponent".into(),
            }),
        }
    }

    /// `sum factor x` over tensors of one shape.
    pub fn sum(&mut self, name: &str, terms: &[(f64, &View)]) -> Result<View, ModelError> {
        let shape = terms.first().map_or_else(Vec::new, |(_, x)| x.shape.clone());
        let (mut factors, mut inputs, mut bias) = (Vec::new(), Vec::new(), 0.0);
        for (factor, x) in terms {
            let (a, b, x) = x.line();
            bias += factor * b;
            inputs.push(self.read(name, &x)?.value);
            factors.push(factor * a);
        }
        self.chain(name, inputs, shape.clone(), Kind::Sum { factors, bias }, shape)
    }

    fn product(&mut self, name: &str, a: &View, b: &View) -> Result<View, ModelError> {
        let (factor, pair) = self.factors(name, a, b)?;
        self.chain(name, pair, a.shape.clone(), Kind::Product(factor), a.shape.clone())
    }

    /// Products of matrices of two tensors.
    pub fn matmul(
        &mut self,
        name: &str,
        a: &View,
        b: &View,
        sizes: MatMul,
        to: Shape,
    ) -> Result<View, ModelError> {
        let (factor, pair) = self.factors(name, a, b)?;
        self.chain(name, pair, a.shape.clone(), Kind::MatMul(sizes, factor), to)
    }

    /// Two operands of a product, and the factor that both have in common.
    fn factors(&mut self, name: &str, a: &View, b: &View) -> Result<(f64, Vec<Value>), ModelError> {
        let mut factor = 1.0;
        let mut pair = Vec::new();
        for x in [a, b] {
            let (scale, offset, inner) = x.line();
            let x = if offset == 0.0 && scale != 0.0 {
                factor *= scale;
                inner
            } else {
                x.clone()
            };
            pair.push(self.read(name, &x)?.value);
        }
        Ok((factor, pair))
    }

    /// Maximum over the windows of an image `[1, C, H, W]`.
    pub fn max_pool(&mut self, name: &str, x: &View, pool: MaxPool2d, to: Shape) -> Result<View, ModelError> {
        self.max(name, x, Over::Window(pool), to)
    }

    /// Maximum over so many elements in a row.
    pub fn max_group(&mut self, name: &str, x: &View, size: u32, to: Shape) -> Result<View, ModelError> {
        self.max(name, x, Over::Group(size), to)
    }

    fn max(&mut self, name: &str, x: &View, over: Over, to: Shape) -> Result<View, ModelError> {
        let x = self.read(name, x)?;
        let mut layer = self.open(name, &x);
        layer.pools.push(Pool { name: name.into(), over, from: x.shape.clone(), to: to.clone() });
        Ok(View::of(self.push(layer)?, to))
    }

    /// The same elements in the same order.
    pub fn reshape(&self, name: &str, x: &View, shape: Shape) -> Result<View, ModelError> {
        if elements(&shape) == elements(&x.shape) {
            return Ok(View { shape, ..x.clone() });
        }
        Err(ModelError::node(name, format!("shapes {:?} and {shape:?} differ in size", x.shape)))
    }

    /// `y[i] = x[index[i]]`, and 0 where the index is [`ZERO`].
    pub fn select(&self, x: &View, index: Vec<u32>, shape: Shape) -> View {
        let order: Vec<u32> = match &x.order {
            None => index,
            Some(before) => {
                index.into_iter().map(|at| before.get(at as usize).copied().unwrap_or(ZERO)).collect()
            }
        };
        let whole = order.len() == elements(&x.shape) && x.order.is_none();
        let identity = whole && order.iter().enumerate().all(|(i, &at)| i == at as usize);
        let identity = identity || (x.order.is_some() && self.is_whole(x.value, &order));
        View { order: (!identity).then(|| Arc::new(order)), shape, ..x.clone() }
    }

    /// Elements of several tensors one after another, by index.
    pub fn join(
        &mut self,
        name: &str,
        xs: &[View],
        index: Vec<u32>,
        shape: Shape,
    ) -> Result<View, ModelError> {
        if let [x] = xs {
            return Ok(self.select(x, index, shape));
        }
        let mut inputs = Vec::new();
        for x in xs {
            inputs.push(self.read(name, x)?.value);
        }
        self.chain(name, inputs, shape.clone(), Kind::Select(Arc::new(index)), shape)
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, x: &View, whole: bool) -> Result<(), ModelError> {
        let x = self.read(name, x)?;
        let taken = |value: Value, builder: &Self| match value {
            Value::Input(_) => true,
            Value::Chain(chain) => {
                let chain = &builder.chains[chain];
                let shown = |activation| builder.outputs.iter().any(|output| output.activation == activation);
                // What is put together of parts, and the greatest of a table's values, are no results of a cell.
                let parts = match chain.layer.kind {
                    Kind::Select(_) | Kind::Functions { .. } => true,
                    Kind::Function(_) => !chain.layer.pools.is_empty(),
                    Kind::Map(_) | Kind::Sum { .. } | Kind::Product(_) | Kind::MatMul(..) | Kind::Root(_) => {
                        false
                    }
                };
                parts || chain.activation.is_some_and(shown)
            }
        };
        let value = if taken(x.value, self) {
            let layer = self.identity(name, &x);
            self.push(layer)?
        } else {
            x.value
        };
        let activation = self.activation(value);
        self.outputs.push(Output { name: name.into(), shape: x.shape, activation, whole });
        Ok(())
    }

    /// The tensor as a value in its own order.
    fn read(&mut self, name: &str, x: &View) -> Result<View, ModelError> {
        let x = self.settle(name, x)?;
        self.arrange(name, &x)
    }

    /// The tensor without a function before it.
    fn settle(&mut self, name: &str, x: &View) -> Result<View, ModelError> {
        if x.scalar == Scalar::X {
            return Ok(x.clone());
        }
        let known = self.settled.iter().find(|(value, scalar, _)| *value == x.value && *scalar == x.scalar);
        if let Some((_, _, value)) = known {
            return Ok(View { value: *value, scalar: Scalar::X, ..x.clone() });
        }
        let shape = vec![self.length(x.value)];
        let whole = View::of(x.value, shape.clone());
        let value = match x.scalar.steps() {
            Some(steps) => self.steps(name, whole, &steps)?.value,
            None => {
                let kind = Kind::Function(Arc::new(x.scalar.clone()));
                self.chain(name, vec![x.value], shape.clone(), kind, shape)?.value
            }
        };
        self.settled.push((x.value, x.scalar.clone(), value));
        Ok(View { value, scalar: Scalar::X, ..x.clone() })
    }

    fn steps(&mut self, name: &str, x: View, steps: &[Step]) -> Result<View, ModelError> {
        let mut x = x;
        for step in steps {
            x = match *step {
                Step::Affine(a, b) => self.line(name, &x, a, b)?,
                Step::Clamp(lo, hi) if lo >= hi => self.line(name, &x, 0.0, hi)?,
                // A type holds 0, so bounds on one side of it are moved there and back.
                Step::Clamp(lo, hi) if lo > 0.0 || hi <= 0.0 => {
                    let by = if lo > 0.0 { lo } else { hi };
                    let by = if by.is_finite() && by != 0.0 { by } else { -1.0 };
                    let moved = self.line(name, &x, 1.0, -by)?;
                    let (lo, hi) = (lo - by, hi - by);
                    let moved = self.clamp(name, &moved, lo, hi)?;
                    self.line(name, &moved, 1.0, by)?
                }
                Step::Clamp(lo, hi) => self.clamp(name, &x, lo, hi)?,
            };
        }
        Ok(x)
    }

    /// `a x + b` of a whole value.
    fn line(&mut self, name: &str, x: &View, a: f64, b: f64) -> Result<View, ModelError> {
        let n = elements(&x.shape);
        let (scale, offset) = (vec![a as f32; n], vec![b as f32; n]);
        if let Value::Chain(chain) = x.value {
            let layer = &self.chains[chain].layer;
            let free = layer.pools.is_empty() && layer.clamp == FREE;
            let folded = match &layer.kind {
                _ if !free => None,
                Kind::Map(map) => {
                    folded_behind(map, &layer.to, &scale, &offset).map(|m| Kind::Map(Arc::new(m)))
                }
                Kind::Sum { factors, bias } => {
                    let factors = factors.iter().map(|factor| a * factor).collect();
                    Some(Kind::Sum { factors, bias: a * bias + b })
                }
                Kind::Product(factor) if b == 0.0 => Some(Kind::Product(a * factor)),
                Kind::MatMul(sizes, factor) if b == 0.0 => Some(Kind::MatMul(*sizes, a * factor)),
                _ => None,
            };
            if let Some(kind) = folded {
                let layer = Layer { kind, ..layer.clone() };
                return Ok(View { value: self.push(layer)?, ..x.clone() });
            }
        }
        let shape = vec![count(&x.shape)];
        let kind = Kind::Map(Arc::new(Map::Affine { scale, offset }));
        let view = self.chain(name, vec![x.value], shape.clone(), kind, shape)?;
        Ok(View { value: view.value, ..x.clone() })
    }

    fn clamp(&mut self, name: &str, x: &View, lo: f64, hi: f64) -> Result<View, ModelError> {
        let mut layer = self.open(name, x);
        let bound = |v: f64| v.max(lo).min(hi);
        layer.clamp = (bound(layer.clamp.0), bound(layer.clamp.1));
        Ok(View { value: self.push(layer)?, ..x.clone() })
    }

    /// The tensor as a value in its own order; it has no function before it.
    fn arrange(&mut self, name: &str, x: &View) -> Result<View, ModelError> {
        let Some(order) = &x.order else { return Ok(x.clone()) };
        let same = |other: &Arc<Vec<u32>>| Arc::ptr_eq(other, order) || other == order;
        let known = self.arranged.iter().find(|(value, other, _)| *value == x.value && same(other));
        if let Some((_, _, value)) = known {
            return Ok(View { value: *value, order: None, ..x.clone() });
        }
        let from = vec![self.length(x.value)];
        let view = self.chain(name, vec![x.value], from, Kind::Select(order.clone()), x.shape.clone())?;
        self.arranged.push((x.value, order.clone(), view.value));
        Ok(view)
    }

    /// Elements of a value.
    fn length(&self, value: Value) -> u32 {
        match value {
            Value::Input(input) => count(&self.inputs[input].1),
            Value::Chain(chain) => count(self.chains[chain].layer.shape()),
        }
    }

    /// Whether an order has every element of a value once.
    fn is_permuted(&self, value: Value, order: &[u32]) -> bool {
        order.len() == self.length(value) as usize && is_permutation(order)
    }

    fn is_whole(&self, value: Value, order: &[u32]) -> bool {
        order.len() == self.length(value) as usize
            && order.iter().enumerate().all(|(i, &at)| i == at as usize)
    }

    /// The layer that ends in a tensor: a copy that can be extended, or an identity over what cannot.
    fn open(&mut self, name: &str, x: &View) -> Layer {
        match x.value {
            Value::Chain(chain)
                if !matches!(self.chains[chain].layer.kind, Kind::Select(_) | Kind::Functions { .. }) =>
            {
                let chain = &self.chains[chain];
                // Products and tables cost constraints: what is read already is not made again.
                let costs = !matches!(chain.layer.kind, Kind::Map(_) | Kind::Sum { .. });
                if costs && chain.activation.is_some() { self.identity(name, x) } else { chain.layer.clone() }
            }
            Value::Chain(_) | Value::Input(_) => self.identity(name, x),
        }
    }

    fn identity(&mut self, name: &str, x: &View) -> Layer {
        let shape = vec![count(&x.shape)];
        let ones = vec![1.0; elements(&x.shape)];
        let map = Map::Affine { offset: vec![0.0; ones.len()], scale: ones };
        let inputs = vec![self.activation(x.value)];
        let (from, to) = (shape.clone(), shape);
        let kind = Kind::Map(Arc::new(map));
        Layer { name: name.into(), inputs, from, kind, to, pools: Vec::new(), clamp: FREE }
    }

    fn chain(
        &mut self,
        name: &str,
        inputs: Vec<Value>,
        from: Shape,
        kind: Kind,
        to: Shape,
    ) -> Result<View, ModelError> {
        let inputs = inputs.into_iter().map(|input| self.activation(input)).collect();
        let (pools, clamp) = (Vec::new(), FREE);
        let layer = Layer { name: name.into(), inputs, from, kind, to: to.clone(), pools, clamp };
        Ok(View::of(self.push(layer)?, to))
    }

    fn push(&mut self, layer: Layer) -> Result<Value, ModelError> {
        // A map that is shared with an earlier chain takes no memory of its own.
        self.weights += match &layer.kind {
            Kind::Map(map) if Arc::strong_count(map) == 1 => map.weights(),
            Kind::Select(index) if Arc::strong_count(index) <= 2 => index.len(),
            _ => 0,
        };
        let counts = [
            ("number of weights folded", self.weights, WEIGHTS),
            ("number of layers", self.chains.len() + 1, CHAINS),
        ];
        for (of, got, limit) in counts {
            if got > limit {
                let what = format!("{of} up to {}", layer.name);
                return Err(ModelError::Limit { what, got: got as u64, limit: limit as u64 });
            }
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
        let Some(Map::Affine { scale, offset }) = layer.map() else { return None };
        if !layer.pools.is_empty() || layer.clamp != FREE {
            return None;
        }
        let input = *layer.inputs.first()?;
        let value = match input.checked_sub(self.inputs.len()) {
            None => Value::Input(input),
            Some(before) => {
                let closed = |c: &Chain| c.activation == Some(self.inputs.len() + before);
                Value::Chain(self.chains.iter().position(closed)?)
            }
        };
        Some((value, scale, offset))
    }
}

/// The part of an expression that comes after an inner one that has been settled.
pub fn replay(expression: &Scalar, settled: &Scalar) -> Scalar {
    if expression == settled {
        return Scalar::X;
    }
    match expression {
        Scalar::X | Scalar::Constant(_) => expression.clone(),
        Scalar::Affine(a, b, of) => Scalar::Affine(*a, *b, Arc::new(replay(of, settled))),
        Scalar::Clamp(lo, hi, of) => Scalar::Clamp(*lo, *hi, Arc::new(replay(of, settled))),
        Scalar::Of(function, of) => Scalar::Of(*function, Arc::new(replay(of, settled))),
        Scalar::Looked(values, of) => Scalar::Looked(values.clone(), Arc::new(replay(of, settled))),
        Scalar::Both(pair, a, b) => {
            Scalar::Both(*pair, Arc::new(replay(a, settled)), Arc::new(replay(b, settled)))
        }
    }
}

fn uniform(values: &[f32]) -> Option<f32> {
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

fn is_permutation(order: &[u32]) -> bool {
    let mut seen = vec![false; order.len()];
    order.iter().all(|&at| seen.get_mut(at as usize).is_some_and(|seen| !std::mem::replace(seen, true)))
}

fn count(shape: &[u32]) -> u32 {
    // Shapes are checked against `limits::ELEMENTS` before a builder sees them.
    const { assert!(limits::ELEMENTS <= u32::MAX as usize) };
    elements(shape) as u32
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
        builder.output("y", &y, false).unwrap();
        assert_eq!(builder.layers.len(), 1);
        // x = (1, 2) -> (3, 5) -> (53.25, -3) -> (213, 7)
        assert_eq!(run(builder, &[1.0, 2.0]), [213.0, 7.0]);
    }

    #[test]
    fn a_pool_behind_a_bound_moves_before_it() {
        let (mut builder, x) = builder(&[1, 1, 1, 4]);
        let x = builder.scalar("relu", &x, |x| x.clamp(0.0, 2.5)).unwrap();
        let pool = MaxPool2d { kernel: [1, 2], window: Window { stride: [1, 2], ..still() } };
        let y = builder.max_pool("pool", &x, pool, vec![1, 1, 1, 2]).unwrap();
        builder.output("y", &y, false).unwrap();
        assert_eq!(builder.layers.len(), 1);
        assert_eq!(run(builder, &[-3.0, -1.0, 1.0, 7.0]), [0.0, 2.5]);
    }

    #[test]
    fn bounds_of_bounds_are_the_bounds_of_both() {
        let (mut builder, x) = builder(&[3]);
        let x = builder.scalar("a", &x, |x| x.clamp(-4.0, 1.0)).unwrap();
        let y = builder.scalar("b", &x, |x| x.clamp(-2.0, 5.0)).unwrap();
        builder.output("y", &y, false).unwrap();
        assert_eq!(builder.layers.len(), 1);
        assert_eq!(run(builder, &[-9.0, 0.5, 9.0]), [-2.0, 0.5, 1.0]);
    }

    #[test]
    fn reorderings_compose_and_cancel() {
        let (mut builder, x) = builder(&[2, 3]);
        let transposed = builder.select(&x, vec![0, 3, 1, 4, 2, 5], vec![3, 2]);
        let back = builder.select(&transposed, vec![0, 2, 4, 1, 3, 5], vec![2, 3]);
        assert!(back.order.is_none());
        // Row i of a unit matrix reads element i of the transposed tensor.
        let unit = (0..36).map(|i| if i % 7 == 0 { 1.0 } else { 0.0 }).collect();
        let scaled =
            builder.affine("s", &transposed, vec![1.0, 1.0, 1.0, 1.0, 1.0, 10.0], vec![0.0; 6]).unwrap();
        let y = builder.dense("d", &scaled, unit, vec![0.0; 6], vec![6]).unwrap();
        builder.output("y", &y, false).unwrap();
        assert_eq!(run(builder, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 4.0, 2.0, 5.0, 3.0, 60.0]);
    }

    #[test]
    fn a_part_of_a_tensor_is_no_reordering_of_it() {
        let (mut builder, x) = builder(&[4]);
        let part = builder.select(&x, vec![0, 1], vec![2]);
        let scaled = builder.affine("s", &part, vec![2.0, 3.0], vec![0.0, 1.0]).unwrap();
        let y = builder.dense("d", &part, vec![1.0, 10.0], vec![0.5], vec![1]).unwrap();
        builder.output("s", &scaled, false).unwrap();
        builder.output("y", &y, false).unwrap();
        let network = builder.finish();
        let activations = network.run(vec![vec![vec![1.0, 2.0, 3.0, 4.0]]]);
        let shown: Vec<_> =
            network.outputs.iter().map(|output| activations[output.activation][0].clone()).collect();
        assert_eq!(shown, [vec![2.0, 7.0], vec![21.5]]);
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
        let x = builder.scalar("relu", &x, |x| x.clamp(0.0, f64::INFINITY)).unwrap();
        let a = builder.dense("a", &x, vec![1.0, 1.0], vec![0.0], vec![1]).unwrap();
        let b = builder.dense("b", &x, vec![1.0, -1.0], vec![0.0], vec![1]).unwrap();
        builder.output("a", &a, false).unwrap();
        builder.output("b", &b, false).unwrap();
        assert_eq!(builder.layers.len(), 3);
    }
}
