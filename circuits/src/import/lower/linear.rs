//! Products of matrices, and quantised operators that are linear ones between roundings.
//!
//! A quantised operator of the source model rounds and saturates in steps of its own. Here only its saturation is kept:
//! the model is quantised once, by our rule, and the difference is at most half a step of the source model's.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, float, int, range_of, text};
use crate::error::ModelError;
use crate::import::scalar::Pair;
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, broadcast, indices, strides};
use crate::ir::MatMul;

impl Lowering {
    pub(super) fn linear(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let result = match node.op_type.as_str() {
            "MatMul" => {
                let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
                self.matmul(node, &a, &b)?
            }
            "Gemm" => self.gemm(node)?,
            "Einsum" => self.einsum(node)?,
            "MatMulInteger" => {
                let a = self.dequantized(node, 0, None, Some(2), -2)?;
                let b = self.dequantized(node, 1, None, Some(3), -1)?;
                self.matmul(node, &a, &b)?.typed(Type::Int)
            }
            "QLinearMatMul" => {
                let a = self.dequantized(node, 0, Some(1), Some(2), -2)?;
                let b = self.dequantized(node, 3, Some(4), Some(5), -1)?;
                let y = self.matmul(node, &a, &b)?;
                self.quantized(node, &y, 6, Some(7), -1)?
            }
            "QuantizeLinear" => {
                let x = self.operand(node, 0)?;
                self.quantized(node, &x, 1, Some(2), int(node, "axis", 1))?
            }
            "DequantizeLinear" => {
                self.dequantized(node, 0, Some(1), Some(2), int(node, "axis", 1))?.typed(Type::Float)
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    /// `(x - zero) scale`, with numbers for the whole tensor or along an axis.
    pub(super) fn dequantized(
        &mut self,
        node: &NodeProto,
        x: usize,
        scale: Option<usize>,
        zero: Option<usize>,
        axis: i64,
    ) -> Result<Value, ModelError> {
        let mut x = self.operand(node, x)?.typed(Type::Float);
        if let Some(index) = zero
            && let Some(zero) = self.optional_constant(node, index)?
        {
            let zero = self.along(node, zero, &x, axis)?;
            x = self.minus(node, &x, &zero)?;
        }
        if let Some(index) = scale {
            let scale = self.constant(node, index)?;
            let scale = self.along(node, scale, &x, axis)?;
            x = self.binary(node, Pair::Multiply, &x, &scale)?;
        }
        Ok(x)
    }

    /// `clamp(x / scale + zero)` in the range of the zero point's type.
    pub(super) fn quantized(
        &mut self,
        node: &NodeProto,
        x: &Value,
        scale: usize,
        zero: Option<usize>,
        axis: i64,
    ) -> Result<Value, ModelError> {
        let scale = self.constant(node, scale)?;
        let inverse = Tensor { values: scale.values.iter().map(|s| 1.0 / s).collect(), ..scale };
        let inverse = self.along(node, inverse, x, axis)?;
        let mut y = self.binary(node, Pair::Multiply, x, &inverse)?;
        let index = zero.unwrap_or(usize::MAX);
        if let Some(zero) = self.optional_constant(node, index)? {
            let zero = self.along(node, zero, &y, axis)?;
            y = self.binary(node, Pair::Add, &y, &zero)?;
        }
        // Without a zero point the type is that of the attribute, else of unsigned bytes.
        let known = node.input.get(index).and_then(|name| self.ranges.get(name)).copied();
        let named = i32::try_from(int(node, "output_dtype", 0)).ok().filter(|&r#type| r#type != 0);
        let (lo, hi) = known.or(named.map(range_of)).unwrap_or((0.0, 255.0));
        Ok(self.unary(node, &y, |y| y.clamp(lo, hi))?.typed(Type::Int))
    }

    /// A list along an axis of another tensor, shaped to broadcast with it; with a `block_size`, a tensor with one element
    /// for so many along the axis.
    fn along(&self, node: &NodeProto, list: Tensor, x: &Value, axis: i64) -> Result<Value, ModelError> {
        let rank = x.shape().len();
        if list.values.len() == 1 || rank == 0 {
            return Ok(Value::Constant(list));
        }
        let axis = self.axis(node, axis, rank)?;
        let block = int(node, "block_size", 0);
        if block > 0 {
            return self.blocks(node, &list, &x.shape(), axis, block).map(Value::Constant);
        }
        if list.shape.len() != 1 {
            return Ok(Value::Constant(list));
        }
        let mut shape = vec![1; rank];
        shape[axis] = list.values.len();
        Ok(Value::Constant(Tensor { shape, ..list }))
    }

    /// Every element of a tensor as often as a block along an axis is long.
    fn blocks(
        &self,
        node: &NodeProto,
        list: &Tensor,
        shape: &[usize],
        axis: usize,
        block: i64,
    ) -> Result<Tensor, ModelError> {
        let block = usize::try_from(block).unwrap_or(usize::MAX);
        let fits = |(dim, (&size, &blocks)): (usize, (&usize, &usize))| match dim == axis {
            true => size.div_ceil(block) == blocks,
            false => size == blocks,
        };
        if list.shape.len() != shape.len() || !shape.iter().zip(&list.shape).enumerate().all(fits) {
            return Err(ModelError::node(node_name(node), "blocks and shape do not agree"));
        }
        let steps = strides(&list.shape);
        let index = indices(shape, |at| {
            let place = |(dim, &i): (usize, &usize)| if dim == axis { i / block } else { i };
            Some(at.iter().enumerate().map(place).zip(&steps).map(|(i, step)| i * step).sum())
        });
        let values = index.into_iter().map(|i| list.values[i as usize]).collect();
        Ok(Tensor { shape: shape.to_vec(), values, r#type: list.r#type })
    }

    fn gemm(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (mut a, mut b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        for (x, flag) in [(&mut a, "transA"), (&mut b, "transB")] {
            if int(node, flag, 0) != 0 {
                if x.shape().len() != 2 {
                    return Err(ModelError::node(node_name(node), "expected a matrix"));
                }
                *x = self.permuted(x, &[1, 0]);
            }
        }
        let (alpha, beta) = (float(node, "alpha", 1.0), float(node, "beta", 1.0));
        let product = self.matmul(node, &a, &b)?;
        let product = self.unary(node, &product, |x| x.affine(alpha, 0.0))?;
        match self.optional(node, 2)? {
            None => Ok(product),
            Some(c) => {
                let c = self.unary(node, &c, |c| c.affine(beta, 0.0))?;
                self.binary(node, Pair::Add, &product, &c)
            }
        }
    }

    /// The product of two tensors as NumPy's `matmul` defines it.
    pub(super) fn matmul(&mut self, node: &NodeProto, a: &Value, b: &Value) -> Result<Value, ModelError> {
        let (mut left, mut right) = (a.shape(), b.shape());
        let (vector_left, vector_right) = (left.len() == 1, right.len() == 1);
        if left.is_empty() || right.is_empty() {
            return Err(ModelError::node(node_name(node), "a number is no matrix"));
        }
        if vector_left {
            left.insert(0, 1);
        }
        if vector_right {
            right.push(1);
        }
        let (a, b) = (self.reshape(node, a, &left)?, self.reshape(node, b, &right)?);
        let (rows, inner) = (left[left.len() - 2], left[left.len() - 1]);
        let columns = right[right.len() - 1];
        if right[right.len() - 2] != inner {
            return Err(ModelError::node(node_name(node), format!("{left:?} by {right:?} is no product")));
        }
        let batch = broadcast(&left[..left.len() - 2], &right[..right.len() - 2])
            .ok_or_else(|| ModelError::node(node_name(node), "batches do not broadcast"))?;
        let shape: Vec<usize> = [batch.as_slice(), &[rows, columns]].concat();
        self.check_elements(node, &shape)?;
        let count: usize = batch.iter().product();
        let product = match (&a, &b) {
            (Value::Constant(a), Value::Constant(b)) => {
                let a = a.clone();
                let (a, b) = (self.expanded_to(&a, &batch), self.expanded_to(b, &batch));
                Value::Constant(multiplied(&a, &b, [count, rows, inner, columns], shape.clone()))
            }
            (Value::Wire(..), Value::Constant(w)) if right.len() == 2 => {
                let weights = transposed(w, inner, columns);
                self.dense(node, &a, &weights, &shape)?
            }
            // Rows of the constant become columns: y' = x' a'.
            (Value::Constant(w), Value::Wire(..)) if left.len() == 2 => {
                let rank = right.len();
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(rank - 2, rank - 1);
                let x = self.permuted(&b, &order);
                let turned: Vec<usize> = [&right[..rank - 2], &[columns, rows]].concat();
                let y = self.dense(node, &x, &w.values.clone(), &turned)?;
                self.permuted(&y, &order)
            }
            (Value::Wire(..), Value::Constant(_)) | (Value::Constant(_), Value::Wire(..)) => {
                self.batched(node, &a, &b, &batch, [rows, inner, columns])?
            }
            (Value::Wire(..), Value::Wire(..)) => {
                let (a, b) = (
                    self.expand(&a, &[batch.as_slice(), &[rows, inner]].concat()),
                    self.expand(&b, &[batch.as_slice(), &[inner, columns]].concat()),
                );
                let ((a, r#type), (b, _)) = (self.wire(node, &a)?, self.wire(node, &b)?);
                let sizes = MatMul {
                    batch: count as u32,
                    rows: rows as u32,
                    inner: inner as u32,
                    columns: columns as u32,
                };
                let dims = self.dims(node, &shape)?;
                Value::Wire(self.builder.matmul(node_name(node), &a, &b, sizes, dims)?, r#type)
            }
        };
        let mut squeezed = shape;
        if vector_right {
            squeezed.pop();
        }
        if vector_left {
            squeezed.remove(batch.len());
        }
        self.reshape(node, &product, &squeezed)
    }

    fn expanded_to(&self, tensor: &Tensor, batch: &[usize]) -> Vec<f64> {
        let inner = &tensor.shape[tensor.shape.len() - 2..];
        match self.expand(&Value::Constant(tensor.clone()), &[batch, inner].concat()) {
            Value::Constant(tensor) => tensor.values,
            Value::Wire(..) => Vec::new(),
        }
    }

    /// A fully connected layer over the rows of a wire; `weights` are `[outputs, width]`.
    fn dense(
        &mut self,
        node: &NodeProto,
        x: &Value,
        weights: &[f64],
        shape: &[usize],
    ) -> Result<Value, ModelError> {
        let (view, r#type) = self.wire(node, x)?;
        let outputs = shape.last().copied().unwrap_or(1);
        let tensor = Tensor { shape: vec![weights.len()], values: weights.to_vec(), r#type: Type::Float };
        let weights = self.floats(node, &tensor)?;
        let dims = self.dims(node, shape)?;
        let y = self.builder.dense(node_name(node), &view, weights, vec![0.0; outputs], dims)?;
        Ok(Value::Wire(y, r#type))
    }

    /// One product a batch, each with weights of its own.
    fn batched(
        &mut self,
        node: &NodeProto,
        a: &Value,
        b: &Value,
        batch: &[usize],
        [rows, inner, columns]: [usize; 3],
    ) -> Result<Value, ModelError> {
        let count: usize = batch.iter().product();
        let a = self.expand(a, &[batch, &[rows, inner]].concat());
        let b = self.expand(b, &[batch, &[inner, columns]].concat());
        let a = self.reshape(node, &a, &[count, rows, inner])?;
        let b = self.reshape(node, &b, &[count, inner, columns])?;
        let mut parts = Vec::new();
        for i in 0..count {
            let (left, right) = (self.sliced(&a, 0, i, 1), self.sliced(&b, 0, i, 1));
            let left = self.reshape(node, &left, &[rows, inner])?;
            let right = self.reshape(node, &right, &[inner, columns])?;
            let product = self.matmul(node, &left, &right)?;
            parts.push(self.reshape(node, &product, &[1, rows, columns])?);
        }
        let joined = self.concatenated(node, &parts, 0)?;
        self.reshape(node, &joined, &[batch, &[rows, columns]].concat())
    }

    /// Operands are summed, brought into the order `[batch, own, shared]` and multiplied.
    fn einsum(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let equation: String = text(node, "equation", "").chars().filter(|c| !c.is_whitespace()).collect();
        let wrong = || ModelError::node(node_name(node), format!("equation {equation:?}"));
        let operands = self.operands(node)?;
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
            None => (equation.clone(), None),
        };
        let ranks: Vec<usize> = operands.iter().map(|x| x.shape().len()).collect();
        let mut terms: Vec<Vec<char>> = Vec::new();
        for (term, &rank) in left.split(',').zip(&ranks) {
            terms.push(labels(term, rank).ok_or_else(wrong)?);
        }
        if terms.len() != operands.len() || terms.iter().zip(&ranks).any(|(t, &r)| t.len() != r) {
            return Err(wrong());
        }
        let dots = terms.iter().flatten().filter(|c| c.is_ascii_digit()).max().copied();
        let output: Vec<char> = match right {
            Some(right) => {
                let free = dots.map_or(0, |d| d as usize - '0' as usize + 1);
                labels(
                    &right,
                    right.chars().filter(|c| *c != '.').count()
                        + if right.contains("...") { free } else { 0 },
                )
                .ok_or_else(wrong)?
            }
            None => {
                let mut once: Vec<char> = terms.iter().flatten().copied().collect();
                once.sort_unstable();
                let count = |c: &char| terms.iter().flatten().filter(|other| *other == c).count();
                let kept: Vec<char> =
                    once.iter().filter(|c| c.is_ascii_digit() || count(c) == 1).copied().collect();
                let mut kept = kept;
                kept.dedup();
                kept
            }
        };
        let mut rest = operands.into_iter().zip(terms);
        let Some((mut x, mut x_labels)) = rest.next() else { return Err(wrong()) };
        self.diagonal(&mut x, &mut x_labels);
        let rest: Vec<_> = rest.collect();
        for (i, (y, labels)) in rest.iter().enumerate() {
            let (mut y, mut y_labels) = (y.clone(), labels.clone());
            self.diagonal(&mut y, &mut y_labels);
            let later =
                |c: &char| output.contains(c) || rest[i + 1..].iter().any(|(_, labels)| labels.contains(c));
            let batch: Vec<char> =
                x_labels.iter().filter(|c| y_labels.contains(c) && later(c)).copied().collect();
            let shared: Vec<char> =
                x_labels.iter().filter(|c| y_labels.contains(c) && !later(c)).copied().collect();
            let own = |labels: &[char], other: &[char]| -> Vec<char> {
                labels.iter().filter(|c| !other.contains(c)).copied().collect()
            };
            let (left, right) = (own(&x_labels, &y_labels), own(&y_labels, &x_labels));
            let size = |c: &char, value: &Value, labels: &[char]| {
                labels.iter().position(|other| other == c).map_or(1, |axis| value.shape()[axis])
            };
            let sizes = |group: &[char]| -> Vec<usize> {
                group.iter().map(|c| size(c, &x, &x_labels).max(size(c, &y, &y_labels))).collect()
            };
            let (b, m, k, n) = (sizes(&batch), sizes(&left), sizes(&shared), sizes(&right));
            let flat = |sizes: &[usize]| sizes.iter().product::<usize>();
            let a = self.ordered(node, &x, &x_labels, &[&batch[..], &left, &shared].concat())?;
            let a = self.reshape(node, &a, &[flat(&b), flat(&m), flat(&k)])?;
            let c = self.ordered(node, &y, &y_labels, &[&batch[..], &shared, &right].concat())?;
            let c = self.reshape(node, &c, &[flat(&b), flat(&k), flat(&n)])?;
            let (a, c) = match flat(&b) {
                1 => (
                    self.reshape(node, &a, &[flat(&m), flat(&k)])?,
                    self.reshape(node, &c, &[flat(&k), flat(&n)])?,
                ),
                _ => (a, c),
            };
            let product = self.matmul(node, &a, &c)?;
            x = self.reshape(node, &product, &[b, m, n].concat())?;
            x_labels = [batch, left, right].concat();
        }
        let dropped: Vec<usize> =
            (0..x_labels.len()).filter(|&axis| !output.contains(&x_labels[axis])).collect();
        if !dropped.is_empty() {
            x = self.summed(node, &x, &dropped, false)?;
            x_labels.retain(|c| output.contains(c));
        }
        self.ordered(node, &x, &x_labels, &output)
    }

    fn ordered(
        &self,
        node: &NodeProto,
        x: &Value,
        labels: &[char],
        to: &[char],
    ) -> Result<Value, ModelError> {
        let order: Option<Vec<usize>> =
            to.iter().map(|c| labels.iter().position(|other| other == c)).collect();
        let order = order.filter(|order| order.len() == labels.len());
        let order =
            order.ok_or_else(|| ModelError::node(node_name(node), "an axis of the equation is unknown"))?;
        Ok(self.permuted(x, &order))
    }

    /// Axes that share a label become one.
    fn diagonal(&self, x: &mut Value, labels: &mut Vec<char>) {
        let mut unique = labels.clone();
        unique.sort_unstable();
        unique.dedup();
        if unique.len() == labels.len() {
            return;
        }
        let mut kept: Vec<char> = Vec::new();
        labels.iter().for_each(|c| {
            if !kept.contains(c) {
                kept.push(*c)
            }
        });
        let (from, skip) = (x.shape(), strides(&x.shape()));
        let size = |c: &char| labels.iter().position(|other| other == c).map_or(1, |axis| from[axis]);
        let shape: Vec<usize> = kept.iter().map(size).collect();
        let index = indices(&shape, |at| {
            let along = |(c, s): (&char, &usize)| Some(at[kept.iter().position(|other| other == c)?] * s);
            labels.iter().zip(&skip).map(along).sum()
        });
        *x = self.select(x, index, &shape);
        *labels = kept;
    }
}

/// Labels of a term; the axes of an ellipsis are digits.
fn labels(term: &str, rank: usize) -> Option<Vec<char>> {
    let Some((before, after)) = term.split_once("...") else { return Some(term.chars().collect()) };
    let free = rank.checked_sub(before.chars().count() + after.chars().count())?;
    let digits = (0..free).map(|i| char::from_digit(i as u32, 10)).collect::<Option<Vec<char>>>()?;
    Some(before.chars().chain(digits).chain(after.chars()).collect())
}

fn transposed(tensor: &Tensor, rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|i| tensor.values[i % rows * columns + i / rows]).collect()
}

fn multiplied(a: &[f64], b: &[f64], [count, rows, inner, columns]: [usize; 4], shape: Vec<usize>) -> Tensor {
    let mut values = Vec::with_capacity(count * rows * columns);
    for batch in 0..count {
        for row in 0..rows {
            for column in 0..columns {
                let term = |l: usize| {
                    a[(batch * rows + row) * inner + l] * b[(batch * inner + l) * columns + column]
                };
                values.push((0..inner).map(term).sum());
            }
        }
    }
    Tensor { shape, values, r#type: Type::Float }
}
