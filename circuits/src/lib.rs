#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod commitment;
pub mod domain;
pub mod error;
mod graph;
pub mod halo2;
#[cfg(feature = "onnx")]
pub mod import;
pub mod interpret;
pub mod ir;
pub mod linear;
pub mod pool;
pub mod r1cs;
pub mod samples;
