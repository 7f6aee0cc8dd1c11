//! Convolutions, pools and interpolations: operators that read windows.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, int, ints, text};
use crate::error::ModelError;
use crate::import::network::Map;
use crate::import::scalar::Function;
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, strides};
use crate::ir::limits;
use crate::linear::Window;
use crate::pool::MaxPool2d;

/// A window along every spatial axis.
#[derive(Clone, Debug)]
struct Geometry {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    from: Vec<usize>,
    to: Vec<usize>,
}

impl Geometry {
    /// The element that a tap of an output reads; `None` in the padding.
    fn place(&self, out: &[usize], tap: &[usize]) -> Option<usize> {
        let mut place = 0;
        for axis in 0..self.from.len() {
            let at = (out[axis] * self.stride[axis] + tap[axis] * self.dilation[axis])
                .checked_sub(self.before[axis])?;
            if at >= self.from[axis] {
                return None;
            }
            place = place * self.from[axis] + at;
        }
        Some(place)
    }

    fn taps(&self) -> Vec<Vec<usize>> {
        let skip = strides(&self.kernel);
        let count: usize = self.kernel.iter().product();
        (0..count).map(|i| self.kernel.iter().zip(&skip).map(|(k, s)| i / s % k).collect()).collect()
    }

    fn outputs(&self) -> Vec<Vec<usize>> {
        Self { kernel: self.to.clone(), ..self.clone() }.taps()
    }

    /// One or two axes as an image.
    fn window(&self) -> Option<([u32; 2], Window)> {
        let pair = |values: &[usize], absent: u32| match *values {
            [w] => Some([absent, w as u32]),
            [h, w] => Some([h as u32, w as u32]),
            _ => None,
        };
        let (before, after) = (pair(&self.before, 0)?, pair(&self.after, 0)?);
        let window = Window {
            stride: pair(&self.stride, 1)?,
            pad: [before[0], before[1], after[0], after[1]],
            dilation: pair(&self.dilation, 1)?,
        };
        let (kernel, from, to) = (pair(&self.kernel, 1)?, pair(&self.from, 1)?, pair(&self.to, 1)?);
        (window.output(from, kernel) == Some(to)).then_some((kernel, window))
    }
}

/// `[1, C, H, W]` of channels and one or two spatial axes.
fn image(channels: usize, spatial: &[usize]) -> Vec<u32> {
    let (height, width) = match *spatial {
        [w] => (1, w),
        [h, w] => (h, w),
        _ => (1, spatial.iter().product()),
    };
    [1, channels, height, width].map(|d| d as u32).to_vec()
}

