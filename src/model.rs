//! `assay model`: from ONNX to the integer graph, what is in it, and running it.

mod import;
mod info;
mod run;

use std::path::Path;

use anyhow::{Context, Result};
use assay_circuits::ir::{Graph, Port, limits};

use crate::{Answer, output};

/// What to do with a model.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Import an ONNX file: quantise it and write the integer graph
    Import(import::Arguments),
    /// Show what a model file holds and what its proofs cost
    Info(info::Arguments),
    /// Run a model on integers, as the proof does, and write its outputs
    Run(run::Arguments),
}

/// Runs a command.
pub fn run(command: Command) -> Result<Answer> {
    match command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
    }
}

/// Reads a model file.
pub fn load(path: &Path) -> Result<Graph> {
    let bytes = output::read(path, limits::MODEL_BYTES)?;
    Graph::from_bytes(&bytes).with_context(|| path.display().to_string())
}

/// A port in JSON.
#[derive(serde::Serialize)]
struct PortReport {
    name: String,
    shape: Vec<u32>,
    scale: f64,
    lo: i32,
    hi: i32,
}

impl From<&Port> for PortReport {
    fn from(port: &Port) -> Self {
        let quant = port.quant;
        Self {
            name: port.name.clone(),
            shape: port.shape.clone(),
            scale: quant.scale,
            lo: quant.lo,
            hi: quant.hi,
        }
    }
}

/// A shape as people write it.
fn dimensions(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x")
}
