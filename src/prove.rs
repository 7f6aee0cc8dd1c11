//! `assay prove`: runs a model on an input and proves the answer.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use assay_circuits::ir::Graph;
use assay_proto::ProofSystem;
use assay_prover::groth16::{self, ProvingKey};
use assay_prover::halo2;
use assay_prover::prover::{Prover, draw_salts};
use assay_verifier::proof::halo2::{MAGIC, key_bytes as halo2_key};
use assay_verifier::proof::{self, VerifyingKey};

use crate::opening::Opening;
use crate::proof_file::ProofFile;
use crate::tensors::{self, OutputReport};
use crate::{Answer, model, output, parameters};

/// Arguments of `assay prove`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Folder with the keys, as written by `assay setup`: NAME.pk or, of halo2, NAME.vk; NAME is the model file's
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Proof system: groth16 or halo2 [default: the one that the keys are of]
    #[arg(long)]
    system: Option<ProofSystem>,
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
    system: String,
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
    let prover = load(&arguments.model, graph, &arguments.keys, arguments.system)?;
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
        system: prover.verifying_key().system().to_string(),
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
        println!("system  {}", report.system);
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

/// Joins a model with its keys in a folder. A halo2 key is the model itself, so there only the parameters are looked for.
pub fn load(model: &Path, graph: Graph, keys: &Path, system: Option<ProofSystem>) -> Result<Prover> {
    let name = model.file_stem().with_context(|| format!("{}: not a file name", model.display()))?;
    let system = match system {
        Some(system) => system,
        None => system_of(&keys.join(name).with_extension("vk"))?,
    };
    let path = keys.join(name).with_extension("pk");
    let name = || path.display().to_string();
    if system == ProofSystem::Halo2 {
        let key = VerifyingKey::decode(&halo2_key(&graph)).with_context(|| model.display().to_string())?;
        parameters::restore(keys, &key)?;
        let prover = halo2::Prover::new(&graph).with_context(|| model.display().to_string())?;
        parameters::save(keys)?;
        return Ok(prover.into());
    }
    let file = BufReader::with_capacity(1 << 20, File::open(&path).with_context(name)?);
    let key = ProvingKey::read(file, &graph).with_context(name)?;
    Ok(groth16::Prover::new(graph, key).with_context(name)?.into())
}

/// The proof system of a key file; Groth16 where there is none, since its proving key holds the verifying one.
fn system_of(path: &Path) -> Result<ProofSystem> {
    if !path.exists() {
        return Ok(ProofSystem::Groth16);
    }
    let mut start = [0; MAGIC.len()];
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    file.read_exact(&mut start).with_context(|| path.display().to_string())?;
    Ok(proof::system_of(&start))
}

fn job(text: &str) -> Result<[u8; 32], String> {
    let mut job = [0; 32];
    hex::decode_to_slice(text, &mut job).map_err(|_| "expected 64 hexadecimal digits".to_owned())?;
    Ok(job)
}
