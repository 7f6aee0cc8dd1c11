//! Interpolation: every output is a weighted sum of operands near its place.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, float, int, ints, text};
use crate::error::ModelError;
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, indices, strides};

impl Lowering {
    pub(super) fn resize(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let from = x.shape();
        let old = node.op_type == "Upsample" || (self.opset < 11 && node.input.len() < 3);
        let (scales, sizes) = match old {
            true => (
                match self.optional_constant(node, 1)? {
                    Some(scales) => Some(scales),
                    None => super::attribute(node, "scales").map(|a| Tensor {
                        shape: vec![a.floats.len()],
                        values: a.floats.iter().map(|&v| v.into()).collect(),
                        r#type: Type::Float,
                    }),
                },
                None,
            ),
            false => (
                self.optional_constant(node, 2)?.filter(|s| !s.values.is_empty()),
                self.optional_constant(node, 3)?,
            ),
        };
        let axes = match ints(node, "axes") {
            Some(axes) => {
                axes.iter().map(|&a| self.axis(node, a, from.len())).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..from.len()).collect(),
        };
        let invalid = || ModelError::node(node_name(node), "expected scales or sizes for every axis");
        let roi = self.optional_constant(node, if old { usize::MAX } else { 1 })?;
        let mut plan: Vec<Axis> =
            from.iter().map(|&size| Axis { from: size, to: size, scale: 1.0, roi: (0.0, 1.0) }).collect();
        if let Some(sizes) = sizes {
            let sizes = sizes.integers();
            if sizes.len() != axes.len() {
                return Err(invalid());
            }
            let ratios: Vec<f64> =
                axes.iter().zip(&sizes).map(|(&a, &s)| s as f64 / from[a] as f64).collect();
            let common = match text(node, "keep_aspect_ratio_policy", "stretch") {
                "not_larger" => Some(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
                "not_smaller" => Some(ratios.iter().copied().fold(0.0, f64::max)),
                _ => None,
            };
            for ((&axis, &size), &ratio) in axes.iter().zip(&sizes).zip(&ratios) {
                let scale = common.unwrap_or(ratio);
                let size = common.map_or(size as f64, |common| (common * from[axis] as f64 + 0.5).floor());
                (plan[axis].to, plan[axis].scale) = (size.max(0.0) as usize, scale);
            }
        } else {
            let scales = scales.ok_or_else(invalid)?.values;
            if scales.len() != axes.len() {
                return Err(invalid());
            }
            for (&axis, &scale) in axes.iter().zip(&scales) {
                (plan[axis].to, plan[axis].scale) =
                    ((from[axis] as f64 * scale).floor().max(0.0) as usize, scale);
            }
        }
        let transform =
            if old { "asymmetric" } else { text(node, "coordinate_transformation_mode", "half_pixel") };
        if let Some(roi) =
            roi.filter(|roi| transform == "tf_crop_and_resize" && roi.values.len() == 2 * axes.len())
        {
            for (place, &axis) in axes.iter().enumerate() {
                plan[axis].roi = (roi.values[place], roi.values[place + axes.len()]);
                if text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
                    && plan[axis].scale == 1.0
                {
                    plan[axis].scale = plan[axis].to as f64 / from[axis] as f64;
                }
            }
        }
        let shape: Vec<usize> = plan.iter().map(|axis| axis.to).collect();
        self.check_elements(node, &shape)?;
        if int(node, "antialias", 0) != 0 && plan.iter().any(|axis| axis.scale < 1.0) {
            return Err(self.unsupported(node, "interpolation without antialiasing"));
        }
        let mode = text(node, "mode", "nearest");
        let nearest = text(node, "nearest_mode", if old { "floor" } else { "round_prefer_floor" });
        let exclude = int(node, "exclude_outside", 0) != 0;
        let cubic = float(node, "cubic_coeff_a", -0.75);
        let outside = float(node, "extrapolation_value", 0.0);
        let weights: Vec<Vec<Vec<(usize, f64)>>> = plan
            .iter()
            .map(|axis| {
                (0..axis.to).map(|i| axis.taps(i, transform, mode, nearest, exclude, cubic)).collect()
            })
            .collect();
        let skip = strides(&from);
        let single = weights.iter().flatten().all(|taps| matches!(taps[..], [(_, w)] if w == 1.0));
        if single {
            let index = indices(&shape, |at| {
                Some(at.iter().enumerate().map(|(axis, &i)| weights[axis][i][0].0 * skip[axis]).sum())
            });
            return Ok(self.select(&x, index, &shape));
        }
        let widest: usize = weights.iter().map(|axis| axis.iter().map(Vec::len).max().unwrap_or(1)).product();
        self.check_taps(node, shape.iter().product::<usize>().saturating_mul(widest))?;
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        let out_skip = strides(&shape);
        for output in 0..shape.iter().product::<usize>() {
            let mut row = vec![(0usize, 1f64)];
            let mut beyond = false;
            for axis in 0..shape.len() {
                let taps = &weights[axis][output / out_skip[axis] % shape[axis]];
                beyond |= taps.is_empty();
                let step = skip[axis];
                row = row
                    .iter()
                    .flat_map(|&(at, w)| taps.iter().map(move |&(i, v)| (at + i * step, w * v)))
                    .collect();
            }
            bias.push(if beyond { outside as f32 } else { 0.0 });
            rows.push(row.into_iter().map(|(at, w)| (at as u32, w as f32)).collect());
        }
        self.sparse(node, &x, rows, bias, &shape)
    }
}

/// One axis of an interpolation.
struct Axis {
    from: usize,
    to: usize,
    scale: f64,
    roi: (f64, f64),
}

impl Axis {
    /// Where an output lies in the operand.
    fn position(&self, output: usize, transform: &str) -> f64 {
        let (x, scale) = (output as f64, self.scale);
        let (from, to) = (self.from as f64, self.from as f64 * scale);
        match transform {
            "asymmetric" => x / scale,
            "align_corners" if self.to > 1 && to > 1.0 => x * (from - 1.0) / (to - 1.0),
            "align_corners" => 0.0,
            "pytorch_half_pixel" if self.to <= 1 => 0.0,
            "half_pixel_symmetric" => {
                let adjustment = self.to as f64 / to;
                let center = from / 2.0;
                center * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
            }
            "tf_crop_and_resize" => {
                let (start, end) = self.roi;
                match self.to {
                    0 | 1 => 0.5 * (start + end) * (from - 1.0),
                    to => start * (from - 1.0) + x * (end - start) * (from - 1.0) / (to as f64 - 1.0),
                }
            }
            _ => (x + 0.5) / scale - 0.5,
        }
    }

