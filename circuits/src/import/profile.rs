//! What the quantiser needs to know of a float layer: how far its accumulators may reach, and what an error made
//! in it does to the outputs.
//!
//! A layer held in steps of `s` with shift `f`, over an operand in steps of `s_x`, adds errors of variance
//!
//! ```text
//! s^2 / 12                              rounding of the result
//! (s / (2^f s_x))^2 / 12 * sum_i V[x_i]  rounding of the weights; the bias takes up its mean
//! E[max(0, |y| - greatest)^2]           saturation
//! ```
//!
//! and the outputs see the sum of them, each times the layer's gain, which is measured by adding noise.

use super::calibrate::uniform;
use super::cost::Cells;
use super::network::{Activations, Layer, Map, Network};
use crate::ir::QuantParams;

/// Multiply-accumulates that the measurement of gains may take.
const WORK: usize = 1 << 30;
/// Noise of the measurement, as a share of an activation's reach.
const NOISE: f64 = 0.01;
/// Shares of an activation's reach at which saturation is tried.
pub const REACHES: [f64; 4] = [0.7, 0.8, 0.9, 1.0];

/// One layer as the quantiser sees it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Activation that the layer reads: inputs first, then layers.
    pub input: usize,
    /// Layers that read this one.
    pub readers: Vec<usize>,
    /// Cells of the constraint system.
    pub cells: Cells,
    /// Weights of one output.
    pub taps: f64,
    /// Mean over outputs of the sum of the operands' variances.
    pub energy: f64,
    /// Greatest accumulator for operands up to a size.
    pub greatest: Envelope,
    /// Greatest negated accumulator for operands up to a size.
    pub least: Envelope,
    /// Bounds of the layer.
    pub clamp: (f64, f64),
    /// Least and greatest value seen.
    pub seen: (f64, f64),
    /// Mean squared saturation error at each of [`REACHES`].
    pub saturation: [f64; REACHES.len()],
    /// Variance of the outputs, in squares of their range, for one unit of variance here.
    pub gain: f64,
    /// Whether an output shows this layer.
    pub is_output: bool,
}

impl Profile {
    /// Greatest size seen, never 0.
    pub fn reach(&self) -> f64 {
        reach(self.seen)
    }

    /// Mean squared saturation error of a type: 0 where it holds all that was seen, else that of the next smaller
    /// of [`REACHES`].
    pub fn saturation_of(&self, quant: QuantParams) -> f64 {
        const ROUNDING: f64 = 1e-9;
        let side = |bound: i32, seen: f64| match seen > 0.0 {
            true => f64::from(bound) * quant.scale / seen,
            false => f64::INFINITY,
        };
        let held = side(quant.hi, self.seen.1).min(side(-quant.lo, -self.seen.0)) + ROUNDING;
        let smaller = REACHES.iter().rposition(|&share| share <= held).unwrap_or(0);
        self.saturation[smaller]
    }

    /// Whether the layer's type has negative values.
    pub fn is_signed(&self) -> bool {
        self.clamp.0 < 0.0
    }
}

/// The greatest of some lines `intercept + slope x`, for `x >= 0`.
#[derive(Clone, Debug)]
pub struct Envelope(Vec<(f64, f64)>);

impl Envelope {
    /// Keeps the lines that are greatest somewhere.
    pub fn new(mut lines: Vec<(f64, f64)>) -> Self {
        // By slope; a line below the one kept last at 0 and flatter is never greatest.
        lines.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for line in lines {
            if kept.last().is_none_or(|last| line.1 > last.1) {
                kept.push(line);
            }
        }
        Self(kept)
    }

    /// Value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.0.iter().map(|(slope, intercept)| intercept + slope * x).fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Profiles of all layers on a batch and its activations.
pub fn profiles(network: &Network, activations: &Activations, means: &[Vec<f64>]) -> Vec<Profile> {
    let inputs = network.inputs.len();
    let gains = gains(network, activations);
    let mut profiles: Vec<Profile> = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let (input, Some(map)) = (layer.inputs[0], layer.map()) else { continue };
        let signed = match input.checked_sub(inputs) {
            None => activations[input].iter().flatten().any(|&x| x < 0.0),
            Some(before) => profiles[before].is_signed(),
        };
        let (greatest, least) = envelopes(map, signed);
        let values = &activations[inputs + index];
        let seen = range(values);
        let taps = layer.taps() as f64;
        let energy = taps * variance(&activations[input], &means[input], layer);
        let mut profile = Profile {
            input,
            readers: Vec::new(),
            cells: Cells::of(layer),
            taps,
            energy,
            greatest,
            least,
            clamp: layer.clamp,
            seen,
            saturation: [0.0; REACHES.len()],
            gain: gains[index],
            is_output: network.outputs.iter().any(|output| output.activation == inputs + index),
        };
        profile.saturation = REACHES.map(|share| saturation(values, share * profile.reach()));
        profiles.push(profile);
        if let Some(before) = input.checked_sub(inputs) {
            profiles[before].readers.push(index);
        }
    }
    profiles
}

