//! The error of an integer graph against the float network, layer by layer.

use super::calibrate::Batch;
use super::network::{Activations, Network};
use super::profile::output_range;
use super::quantise::{Choice, Emitted};
use crate::error::ModelError;
use crate::r1cs::{Cost, Plan};

/// What importing did to one layer.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// Name in the source model.
    pub name: String,
    /// Least and greatest value of the activation on the calibration data.
    pub range: (f64, f64),
    /// Bits of the activation's type.
    pub bits: u32,
    /// Right shift.
    pub shift: u8,
    /// Real value of one step.
    pub scale: f64,
    /// Root of the mean squared error on calibration data, in real units.
    pub rms_error: f64,
    /// Constraints: lookups and gates of the layer's nodes.
    pub constraints: usize,
}

/// What importing did to a model.
#[derive(Clone, Debug)]
pub struct Report {
    /// Layers in order.
    pub layers: Vec<LayerReport>,
    /// Mean absolute error of the worst output on calibration data, as a share of its range.
    pub error: f64,
    /// Greatest absolute error of an output on calibration data, as a share of its range.
    pub greatest: f64,
    /// Root mean square of the worst output's error, as a share of its own root mean square. Of vectors with a few large
    /// elements it says what a share of their range does not: `1 - relative^2 / 2` is about their cosine.
    pub relative: f64,
    /// Samples that errors are taken from.
    pub samples: usize,
    /// Rows of the constraint system.
    pub rows: usize,
    /// Limb width of the constraint system.
    pub limb_bits: u32,
    /// Size of its evaluation domain.
    pub domain: usize,
}

/// Runs the graph on a batch and compares every activation with the float network's.
pub fn report(
    network: &Network,
    emitted: &Emitted,
    choices: &[Choice],
    batch: &Batch,
    activations: &Activations,
) -> Result<Report, ModelError> {
    let graph = &emitted.graph;
    let samples = batch[0].len();
    let inputs = network.inputs.len();
    let mut squares = vec![0f64; emitted.activations.len()];
    let mut sums = vec![0f64; emitted.activations.len()];
    let mut greatest = vec![0f64; emitted.activations.len()];
    for sample in 0..samples {
        let quantise = |(port, values): (&crate::ir::Port, &Vec<Vec<f64>>)| {
            values[sample].iter().map(|&v| port.quant.quantize(v as f32)).collect()
        };
        let trace = graph.run(&graph.inputs().iter().zip(batch).map(quantise).collect::<Vec<_>>())?;
        for (index, (tensor, quant)) in emitted.activations.iter().enumerate() {
            for (&q, real) in trace.tensor(*tensor).iter().zip(&activations[index][sample]) {
                let error = q as f64 * quant.scale - real;
                squares[index] += error * error;
                sums[index] += error.abs();
                greatest[index] = greatest[index].max(error.abs());
            }
        }
    }
    let count = |activation: usize| (samples * activations[activation][0].len()).max(1) as f64;
    let plan = Plan::new(graph);
    let layer = |(index, layer): (usize, &super::network::Layer)| {
        let (_, quant) = emitted.activations[inputs + index];
        let nodes = emitted.nodes(index).filter_map(|node| plan.nodes.get(node));
        let seen = super::profile::range(&activations[inputs + index]);
        LayerReport {
            name: layer.name.clone(),
            range: seen,
            bits: (quant.hi - quant.lo).ilog2() + 1,
            shift: choices[index].shift,
            scale: quant.scale,
            rms_error: (squares[inputs + index] / count(inputs + index)).sqrt(),
            constraints: nodes.map(Cost::constraints).sum(),
        }
    };
    let error = |output: &super::network::Output| {
        let at = output.activation;
        sums[at] / count(at) / output_range(&activations[at])
    };
    let most = |output: &super::network::Output| {
        greatest[output.activation] / output_range(&activations[output.activation])
    };
    let relative = |output: &super::network::Output| {
        let at = output.activation;
        let size: f64 = activations[at].iter().take(samples).flatten().map(|v| v * v).sum();
        if squares[at] > 0.0 { (squares[at] / size).sqrt() } else { 0.0 }
    };
    Ok(Report {
        relative: network.outputs.iter().map(relative).fold(0.0, f64::max),
        greatest: network.outputs.iter().map(most).fold(0.0, f64::max),
        layers: network.layers.iter().enumerate().map(layer).collect(),
        error: network.outputs.iter().map(error).fold(0.0, f64::max),
        samples,
        rows: plan.rows(),
        limb_bits: plan.limb_bits,
        domain: plan.domain(),
    })
}
