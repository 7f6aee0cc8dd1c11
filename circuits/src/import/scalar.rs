//! Functions of one number, as a chain of elementwise operators over one tensor describes them.
//!
//! However many operators spell a function out, `x * clip(x + 3, 0, 6) / 6` or a GELU of eight nodes, it becomes one
//! table: the composition is kept until something reads the tensor. Functions are evaluated by the `libm` crate, so
//! that a table is the same on every machine.

use std::sync::Arc;

/// An expression in one variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// The variable.
    X,
    /// A number.
    Constant(f64),
    /// `a x + b`.
    Affine(f64, f64, Arc<Scalar>),
    /// `min(max(x, lo), hi)`.
    Clamp(f64, f64, Arc<Scalar>),
    /// A function of the expression.
    Of(Function, Arc<Scalar>),
    /// The value with the expression's number in a list, counted from the end where it is negative.
    Looked(Arc<Vec<f64>>, Arc<Scalar>),
    /// Two expressions combined.
    Both(Pair, Arc<Scalar>, Arc<Scalar>),
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    /// 1 where the number is not 0.
    IsNonzero,
    /// 1 above 0.
    IsPositive,
    Log,
    Reciprocal,
    /// To the nearest integer, ties to even.
    Round,
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    Softplus,
    Sqrt,
    Tan,
    Tanh,
    /// Towards 0.
    Truncate,
    /// To a power.
    Power(f64),
}

/// Operators of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    Add,
    Multiply,
    Divide,
    Power,
    Maximum,
    Minimum,
}

impl Function {
    /// The value at `x`; NaN and infinities where the function has them.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Acos => libm::acos(x),
            Self::Acosh => libm::acosh(x),
            Self::Asin => libm::asin(x),
            Self::Asinh => libm::asinh(x),
            Self::Atan => libm::atan(x),
            Self::Atanh => libm::atanh(x),
            Self::Ceil => x.ceil(),
            Self::Cos => libm::cos(x),
            Self::Cosh => libm::cosh(x),
            Self::Erf => libm::erf(x),
            Self::Exp => libm::exp(x),
            Self::Floor => x.floor(),
            Self::IsNonzero => f64::from(x != 0.0),
            Self::IsPositive => f64::from(x > 0.0),
            Self::Log => libm::log(x),
            Self::Reciprocal => 1.0 / x,
            Self::Round => x.round_ties_even(),
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Self::Sign => f64::from(x > 0.0) - f64::from(x < 0.0),
            Self::Sin => libm::sin(x),
            Self::Sinh => libm::sinh(x),
            Self::Softplus => x.max(0.0) + libm::log1p(libm::exp(-x.abs())),
            Self::Sqrt => x.sqrt(),
            Self::Tan => libm::tan(x),
            Self::Tanh => libm::tanh(x),
            Self::Truncate => x.trunc(),
            Self::Power(exponent) => libm::pow(x, exponent),
        }
    }
}

impl Pair {
    /// The value at `a`, `b`.
    pub fn at(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Power => libm::pow(a, b),
            Self::Maximum => a.max(b),
            Self::Minimum => a.min(b),
        }
    }
}

/// A step that a layer takes without a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// `a x + b`.
    Affine(f64, f64),
    /// Bounds.
    Clamp(f64, f64),
}

impl Scalar {
    /// `a x + b` of this expression.
    pub fn affine(self, a: f64, b: f64) -> Self {
        match self {
            _ if (a, b) == (1.0, 0.0) => self,
            Self::Constant(c) => Self::Constant(a * c + b),
            Self::Affine(inner, offset, of) => Self::Affine(a * inner, a * offset + b, of),
            other => Self::Affine(a, b, Arc::new(other)),
        }
    }

    /// This expression between bounds.
    pub fn clamp(self, lo: f64, hi: f64) -> Self {
        match self {
            Self::Clamp(least, greatest, of) => {
                let bound = |v: f64| v.max(lo).min(hi);
                Self::Clamp(bound(least), bound(greatest), of)
            }
            other => Self::Clamp(lo, hi, Arc::new(other)),
        }
    }

    /// A function of this expression.
    pub fn of(self, function: Function) -> Self {
        Self::Of(function, Arc::new(self))
    }

    /// The value with this expression's number in a list.
    pub fn looked_up(self, values: Vec<f64>) -> Self {
        Self::Looked(Arc::new(values), Arc::new(self))
    }

