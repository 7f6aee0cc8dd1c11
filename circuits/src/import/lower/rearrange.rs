//! Operators that only move elements: each is an index, `y[i] = x[index[i]]`. In the constraint system they cost
//! nothing.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, attribute, int, ints, text};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair};
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, broadcast, indices, spread, strides};
use crate::ir::ZERO;

impl Lowering {
    pub(super) fn rearrange(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let result = match node.op_type.as_str() {
            "Constant" => Value::Constant(self.literal(node)?),
            "ConstantOfShape" => self.constant_of_shape(node)?,
            "Shape" => self.shape_of(node)?,
            "Size" => Value::Constant(Tensor::number(self.operand(node, 0)?.elements() as f64, Type::Int)),
            "Range" => self.range(node)?,
            "EyeLike" => self.eye(node)?,
            "Reshape" => self.reshaped(node)?,
            "Flatten" => {
                let x = self.operand(node, 0)?;
                let shape = x.shape();
                let axis = int(node, "axis", 1);
                let axis = if axis == shape.len() as i64 {
                    shape.len()
                } else {
                    self.axis(node, axis, shape.len().max(1))?
                };
                self.reshape(node, &x, &[shape[..axis].iter().product(), shape[axis..].iter().product()])?
            }
            "Squeeze" => self.squeeze(node)?,
            "Unsqueeze" => self.unsqueeze(node)?,
            "Transpose" => self.transpose(node)?,
            "Concat" => self.concat(node)?,
            "Split" => return self.split(node).map(Some),
            "Slice" => self.slice(node)?,
            "Gather" => self.gather(node)?,
            "GatherElements" => self.gather_elements(node)?,
            "GatherND" => self.gather_nd(node)?,
            "ScatterElements" | "Scatter" => self.scatter_elements(node)?,
            "ScatterND" => self.scatter_nd(node)?,
            "Expand" => self.expanded(node)?,
            "Tile" => self.tile(node)?,
            "Pad" => self.pad(node)?,
            "DepthToSpace" => self.depth_to_space(node)?,
            "SpaceToDepth" => self.space_to_depth(node)?,
            "Trilu" => self.trilu(node)?,
            "OneHot" => self.one_hot(node)?,
            "Compress" => self.compress(node)?,
            "ReverseSequence" => self.reverse_sequence(node)?,
            "CenterCropPad" => self.center_crop_pad(node)?,
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    /// Elements of several tensors one after another, by index.
    pub(super) fn join(
        &mut self,
        node: &NodeProto,
        values: &[Value],
        index: Vec<u32>,
        shape: &[usize],
    ) -> Result<Value, ModelError> {
        self.check_elements(node, shape)?;
        let r#type = values.first().map_or(Type::Float, Value::r#type);
        let constants: Vec<&Tensor> =
            values.iter().filter_map(|v| if let Value::Constant(t) = v { Some(t) } else { None }).collect();
        if constants.len() == values.len() {
            let all: Vec<f64> = constants.iter().flat_map(|tensor| &tensor.values).copied().collect();
            let joined = Tensor { shape: vec![all.len()], values: all, r#type };
            return Ok(Value::Constant(joined.select(&index, shape.to_vec())));
        }
        // A constant of zeros needs no wires.
        let (mut wires, mut starts, mut first, mut joined) = (Vec::new(), Vec::new(), 0u32, 0u32);
        for value in values {
            let count = value.elements() as u32;
            let zeros =
                count == 0 || matches!(value, Value::Constant(tensor) if tensor.uniform() == Some(0.0));
            starts.push((first, if zeros { None } else { Some(joined) }));
            first += count;
            if !zeros {
                wires.push(self.wire(node, value)?.0);
                joined += count;
            }
        }
        let place = |i: u32| {
            let part = starts.partition_point(|(start, _)| *start <= i).saturating_sub(1);
            let (start, joined) = starts[part];
            joined.map_or(ZERO, |joined| joined + (i - start))
        };
        let index = index.into_iter().map(|i| if i == ZERO { ZERO } else { place(i) }).collect();
        let dims = self.dims(node, shape)?;
        Ok(Value::Wire(self.builder.join(node_name(node), &wires, index, dims)?, r#type))
    }

    fn literal(&self, node: &NodeProto) -> Result<Tensor, ModelError> {
        let list = |values: Vec<f64>, r#type| Tensor { shape: vec![values.len()], values, r#type };
        let Some(attribute) = node.attribute.first() else {
            return Err(ModelError::node(node_name(node), "a constant without a value"));
        };
        match attribute.name.as_str() {
            "value" => match &attribute.t {
                Some(tensor) => Tensor::read(node_name(node), tensor),
                None => Err(ModelError::node(node_name(node), "a constant without a value")),
            },
            "value_float" => Ok(Tensor::number(attribute.f.into(), Type::Float)),
            "value_int" => Ok(Tensor::number(attribute.i as f64, Type::Int)),
            "value_floats" => Ok(list(attribute.floats.iter().map(|&v| v.into()).collect(), Type::Float)),
            "value_ints" => Ok(list(attribute.ints.iter().map(|&v| v as f64).collect(), Type::Int)),
            _ => Err(self.unsupported(node, "a tensor or numbers")),
        }
    }

    /// A list of sizes.
    pub(super) fn sizes(&self, node: &NodeProto, values: &[i64]) -> Result<Vec<usize>, ModelError> {
        let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
        let sizes = sizes.ok_or_else(|| ModelError::node(node_name(node), format!("sizes {values:?}")))?;
        self.check_elements(node, &sizes)?;
        Ok(sizes)
    }

    fn constant_of_shape(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let shape = self.sizes(node, &self.constant(node, 0)?.integers())?;
        let value = attribute(node, "value").and_then(|a| a.t.as_ref());
        let value =
            value.map_or(Ok(Tensor::number(0.0, Type::Float)), |t| Tensor::read(node_name(node), t))?;
        let values = vec![value.values.first().copied().unwrap_or(0.0); shape.iter().product()];
        Ok(Value::Constant(Tensor { shape, values, r#type: value.r#type }))
    }

    fn shape_of(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let shape = self.operand(node, 0)?.shape();
        let rank = shape.len() as i64;
        let bound = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
        let (start, end) = (bound(int(node, "start", 0)), bound(int(node, "end", rank)));
        let dims = shape.get(start..end.max(start)).unwrap_or_default();
        Ok(Value::Constant(Tensor::list(dims.iter().map(|&d| d as i64))))
    }

    fn range(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let number = |index| Ok(self.constant(node, index)?.values.first().copied().unwrap_or(f64::NAN));
        let (start, limit, delta): (f64, f64, f64) = (number(0)?, number(1)?, number(2)?);
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() {
            return Err(ModelError::node(node_name(node), "a range without an end"));
        }
        // Saturates, and is checked.
        let count = count as usize;
        self.check_elements(node, &[count])?;
        let values = (0..count).map(|i| start + i as f64 * delta).collect();
        Ok(Value::Constant(Tensor { shape: vec![count], values, r#type: self.operand(node, 0)?.r#type() }))
    }

    fn eye(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let (shape, k) = (x.shape(), int(node, "k", 0));
        if shape.len() != 2 {
            return Err(ModelError::node(node_name(node), "expected a matrix"));
        }
        let values = indices(&shape, |at| ((at[0] as i64).saturating_add(k) == at[1] as i64).then_some(1));
        let values = values.into_iter().map(|i| f64::from(i == 1)).collect();
        let r#type =
            attribute(node, "dtype").and_then(|a| Type::of(i32::try_from(a.i).ok()?)).unwrap_or(x.r#type());
        Ok(Value::Constant(Tensor { shape, values, r#type }))
    }

    fn reshaped(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let from = x.shape();
        let wanted = self.integers(node, 1, "shape")?.unwrap_or_default();
        let keep = int(node, "allowzero", 0) == 0;
        let mut shape = Vec::with_capacity(wanted.len());
        for (axis, &size) in wanted.iter().enumerate() {
            shape.push(match size {
                0 if keep => from.get(axis).copied().unwrap_or(0),
                -1 => 1,
                size => usize::try_from(size).unwrap_or(0),
            });
        }
        if wanted.iter().filter(|&&size| size == -1).count() > 1 {
            return Err(ModelError::node(node_name(node), "more than one size is left open"));
        }
        if let Some(free) = wanted.iter().position(|&size| size == -1) {
            let known: usize = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
            shape[free] = x.elements().checked_div(known).unwrap_or(0);
        }
        self.check_elements(node, &shape)?;
        self.reshape(node, &x, &shape)
    }

    fn squeeze(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let from = x.shape();
        let drop = match self.integers(node, 1, "axes")? {
            Some(axes) => self.axes(node, &axes, from.len())?,
            None => (0..from.len()).filter(|&axis| from[axis] == 1).collect(),
        };
        let kept = (0..from.len()).filter(|axis| !drop.contains(axis));
        self.reshape(node, &x, &kept.map(|axis| from[axis]).collect::<Vec<_>>())
    }

    fn unsqueeze(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let mut shape = x.shape();
        let axes = self.integers(node, 1, "axes")?.unwrap_or_default();
        let axes = self.axes(node, &axes, shape.len() + axes.len())?;
        for axis in axes {
            shape.insert(axis.min(shape.len()), 1);
        }
        self.reshape(node, &x, &shape)
    }

    fn transpose(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let rank = x.shape().len();
        let order: Vec<usize> = match ints(node, "perm") {
            Some(perm) => perm.iter().map(|&axis| self.axis(node, axis, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut seen = order.clone();
        seen.sort_unstable();
        if seen != (0..rank).collect::<Vec<_>>() {
            return Err(ModelError::node(node_name(node), "perm is no permutation of the axes"));
        }
        Ok(self.permuted(&x, &order))
    }

    /// Axis `i` of the result is axis `order[i]` of the operand.
    pub(super) fn permuted(&self, x: &Value, order: &[usize]) -> Value {
        let from = x.shape();
        let skip = strides(&from);
        let shape: Vec<usize> = order.iter().map(|&axis| from[axis]).collect();
        let place = |at: &[usize]| Some(at.iter().zip(order).map(|(i, &axis)| i * skip[axis]).sum());
        self.select(x, indices(&shape, place), &shape)
    }

    fn concat(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let values = self.operands(node)?;
        let Some(first) = values.first().map(Value::shape) else {
            return Err(ModelError::node(node_name(node), "nothing to concatenate"));
        };
        let axis = self.axis(node, int(node, "axis", 0), first.len())?;
        self.concatenated(node, &values, axis)
    }

    /// Tensors one after another along an axis.
    pub(super) fn concatenated(
        &mut self,
        node: &NodeProto,
        values: &[Value],
        axis: usize,
    ) -> Result<Value, ModelError> {
        let shapes: Vec<Vec<usize>> = values.iter().map(Value::shape).collect();
        let mut shape = shapes[0].clone();
        let like = |other: &Vec<usize>| {
            other.len() == shape.len() && (0..shape.len()).all(|a| a == axis || other[a] == shape[a])
        };
        if !shapes.iter().all(like) {
            return Err(ModelError::node(node_name(node), "shapes differ beside the axis"));
        }
        shape[axis] = shapes.iter().map(|shape| shape[axis]).sum();
        self.check_elements(node, &shape)?;
        let mut parts = Vec::new();
        let (mut along, mut start) = (0, 0);
        for part in &shapes {
            parts.push((along, start, strides(part)));
            along += part[axis];
            start += part.iter().product::<usize>();
        }
        let index = indices(&shape, |at| {
            let (along, start, strides) = &parts[parts.partition_point(|(along, ..)| *along <= at[axis]) - 1];
            let place = |(a, (i, stride)): (usize, (&usize, &usize))| {
                (if a == axis { i - along } else { *i }) * stride
            };
            Some(start + at.iter().zip(strides).enumerate().map(place).sum::<usize>())
        });
        self.join(node, values, index, &shape)
    }

    fn split(&self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        let x = self.operand(node, 0)?;
        let shape = x.shape();
        let axis = self.axis(node, int(node, "axis", 0), shape.len())?;
        let sizes = match self.integers(node, 1, "split")? {
            Some(sizes) => self.sizes(node, &sizes)?,
            None => {
                let parts =
                    usize::try_from(int(node, "num_outputs", node.output.len() as i64)).unwrap_or(0).max(1);
                let size = shape[axis].div_ceil(parts);
                (0..parts).map(|part| size.min(shape[axis].saturating_sub(part * size))).collect()
            }
        };
        if sizes.iter().sum::<usize>() != shape[axis] {
            return Err(ModelError::node(node_name(node), "the parts are not the whole"));
        }
        let mut start = 0;
        let part = |size: usize| {
            start += size;
            self.sliced(&x, axis, start - size, size)
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    /// `size` elements from `start` on along an axis.
    pub(super) fn sliced(&self, x: &Value, axis: usize, start: usize, size: usize) -> Value {
        let mut shape = x.shape();
        let skip = strides(&shape);
        shape[axis] = size;
        let index = indices(&shape, |at| {
            Some(at.iter().zip(&skip).map(|(i, stride)| i * stride).sum::<usize>() + start * skip[axis])
        });
        self.select(x, index, &shape)
    }

    fn slice(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let from = x.shape();
        let starts = self.integers(node, 1, "starts")?.unwrap_or_default();
        let ends = self.integers(node, 2, "ends")?.unwrap_or_default();
        let axes = self.integers(node, 3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.optional_constant(node, 4)?.map_or(vec![1; starts.len()], |steps| steps.integers());
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(ModelError::node(node_name(node), "starts, ends, axes and steps differ in number"));
        }
        let mut shape = from.clone();
        let mut walks = vec![(0i64, 1i64); from.len()];
        for (((&axis, &start), &end), &step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
            let axis = self.axis(node, axis, from.len())?;
            let size = from[axis] as i64;
            let from_end = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
            let (first, count) = match step {
                0 => return Err(ModelError::node(node_name(node), "a step of zero")),
                step if step > 0 => {
                    let (start, end) = (from_end(start).clamp(0, size), from_end(end).clamp(0, size));
                    (start, (end - start).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
                }
                step => {
                    let (start, end) =
                        (from_end(start).clamp(0, size - 1), from_end(end).clamp(-1, size - 1));
                    (start, (start - end).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
                }
            };
            shape[axis] = count as usize;
            walks[axis] = (first, step);
        }
        let skip = strides(&from);
        let index = indices(&shape, |at| {
            let axis = |((&i, (first, step)), stride): ((&usize, &(i64, i64)), &usize)| {
                (first + i as i64 * step) as usize * stride
            };
            Some(at.iter().zip(&walks).zip(&skip).map(axis).sum())
        });
        Ok(self.select(&x, index, &shape))
    }

    /// An index within an axis, counted from either end.
    pub(super) fn within(&self, node: &NodeProto, index: i64, size: usize) -> Result<usize, ModelError> {
        let from_end = if index < 0 { index.saturating_add(size as i64) } else { index };
        usize::try_from(from_end)
            .ok()
            .filter(|&index| index < size)
            .ok_or_else(|| ModelError::node(node_name(node), format!("index {index} of {size} elements")))
    }

    fn expanded(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let wanted = self.sizes(node, &self.constant(node, 1)?.integers())?;
        let shape = broadcast(&x.shape(), &wanted)
            .ok_or_else(|| ModelError::node(node_name(node), "shapes do not broadcast"))?;
        self.check_elements(node, &shape)?;
        Ok(self.select(&x, spread(&x.shape(), &shape), &shape))
    }

    fn tile(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let (from, repeats) = (x.shape(), self.sizes(node, &self.constant(node, 1)?.integers())?);
        if repeats.len() != from.len() {
            return Err(ModelError::node(node_name(node), "expected a number of repeats for every axis"));
        }
        let shape: Vec<usize> = from.iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect();
        self.check_elements(node, &shape)?;
        let skip = strides(&from);
        let place = |at: &[usize]| Some(at.iter().zip(&from).zip(&skip).map(|((i, d), s)| i % d * s).sum());
        Ok(self.select(&x, indices(&shape, place), &shape))
    }

    fn pad(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let from = x.shape();
        let pads = self.integers(node, 1, "pads")?.unwrap_or_default();
        let value = match self.optional_constant(node, 2)? {
            Some(tensor) => tensor.values.first().copied().unwrap_or(0.0),
            None => super::float(node, "value", 0.0),
        };
        let axes = match self.optional_constant(node, 3)? {
            Some(axes) => {
                axes.integers().iter().map(|&a| self.axis(node, a, from.len())).collect::<Result<_, _>>()?
            }
            None => (0..from.len()).collect::<Vec<_>>(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(ModelError::node(node_name(node), "expected two sizes of padding for every axis"));
        }
        let (mut before, mut shape) = (vec![0i64; from.len()], from.clone());
        for (place, &axis) in axes.iter().enumerate() {
            before[axis] = pads[place];
            let size =
                (from[axis] as i64).saturating_add(pads[place]).saturating_add(pads[place + axes.len()]);
            shape[axis] = usize::try_from(size).unwrap_or(0);
        }
        self.check_elements(node, &shape)?;
        let mode = text(node, "mode", "constant");
        let skip = strides(&from);
        let index = indices(&shape, |at| {
            let mut place = 0;
            for axis in 0..from.len() {
                let (i, size) = (at[axis] as i64 - before[axis], from[axis] as i64);
                let i = match mode {
                    "edge" => i.clamp(0, size - 1),
                    "reflect" if size > 1 => {
                        let turn = i.rem_euclid(2 * (size - 1));
                        turn.min(2 * (size - 1) - turn)
                    }
                    "wrap" => i.rem_euclid(size),
                    _ if (0..size).contains(&i) => i,
                    _ => return None,
                };
                place += i as usize * skip[axis];
            }
            Some(place)
        });
        if value == 0.0 || !index.contains(&ZERO) {
            return Ok(self.select(&x, index, &shape));
        }
        let n = x.elements();
        let filled = index.into_iter().map(|i| if i == ZERO { n as u32 } else { i }).collect();
        let constant = Value::Constant(Tensor::number(value, x.r#type()));
        self.join(node, &[x, constant], filled, &shape)
    }

    fn image(&self, node: &NodeProto, x: &Value) -> Result<[usize; 4], ModelError> {
        <[usize; 4]>::try_from(x.shape())
            .map_err(|_| ModelError::node(node_name(node), "expected an image of four axes"))
    }

    fn depth_to_space(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let [n, c, h, w] = self.image(node, &x)?;
        let b = usize::try_from(int(node, "blocksize", 1)).unwrap_or(0).max(1);
        if !c.is_multiple_of(b * b) {
            return Err(ModelError::node(node_name(node), "channels are no multiple of the block"));
        }
        let rows_first = text(node, "mode", "DCR") == "DCR";
        let (split, order) = match rows_first {
            true => ([n, b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2]),
            false => ([n, c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3]),
        };
        let moved = self.permuted(&self.reshape(node, &x, &split)?, &order);
        self.reshape(node, &moved, &[n, c / (b * b), h * b, w * b])
    }

    fn space_to_depth(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let [n, c, h, w] = self.image(node, &x)?;
        let b = usize::try_from(int(node, "blocksize", 1)).unwrap_or(0).max(1);
        if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
            return Err(ModelError::node(node_name(node), "the image is no multiple of the block"));
        }
        let split = self.reshape(node, &x, &[n, c, h / b, b, w / b, b])?;
        let order = if text(node, "mode", "DCR") == "DCR" { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
        let moved = self.permuted(&split, &order);
        self.reshape(node, &moved, &[n, c * b * b, h / b, w / b])
    }

    fn trilu(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let k = self.optional_constant(node, 1)?.and_then(|k| k.integers().first().copied()).unwrap_or(0);
        let (shape, upper) = (x.shape(), int(node, "upper", 1) != 0);
        let (skip, rank) = (strides(&shape), shape.len());
        if rank < 2 {
            return Err(ModelError::node(node_name(node), "expected a matrix"));
        }
        let index = indices(&shape, |at| {
            let distance = at[rank - 1] as i64 - at[rank - 2] as i64;
            let kept = if upper { distance >= k } else { distance <= k };
            kept.then(|| at.iter().zip(&skip).map(|(i, s)| i * s).sum())
        });
        Ok(self.select(&x, index, &shape))
    }

    fn one_hot(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, values) = (self.operand(node, 0)?, self.constant(node, 2)?);
        let depth = self.constant(node, 1)?.integers().first().copied().unwrap_or(0);
        let depth = usize::try_from(depth).unwrap_or(0);
        let [off, on] = values.values[..] else {
            return Err(ModelError::node(node_name(node), "expected two values"));
        };
        let mut shape = x.shape();
        let axis = self.axis(node, int(node, "axis", -1), shape.len() + 1)?;
        let from = shape.clone();
        shape.insert(axis, depth);
        self.check_elements(node, &shape)?;
        let skip = strides(&from);
        let index = indices(&shape, |at| {
            let outer = at.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, i)| i);
            Some(outer.zip(&skip).map(|(i, s)| i * s).sum())
        });
        let repeated = self.select(&x, index, &shape);
        let size = depth as i64;
        let wrapped = self.unary(node, &repeated, |x| {
            x.clone().both(Pair::Add, x.affine(-1.0, -0.5).of(Function::IsPositive).affine(size as f64, 0.0))
        })?;
        let classes = indices(&shape, |at| Some(at[axis]));
        let classes = Tensor {
            shape: shape.clone(),
            values: classes.into_iter().map(f64::from).collect(),
            r#type: Type::Int,
        };
        let difference = self.minus(node, &wrapped, &Value::Constant(classes))?;
        let hot = self.unary(node, &difference, |d| d.of(Function::IsNonzero).affine(off - on, on))?;
        Ok(hot.typed(values.r#type))
    }

    fn compress(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let (mut x, condition) = (self.operand(node, 0)?, self.constant(node, 1)?);
        let axis = match attribute(node, "axis") {
            Some(attribute) => self.axis(node, attribute.i, x.shape().len())?,
            None => {
                x = self.reshape(node, &x, &[x.elements()])?;
                0
            }
        };
        let mut shape = x.shape();
        let kept: Vec<usize> =
            condition.values.iter().enumerate().filter(|(_, c)| **c != 0.0).map(|(i, _)| i).collect();
        if kept.iter().any(|&i| i >= shape[axis]) {
            return Err(ModelError::node(node_name(node), "the condition is longer than the axis"));
        }
        let skip = strides(&shape);
        shape[axis] = kept.len();
        let along = |(a, (&i, s)): (usize, (&usize, &usize))| (if a == axis { kept[i] } else { i }) * s;
        let index = indices(&shape, |at| Some(at.iter().zip(&skip).enumerate().map(along).sum()));
        Ok(self.select(&x, index, &shape))
    }

    fn reverse_sequence(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, lengths) = (self.operand(node, 0)?, self.constant(node, 1)?.integers());
        let shape = x.shape();
        let batch = self.axis(node, int(node, "batch_axis", 1), shape.len())?;
        let time = self.axis(node, int(node, "time_axis", 0), shape.len())?;
        if lengths.len() != shape[batch] || lengths.iter().any(|&l| l < 0 || l > shape[time] as i64) {
            return Err(ModelError::node(node_name(node), "lengths do not fit the axes"));
        }
        let skip = strides(&shape);
        let index = indices(&shape, |at| {
            let length = lengths[at[batch]] as usize;
            let turned = if at[time] < length { length - 1 - at[time] } else { at[time] };
            let along = |(a, (&i, s)): (usize, (&usize, &usize))| (if a == time { turned } else { i }) * s;
            Some(at.iter().zip(&skip).enumerate().map(along).sum())
        });
        Ok(self.select(&x, index, &shape))
    }

    fn center_crop_pad(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let (from, wanted) = (x.shape(), self.sizes(node, &self.constant(node, 1)?.integers())?);
        let axes = match ints(node, "axes") {
            Some(axes) => {
                axes.iter().map(|&a| self.axis(node, a, from.len())).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..from.len()).collect(),
        };
        let (mut shape, mut moved) = (from.clone(), vec![0i64; from.len()]);
        for (&axis, &size) in axes.iter().zip(&wanted) {
            let difference = size as i64 - from[axis] as i64;
            // Padding puts the smaller half before, cropping drops the smaller half before.
            moved[axis] = if difference >= 0 { -(difference / 2) } else { -difference / 2 };
            shape[axis] = size;
        }
        let skip = strides(&from);
        let index = indices(&shape, |at| {
            let mut place = 0;
            for axis in 0..from.len() {
                let i = at[axis] as i64 + moved[axis];
                if !(0..from[axis] as i64).contains(&i) {
                    return None;
                }
                place += i as usize * skip[axis];
            }
            Some(place)
        });
        Ok(self.select(&x, index, &shape))
    }
}