/// Greatest size in a range; 1 where everything is 0, or so small that no float32 network means it.
fn reach(range: (f64, f64)) -> f64 {
    const ZERO: f64 = 1e-30;
    let reach = range.1.max(-range.0);
    if reach > ZERO { reach } else { 1.0 }
}

/// Least and greatest value of a batch.
pub fn range(values: &[Vec<f64>]) -> (f64, f64) {
    values.iter().flatten().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)))
}

/// Bounds of `b + sum w x` for `0 <= x <= size`, or `|x| <= size` for signed operands.
fn envelopes(map: &Map, signed: bool) -> (Envelope, Envelope) {
    let (weights, bias) = match map {
        Map::Dense { weights, bias } | Map::Conv2d { weights, bias, .. } => (weights, bias),
        Map::Affine { scale, offset } => (scale, offset),
        // No plain network has one.
        Map::Sparse { .. } => return (Envelope::new(Vec::new()), Envelope::new(Vec::new())),
    };
    let width = (weights.len() / bias.len().max(1)).max(1);
    let (mut greatest, mut least) = (Vec::new(), Vec::new());
    for (row, &b) in weights.chunks(width).zip(bias) {
        let (mut positive, mut negative) = (0f64, 0f64);
        for &w in row {
            let w = f64::from(w);
            positive += w.max(0.0);
            negative += (-w).max(0.0);
        }
        if signed {
            (positive, negative) = (positive + negative, positive + negative);
        }
        greatest.push((positive, f64::from(b)));
        least.push((negative, -f64::from(b)));
    }
    (Envelope::new(greatest), Envelope::new(least))
}

fn saturation(values: &[Vec<f64>], limit: f64) -> f64 {
    let excess = |v: &f64| (v.abs() - limit).max(0.0).powi(2);
    let count = values.iter().map(Vec::len).sum::<usize>().max(1);
    values.iter().flatten().map(excess).sum::<f64>() / count as f64
}

fn gains(network: &Network, activations: &Activations) -> Vec<f64> {
    let samples = WORK / network.work().saturating_mul(network.layers.len().max(1));
    let samples = samples.clamp(1, activations[0].len());
    let base: Activations = activations.iter().map(|values| values[..samples].to_vec()).collect();
    let scales: Vec<f64> = network.outputs.iter().map(|o| output_range(&activations[o.activation])).collect();
    let mut state = 1;
    let mut gain = |index: usize| {
        let at = network.inputs.len() + index;
        let (lo, hi) = network.layers[index].clamp;
        let amplitude = NOISE * reach(range(&base[at]));
        let mut noisy = base[at].clone();
        // A saturated cell stays where it is.
        for value in noisy.iter_mut().flatten().filter(|value| **value > lo && **value < hi) {
            *value += (2.0 * uniform(&mut state) - 1.0) * amplitude;
        }
        let changed = network.rerun(&base, at, noisy);
        let mut worst = 0f64;
        for (output, scale) in network.outputs.iter().zip(&scales) {
            if let Some(after) = &changed[output.activation] {
                let error = mean_square(after, &base[output.activation]);
                worst = worst.max(error / (scale * scale));
            }
        }
        worst / (amplitude * amplitude / 3.0)
    };
    (0..network.layers.len()).map(&mut gain).collect()
}

/// Greatest minus least value, 0 among them as in every integer type; never 0.
pub fn output_range(values: &[Vec<f64>]) -> f64 {
    let (lo, hi) = range(values);
    let range = hi.max(0.0) - lo.min(0.0);
    if range > 0.0 { range } else { 1.0 }
}

/// Mean squared difference of two batches.
fn mean_square(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let count = a.iter().map(Vec::len).sum::<usize>().max(1);
    let square = |(a, b): (&f64, &f64)| (a - b) * (a - b);
    a.iter().flatten().zip(b.iter().flatten()).map(square).sum::<f64>() / count as f64
}

