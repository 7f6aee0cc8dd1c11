//! Constants while a file is lowered: every number is an `f64`, which holds all float32 and all integers in use.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

use crate::error::ModelError;
use crate::ir::ZERO;

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Real numbers.
    Float,
    /// Whole numbers.
    Int,
    /// 0 and 1.
    Bool,
}

impl Type {
    /// The type of an ONNX element type; `None` for text, complex numbers and the like.
    pub fn of(data_type: i32) -> Option<Self> {
        match DataType::try_from(data_type).ok()? {
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => Some(Self::Float),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Uint8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64 => Some(Self::Int),
            DataType::Bool => Some(Self::Bool),
            _ => None,
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f64>,
    /// What they are.
    pub r#type: Type,
}

impl Tensor {
    /// Whole numbers along one axis.
    pub fn list(values: impl IntoIterator<Item = i64>) -> Self {
        let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
        Self { shape: vec![values.len()], values, r#type: Type::Int }
    }

    /// One number.
    pub fn number(value: f64, r#type: Type) -> Self {
        Self { shape: Vec::new(), values: vec![value], r#type }
    }

    /// The values as whole numbers.
    pub fn integers(&self) -> Vec<i64> {
        // Saturates; what is out of range is refused where it is used.
        self.values.iter().map(|&v| v as i64).collect()
    }

    /// The only value; `None` if there are others.
    pub fn uniform(&self) -> Option<f64> {
        let first = *self.values.first()?;
        self.values.iter().all(|v| *v == first).then_some(first)
    }

    /// `y[i] = x[index[i]]`, and 0 where the index is [`ZERO`].
    pub fn select(&self, index: &[u32], shape: Vec<usize>) -> Self {
        let value = |&i: &u32| if i == ZERO { 0.0 } else { self.values[i as usize] };
        Self { shape, values: index.iter().map(value).collect(), r#type: self.r#type }
    }

    /// The tensor in ONNX's form.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        let mut proto = TensorProto {
            name: name.into(),
            dims: self.shape.iter().map(|&d| d as i64).collect(),
            ..TensorProto::default()
        };
        match self.r#type {
            Type::Float => {
                proto.data_type = DataType::Float as i32;
                proto.float_data = self.values.iter().map(|&v| v as f32).collect();
            }
            Type::Int => {
                proto.data_type = DataType::Int64 as i32;
                proto.int64_data = self.integers();
            }
            Type::Bool => {
                proto.data_type = DataType::Bool as i32;
                proto.int32_data = self.values.iter().map(|&v| i32::from(v != 0.0)).collect();
            }
        }
        proto
    }

    /// The content of an ONNX tensor, whose size was checked against its shape.
    pub fn read(name: &str, proto: &TensorProto) -> Result<Self, ModelError> {
        let fail = |reason: &str| ModelError::node(name, reason);
        let shape: Option<Vec<usize>> = proto.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| fail("a dimension is no size"))?;
        let r#type = Type::of(proto.data_type).ok_or_else(|| fail("its data type is not supported"))?;
        let raw = &proto.raw_data;
        let values: Vec<f64> = match DataType::try_from(proto.data_type) {
            Ok(DataType::Float) if raw.is_empty() => proto.float_data.iter().map(|&v| v.into()).collect(),
            Ok(DataType::Float) => words(raw, |b: [u8; 4]| f32::from_le_bytes(b).into()),
            Ok(DataType::Double) if raw.is_empty() => proto.double_data.clone(),
            Ok(DataType::Double) => words(raw, f64::from_le_bytes),
            Ok(DataType::Int64) if raw.is_empty() => proto.int64_data.iter().map(|&v| v as f64).collect(),
            Ok(DataType::Int64) => words(raw, |b: [u8; 8]| i64::from_le_bytes(b) as f64),
            Ok(DataType::Int32) if !raw.is_empty() => words(raw, |b: [u8; 4]| i32::from_le_bytes(b).into()),
            Ok(DataType::Int8) if !raw.is_empty() => words(raw, |b: [u8; 1]| i8::from_le_bytes(b).into()),
            Ok(DataType::Uint8 | DataType::Bool) if !raw.is_empty() => words(raw, |b: [u8; 1]| b[0].into()),
            Ok(DataType::Int16) if !raw.is_empty() => words(raw, |b: [u8; 2]| i16::from_le_bytes(b).into()),
            Ok(DataType::Uint16) if !raw.is_empty() => words(raw, |b: [u8; 2]| u16::from_le_bytes(b).into()),
            Ok(DataType::Uint32) if !raw.is_empty() => words(raw, |b: [u8; 4]| u32::from_le_bytes(b).into()),
            Ok(DataType::Uint64) if !raw.is_empty() => words(raw, |b: [u8; 8]| u64::from_le_bytes(b) as f64),
            Ok(DataType::Uint32 | DataType::Uint64) => proto.uint64_data.iter().map(|&v| v as f64).collect(),
            // In int32_data, 16-bit floats are their bits.
            Ok(DataType::Float16) if raw.is_empty() => {
                proto.int32_data.iter().map(|&b| half(b as u16)).collect()
            }
            Ok(DataType::Float16) => words(raw, |b: [u8; 2]| half(u16::from_le_bytes(b))),
            Ok(DataType::Bfloat16) if raw.is_empty() => {
                proto.int32_data.iter().map(|&b| brain(b as u16)).collect()
            }
            Ok(DataType::Bfloat16) => words(raw, |b: [u8; 2]| brain(u16::from_le_bytes(b))),
            Ok(
                DataType::Int32
                | DataType::Int16
                | DataType::Uint16
                | DataType::Int8
                | DataType::Uint8
                | DataType::Bool,
            ) => proto.int32_data.iter().map(|&v| v.into()).collect(),
            _ => return Err(fail("its data type is not supported")),
        };
        if values.len() != shape.iter().product::<usize>() {
            return Err(fail("its number of elements is not that of its shape"));
        }
        Ok(Self { shape, values, r#type })
    }
}

/// A number of IEEE's 16 bits.
fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if sign == 1 { -size } else { size }
}

/// A number of the upper half of a float32.
fn brain(bits: u16) -> f64 {
    f32::from_bits(u32::from(bits) << 16).into()
}

fn words<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    raw.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).map(read).collect()
}

