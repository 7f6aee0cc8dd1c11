//! The float network between ONNX and integers: layers of the one form that is proven cheaply,
//! `y = clamp(pool(map(x)))`, and their evaluation in `f64` with a fixed order of summation, so that the same
//! file and data give the same integers on every machine.

use std::sync::Arc;

use rayon::prelude::*;

use crate::graph::image;
use crate::ir::{Shape, elements};
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// A linear map with float weights.
#[derive(Clone, Debug)]
pub enum Map {
    /// `y[o] = bias[o] + sum_i w[o,i] x[i]`.
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
}

/// A max-pool with the shapes that it is applied at.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name in the source model.
    pub name: String,
    /// Window.
    pub pool: MaxPool2d,
    /// `[1, C, H, W]` before.
    pub from: Shape,
    /// `[1, C, H, W]` after.
    pub to: Shape,
}

/// `y = clamp(pool(map(x)), lo, hi)`. Max commutes with a clamp, so pools always come first.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name in the source model.
    pub name: String,
    /// Activation that it reads: the network's inputs come first, then one a layer.
    pub input: usize,
    /// Shape that the map reads.
    pub from: Shape,
    /// The linear map.
    pub map: Arc<Map>,
    /// Shape that the map produces.
    pub to: Shape,
    /// Max-pools, in order.
    pub pools: Vec<Pool>,
    /// Bounds; infinite where there is none.
    pub clamp: (f64, f64),
}

impl Layer {
    /// Shape of the layer's activation.
    pub fn shape(&self) -> &Shape {
        self.pools.last().map_or(&self.to, |pool| &pool.to)
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
            let y = layer.run(&activations[layer.input]);
            activations.push(y);
        }
        activations
    }

    /// Elements of all activations and of what lies between them, for one sample.
    pub fn elements(&self) -> usize {
        let inner = |layer: &Layer| elements(&layer.to) + elements(layer.shape());
        let inputs: usize = self.inputs.iter().map(|(_, shape)| elements(shape)).sum();
        inputs + self.layers.iter().map(inner).sum::<usize>()
    }

    /// Multiply-accumulates and comparisons of one sample.
    pub fn work(&self) -> usize {
        let pool = |pool: &Pool| {
            let [height, width] = pool.pool.kernel.map(|size| size as usize);
            elements(&pool.to).saturating_mul(height).saturating_mul(width)
        };
        let layer = |layer: &Layer| {
            let linear = layer.taps().saturating_mul(elements(&layer.to));
            layer.pools.iter().map(pool).fold(linear, usize::saturating_add)
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
            if let Some(x) = &after[layer.input] {
                after[self.inputs.len() + index] = Some(layer.run(x));
            }
        }
        after
    }
}

impl Layer {
    /// Weights of one output.
    pub fn taps(&self) -> usize {
        match &*self.map {
            Map::Dense { .. } => elements(&self.from),
            Map::Conv2d { weights, bias, .. } => weights.len() / bias.len().max(1),
            Map::Affine { .. } => 1,
        }
    }

    /// The layer on a batch.
    pub fn run(&self, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut y = self.map.run(&self.from, &self.to, x);
        for pool in &self.pools {
            let grain = grain(elements(&pool.from));
            y = y.par_iter().with_min_len(grain).map(|values| max_pool(pool, values)).collect();
        }
        let (lo, hi) = self.clamp;
        y.iter_mut().flatten().for_each(|value| *value = value.clamp(lo, hi));
        y
    }
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
        }
    }

    /// The mean that each operand is taken to have: its own, or for a convolution its channel's.
    pub fn operand_means(&self, from: &Shape, means: &[f64]) -> Vec<f64> {
        match self {
            Self::Dense { .. } | Self::Affine { .. } => means.to_vec(),
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
                let width = elements(from).max(1);
                // Rows outside, samples inside: a row of weights is read once a batch.
                let rows: Vec<Vec<f64>> = weights
                    .par_chunks(width)
                    .zip(bias)
                    .with_min_len(grain(width * x.len()))
                    .map(|(row, &b)| x.iter().map(|x| f64::from(b) + dot(row, x)).collect())
                    .collect();
                (0..x.len()).map(|sample| rows.iter().map(|row| row[sample]).collect()).collect()
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

fn max_pool(pool: &Pool, x: &[f64]) -> Vec<f64> {
    let (Some(from), Some(to)) = (image(&pool.from), image(&pool.to)) else { return Vec::new() };
    (0..elements(&pool.to))
        .map(|output| {
            let mut max = f64::NEG_INFINITY;
            pool.pool.taps(output, from, to, |tap| max = max.max(x[tap]));
            max
        })
        .collect()
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
            input,
            from: vec![1],
            map: Arc::new(Map::Affine { scale: vec![2.0], offset: vec![1.0] }),
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