impl Lowering {
    pub(super) fn window(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let result = match node.op_type.as_str() {
            "Conv" => {
                let (x, w) = (self.operand(node, 0)?, self.constant(node, 1)?);
                let bias = self.optional_constant(node, 2)?;
                self.conv(node, &x, &w, bias.as_ref())?
            }
            "ConvInteger" => {
                let x = self.dequantized(node, 0, None, Some(2), 1)?;
                let w = self.dequantized(node, 1, None, Some(3), 0)?;
                let Value::Constant(w) = w else { return Err(self.unsupported(node, "constant weights")) };
                self.conv(node, &x, &w, None)?.typed(Type::Int)
            }
            "QLinearConv" => self.quantized_conv(node)?,
            "ConvTranspose" => self.conv_transpose(node)?,
            "MaxPool" => {
                if node.output.iter().skip(1).any(|name| !name.is_empty()) {
                    return Err(self.unsupported(node, "a pool without its second output, the indices"));
                }
                let x = self.operand(node, 0)?;
                let kernel = self.kernel(node)?;
                let geometry = self.geometry(node, &x, &kernel)?;
                self.max_pool(node, &x, &geometry)?
            }
            "GlobalMaxPool" => {
                let x = self.operand(node, 0)?;
                let axes: Vec<usize> = (2..x.shape().len()).collect();
                self.greatest(node, &x, &axes, true)?
            }
            "AveragePool" => {
                let x = self.operand(node, 0)?;
                let kernel = self.kernel(node)?;
                let geometry = self.geometry(node, &x, &kernel)?;
                self.average(node, &x, &geometry, int(node, "count_include_pad", 0) != 0)?
            }
            "GlobalAveragePool" => {
                let x = self.operand(node, 0)?;
                let axes: Vec<usize> = (2..x.shape().len()).collect();
                self.averaged(node, &x, &axes, true)?
            }
            "LpPool" => self.lp_pool(node)?,
            "GlobalLpPool" => {
                let x = self.operand(node, 0)?;
                let axes: Vec<usize> = (2..x.shape().len()).collect();
                self.norm(node, &x, &axes, int(node, "p", 2) as f64, true)?
            }
            "Resize" | "Upsample" => self.resize(node)?,
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    fn kernel(&self, node: &NodeProto) -> Result<Vec<usize>, ModelError> {
        let kernel = ints(node, "kernel_shape").unwrap_or_default();
        let kernel: Option<Vec<usize>> =
            kernel.iter().map(|&k| usize::try_from(k).ok().filter(|&k| k > 0)).collect();
        kernel
            .filter(|k| !k.is_empty())
            .ok_or_else(|| ModelError::node(node_name(node), "expected a kernel_shape"))
    }

    /// The windows of a kernel over the axes after batch and channels.
    fn geometry(&self, node: &NodeProto, x: &Value, kernel: &[usize]) -> Result<Geometry, ModelError> {
        let invalid = || ModelError::node(node_name(node), "window, padding and shapes do not agree");
        let shape = x.shape();
        let from = shape.get(2..).filter(|from| from.len() == kernel.len()).ok_or_else(invalid)?.to_vec();
        let rank = from.len();
        let list = |name: &str, default: usize| -> Result<Vec<usize>, ModelError> {
            match ints(node, name) {
                None => Ok(vec![default; rank]),
                Some(values) if values.len() == rank => {
                    values.iter().map(|&v| usize::try_from(v).map_err(|_| invalid())).collect()
                }
                Some(_) => Err(invalid()),
            }
        };
        let (stride, dilation) = (list("strides", 1)?, list("dilations", 1)?);
        if stride.contains(&0) || dilation.contains(&0) {
            return Err(invalid());
        }
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        if let Some(pads) = ints(node, "pads").filter(|pads| !pads.is_empty()) {
            let pads: Vec<usize> =
                pads.iter().map(|&p| usize::try_from(p).map_err(|_| invalid())).collect::<Result<_, _>>()?;
            if pads.len() != 2 * rank {
                return Err(invalid());
            }
            (before, after) = (pads[..rank].to_vec(), pads[rank..].to_vec());
        }
        let mut to = vec![0; rank];
        let (padding, ceil) = (text(node, "auto_pad", "NOTSET"), int(node, "ceil_mode", 0) != 0);
        for axis in 0..rank {
            let reach = (kernel[axis] - 1) * dilation[axis] + 1;
            match padding {
                "SAME_UPPER" | "SAME_LOWER" => {
                    to[axis] = from[axis].div_ceil(stride[axis]);
                    let total = ((to[axis] - 1) * stride[axis] + reach).saturating_sub(from[axis]);
                    let less = total / 2;
                    (before[axis], after[axis]) =
                        if padding == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
                }
                _ => {
                    if padding == "VALID" {
                        (before[axis], after[axis]) = (0, 0);
                    }
                    let room =
                        (from[axis] + before[axis] + after[axis]).checked_sub(reach).ok_or_else(invalid)?;
                    let steps = if ceil { room.div_ceil(stride[axis]) } else { room / stride[axis] };
                    // A window that would begin in the padding behind the image is none.
                    let behind = steps * stride[axis] >= from[axis] + before[axis];
                    to[axis] = if ceil && behind { steps } else { steps + 1 };
                }
            }
            // Where the last window ends: rounding up the size means more padding.
            let end = (to[axis] - 1) * stride[axis] + reach;
            after[axis] = after[axis].max(end.saturating_sub(from[axis] + before[axis]));
        }
        Ok(Geometry { kernel: kernel.to_vec(), stride, dilation, before, after, from, to })
    }

    /// A convolution with constant weights `[outputs, channels / groups, kernel..]`.
    pub(super) fn conv(
        &mut self,
        node: &NodeProto,
        x: &Value,
        w: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Value, ModelError> {
        let invalid = || ModelError::node(node_name(node), "weights and shapes do not agree");
        let groups = usize::try_from(int(node, "group", 1)).unwrap_or(0);
        let (shape, [outputs, depth, kernel @ ..]) = (x.shape(), w.shape.as_slice()) else {
            return Err(invalid());
        };
        let (outputs, depth) = (*outputs, *depth);
        let geometry = self.geometry(node, x, kernel)?;
        if groups == 0 || shape[1] != depth * groups || !outputs.is_multiple_of(groups) || outputs == 0 {
            return Err(invalid());
        }
        let weights = self.floats(node, w)?;
        let bias = match bias {
            Some(bias) if bias.values.len() == outputs => self.floats(node, bias)?,
            Some(_) => return Err(invalid()),
            None => vec![0.0; outputs],
        };
        let to: Vec<usize> = [&[shape[0], outputs], geometry.to.as_slice()].concat();
        self.check_elements(node, &to)?;
        let mut parts = Vec::new();
        for sample in 0..shape[0] {
            let x = self.sliced(x, 0, sample, 1);
            let y = match geometry.window() {
                Some((kernel, window)) => {
                    let (weights, bias) = (weights.clone(), bias.clone());
                    let map = Map::Conv2d { weights, bias, kernel, window, groups: groups as u32 };
                    let (view, r#type) = self.wire(node, &x)?;
                    let view =
                        self.builder.reshape(node_name(node), &view, image(shape[1], &geometry.from))?;
                    let to = image(outputs, &geometry.to);
                    Value::Wire(self.builder.conv(node_name(node), &view, map, to)?, r#type)
                }
                None => self.sparse_conv(node, &x, &geometry, (&weights, &bias), [depth, groups])?,
            };
            parts.push(self.reshape(node, &y, &[&[1], &to[1..]].concat())?);
        }
        if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { self.concatenated(node, &parts, 0) }
    }

    fn sparse_conv(
        &mut self,
        node: &NodeProto,
        x: &Value,
        geometry: &Geometry,
        (weights, bias): (&[f32], &[f32]),
        [depth, groups]: [usize; 2],
    ) -> Result<Value, ModelError> {
        let [taps, outputs] = self.listed(node, geometry, bias.len().saturating_mul(depth))?;
        let (area, per_group) = (geometry.from.iter().product::<usize>(), bias.len() / groups);
        let mut rows = Vec::with_capacity(outputs.len() * bias.len());
        for channel in 0..bias.len() {
            let first = channel / per_group * depth;
            for out in &outputs {
                let mut row = Vec::new();
                for c in 0..depth {
                    for (number, tap) in taps.iter().enumerate() {
                        if let Some(place) = geometry.place(out, tap) {
                            let weight = weights[(channel * depth + c) * taps.len() + number];
                            row.push((((first + c) * area + place) as u32, weight));
                        }
                    }
                }
                rows.push(row);
            }
        }
        let biases = bias.iter().flat_map(|&b| std::iter::repeat_n(b, outputs.len())).collect();
        let shape = [&[1, bias.len()], geometry.to.as_slice()].concat();
        self.sparse(node, x, rows, biases, &shape)
    }

    /// A sparse map of a wire.
    pub(super) fn sparse(
        &mut self,
        node: &NodeProto,
        x: &Value,
        taps: Vec<Vec<(u32, f32)>>,
        bias: Vec<f32>,
        shape: &[usize],
    ) -> Result<Value, ModelError> {
        let dims = self.dims(node, shape)?;
        if let Value::Constant(tensor) = x {
            let row = |(row, &b): (&Vec<(u32, f32)>, &f32)| {
                f64::from(b) + row.iter().map(|&(i, w)| f64::from(w) * tensor.values[i as usize]).sum::<f64>()
            };
            let values = taps.iter().zip(&bias).map(row).collect();
            return Ok(Value::Constant(Tensor { shape: shape.to_vec(), values, r#type: tensor.r#type }));
        }
        let (view, r#type) = self.wire(node, x)?;
        Ok(Value::Wire(self.builder.sparse(node_name(node), &view, taps, bias, dims)?, r#type))
    }

    /// Taps and outputs of a window one by one, if there are not too many of them in so many planes.
    fn listed(
        &self,
        node: &NodeProto,
        geometry: &Geometry,
        planes: usize,
    ) -> Result<[Vec<Vec<usize>>; 2], ModelError> {
        let sides = geometry.to.iter().chain(&geometry.kernel);
        self.check_taps(node, sides.fold(planes, |taps, &side| taps.saturating_mul(side)))?;
        Ok([geometry.taps(), geometry.outputs()])
    }

    pub(super) fn check_taps(&self, node: &NodeProto, got: usize) -> Result<(), ModelError> {
        if got <= limits::WEIGHTS / 8 {
            return Ok(());
        }
        let what = format!("number of taps of {}", node_name(node));
        Err(ModelError::Limit { what, got: got as u64, limit: (limits::WEIGHTS / 8) as u64 })
    }

    fn quantized_conv(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.dequantized(node, 0, Some(1), Some(2), 1)?;
        let w = self.dequantized(node, 3, Some(4), Some(5), 0)?;
        let Value::Constant(w) = w else { return Err(self.unsupported(node, "constant weights")) };
        let bias = match self.optional_constant(node, 8)? {
            None => None,
            Some(bias) => {
                let (x_scale, w_scale) = (self.constant(node, 1)?, self.constant(node, 4)?);
                let unit = x_scale.values.first().copied().unwrap_or(1.0);
                let scale = |i: usize| {
                    unit * w_scale.values.get(i % w_scale.values.len().max(1)).copied().unwrap_or(1.0)
                };
                let values = bias.values.iter().enumerate().map(|(i, b)| b * scale(i)).collect();
                Some(Tensor { values, r#type: Type::Float, ..bias })
            }
        };
        let y = self.conv(node, &x, &w, bias.as_ref())?;
        self.quantized(node, &y, 6, Some(7), 1)
    }

    /// Every input adds its weights to the outputs that a convolution the other way would read from it.
    fn conv_transpose(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let invalid = || ModelError::node(node_name(node), "weights, padding and shapes do not agree");
        let (x, w) = (self.operand(node, 0)?, self.constant(node, 1)?);
        let groups = usize::try_from(int(node, "group", 1)).unwrap_or(0).max(1);
        let (shape, [channels, per_group, kernel @ ..]) = (x.shape(), w.shape.as_slice()) else {
            return Err(invalid());
        };
        let (channels, per_group, rank) = (*channels, *per_group, kernel.len());
        let from = shape.get(2..).filter(|from| from.len() == rank).ok_or_else(invalid)?.to_vec();
        if shape[1] != channels || !channels.is_multiple_of(groups) {
            return Err(invalid());
        }
        let list = |name: &str, default: i64, length: usize| -> Result<Vec<i64>, ModelError> {
            match ints(node, name).filter(|values| !values.is_empty()) {
                None => Ok(vec![default; length]),
                Some(values) if values.len() == length => Ok(values.to_vec()),
                Some(_) => Err(invalid()),
            }
        };
        let (stride, dilation) = (list("strides", 1, rank)?, list("dilations", 1, rank)?);
        let extra = list("output_padding", 0, rank)?;
        let mut pads = list("pads", 0, 2 * rank)?;
        let mut to = Vec::new();
        for axis in 0..rank {
            let full = (from[axis] as i64 - 1) * stride[axis]
                + extra[axis]
                + (kernel[axis] as i64 - 1) * dilation[axis]
                + 1;
            let padding = text(node, "auto_pad", "NOTSET");
            let wanted = match ints(node, "output_shape") {
                Some(sizes) => Some(
                    sizes
                        .get(sizes.len().checked_sub(rank).ok_or_else(invalid)? + axis)
                        .copied()
                        .ok_or_else(invalid)?,
                ),
                None if padding.starts_with("SAME") => Some(from[axis] as i64 * stride[axis]),
                None => None,
            };
            if let Some(wanted) = wanted {
                let total = (full - wanted).max(0);
                let less = total / 2;
                (pads[axis], pads[rank + axis]) =
                    if padding == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
                to.push(usize::try_from(wanted).map_err(|_| invalid())?);
            } else {
                to.push(usize::try_from(full - pads[axis] - pads[rank + axis]).map_err(|_| invalid())?);
            }
        }
        let outputs = per_group * groups;
        let weights = self.floats(node, &w)?;
        let bias = match self.optional_constant(node, 2)? {
            Some(bias) if bias.values.len() == outputs => self.floats(node, &bias)?,
            Some(_) => return Err(invalid()),
            None => vec![0.0; outputs],
        };
        let whole = [&[1, outputs], to.as_slice()].concat();
        self.check_elements(node, &whole)?;
        let (area, taps): (usize, usize) = (from.iter().product(), kernel.iter().product());
        let (in_skip, out_skip, tap_skip) = (strides(&from), strides(&to), strides(kernel));
        let out_area: usize = to.iter().product();
        self.check_taps(node, channels * area * per_group * taps)?;
        let mut rows: Vec<Vec<(u32, f32)>> = vec![Vec::new(); outputs * out_area];
        let depth = channels / groups;
        for channel in 0..channels {
            for place in 0..area {
                for tap in 0..taps {
                    let mut at = Some(0usize);
                    for axis in 0..rank {
                        let i = (place / in_skip[axis] % from[axis]) as i64;
                        let k = (tap / tap_skip[axis] % kernel[axis]) as i64;
                        let out = i * stride[axis] + k * dilation[axis] - pads[axis];
                        at = match (at, usize::try_from(out)) {
                            (Some(sum), Ok(out)) if out < to[axis] => Some(sum + out * out_skip[axis]),
                            _ => None,
                        };
                    }
                    let Some(at) = at else { continue };
                    for o in 0..per_group {
                        let weight = weights[(channel * per_group + o) * taps + tap];
                        let output = channel / depth * per_group + o;
                        rows[output * out_area + at].push(((channel * area + place) as u32, weight));
                    }
                }
            }
        }
        let biases: Vec<f32> = bias.iter().flat_map(|&b| std::iter::repeat_n(b, out_area)).collect();
        let mut parts = Vec::new();
        for sample in 0..shape[0] {
            let x = self.sliced(&x, 0, sample, 1);
            parts.push(self.sparse(node, &x, rows.clone(), biases.clone(), &whole)?);
        }
        if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { self.concatenated(node, &parts, 0) }
    }

    fn max_pool(&mut self, node: &NodeProto, x: &Value, geometry: &Geometry) -> Result<Value, ModelError> {
        let shape = x.shape();
        let to: Vec<usize> = [&shape[..2], geometry.to.as_slice()].concat();
        self.check_elements(node, &to)?;
        let (view, r#type) = self.wire(node, x)?;
        if let Some((kernel, window)) = geometry.window() {
            let channels = shape[0] * shape[1];
            let view = self.builder.reshape(node_name(node), &view, image(channels, &geometry.from))?;
            let image = image(channels, &geometry.to);
            let y = self.builder.max_pool(node_name(node), &view, MaxPool2d { kernel, window }, image)?;
            return self.reshape(node, &Value::Wire(y, r#type), &to);
        }
        // A tap in the padding is replaced by one in the image, which changes no maximum.
        let [taps, outputs] = self.listed(node, geometry, shape[0] * shape[1])?;
        let area: usize = geometry.from.iter().product();
        self.check_elements(node, &[shape[0] * shape[1], outputs.len(), taps.len()])?;
        let mut index = Vec::new();
        for plane in 0..shape[0] * shape[1] {
            for out in &outputs {
                let places: Vec<usize> = taps.iter().filter_map(|tap| geometry.place(out, tap)).collect();
                let Some(&first) = places.first() else {
                    return Err(ModelError::node(node_name(node), "a window lies wholly in the padding"));
                };
                let place = |i: usize| (plane * area + places.get(i).copied().unwrap_or(first)) as u32;
                index.extend((0..taps.len()).map(place));
            }
        }
        let windows = self.builder.select(
            &view,
            index,
            vec![(shape[0] * shape[1] * outputs.len()) as u32, taps.len() as u32],
        );
        let dims = self.dims(node, &to)?;
        Ok(Value::Wire(self.builder.max_group(node_name(node), &windows, taps.len() as u32, dims)?, r#type))
    }

    /// The mean of every window: over the padding too, or over what lies in the image.
    fn average(
        &mut self,
        node: &NodeProto,
        x: &Value,
        geometry: &Geometry,
        padding: bool,
    ) -> Result<Value, ModelError> {
        let shape = x.shape();
        let taps: usize = geometry.kernel.iter().product();
        let padded = geometry.before.iter().chain(&geometry.after).any(|&p| p > 0);
        let ceil = int(node, "ceil_mode", 0) != 0;
        if shape[0] == 1 && (!padded || padding && !ceil) && geometry.window().is_some() {
            let kernel = [&[shape[1], 1], geometry.kernel.as_slice()].concat();
            let w = Tensor {
                values: vec![1.0 / taps as f64; shape[1] * taps],
                shape: kernel,
                r#type: Type::Float,
            };
            let mut grouped = node.clone();
            grouped.attribute.push(tract_onnx::pb::AttributeProto {
                name: "group".into(),
                i: shape[1] as i64,
                ..Default::default()
            });
            return self.conv(&grouped, x, &w, None);
        }
        let declared = ints(node, "pads").filter(|pads| !pads.is_empty()).map(<[i64]>::to_vec);
        let share = |out: &[usize], inside: usize| {
            if !padding {
                return inside;
            }
            // Padding that only rounding up the size added does not count.
            (0..out.len())
                .map(|axis| {
                    let after = match &declared {
                        Some(pads) => pads[out.len() + axis] as usize,
                        None if text(node, "auto_pad", "NOTSET").starts_with("SAME") => geometry.after[axis],
                        None => 0,
                    };
                    let start = out[axis] * geometry.stride[axis];
                    let end = (geometry.from[axis] + geometry.before[axis] + after).saturating_sub(start);
                    (0..geometry.kernel[axis]).filter(|k| k * geometry.dilation[axis] < end).count()
                })
                .product()
        };
        self.pooled(node, x, geometry, share)
    }

    /// Sums over windows, each divided by what `share` makes of the output and its number of taps.
    fn pooled(
        &mut self,
        node: &NodeProto,
        x: &Value,
        geometry: &Geometry,
        share: impl Fn(&[usize], usize) -> usize,
    ) -> Result<Value, ModelError> {
        let shape = x.shape();
        let (planes, area) = (shape[0] * shape[1], geometry.from.iter().product::<usize>());
        let [taps, outputs] = self.listed(node, geometry, planes)?;
        let mut rows = Vec::new();
        for plane in 0..planes {
            for out in &outputs {
                let places: Vec<usize> = taps.iter().filter_map(|tap| geometry.place(out, tap)).collect();
                let weight = 1.0 / share(out, places.len()).max(1) as f32;
                rows.push(places.into_iter().map(|place| ((plane * area + place) as u32, weight)).collect());
            }
        }
        let bias = vec![0.0; rows.len()];
        self.sparse(node, x, rows, bias, &[&shape[..2], geometry.to.as_slice()].concat())
    }

    fn lp_pool(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, p) = (self.operand(node, 0)?, int(node, "p", 2) as f64);
        let kernel = self.kernel(node)?;
        let geometry = self.geometry(node, &x, &kernel)?;
        let powers = self.unary(node, &x, |x| x.of(Function::Abs).of(Function::Power(p)))?;
        let sums = self.pooled(node, &powers, &geometry, |_, _| 1)?;
        self.unary(node, &sums, |x| x.clamp(0.0, f64::INFINITY).of(Function::Power(1.0 / p)))
    }
}
