//! Recurrent layers, unrolled: every step is two products by constants, tables and products of gates.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, attribute, float, int, text};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair, Scalar};
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type};

/// Steps that a layer is unrolled for.
const STEPS: usize = 1 << 10;

/// Weights of one direction.
struct Direction {
    /// `[inputs, gates]` and `[hidden, gates]`.
    input: Value,
    hidden: Value,
    /// `[gates]` of both products.
    input_bias: Value,
    hidden_bias: Value,
    /// `[hidden]` for input, output and forget gates.
    peepholes: Option<[Value; 3]>,
    /// `f`, `g`, `h`.
    activations: Vec<Activation>,
    backward: bool,
}

#[derive(Clone, Copy)]
struct Activation {
    name: Known,
    alpha: f64,
    beta: f64,
}

#[derive(Clone, Copy)]
enum Known {
    Sigmoid,
    Tanh,
    Relu,
    Affine,
    LeakyRelu,
    HardSigmoid,
    Softsign,
    Softplus,
}

impl Activation {
    fn of(name: &str, alpha: Option<f64>, beta: Option<f64>) -> Option<Self> {
        let (name, default) = match name.to_ascii_lowercase().as_str() {
            "sigmoid" => (Known::Sigmoid, (0.0, 0.0)),
            "tanh" => (Known::Tanh, (0.0, 0.0)),
            "relu" => (Known::Relu, (0.0, 0.0)),
            "affine" => (Known::Affine, (1.0, 0.0)),
            "leakyrelu" => (Known::LeakyRelu, (0.01, 0.0)),
            "hardsigmoid" => (Known::HardSigmoid, (0.2, 0.5)),
            "softsign" => (Known::Softsign, (0.0, 0.0)),
            "softplus" => (Known::Softplus, (0.0, 0.0)),
            _ => return None,
        };
        Some(Self { name, alpha: alpha.unwrap_or(default.0), beta: beta.unwrap_or(default.1) })
    }

    fn at(self, x: Scalar) -> Scalar {
        match self.name {
            Known::Sigmoid => x.of(Function::Sigmoid),
            Known::Tanh => x.of(Function::Tanh),
            Known::Relu => x.clamp(0.0, f64::INFINITY),
            Known::Affine => x.affine(self.alpha, self.beta),
            Known::LeakyRelu => {
                let below = x.clone().clamp(f64::NEG_INFINITY, 0.0).affine(self.alpha, 0.0);
                x.clamp(0.0, f64::INFINITY).both(Pair::Add, below)
            }
            Known::HardSigmoid => x.affine(self.alpha, self.beta).clamp(0.0, 1.0),
            Known::Softsign => x.clone().both(Pair::Divide, x.of(Function::Abs).affine(1.0, 1.0)),
            Known::Softplus => x.of(Function::Softplus),
        }
    }
}

