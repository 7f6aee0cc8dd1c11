//! The greatest elements of an axis, in order.
//!
//! The rank of an element is the number of those before it in the order: `d_ij = 1` where the later `x_j` is greater than
//! the earlier `x_i`, and
//!
//! ```text
//! rank_e = sum over later j of d_ej + sum over earlier i of (1 - d_ie)
//! value_r = sum over e of [rank_e = r] x_e        index_r = sum over e of [rank_e = r] e
//! ```
//!
//! so of equal elements the earlier is first, and no two have one rank.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, int};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair, Scalar};
use crate::import::tensor::{Tensor, Type, indices};

use super::reduce::groups;

/// Comparisons of a node.
const COMPARISONS: usize = 1 << 18;

impl Lowering {
    /// `TopK`: values and indices.
    pub(super) fn top(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        if node.op_type != "TopK" {
            return Ok(None);
        }
        let x = self.operand(node, 0)?;
        let (shape, r#type) = (x.shape(), x.r#type());
        let axis = self.axis(node, int(node, "axis", -1), shape.len())?;
        let count = match self.optional_constant(node, 1)? {
            Some(k) => k.integers().first().copied().unwrap_or(0),
            None => int(node, "k", 0),
        };
        let size = shape[axis];
        let count = usize::try_from(count).ok().filter(|count| (1..=size).contains(count));
        let Some(count) = count else {
            return Err(self.unsupported(node, "as many elements as the axis has"));
        };
        if x.elements().saturating_mul(size.saturating_sub(1)) / 2 > COMPARISONS {
            return Err(self.unsupported(node, &format!("at most {COMPARISONS} comparisons of two elements")));
        }
        let sign = if int(node, "largest", 1) != 0 { 1.0 } else { -1.0 };
        let x = self.unary(node, &x, |x| x.affine(sign, 0.0))?;
        let ranks = self.ranks(node, &x, axis)?;
        let place = indices(&shape, |at| Some(at[axis]));
        let place = place.into_iter().map(f64::from).collect();
        let place = Value::Constant(Tensor { shape: shape.clone(), values: place, r#type: Type::Int });
        let (mut values, mut places) = (Vec::new(), Vec::new());
        for rank in 0..count {
            let hot = self.unary(node, &ranks, |x| is(x, rank as f64))?;
            for (of, list) in [(&x, &mut values), (&place, &mut places)] {
                let only = self.binary(node, Pair::Multiply, of, &hot)?;
                list.push(self.summed(node, &only, &[axis], true)?);
            }
        }
        let values = self.concatenated(node, &values, axis)?;
        let values = self.unary(node, &values, |x| x.affine(sign, 0.0))?;
        let places = self.concatenated(node, &places, axis)?;
        Ok(Some(vec![values.typed(r#type), places.typed(Type::Int)]))
    }

    fn ranks(&mut self, node: &NodeProto, x: &Value, axis: usize) -> Result<Value, ModelError> {
        let (shape, groups) = (x.shape(), groups(&x.shape(), &[axis]));
        let (mut earlier, mut later) = (Vec::new(), Vec::new());
        let mut taps: Vec<Vec<(u32, f32)>> = vec![Vec::new(); x.elements()];
        let mut bias = vec![0.0; x.elements()];
        for group in &groups {
            for (j, &b) in group.iter().enumerate() {
                for &a in &group[..j] {
                    let pair = earlier.len() as u32;
                    taps[a as usize].push((pair, 1.0));
                    taps[b as usize].push((pair, -1.0));
                    bias[b as usize] += 1.0;
                    earlier.push(a);
                    later.push(b);
                }
            }
        }
        let pairs = [earlier.len()];
        if earlier.is_empty() {
            return self.unary(node, x, |x| x.affine(0.0, 0.0));
        }
        let (earlier, later) = (self.select(x, earlier, &pairs), self.select(x, later, &pairs));
        let more = self.minus(node, &later, &earlier)?;
        let beats = self.unary(node, &more, |d| d.of(Function::IsPositive))?;
        self.sparse(node, &beats, taps, bias, &shape)
    }
}

/// 1 within a half of a whole number, 0 elsewhere.
fn is(x: Scalar, number: f64) -> Scalar {
    let above = |bound: f64| x.clone().affine(1.0, -bound).of(Function::IsPositive);
    above(number - 0.5).both(Pair::Add, above(number + 0.5).affine(-1.0, 0.0))
}
