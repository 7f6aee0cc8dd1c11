//! `assay model run`: exact integer inference, as the proof does it, optionally beside the float model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use assay_circuits::import::{Reference, bounds};
use assay_circuits::ir::{Graph, Port};

use super::{import, load};
use crate::tensors::{self, Inputs};
use crate::{Answer, output};

/// Arguments of `assay model run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Input: a .npy for the only input, NAME=FILE for one of several, or a .npz with an array named like each;
    /// one sample, or a batch along axis 0
    #[arg(long = "input", required = true, value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// Folder for one .npy an output, named like it
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// The ONNX file that the model was imported from: report the error against it
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Inputs that became constants when the file was imported, for --compare
    #[arg(long = "const", value_name = "INPUT=VALUES", value_parser = import::constant, allow_hyphen_values = true)]
    constants: Vec<(String, Vec<f64>)>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    samples: usize,
    saturated_inputs: usize,
    outputs: Vec<OutputReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float_accuracy: Option<f64>,
}

#[derive(serde::Serialize)]
struct OutputReport {
    name: String,
    file: PathBuf,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// Integer against float outputs.
#[derive(serde::Serialize)]
struct Error {
    mean_absolute: f64,
    greatest: f64,
    /// Mean absolute error as a share of the float output's range.
    share_of_range: f64,
}

/// Outputs of a batch: `[output][sample][element]`.
type Outputs = Vec<Vec<Vec<f32>>>;

/// Runs, compares, writes.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let graph = load(&arguments.model)?;
    let inputs = tensors::inputs(graph.inputs(), &arguments.inputs)?;
    let constants = import::unique("--const", &arguments.constants)?;
    let reference =
        arguments.compare.as_deref().map(|path| reference(path, &graph, &constants)).transpose()?;
    let (outputs, saturated) = integers(&graph, &inputs)?;
    let floats = reference.map(|reference| floats(&reference, &graph, &inputs)).transpose()?;

    std::fs::create_dir_all(&arguments.output_dir)
        .with_context(|| arguments.output_dir.display().to_string())?;
    let mut reports = Vec::new();
    for (index, output) in graph.outputs().iter().enumerate() {
        let file = arguments.output_dir.join(file_name(&output.port.name));
        let taken = reports.iter().any(|report: &OutputReport| report.file == file);
        ensure!(!taken, "two outputs would be written to {}", file.display());
        let shape = shape(&output.port, &inputs);
        tensors::write(&file, &shape, outputs[index].concat())?;
        let error = floats.as_ref().map(|floats| error(&outputs[index], &floats[index]));
        reports.push(OutputReport { name: output.port.name.clone(), file, shape, error });
    }
    let accuracy = |outputs: &Outputs| inputs.labels.as_ref().map(|labels| accuracy(&outputs[0], labels));
    let report = Report {
        model_id: graph.id().to_string(),
        samples: inputs.samples.len(),
        saturated_inputs: saturated,
        outputs: reports,
        accuracy: accuracy(&outputs),
        float_accuracy: floats.as_ref().and_then(accuracy),
    };
    if saturated > 0 {
        eprintln!(
            "warning: {saturated} input values lie outside the range that the model was calibrated for"
        );
    }
    if arguments.json {
        output::json(&report)?
    } else {
        print(&report)
    }
    Ok(Answer::Yes)
}

