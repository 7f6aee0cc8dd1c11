//! Operators that read or write elements at places that a tensor names. Places are constants, but for an embedding's.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, int, text};
use crate::error::ModelError;
use crate::import::scalar::{Pair, Scalar};
use crate::import::source::node_name;
use crate::import::tensor::{indices, strides};
use crate::ir::ZERO;

impl Lowering {
    pub(super) fn gather(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, places) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let from = x.shape();
        let axis = self.axis(node, int(node, "axis", 0), from.len())?;
        let Value::Constant(places) = places else { return self.embedding(node, &x, &places, axis) };
        let at: Vec<usize> =
            places.integers().iter().map(|&i| self.within(node, i, from[axis])).collect::<Result<_, _>>()?;
        let shape: Vec<usize> = [&from[..axis], &places.shape, &from[axis + 1..]].concat();
        self.check_elements(node, &shape)?;
        let (skip, inner) = (strides(&from), strides(&places.shape));
        let rank = places.shape.len();
        let index = indices(&shape, |to| {
            let place: usize = to[axis..axis + rank].iter().zip(&inner).map(|(i, stride)| i * stride).sum();
            let before: usize = to[..axis].iter().zip(&skip).map(|(i, stride)| i * stride).sum();
            let after: usize =
                to[axis + rank..].iter().zip(&skip[axis + 1..]).map(|(i, stride)| i * stride).sum();
            Some(before + at[place] * skip[axis] + after)
        });
        Ok(self.select(&x, index, &shape))
    }

    /// Rows of a constant table by an index that is computed: one function of the index for every column.
    fn embedding(
        &mut self,
        node: &NodeProto,
        table: &Value,
        places: &Value,
        axis: usize,
    ) -> Result<Value, ModelError> {
        let (Value::Constant(table), Value::Wire(view, _)) = (table, places) else {
            return Err(self.unsupported(node, "a constant table or constant indices"));
        };
        if axis != 0 {
            return Err(self.unsupported(node, "an index along the first axis"));
        }
        let (rows, columns) = (table.shape[0], table.shape[1..].iter().product::<usize>());
        let from = places.shape();
        let shape: Vec<usize> = [from.as_slice(), &table.shape[1..]].concat();
        let dims = self.dims(node, &shape)?;
        let count: usize = from.iter().product();
        let column = |c: usize| {
            let values = (0..rows).map(|row| table.values[row * columns + c]).collect();
            Scalar::X.looked_up(values)
        };
        let functions: Vec<Scalar> = (0..columns).map(column).collect();
        let which = (0..count * columns).map(|i| (i % columns) as u32).collect();
        let index = (0..count * columns).map(|i| (i / columns) as u32).collect();
        let repeated = self.builder.select(view, index, dims);
        Ok(Value::Wire(self.builder.functions(node_name(node), &repeated, functions, which)?, table.r#type))
    }

    pub(super) fn gather_elements(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, places) = (self.operand(node, 0)?, self.constant(node, 1)?);
        let from = x.shape();
        let axis = self.axis(node, int(node, "axis", 0), from.len())?;
        let at: Vec<usize> =
            places.integers().iter().map(|&i| self.within(node, i, from[axis])).collect::<Result<_, _>>()?;
        let (skip, inner) = (strides(&from), strides(&places.shape));
        let index = indices(&places.shape, |to| {
            let place: usize = to.iter().zip(&inner).map(|(i, stride)| i * stride).sum();
            let along = |(a, (&i, stride)): (usize, (&usize, &usize))| {
                (if a == axis { at[place] } else { i }) * stride
            };
            Some(to.iter().zip(&skip).enumerate().map(along).sum())
        });
        Ok(self.select(&x, index, &places.shape))
    }

    pub(super) fn gather_nd(&self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, places) = (self.operand(node, 0)?, self.constant(node, 1)?);
        let (from, batch) = (x.shape(), usize::try_from(int(node, "batch_dims", 0)).unwrap_or(0));
        let Some((&depth, outer)) =
            places.shape.split_last().filter(|(d, outer)| batch + **d <= from.len() && batch <= outer.len())
        else {
            return Err(ModelError::node(node_name(node), "indices do not fit the tensor"));
        };
        let shape: Vec<usize> = [outer, &from[batch + depth..]].concat();
        self.check_elements(node, &shape)?;
        let (skip, inner, values) = (strides(&from), strides(&places.shape), places.integers());
        let mut error = None;
        let index = indices(&shape, |to| {
            let row: usize = to[..outer.len()].iter().zip(&inner).map(|(i, stride)| i * stride).sum();
            let mut place: usize = to[..batch].iter().zip(&skip).map(|(i, stride)| i * stride).sum();
            for d in 0..depth {
                match self.within(node, values[row + d], from[batch + d]) {
                    Ok(i) => place += i * skip[batch + d],
                    Err(e) => error = Some(e),
                }
            }
            let rest = to[outer.len()..].iter().zip(&skip[batch + depth..]).map(|(i, stride)| i * stride);
            Some(place + rest.sum::<usize>())
        });
        error.map_or_else(|| Ok(self.select(&x, index, &shape)), Err)
    }

    /// Elements of `x`, with those of `updates` in the places named; of several for one place the last.
    fn scattered(&mut self, node: &NodeProto, places: &[usize]) -> Result<Value, ModelError> {
        let (x, updates) = (self.operand(node, 0)?, self.operand(node, 2)?);
        let (shape, n) = (x.shape(), x.elements());
        let reduction = text(node, "reduction", "none");
        let mut index: Vec<u32> = (0..n as u32).collect();
        match reduction {
            "none" => {
                places.iter().enumerate().for_each(|(update, &place)| index[place] = (n + update) as u32);
                self.join(node, &[x, updates], index, &shape)
            }
            _ => {
                // Updates of one place are combined one after another.
                let pair = match reduction {
                    "add" => Pair::Add,
                    "mul" => Pair::Multiply,
                    "max" => Pair::Maximum,
                    _ => Pair::Minimum,
                };
                let mut sum = x;
                let mut left: Vec<(usize, usize)> = places.iter().copied().enumerate().collect();
                while !left.is_empty() {
                    let mut layer = vec![ZERO; n];
                    left.retain(|&(update, place)| {
                        let free = layer[place] == ZERO;
                        if free {
                            layer[place] = update as u32;
                        }
                        !free
                    });
                    let touched: Vec<bool> = layer.iter().map(|&i| i != ZERO).collect();
                    let moved = self.select(&updates, layer, &shape);
                    let combined = self.binary(node, pair, &sum, &moved)?;
                    let index =
                        touched.iter().enumerate().map(|(i, &t)| if t { n + i } else { i } as u32).collect();
                    sum = match pair {
                        Pair::Add => combined,
                        _ => self.join(node, &[sum, combined], index, &shape)?,
                    };
                }
                Ok(sum)
            }
        }
    }

    pub(super) fn scatter_elements(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (from, places) = (self.operand(node, 0)?.shape(), self.constant(node, 1)?);
        let axis = self.axis(node, int(node, "axis", 0), from.len())?;
        if places.shape.len() != from.len() {
            return Err(ModelError::node(node_name(node), "indices do not fit the tensor"));
        }
        let (skip, values) = (strides(&from), places.integers());
        let mut at = Vec::with_capacity(values.len());
        for (i, &value) in values.iter().enumerate() {
            let value = self.within(node, value, from[axis])?;
            let (mut rest, mut place) = (i, 0);
            for a in (0..from.len()).rev() {
                place += if a == axis { value } else { rest % places.shape[a] } * skip[a];
                rest /= places.shape[a];
            }
            at.push(place);
        }
        self.scattered(node, &at)
    }

    pub(super) fn scatter_nd(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (from, places) = (self.operand(node, 0)?.shape(), self.constant(node, 1)?);
        let Some((&depth, _)) = places.shape.split_last().filter(|(d, _)| **d <= from.len() && **d > 0)
        else {
            return Err(ModelError::node(node_name(node), "indices do not fit the tensor"));
        };
        let (skip, inner) = (strides(&from), from[depth..].iter().product::<usize>());
        let mut at = Vec::new();
        for row in places.integers().chunks(depth) {
            let mut place = 0;
            for (axis, &i) in row.iter().enumerate() {
                place += self.within(node, i, from[axis])? * skip[axis];
            }
            at.extend(place..place + inner);
        }
        self.scattered(node, &at)
    }
}