impl Lowering {
    pub(super) fn recurrent(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        let (gates, defaults): (usize, &[&str]) = match node.op_type.as_str() {
            "RNN" => (1, &["Tanh"]),
            "GRU" => (3, &["Sigmoid", "Tanh"]),
            "LSTM" => (4, &["Sigmoid", "Tanh", "Tanh"]),
            _ => return Ok(None),
        };
        let invalid = || ModelError::node(node_name(node), "weights and shapes do not agree");
        let batch_first = int(node, "layout", 0) != 0;
        let mut x = self.operand(node, 0)?;
        if batch_first && x.shape().len() == 3 {
            x = self.permuted(&x, &[1, 0, 2]);
        }
        let [steps, batch, width] = x.shape()[..] else { return Err(invalid()) };
        if steps > STEPS {
            return Err(self.unsupported(node, &format!("at most {STEPS} steps")));
        }
        if let Some(lengths) = self.optional_constant(node, 4)?
            && lengths.values.iter().any(|&l| l != steps as f64)
        {
            return Err(self.unsupported(node, "sequences of full length"));
        }
        let directions = self.directions(node, gates, defaults, width)?;
        let hidden = directions.first().map(|d| d.hidden.shape()[0]).ok_or_else(invalid)?;
        let initial = |lowering: &mut Self, index: usize| -> Result<Value, ModelError> {
            match lowering.optional(node, index)? {
                Some(value) if value.shape().len() != 3 => Err(invalid()),
                Some(value) if batch_first => Ok(lowering.permuted(&value, &[1, 0, 2])),
                Some(value) => Ok(value),
                None => {
                    let shape = vec![directions.len(), batch, hidden];
                    let values = vec![0.0; shape.iter().product()];
                    Ok(Value::Constant(Tensor { shape, values, r#type: Type::Float }))
                }
            }
        };
        let h0 = initial(self, 5)?;
        let c0 = if node.op_type == "LSTM" { Some(initial(self, 6)?) } else { None };
        let (mut outputs, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
        for (number, direction) in directions.iter().enumerate() {
            let state = |lowering: &Self, value: &Value| {
                let part = lowering.sliced(value, 0, number, 1);
                lowering.reshape(node, &part, &[batch, hidden])
            };
            let mut h = state(self, &h0)?;
            let mut c = match &c0 {
                Some(c0) => Some(state(self, c0)?),
                None => None,
            };
            let product = self.matmul(node, &x, &direction.input)?;
            let product = self.binary(node, Pair::Add, &product, &direction.input_bias)?;
            let mut all = Vec::new();
            for step in 0..steps {
                let at = if direction.backward { steps - 1 - step } else { step };
                let part = self.sliced(&product, 0, at, 1);
                let part = self.reshape(node, &part, &[batch, gates * hidden])?;
                (h, c) = match node.op_type.as_str() {
                    "RNN" => (self.rnn(node, direction, &part, &h)?, None),
                    "GRU" => (self.gru(node, direction, &part, &h, hidden)?, None),
                    _ => {
                        let before = c.ok_or_else(invalid)?;
                        let (h, c) = self.lstm(node, direction, &part, &h, &before, hidden)?;
                        (h, Some(c))
                    }
                };
                all.push(self.reshape(node, &h, &[1, 1, batch, hidden])?);
            }
            if direction.backward {
                all.reverse();
            }
            outputs.push(self.concatenated(node, &all, 0)?);
            last_h.push(self.reshape(node, &h, &[1, batch, hidden])?);
            if let Some(c) = c {
                last_c.push(self.reshape(node, &c, &[1, batch, hidden])?);
            }
        }
        let mut results = vec![self.concatenated(node, &outputs, 1)?, self.concatenated(node, &last_h, 0)?];
        if !last_c.is_empty() {
            results.push(self.concatenated(node, &last_c, 0)?);
        }
        if batch_first {
            results[0] = self.permuted(&results[0], &[2, 0, 1, 3]);
            for state in &mut results[1..] {
                *state = self.permuted(state, &[1, 0, 2]);
            }
        }
        Ok(Some(results))
    }

    fn directions(
        &mut self,
        node: &NodeProto,
        gates: usize,
        defaults: &[&str],
        width: usize,
    ) -> Result<Vec<Direction>, ModelError> {
        let invalid = || ModelError::node(node_name(node), "weights and shapes do not agree");
        let (w, r) = (self.constant(node, 1)?, self.constant(node, 2)?);
        let [count, rows, columns] = w.shape[..] else { return Err(invalid()) };
        let hidden = rows / gates;
        if columns != width || r.shape != [count, rows, hidden] || rows != gates * hidden {
            return Err(invalid());
        }
        let bias = match self.optional_constant(node, 3)? {
            Some(bias) if bias.shape == [count, 2 * rows] => bias.values,
            Some(_) => return Err(invalid()),
            None => vec![0.0; count * 2 * rows],
        };
        let peepholes = match self.optional_constant(node, 7)? {
            Some(p) if node.op_type == "LSTM" && p.shape == [count, 3 * hidden] => Some(p.values),
            Some(_) if node.op_type == "LSTM" => return Err(invalid()),
            _ => None,
        };
        let names = attribute(node, "activations").map(|a| a.strings.clone()).unwrap_or_default();
        let numbers = |name: &str| attribute(node, name).map(|a| a.floats.clone()).unwrap_or_default();
        let (alphas, betas) = (numbers("activation_alpha"), numbers("activation_beta"));
        let constant = |shape: Vec<usize>, values: Vec<f64>| {
            Value::Constant(Tensor { shape, values, r#type: Type::Float })
        };
        let mut directions = Vec::new();
        for d in 0..count {
            let part = |values: &[f64], size: usize| values[d * size..(d + 1) * size].to_vec();
            let turn = |lowering: &Self, values: Vec<f64>, columns: usize| {
                lowering.permuted(&constant(vec![rows, columns], values), &[1, 0])
            };
            let mut activations = Vec::new();
            for (i, default) in defaults.iter().enumerate() {
                let at = d * defaults.len() + i;
                let name =
                    names.get(at).map_or((*default).to_owned(), |n| String::from_utf8_lossy(n).into_owned());
                let parameter = |list: &[f32]| list.get(at).map(|&v| f64::from(v));
                let activation = Activation::of(&name, parameter(&alphas), parameter(&betas));
                activations.push(activation.ok_or_else(|| self.unsupported(node, "a known activation"))?);
            }
            let biases = part(&bias, 2 * rows);
            directions.push(Direction {
                input: turn(self, part(&w.values, rows * width), width),
                hidden: turn(self, part(&r.values, rows * hidden), hidden),
                input_bias: constant(vec![rows], biases[..rows].to_vec()),
                hidden_bias: constant(vec![rows], biases[rows..].to_vec()),
                peepholes: peepholes.as_ref().map(|p| {
                    let p = part(p, 3 * hidden);
                    [0, 1, 2].map(|i| constant(vec![hidden], p[i * hidden..(i + 1) * hidden].to_vec()))
                }),
                activations,
                backward: d == 1 || text(node, "direction", "forward") == "reverse",
            });
        }
        Ok(directions)
    }

    /// `h R + b`.
    fn recurrence(
        &mut self,
        node: &NodeProto,
        direction: &Direction,
        h: &Value,
    ) -> Result<Value, ModelError> {
        let product = self.matmul(node, h, &direction.hidden)?;
        self.binary(node, Pair::Add, &product, &direction.hidden_bias)
    }

    fn activated(
        &mut self,
        node: &NodeProto,
        x: &Value,
        activation: Activation,
    ) -> Result<Value, ModelError> {
        let clip = float(node, "clip", 0.0);
        self.unary(node, x, |x| activation.at(if clip > 0.0 { x.clamp(-clip, clip) } else { x }))
    }

    fn rnn(
        &mut self,
        node: &NodeProto,
        direction: &Direction,
        x: &Value,
        h: &Value,
    ) -> Result<Value, ModelError> {
        let before = self.recurrence(node, direction, h)?;
        let sum = self.binary(node, Pair::Add, x, &before)?;
        self.activated(node, &sum, direction.activations[0])
    }

    /// Gates `z`, `r`, `h` in this order.
    fn gru(
        &mut self,
        node: &NodeProto,
        direction: &Direction,
        x: &Value,
        h: &Value,
        hidden: usize,
    ) -> Result<Value, ModelError> {
        let [f, g] = direction.activations[..] else { return Err(self.unsupported(node, "two activations")) };
        let before = self.recurrence(node, direction, h)?;
        let gate = |lowering: &mut Self, number: usize| {
            let (a, b) = (
                lowering.sliced(x, 1, number * hidden, hidden),
                lowering.sliced(&before, 1, number * hidden, hidden),
            );
            let sum = lowering.binary(node, Pair::Add, &a, &b)?;
            lowering.activated(node, &sum, f)
        };
        let (z, r) = (gate(self, 0)?, gate(self, 1)?);
        let own = self.sliced(x, 1, 2 * hidden, hidden);
        let candidate = if int(node, "linear_before_reset", 0) != 0 {
            let part = self.sliced(&before, 1, 2 * hidden, hidden);
            self.binary(node, Pair::Multiply, &r, &part)?
        } else {
            let reset = self.binary(node, Pair::Multiply, &r, h)?;
            let all = self.recurrence(node, direction, &reset)?;
            self.sliced(&all, 1, 2 * hidden, hidden)
        };
        let candidate = self.binary(node, Pair::Add, &own, &candidate)?;
        let candidate = self.activated(node, &candidate, g)?;
        // (1 - z) candidate + z h = candidate + z (h - candidate)
        let difference = self.minus(node, h, &candidate)?;
        let kept = self.binary(node, Pair::Multiply, &z, &difference)?;
        self.binary(node, Pair::Add, &candidate, &kept)
    }

    /// Gates `i`, `o`, `f`, `c` in this order.
    fn lstm(
        &mut self,
        node: &NodeProto,
        direction: &Direction,
        x: &Value,
        h: &Value,
        c: &Value,
        hidden: usize,
    ) -> Result<(Value, Value), ModelError> {
        let [f, g, out] = direction.activations[..] else {
            return Err(self.unsupported(node, "three activations"));
        };
        let before = self.recurrence(node, direction, h)?;
        let sum = self.binary(node, Pair::Add, x, &before)?;
        let part = |lowering: &Self, number: usize| lowering.sliced(&sum, 1, number * hidden, hidden);
        let gate = |lowering: &mut Self, number: usize, peephole: Option<(usize, &Value)>| {
            let mut sum = part(lowering, number);
            if let (Some(weights), Some((which, c))) = (&direction.peepholes, peephole) {
                let seen = lowering.binary(node, Pair::Multiply, c, &weights[which])?;
                sum = lowering.binary(node, Pair::Add, &sum, &seen)?;
            }
            lowering.activated(node, &sum, f)
        };
        let input = gate(self, 0, Some((0, c)))?;
        let forget = match int(node, "input_forget", 0) {
            0 => gate(self, 2, Some((2, c)))?,
            _ => self.unary(node, &input, |i| i.affine(-1.0, 1.0))?,
        };
        let candidate = part(self, 3);
        let candidate = self.activated(node, &candidate, g)?;
        let kept = self.binary(node, Pair::Multiply, &forget, c)?;
        let added = self.binary(node, Pair::Multiply, &input, &candidate)?;
        let c = self.binary(node, Pair::Add, &kept, &added)?;
        let gate = |lowering: &mut Self, c: &Value| {
            let mut sum = part(lowering, 1);
            if let Some(weights) = &direction.peepholes {
                let seen = lowering.binary(node, Pair::Multiply, c, &weights[1])?;
                sum = lowering.binary(node, Pair::Add, &sum, &seen)?;
            }
            lowering.activated(node, &sum, f)
        };
        let output = gate(self, &c)?;
        let shown = self.unary(node, &c, |c| out.at(c))?;
        Ok((self.binary(node, Pair::Multiply, &output, &shown)?, c))
    }
}
