#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod application;
pub mod broker;
mod challenges;
pub mod clock;
pub mod config;
pub mod consensus;
mod error;
pub mod mempool;
pub mod metrics;
mod monitor;
pub mod node;
mod pem;
mod questions;
mod retention;
mod scoring;
mod services;
mod stop;
pub mod store;
pub mod sync;

pub use config::Config;
pub use error::Error;
pub use node::{Node, begin_signing, may_validate};
pub use stop::Stopped;
