//! EZKL and this prover in turn on the same ONNX files, on the same machine.
//!
//! Each side is a process of its own, so that its peak memory is its own. Both prove that public inputs give public
//! outputs under fixed weights. EZKL quantises by itself; of several scales the one that proves fastest is compared
//! with. A ratio says how many times EZKL's figure is ours, for each of our proof systems.

mod ezkl;
mod report;
mod srs;

use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use assay_verifier::proof::ProofSystem;
use serde_json::Value;

use crate::models;
use crate::results::Destination;
use ezkl::Ezkl;
use report::Comparison;

/// The scale that EZKL takes unless it is told.
const DEFAULT_SCALE: u32 = 7;
/// Models that are small enough for the scale that EZKL's calibration chooses: it takes 11.5 GB for lenet5.
const CALIBRATED: [&str; 1] = ["mlp"];

#[derive(clap::Args)]
pub struct Arguments {
    /// ONNX files, or names as `prove` knows them
    #[arg(default_values = ["mlp", "lenet5"])]
    models: Vec<String>,
    /// Proofs of each side
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Scales of EZKL, separated by commas: bits after the point, or `calibrated` for its own choice [default:
    /// calibrated and 7 for mlp, else 7]
    #[arg(long, value_delimiter = ',')]
    scale: Vec<Scale>,
    #[command(flatten)]
    destination: Destination,
}

/// How many bits EZKL keeps after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As many as its calibration chooses.
    Calibrated,
    /// So many, of inputs and of weights.
    Bits(u32),
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "calibrated" => Ok(Self::Calibrated),
            Ok(bits @ 1..=20) => Ok(Self::Bits(bits)),
            _ => Err("expected `calibrated` or 1 to 20 bits".into()),
        }
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Calibrated => f.write_str("calibrated"),
            Self::Bits(bits) => write!(f, "scale {bits}"),
        }
    }
}

/// Measures and reports.
pub fn run(arguments: Arguments) -> Result<bool> {
    let ezkl = Ezkl::ready()?;
    for name in &arguments.models {
        let source = models::find(name)?;
        let scales = match arguments.scale.as_slice() {
            [] if CALIBRATED.contains(&source.name.as_str()) => {
                vec![Scale::Calibrated, Scale::Bits(DEFAULT_SCALE)]
            }
            [] => vec![Scale::Bits(DEFAULT_SCALE)],
            scales => scales.to_vec(),
        };
        let figures = scales.into_iter().map(|scale| ezkl.run(&source, scale, arguments.runs));
        let figures = figures.collect::<Result<Vec<_>>>()?;
        let ours =
            [ProofSystem::Groth16, ProofSystem::Halo2].map(|system| ours(name, system, arguments.runs));
        let comparison = Comparison::new(ours.into_iter().collect::<Result<_>>()?, figures)?;
        arguments.destination.put(&comparison, || println!("{}", comparison.table()))?;
    }
    Ok(true)
}

/// The report of `prove`, by a process of its own.
fn ours(model: &str, system: ProofSystem, runs: u32) -> Result<Value> {
    eprintln!("assay {model}, {system}: import, setup, {runs} proofs");
    let program = std::env::current_exe().context("this program")?;
    let ran = Command::new(program)
        .args(["prove", model, "--system", &system.to_string(), "--json", "--runs", &runs.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("this program")?;
    if !ran.status.success() {
        bail!("assay-bench prove {model}: {}", ran.status);
    }
    serde_json::from_slice(&ran.stdout).context("the report of assay-bench prove")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_a_number_of_bits_or_calibrated() {
        assert_eq!("calibrated".parse(), Ok(Scale::Calibrated));
        assert_eq!("7".parse(), Ok(Scale::Bits(7)));
        for other in ["0", "21", "-1", "", "auto"] {
            assert!(other.parse::<Scale>().is_err(), "{other}");
        }
    }
}
