//! `assay setup`: the keys of a model.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use assay_circuits::ir::{Graph, limits};
use assay_proto::ProofSystem;
use assay_prover::groth16::{Secret, setup};
use assay_verifier::proof::VerifyingKey;
use assay_verifier::proof::halo2::{Parameters, key_bytes};

use crate::{Answer, output, parameters};

#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Proof system: groth16 (small proofs, a setup that must be trusted, weights may stay secret) or halo2 (no setup; the
    /// verifying key is the public model)
    #[arg(long, default_value_t)]
    system: ProofSystem,
    /// Folder for NAME.vk (for everybody) and, of groth16, NAME.pk (for miners), of halo2, the parameters of all models of
    /// this size
    #[arg(short, long)]
    output: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    system: String,
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proving_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proving_key_bytes: Option<u64>,
    /// Of halo2: `k` of the circuit's `2^k` rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    verifying_key: PathBuf,
    verifying_key_bytes: usize,
    seconds: f64,
}

pub fn run(arguments: Arguments) -> Result<Answer> {
    let start = std::time::Instant::now();
    let model = arguments.model.display();
    let bytes = output::read(&arguments.model, limits::MODEL_BYTES)?;
    let graph = Graph::from_bytes(&bytes).with_context(|| format!("{model}"))?;
    let name = arguments.model.file_stem().with_context(|| format!("{model}: not a file name"))?;
    std::fs::create_dir_all(&arguments.output).with_context(|| arguments.output.display().to_string())?;

    let file = |extension| arguments.output.join(name).with_extension(extension);
    let (proving_key, verifying_key) = match arguments.system {
        ProofSystem::Groth16 => {
            let (path, bytes) = (file("pk"), groth16(&graph, &file("pk"))?);
            (Some(path), bytes)
        }
        ProofSystem::Halo2 => (None, key_bytes(&graph)),
    };
    let decoded = VerifyingKey::decode(&verifying_key).with_context(|| format!("{model}"))?;
    let k = match &decoded {
        VerifyingKey::Groth16(_) => None,
        VerifyingKey::Halo2(key) => {
            parameters::restore(&arguments.output, &decoded)?;
            Parameters::get(key.layout().k);
            parameters::save(&arguments.output)?;
            Some(key.layout().k)
        }
    };
    output::write(&file("vk"), |file| Ok(std::io::Write::write_all(file, &verifying_key)?))?;
    let report = Report {
        model_id: graph.id().to_string(),
        system: arguments.system.to_string(),
        origin: decoded.origin(),
        proving_key_bytes: match &proving_key {
            Some(path) => Some(std::fs::metadata(path)?.len()),
            None => None,
        },
        proving_key,
        k,
        verifying_key_bytes: verifying_key.len(),
        verifying_key: file("vk"),
        seconds: start.elapsed().as_secs_f64(),
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        println!("model          {}", report.model_id);
        println!("proof system   {}", report.system);
        match (&report.proving_key, report.proving_key_bytes) {
            (Some(path), Some(bytes)) => {
                println!(
                    "key made by    {}: whoever ran this could forge, had it kept its secrets",
                    report.origin
                );
                println!("proving key    {} ({bytes} bytes)", path.display());
            }
            _ => println!("key made by    {}", report.origin),
        }
        println!("verifying key  {} ({} bytes)", report.verifying_key.display(), report.verifying_key_bytes);
        println!("time           {:.2} s", report.seconds);
    }
    Ok(Answer::Yes)
}

/// Makes the keys of a setup, writes the proving key, returns the verifying one.
fn groth16(graph: &Graph, path: &Path) -> Result<Vec<u8>> {
    let bar = output::progress(0, "setup");
    let key = setup(graph, Secret::Random, None, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    output::write(path, |file| Ok(key.write(BufWriter::with_capacity(1 << 20, file))?))?;
    Ok(key.verifying_key().to_vec())
}
