//! The float network between ONNX and integers: layers that an integer graph has cells for, and their evaluation in
//! `f64` with a fixed order of summation, so that the same file and data give the same integers on every machine.

use std::sync::Arc;

use rayon::prelude::*;

use super::scalar::Scalar;
use crate::graph::image;
use crate::ir::{MatMul, Shape, ZERO, elements};
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// A linear map with float weights.
#[derive(Clone, Debug)]
pub enum Map {
    /// `y[r,o] = bias[o] + sum_i w[o,i] x[r,i]` for every row `r`.
    Dense {
        /// `[outputs, inputs]`, row-major.
        weights: Vec<f32>,
        /// `[outputs]`.
        bias: Vec<f32>,
    },
    /// Convolution over `[1, C, H, W]`.
    Conv2d {
        /// `[out_channels, in_channels / groups, kernel_h, kernel_w]`, row-major.
        weights: Vec<f32>,
        /// `[out_channels]`.
        bias: Vec<f32>,
        /// Height and width of the kernel.
        kernel: [u32; 2],
        /// Window geometry.
        window: Window,
        /// Groups.
        groups: u32,
    },
    /// `y[i] = scale[i] x[i] + offset[i]`.
    Affine {
        /// One factor an element.
        scale: Vec<f32>,
        /// One summand an element.
        offset: Vec<f32>,
    },
    /// `y[o] = bias[o] + sum over taps of w x[i]`.
    Sparse {
        /// `[outputs]`.
        bias: Vec<f32>,
        /// Taps of each output, `(element, weight)`.
        taps: Vec<Vec<(u32, f32)>>,
    },
}

/// A maximum with the shapes that it is applied at.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name in the source model.
    pub name: String,
    /// Which elements are compared.
    pub over: Over,
    /// Shape before; `[1, C, H, W]` for windows.
    pub from: Shape,
    /// Shape after.
    pub to: Shape,
}

/// Elements of which the greatest is taken.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    /// Windows of an image.
    Window(MaxPool2d),
    /// So many elements in a row.
    Group(u32),
}

impl Pool {
    /// Comparisons of all results together.
    pub fn comparisons(&self) -> usize {
        match (self.over, image(&self.from), image(&self.to)) {
            (Over::Window(pool), Some(from), Some(to)) => {
                let taps = |output| {
                    let mut taps = 0usize;
                    pool.taps(output, from, to, |_| taps += 1);
                    taps.saturating_sub(1)
                };
                (0..elements(&self.to)).map(taps).sum()
            }
            _ => elements(&self.from) - elements(&self.to),
        }
    }

    fn work(&self) -> usize {
        let taps = match self.over {
            Over::Window(pool) => pool.kernel.iter().fold(1usize, |n, &k| n.saturating_mul(k as usize)),
            Over::Group(size) => size as usize,
        };
        taps.saturating_mul(elements(&self.to))
    }

    fn run(&self, x: &[f64]) -> Vec<f64> {
        match (self.over, image(&self.from), image(&self.to)) {
            (Over::Window(pool), Some(from), Some(to)) => {
                let greatest = |output| {
                    let mut max = f64::NEG_INFINITY;
                    pool.taps(output, from, to, |tap| max = max.max(x[tap]));
                    max
                };
                (0..elements(&self.to)).map(greatest).collect()
            }
            (Over::Group(size), ..) => {
                let greatest = |group: &[f64]| group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                x.chunks(size.max(1) as usize).map(greatest).collect()
            }
            (Over::Window(_), ..) => Vec::new(),
        }
    }
}

/// What a layer computes before its maxima and bounds.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A linear map of one activation.
    Map(Arc<Map>),
    /// `bias + sum_j factors[j] x_j`, activations of one size.
    Sum {
        /// One factor an operand.
        factors: Vec<f64>,
        /// Added to every element.
        bias: f64,
    },
    /// `factor a b`, element by element.
    Product(f64),
    /// `factor a b`, products of matrices.
    MatMul(MatMul, f64),
    /// One function for every element.
    Function(Arc<Scalar>),
    /// One function an element, of several.
    Functions {
        /// The functions.
        functions: Arc<Vec<Scalar>>,
        /// The function of each element.
        which: Arc<Vec<u32>>,
    },
    /// `sqrt(linear(x_1^2, ..))`: the root of a map or a sum of squares, none of it negative.
    Root(Box<Kind>),
    /// `y[i] = x[index[i]]` of the operands one after another, or 0. It has no cells, and no bounds.
    Select(Arc<Vec<u32>>),
}

