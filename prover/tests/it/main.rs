//! Integration tests of the crate.

mod golden;
mod halo2;
mod key_files;
mod keys;
mod service;
mod soundness;
