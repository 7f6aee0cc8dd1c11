#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backend;
pub mod bases;
pub mod column;
pub mod cpu;
pub mod cuda;
pub mod fft;
pub mod groth16;
pub mod halo2;
pub mod msm;
pub mod network;
pub mod prover;
pub mod queue;
pub mod service;
pub mod worker;