impl Kind {
    /// Terms of one result.
    fn taps(&self) -> usize {
        match self {
            Self::Map(map) => map.taps(),
            Self::Sum { factors, .. } => factors.len(),
            Self::MatMul(sizes, _) => sizes.inner as usize,
            Self::Function(function) => function.size(),
            Self::Functions { functions, .. } => functions.iter().map(Scalar::size).max().unwrap_or(1),
            Self::Root(linear) => linear.taps(),
            Self::Product(_) | Self::Select(_) => 1,
        }
    }

    /// The factor of a product.
    pub fn factor(&self) -> f64 {
        match self {
            Self::Product(factor) | Self::MatMul(_, factor) => *factor,
            _ => 1.0,
        }
    }
}

/// `y = clamp(pool(kind(x)), lo, hi)`. Max commutes with a clamp, so pools always come first.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name in the source model.
    pub name: String,
    /// Activations that it reads: the network's inputs come first, then one a layer.
    pub inputs: Vec<usize>,
    /// Shape that a map reads.
    pub from: Shape,
    /// What it computes.
    pub kind: Kind,
    /// Shape before maxima.
    pub to: Shape,
    /// Maxima, in order.
    pub pools: Vec<Pool>,
    /// Bounds; infinite where there is none.
    pub clamp: (f64, f64),
}

impl Layer {
    /// Shape of the layer's activation.
    pub fn shape(&self) -> &Shape {
        self.pools.last().map_or(&self.to, |pool| &pool.to)
    }

    /// The linear map, if it is one.
    pub fn map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }
}

/// An output of the network.
#[derive(Clone, Debug)]
pub struct Output {
    /// Name in the source model.
    pub name: String,
    /// Shape in the source model.
    pub shape: Shape,
    /// Activation that it shows.
    pub activation: usize,
    /// Whether its values are whole numbers.
    pub whole: bool,
}

/// Layers in topological order.
#[derive(Clone, Debug)]
pub struct Network {
    /// Names and shapes of the inputs.
    pub inputs: Vec<(String, Shape)>,
    /// Layers in topological order.
    pub layers: Vec<Layer>,
    /// Outputs; each shows a layer's activation.
    pub outputs: Vec<Output>,
}

/// Activations of a batch: `[activation][sample][element]`.
pub type Activations = Vec<Vec<Vec<f64>>>;

impl Network {
    /// Every activation for a batch of inputs, `inputs[port][sample]`.
    pub fn run(&self, inputs: Activations) -> Activations {
        let mut activations = inputs;
        for layer in &self.layers {
            let operands: Vec<&[Vec<f64>]> =
                layer.inputs.iter().map(|&input| activations[input].as_slice()).collect();
            let y = layer.run(&operands);
            activations.push(y);
        }
        activations
    }

    /// Whether every layer is a map of its whole operand, so that the search over types knows its cost and error.
    pub fn is_plain(&self) -> bool {
        let plain = |layer: &Layer| {
            let windows = layer.pools.iter().all(|pool| matches!(pool.over, Over::Window(_)));
            let map = match layer.map() {
                Some(Map::Dense { weights, bias }) => weights.len() == bias.len() * elements(&layer.from),
                Some(Map::Conv2d { .. } | Map::Affine { .. }) => true,
                Some(Map::Sparse { .. }) | None => false,
            };
            windows && map && layer.clamp.0 <= 0.0 && layer.clamp.1 > 0.0
        };
        self.layers.iter().all(plain) && !self.outputs.iter().any(|output| output.whole)
    }

