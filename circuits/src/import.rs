//! From an ONNX file to the integer graph.
//!
//! | step | module |
//! |---|---|
//! | the file is bounded, dimensions are bound, operators are admitted by name | `source`, `attributes`, `operators` |
//! | tract infers shapes and folds constants | `parse` |
//! | its graph becomes layers `y = clamp(pool(map(x)))`, a function an operator | `lower`, `builder` |
//! | layers run on calibration data, in `f64` with a fixed order of summation | `network`, `calibrate` |
//! | what an error in a layer does to the outputs is measured | `profile` |
//! | limb width, types and shifts are chosen: the least domain within the tolerance | `search`, `cost` |
//! | layers become integers, and the error is measured on their graph | `quantise`, `measure` |
//!
//! A new operator is admitted in `operators`, lowered in `lower` and, if it is no linear map, bound or pool, gets a
//! variant in `network` that the compiler then asks for everywhere else.

use std::collections::BTreeMap;

use crate::error::ModelError;
use crate::ir::Graph;
use search::Candidate;

mod attributes;
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

/// Multiply-accumulates that one measurement of an error may take, unless a few samples take more.
const WORK: usize = 1 << 28;
/// Samples that are measured whatever the work.
const FEW: usize = 4;

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
    let candidates = search::candidates(&profiles, &ports, options.bits, options.max_error);
    let samples = (WORK / network.work()).max(FEW);
    let (batch, activations) = (calibrate::first(&batch, samples), calibrate::first(&activations, samples));
    let build = |candidate: &Candidate| {
        let emitted = quantise::graph(&network, &ports, &candidate.choices, &means)?;
        let report = measure::report(&network, &emitted, &candidate.choices, &batch, &activations)?;
        Ok(Imported { graph: emitted.graph, report })
    };
    smallest(&candidates, options.max_error, build)
}

/// The smallest candidate whose measured error is within the tolerance; if there is none, the smallest one that
/// is about as good as the best.
fn smallest(
    candidates: &[Candidate],
    tolerance: f64,
    build: impl Fn(&Candidate) -> Result<Imported, ModelError>,
) -> Result<Imported, ModelError> {
    const HOPELESS: f64 = 2.0;
    const AS_GOOD: f64 = 1.1;
    let mut refused = ModelError::Import("no choice of types fits the largest constraint system".into());
    let mut tried: Vec<(&Candidate, f64)> = Vec::new();
    // Expectations are scaled by what was measured last.
    let mut optimism = 1.0;
    for candidate in candidates {
        if candidate.error * optimism > tolerance * HOPELESS && !tried.is_empty() {
            continue;
        }
        match build(candidate) {
            Ok(imported) if imported.report.error <= tolerance => return Ok(imported),
            Ok(imported) => {
                optimism = (imported.report.error / candidate.error).clamp(0.1, 10.0);
                tried.push((candidate, imported.report.error));
            }
            Err(error) => refused = error,
        }
    }
    let least = tried.iter().map(|(_, error)| *error).fold(f64::INFINITY, f64::min);
    match tried.iter().find(|(_, error)| *error <= least * AS_GOOD) {
        Some((candidate, _)) => build(candidate),
        None => Err(refused),
    }
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
            _ if self.max_error.is_nan() || self.max_error <= 0.0 => {
                fail("max error", "a positive number", self.max_error.to_string())
            }
            _ => Ok(()),
        }
    }
}
