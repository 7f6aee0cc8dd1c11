//! The ONNX operators that can be imported, and what each of the others would need.

use tract_onnx::pb::NodeProto;

use super::source::{is_default_domain, node_name};
use crate::error::ModelError;

/// How large the result of a constant expression may be.
pub enum Folding {
    /// As large as the first operand.
    First,
    /// As large as all operands together.
    Sum,
    /// As large as the product of the operands' sizes.
    Product,
    /// It is not evaluated: no exporter leaves it among constants.
    Never,
}

/// Refuses a node whose operator cannot be proven.
pub fn admit(node: &NodeProto) -> Result<(), ModelError> {
    let needed = if is_default_domain(&node.domain) {
        needed(&node.op_type)
    } else {
        Some("it is no standard operator; export the model with standard ONNX operators only")
    };
    match needed {
        None => Ok(()),
        Some(needed) => Err(ModelError::Unsupported {
            node: node_name(node).into(),
            op: node.op_type.clone(),
            needed: needed.into(),
        }),
    }
}

/// Size rule of an admitted operator.
pub fn folding(op: &str) -> Folding {
    match op {
        "Concat" => Folding::Sum,
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "MatMul" | "Gemm" | "Gather" => Folding::Product,
        "Conv" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "BatchNormalization" => {
            Folding::Never
        }
        _ => Folding::First,
    }
}

/// `None` for an operator that is admitted.
fn needed(op: &str) -> Option<&'static str> {
    match op {
        "Conv" | "Gemm" | "MatMul" | "BatchNormalization" => None,
        "Add" | "Sub" | "Mul" | "Div" | "Neg" => None,
        "Relu" | "Clip" | "Max" | "Min" => None,
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => None,
        "ReduceMean" | "ReduceSum" | "ReduceMax" => None,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity" | "Dropout" => None,
        "Constant" | "Shape" | "Gather" | "Concat" | "Slice" | "Cast" => None,
        "Softmax" | "LogSoftmax" => {
            Some("tables for exp and a division; end the model at the logits, whose order is the same")
        }
        "Sigmoid" | "Tanh" | "Erf" | "Gelu" | "Elu" | "Selu" | "Softplus" | "Softsign" | "Mish"
        | "HardSwish" | "HardSigmoid" | "LeakyRelu" | "PRelu" | "Exp" | "Log" | "Sqrt" | "Reciprocal"
        | "Pow" | "Abs" => {
            Some("a table of its values over a requantised operand; train with Relu or Clip instead")
        }
        "LSTM" | "GRU" | "RNN" | "Scan" | "Loop" | "If" => Some("an unrolled graph without control flow"),
        "ConvTranspose" | "Resize" | "Upsample" | "Pad" => Some("a linear operator of its own"),
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "QLinearMatMul" | "DynamicQuantizeLinear" => {
            Some("no quantised operators: import the float model, it is quantised here")
        }
        _ => Some("an equation, a constraint and an import rule for it"),
    }
}