    /// Elements of all activations and of what lies between them, for one sample.
    pub fn elements(&self) -> usize {
        let inner = |layer: &Layer| elements(&layer.to) + elements(layer.shape());
        let inputs: usize = self.inputs.iter().map(|(_, shape)| elements(shape)).sum();
        inputs + self.layers.iter().map(inner).sum::<usize>()
    }

    /// Multiply-accumulates and comparisons of one sample.
    pub fn work(&self) -> usize {
        let layer = |layer: &Layer| {
            let linear = layer.taps().saturating_mul(elements(&layer.to));
            layer.pools.iter().map(Pool::work).fold(linear, usize::saturating_add)
        };
        self.layers.iter().map(layer).fold(1, usize::saturating_add)
    }

    /// What changes when one of the activations becomes `values`: `None` for those that do not depend on it.
    pub fn rerun(
        &self,
        before: &Activations,
        activation: usize,
        values: Vec<Vec<f64>>,
    ) -> Vec<Option<Vec<Vec<f64>>>> {
        let mut after = vec![None; before.len()];
        after[activation] = Some(values);
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.inputs.iter().any(|&input| after[input].is_some()) {
                let operand = |&input: &usize| after[input].as_ref().unwrap_or(&before[input]).as_slice();
                let operands: Vec<&[Vec<f64>]> = layer.inputs.iter().map(operand).collect();
                let y = layer.run(&operands);
                after[self.inputs.len() + index] = Some(y);
            }
        }
        after
    }
}

impl Layer {
    /// Terms of one result.
    pub fn taps(&self) -> usize {
        self.kind.taps()
    }

    /// The layer on a batch, `operands[operand][sample]`.
    pub fn run(&self, operands: &[&[Vec<f64>]]) -> Vec<Vec<f64>> {
        let mut y = self.kind.run(&self.from, &self.to, operands);
        for pool in &self.pools {
            let grain = grain(elements(&pool.from));
            y = y.par_iter().with_min_len(grain).map(|values| pool.run(values)).collect();
        }
        let (lo, hi) = self.clamp;
        y.iter_mut().flatten().for_each(|value| *value = value.max(lo).min(hi));
        y
    }
}

impl Kind {
    fn run(&self, from: &Shape, to: &Shape, operands: &[&[Vec<f64>]]) -> Vec<Vec<f64>> {
        let samples = operands.first().map_or(0, |operand| operand.len());
        let x = |sample: usize| operands.iter().map(|operand| operand[sample].as_slice()).collect::<Vec<_>>();
        let each = |run: &(dyn Fn(&[&[f64]]) -> Vec<f64> + Sync)| -> Vec<Vec<f64>> {
            (0..samples).into_par_iter().map(|sample| run(&x(sample))).collect()
        };
        match self {
            Self::Map(map) => map.run(from, to, operands[0]),
            Self::Sum { factors, bias } => each(&|x| sum(factors, *bias, x)),
            Self::Product(factor) => each(&|x| x[0].iter().zip(x[1]).map(|(a, b)| factor * a * b).collect()),
            Self::MatMul(sizes, factor) => each(&|x| matmul(sizes, *factor, x[0], x[1])),
            Self::Root(linear) => {
                let square = |x: &Vec<f64>| x.iter().map(|v| v * v).collect::<Vec<f64>>();
                let squares: Vec<Vec<Vec<f64>>> =
                    operands.iter().map(|x| x.iter().map(square).collect()).collect();
                let squares: Vec<&[Vec<f64>]> = squares.iter().map(Vec::as_slice).collect();
                let mut y = linear.run(from, to, &squares);
                y.iter_mut().flatten().for_each(|value| *value = value.max(0.0).sqrt());
                y
            }
            Self::Function(function) => each(&|x| x[0].iter().map(|&v| finite(function.at(v))).collect()),
            Self::Functions { functions, which } => each(&|x| {
                let value = |(&v, &f): (&f64, &u32)| finite(functions[f as usize].at(v));
                x[0].iter().zip(which.iter()).map(value).collect()
            }),
            Self::Select(index) => each(&|x| select(index, x)),
        }
    }
}

/// A table holds numbers only: what is none is 0, what is beyond every type its end.
pub fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-1e30, 1e30) }
}

