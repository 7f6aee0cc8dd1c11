//! From tract's typed graph to layers, one function an operator.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::prelude::{OutletId, Tensor, TypedFact, TypedModel, TypedNode, tract_ndarray::ArrayD};
use tract_onnx::tract_core::internal::InOut;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Sub};
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::builder::{Builder, View, still};
use super::network::{Map, Network};
use super::source::Source;
use crate::error::ModelError;
use crate::ir::{Shape, elements, limits};
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// Lowers a typed graph. Every node is either folded into a layer or refused by name.
pub fn network(source: &Source, model: &TypedModel) -> Result<Network, ModelError> {
    let mut lowering =
        Lowering { source, model, builder: Builder::new(source.inputs.clone()), values: HashMap::new() };
    let import = |e: tract_onnx::prelude::TractError| ModelError::Import(e.to_string());
    for (index, outlet) in model.input_outlets().map_err(import)?.iter().enumerate() {
        if source.inputs.get(index).map(|(_, shape)| shape) != Some(&lowering.shape(*outlet)?) {
            return Err(ModelError::Import(format!("input {index} changed its shape while parsing")));
        }
        let input = lowering.builder.input(index);
        lowering.values.insert(*outlet, Operand::Wire(input));
    }
    for id in model.eval_order().map_err(import)? {
        lowering.node(model.node(id))?;
    }
    for (name, outlet) in source.outputs.iter().zip(model.output_outlets().map_err(import)?) {
        match lowering.operand(*outlet)? {
            Operand::Wire(view) => lowering.builder.output(name, &view)?,
            Operand::Constant(_) => {
                return Err(ModelError::Import(format!("output {name} does not depend on any input")));
            }
        }
    }
    Ok(lowering.builder.finish())
}

#[derive(Clone)]
enum Operand {
    Constant(Arc<Tensor>),
    Wire(View),
}

struct Lowering<'a> {
    source: &'a Source,
    model: &'a TypedModel,
    builder: Builder,
    values: HashMap<OutletId, Operand>,
}

