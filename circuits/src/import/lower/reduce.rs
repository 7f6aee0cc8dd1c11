//! Operators that reduce axes, and those that find places.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, int, ints};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair};
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, indices, strides};
use crate::ir::limits;

/// Factors of a product, each of which is rounded.
const FACTORS: usize = 8;

impl Lowering {
    pub(super) fn reduce(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let result = match node.op_type.as_str() {
            "ArgMax" | "ArgMin" => self.place_of_greatest(node)?,
            "CumSum" => self.running_sum(node)?,
            "Hardmax" => self.hardmax(node)?,
            op if op.starts_with("Reduce") => {
                let x = self.operand(node, 0)?;
                let rank = x.shape().len();
                let axes = match self.integers(node, 1, "axes")?.filter(|axes| !axes.is_empty()) {
                    Some(axes) => self.axes(node, &axes, rank)?,
                    None if int(node, "noop_with_empty_axes", 0) != 0 => Vec::new(),
                    None => (0..rank).collect(),
                };
                let keep = int(node, "keepdims", 1) != 0;
                let positive = |lowering: &mut Self, x: &Value, f: Function| {
                    lowering.unary(node, x, |x| x.clamp(0.0, f64::INFINITY).of(f))
                };
                match op {
                    "ReduceSum" => self.summed(node, &x, &axes, keep)?,
                    "ReduceMean" => self.averaged(node, &x, &axes, keep)?,
                    "ReduceMax" => self.greatest(node, &x, &axes, keep)?,
                    "ReduceMin" => {
                        let negated = self.unary(node, &x, |x| x.affine(-1.0, 0.0))?;
                        let greatest = self.greatest(node, &negated, &axes, keep)?;
                        self.unary(node, &greatest, |x| x.affine(-1.0, 0.0))?
                    }
                    "ReduceL1" => self.norm(node, &x, &axes, 1.0, keep)?,
                    "ReduceL2" => self.norm(node, &x, &axes, 2.0, keep)?,
                    "ReduceSumSquare" => {
                        let squares = self.binary(node, Pair::Multiply, &x, &x)?;
                        self.summed(node, &squares, &axes, keep)?
                    }
                    "ReduceLogSum" => {
                        let sum = self.summed(node, &x, &axes, keep)?;
                        positive(self, &sum, Function::Log)?
                    }
                    "ReduceLogSumExp" => {
                        let greatest = self.greatest(node, &x, &axes, true)?;
                        let below = self.minus(node, &x, &greatest)?;
                        let powers = self.unary(node, &below, |x| x.of(Function::Exp))?;
                        let sum = self.summed(node, &powers, &axes, true)?;
                        let log = positive(self, &sum, Function::Log)?;
                        let result = self.binary(node, Pair::Add, &log, &greatest)?;
                        let shape = reduced(&x.shape(), &axes, keep);
                        self.reshape(node, &result, &shape)?
                    }
                    "ReduceProd" => self.multiplied(node, &x, &axes, keep)?,
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    /// Sums over axes.
    pub(super) fn summed(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value, ModelError> {
        self.weighed(node, x, axes, keep, 1.0)
    }

    /// Means over axes.
    pub(super) fn averaged(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value, ModelError> {
        let count: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
        self.weighed(node, x, axes, keep, 1.0 / count.max(1) as f64)
    }

    fn weighed(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        keep: bool,
        weight: f64,
    ) -> Result<Value, ModelError> {
        let shape = reduced(&x.shape(), axes, keep);
        if axes.iter().all(|&axis| x.shape()[axis] == 1) {
            return self.reshape(node, x, &shape);
        }
        let groups = groups(&x.shape(), axes);
        let taps = groups.into_iter().map(|group| group.into_iter().map(|i| (i, weight as f32)).collect());
        let taps: Vec<Vec<(u32, f32)>> = taps.collect();
        let bias = vec![0.0; taps.len()];
        self.sparse(node, x, taps, bias, &shape)
    }

    /// Maxima over axes.
    pub(super) fn greatest(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value, ModelError> {
        let shape = reduced(&x.shape(), axes, keep);
        if axes.iter().all(|&axis| x.shape()[axis] == 1) {
            return self.reshape(node, x, &shape);
        }
        let groups = groups(&x.shape(), axes);
        let size = groups.first().map_or(1, Vec::len);
        match x {
            Value::Constant(tensor) => {
                let greatest = |group: &Vec<u32>| {
                    group.iter().map(|&i| tensor.values[i as usize]).fold(f64::NEG_INFINITY, f64::max)
                };
                let values = groups.iter().map(greatest).collect();
                Ok(Value::Constant(Tensor { shape, values, r#type: tensor.r#type }))
            }
            Value::Wire(view, r#type) => {
                let dims = vec![groups.len() as u32, size as u32];
                let gathered = self.builder.select(view, groups.concat(), dims);
                let to = self.dims(node, &shape)?;
                let y = self.builder.max_group(node_name(node), &gathered, size as u32, to)?;
                Ok(Value::Wire(y, *r#type))
            }
        }
    }

    /// `(sum |x|^p)^(1/p)`.
    pub(super) fn norm(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        p: f64,
        keep: bool,
    ) -> Result<Value, ModelError> {
        let powers = self.unary(node, x, |x| match p {
            1.0 => x.of(Function::Abs),
            2.0 => x.clone().both(Pair::Multiply, x),
            p => x.of(Function::Abs).of(Function::Power(p)),
        })?;
        let sum = self.summed(node, &powers, axes, keep)?;
        if p == 1.0 {
            return Ok(sum);
        }
        self.unary(node, &sum, |x| x.clamp(0.0, f64::INFINITY).of(Function::Power(1.0 / p)))
    }

    fn multiplied(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value, ModelError> {
        let shape = reduced(&x.shape(), axes, keep);
        let groups = groups(&x.shape(), axes);
        let size = groups.first().map_or(1, Vec::len);
        if size > FACTORS && matches!(x, Value::Wire(..)) {
            return Err(self.unsupported(node, &format!("a product of at most {FACTORS} elements")));
        }
        let part = |lowering: &Self, k: usize| {
            lowering.select(x, groups.iter().map(|group| group[k]).collect(), &shape)
        };
        let first = part(self, 0);
        (1..size).try_fold(first, |product, k| {
            let next = part(self, k);
            self.binary(node, Pair::Multiply, &product, &next)
        })
    }

    /// 1 at the first of the greatest elements along an axis (or the last), times its rank from the other end.
    fn scores(&mut self, node: &NodeProto, x: &Value, axis: usize, last: bool) -> Result<Value, ModelError> {
        let greatest = self.greatest(node, x, &[axis], true)?;
        let below = self.minus(node, &greatest, x)?;
        let hot = self.unary(node, &below, |d| d.of(Function::IsPositive).affine(-1.0, 1.0))?;
        let (shape, size) = (x.shape(), x.shape()[axis]);
        let rank = indices(&shape, |at| Some(if last { at[axis] + 1 } else { size - at[axis] }));
        let rank = Tensor { shape, values: rank.into_iter().map(f64::from).collect(), r#type: Type::Int };
        self.binary(node, Pair::Multiply, &hot, &Value::Constant(rank))
    }

    fn place_of_greatest(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let mut x = self.operand(node, 0)?;
        let shape = x.shape();
        let axis = self.axis(node, int(node, "axis", 0), shape.len())?;
        if node.op_type == "ArgMin" {
            x = self.unary(node, &x, |x| x.affine(-1.0, 0.0))?;
        }
        let last = int(node, "select_last_index", 0) != 0;
        let scores = self.scores(node, &x, axis, last)?;
        let best = self.greatest(node, &scores, &[axis], int(node, "keepdims", 1) != 0)?;
        let size = shape.get(axis).copied().unwrap_or(1) as f64;
        let place =
            self.unary(node, &best, |b| if last { b.affine(1.0, -1.0) } else { b.affine(-1.0, size) })?;
        Ok(place.typed(Type::Int))
    }

    /// 1 at the first of the greatest elements, 0 elsewhere.
    fn hardmax(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let (x, axis, shape) = self.normalised_axis(node, &x)?;
        let scores = self.scores(node, &x, axis, false)?;
        let best = self.greatest(node, &scores, &[axis], true)?;
        let below = self.minus(node, &best, &scores)?;
        let hot = self.unary(node, &below, |d| d.of(Function::IsPositive).affine(-1.0, 1.0))?;
        self.reshape(node, &hot, &shape)
    }

    fn running_sum(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let shape = x.shape();
        let axis = self.constant(node, 1)?.integers().first().copied().unwrap_or(0);
        let axis = self.axis(node, axis, shape.len())?;
        let (exclusive, reverse) = (int(node, "exclusive", 0) != 0, int(node, "reverse", 0) != 0);
        let (skip, size) = (strides(&shape), shape[axis]);
        if x.elements().saturating_mul(size) > limits::WEIGHTS / 8 {
            return Err(self.unsupported(node, "a shorter axis"));
        }
        let row = |place: u32| {
            let place = place as usize;
            let at = place / skip[axis] % size;
            let base = place - at * skip[axis];
            let end = usize::from(!exclusive);
            let range = if reverse { at + 1 - end..size } else { 0..at + end };
            range.map(|i| ((base + i * skip[axis]) as u32, 1.0)).collect()
        };
        let taps: Vec<Vec<(u32, f32)>> = (0..x.elements() as u32).map(row).collect();
        let bias = vec![0.0; taps.len()];
        let sum = self.sparse(node, &x, taps, bias, &shape)?;
        Ok(sum.typed(x.r#type()))
    }

    /// Softmax and its relatives work on one axis; before operator set 13, on all axes from one on together.
    pub(super) fn normalised_axis(
        &self,
        node: &NodeProto,
        x: &Value,
    ) -> Result<(Value, usize, Vec<usize>), ModelError> {
        let shape = x.shape();
        let default = if self.opset < 13 { 1 } else { -1 };
        let axis = int(node, "axis", default);
        // A number has no axis.
        if self.opset >= 13 || shape.is_empty() {
            return Ok((x.clone(), self.axis(node, axis, shape.len())?, shape));
        }
        let axis = if axis == shape.len() as i64 { shape.len() } else { self.axis(node, axis, shape.len())? };
        let flat = [shape[..axis].iter().product(), shape[axis..].iter().product()];
        Ok((self.reshape(node, x, &flat)?, 1, shape))
    }
}

fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let axis = |(axis, &size): (usize, &usize)| match (axes.contains(&axis), keep) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    shape.iter().enumerate().filter_map(axis).collect()
}

/// The elements that each result is made of.
pub(super) fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<u32>> {
    let to = reduced(shape, axes, true);
    let skip = strides(&to);
    let mut groups = vec![Vec::new(); to.iter().product()];
    let mut element = 0;
    indices(shape, |at| {
        let group: usize =
            at.iter().zip(&to).zip(&skip).map(|((&i, &size), s)| if size == 1 { 0 } else { i * s }).sum();
        groups[group].push(element);
        element += 1;
        None
    });
    groups
}

/// Whether an attribute lists every axis.
pub(super) fn listed(node: &NodeProto, name: &str) -> Option<Vec<i64>> {
    ints(node, name).map(<[i64]>::to_vec)
}