    /// This expression and another of the same variable.
    pub fn both(self, pair: Pair, other: Self) -> Self {
        match (pair, self, other) {
            (Pair::Add, x, Self::Constant(c)) | (Pair::Add, Self::Constant(c), x) => x.affine(1.0, c),
            (Pair::Multiply, x, Self::Constant(c)) | (Pair::Multiply, Self::Constant(c), x) => {
                x.affine(c, 0.0)
            }
            (Pair::Divide, x, Self::Constant(c)) if c != 0.0 => x.affine(1.0 / c, 0.0),
            (Pair::Maximum, x, Self::Constant(c)) | (Pair::Maximum, Self::Constant(c), x) => {
                x.clamp(c, f64::INFINITY)
            }
            (Pair::Minimum, x, Self::Constant(c)) | (Pair::Minimum, Self::Constant(c), x) => {
                x.clamp(f64::NEG_INFINITY, c)
            }
            (Pair::Power, x, Self::Constant(c)) => x.of(Function::Power(c)),
            (pair, x, y) => Self::Both(pair, Arc::new(x), Arc::new(y)),
        }
    }

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        match self {
            Self::X => x,
            Self::Constant(c) => *c,
            Self::Affine(a, b, of) => a * of.at(x) + b,
            Self::Clamp(lo, hi, of) => of.at(x).max(*lo).min(*hi),
            Self::Of(function, of) => function.at(of.at(x)),
            Self::Looked(values, of) => {
                let number = of.at(x).round();
                let number = if number < 0.0 { number + values.len() as f64 } else { number };
                // Saturates; beyond the list is its end.
                values.get((number as usize).min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
            }
            Self::Both(pair, a, b) => pair.at(a.at(x), b.at(x)),
        }
    }

    /// The steps, first to last, if the expression needs no table.
    pub fn steps(&self) -> Option<Vec<Step>> {
        let (step, of) = match self {
            Self::X => return Some(Vec::new()),
            Self::Affine(a, b, of) => (Step::Affine(*a, *b), of),
            Self::Clamp(lo, hi, of) => (Step::Clamp(*lo, *hi), of),
            Self::Constant(_) | Self::Of(..) | Self::Looked(..) | Self::Both(..) => return None,
        };
        let mut steps = of.steps()?;
        steps.push(step);
        Some(steps)
    }

    /// Nodes of the expression, which bounds what evaluating it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::X | Self::Constant(_) => 1,
            Self::Affine(_, _, of) | Self::Clamp(_, _, of) | Self::Of(_, of) | Self::Looked(_, of) => {
                1 + of.size()
            }
            Self::Both(_, a, b) => 1 + a.size() + b.size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_lines_and_bounds_of_bounds_are_one_step() {
        let line = Scalar::X.affine(2.0, 1.0).affine(3.0, -1.0);
        assert_eq!(line.steps(), Some(vec![Step::Affine(6.0, 2.0)]));
        let bounds = Scalar::X.clamp(-4.0, 1.0).clamp(-2.0, 5.0);
        assert_eq!(bounds.steps(), Some(vec![Step::Clamp(-2.0, 1.0)]));
        assert_eq!(bounds.of(Function::Exp).steps(), None);
    }

    #[test]
    fn a_function_spelt_out_is_one_expression() {
        let swish = Scalar::X.affine(1.0, 3.0).clamp(0.0, 6.0).affine(1.0 / 6.0, 0.0);
        let swish = Scalar::X.both(Pair::Multiply, swish);
        for x in [-4.0, -1.5, 0.0, 2.0, 5.0f64] {
            assert!((swish.at(x) - x * (x + 3.0).clamp(0.0, 6.0) / 6.0).abs() < 1e-12);
        }
        assert_eq!(Scalar::Constant(2.0).affine(3.0, 1.0), Scalar::Constant(7.0));
    }

    #[test]
    fn every_function_has_its_value() {
        let at = |function: Function, x: f64| function.at(x);
        let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        near(at(Function::Erf, 0.5), 0.520_499_877_813_046_5);
        near(at(Function::Sigmoid, -2.0), 0.119_202_922_022_117_6);
        near(at(Function::Softplus, 800.0), 800.0);
        near(at(Function::Softplus, 0.0), std::f64::consts::LN_2);
        near(at(Function::Round, 2.5), 2.0);
        near(at(Function::Power(1.5), 4.0), 8.0);
        assert_eq!([-3.0, 0.0, 2.0].map(|x| at(Function::Sign, x)), [-1.0, 0.0, 1.0]);
        assert_eq!([-3.0, 0.0, 2.0].map(|x| at(Function::IsPositive, x)), [0.0, 0.0, 1.0]);
        assert_eq!([-3.0, 0.0, 2.0].map(|x| at(Function::IsNonzero, x)), [1.0, 0.0, 1.0]);
    }
}
