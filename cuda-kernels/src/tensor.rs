//! Operators on tensors of a device, each the equation of its kernel in `kernels/infer.cu`.
//!
//! A tensor holds a batch of equally long rows of 64-bit integers. Results are exact modulo 2^64; whoever calls knows
//! bounds under which nothing wraps.

mod product;

use std::sync::Arc;

use crate::error::DeviceError;
use crate::gpu::Gpu;
use crate::kernel::{Arg, Grid, Kernel};
use crate::session::Buffer;

pub use product::{Planes, Weights, planes_for};

/// Side of a block's tile of outputs in a product of matrices or a convolution.
const TILE: usize = 64;
/// Blocks along y and z of a grid.
const BLOCKS: usize = 65_535;
/// Elements of a tensor or of its planes: what 32-bit numbers of blocks of 256 threads can count.
const ELEMENTS: usize = 1 << 38;

/// A batch of rows on a device. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    values: Arc<Buffer<i64>>,
    batch: usize,
}

/// Sizes of a window that moves over an image; channels and groups of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Channels, height and width of the image.
    pub from: [u32; 3],
    /// Channels, height and width of the result.
    pub to: [u32; 3],
    /// Height and width of the window.
    pub kernel: [u32; 2],
    /// Steps down and right.
    pub stride: [u32; 2],
    /// Padding above and to the left.
    pub pad: [u32; 2],
    /// Distance between taps.
    pub dilation: [u32; 2],
    /// Groups, of which both numbers of channels are multiples.
    pub groups: u32,
}

/// A convolution's weights, resident.
#[derive(Debug)]
pub struct Filter {
    image: Image,
    bias: Buffer<i64>,
    kind: FilterKind,
}

#[derive(Debug)]
enum FilterKind {
    /// Groups of several output channels, as products of matrices.
    Tiled(Planes),
    /// Narrow groups, one thread an output.
    Direct(Buffer<i32>),
}

/// A sparse matrix, resident.
#[derive(Debug)]
pub struct SparseMatrix {
    bias: Buffer<i64>,
    ends: Buffer<u32>,
    taps: Buffer<u32>,
    weights: Buffer<i32>,
    outputs: usize,
    inputs: usize,
}

/// Values of a function, resident.
#[derive(Debug)]
pub struct Lookup {
    values: Buffer<i32>,
    lo: i64,
}

/// Elements that a `select` takes, resident.
#[derive(Debug)]
pub struct Index {
    index: Buffer<u32>,
}

impl Tensor {
    /// Elements of one row.
    pub fn len(&self) -> usize {
        self.values.len() / self.batch
    }

    /// Whether rows have no elements.
    pub fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The rows.
    pub fn read(&self) -> Result<Vec<Vec<i64>>, DeviceError> {
        let values = self.values.read()?;
        Ok(values.chunks(self.len().max(1)).map(<[i64]>::to_vec).collect())
    }

    fn arg(&self) -> Arg {
        self.values.arg()
    }

    fn size(&self) -> Arg {
        Arg::U64(self.values.len() as u64)
    }
}

impl Image {
    fn words(&self, batch: usize) -> [u32; 17] {
        let ([channels, height, width], [out_channels, out_height, out_width]) = (self.from, self.to);
        let depth = channels / self.groups;
        let [[ky, kx], [sy, sx], [top, left], [dy, dx]] = [self.kernel, self.stride, self.pad, self.dilation];
        let batch = batch as u32;
        let group = out_channels / self.groups;
        let sizes = [batch, channels, height, width, out_channels, out_height, out_width];
        let mut words = [0; 17];
        words[..7].copy_from_slice(&sizes);
        words[7..].copy_from_slice(&[ky, kx, sy, sx, top, left, dy, dx, depth, group]);
        words
    }

    fn outputs(&self) -> usize {
        self.to.iter().map(|&d| d as usize).product()
    }

    fn inputs(&self) -> usize {
        self.from.iter().map(|&d| d as usize).product()
    }

    /// Terms of an output.
    fn inner(&self) -> usize {
        (self.from[0] / self.groups) as usize * self.kernel[0] as usize * self.kernel[1] as usize
    }
}

fn u32_of(what: &'static str, value: usize) -> Result<u32, DeviceError> {
    u32::try_from(value).map_err(|_| DeviceError::TooLarge { what, limit: u32::MAX as usize, got: value })
}

