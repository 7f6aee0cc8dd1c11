//! `assay model import`: an ONNX file becomes an integer graph.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use assay_circuits::import::{self, Imported, Options, Report, Samples, bounds};
use assay_circuits::r1cs::Plan;
use comfy_table::Table;

use crate::tensors::{self, Arrays};
use crate::{Answer, output};

/// Arguments of `assay model import`.
#[derive(clap::Args)]
pub struct Arguments {
    /// ONNX file
    onnx: PathBuf,
    /// Samples to calibrate on: a .npz with an array named like each input, or a .npy for the only input
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Size of a symbolic dimension, as in batch=1
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = dimension)]
    dims: Vec<(String, u32)>,
    /// Shape of an input, whatever the file says, as in x=1,3,48,192
    #[arg(long = "shape", value_name = "INPUT=SIZES", value_parser = shape)]
    shapes: Vec<(String, Vec<u32>)>,
    /// Makes an input a constant: one number for all its elements or a list of them, as in sr=16000
    #[arg(long = "const", value_name = "INPUT=VALUES", value_parser = constant, allow_hyphen_values = true)]
    constants: Vec<(String, Vec<f64>)>,
    /// Range of the inputs where no data is given
    #[arg(long, value_name = "LO,HI", value_parser = range, default_value = "0,1", allow_hyphen_values = true)]
    range: (f32, f32),
    /// Bits of the activations; chosen by the error otherwise
    #[arg(long)]
    bits: Option<u8>,
    /// Bits of inputs that are not bytes [default: 10, or 16 for networks with functions or products of activations]
    #[arg(long)]
    input_bits: Option<u8>,
    /// Greatest mean absolute error of an output, as a share of its range
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5%")]
    max_error: f64,
    /// Let proofs commit to the inputs instead of showing them
    #[arg(long)]
    private_input: bool,
    /// Let proofs commit to the outputs instead of showing them
    #[arg(long)]
    private_output: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Imports, writes, reports.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let name = arguments.onnx.display();
    let bytes = output::read(&arguments.onnx, bounds::BYTES)?;
    let options = Options {
        dims: unique("--dim", &arguments.dims)?,
        shapes: unique("--shape", &arguments.shapes)?,
        constants: unique("--const", &arguments.constants)?,
        calibration: arguments.calibrate.as_deref().map_or(Ok(Vec::new()), samples)?,
        range: arguments.range,
        input_bits: arguments.input_bits,
        bits: arguments.bits,
        max_error: arguments.max_error,
    };
    let progress = indicatif::ProgressBar::new_spinner().with_message("calibrating and choosing types");
    progress.enable_steady_tick(Duration::from_millis(200));
    let imported = import::onnx(&bytes, &options).with_context(|| name.to_string());
    progress.finish_and_clear();
    let Imported { graph, mut report } = imported?;
    let graph = graph.committing(arguments.private_input, arguments.private_output);
    let plan = Plan::new(&graph);
    (report.rows, report.domain, report.limb_bits) = (plan.rows(), plan.domain(), plan.limb_bits);
    let model = graph.to_bytes();
    output::write(&arguments.output, |file| Ok(file.write_all(&model)?))?;

    let report = &report;
    let (id, error, limit) = (graph.id(), report.error, arguments.max_error);
    if error > limit {
        eprintln!(
            "warning: the error is {:.2} % of the outputs' range, above the {:.2} % asked for",
            error * 100.0,
            limit * 100.0
        );
    }
    if arguments.json {
        output::json(&json(&id.to_string(), report))?;
    } else {
        println!("{}", table(report));
        println!("model        {id}");
        println!("written      {} ({} bytes)", arguments.output.display(), model.len());
        println!(
            "error        {:.3} % of the outputs' range, mean absolute on {} samples",
            error * 100.0,
            report.samples
        );
        println!("constraints  {} rows in a domain of {}", report.rows, report.domain);
    }
    Ok(Answer::Yes)
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["layer", "least", "greatest", "bits", "shift", "rms error", "constraints", "share"]);
    let total: usize = report.layers.iter().map(|layer| layer.constraints).sum();
    for layer in &report.layers {
        table.add_row([
            layer.name.clone(),
            format!("{:.4}", layer.range.0),
            format!("{:.4}", layer.range.1),
            layer.bits.to_string(),
            layer.shift.to_string(),
            format!("{:.5}", layer.rms_error),
            layer.constraints.to_string(),
            format!("{:.0} %", 100.0 * layer.constraints as f64 / total.max(1) as f64),
        ]);
    }
    table
}

