//! From an ONNX file to the integer graph.
//!
//! | step | module |
//! |---|---|
//! | the file is bounded, dimensions are bound | `source`, `attributes` |
//! | every node becomes layers, constants are evaluated, a function an operator | `lower`, `tensor`, `builder`, `scalar` |
//! | layers run on calibration data, in `f64` with a fixed order of summation | `network`, `calibrate` |
//! | networks of linear maps and bounds: what an error in a layer does to the outputs is measured | `profile` |
//! | .. limb width, types and shifts are chosen: the least cost within the tolerance | `search`, `cost` |
//! | other networks: one width for all, the least within the tolerance | `types` |
//! | layers become integers, and the error is measured on their graph | `quantise`, `measure` |
//!
//! A new operator is lowered in the file of its family under `lower` and, if it is no linear map, function, product,
//! maximum or rearrangement, gets a variant in `network` that the compiler then asks for everywhere else.

use std::collections::BTreeMap;

use crate::error::ModelError;
use crate::ir::{Graph, Shape};
use quantise::Choice;
use search::Candidate;

mod attributes;
mod builder;
mod calibrate;
mod cost;
mod fold;
mod lower;
mod measure;
mod network;
mod profile;
mod quantise;
mod reference;
mod roots;
mod scalar;
mod search;
mod source;
mod tensor;
mod types;

pub use calibrate::samples;
pub use measure::{LayerReport, Report};
pub use reference::Reference;
pub use source::{Input, bounds};
pub use tensor::Type;

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
    /// Shapes of inputs, whatever the file says.
    pub shapes: BTreeMap<String, Shape>,
    /// Inputs that become constants: all their values, or one for all.
    pub constants: BTreeMap<String, Vec<f64>>,
    /// Data to calibrate on; without any, samples are drawn from `range`.
    pub calibration: Vec<Samples>,
    /// Range of the inputs where no data is given.
    pub range: (f32, f32),
    /// Bits of inputs that are no bytes; 10, or 16 and more in networks with functions and products, if `None`.
    pub input_bits: Option<u8>,
    /// Bits of the activations; chosen if `None`.
    pub bits: Option<u8>,
    /// Greatest mean absolute error of an output, as a share of its range.
    pub max_error: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dims: BTreeMap::new(),
            shapes: BTreeMap::new(),
            constants: BTreeMap::new(),
            calibration: Vec::new(),
            range: (0.0, 1.0),
            input_bits: None,
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
/// How many times the mean error the greatest may be, in networks with functions and products.
const WORST: f64 = 4.0;
/// Greatest error of an output beside its own size, root mean squares both: a cosine of 0.9995.
const RELATIVE: f64 = 0.03;
/// How many times the mean error the greatest may be where no width does better.
const HOPELESS: f64 = 10.0;

/// Imports an ONNX file.
pub fn onnx(bytes: &[u8], options: &Options) -> Result<Imported, ModelError> {
    options.check()?;
    let source = source::read(bytes, options)?;
    let network = lower::network(&source)?;
    let batch = calibrate::batch(&network, &source.inputs, options)?;
    let ports = calibrate::ports(&source.inputs, &batch, options, network.is_plain());
    let activations = network.run(batch.clone());
    let means = network::means(&activations);
    let samples = (WORK / network.work()).max(FEW);
    let (few, seen) = (calibrate::first(&batch, samples), calibrate::first(&activations, samples));
    let build = |choices: &[Choice]| {
        let emitted = quantise::graph(&network, &ports, choices, &means)?;
        let report = measure::report(&network, &emitted, choices, &few, &seen)?;
        Ok(Imported { graph: emitted.graph, report })
    };
    if network.is_plain() {
        let profiles = profile::profiles(&network, &activations, &means);
        let candidates = search::candidates(&profiles, &ports, options.bits, options.max_error);
        return smallest(&candidates, options.max_error, |candidate| build(&candidate.choices));
    }
    let widths: Vec<u8> = options.bits.map_or(types::WIDTHS.to_vec(), |bits| vec![bits]);
    narrowest(&widths, options.max_error, |bits| build(&types::choices(&network, &ports, &activations, bits)))
}

/// The narrowest width whose measured error is within the tolerance, the greatest within a few times as much, and small
/// beside the outputs' own size; if there is none, the one of least error.
fn narrowest(
    widths: &[u8],
    tolerance: f64,
    build: impl Fn(u8) -> Result<Imported, ModelError>,
) -> Result<Imported, ModelError> {
    let mut best: Option<Imported> = None;
    let mut refused = ModelError::Import("no width of activations is tried".into());
    for &bits in widths {
        match build(bits) {
            Ok(imported)
                if imported.report.error <= tolerance
                    && imported.report.greatest <= WORST * tolerance
                    && imported.report.relative <= RELATIVE =>
            {
                return Ok(imported);
            }
            Ok(imported) => {
                if best.as_ref().is_none_or(|best| imported.report.error < best.report.error) {
                    best = Some(imported);
                }
            }
            Err(error) => refused = error,
        }
    }
    match best {
        // Whoever named the width takes what it gives.
        Some(best) if widths.len() == 1 => Ok(best),
        Some(best) if best.report.error <= tolerance && best.report.greatest <= HOPELESS * tolerance => {
            Ok(best)
        }
        Some(best) => Err(ModelError::Import(format!(
            "no width of activations keeps the error within {:.3} % of the outputs' range; the least is {:.3} % \
             (and {:.3} % at worst): accept it with a greater --max-error, or calibrate on data like what the model will \
             see",
            tolerance * 100.0,
            best.report.error * 100.0,
            best.report.greatest * 100.0
        ))),
        None => Err(refused),
    }
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
        if let Some(bits) = self.input_bits.filter(|bits| !(8..=16).contains(bits)) {
            return fail("input bits", "8 to 16", bits.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the widths 10 and 12, the one that is taken if the narrow one errs so.
    fn taken(error: f64, greatest: f64, relative: f64) -> usize {
        let build = |bits: u8| {
            let (error, greatest, relative) =
                if bits == 10 { (error, greatest, relative) } else { (0.0, 0.0, 0.0) };
            let layers = Vec::new();
            let rows = bits.into();
            let report =
                Report { layers, error, greatest, relative, samples: 1, rows, limb_bits: 4, domain: 16 };
            Ok(Imported { graph: crate::samples::cell(), report })
        };
        narrowest(&[10, 12], 0.005, build).unwrap().report.rows
    }

    #[test]
    fn a_width_is_narrow_enough_if_its_error_is_small_in_each_of_three_ways() {
        assert_eq!(taken(0.004, 0.01, 0.02), 10);
        assert_eq!(taken(0.006, 0.01, 0.02), 12, "of the range");
        assert_eq!(taken(0.004, 0.03, 0.02), 12, "at worst");
        assert_eq!(taken(0.004, 0.01, 0.04), 12, "beside the outputs' own size");
    }
}