/// Elements that one step along each axis skips.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// An index for every element of a shape, row-major; `place` gets the element's coordinates.
pub fn indices(shape: &[usize], mut place: impl FnMut(&[usize]) -> Option<usize>) -> Vec<u32> {
    let count: usize = shape.iter().product();
    let mut at = vec![0; shape.len()];
    let mut index = Vec::with_capacity(count);
    for _ in 0..count {
        // Numbers of elements are bounded by `limits::ELEMENTS`, which fits.
        index.push(place(&at).map_or(ZERO, |i| i as u32));
        for axis in (0..shape.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    index
}

/// The shape that two broadcast to, as NumPy does it.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (side(a, axis), side(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Where each element of `to` lies in a tensor of shape `from` that is broadcast to it.
pub fn spread(from: &[usize], to: &[usize]) -> Vec<u32> {
    let (strides, skip) = (strides(from), to.len() - from.len());
    indices(to, |at| {
        let axes = from.iter().zip(&strides).zip(&at[skip..]);
        Some(axes.map(|((&size, stride), &i)| if size == 1 { 0 } else { i * stride }).sum())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_16_bits_are_read() {
        let halves = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00].map(half);
        assert_eq!(halves, [1.0, -2.0, 65504.0, 2f64.powi(-24), f64::INFINITY]);
        assert!(half(0x7c01).is_nan());
        assert_eq!([0x3f80, 0xc000].map(brain), [1.0, -2.0]);
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast(&[2, 1, 3], &[4, 1]), Some(vec![2, 4, 3]));
        assert_eq!(broadcast(&[], &[5]), Some(vec![5]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(spread(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(spread(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn indices_run_over_the_last_axis_first() {
        assert_eq!(indices(&[2, 3], |at| Some(at[1] * 2 + at[0])), [0, 2, 4, 1, 3, 5]);
        assert_eq!(indices(&[2], |at| (at[0] > 0).then_some(7)), [ZERO, 7]);
        assert_eq!(indices(&[], |_| Some(3)), [3]);
    }
}
