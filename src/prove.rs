//! `assay prove`: runs a model on an input and proves the answer.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use assay_circuits::ir::Graph;
use assay_prover::groth16::{Prover, ProvingKey, draw_salts};

use crate::opening::Opening;
use crate::proof_file::ProofFile;
use crate::tensors::{self, OutputReport};
use crate::{Answer, model, output};

/// Arguments of `assay prove`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Folder with NAME.pk, as written by `assay setup`; NAME is the model file's
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Input: a .npy for the only input, NAME=FILE for one of several, or a .npz with an array named like each
    #[arg(long = "input", required = true, value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// Proof file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Where to keep the salts and values of inputs and outputs that the model commits to instead of showing them
    #[arg(long, value_name = "FILE")]
    opening: Option<PathBuf>,
    /// 32 bytes in hexadecimal that the proof is bound to, such as the digest of a job [default: zeros]
    #[arg(long, value_name = "HEX32", value_parser = job)]
    job: Option<[u8; 32]>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    job: String,
    outputs: Vec<OutputReport>,
    proof: PathBuf,
    proof_bytes: usize,
    load_seconds: f64,
    infer_seconds: f64,
    prove_seconds: f64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let graph = model::load(&arguments.model)?;
    let job = arguments.job.unwrap_or_default();
    let inputs = tensors::sample(graph.inputs(), &arguments.inputs)?;
    let began = Instant::now();
    let prover = load(&arguments.model, graph, &arguments.keys)?;
    let loaded = Instant::now();
    let trace = prover.graph().run(&inputs)?;
    let inferred = Instant::now();
    let salts = draw_salts(prover.graph());
    match (salts.is_empty(), &arguments.opening) {
        (true, Some(_)) => {
            bail!("--opening: the model shows its inputs and outputs, there is nothing to open")
        }
        (false, None) => {
            bail!("the model commits to inputs or outputs: say with --opening where to keep them")
        }
        (true, None) | (false, Some(_)) => {}
    }
    let (statement, proof) = prover.prove(&trace, job, &salts)?;
    let proven = Instant::now();
    if let Some(path) = &arguments.opening {
        Opening::new(prover.graph(), &trace, &salts).write(path)?;
    }

    let report = Report {
        model_id: prover.model_id().to_string(),
        job: hex::encode(job),
        outputs: tensors::dequantized(prover.verifying_key().outputs(), &trace.outputs(prover.graph())),
        proof: arguments.output.clone(),
        proof_bytes: proof.len(),
        load_seconds: (loaded - began).as_secs_f64(),
        infer_seconds: (inferred - loaded).as_secs_f64(),
        prove_seconds: (proven - inferred).as_secs_f64(),
    };
    let bytes = ProofFile { model: prover.model_id(), statement, proof }.to_bytes()?;
    output::write(&arguments.output, |file| Ok(file.write_all(&bytes)?))?;
    if arguments.json {
        output::json(&report)?;
    } else {
        println!("model   {}", report.model_id);
        report.outputs.iter().for_each(|output| println!("output  {}", output.line()));
        println!(
            "proof   {} ({} bytes in {} bytes)",
            report.proof.display(),
            report.proof_bytes,
            bytes.len()
        );
        println!(
            "time    {:.3} s key, {:.3} s inference, {:.3} s proof, checked",
            report.load_seconds, report.infer_seconds, report.prove_seconds
        );
    }
    Ok(Answer::Yes)
}

/// Joins a model with its proving key in a folder of keys.
pub fn load(model: &Path, graph: Graph, keys: &Path) -> Result<Prover> {
    let name = model.file_stem().with_context(|| format!("{}: not a file name", model.display()))?;
    let path = keys.join(name).with_extension("pk");
    let name = || path.display().to_string();
    let file = BufReader::with_capacity(1 << 20, File::open(&path).with_context(name)?);
    let key = ProvingKey::read(file, &graph).with_context(name)?;
    Prover::new(graph, key).with_context(name)
}

fn job(text: &str) -> Result<[u8; 32], String> {
    let mut job = [0; 32];
    hex::decode_to_slice(text, &mut job).map_err(|_| "expected 64 hexadecimal digits".to_owned())?;
    Ok(job)
}