fn sum(factors: &[f64], bias: f64, x: &[&[f64]]) -> Vec<f64> {
    let mut sums = vec![bias; x[0].len()];
    for (factor, x) in factors.iter().zip(x) {
        sums.iter_mut().zip(*x).for_each(|(sum, x)| *sum += factor * x);
    }
    sums
}

fn matmul(sizes: &MatMul, factor: f64, a: &[f64], b: &[f64]) -> Vec<f64> {
    let element = |output| factor * sizes.terms(output).map(|(i, j)| a[i] * b[j]).sum::<f64>();
    (0..sizes.outputs()).into_par_iter().with_min_len(grain(sizes.inner as usize)).map(element).collect()
}

fn select(index: &[u32], x: &[&[f64]]) -> Vec<f64> {
    let all = x.concat();
    index.iter().map(|&i| if i == ZERO { 0.0 } else { all[i as usize] }).collect()
}

/// Items that are worth a task of their own, for the work of one.
fn grain(work: usize) -> usize {
    const TASK: usize = 1 << 15;
    (TASK / work.max(1)).max(1)
}

impl Map {
    /// Number of weights and biases.
    pub fn weights(&self) -> usize {
        match self {
            Self::Dense { weights, bias } | Self::Conv2d { weights, bias, .. } => weights.len() + bias.len(),
            Self::Affine { scale, offset } => scale.len() + offset.len(),
            Self::Sparse { bias, taps } => bias.len() + taps.iter().map(Vec::len).sum::<usize>(),
        }
    }

    /// Weights of one output, on average.
    pub fn taps(&self) -> usize {
        match self {
            Self::Dense { weights, bias } | Self::Conv2d { weights, bias, .. } => {
                weights.len() / bias.len().max(1)
            }
            Self::Affine { .. } => 1,
            Self::Sparse { bias, taps } => {
                taps.iter().map(Vec::len).sum::<usize>().div_ceil(bias.len().max(1))
            }
        }
    }

    /// The mean that each operand is taken to have: its own, or for a convolution its channel's.
    pub fn operand_means(&self, from: &Shape, means: &[f64]) -> Vec<f64> {
        match self {
            Self::Dense { bias, .. } => {
                // Rows share their weights, and so their mean.
                let width = self.taps().max(1);
                let rows = (means.len() / width).max(1) as f64;
                let mean = |i: usize| means.iter().skip(i).step_by(width).sum::<f64>() / rows;
                debug_assert!(!bias.is_empty());
                (0..width).map(mean).collect()
            }
            Self::Affine { .. } | Self::Sparse { .. } => means.to_vec(),
            Self::Conv2d { .. } => {
                let area = (elements(from) / image(from).map_or(1, |[c, ..]| c.max(1) as usize)).max(1);
                let mean = |plane: &[f64]| plane.iter().sum::<f64>() / plane.len() as f64;
                means.chunks(area).flat_map(|plane| std::iter::repeat_n(mean(plane), plane.len())).collect()
            }
        }
    }

    /// The map on a batch; `from` and `to` are the shapes that it is applied at.
    pub fn run(&self, from: &Shape, to: &Shape, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        match self {
            Self::Dense { weights, bias } => {
                let width = self.taps().max(1);
                // Outputs outside, samples inside: a row of weights is read once a batch.
                let operands: Vec<&[f64]> = x.iter().flat_map(|x| x.chunks(width)).collect();
                let columns: Vec<Vec<f64>> = weights
                    .par_chunks(width)
                    .zip(bias)
                    .with_min_len(grain(width * operands.len()))
                    .map(|(row, &b)| operands.iter().map(|x| f64::from(b) + dot(row, x)).collect())
                    .collect();
                let rows = elements(from) / width;
                let sample = |sample: usize| {
                    let rows = sample * rows..(sample + 1) * rows;
                    rows.flat_map(|row| columns.iter().map(move |column| column[row])).collect()
                };
                (0..x.len()).map(sample).collect()
            }
            Self::Sparse { bias, taps } => {
                let element = |x: &[f64], (b, taps): (&f32, &Vec<(u32, f32)>)| {
                    f64::from(*b) + taps.iter().map(|&(i, w)| f64::from(w) * x[i as usize]).sum::<f64>()
                };
                let run = |x: &Vec<f64>| bias.iter().zip(taps).map(|row| element(x, row)).collect();
                x.par_iter().map(run).collect()
            }
            Self::Conv2d { weights, bias, kernel, window, groups } => {
                let conv = Convolution { weights, bias, kernel: *kernel, window: *window, groups: *groups };
                let taps = weights.len() / bias.len().max(1);
                let grain = grain(taps.saturating_mul(elements(to)));
                x.par_iter().with_min_len(grain).map(|x| conv.run(from, to, x)).collect()
            }
            Self::Affine { scale, offset } => {
                let line = |((x, &a), &b): ((&f64, &f32), &f32)| f64::from(a) * x + f64::from(b);
                x.iter().map(|x| x.iter().zip(scale).zip(offset).map(line).collect()).collect()
            }
        }
    }
}

