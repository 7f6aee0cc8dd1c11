//! Integration tests of the crate.

mod bytes;
mod constraints;
#[cfg(feature = "onnx")]
mod import;
