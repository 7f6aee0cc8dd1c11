//! Operators that divide by a sum, a deviation or a norm.

use tract_onnx::pb::NodeProto;

use super::reduce::listed;
use super::{Lowering, Value, float, int, text};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair};
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type};

impl Lowering {
    pub(super) fn normalise(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let result = match node.op_type.as_str() {
            "Softmax" => {
                let x = self.operand(node, 0)?;
                let (x, axis, shape) = self.normalised_axis(node, &x)?;
                let y = self.softmax(node, &x, axis)?;
                self.reshape(node, &y, &shape)?
            }
            "LogSoftmax" => {
                let x = self.operand(node, 0)?;
                let (x, axis, shape) = self.normalised_axis(node, &x)?;
                let y = self.log_softmax(node, &x, axis)?;
                self.reshape(node, &y, &shape)?
            }
            "BatchNormalization" => self.batch(node)?,
            "LayerNormalization" => return self.layer(node).map(Some),
            "RMSNormalization" | "SimplifiedLayerNormalization" => self.root_mean_square(node)?,
            "InstanceNormalization" => {
                let x = self.operand(node, 0)?;
                let axes: Vec<usize> = (2..x.shape().len()).collect();
                let (y, ..) = self.standardised(node, &x, &axes, float(node, "epsilon", 1e-5))?;
                self.scaled(node, &y, 1, 2)?
            }
            "GroupNormalization" => self.group(node)?,
            "MeanVarianceNormalization" => {
                let x = self.operand(node, 0)?;
                let axes = listed(node, "axes").unwrap_or_else(|| vec![0, 2, 3]);
                let axes = self.axes(node, &axes, x.shape().len())?;
                self.standardised(node, &x, &axes, 1e-9)?.0
            }
            "LpNormalization" => {
                let x = self.operand(node, 0)?;
                let axis = self.axis(node, int(node, "axis", -1), x.shape().len())?;
                let norm = self.norm(node, &x, &[axis], int(node, "p", 2) as f64, true)?;
                self.binary(node, Pair::Divide, &x, &norm)?
            }
            "LRN" => self.local_response(node)?,
            "NegativeLogLikelihoodLoss" => {
                let x = self.operand(node, 0)?;
                self.likelihood(node, &x)?
            }
            "SoftmaxCrossEntropyLoss" => {
                let x = self.operand(node, 0)?;
                let classes = self.axis(node, 1, x.shape().len())?;
                let log = self.log_softmax(node, &x, classes)?;
                let loss = self.likelihood(node, &log)?;
                return Ok(Some(vec![loss, log]));
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    fn exponentials(&mut self, node: &NodeProto, x: &Value, axis: usize) -> Result<[Value; 3], ModelError> {
        let greatest = self.greatest(node, x, &[axis], true)?;
        let below = self.minus(node, x, &greatest)?;
        let powers = self.unary(node, &below, |x| x.of(Function::Exp))?;
        let sum = self.summed(node, &powers, &[axis], true)?;
        Ok([below, powers, sum])
    }

    /// `exp(x - max x) / sum exp(x - max x)`.
    pub(super) fn softmax(&mut self, node: &NodeProto, x: &Value, axis: usize) -> Result<Value, ModelError> {
        let [_, powers, sum] = self.exponentials(node, x, axis)?;
        // A sum of powers of which one is 1.
        let inverse = self.unary(node, &sum, |s| s.clamp(1.0, f64::INFINITY).of(Function::Reciprocal))?;
        self.binary(node, Pair::Multiply, &powers, &inverse)
    }

    fn log_softmax(&mut self, node: &NodeProto, x: &Value, axis: usize) -> Result<Value, ModelError> {
        let [below, _, sum] = self.exponentials(node, x, axis)?;
        let log = self.unary(node, &sum, |s| s.clamp(1.0, f64::INFINITY).of(Function::Log))?;
        self.minus(node, &below, &log)
    }

    /// `scale (x - mean) / sqrt(variance + epsilon) + bias`, a constant line for every channel.
    fn batch(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        if int(node, "training_mode", 0) != 0 {
            return Err(self.unsupported(node, "a normalisation that does not train"));
        }
        let x = self.operand(node, 0)?;
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|index| self.constant(node, index));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let epsilon = float(node, "epsilon", 1e-5);
        let n = scale.values.len();
        if [&bias, &mean, &variance].iter().any(|tensor| tensor.values.len() != n) {
            return Err(ModelError::node(node_name(node), "numbers of channels differ"));
        }
        let factors: Vec<f64> =
            (0..n).map(|c| scale.values[c] / (variance.values[c] + epsilon).sqrt()).collect();
        let offsets: Vec<f64> = (0..n).map(|c| bias.values[c] - mean.values[c] * factors[c]).collect();
        let (factors, offsets) = (self.channels(&x, factors), self.channels(&x, offsets));
        let y = self.binary(node, Pair::Multiply, &x, &factors)?;
        self.binary(node, Pair::Add, &y, &offsets)
    }

    /// One number a channel, shaped to broadcast with a tensor.
    fn channels(&self, x: &Value, values: Vec<f64>) -> Value {
        let rank = x.shape().len();
        let mut shape = vec![1; rank.max(1)];
        shape[usize::from(rank > 1)] = values.len();
        Value::Constant(Tensor { shape, values, r#type: Type::Float })
    }

    /// `x scale + bias` with operands that hold one number a channel.
    fn scaled(
        &mut self,
        node: &NodeProto,
        x: &Value,
        scale: usize,
        bias: usize,
    ) -> Result<Value, ModelError> {
        let (scale, bias) = (self.constant(node, scale)?, self.constant(node, bias)?);
        let (scale, bias) = (self.channels(x, scale.values), self.channels(x, bias.values));
        let y = self.binary(node, Pair::Multiply, x, &scale)?;
        self.binary(node, Pair::Add, &y, &bias)
    }

    /// `(x - mean) / sqrt(variance + epsilon)` over axes, with the mean and the inverse deviation.
    fn standardised(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        epsilon: f64,
    ) -> Result<(Value, Value, Value), ModelError> {
        let mean = self.averaged(node, x, axes, true)?;
        let centred = self.minus(node, x, &mean)?;
        let inverse = self.inverse_deviation(node, &centred, axes, epsilon)?;
        Ok((self.binary(node, Pair::Multiply, &centred, &inverse)?, mean, inverse))
    }

    /// `1 / sqrt(mean x^2 + epsilon)`.
    fn inverse_deviation(
        &mut self,
        node: &NodeProto,
        x: &Value,
        axes: &[usize],
        epsilon: f64,
    ) -> Result<Value, ModelError> {
        let squares = self.binary(node, Pair::Multiply, x, x)?;
        let variance = self.averaged(node, &squares, axes, true)?;
        self.unary(node, &variance, |v| {
            v.clamp(0.0, f64::INFINITY).affine(1.0, epsilon).of(Function::Power(-0.5))
        })
    }

    fn layer(&mut self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        let x = self.operand(node, 0)?;
        let rank = x.shape().len();
        let axis = self.axis(node, int(node, "axis", -1), rank)?;
        let axes: Vec<usize> = (axis..rank).collect();
        let (y, mean, inverse) = self.standardised(node, &x, &axes, float(node, "epsilon", 1e-5))?;
        Ok(vec![self.weighed_and_moved(node, &y)?, mean, inverse])
    }

    fn weighed_and_moved(&mut self, node: &NodeProto, x: &Value) -> Result<Value, ModelError> {
        let mut y = x.clone();
        if let Some(scale) = self.optional(node, 1)? {
            y = self.binary(node, Pair::Multiply, &y, &scale)?;
        }
        if let Some(bias) = self.optional(node, 2)? {
            y = self.binary(node, Pair::Add, &y, &bias)?;
        }
        Ok(y)
    }

    fn root_mean_square(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let rank = x.shape().len();
        let axis = self.axis(node, int(node, "axis", -1), rank)?;
        let axes: Vec<usize> = (axis..rank).collect();
        let inverse = self.inverse_deviation(node, &x, &axes, float(node, "epsilon", 1e-5))?;
        let y = self.binary(node, Pair::Multiply, &x, &inverse)?;
        self.weighed_and_moved(node, &y)
    }

    fn group(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let shape = x.shape();
        let groups = usize::try_from(int(node, "num_groups", 1)).unwrap_or(0);
        let invalid = || ModelError::node(node_name(node), "channels are no multiple of the groups");
        let channels =
            *shape.get(1).filter(|c| groups > 0 && c.is_multiple_of(groups)).ok_or_else(invalid)?;
        let inner = x.elements() / shape[0] / groups;
        let grouped = self.reshape(node, &x, &[shape[0], groups, inner])?;
        let (y, ..) = self.standardised(node, &grouped, &[2], float(node, "epsilon", 1e-5))?;
        // Before operator set 21 scales are one a group.
        let scale = self.constant(node, 1)?;
        if scale.values.len() == channels {
            let y = self.reshape(node, &y, &shape)?;
            return self.scaled(node, &y, 1, 2);
        }
        let y = self.scaled(node, &y, 1, 2)?;
        self.reshape(node, &y, &shape)
    }

    /// `x / (bias + alpha / size * sum of squares of neighbouring channels)^beta`.
    fn local_response(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let shape = x.shape();
        let size = usize::try_from(int(node, "size", 1)).unwrap_or(0).max(1);
        let (alpha, beta, bias) =
            (float(node, "alpha", 1e-4), float(node, "beta", 0.75), float(node, "bias", 1.0));
        let channels = *shape.get(1).ok_or_else(|| ModelError::node(node_name(node), "expected channels"))?;
        let area: usize = shape[2..].iter().product();
        let squares = self.binary(node, Pair::Multiply, &x, &x)?;
        let row = |i: usize| -> Vec<(u32, f32)> {
            let channel = i / area % channels;
            let first = channel.saturating_sub((size - 1) / 2);
            let end = (channel + size / 2 + 1).min(channels);
            let base = i - channel * area;
            (first..end).map(|c| ((base + c * area) as u32, 1.0)).collect()
        };
        let taps: Vec<Vec<(u32, f32)>> = (0..x.elements()).map(row).collect();
        let zeros = vec![0.0; taps.len()];
        let sums = self.sparse(node, &squares, taps, zeros, &shape)?;
        let factors = self.unary(node, &sums, |s| {
            s.clamp(0.0, f64::INFINITY).affine(alpha / size as f64, bias).of(Function::Power(-beta))
        })?;
        self.binary(node, Pair::Multiply, &x, &factors)
    }

    /// `-w[t] x[t]` of the classes that are named, averaged, summed or as they are.
    fn likelihood(&mut self, node: &NodeProto, x: &Value) -> Result<Value, ModelError> {
        let (shape, classes) = (x.shape(), self.constant(node, 1)?);
        let weights = self.optional_constant(node, 2)?;
        let ignored = super::attribute(node, "ignore_index").map(|attribute| attribute.i);
        let [samples, count, rest @ ..] = shape.as_slice() else {
            return Err(ModelError::node(
                node_name(node),
                "expected a score for every class of every sample",
            ));
        };
        let (count, area) = (*count, rest.iter().product::<usize>());
        if classes.values.len() != samples * area {
            return Err(ModelError::node(node_name(node), "classes and scores do not agree"));
        }
        let (mut index, mut factors) = (Vec::new(), Vec::new());
        for (place, class) in classes.integers().into_iter().enumerate() {
            let valid = usize::try_from(class).ok().filter(|&c| c < count && Some(class) != ignored);
            if valid.is_none() && Some(class) != ignored {
                return Err(ModelError::node(node_name(node), format!("class {class} of {count}")));
            }
            let class = valid.unwrap_or(0);
            index.push(((place / area * count + class) * area + place % area) as u32);
            let weight = weights.as_ref().map_or(1.0, |w| w.values.get(class).copied().unwrap_or(1.0));
            factors.push(if valid.is_some() { weight } else { 0.0 });
        }
        let total: f64 = factors.iter().sum();
        let reduction = text(node, "reduction", "mean");
        let divisor = if reduction == "mean" { total } else { 1.0 };
        let chosen = self.select(x, index, &classes.shape);
        let factors = factors.into_iter().map(|f| -f / divisor).collect();
        let factors =
            Value::Constant(Tensor { shape: classes.shape.clone(), values: factors, r#type: Type::Float });
        let losses = self.binary(node, Pair::Multiply, &chosen, &factors)?;
        if reduction == "none" {
            return Ok(losses);
        }
        let axes: Vec<usize> = (0..classes.shape.len()).collect();
        self.summed(node, &losses, &axes, false)
    }
}