/// Scalar product in eight interleaved sums, which the compiler keeps in vector registers.
fn dot(w: &[f32], x: &[f64]) -> f64 {
    let mut sums = [0f64; 8];
    let (w_chunks, x_chunks) = (w.chunks_exact(8), x.chunks_exact(8));
    let rest = w_chunks.remainder().iter().zip(x_chunks.remainder());
    let rest: f64 = rest.map(|(&w, x)| f64::from(w) * x).sum();
    for (w, x) in w_chunks.zip(x_chunks) {
        for lane in 0..8 {
            sums[lane] += f64::from(w[lane]) * x[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

struct Convolution<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    kernel: [u32; 2],
    window: Window,
    groups: u32,
}

impl Convolution<'_> {
    /// Tap by tap: each adds one weight times a strided row of the image to a row of the output.
    fn run(&self, from: &Shape, to: &Shape, x: &[f64]) -> Vec<f64> {
        let (Some(from), Some(to)) = (image(from), image(to)) else { return Vec::new() };
        let [channels, height, width] = from.map(|d| d as usize);
        let [out_channels, out_height, out_width] = to.map(|d| d as usize);
        let [kernel_height, kernel_width] = self.kernel.map(|d| d as usize);
        let depth = channels / self.groups as usize;
        let group = out_channels / self.groups as usize;
        let mut y = Vec::with_capacity(out_channels * out_height * out_width);
        for channel in 0..out_channels {
            let start = y.len();
            y.resize(start + out_height * out_width, f64::from(self.bias[channel]));
            let plane = &mut y[start..];
            for c in 0..depth {
                let source = (channel / group * depth + c) * height * width;
                for ky in 0..kernel_height {
                    let Some((rows, first_row)) = self.span(0, ky, height, out_height) else { continue };
                    for kx in 0..kernel_width {
                        let Some((columns, first)) = self.span(1, kx, width, out_width) else { continue };
                        let weight = ((channel * depth + c) * kernel_height + ky) * kernel_width + kx;
                        let weight = f64::from(self.weights[weight]);
                        let [down, right] = self.window.stride.map(|d| d as usize);
                        for (step, row) in rows.clone().enumerate() {
                            let image = &x[source + (first_row + step * down) * width + first..];
                            let line = &mut plane[row * out_width..][columns.clone()];
                            line.iter_mut()
                                .zip(image.iter().step_by(right))
                                .for_each(|(y, x)| *y += weight * x);
                        }
                    }
                }
            }
        }
        y
    }

    /// Outputs whose tap lies in the image along an axis, and where the first of them reads.
    fn span(
        &self,
        axis: usize,
        tap: usize,
        size: usize,
        out: usize,
    ) -> Option<(std::ops::Range<usize>, usize)> {
        let stride = self.window.stride[axis] as usize;
        let (offset, pad) = (tap * self.window.dilation[axis] as usize, self.window.pad[axis] as usize);
        let first = pad.saturating_sub(offset).div_ceil(stride);
        // The last output reads at `last * stride + offset - pad <= size - 1`.
        let last = (size + pad - 1).checked_sub(offset)? / stride;
        let end = (last + 1).min(out);
        (first < end).then(|| (first..end, first * stride + offset - pad))
    }
}

/// Mean over samples of every element of every activation.
pub fn means(activations: &Activations) -> Vec<Vec<f64>> {
    let mean = |samples: &Vec<Vec<f64>>| {
        let mut sums = vec![0f64; samples.first().map_or(0, Vec::len)];
        samples.iter().for_each(|sample| sums.iter_mut().zip(sample).for_each(|(sum, x)| *sum += x));
        sums.into_iter().map(|sum| sum / samples.len() as f64).collect()
    };
    activations.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::{Conv2d, Taps};

    /// Whole numbers, so that any order of summation gives the same result.
    fn numbers(seed: u32, count: usize) -> Vec<i32> {
        (0..count as u32)
            .map(|i| (i.wrapping_mul(2654435761).wrapping_add(seed) >> 13) as i32 % 9 - 4)
            .collect()
    }

    proptest! {
        #[test]
        fn a_convolution_is_the_sum_over_its_taps(
            (groups, depth, group) in (1u32..3, 1u32..3, 1u32..3),
            image in [1u32..9, 1u32..9],
            kernel in [1u32..4, 1u32..4],
            stride in [1u32..4, 1u32..4],
            pad in [0u32..4, 0u32..4, 0u32..4, 0u32..4],
            dilation in [1u32..3, 1u32..3],
            seed in any::<u32>(),
        ) {
            let window = Window { stride, pad, dilation };
            let Some([height, width]) = window.output(image, kernel) else { return Ok(()) };
            let from = [groups * depth, image[0], image[1]];
            let to = [groups * group, height, width];
            let weights = numbers(seed, (to[0] * depth * kernel[0] * kernel[1]) as usize);
            let bias = numbers(seed ^ 1, to[0] as usize);
            let x = numbers(seed ^ 2, from.iter().product::<u32>() as usize);
            let real = |values: &[i32]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let map = Map::Conv2d { weights: real(&weights), bias: real(&bias), kernel, window, groups };
            let shape = |[c, h, w]: [u32; 3]| vec![1, c, h, w];
            let got = map.run(&shape(from), &shape(to), &[x.iter().map(|&v| f64::from(v)).collect()]);
            let bias = bias.into_iter().map(i64::from).collect();
            let conv = Conv2d { weights, bias, kernel, window, groups };
            let taps = Taps::Conv2d(&conv, from, to);
            let expected: Vec<f64> = (0..taps.outputs()).map(|output| {
                let mut sum = taps.bias(output);
                taps.row(output, |input, weight| sum += i64::from(weight) * i64::from(x[input]));
                sum as f64
            }).collect();
            prop_assert_eq!(&got[0], &expected);
        }

        #[test]
        fn a_scalar_product_is_the_sum_of_its_terms(seed in any::<u32>(), length in 0usize..40) {
            let (w, x) = (numbers(seed, length), numbers(seed ^ 1, length));
            let sum: i32 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
            let w: Vec<f32> = w.iter().map(|&v| v as f32).collect();
            let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            prop_assert_eq!(dot(&w, &x), f64::from(sum));
        }
    }

    #[test]
    fn a_changed_activation_changes_what_depends_on_it_and_nothing_else() {
        let layer = |input: usize| Layer {
            name: String::new(),
            inputs: vec![input],
            from: vec![1],
            kind: Kind::Map(Arc::new(Map::Affine { scale: vec![2.0], offset: vec![1.0] })),
            to: vec![1],
            pools: Vec::new(),
            clamp: (f64::NEG_INFINITY, f64::INFINITY),
        };
        let inputs = vec![("x".into(), vec![1])];
        let network = Network { inputs, layers: vec![layer(0), layer(0), layer(1)], outputs: Vec::new() };
        let before = network.run(vec![vec![vec![1.0]]]);
        assert_eq!(before, [[[1.0]], [[3.0]], [[3.0]], [[7.0]]]);
        let after = network.rerun(&before, 1, vec![vec![10.0]]);
        assert_eq!(after, [None, Some(vec![vec![10.0]]), None, Some(vec![vec![21.0]])]);
    }
}
