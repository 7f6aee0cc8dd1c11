//! Products of matrices of integers, split into balanced bytes: `kernels/gemm.cu` on tensor cores, `gemm` of
//! `kernels/infer.cu` where there are few rows or columns.

use super::{BLOCKS, ELEMENTS, TILE, Tensor, u32_of, within};
use crate::error::DeviceError;
use crate::gpu::Gpu;
use crate::kernel::{Arg, Grid, Kernel};
use crate::session::Buffer;

/// Side of a block's tile of outputs on tensor cores.
const TENSOR_TILE: usize = 128;
/// Rows and columns from which on tensor cores are used.
const TENSOR: usize = 64;
/// Bytes of the inner axis that are loaded at once, and how many of those sums of 32 bits hold.
const UNIT: usize = 16;
const UNITS: usize = 4096;
/// The balanced bytes of integers, packed by four along the inner axis.
#[derive(Debug)]
pub struct Planes {
    pub(super) bytes: Buffer<i8>,
    pub(super) count: u32,
    pub(super) batch: usize,
    pub(super) rows: usize,
    pub(super) words: usize,
}

/// Weights of a product of matrices, resident.
#[derive(Debug)]
pub struct Weights {
    planes: Planes,
    bias: Buffer<i64>,
    outputs: usize,
    inner: usize,
}

/// How many balanced bytes hold every integer of an interval.
pub fn planes_for(lo: i64, hi: i64) -> u32 {
    let bytes = |mut value: i64| {
        let mut count = 1;
        while value != i64::from(value as i8) {
            // Exact: the difference ends in eight zeros, and wraps only to what the next planes hold modulo 2^64.
            value = value.wrapping_sub(i64::from(value as i8)) >> 8;
            count += 1;
        }
        count
    };
    bytes(lo).max(bytes(hi)).min(8)
}

impl Planes {
    /// Where plane `p` begins.
    fn plane(&self, p: u32) -> Arg {
        let size = self.batch * self.rows * self.words * 4;
        self.bytes.arg().after(p as usize * size)
    }
}

