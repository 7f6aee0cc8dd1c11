//! Linear layers: constant weights, so in a constraint system they are free.
//!
//! A layer is the sparse matrix `y[o] = bias[o] + sum over taps (o, i, w) of w x[i]`. [`Taps::row`] is the one
//! definition of that matrix; the interpreter, the field evaluation of the constraint system and the
//! transposed walk of the setup all read it.

use borsh::{BorshDeserialize, BorshSerialize};

/// Fully connected layer, applied to every row of its operand.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Dense {
    /// `[outputs, inputs]`, row-major.
    pub weights: Vec<i32>,
    /// `[outputs]`.
    pub bias: Vec<i64>,
}

impl Dense {
    /// Elements of a row of the operand.
    pub fn width(&self) -> usize {
        self.weights.len() / self.bias.len().max(1)
    }
}

/// Two-dimensional convolution over `[1, C, H, W]`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Conv2d {
    /// `[out_channels, in_channels / groups, kernel_h, kernel_w]`, row-major.
    pub weights: Vec<i32>,
    /// `[out_channels]`.
    pub bias: Vec<i64>,
    /// Height and width of the kernel.
    pub kernel: [u32; 2],
    /// Window geometry.
    pub window: Window,
    /// Groups; input and output channels are multiples of it.
    pub groups: u32,
}

/// Any sparse matrix: sums, averages, interpolations, transposed convolutions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sparse {
    /// `[outputs]`.
    pub bias: Vec<i64>,
    /// `[outputs]`: where each output's taps end among `taps`, in ascending order.
    pub ends: Vec<u32>,
    /// `(operand's element, weight)`.
    pub taps: Vec<(u32, i32)>,
}

impl Sparse {
    /// The matrix with these rows, `(bias, taps)` each.
    pub fn new(rows: impl IntoIterator<Item = (i64, Vec<(u32, i32)>)>) -> Self {
        let mut sparse = Self { bias: Vec::new(), ends: Vec::new(), taps: Vec::new() };
        for (bias, taps) in rows {
            sparse.bias.push(bias);
            sparse.taps.extend(taps);
            sparse.ends.push(sparse.taps.len() as u32);
        }
        sparse
    }

    fn row(&self, output: usize) -> &[(u32, i32)] {
        let start = if output == 0 { 0 } else { self.ends[output - 1] };
        &self.taps[start as usize..self.ends[output] as usize]
    }
}

/// How a window moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Window {
    /// Steps down and right.
    pub stride: [u32; 2],
    /// Padding: top, left, bottom, right.
    pub pad: [u32; 4],
    /// Distance between neighbouring taps.
    pub dilation: [u32; 2],
}

impl Window {
    /// Output height and width for an image and a kernel; `None` where the kernel does not fit or a number
    /// is out of range.
    pub fn output(&self, image: [u32; 2], kernel: [u32; 2]) -> Option<[u32; 2]> {
        let side = |axis: usize| {
            let padded = image[axis].checked_add(self.pad[axis])?.checked_add(self.pad[axis + 2])?;
            let reach = kernel[axis].checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)?;
            if self.dilation[axis] == 0 || self.pad[axis] >= reach || self.pad[axis + 2] >= reach {
                return None;
            }
            padded.checked_sub(reach)?.checked_div(self.stride[axis])?.checked_add(1)
        };
        Some([side(0)?, side(1)?])
    }

    /// Row and column of a tap in the image; `None` in the padding.
    pub fn tap(&self, out: [u32; 2], tap: [u32; 2], image: [u32; 2]) -> Option<[u32; 2]> {
        let axis = |a: usize| {
            let position = out[a] * self.stride[a] + tap[a] * self.dilation[a];
            position.checked_sub(self.pad[a]).filter(|&p| p < image[a])
        };
        Some([axis(0)?, axis(1)?])
    }
}

/// A linear layer with the shapes that it is applied at.
#[derive(Clone, Copy, Debug)]
pub enum Taps<'a> {
    /// Fully connected, with the number of rows.
    Dense(&'a Dense, usize),
    /// Convolution with `[channels, height, width]` of input and output.
    Conv2d(&'a Conv2d, [u32; 3], [u32; 3]),
    /// Sparse matrix, with the number of operands.
    Sparse(&'a Sparse, usize),
}

impl Taps<'_> {
    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dense(dense, rows) => rows * dense.bias.len(),
            Self::Conv2d(_, _, out) => out.iter().map(|&d| d as usize).product(),
            Self::Sparse(sparse, _) => sparse.bias.len(),
        }
    }

    /// Number of operands.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Dense(dense, rows) => rows * dense.width(),
            Self::Conv2d(_, input, _) => input.iter().map(|&d| d as usize).product(),
            Self::Sparse(_, operands) => *operands,
        }
    }

    /// Bias of an output.
    pub fn bias(&self, output: usize) -> i64 {
        match self {
            Self::Dense(dense, _) => dense.bias[output % dense.bias.len()],
            Self::Conv2d(conv, _, out) => conv.bias[output / (out[1] as usize * out[2] as usize)],
            Self::Sparse(sparse, _) => sparse.bias[output],
        }
    }

    /// Calls `each(input, weight)` for every tap of an output.
    pub fn row(&self, output: usize, mut each: impl FnMut(usize, i32)) {
        match self {
            Self::Dense(dense, _) => {
                let width = dense.width();
                let (row, output) = (output / dense.bias.len(), output % dense.bias.len());
                let weights = &dense.weights[output * width..(output + 1) * width];
                weights.iter().enumerate().for_each(|(i, &w)| each(row * width + i, w));
            }
            Self::Sparse(sparse, _) => sparse.row(output).iter().for_each(|&(i, w)| each(i as usize, w)),
            Self::Conv2d(conv, [in_channels, height, width], [out_channels, out_height, out_width]) => {
                let output = output as u32;
                let (channel, position) =
                    (output / (out_height * out_width), output % (out_height * out_width));
                let at = [position / out_width, position % out_width];
                let depth = in_channels / conv.groups;
                let first = channel / (out_channels / conv.groups) * depth;
                let area = conv.kernel[0] * conv.kernel[1];
                for ky in 0..conv.kernel[0] {
                    for kx in 0..conv.kernel[1] {
                        let Some([y, x]) = conv.window.tap(at, [ky, kx], [*height, *width]) else { continue };
                        for c in 0..depth {
                            let weight = (channel * depth + c) * area + ky * conv.kernel[1] + kx;
                            let input = ((first + c) * height + y) * width + x;
                            each(input as usize, conv.weights[weight as usize]);
                        }
                    }
                }
            }
        }
    }
}