    /// Elements that an output is made of, with their weights; none where it lies outside a crop.
    fn taps(
        &self,
        output: usize,
        transform: &str,
        mode: &str,
        nearest: &str,
        exclude: bool,
        a: f64,
    ) -> Vec<(usize, f64)> {
        if self.to == self.from && self.scale == 1.0 && self.roi == (0.0, 1.0) {
            return vec![(output, 1.0)];
        }
        let x = self.position(output, transform);
        let last = self.from as i64 - 1;
        if transform == "tf_crop_and_resize" && (x < 0.0 || x > last as f64) {
            return Vec::new();
        }
        let clamped = |i: i64| i.clamp(0, last) as usize;
        if mode == "nearest" {
            let i = match nearest {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            };
            return vec![(clamped(i as i64), 1.0)];
        }
        let base = x.floor();
        let t = x - base;
        let weights: Vec<(i64, f64)> = match mode {
            "cubic" => {
                let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
                let far = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
                vec![(-1, far(1.0 + t)), (0, near(t)), (1, near(1.0 - t)), (2, far(2.0 - t))]
            }
            _ => vec![(0, 1.0 - t), (1, t)],
        };
        let weights = weights.into_iter().map(|(step, w)| (base as i64 + step, w));
        let weights: Vec<(i64, f64)> =
            weights.map(|(i, w)| (i, if exclude && !(0..=last).contains(&i) { 0.0 } else { w })).collect();
        let total: f64 = if exclude { weights.iter().map(|(_, w)| w).sum() } else { 1.0 };
        let mut taps: Vec<(usize, f64)> = Vec::new();
        for (i, w) in weights {
            match taps.iter_mut().find(|(other, _)| *other == clamped(i)) {
                Some((_, sum)) => *sum += w / total,
                None => taps.push((clamped(i), w / total)),
            }
        }
        taps.retain(|(_, w)| *w != 0.0);
        if taps.is_empty() { vec![(clamped(base as i64), 1.0)] } else { taps }
    }
}
