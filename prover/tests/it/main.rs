//! Integration tests of the crate.

mod key_files;
mod keys;
mod service;
mod soundness;
