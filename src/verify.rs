//! `assay verify`: checks a proof file against a verifying key. Neither the model nor a network is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_circuits::ir::Port;
use assay_proto::ProofSystem;
use assay_verifier::describe;
use assay_verifier::proof::{self, PortValue, Statement, VerifyingKey};

use crate::opening::Opening;
use crate::proof_file::{self, ProofFile};
use crate::tensors::{self, OutputReport};
use crate::{Answer, output, parameters};

/// Arguments of `assay verify`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 the proof holds, 1 it does not, 2 unreadable.")]
pub struct Arguments {
    /// Verifying key of the model, as written by `assay setup`
    #[arg(long, value_name = "FILE")]
    vk: PathBuf,
    /// Proof, as written by `assay prove`
    proof: PathBuf,
    /// Opening of the inputs and outputs that the proof only commits to, as `assay prove` wrote it
    #[arg(long, value_name = "FILE")]
    opening: Option<PathBuf>,
    /// Refuse a key of another proof system: groth16 or halo2
    #[arg(long)]
    system: Option<ProofSystem>,
    /// Hold the proof against this input too: .npy, NAME=FILE or .npz as for `assay prove`
    #[arg(long = "input", value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    system: String,
    key_origin: String,
    job: String,
    /// BLAKE3 over the integers of every input port in order, 4 bytes each, little-endian; absent where an input is
    /// committed to and not opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs_digest: Option<String>,
    outputs: Vec<OutputReport>,
    /// Ports that the proof commits to, and what it says of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    commitments: BTreeMap<String, String>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    verify_seconds: f64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let key = load(&arguments.vk)?;
    let system = key.system();
    ensure!(
        arguments.system.is_none_or(|expected| expected == system),
        "{}: a key of {system}",
        arguments.vk.display()
    );
    let name = || arguments.proof.display().to_string();
    let bytes = output::read(&arguments.proof, proof_file::limits::BYTES)?;
    let ProofFile { model, statement, proof } = ProofFile::from_bytes(&bytes).with_context(name)?;
    ensure!(
        model == key.model_id(),
        "{}: a proof for model {model}, but {} is the key of model {}",
        arguments.proof.display(),
        arguments.vk.display(),
        key.model_id()
    );
    let expected = if arguments.inputs.is_empty() {
        None
    } else {
        Some(tensors::sample(key.inputs(), &arguments.inputs)?)
    };

    let began = Instant::now();
    let verified = proof::verify(&key, &statement, &proof);
    let seconds = began.elapsed().as_secs_f64();
    let opening = arguments.opening.as_deref().map_or(Ok(Opening::default()), Opening::read)?;
    let (reason, [inputs, outputs]) = match verified {
        Err(error) => (Some(describe(&error)), [vec![], vec![]]),
        Ok(()) => match opening.reveal(&key, &statement) {
            Err(error) => (Some(error.to_string()), [vec![], vec![]]),
            Ok(revealed) => (None, revealed),
        },
    };
    let reason = match (reason, expected) {
        (None, Some(expected)) => compare(key.inputs(), &expected, &inputs)?,
        (reason, _) => reason,
    };
    let holds = reason.is_none();
    let report = Report {
        model_id: model.to_string(),
        system: system.to_string(),
        key_origin: key.origin(),
        job: hex::encode(statement.job),
        inputs_digest: inputs
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .filter(|_| holds)
            .map(|all| digest(&all)),
        // A claim that does not hold is not worth showing.
        outputs: if holds { shown(key.outputs(), outputs) } else { Vec::new() },
        commitments: commitments(&key, &statement),
        verdict: if holds { "holds" } else { "does not hold" },
        reason,
        verify_seconds: seconds,
    };
    if arguments.json {
        output::json(&report)?
    } else {
        report.print()
    }
    Ok(if report.reason.is_none() { Answer::Yes } else { Answer::No })
}

/// Reads a verifying key.
pub fn load(path: &Path) -> Result<VerifyingKey> {
    let bytes = output::read(path, proof::limits::KEY_BYTES)?;
    let key = VerifyingKey::decode(&bytes).with_context(|| path.display().to_string())?;
    // Parameters that lie beside the key need not be made.
    parameters::restore(path.parent().unwrap_or(Path::new("")), &key)?;
    Ok(key)
}

/// Why the proof is not about these inputs; an error where it cannot be told.
fn compare(ports: &[Port], expected: &[Vec<i32>], inputs: &[Option<Vec<i32>>]) -> Result<Option<String>> {
    for ((port, expected), input) in ports.iter().zip(expected).zip(inputs) {
        let name = &port.name;
        let input = input.as_ref().with_context(|| {
            format!("input {name} is committed to: without --opening it cannot be compared")
        })?;
        if input != expected {
            return Ok(Some("it is a proof for another input".to_owned()));
        }
    }
    Ok(None)
}

/// The outputs that are known.
fn shown(ports: &[Port], outputs: Vec<Option<Vec<i32>>>) -> Vec<OutputReport> {
    let known = ports.iter().zip(outputs).filter_map(|(port, values)| Some((port.clone(), values?)));
    let (ports, values): (Vec<Port>, Vec<Vec<i32>>) = known.unzip();
    tensors::dequantized(&ports, &values)
}

fn commitments(key: &VerifyingKey, statement: &Statement) -> BTreeMap<String, String> {
    let inputs = key.inputs().iter().zip(&statement.inputs);
    let ports = inputs.chain(key.outputs().iter().zip(&statement.outputs));
    let committed = ports.filter_map(|(port, value)| match value {
        PortValue::Public(_) => None,
        PortValue::Committed(commitment) => Some((port.name.clone(), hex::encode(commitment.0))),
    });
    committed.collect()
}

/// Digest of integers, whose number in each port is the model's.
fn digest(tensors: &[Vec<i32>]) -> String {
    let mut hash = blake3::Hasher::new();
    for value in tensors.iter().flatten() {
        hash.update(&value.to_le_bytes());
    }
    hash.finalize().to_string()
}

impl Report {
    fn print(&self) {
        println!("model    {}", self.model_id);
        println!("system   {}", self.system);
        println!("key by   {}", self.key_origin);
        println!("job      {}", self.job);
        self.inputs_digest.iter().for_each(|digest| println!("inputs   {digest}"));
        self.commitments.iter().for_each(|(port, value)| println!("hidden   {port}: commitment {value}"));
        match &self.reason {
            None => self.outputs.iter().for_each(|output| println!("output   {}", output.line())),
            Some(reason) => println!("reason   {reason}"),
        }
        println!("verdict  {} ({:.1} ms)", self.verdict, self.verify_seconds * 1e3);
    }
}
