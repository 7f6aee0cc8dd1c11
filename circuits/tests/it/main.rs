//! Integration tests of the crate.

mod bytes;
mod constraints;
mod halo2;
#[cfg(feature = "onnx")]
mod import;
