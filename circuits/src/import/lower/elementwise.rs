//! Operators that work on each element alone, or on two tensors element by element.

use tract_onnx::pb::NodeProto;

use super::{Lowering, Value, float, int, text};
use crate::error::ModelError;
use crate::import::scalar::{Function, Pair, Scalar};
use crate::import::source::node_name;
use crate::import::tensor::{Tensor, Type, broadcast};

impl Lowering {
    pub(super) fn elementwise(&mut self, node: &NodeProto) -> Result<Option<Vec<Value>>, ModelError> {
        if let Some(function) = function(node, self.opset) {
            let x = self.operand(node, 0)?;
            return Ok(Some(vec![self.unary(node, &x, |x| function.compose(x))?]));
        }
        let result = match node.op_type.as_str() {
            "Identity" => self.operand(node, 0)?,
            "Dropout" => return self.dropout(node).map(Some),
            "Cast" | "CastLike" => self.cast(node)?,
            "Clip" => self.clip(node)?,
            "Add" => self.pair(node, Pair::Add)?,
            "Mul" => self.pair(node, Pair::Multiply)?,
            "Pow" => self.pair(node, Pair::Power)?,
            "Div" => self.divide(node)?,
            "Sub" => self.subtract(node)?,
            "Mod" => self.modulo(node)?,
            "Max" => self.fold(node, Pair::Maximum)?,
            "Min" => self.fold(node, Pair::Minimum)?,
            "Sum" => self.fold(node, Pair::Add)?,
            "Mean" => {
                let sum = self.fold(node, Pair::Add)?;
                let count = node.input.len() as f64;
                self.unary(node, &sum, |x| x.affine(1.0 / count, 0.0))?
            }
            "PRelu" => self.prelu(node)?,
            "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => self.compare(node)?,
            "And" => self.pair(node, Pair::Multiply)?.typed(Type::Bool),
            "Or" => {
                let sum = self.pair(node, Pair::Add)?;
                self.unary(node, &sum, |x| x.clamp(0.0, 1.0))?.typed(Type::Bool)
            }
            "Xor" => {
                let difference = self.subtract(node)?;
                self.unary(node, &difference, |x| x.of(Function::Abs))?.typed(Type::Bool)
            }
            "Not" => self.not(node)?,
            "Where" => self.r#where(node)?,
            "IsNaN" | "IsInf" => {
                // Integers are neither.
                let x = self.operand(node, 0)?;
                self.unary(node, &x, |x| x.affine(0.0, 0.0))?.typed(Type::Bool)
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![result]))
    }

