//! Lines before and behind linear maps, as part of the maps.

use super::network::Map;
use crate::graph::image;

/// `W (a x + c) + b = (W a) x + (b + W c)`.
pub fn fold_into_dense(weights: &mut [f32], bias: &mut [f32], scale: &[f32], offset: &[f32]) {
    for (row, b) in weights.chunks_mut(scale.len().max(1)).zip(bias) {
        let moved: f64 = row.iter().zip(offset).map(|(&w, &c)| f64::from(w) * f64::from(c)).sum();
        *b = (f64::from(*b) + moved) as f32;
        row.iter_mut().zip(scale).for_each(|(w, a)| *w *= a);
    }
}

/// As for a dense layer, if factors and summands are one a channel and no summand would be missing from the
/// padding.
pub fn folded_into_conv(map: &Map, from: &[u32], scale: &[f32], offset: &[f32]) -> Option<Map> {
    let Map::Conv2d { weights, bias, kernel, window, groups } = map else { return None };
    let channels = image(from)?[0];
    let (scale, offset) = (per_channel(scale, channels)?, per_channel(offset, channels)?);
    if window.pad != [0; 4] && offset.iter().any(|&c| c != 0.0) {
        return None;
    }
    let (mut weights, mut bias) = (weights.clone(), bias.clone());
    let depth = (channels / groups) as usize;
    let group_outputs = bias.len() / *groups as usize;
    let area = (kernel[0] * kernel[1]) as usize;
    for (index, taps) in weights.chunks_mut(area.max(1)).enumerate() {
        let output = index / depth;
        let channel = output / group_outputs * depth + index % depth;
        let moved: f64 = taps.iter().map(|&w| f64::from(w) * f64::from(offset[channel])).sum();
        bias[output] = (f64::from(bias[output]) + moved) as f32;
        taps.iter_mut().for_each(|w| *w *= scale[channel]);
    }
    Some(Map::Conv2d { weights, bias, kernel: *kernel, window: *window, groups: *groups })
}

/// `a (W x + b) + c = (a W) x + (a b + c)`; a convolution needs one factor and summand a channel.
pub fn folded_behind(map: &Map, to: &[u32], scale: &[f32], offset: &[f32]) -> Option<Map> {
    let line = |values: &[f32], scale: &[f32], offset: &[f32]| -> Vec<f32> {
        values
            .iter()
            .zip(scale)
            .zip(offset)
            .map(|((&b, &a), &c)| (f64::from(a) * f64::from(b) + f64::from(c)) as f32)
            .collect()
    };
    let rows = |weights: &[f32], scale: &[f32]| -> Vec<f32> {
        let width = (weights.len() / scale.len().max(1)).max(1);
        weights.chunks(width).zip(scale).flat_map(|(row, &a)| row.iter().map(move |w| a * w)).collect()
    };
    match map {
        Map::Dense { weights, bias } => {
            // Rows of the operand share the weights, so they must share factors and summands.
            let share = |values: &[f32]| {
                let (first, _) = values.split_at_checked(bias.len())?;
                values.chunks(first.len()).all(|row| row == first).then(|| first.to_vec())
            };
            let (scale, offset) = (share(scale)?, share(offset)?);
            Some(Map::Dense { weights: rows(weights, &scale), bias: line(bias, &scale, &offset) })
        }
        Map::Sparse { bias, taps } => {
            let scaled = |(row, &a): (&Vec<(u32, f32)>, &f32)| row.iter().map(|&(i, w)| (i, a * w)).collect();
            let taps = taps.iter().zip(scale).map(scaled).collect();
            Some(Map::Sparse { bias: line(bias, scale, offset), taps })
        }
        Map::Conv2d { weights, bias, kernel, window, groups } => {
            let channels = image(to)?[0];
            let (scale, offset) = (per_channel(scale, channels)?, per_channel(offset, channels)?);
            let (weights, bias) = (rows(weights, &scale), line(bias, &scale, &offset));
            Some(Map::Conv2d { weights, bias, kernel: *kernel, window: *window, groups: *groups })
        }
        Map::Affine { scale: a, offset: c } => {
            let scaled = a.iter().zip(scale).map(|(a, s)| a * s).collect();
            Some(Map::Affine { scale: scaled, offset: line(c, scale, offset) })
        }
    }
}

/// One value a channel, if all elements of a channel share it.
fn per_channel(values: &[f32], channels: u32) -> Option<Vec<f32>> {
    let area = (values.len() / channels.max(1) as usize).max(1);
    values.chunks(area).map(|plane| plane.iter().all(|v| *v == plane[0]).then_some(plane[0])).collect()
}