/// Mean over elements of `(x - mean)^2`, with the means that the layer's bias takes up: one an element, or for
/// a convolution one a channel.
fn variance(values: &[Vec<f64>], means: &[f64], layer: &Layer) -> f64 {
    let means = layer.map().map_or_else(|| means.to_vec(), |map| map.operand_means(&layer.from, means));
    let square = |(x, mean): (&f64, &f64)| (x - mean) * (x - mean);
    let sum: f64 = values.iter().map(|sample| sample.iter().zip(&means).map(square).sum::<f64>()).sum();
    sum / (values.len() * means.len()).max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::import::network::{Kind, Output, means};

    fn dense(input: usize, weights: Vec<f32>, bias: Vec<f32>, clamp: (f64, f64)) -> Layer {
        let (from, to) = (vec![(weights.len() / bias.len()) as u32], vec![bias.len() as u32]);
        let kind = Kind::Map(Arc::new(Map::Dense { weights, bias }));
        Layer { name: format!("layer{input}"), inputs: vec![input], from, kind, to, pools: Vec::new(), clamp }
    }

    fn chain() -> (Network, Activations) {
        let free = (f64::NEG_INFINITY, f64::INFINITY);
        let layers = vec![
            dense(0, vec![1.0, -2.0, 0.5, 1.0], vec![0.25, -0.5], (0.0, f64::INFINITY)),
            dense(1, vec![3.0, -3.0], vec![0.0], free),
        ];
        let outputs = vec![Output { name: "y".into(), shape: vec![1], activation: 2, whole: false }];
        let network = Network { inputs: vec![("x".into(), vec![2])], layers, outputs };
        let samples: Vec<Vec<f64>> =
            (0..64).map(|i| vec![f64::from(i % 8) / 8.0, f64::from(i / 8) / 8.0]).collect();
        let activations = network.run(vec![samples]);
        (network, activations)
    }

    #[test]
    fn an_envelope_is_the_greatest_line_everywhere() {
        let lines = vec![(1.0, 0.0), (0.5, 2.0), (2.0, -5.0), (0.5, 1.0), (0.0, 1.0), (1.0, -1.0)];
        let envelope = Envelope::new(lines.clone());
        for step in 0..100 {
            let x = f64::from(step) * 0.2;
            let greatest = lines.iter().map(|(a, b)| a * x + b).fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(envelope.at(x), greatest);
        }
    }

    #[test]
    fn bounds_hold_every_accumulator_and_are_reached() {
        let (network, activations) = chain();
        let profiles = profiles(&network, &activations, &means(&activations));
        // Row 0: 1 * x0 - 2 * x1 + 0.25; row 1: 0.5 x0 + x1 - 0.5.
        assert_eq!(profiles[0].greatest.at(1.0), 1.25);
        assert_eq!(profiles[0].least.at(1.0), 1.75);
        assert_eq!((profiles[1].greatest.at(2.0), profiles[1].least.at(2.0)), (6.0, 6.0));
    }

    #[test]
    fn the_gain_of_an_output_is_one_and_of_the_layer_before_it_that_of_its_weights() {
        let (network, activations) = chain();
        let profiles = profiles(&network, &activations, &means(&activations));
        let range = output_range(&activations[2]);
        let ratio = profiles[1].gain * range * range;
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
        // Two operands with factors of 3, of which Relu silences some.
        let ratio = profiles[0].gain * range * range / 18.0;
        assert!((0.3..1.0).contains(&ratio), "{ratio}");
        assert!(profiles[1].is_output && !profiles[0].is_output);
        assert_eq!(profiles[0].readers, [1]);
    }

    #[test]
    fn a_type_that_does_not_hold_all_that_was_seen_saturates() {
        let (network, activations) = chain();
        let mut profile = profiles(&network, &activations, &means(&activations)).remove(1);
        profile.saturation = [4.0, 3.0, 2.0, 0.0];
        for (seen, share) in [((-2.0, 1.0), 2.0), ((-1.0, 2.0), 2.0)] {
            profile.seen = seen;
            let error = |share_held: f64| {
                profile.saturation_of(QuantParams { scale: share * share_held / 1000.0, lo: -1000, hi: 1000 })
            };
            assert_eq!(
                [0.5, 0.7, 0.85, 0.9, 0.999, 1.0, 3.0].map(error),
                [4.0, 4.0, 3.0, 2.0, 2.0, 0.0, 0.0]
            );
        }
    }

    #[test]
    fn a_layer_that_is_always_zero_has_a_reach_and_no_gain() {
        let layers = vec![dense(0, vec![1.0], vec![-9.0], (0.0, f64::INFINITY))];
        let outputs = vec![Output { name: "y".into(), shape: vec![1], activation: 1, whole: false }];
        let network = Network { inputs: vec![("x".into(), vec![1])], layers, outputs };
        let activations = network.run(vec![vec![vec![0.5], vec![1.0]]]);
        let profiles = profiles(&network, &activations, &means(&activations));
        assert_eq!((profiles[0].reach(), profiles[0].gain), (1.0, 0.0));
    }
}