fn json(model_id: &str, report: &Report) -> serde_json::Value {
    let layer = |layer: &import::LayerReport| {
        serde_json::json!({
            "name": layer.name,
            "range": [layer.range.0, layer.range.1],
            "bits": layer.bits,
            "shift": layer.shift,
            "scale": layer.scale,
            "rms_error": layer.rms_error,
            "constraints": layer.constraints,
        })
    };
    serde_json::json!({
        "model_id": model_id,
        "error": report.error,
        "samples": report.samples,
        "rows": report.rows,
        "domain": report.domain,
        "limb_bits": report.limb_bits,
        "layers": report.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn samples(path: &std::path::Path) -> Result<Vec<Samples>> {
    let sample = |name: Option<String>, array: &tensors::Array| {
        let values = tensors::reals(name.as_deref().unwrap_or("array"), array);
        let values = values.with_context(|| path.display().to_string())?;
        Ok(Samples { name, shape: array.shape.clone(), values })
    };
    match tensors::read(path)? {
        Arrays::One(array) => Ok(vec![sample(None, &array)?]),
        Arrays::Named(arrays) => {
            let inputs = arrays.iter().filter(|(name, _)| *name != tensors::LABELS);
            inputs.map(|(name, array)| sample(Some(name.clone()), array)).collect()
        }
    }
}

/// Bindings by name; one that is repeated says the same.
pub fn unique<T: Clone + PartialEq>(option: &str, bindings: &[(String, T)]) -> Result<BTreeMap<String, T>> {
    let mut bound = BTreeMap::new();
    for (name, value) in bindings {
        if bound.insert(name.clone(), value.clone()).is_some_and(|other| other != *value) {
            bail!("{option} {name} is given twice");
        }
    }
    Ok(bound)
}

fn shape(text: &str) -> Result<(String, Vec<u32>)> {
    let (name, sizes) = text.split_once('=').context("expected INPUT=SIZE,SIZE,..")?;
    let size = |size: &str| match size.trim().parse() {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(anyhow!("{size:?} is no positive integer")),
    };
    Ok((name.to_owned(), sizes.split(',').map(size).collect::<Result<_>>()?))
}

/// `INPUT=NUMBER` or `INPUT=NUMBER,NUMBER,..`.
pub fn constant(text: &str) -> Result<(String, Vec<f64>)> {
    let (name, values) = text.split_once('=').context("expected INPUT=NUMBER,..")?;
    let number = |value: &str| match value.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(anyhow!("{value:?} is no number")),
    };
    Ok((name.to_owned(), values.split(',').map(number).collect::<Result<_>>()?))
}

fn dimension(text: &str) -> Result<(String, u32)> {
    let (name, size) = text.split_once('=').context("expected NAME=SIZE")?;
    match size.parse() {
        Ok(size) if size > 0 => Ok((name.to_owned(), size)),
        _ => Err(anyhow!("{size:?} is no positive integer")),
    }
}

fn range(text: &str) -> Result<(f32, f32)> {
    let (lo, hi) = text.split_once(',').context("expected LO,HI")?;
    let (lo, hi): (f32, f32) = (lo.trim().parse()?, hi.trim().parse()?);
    if lo.is_finite() && hi.is_finite() && lo < hi { Ok((lo, hi)) } else { Err(anyhow!("expected LO < HI")) }
}

fn share(text: &str) -> Result<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>()? / 100.0,
        None => text.parse()?,
    };
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(anyhow!("expected a share like 0.005 or 0.5%")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_fractions_or_percent_and_nothing_else() {
        assert_eq!(share("0.5%").unwrap(), 0.005);
        assert_eq!(share("0.005").unwrap(), 0.005);
        assert!(["0", "-1%", "nan", "200%", "half"].iter().all(|text| share(text).is_err()));
    }

    #[test]
    fn ranges_are_two_ascending_finite_numbers() {
        assert_eq!(range("-1, 1").unwrap(), (-1.0, 1.0));
        assert!(["1", "1,1", "1,0", "0,inf", "nan,1", "a,b"].iter().all(|text| range(text).is_err()));
    }

    #[test]
    fn shapes_and_constants_are_lists_of_numbers() {
        assert_eq!(shape("x=1,3,48").unwrap(), ("x".into(), vec![1, 3, 48]));
        assert!(["x", "x=", "x=0", "x=1,,2", "x=1,b"].iter().all(|text| shape(text).is_err()));
        assert_eq!(constant("sr=16000").unwrap(), ("sr".into(), vec![16000.0]));
        assert_eq!(constant("h=-1,0.5").unwrap(), ("h".into(), vec![-1.0, 0.5]));
        assert!(["sr", "sr=", "sr=nan", "sr=inf", "sr=1,"].iter().all(|text| constant(text).is_err()));
    }

    #[test]
    fn a_dimension_is_bound_once_to_a_positive_size() {
        assert_eq!(dimension("batch=1").unwrap(), ("batch".into(), 1));
        assert!(["batch", "batch=0", "batch=-1", "batch=x"].iter().all(|text| dimension(text).is_err()));
        assert!(unique("--dim", &[("n".into(), 1), ("n".into(), 2)]).is_err());
    }
}
