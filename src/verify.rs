//! `assay verify`: checks a proof file against a verifying key. Neither the model nor a network is needed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_verifier::describe;
use assay_verifier::proof::{self, VerifyingKey};

use crate::proof_file::{self, ProofFile};
use crate::tensors::{self, OutputReport};
use crate::{Answer, output};

/// Arguments of `assay verify`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 the proof holds, 1 it does not, 2 unreadable.")]
pub struct Arguments {
    /// Verifying key of the model, as written by `assay setup`
    #[arg(long, value_name = "FILE")]
    vk: PathBuf,
    /// Proof, as written by `assay prove`
    proof: PathBuf,
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
    key_origin: String,
    job: String,
    /// BLAKE3 over the integers of every input port in order, 4 bytes each, little-endian.
    inputs_digest: String,
    outputs: Vec<OutputReport>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    verify_seconds: f64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let key = load(&arguments.vk)?;
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
    let other_input = expected.is_some_and(|expected| expected != statement.inputs);
    let reason = match verified {
        Err(error) => Some(describe(&error)),
        Ok(()) if other_input => Some("it is a proof for another input".to_owned()),
        Ok(()) => None,
    };
    let report = Report {
        model_id: model.to_string(),
        key_origin: key.origin().to_string(),
        job: hex::encode(statement.job),
        inputs_digest: digest(&statement.inputs),
        // A claim that does not hold is not worth showing.
        outputs: match &reason {
            None => tensors::dequantized(key.outputs(), &statement.outputs),
            Some(_) => Vec::new(),
        },
        verdict: if reason.is_none() { "holds" } else { "does not hold" },
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
    VerifyingKey::decode(&bytes).with_context(|| path.display().to_string())
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
        println!("key by   {}", self.key_origin);
        println!("job      {}", self.job);
        println!("inputs   {}", self.inputs_digest);
        match &self.reason {
            None => self.outputs.iter().for_each(|output| println!("output   {}", output.line())),
            Some(reason) => println!("reason   {reason}"),
        }
        println!("verdict  {} ({:.1} ms)", self.verdict, self.verify_seconds * 1e3);
    }
}