fn integers(graph: &Graph, inputs: &Inputs) -> Result<(Outputs, usize)> {
    let progress = output::progress(inputs.samples.len() as u64, "integer inference");
    let mut outputs: Outputs = vec![Vec::new(); graph.outputs().len()];
    let mut saturated = 0;
    for sample in 0..inputs.samples.len() {
        let (integers, outside) = inputs.quantize(graph.inputs(), sample);
        saturated += outside;
        let values = graph.run(&integers)?.outputs(graph);
        for ((column, values), output) in outputs.iter_mut().zip(values).zip(graph.outputs()) {
            column.push(values.into_iter().map(|q| output.port.quant.dequantize(q)).collect());
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok((outputs, saturated))
}

fn reference(path: &Path, graph: &Graph, constants: &BTreeMap<String, Vec<f64>>) -> Result<Reference> {
    let bytes = output::read(path, bounds::BYTES)?;
    Reference::of(&bytes, graph, constants).with_context(|| path.display().to_string())
}

fn floats(reference: &Reference, graph: &Graph, inputs: &Inputs) -> Result<Outputs> {
    let progress = output::progress(inputs.samples.len() as u64, "float inference");
    let mut outputs: Outputs = vec![Vec::new(); graph.outputs().len()];
    for sample in &inputs.samples {
        for (column, values) in outputs.iter_mut().zip(reference.run(sample)?) {
            column.push(values);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    for (column, output) in outputs.iter().zip(graph.outputs()) {
        let wanted: usize = output.port.shape.iter().map(|&d| d as usize).product();
        ensure!(
            column.iter().all(|v| v.len() == wanted),
            "the two models differ in output {:?}",
            output.port.name
        );
    }
    Ok(outputs)
}

fn error(integers: &[Vec<f32>], floats: &[Vec<f32>]) -> Error {
    let (mut sum, mut greatest, mut count) = (0f64, 0f64, 0usize);
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for (a, b) in integers.iter().flatten().zip(floats.iter().flatten()) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        let difference = (a - b).abs();
        (sum, greatest, count) = (sum + difference, greatest.max(difference), count + 1);
        (lo, hi) = (lo.min(b), hi.max(b));
    }
    let mean_absolute = sum / count.max(1) as f64;
    let range = if hi > lo { hi - lo } else { 1.0 };
    Error { mean_absolute, greatest, share_of_range: mean_absolute / range }
}

/// Share of samples whose greatest output is the label; of equal ones the first counts.
fn accuracy(outputs: &[Vec<f32>], labels: &[i64]) -> f64 {
    let right = |(values, label): &(&Vec<f32>, &i64)| {
        let mut best = 0;
        for (index, value) in values.iter().enumerate() {
            if *value > values[best] {
                best = index;
            }
        }
        best as i64 == **label
    };
    outputs.iter().zip(labels).filter(right).count() as f64 / labels.len().max(1) as f64
}

/// The port's shape; for a batch its leading 1, or a new axis, counts the samples.
fn shape(port: &Port, inputs: &Inputs) -> Vec<usize> {
    let mut shape: Vec<usize> = port.shape.iter().map(|&d| d as usize).collect();
    if inputs.batch {
        if shape.first() == Some(&1) {
            shape.remove(0);
        }
        shape.insert(0, inputs.samples.len());
    }
    shape
}

/// A port's name as a file name: no path separators, nothing that a shell minds.
fn file_name(port: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    format!("{}.npy", port.chars().map(safe).collect::<String>().trim_start_matches('.'))
}

fn print(report: &Report) {
    println!("model     {}", report.model_id);
    println!("samples   {}", report.samples);
    for output in &report.outputs {
        println!("output    {} {:?} in {}", output.name, output.shape, output.file.display());
        if let Some(error) = &output.error {
            println!(
                "error     {:.3} % of the output's range, mean absolute {:.6}, greatest {:.6}",
                error.share_of_range * 100.0,
                error.mean_absolute,
                error.greatest
            );
        }
    }
    if let Some(accuracy) = report.accuracy {
        println!("accuracy  {:.2} % quantised", accuracy * 100.0);
    }
    if let Some(accuracy) = report.float_accuracy {
        println!("accuracy  {:.2} % float", accuracy * 100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_never_leaves_its_folder() {
        assert_eq!(file_name("logits"), "logits.npy");
        assert_eq!(file_name("/fc/Gemm:0"), "_fc_Gemm_0.npy");
        assert_eq!(file_name("../../etc/passwd"), "_.._etc_passwd.npy");
    }

    #[test]
    fn of_equal_outputs_the_first_counts() {
        assert_eq!(accuracy(&[vec![1.0, 1.0], vec![0.0, 2.0]], &[0, 1]), 1.0);
        assert_eq!(accuracy(&[vec![1.0, 1.0], vec![0.0, 2.0]], &[1, 1]), 0.5);
    }

    #[test]
    fn the_error_is_relative_to_the_float_outputs_range() {
        let error = error(&[vec![0.0, 1.0], vec![2.0, 5.0]], &[vec![0.0, 1.0], vec![2.0, 4.0]]);
        assert_eq!((error.mean_absolute, error.greatest, error.share_of_range), (0.25, 1.0, 0.0625));
    }
}
