//! `assay setup`: the keys of a model.

use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_circuits::ir::{Graph, limits};
use assay_prover::groth16::{Secret, setup};
use assay_verifier::proof::VerifyingKey;

use crate::{Answer, output};

#[derive(clap::Args)]
pub struct Arguments {
    /// Model file, as written by `assay model import`
    model: PathBuf,
    /// Folder for NAME.pk (for miners) and NAME.vk (for everybody)
    #[arg(short, long)]
    output: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model_id: String,
    origin: String,
    proving_key: PathBuf,
    verifying_key: PathBuf,
    proving_key_bytes: u64,
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

    let bar = output::progress(0, "setup");
    let key = setup(&graph, Secret::Random, None, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();

    let file = |extension| arguments.output.join(name).with_extension(extension);
    let (proving_key, verifying_key) = (file("pk"), file("vk"));
    output::write(&proving_key, |file| Ok(key.write(BufWriter::with_capacity(1 << 20, file))?))?;
    output::write(&verifying_key, |file| Ok(std::io::Write::write_all(file, key.verifying_key())?))?;
    let report = Report {
        model_id: graph.id().to_string(),
        origin: VerifyingKey::decode(key.verifying_key())?.origin().to_string(),
        proving_key_bytes: std::fs::metadata(&proving_key)?.len(),
        verifying_key_bytes: key.verifying_key().len(),
        proving_key,
        verifying_key,
        seconds: start.elapsed().as_secs_f64(),
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        println!("model          {}", report.model_id);
        println!("key made by    {}: whoever ran this could forge, had it kept its secrets", report.origin);
        println!("proving key    {} ({} bytes)", report.proving_key.display(), report.proving_key_bytes);
        println!("verifying key  {} ({} bytes)", report.verifying_key.display(), report.verifying_key_bytes);
        println!("time           {:.2} s", report.seconds);
    }
    Ok(Answer::Yes)
}