impl Lowering<'_> {
    fn node(&mut self, node: &TypedNode) -> Result<(), ModelError> {
        if node.op_is::<TypedSource>() {
            return Ok(());
        }
        if let Some(op) = node.op_as::<Const>() {
            self.values.insert(node.id.into(), Operand::Constant(op.val().clone()));
            return Ok(());
        }
        let result = if let Some(op) = node.op_as::<EinSum>() {
            self.einsum(node, op)?
        } else if let Some(op) = node.op_as::<Conv>() {
            self.conv(node, op)?
        } else if let Some(op) = node.op_as::<TypedBinOp>() {
            self.binary(node, op)?
        } else if let Some(op) = node.op_as::<MaxPool>() {
            self.max_pool(node, op)?
        } else if let Some(op) = node.op_as::<SumPool>() {
            self.sum_pool(node, op)?
        } else if let Some(op) = node.op_as::<Reduce>() {
            self.reduce(node, op)?
        } else if let Some(op) = node.op_as::<AxisOp>() {
            self.axes(node, op)?
        } else if node.op_is::<Identity>() {
            self.wire(node, 0)?
        } else if let Some(op) = node.op_as::<Cast>() {
            let same = self.fact(node.inputs[0])?.datum_type == op.to;
            if !same {
                return Err(self.unsupported(node, "activations are float32 throughout"));
            }
            self.wire(node, 0)?
        } else {
            return Err(self.unsupported(node, "an equation, a constraint and an import rule for it"));
        };
        let shape = self.shape(node.id.into())?;
        if self.builder.shape(&result) != &shape {
            return Err(self.unsupported(node, "a shape that this version derives as the parser does"));
        }
        self.values.insert(node.id.into(), Operand::Wire(result));
        Ok(())
    }

    /// `y[o] = sum_i W[o,i] x[i]` for one constant operand whose axes are summed over or of the output.
    fn einsum(&mut self, node: &TypedNode, op: &EinSum) -> Result<View, ModelError> {
        let pair = [self.operand(node.inputs[0])?, self.operand(self.second(node)?)?];
        let (at, x, weights) = match &pair {
            [Operand::Wire(x), Operand::Constant(w)] => (0, x, w),
            [Operand::Constant(w), Operand::Wire(x)] => (1, x, w),
            _ => return Err(self.unsupported(node, "a product of two activations (only constants are free)")),
        };
        if node.inputs.len() != 2 || op.q_params.is_some() {
            return Err(self.unsupported(node, "a plain product of an activation and a constant"));
        }
        let weights = self.floats(node, weights)?;
        let (from, to) = (self.builder.shape(x).clone(), self.shape(node.id.into())?);
        // Steps that an axis of the weights takes in the flattened operand and in the flattened output.
        let mut steps = vec![(0usize, 0usize); weights.ndim()];
        for axis in op.axes.iter_all_axes() {
            let x_axes = axis.interface(InOut::In(at));
            let w_axes = axis.interface(InOut::In(1 - at));
            let y_axes = axis.interface(InOut::Out(0));
            let step = |axes: &[usize], shape: &Shape| axes.iter().map(|&a| stride(shape, a)).sum::<usize>();
            let long = |axes: &[usize], shape: &Shape| axes.iter().any(|&a| shape[a] > 1);
            let free = w_axes.iter().all(|&a| weights.shape()[a] == 1);
            let (in_x, in_y) = (long(x_axes, &from), long(y_axes, &to));
            let repeated = axis.inputs.iter().chain(&axis.outputs).any(|axes| axes.len() > 1);
            if repeated || (in_x && in_y) || (free && (in_x || in_y)) {
                let needed = "a matrix product of one row: bind the batch and sequence dimensions to 1";
                return Err(self.unsupported(node, needed));
            }
            w_axes.iter().for_each(|&a| steps[a] = (step(x_axes, &from), step(y_axes, &to)));
        }
        let (width, rows) = (elements(&from), elements(&to));
        self.check_weights(node, width.saturating_mul(rows))?;
        let mut matrix = vec![0f32; width * rows];
        for (index, &weight) in weights.indexed_iter() {
            let place = |pick: fn(&(usize, usize)) -> usize| -> usize {
                steps.iter().enumerate().map(|(axis, step)| index[axis] * pick(step)).sum()
            };
            matrix[place(|step| step.1) * width + place(|step| step.0)] += weight;
        }
        let x = x.clone();
        self.builder.dense(self.name(node), &x, matrix, vec![0.0; rows], to)
    }

    fn conv(&mut self, node: &TypedNode, op: &Conv) -> Result<View, ModelError> {
        let spec = &op.pool_spec;
        if op.kernel_fmt != KernelFormat::OIHW || op.q_params.is_some() {
            return Err(self.unsupported(node, "float weights laid out [out, in, h, w]"));
        }
        let constant = |index: usize| match node.inputs.get(index).map(|outlet| self.operand(*outlet)) {
            Some(Ok(Operand::Constant(tensor))) => self.floats(node, &tensor),
            _ => Err(self.unsupported(node, "constant weights")),
        };
        let (weights, bias) = (constant(1)?, constant(2)?);
        let weights: Vec<f32> = weights.iter().copied().collect();
        let bias = match bias.len() {
            1 => vec![bias.iter().copied().sum(); spec.output_channels],
            _ => bias.iter().copied().collect(),
        };
        let groups = self.size(node, op.group)?;
        let (inputs, outputs) = (spec.input_channels, spec.output_channels);
        let divides = op.group > 0 && inputs.is_multiple_of(op.group) && outputs.is_multiple_of(op.group);
        let taps = spec.kernel_shape.iter().try_fold(outputs, |n, &size| n.checked_mul(size));
        let wanted = taps.filter(|_| divides).and_then(|taps| taps.checked_mul(inputs / op.group));
        if wanted != Some(weights.len()) || bias.len() != outputs {
            return Err(ModelError::node(self.name(node), "weights, bias, channels and groups do not agree"));
        }
        self.windowed(node, spec, |window, kernel| Map::Conv2d { weights, bias, kernel, window, groups })
    }

    fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Result<View, ModelError> {
        if op.with_index_outputs.is_some() {
            return Err(self.unsupported(node, "a pool without its second output, the indices"));
        }
        let x = self.wire(node, 0)?;
        let (x, to, window, kernel) = self.window(node, &op.pool_spec, x)?;
        let y = self.builder.max_pool(self.name(node), &x, MaxPool2d { kernel, window }, to)?;
        self.shaped(node, &y)
    }

    /// An average is a convolution of each channel with equal weights.
    fn sum_pool(&mut self, node: &TypedNode, op: &SumPool) -> Result<View, ModelError> {
        let spec = &op.pool_spec;
        let channels = self.size(node, spec.input_channels)?;
        let taps = spec.kernel_shape.iter().product::<usize>();
        let weight = if op.normalize { 1.0 / taps as f32 } else { 1.0 };
        self.check_weights(node, taps.saturating_mul(spec.input_channels))?;
        let (weights, bias) = (vec![weight; taps * spec.input_channels], vec![0.0; spec.input_channels]);
        let x = self.wire(node, 0)?;
        let (_, _, window, _) = self.window(node, spec, x)?;
        if op.normalize && !op.count_include_pad && window.pad != [0; 4] {
            return Err(
                self.unsupported(node, "an average of equal weights: no padding, or count_include_pad")
            );
        }
        self.windowed(node, spec, |window, kernel| Map::Conv2d {
            weights,
            bias,
            kernel,
            window,
            groups: channels,
        })
    }

    /// A reduction over the last axes is a window as large as they are.
    fn reduce(&mut self, node: &TypedNode, op: &Reduce) -> Result<View, ModelError> {
        let x = self.wire(node, 0)?;
        let from = self.builder.shape(&x).clone();
        let kept = op.axes.iter().copied().filter(|&axis| from[axis] > 1).min().unwrap_or(from.len());
        if (kept..from.len()).any(|axis| from[axis] > 1 && !op.axes.contains(&axis)) {
            return Err(self.unsupported(node, "a reduction over the last axes"));
        }
        let (channels, taps) = (elements(&from[..kept]), elements(&from[kept..]));
        let (rows, kernel) = (self.size(node, channels)?, [1, self.size(node, taps)?]);
        let x = self.builder.reshape(self.name(node), &x, vec![1, rows, 1, kernel[1]])?;
        let to = vec![1, rows, 1, 1];
        let y = match op.reducer {
            Reducer::Sum => {
                let (weights, bias) = (vec![1.0; elements(&from)], vec![0.0; channels]);
                let map = Map::Conv2d { weights, bias, kernel, window: still(), groups: rows };
                self.builder.conv(self.name(node), &x, map, to)?
            }
            Reducer::Max => {
                self.builder.max_pool(self.name(node), &x, MaxPool2d { kernel, window: still() }, to)?
            }
            _ => return Err(self.unsupported(node, "a sum, a mean or a maximum")),
        };
        self.shaped(node, &y)
    }

    fn binary(&mut self, node: &TypedNode, op: &TypedBinOp) -> Result<View, ModelError> {
        let (a, b) = (self.operand(node.inputs[0])?, self.operand(self.second(node)?)?);
        let (x, constant, constant_first) = match (a, b) {
            (Operand::Wire(x), Operand::Constant(c)) => (x, c, false),
            (Operand::Constant(c), Operand::Wire(x)) => (x, c, true),
            _ => return Err(self.unsupported(node, "a constant operand: activations cannot be combined yet")),
        };
        let op = &op.0;
        if op.is::<Max>() || op.is::<Min>() {
            return self.bound(node, &x, &constant, op.is::<Max>());
        }
        let to = self.shape(node.id.into())?;
        if elements(self.builder.shape(&x)) != elements(&to) {
            return Err(self.unsupported(node, "an operand that is not broadcast"));
        }
        let constant = self.broadcast(node, &constant, &to)?;
        let n = constant.len();
        let (scale, offset) = if op.is::<Add>() {
            (vec![1.0; n], constant)
        } else if op.is::<Sub>() && constant_first {
            (vec![-1.0; n], constant)
        } else if op.is::<Sub>() {
            (vec![1.0; n], constant.into_iter().map(|c| -c).collect())
        } else if op.is::<Mul>() {
            (constant, vec![0.0; n])
        } else if op.is::<Div>() && !constant_first {
            let inverse: Vec<f32> = constant.into_iter().map(|c| 1.0 / c).collect();
            if inverse.iter().any(|c| !c.is_finite()) {
                return Err(ModelError::node(self.name(node), "division by zero"));
            }
            (inverse, vec![0.0; n])
        } else {
            return Err(self.unsupported(node, "a table of its values, or a product of two activations"));
        };
        let y = self.builder.affine(self.name(node), &x, scale, offset)?;
        self.shaped(node, &y)
    }

    /// `max(x, c)` or `min(x, c)` for one number `c`.
    fn bound(
        &mut self,
        node: &TypedNode,
        x: &View,
        constant: &Tensor,
        is_max: bool,
    ) -> Result<View, ModelError> {
        let values = plain(constant).ok_or_else(|| self.unsupported(node, "float32 bounds"))?;
        let first = values.iter().next().copied().unwrap_or(f32::NAN);
        if first.is_nan() || values.iter().any(|v| *v != first) {
            return Err(self.unsupported(node, "one bound for the whole tensor"));
        }
        let to = self.shape(node.id.into())?;
        if elements(self.builder.shape(x)) != elements(&to) {
            return Err(self.unsupported(node, "an operand that is not broadcast"));
        }
        let c = f64::from(first);
        let (lo, hi) = if is_max { (c, f64::INFINITY) } else { (f64::NEG_INFINITY, c) };
        let y = self.builder.clamp(self.name(node), x, lo, hi)?;
        self.shaped(node, &y)
    }

    fn axes(&mut self, node: &TypedNode, op: &AxisOp) -> Result<View, ModelError> {
        let x = self.wire(node, 0)?;
        let AxisOp::Move(from, into) = op else {
            // Adding, removing and splitting axes leave the elements where they are.
            return self.shaped(node, &x);
        };
        let shape = self.builder.shape(&x).clone();
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        let axis = axes.remove(*from);
        axes.insert(*into, axis);
        let moved = axes.iter().map(|&axis| shape[axis]).collect();
        let y = self.builder.permute(&x, permutation(&shape, &axes), moved);
        self.shaped(node, &y)
    }

    /// A tensor in the shape that the parser gives to a node's result.
    fn shaped(&self, node: &TypedNode, x: &View) -> Result<View, ModelError> {
        self.builder.reshape(self.name(node), x, self.shape(node.id.into())?)
    }

    /// A convolution whose window is `spec`'s.
    fn windowed(
        &mut self,
        node: &TypedNode,
        spec: &PoolSpec,
        map: impl FnOnce(Window, [u32; 2]) -> Map,
    ) -> Result<View, ModelError> {
        let x = self.wire(node, 0)?;
        let (x, to, window, kernel) = self.window(node, spec, x)?;
        let y = self.builder.conv(self.name(node), &x, map(window, kernel), to)?;
        self.shaped(node, &y)
    }

    /// The operand as an image, the image that results, and the window between them. One spatial axis is an
    /// image of height 1.
    fn window(
        &self,
        node: &TypedNode,
        spec: &PoolSpec,
        x: View,
    ) -> Result<(View, Shape, Window, [u32; 2]), ModelError> {
        let as_image = |shape: &Shape| match *shape.as_slice() {
            [1, c, w] => Some(vec![1, c, 1, w]),
            [1, _, _, _] => Some(shape.clone()),
            _ => None,
        };
        let shapes = (as_image(self.builder.shape(&x)), as_image(&self.shape(node.id.into())?));
        let (Some(from), Some(to)) = shapes else {
            return Err(self.unsupported(node, "a batch of 1 and one or two spatial axes"));
        };
        if spec.data_format != DataFormat::NCHW || !(1..=2).contains(&spec.rank()) {
            return Err(self.unsupported(node, "a batch of 1 and one or two spatial axes"));
        }
        let pair = |values: &[usize], absent: u32| match values {
            [w] => Ok([absent, self.size(node, *w)?]),
            [h, w] => Ok([self.size(node, *h)?, self.size(node, *w)?]),
            _ => Err(self.unsupported(node, "one or two spatial axes")),
        };
        let kernel = pair(&spec.kernel_shape, 1)?;
        let (stride, dilation) = (pair(&spec.strides(), 1)?, pair(&spec.dilations(), 1)?);
        let spatial: Vec<usize> =
            from[from.len() - spec.rank()..].iter().map(|&size| size as usize).collect();
        let padding = spec.computed_padding(&spatial);
        let before = pair(&padding.iter().map(|p| p.pad_before).collect::<Vec<_>>(), 0)?;
        let mut after = pair(&padding.iter().map(|p| p.pad_after).collect::<Vec<_>>(), 0)?;
        let invalid = || ModelError::node(self.name(node), "window, padding and shapes do not agree");
        // Where the last window ends: rounding up the size means more padding, rounding down unread elements.
        for axis in 0..2 {
            let reach = u64::from(kernel[axis]).saturating_sub(1) * u64::from(dilation[axis]) + 1;
            let end = u64::from(to[axis + 2]).saturating_sub(1) * u64::from(stride[axis]) + reach;
            let given = u64::from(from[axis + 2]) + u64::from(before[axis]);
            if end > given + u64::from(after[axis]) {
                after[axis] = u32::try_from(end - given).map_err(|_| invalid())?;
            }
        }
        let window = Window { stride, pad: [before[0], before[1], after[0], after[1]], dilation };
        let channels = [from[1] as usize, to[1] as usize] == [spec.input_channels, spec.output_channels];
        if !channels || window.output([from[2], from[3]], kernel) != Some([to[2], to[3]]) {
            return Err(invalid());
        }
        let x = self.builder.reshape(self.name(node), &x, from)?;
        Ok((x, to, window, kernel))
    }

    fn fact(&self, outlet: OutletId) -> Result<&TypedFact, ModelError> {
        self.model.outlet_fact(outlet).map_err(|e| ModelError::Import(e.to_string()))
    }

    /// Shape of a tensor, within the limits.
    fn shape(&self, outlet: OutletId) -> Result<Shape, ModelError> {
        let name = &self.model.node(outlet.node).name;
        let fact = self.fact(outlet)?;
        let shape: Option<Shape> = fact
            .shape
            .as_concrete()
            .and_then(|dims| dims.iter().map(|&dim| u32::try_from(dim).ok()).collect());
        let Some(shape) = shape else { return Err(ModelError::node(name, "its shape is not known")) };
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.into())).unwrap_or(u64::MAX);
        if elements == 0 {
            return Err(ModelError::node(name, "a dimension is zero"));
        }
        if elements > limits::ELEMENTS as u64 {
            let (what, limit) = (format!("number of elements of {name}"), limits::ELEMENTS as u64);
            return Err(ModelError::Limit { what, got: elements, limit });
        }
        Ok(shape)
    }

    fn operand(&self, outlet: OutletId) -> Result<Operand, ModelError> {
        self.values.get(&outlet).cloned().ok_or_else(|| {
            ModelError::node(&self.model.node(outlet.node).name, "only its first result can be used")
        })
    }

    fn second(&self, node: &TypedNode) -> Result<OutletId, ModelError> {
        node.inputs.get(1).copied().ok_or_else(|| ModelError::node(self.name(node), "expected two operands"))
    }

    fn wire(&self, node: &TypedNode, index: usize) -> Result<View, ModelError> {
        match node.inputs.get(index).map(|outlet| self.operand(*outlet)) {
            Some(Ok(Operand::Wire(view))) => Ok(view),
            Some(Err(error)) => Err(error),
            Some(Ok(Operand::Constant(_))) | None => {
                Err(self.unsupported(node, "an operand that depends on the input"))
            }
        }
    }

    /// A constant's values: float32, finite.
    fn floats(&self, node: &TypedNode, tensor: &Tensor) -> Result<ArrayD<f32>, ModelError> {
        let values = plain(tensor).ok_or_else(|| self.unsupported(node, "float32 weights"))?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(ModelError::node(self.name(node), format!("a folded constant is {v}"))),
            None => Ok(values),
        }
    }

    /// A constant spread over a shape, row-major.
    fn broadcast(&self, node: &TypedNode, tensor: &Tensor, to: &Shape) -> Result<Vec<f32>, ModelError> {
        let values = self.floats(node, tensor)?;
        let dims: Vec<usize> = to.iter().map(|&d| d as usize).collect();
        match values.broadcast(dims) {
            Some(view) => Ok(view.iter().copied().collect()),
            None => Err(ModelError::node(self.name(node), "operands do not broadcast")),
        }
    }

    fn check_weights(&self, node: &TypedNode, got: usize) -> Result<(), ModelError> {
        if got <= limits::WEIGHTS {
            return Ok(());
        }
        let what = format!("number of weights of {}", self.name(node));
        Err(ModelError::Limit { what, got: got as u64, limit: limits::WEIGHTS as u64 })
    }

    fn size(&self, node: &TypedNode, value: usize) -> Result<u32, ModelError> {
        u32::try_from(value).map_err(|_| ModelError::node(self.name(node), format!("size {value}")))
    }

    fn name<'n>(&self, node: &'n TypedNode) -> &'n str
    where
        Self: 'n,
    {
        // The ONNX name is a prefix of the parser's.
        let length = self.source.origin(&node.name).0.len();
        &node.name[..length]
    }

    fn unsupported(&self, node: &TypedNode, needed: &str) -> ModelError {
        let (name, op) = self.source.origin(&node.name);
        let op = op.map_or_else(|| node.op().name().into_owned(), str::to_owned);
        ModelError::Unsupported { node: name.into(), op, needed: needed.into() }
    }
}

fn plain(tensor: &Tensor) -> Option<ArrayD<f32>> {
    tensor.to_plain_array_view::<f32>().ok().map(|view| view.to_owned())
}

/// Elements that one step along an axis skips.
fn stride(shape: &[u32], axis: usize) -> usize {
    elements(&shape[axis + 1..])
}

/// For every element of the transposed tensor, its place before: axis `i` of the result is `axes[i]` of `shape`.
fn permutation(shape: &[u32], axes: &[usize]) -> Vec<u32> {
    let mut places = vec![0u32];
    for &axis in axes {
        // Sizes are bounded by `limits::ELEMENTS`, which fits.
        let step = stride(shape, axis) as u32;
        places = places.iter().flat_map(|&place| (0..shape[axis]).map(move |i| place + i * step)).collect();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_names_the_place_of_every_element_before() {
        assert_eq!(permutation(&[2, 3], &[1, 0]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(permutation(&[2, 1, 3], &[1, 0, 2]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(permutation(&[2, 2, 2], &[2, 0, 1]), [0, 2, 4, 6, 1, 3, 5, 7]);
    }
}
