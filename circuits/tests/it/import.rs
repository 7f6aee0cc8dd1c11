//! Import of ONNX files: operators agree with the float model, everything else is refused.

mod digits;
mod onnx;
mod operators;
mod refusals;
