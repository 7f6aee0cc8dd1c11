//! `assay model info`: what a model file holds, and what its proofs cost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use assay_circuits::ir::{Graph, Node, Op, Port, elements};
use assay_circuits::r1cs::{Cost, Plan};
use comfy_table::Table;

use super::{PortReport, dimensions, load};
use crate::{Answer, output};

/// Arguments of `assay model info`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    inputs: Vec<PortReport>,
    outputs: Vec<PortReport>,
    operators: BTreeMap<&'static str, usize>,
    parameters: usize,
    multiply_accumulates: usize,
    activations: usize,
    rows: usize,
    lookups: usize,
    gates: usize,
    table: usize,
    limb_bits: u32,
    domain: usize,
    nodes: Vec<NodeReport>,
}

#[derive(serde::Serialize)]
struct NodeReport {
    name: String,
    operator: &'static str,
    shape: Vec<u32>,
    /// Static bounds: no input of the right type leads outside them.
    least: i64,
    greatest: i64,
    bits: u32,
    constraints: usize,
}

/// Reads, counts, prints.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let graph = load(&arguments.model)?;
    let report = report(&graph);
    if arguments.json {
        output::json(&report)?;
    } else {
        print(&graph, &report);
    }
    Ok(Answer::Yes)
}

fn report(graph: &Graph) -> Report {
    let plan = Plan::new(graph);
    let mut operators = BTreeMap::new();
    graph.nodes().iter().for_each(|node| *operators.entry(operator(&node.op)).or_insert(0) += 1);
    let linear = || graph.nodes().iter().filter_map(|node| graph.taps(node));
    let accumulates = |taps: assay_circuits::linear::Taps<'_>| {
        let mut count = 0;
        (0..taps.outputs()).for_each(|output| taps.row(output, |_, _| count += 1));
        count
    };
    let activations = graph.nodes().iter().filter(|node| matches!(node.op, Op::Requantize(_)));
    let nodes = graph.nodes().iter().zip(&plan.nodes).enumerate();
    Report {
        model_id: graph.id().to_string(),
        inputs: graph.inputs().iter().map(PortReport::from).collect(),
        outputs: graph.outputs().iter().map(|output| PortReport::from(&output.port)).collect(),
        operators,
        parameters: graph.nodes().iter().map(parameters).sum(),
        multiply_accumulates: linear().map(accumulates).sum(),
        activations: activations.map(|node| elements(&node.shape)).sum(),
        rows: plan.rows(),
        lookups: plan.lookups,
        gates: plan.gates,
        table: plan.table(),
        limb_bits: plan.limb_bits,
        domain: plan.domain(),
        nodes: nodes.map(|(index, (node, cost))| node_report(graph, index, node, cost)).collect(),
    }
}

fn node_report(graph: &Graph, index: usize, node: &Node, cost: &Cost) -> NodeReport {
    let range = graph.range(graph.tensor_of(index));
    NodeReport {
        name: node.name.clone(),
        operator: operator(&node.op),
        shape: node.shape.clone(),
        least: range.lo,
        greatest: range.hi,
        bits: 64 - range.lo.unsigned_abs().max(range.hi.unsigned_abs()).leading_zeros(),
        constraints: cost.constraints(),
    }
}

fn operator(op: &Op) -> &'static str {
    match op {
        Op::Dense(_) => "Dense",
        Op::Conv2d(_) => "Conv2d",
        Op::Sparse(_) => "Sparse",
        Op::Combine(_) => "Combine",
        Op::Select(_) => "Select",
        Op::Multiply => "Multiply",
        Op::MatMul(_) => "MatMul",
        Op::MaxPool2d(_) => "MaxPool2d",
        Op::Max(_) => "Max",
        Op::Table(_) => "Table",
        Op::Requantize(_) => "Requantize",
        Op::Reshape => "Reshape",
        Op::Sqrt => "Sqrt",
    }
}

fn parameters(node: &Node) -> usize {
    match &node.op {
        Op::Dense(dense) => dense.weights.len() + dense.bias.len(),
        Op::Conv2d(conv) => conv.weights.len() + conv.bias.len(),
        Op::Sparse(sparse) => sparse.taps.len() + sparse.bias.len(),
        Op::Combine(_)
        | Op::Select(_)
        | Op::Multiply
        | Op::MatMul(_)
        | Op::MaxPool2d(_)
        | Op::Max(_)
        | Op::Table(_)
        | Op::Requantize(_)
        | Op::Reshape
        | Op::Sqrt => 0,
    }
}

fn print(graph: &Graph, report: &Report) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["node", "operator", "shape", "least", "greatest", "bits", "constraints"]);
    for node in &report.nodes {
        table.add_row([
            node.name.clone(),
            node.operator.into(),
            dimensions(&node.shape),
            node.least.to_string(),
            node.greatest.to_string(),
            node.bits.to_string(),
            node.constraints.to_string(),
        ]);
    }
    println!("{table}");
    println!("model          {}", report.model_id);
    graph.inputs().iter().for_each(|port| print_port("input", port));
    graph.outputs().iter().for_each(|output| print_port("output", &output.port));
    println!("parameters     {}", report.parameters);
    println!("accumulates    {} multiplications, free in the proof", report.multiply_accumulates);
    println!("activations    {}", report.activations);
    println!(
        "constraints    {} rows ({} lookups, {} gates, table of {} rows) in a domain of {}",
        report.rows, report.lookups, report.gates, report.table, report.domain
    );
}

fn print_port(kind: &str, port: &Port) {
    let quant = port.quant;
    let shape = dimensions(&port.shape);
    println!(
        "{kind:<14} {} {shape}, integers {}..={} in steps of {}",
        port.name, quant.lo, quant.hi, quant.scale
    );
}