    /// One that does not train passes everything on.
    fn dropout(&self, node: &NodeProto) -> Result<Vec<Value>, ModelError> {
        let x = self.operand(node, 0)?;
        let constant =
            |index| Ok::<_, ModelError>(self.optional_constant(node, index)?.and_then(|t| t.uniform()));
        let trains = constant(2)?.is_some_and(|training| training != 0.0);
        let ratio = constant(1)?.unwrap_or(float(node, "ratio", 0.5));
        if trains && ratio != 0.0 {
            return Err(self.unsupported(node, "a dropout that does not train"));
        }
        let values = vec![1.0; x.elements()];
        let mask = Tensor { shape: x.shape(), values, r#type: Type::Bool };
        Ok(vec![x, Value::Constant(mask)])
    }

    fn not(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        Ok(self.unary(node, &x, |x| x.affine(-1.0, 1.0))?.typed(Type::Bool))
    }

    pub(super) fn pair(&mut self, node: &NodeProto, pair: Pair) -> Result<Value, ModelError> {
        let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let r#type = a.r#type();
        let b = self.legacy_second(node, &a, &b)?;
        Ok(self.binary(node, pair, &a, &b)?.typed(r#type))
    }

    /// Before operator set 7 the second operand could be placed along an axis of the first.
    fn legacy_second(&self, node: &NodeProto, a: &Value, b: &Value) -> Result<Value, ModelError> {
        if int(node, "broadcast", 0) == 0 || self.opset >= 7 {
            return Ok(b.clone());
        }
        let (rank, mut shape) = (a.shape().len(), b.shape());
        let axis = self.axis(node, int(node, "axis", (rank - shape.len()) as i64), rank.max(1))?;
        shape.resize(rank - axis, 1);
        self.reshape(node, b, &shape)
    }

    fn fold(&mut self, node: &NodeProto, pair: Pair) -> Result<Value, ModelError> {
        let operands = self.operands(node)?;
        let Some((first, rest)) = operands.split_first() else {
            return Err(ModelError::node(node_name(node), "an operand is missing"));
        };
        rest.iter().try_fold(first.clone(), |sum, x| self.binary(node, pair, &sum, x))
    }

    pub(super) fn subtract(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        self.minus(node, &a, &b)
    }

    /// `a - b`.
    pub(super) fn minus(&mut self, node: &NodeProto, a: &Value, b: &Value) -> Result<Value, ModelError> {
        let negated = self.unary(node, b, |b| b.affine(-1.0, 0.0))?;
        self.binary(node, Pair::Add, a, &negated)
    }

    fn divide(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let whole = a.r#type() == Type::Int && b.r#type() == Type::Int;
        if let (true, Value::Wire(..), Value::Constant(divisors)) = (whole, &a, &b)
            && divisors.uniform().is_none()
            && broadcast(&a.shape(), &divisors.shape).as_ref() == Some(&a.shape())
        {
            let Value::Constant(divisors) = self.expand(&b, &a.shape()) else {
                return Err(ModelError::node(node_name(node), "a constant expected"));
            };
            return self.quotients(node, &a, &divisors);
        }
        let quotient = self.binary(node, Pair::Divide, &a, &b)?;
        if whole {
            // A quotient of integers is cut towards 0; a hair is added so that an exact one is not cut below.
            return Ok(self.unary(node, &quotient, truncated)?.typed(Type::Int));
        }
        Ok(quotient)
    }

    /// Integers by a constant each, cut towards 0: a function for every divisor.
    fn quotients(&mut self, node: &NodeProto, a: &Value, divisors: &Tensor) -> Result<Value, ModelError> {
        let (view, _) = self.wire(node, a)?;
        let mut different = divisors.values.clone();
        different.sort_by(f64::total_cmp);
        different.dedup();
        if different.contains(&0.0) {
            return Err(ModelError::node(node_name(node), "division by zero"));
        }
        let functions = different.iter().map(|c| truncated(Scalar::X.affine(1.0 / c, 0.0))).collect();
        let place = |c: &f64| different.iter().position(|other| other == c).unwrap_or(0) as u32;
        let which = divisors.values.iter().map(place).collect();
        Ok(Value::Wire(self.builder.functions(node_name(node), &view, functions, which)?, Type::Int))
    }

    /// `a - b floor(a / b)`, or with `fmod` towards 0.
    fn modulo(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let Value::Constant(divisor) = &b else { return Err(self.unsupported(node, "a constant divisor")) };
        let Some(c) = divisor.uniform().filter(|c| *c != 0.0) else {
            let quotient = self.binary(node, Pair::Divide, &a, &b)?;
            let whole = match int(node, "fmod", 0) {
                0 => self.unary(node, &quotient, |q| q.affine(1.0, 1e-9).of(Function::Floor))?,
                _ => self.unary(node, &quotient, truncated)?,
            };
            let taken = self.binary(node, Pair::Multiply, &whole, &b)?;
            return self.minus(node, &a, &taken);
        };
        let fmod = int(node, "fmod", 0) != 0;
        self.unary(node, &a, |x| {
            let quotient = x.clone().affine(1.0 / c, 0.0);
            let whole =
                if fmod { truncated(quotient) } else { quotient.affine(1.0, 1e-9).of(Function::Floor) };
            x.both(Pair::Add, whole.affine(-c, 0.0))
        })
    }

    fn clip(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let mut bounds = [float(node, "min", f64::NEG_INFINITY), float(node, "max", f64::INFINITY)];
        for (index, bound) in bounds.iter_mut().enumerate() {
            match self.optional(node, index + 1)? {
                None => {}
                Some(Value::Constant(tensor)) => *bound = tensor.uniform().unwrap_or(*bound),
                Some(dynamic) => {
                    let pair = if index == 0 { Pair::Maximum } else { Pair::Minimum };
                    let x = self.binary(node, pair, &x, &dynamic)?;
                    return match self.optional(node, 2)? {
                        Some(hi) if index == 0 => self.binary(node, Pair::Minimum, &x, &hi),
                        _ => Ok(x),
                    };
                }
            }
        }
        let [lo, hi] = bounds;
        if lo.is_nan() || hi.is_nan() {
            return Err(ModelError::node(node_name(node), "a bound is no number"));
        }
        // Where the bounds cross, ONNX takes the upper one.
        self.unary(node, &x, |x| x.clamp(lo.min(hi), hi))
    }

    fn cast(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let x = self.operand(node, 0)?;
        let to = match node.op_type.as_str() {
            "CastLike" => self.operand(node, 1)?.r#type(),
            _ => i32::try_from(int(node, "to", 0))
                .ok()
                .and_then(Type::of)
                .ok_or_else(|| self.unsupported(node, "a numeric type to cast to"))?,
        };
        let result = match (x.r#type(), to) {
            (Type::Float, Type::Int) => self.unary(node, &x, truncated)?,
            (Type::Float | Type::Int, Type::Bool) => self.unary(node, &x, |x| x.of(Function::IsNonzero))?,
            _ => x,
        };
        Ok(result.typed(to))
    }

    /// `max(x, 0) + slope min(x, 0)`.
    fn prelu(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (x, slope) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let positive = self.unary(node, &x, |x| x.clamp(0.0, f64::INFINITY))?;
        let negative = self.unary(node, &x, |x| x.clamp(f64::NEG_INFINITY, 0.0))?;
        let negative = self.binary(node, Pair::Multiply, &slope, &negative)?;
        self.binary(node, Pair::Add, &positive, &negative)
    }

    fn compare(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let difference = self.subtract(node)?;
        let result = match node.op_type.as_str() {
            "Equal" => self.unary(node, &difference, |d| d.of(Function::IsNonzero).affine(-1.0, 1.0))?,
            "Greater" => self.unary(node, &difference, |d| d.of(Function::IsPositive))?,
            "Less" => self.unary(node, &difference, |d| d.affine(-1.0, 0.0).of(Function::IsPositive))?,
            "LessOrEqual" => {
                self.unary(node, &difference, |d| d.of(Function::IsPositive).affine(-1.0, 1.0))?
            }
            _ => {
                let less = |d: Scalar| d.affine(-1.0, 0.0).of(Function::IsPositive);
                self.unary(node, &difference, |d| less(d).affine(-1.0, 1.0))?
            }
        };
        Ok(result.typed(Type::Bool))
    }

    /// `b + c (a - b)`; a constant condition chooses elements.
    fn r#where(&mut self, node: &NodeProto) -> Result<Value, ModelError> {
        let (c, a, b) = (self.operand(node, 0)?, self.operand(node, 1)?, self.operand(node, 2)?);
        let r#type = a.r#type();
        let shape = broadcast(&a.shape(), &b.shape()).and_then(|shape| broadcast(&shape, &c.shape()));
        let shape = shape.ok_or_else(|| ModelError::node(node_name(node), "operands do not broadcast"))?;
        self.check_elements(node, &shape)?;
        if let Value::Constant(condition) = &self.expand(&c, &shape) {
            let (a, b) = (self.expand(&a, &shape), self.expand(&b, &shape));
            let n = condition.values.len();
            let index =
                condition.values.iter().enumerate().map(|(i, &c)| if c != 0.0 { i } else { n + i } as u32);
            return self.join(node, &[a, b], index.collect(), &shape);
        }
        if let (Value::Constant(a), Value::Constant(b)) = (&a, &b)
            && let (Some(a), Some(b)) = (a.uniform(), b.uniform())
        {
            let c = self.expand(&c, &shape);
            let bound = |v: f64| v.clamp(-1e30, 1e30);
            return Ok(self.unary(node, &c, |c| c.affine(bound(a) - bound(b), bound(b)))?.typed(r#type));
        }
        let difference = self.minus(node, &a, &b)?;
        let taken = self.binary(node, Pair::Multiply, &c, &difference)?;
        Ok(self.binary(node, Pair::Add, &b, &taken)?.typed(r#type))
    }
}

fn truncated(x: Scalar) -> Scalar {
    // A quotient that is whole may come out a hair below.
    let hair = x.clone().of(Function::Sign).affine(1e-9, 0.0);
    x.both(Pair::Add, hair).of(Function::Truncate)
}

/// A function of one number, to be composed with what comes before it.
struct Composed(Box<dyn FnOnce(Scalar) -> Scalar>);

impl Composed {
    fn compose(self, x: Scalar) -> Scalar {
        (self.0)(x)
    }
}

fn positive(x: Scalar) -> Scalar {
    x.clamp(0.0, f64::INFINITY)
}

fn negative(x: Scalar) -> Scalar {
    x.clamp(f64::NEG_INFINITY, 0.0)
}

/// `scale (exp(x / inner) - 1)` below 0.
fn exponential_below(x: Scalar, scale: f64, inner: f64) -> Scalar {
    negative(x).affine(1.0 / inner, 0.0).of(Function::Exp).affine(scale, -scale)
}

fn function(node: &NodeProto, opset: i64) -> Option<Composed> {
    let plain =
        |function: Function| -> Option<Composed> { Some(Composed(Box::new(move |x| x.of(function)))) };
    let with = |apply: Box<dyn FnOnce(Scalar) -> Scalar>| Some(Composed(apply));
    let alpha = |default: f64| float(node, "alpha", default);
    match node.op_type.as_str() {
        "Abs" => plain(Function::Abs),
        "Acos" => plain(Function::Acos),
        "Acosh" => plain(Function::Acosh),
        "Asin" => plain(Function::Asin),
        "Asinh" => plain(Function::Asinh),
        "Atan" => plain(Function::Atan),
        "Atanh" => plain(Function::Atanh),
        "Ceil" => plain(Function::Ceil),
        "Cos" => plain(Function::Cos),
        "Cosh" => plain(Function::Cosh),
        "Erf" => plain(Function::Erf),
        "Exp" => plain(Function::Exp),
        "Floor" => plain(Function::Floor),
        "Log" => plain(Function::Log),
        "Reciprocal" => plain(Function::Reciprocal),
        "Round" => plain(Function::Round),
        "Sigmoid" => plain(Function::Sigmoid),
        "Sign" => plain(Function::Sign),
        "Sin" => plain(Function::Sin),
        "Sinh" => plain(Function::Sinh),
        "Softplus" => plain(Function::Softplus),
        "Sqrt" => plain(Function::Sqrt),
        "Tan" => plain(Function::Tan),
        "Tanh" => plain(Function::Tanh),
        "Neg" => with(Box::new(|x| x.affine(-1.0, 0.0))),
        "Relu" => with(Box::new(positive)),
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            with(Box::new(move |x| positive(x.clone()).both(Pair::Add, negative(x).affine(alpha, 0.0))))
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0);
            with(Box::new(move |x| {
                let above = x.clone().affine(1.0, -alpha).of(Function::IsPositive);
                x.both(Pair::Multiply, above)
            }))
        }
        "Elu" => {
            let alpha = alpha(1.0);
            with(Box::new(move |x| positive(x.clone()).both(Pair::Add, exponential_below(x, alpha, 1.0))))
        }
        "Celu" => {
            let alpha = alpha(1.0);
            with(Box::new(move |x| positive(x.clone()).both(Pair::Add, exponential_below(x, alpha, alpha))))
        }
        "Selu" => {
            let (alpha, gamma) =
                (alpha(1.673_263_192_176_818_8), float(node, "gamma", 1.050_701_022_148_132_3));
            with(Box::new(move |x| {
                let sum = positive(x.clone()).both(Pair::Add, exponential_below(x, alpha, 1.0));
                sum.affine(gamma, 0.0)
            }))
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), float(node, "beta", 0.5));
            with(Box::new(move |x| x.affine(alpha, beta).clamp(0.0, 1.0)))
        }
        "HardSwish" => with(Box::new(|x| {
            let gate = x.clone().affine(1.0 / 6.0, 0.5).clamp(0.0, 1.0);
            x.both(Pair::Multiply, gate)
        })),
        "Swish" | "Silu" => {
            let alpha = alpha(1.0);
            with(Box::new(move |x| {
                x.clone().both(Pair::Multiply, x.affine(alpha, 0.0).of(Function::Sigmoid))
            }))
        }
        "Mish" => {
            with(Box::new(|x| x.clone().both(Pair::Multiply, x.of(Function::Softplus).of(Function::Tanh))))
        }
        "Softsign" => with(Box::new(|x| x.clone().both(Pair::Divide, x.of(Function::Abs).affine(1.0, 1.0)))),
        "Gelu" if text(node, "approximate", "none") == "tanh" => with(Box::new(|x| {
            let cubic = x.clone().of(Function::Power(3.0)).affine(0.044_715, 0.0);
            let inner = x.clone().both(Pair::Add, cubic).affine((2.0 / std::f64::consts::PI).sqrt(), 0.0);
            x.both(Pair::Multiply, inner.of(Function::Tanh).affine(0.5, 0.5))
        })),
        "Gelu" => with(Box::new(|x| {
            let inner = x.clone().affine(std::f64::consts::FRAC_1_SQRT_2, 0.0);
            x.both(Pair::Multiply, inner.of(Function::Erf).affine(0.5, 0.5))
        })),
        "Shrink" => {
            let (bias, lambda) = (float(node, "bias", 0.0), float(node, "lambd", 0.5));
            with(Box::new(move |x| {
                let above = x.clone().affine(1.0, -lambda).of(Function::IsPositive);
                let below = x.clone().affine(-1.0, -lambda).of(Function::IsPositive);
                let upper = x.clone().affine(1.0, -bias).both(Pair::Multiply, above);
                upper.both(Pair::Add, x.affine(1.0, bias).both(Pair::Multiply, below))
            }))
        }
        // Clip with attributes only is a function like any other; with operands it may read tensors.
        "Clip" if opset < 11 && node.input.len() == 1 => {
            let (lo, hi) = (float(node, "min", f64::NEG_INFINITY), float(node, "max", f64::INFINITY));
            with(Box::new(move |x| x.clamp(lo, hi)))
        }
        _ => None,
    }
}