fn within(what: &'static str, got: usize, limit: usize) -> Result<usize, DeviceError> {
    if got > limit { Err(DeviceError::TooLarge { what, limit, got }) } else { Ok(got) }
}

impl Gpu {
    /// Copies a batch of equally long rows.
    ///
    /// # Panics
    /// If there is no row, or the rows are not equally long.
    pub fn tensor(&self, rows: &[&[i64]]) -> Result<Tensor, DeviceError> {
        let len = rows.first().map_or(0, |row| row.len());
        assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == len), "a batch of equal rows");
        Ok(Tensor { values: Arc::new(self.session().upload(&rows.concat())?), batch: rows.len() })
    }

    /// Room for rows of results.
    fn room(&self, batch: usize, len: usize) -> Result<Tensor, DeviceError> {
        within("elements of a tensor", batch.saturating_mul(len), ELEMENTS)?;
        Ok(Tensor { values: Arc::new(self.session().alloc(batch * len)?), batch })
    }

    /// Calls a kernel with one thread for each of `count` elements.
    ///
    /// # Safety
    /// As of [`crate::session::Session::launch`].
    #[expect(unsafe_code, reason = "passes the caller's promise on")]
    unsafe fn each(&self, kernel: Kernel, count: usize, args: &[Arg]) -> Result<(), DeviceError> {
        // SAFETY: the caller's promise.
        unsafe { self.session().launch(kernel, Grid::each(count, 1), args) }
    }

    /// Uploads a convolution's weights, `[out_channels, in_channels / groups, kernel_h, kernel_w]`.
    ///
    /// # Panics
    /// If the sizes do not belong together.
    pub fn filter(&self, image: Image, weights: &[i32], bias: &[i64]) -> Result<Filter, DeviceError> {
        let (groups, channels) = (image.groups as usize, image.to[0] as usize);
        assert!(
            channels == bias.len() && weights.len() == channels * image.inner(),
            "weights of every channel"
        );
        assert!([image.from[0], image.to[0]].iter().all(|n| n.is_multiple_of(image.groups)), "whole groups");
        let group = channels / groups;
        let kind = match group {
            0..4 => FilterKind::Direct(self.session().upload(weights)?),
            _ => FilterKind::Tiled(self.weight_planes(weights, [groups, group, image.inner()])?),
        };
        Ok(Filter { image, bias: self.session().upload(bias)?, kind })
    }

    /// Convolution over `[channels, height, width]`; `range` holds every `x`.
    ///
    /// # Panics
    /// If the operand is no such image.
    pub fn convolve(&self, filter: &Filter, x: &Tensor, range: (i64, i64)) -> Result<Tensor, DeviceError> {
        let image = &filter.image;
        assert_eq!(x.len(), image.inputs(), "an image");
        let sizes = self.session().upload(&image.words(x.batch))?;
        let to = self.room(x.batch, image.outputs())?;
        match &filter.kind {
            FilterKind::Direct(weights) => {
                let args = [x.arg(), weights.arg(), filter.bias.arg(), to.arg(), sizes.arg()];
                // SAFETY: operand, weights, bias and result have the sizes of the image, as was checked.
                #[expect(unsafe_code, reason = "launches a kernel")]
                unsafe {
                    self.each(Kernel::ConvolveDirect, to.values.len(), &args)?;
                }
            }
            FilterKind::Tiled(planes) => {
                let size = x.values.len();
                let bytes =
                    self.split(&x.values, planes_for(range.0, range.1), [1, 1, size], [0, 0, 1], size)?;
                let positions = x.batch * image.to[1] as usize * image.to[2] as usize;
                let blocks = [
                    planes.rows.div_ceil(TILE),
                    within("positions", positions.div_ceil(TILE), BLOCKS)?,
                    within("groups", planes.batch, BLOCKS)?,
                ];
                let args = [
                    bytes.bytes.arg(),
                    planes.bytes.arg(),
                    filter.bias.arg(),
                    to.arg(),
                    sizes.arg(),
                    Arg::U32(u32_of("weights of a channel", planes.words)?),
                    Arg::U32(bytes.count),
                    Arg::U32(planes.count),
                    Arg::U32(image.groups),
                ];
                let grid = Grid { blocks: blocks.map(|n| n as u32), threads: 256 };
                // SAFETY: the planes are of an operand and of weights of the image's sizes, as was checked.
                #[expect(unsafe_code, reason = "launches a kernel")]
                unsafe {
                    self.session().launch(Kernel::Convolve, grid, &args)?;
                }
            }
        }
        Ok(to)
    }

    /// Uploads a sparse matrix: a bias an output, where the taps of each end, `(input, weight)` a tap.
    ///
    /// # Panics
    /// If an end or an input does not exist.
    pub fn sparse_matrix(
        &self,
        inputs: usize,
        bias: &[i64],
        ends: &[u32],
        taps: &[(u32, i32)],
    ) -> Result<SparseMatrix, DeviceError> {
        assert!(bias.len() == ends.len() && ends.is_sorted(), "ends of every output, in order");
        assert!(ends.last().is_none_or(|&end| end as usize <= taps.len()), "taps that exist");
        assert!(taps.iter().all(|&(input, _)| (input as usize) < inputs), "inputs that exist");
        let (index, weights): (Vec<u32>, Vec<i32>) = taps.iter().copied().unzip();
        let session = self.session();
        Ok(SparseMatrix {
            bias: session.upload(bias)?,
            ends: session.upload(ends)?,
            taps: session.upload(&index)?,
            weights: session.upload(&weights)?,
            outputs: bias.len(),
            inputs,
        })
    }

    /// `y[o] = bias[o] + sum over taps (i, w) of w x[i]`.
    ///
    /// # Panics
    /// If the operand does not have the matrix's inputs.
    pub fn sparse(&self, matrix: &SparseMatrix, x: &Tensor) -> Result<Tensor, DeviceError> {
        assert_eq!(x.len(), matrix.inputs, "an operand of the matrix");
        let to = self.room(x.batch, matrix.outputs)?;
        let args = [
            x.arg(),
            matrix.bias.arg(),
            matrix.ends.arg(),
            matrix.taps.arg(),
            matrix.weights.arg(),
            to.arg(),
            Arg::U64(x.batch as u64),
            Arg::U32(u32_of("inputs", matrix.inputs)?),
            Arg::U32(u32_of("outputs", matrix.outputs)?),
        ];
        // SAFETY: ends and taps were checked when the matrix was made, the operand's size now.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.each(Kernel::Sparse, to.values.len(), &args)?;
        }
        Ok(to)
    }

    /// `y[i] = bias + sum_j factors[j] x_j[i]`.
    ///
    /// # Panics
    /// If there is no operand, a factor too few, or operands differ in size.
    pub fn combine(&self, operands: &[&Tensor], factors: &[i64], bias: i64) -> Result<Tensor, DeviceError> {
        let (batch, len) = (operands[0].batch, operands[0].len());
        assert_eq!(operands.len(), factors.len(), "a factor an operand");
        let to = self.room(batch, len)?;
        for (i, (x, factor)) in operands.iter().zip(factors).enumerate() {
            assert_eq!((x.batch, x.len()), (batch, len), "operands of one size");
            let args =
                [x.arg(), to.arg(), x.size(), Arg::I64(*factor), Arg::I64(bias), Arg::U32(u32::from(i == 0))];
            // SAFETY: operand and result have `n` elements.
            #[expect(unsafe_code, reason = "launches a kernel")]
            unsafe {
                self.each(Kernel::Combine, to.values.len(), &args)?;
            }
        }
        Ok(to)
    }

    /// Uploads which elements a `select` takes.
    pub fn index(&self, index: &[u32]) -> Result<Index, DeviceError> {
        Ok(Index { index: self.session().upload(index)? })
    }

    /// `y[i] = x[index[i]]`, `x` the operands one after another; 0 for an index beyond them.
    ///
    /// # Panics
    /// If there is no operand or their batches differ.
    pub fn select(&self, index: &Index, operands: &[&Tensor]) -> Result<Tensor, DeviceError> {
        let batch = operands[0].batch;
        let to = self.room(batch, index.index.len())?;
        let outputs = u32_of("outputs", index.index.len())?;
        let mut from = 0u32;
        for (i, x) in operands.iter().enumerate() {
            assert_eq!(x.batch, batch, "equally many rows");
            let count = u32_of("elements of an operand", x.len())?;
            let args = [
                x.arg(),
                index.index.arg(),
                to.arg(),
                Arg::U64(batch as u64),
                Arg::U32(outputs),
                Arg::U32(from),
                Arg::U32(count),
                Arg::U32(u32::from(i == 0)),
            ];
            // SAFETY: the kernel reads an operand at less than `count` of a row only, and writes every output.
            #[expect(unsafe_code, reason = "launches a kernel")]
            unsafe {
                self.each(Kernel::Select, to.values.len(), &args)?;
            }
            from = from.checked_add(count).ok_or(DeviceError::TooLarge {
                what: "elements of all operands",
                limit: u32::MAX as usize,
                got: usize::MAX,
            })?;
        }
        Ok(to)
    }

    /// `y[i] = a[i] b[i]`.
    ///
    /// # Panics
    /// If the operands differ in size.
    pub fn multiply(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, DeviceError> {
        assert_eq!((a.batch, a.len()), (b.batch, b.len()), "operands of one size");
        self.map(Kernel::Multiply, a, &[a.arg(), b.arg()], &[a.size()])
    }

    /// Maximum over windows of each channel.
    ///
    /// # Panics
    /// If the operand is no such image.
    pub fn max_pool(&self, image: Image, x: &Tensor) -> Result<Tensor, DeviceError> {
        assert!(x.len() == image.inputs() && image.from[0] == image.to[0], "an image");
        let sizes = self.session().upload(&image.words(x.batch))?;
        let to = self.room(x.batch, image.outputs())?;
        // SAFETY: operand and result have the sizes of the image, as was checked.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.each(Kernel::MaxPool, to.values.len(), &[x.arg(), to.arg(), sizes.arg()])?;
        }
        Ok(to)
    }

    /// `y[i] = max over j < group of x[i group + j]`.
    ///
    /// # Panics
    /// If rows are no multiple of the group.
    pub fn max(&self, group: u32, x: &Tensor) -> Result<Tensor, DeviceError> {
        let to = self.room(x.batch, x.len() / group as usize)?;
        assert_eq!(to.len() * group as usize, x.len(), "whole groups");
        let args = [x.arg(), to.arg(), to.size(), Arg::U32(group)];
        // SAFETY: the operand has `group` elements for each of the result's.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.each(Kernel::Max, to.values.len(), &args)?;
        }
        Ok(to)
    }

    /// Uploads the values of a function at `lo`, `lo + 1`, ..
    ///
    /// # Panics
    /// If there is no value.
    pub fn lookup(&self, lo: i32, values: &[i32]) -> Result<Lookup, DeviceError> {
        assert!(!values.is_empty(), "a function has values");
        Ok(Lookup { values: self.session().upload(values)?, lo: lo.into() })
    }

    /// `y = values[x - lo]`, the nearest one beyond the ends.
    pub fn table(&self, table: &Lookup, x: &Tensor) -> Result<Tensor, DeviceError> {
        let rows = u32_of("values of a function", table.values.len())?;
        self.map(
            Kernel::Table,
            x,
            &[x.arg(), table.values.arg()],
            &[x.size(), Arg::I64(table.lo), Arg::U32(rows)],
        )
    }

    /// `y = clamp((x + 2^(shift-1)) >> shift, lo, hi)`.
    ///
    /// # Panics
    /// If the shift is not in `1..=62`.
    pub fn requantize(&self, x: &Tensor, shift: u8, lo: i32, hi: i32) -> Result<Tensor, DeviceError> {
        assert!((1..=62).contains(&shift), "a shift of a 64-bit integer");
        let rule = [x.size(), Arg::U32(shift.into()), Arg::I32(lo), Arg::I32(hi)];
        self.map(Kernel::Requantize, x, &[x.arg()], &rule)
    }

    /// `y = floor(sqrt(max(x, 0)))`.
    pub fn root(&self, x: &Tensor) -> Result<Tensor, DeviceError> {
        self.map(Kernel::Root, x, &[x.arg()], &[x.size()])
    }

    /// A kernel with parameters `inputs, result, rest` that makes one element of one element.
    fn map(&self, kernel: Kernel, x: &Tensor, inputs: &[Arg], rest: &[Arg]) -> Result<Tensor, DeviceError> {
        let to = self.room(x.batch, x.len())?;
        let args = [inputs, &[to.arg()], rest].concat();
        // SAFETY: the callers above pass the parameters of their kernels, and operands of the result's size.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.each(kernel, to.values.len(), &args)?;
        }
        Ok(to)
    }
}
