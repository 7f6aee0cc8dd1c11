//! From an ONNX file to the integer graph: parse, lower, calibrate, quantise.

use std::collections::BTreeMap;

use crate::error::ModelError;
use crate::ir::Graph;

mod builder;
mod calibrate;
mod cost;
mod lower;
mod measure;
mod network;
mod operators;
mod parse;
mod profile;
mod quantise;
mod search;
mod source;

pub use calibrate::samples;
pub use measure::{LayerReport, Report};
pub use parse::Reference;
pub use source::bounds;

/// Calibration data of one input.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Name of the input; `None` for the only one.
    pub name: Option<String>,
    /// Shape of the data, see [`samples`].
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// How a model is imported.
#[derive(Clone, Debug)]
pub struct Options {
    /// Symbolic dimensions, bound by name.
    pub dims: BTreeMap<String, u32>,
    /// Data to calibrate on; without any, samples are drawn from `range`.
    pub calibration: Vec<Samples>,
    /// Range of the inputs where no data is given.
    pub range: (f32, f32),
    /// Bits of inputs that are no bytes.
    pub input_bits: u8,
    /// Bits of the activations; chosen if `None`.
    pub bits: Option<u8>,
    /// Greatest mean absolute error of an output, as a share of its range.
    pub max_error: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dims: BTreeMap::new(),
            calibration: Vec::new(),
            range: (0.0, 1.0),
            input_bits: 10,
            bits: None,
            max_error: 0.005,
        }
    }
}

/// A quantised model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The integer graph.
    pub graph: Graph,
    /// Ranges, types and errors.
    pub report: Report,
}

/// Multiply-accumulates that one measurement of an error may take.
const WORK: usize = 1 << 28;

/// Imports an ONNX file.
pub fn onnx(bytes: &[u8], options: &Options) -> Result<Imported, ModelError> {
    options.check()?;
    let source = source::read(bytes, &options.dims)?;
    let model = parse::typed(&source)?;
    let network = parse::caught(|| lower::network(&source, &model))?;
    let batch = calibrate::batch(&network, options)?;
    let ports = calibrate::ports(&source.inputs, &batch, options);
    let activations = network.run(batch.clone());
    let means = network::means(&activations);
    let profiles = profile::profiles(&network, &activations, &means);
    let samples = (WORK / network.work()).max(4);
    let (batch, activations) = (calibrate::first(&batch, samples), calibrate::first(&activations, samples));

    // The smallest candidate that holds what it promises; expectations are scaled by what is measured.
    let (mut optimism, mut refused) = (1.0, None);
    let mut best: Option<Imported> = None;
    for candidate in search::candidates(&profiles, &ports, options.bits, options.max_error) {
        if candidate.error * optimism > options.max_error * 2.0 && best.is_some() {
            continue;
        }
        let emitted = match quantise::graph(&network, &ports, &candidate.choices, &means) {
            Ok(emitted) => emitted,
            Err(error) => {
                refused = Some(error);
                continue;
            }
        };
        let report = measure::report(&network, &emitted, &candidate.choices, &batch, &activations)?;
        eprintln!(
            "DBG {} rows {} predicted {} measured {} {:?}",
            report.domain, candidate.rows, candidate.error, report.error, candidate.choices
        );
        optimism = (report.error / candidate.error).clamp(0.1, 10.0);
        let enough = report.error <= options.max_error;
        if best.as_ref().is_none_or(|best| report.error < best.report.error) {
            best = Some(Imported { graph: emitted.graph, report });
        }
        if enough {
            break;
        }
    }
    let too_large = || ModelError::Import("no choice of types fits the largest constraint system".into());
    best.ok_or_else(|| refused.unwrap_or_else(too_large))
}

impl Options {
    fn check(&self) -> Result<(), ModelError> {
        let fail = |what: &str, expected: &str, got: String| {
            Err(ModelError::Import(format!("option {what}: expected {expected}, got {got}")))
        };
        let (lo, hi) = self.range;
        if !(lo.is_finite() && hi.is_finite() && lo < hi) {
            return fail("range", "two finite numbers in ascending order", format!("{lo},{hi}"));
        }
        if !(8..=11).contains(&self.input_bits) {
            return fail("input bits", "8 to 11", self.input_bits.to_string());
        }
        match self.bits {
            Some(bits) if !(4..=16).contains(&bits) => fail("bits", "4 to 16", bits.to_string()),
            _ if !(self.max_error > 0.0) => {
                fail("max error", "a positive number", self.max_error.to_string())
            }
            _ => Ok(()),
        }
    }
}