impl Gpu {
    /// Splits the integers `x[z zs + r rs + k ks]`, `z < batch`, `r < rows`, `k < inner`.
    pub(super) fn split(
        &self,
        x: &Buffer<i64>,
        count: u32,
        [batch, rows, inner]: [usize; 3],
        strides: [usize; 3],
        padded: usize,
    ) -> Result<Planes, DeviceError> {
        let last =
            [batch, rows, inner].iter().zip(strides).map(|(n, s)| n.saturating_sub(1) * s).sum::<usize>();
        assert!(batch * rows * inner == 0 || last < x.len(), "the planes are of elements that exist");
        let size = within("elements of planes", batch.saturating_mul(rows).saturating_mul(padded), ELEMENTS)?;
        let bytes = self.session().alloc(size * count as usize)?;
        let n = |value| u32_of("an axis of planes", value).map(Arg::U32);
        let [zs, rs, ks] = strides.map(|stride| Arg::U64(stride as u64));
        let args =
            [x.arg(), bytes.arg(), Arg::U32(count), n(rows)?, n(inner)?, n(padded)?, n(batch)?, zs, rs, ks];
        // SAFETY: `count` planes of `size` bytes are written; elements are read at sums of strides up to `last`.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.each(Kernel::Split, size, &args)?;
        }
        Ok(Planes { bytes, count, batch, rows, words: padded / 4 })
    }

    /// Splits matrices whose inner axis is padded to units of 16 bytes.
    pub(super) fn matrix(
        &self,
        x: &Buffer<i64>,
        count: u32,
        sizes: [usize; 3],
        strides: [usize; 3],
    ) -> Result<Planes, DeviceError> {
        self.split(x, count, sizes, strides, sizes[2].next_multiple_of(UNIT))
    }

    /// `c[z, m, n] = bias[n] + sum_k a[z, m, k] b[z, n, k]`.
    fn gemm(
        &self,
        a: &Planes,
        b: &Planes,
        bias: Option<&Buffer<i64>>,
        to: &Tensor,
    ) -> Result<(), DeviceError> {
        let (m, n) = (a.rows, b.rows);
        assert!(
            a.words == b.words && (b.batch == a.batch || b.batch == 1),
            "the inner axes are equally long"
        );
        assert!(
            to.values.len() == a.batch * m * n && bias.is_none_or(|bias| bias.len() == n),
            "sizes of a product"
        );
        if m >= TENSOR && n >= TENSOR {
            return self.gemm_tensor(a, b, bias, to);
        }
        let blocks =
            [n.div_ceil(TILE), within("rows", m.div_ceil(TILE), BLOCKS)?, within("batch", a.batch, BLOCKS)?];
        let size = |value| u32_of("an axis of a product", value).map(Arg::U32);
        let args = [
            a.bytes.arg(),
            b.bytes.arg(),
            bias.map_or(Arg::Address(0), Buffer::arg),
            to.arg(),
            size(m)?,
            size(n)?,
            size(a.words)?,
            Arg::U32(a.count),
            Arg::U32(b.count),
            size(a.batch)?,
            size(b.batch)?,
        ];
        let grid = Grid { blocks: blocks.map(|n| n as u32), threads: 256 };
        // SAFETY: planes have `count * batch * rows * words` words of four bytes by construction; the result and the bias
        // have the sizes that were checked; the kernel loads nothing outside `m`, `n` and `words`.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.session().launch(Kernel::Gemm, grid, &args)
        }
    }

    /// The same on tensor cores, a pair of planes and a part of the inner axis after the other.
    fn gemm_tensor(
        &self,
        a: &Planes,
        b: &Planes,
        bias: Option<&Buffer<i64>>,
        to: &Tensor,
    ) -> Result<(), DeviceError> {
        let (m, n, units) = (a.rows, b.rows, a.words * 4 / UNIT);
        let tiles = m.div_ceil(TENSOR_TILE).saturating_mul(n.div_ceil(TENSOR_TILE));
        let blocks = [u32_of("tiles of a product", tiles)?, within("batch", a.batch, BLOCKS)? as u32, 1];
        let grid = Grid { blocks, threads: 128 };
        let size = |value| u32_of("an axis of a product", value).map(Arg::U32);
        let bias = bias.map_or(Arg::Address(0), Buffer::arg);
        let mut first = 1;
        // Planes whose weight is 2^64 or more do not change an int64.
        let pairs = (0..a.count).flat_map(|p| (0..b.count).map(move |q| (p, q))).filter(|(p, q)| p + q < 8);
        for (p, q) in pairs {
            for from in (0..units.max(1)).step_by(UNITS) {
                let args = [
                    a.plane(p),
                    b.plane(q),
                    bias,
                    to.arg(),
                    size(m)?,
                    size(n)?,
                    size(units)?,
                    size(from)?,
                    size(units.min(from + UNITS))?,
                    Arg::U32(8 * (p + q)),
                    Arg::U32(first),
                    size(b.batch)?,
                ];
                // SAFETY: as of the other product; what is after `to`, `m` or `n` is not loaded.
                #[expect(unsafe_code, reason = "launches a kernel")]
                unsafe {
                    self.session().launch(Kernel::GemmTensor, grid, &args)?;
                }
                first = 0;
            }
        }
        Ok(())
    }

    /// Uploads `[outputs, inner]` weights with a bias an output.
    ///
    /// # Panics
    /// If the weights are not a multiple of the biases.
    pub fn weights(&self, weights: &[i32], bias: &[i64]) -> Result<Weights, DeviceError> {
        let inner = weights.len() / bias.len().max(1);
        assert_eq!(inner * bias.len(), weights.len(), "weights of every output");
        let planes = self.weight_planes(weights, [1, bias.len(), inner])?;
        Ok(Weights { planes, bias: self.session().upload(bias)?, outputs: bias.len(), inner })
    }

    pub(super) fn weight_planes(
        &self,
        weights: &[i32],
        [batch, rows, inner]: [usize; 3],
    ) -> Result<Planes, DeviceError> {
        let wide: Vec<i64> = weights.iter().map(|&w| w.into()).collect();
        let (lo, hi) = (wide.iter().min().copied().unwrap_or(0), wide.iter().max().copied().unwrap_or(0));
        let wide = self.session().upload(&wide)?;
        self.matrix(&wide, planes_for(lo, hi), [batch, rows, inner], [rows * inner, inner, 1])
    }

    /// `y[r, o] = bias[o] + sum_i w[o, i] x[r, i]` for every piece `r` of `inner` elements; `range` holds every `x`.
    ///
    /// # Panics
    /// If rows are no multiple of the weights' inner axis.
    pub fn dense(&self, weights: &Weights, x: &Tensor, range: (i64, i64)) -> Result<Tensor, DeviceError> {
        let inner = weights.inner;
        let pieces = x.len() / inner.max(1);
        assert_eq!(pieces * inner, x.len(), "whole pieces");
        let to = self.room(x.batch, pieces * weights.outputs)?;
        // Rows of a product go to blocks along y, of which there are few.
        let rows = x.batch * pieces;
        let a = self.matrix(&x.values, planes_for(range.0, range.1), [1, rows, inner], [0, inner, 1])?;
        self.gemm(&a, &weights.planes, Some(&weights.bias), &to)?;
        Ok(to)
    }

    /// `y[z, i, j] = sum_l a[z, i, l] b[z, l, j]` for `sizes = [z, i, l, j]`; the ranges hold the elements of `a`, `b`.
    ///
    /// # Panics
    /// If the operands do not have these sizes.
    pub fn matmul(
        &self,
        [batch, rows, inner, columns]: [usize; 4],
        a: (&Tensor, (i64, i64)),
        b: (&Tensor, (i64, i64)),
    ) -> Result<Tensor, DeviceError> {
        assert!(
            a.0.len() == batch * rows * inner && b.0.len() == batch * inner * columns,
            "sizes of the operands"
        );
        assert_eq!(a.0.batch, b.0.batch, "equally many rows");
        let all = a.0.batch * batch;
        let to = self.room(a.0.batch, batch * rows * columns)?;
        let planes = |(lo, hi)| planes_for(lo, hi);
        let left = self.matrix(&a.0.values, planes(a.1), [all, rows, inner], [rows * inner, inner, 1])?;
        let right =
            self.matrix(&b.0.values, planes(b.1), [all, columns, inner], [inner * columns, 1, columns])?;
        self.gemm(&left, &right, None, &to)?;
        Ok(to)
    }

    /// A batch of matrices of `rows` by `inner`, split into bytes: an operand of [`Gpu::product`].
    ///
    /// # Panics
    /// If the tensor's rows are no such matrices.
    pub fn operand(
        &self,
        x: &Tensor,
        [rows, inner]: [usize; 2],
        range: (i64, i64),
    ) -> Result<Planes, DeviceError> {
        assert_eq!(x.len(), rows * inner, "one matrix a row");
        self.matrix(&x.values, planes_for(range.0, range.1), [x.batch, rows, inner], [rows * inner, inner, 1])
    }

    /// `c[z, m, n] = sum_k a[z, m, k] b[z, n, k]`.
    ///
    /// # Panics
    /// If the inner axes or the batches differ.
    pub fn product(&self, a: &Planes, b: &Planes) -> Result<Tensor, DeviceError> {
        let to = self.room(a.batch, a.rows * b.rows)?;
        self.gemm(a, b, None, &to)?;
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_every_integer_of_an_interval() {
        let cases = [
            ((-128, 127), 1),
            ((0, 128), 2),
            ((-129, 0), 2),
            ((-32_896, 32_639), 2),
            ((0, 32_640), 3),
            ((i64::MIN, i64::MAX), 8),
        ];
        for ((lo, hi), expected) in cases {
            assert_eq!(planes_for(lo, hi), expected, "{lo}..={hi}");
        }
    }
}
