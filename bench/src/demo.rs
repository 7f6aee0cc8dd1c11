//! The whole system at work: one validator, three miners of which two lie, a client, an auditor. They share this
//! process and nothing else: every job, answer, proof and report goes through gRPC on 127.0.0.1.
//!
//! What must come out, or the demo fails:
//!
//! - every digit is answered, and the proof of each answer holds where the client checks it itself;
//! - whatever a liar sends is refused by the validator and by the client alike, and no liar earns anything;
//! - prices paid and rewards add up to the balances;
//! - the exported log passes the audit, and no longer does with one bit of it flipped.

mod client;
mod evidence;
mod liar;
mod network;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_circuits::ir::Graph;
use assay_proto::ProofSystem;
use assay_proto::receipt::Verdict;
use assay_proto::report::EpochReport;
use assay_prover::cpu::CpuWorker;
use assay_prover::groth16::{self, ProvingKey, Secret, setup};
use assay_prover::halo2;
use assay_prover::prover::Prover;
use assay_prover::worker::Worker;
use assay_verifier::proof::halo2::key_bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use crate::digits::{self, Digit};
use crate::models;
use client::{Attempt, Client};
use liar::{OtherInput, OtherModel};
use network::{BALANCE, Network, PRICE, Standing};

/// Digits that the repository has; the last one is what the second liar proves instead.
const DIGITS: u64 = 200;

#[derive(clap::Args)]
pub struct Arguments {
    /// A digit classifier: mlp, lenet5, or an ONNX file with one input of 784 values
    #[arg(long, default_value = "lenet5")]
    model: String,
    /// Proof system: groth16 or halo2
    #[arg(long, default_value_t)]
    system: ProofSystem,
    /// Digits to ask for
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..DIGITS))]
    digits: u64,
    /// Folder for the model, its verifying key and both logs
    #[arg(short, long, default_value = "demo")]
    output: PathBuf,
}

/// Runs the demo; whether all was as it should be.
pub fn run(arguments: Arguments) -> Result<bool> {
    let start = Instant::now();
    std::fs::create_dir_all(&arguments.output).with_context(|| arguments.output.display().to_string())?;
    let source = models::find(&arguments.model)?;
    let graph = source.import()?.graph;
    ensure!(graph.inputs().len() == 1, "{}: a digit classifier has one input", source.name);
    let mut digits = digits::load(&graph.inputs()[0])?;
    let decoy = digits.pop().context("no digits")?;
    digits.truncate(usize::try_from(arguments.digits)?);

    let other = liar::other_model(&graph)?;
    let keys = Keys::make(&graph, arguments.system, "setup of the model");
    let other_keys = Keys::make(&other, arguments.system, "setup of a liar's own model");
    let (honest, copy, own) = (keys.prover(&graph)?, keys.prover(&graph)?, other_keys.prover(&other)?);
    println!(
        "{}: model {}, {}, keys made in {:.1} s",
        source.name,
        graph.id(),
        match &honest {
            Prover::Groth16(prover) => format!("groth16, {} rows", prover.plan().rows()),
            Prover::Halo2(prover) => format!("halo2, 2^{} rows", prover.layout().k),
        },
        start.elapsed().as_secs_f64()
    );
    let file = |extension| arguments.output.join(&source.name).with_extension(extension);
    std::fs::write(file("assay"), graph.to_bytes())?;
    let verifying_key = keys.verifying_key(&graph);
    std::fs::write(file("vk"), &verifying_key)?;

    let [honest, copy, own] = [honest, copy, own].map(|prover| CpuWorker::new([prover]));
    let workers: Vec<(&'static str, Box<dyn Worker>)> = vec![
        ("honest", Box::new(honest)),
        ("runs another model", Box::new(OtherModel { claimed: graph.id(), own, runs: other.id() })),
        ("proves another input", Box::new(OtherInput { honest: copy, inputs: vec![decoy.input] })),
    ];

    let runtime = tokio::runtime::Runtime::new()?;
    let ran = runtime.block_on(async {
        let network = Network::start(&source.name, verifying_key, workers).await?;
        let ran = ask_all(&network, &digits).await;
        network.stop().await?;
        ran
    })?;
    let names: BTreeMap<_, _> =
        ran.standings.iter().map(|standing| (standing.miner, standing.name)).collect();
    println!("{}", tables::attempts(&ran.attempts, &names));
    println!("{}", tables::miners(&ran.standings));

    let mut problems = check(&ran, digits.len());
    problems.extend(evidence::audit_and_forge(&arguments.output, &ran.export, &ran.attempts)?);
    println!(
        "{}, {:.0} s in all",
        tables::summary(&ran.attempts, digits.len()),
        start.elapsed().as_secs_f64()
    );
    for problem in &problems {
        eprintln!("not as it should be: {problem}");
    }
    Ok(problems.is_empty())
}

/// Everything that came out of the network.
struct Ran {
    attempts: Vec<Attempt>,
    standings: Vec<Standing>,
    reports: Vec<EpochReport>,
    client_balance: u64,
    export: Vec<u8>,
}

async fn ask_all(network: &Network, digits: &[Digit]) -> Result<Ran> {
    let client = Arc::new(Client::connect(network).await?);
    let bar = progress(digits.len() as u64, "digits");
    // A miner holds one job at a time, so as many jobs as miners at once try every miner, the liars included.
    let mut attempts = Vec::new();
    let (first, rest) = digits.split_at(digits.len().min(network.miners()));
    let mut asked = JoinSet::new();
    for (number, digit) in first.iter().cloned().enumerate() {
        let client = Arc::clone(&client);
        asked.spawn(
            async move { client.ask(number, &digit).await.with_context(|| format!("digit {number}")) },
        );
    }
    while let Some(answered) = asked.join_next().await {
        attempts.extend(answered??);
        bar.inc(1);
    }
    attempts.sort_by_key(|attempt| attempt.digit);
    for (number, digit) in (first.len()..).zip(rest) {
        attempts.extend(client.ask(number, digit).await.with_context(|| format!("digit {number}"))?);
        bar.inc(1);
    }
    bar.set_message("end of the epoch");
    let last = attempts.iter().filter_map(|attempt| attempt.position).max().context("no receipt")?;
    let reports = client.reports(last.height).await?;
    let standings = network.standings(&client, &reports).await?;
    bar.finish_and_clear();
    Ok(Ran {
        attempts,
        standings,
        reports,
        client_balance: client.balance().await?,
        export: client.export().await?,
    })
}

/// What is not as it should be.
fn check(ran: &Ran, digits: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let answered = ran.attempts.iter().filter(|attempt| attempt.verdict == Verdict::Verified).count();
    must(answered == digits, format!("{answered} of {digits} digits have a verified answer"));
    must(!ran.reports.is_empty(), "no epoch ended".to_owned());
    for attempt in &ran.attempts {
        let own = attempt.own_verdict;
        let agree = own.is_none_or(|own| own == attempt.verdict);
        must(
            agree,
            format!("digit {}: the validator says {}, the client {own:?}", attempt.digit, attempt.verdict),
        );
    }
    let mut paid = 0;
    for standing in &ran.standings {
        let Standing { name, is_liar, verified, rewards, earned, balance, reputation_ppm, .. } = standing;
        paid += verified * PRICE;
        must(
            *earned == verified * PRICE + rewards,
            format!("{name}: {earned} earned, of which {rewards} rewards"),
        );
        must(balance == earned, format!("{name}: {earned} earned, balance {balance}"));
        let clean = *earned == 0 && *rewards == 0 && *verified == 0 && *reputation_ppm == 0;
        must(!is_liar || clean, format!("{name}: a liar earned {earned}, reputation {reputation_ppm} ppm"));
        must(*is_liar || (*rewards > 0 && *reputation_ppm > 0), format!("{name}: no reward for honest work"));
    }
    let expected = BALANCE - digits as u64 * PRICE;
    must(paid == digits as u64 * PRICE, format!("{paid} paid for {digits} digits at {PRICE}"));
    must(
        ran.client_balance == expected,
        format!("the client has {} left, not {expected}", ran.client_balance),
    );
    problems
}

/// What a model's provers are made from.
enum Keys {
    Groth16(Box<ProvingKey>),
    Halo2,
}

impl Keys {
    fn make(graph: &Graph, system: ProofSystem, message: &'static str) -> Self {
        match system {
            ProofSystem::Groth16 => {
                let bar = progress(0, message);
                let key = setup(graph, Secret::Random, None, &|done, total| {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                });
                bar.finish_and_clear();
                Self::Groth16(Box::new(key))
            }
            ProofSystem::Halo2 => Self::Halo2,
        }
    }

    fn prover(&self, graph: &Graph) -> Result<Prover> {
        Ok(match self {
            Self::Groth16(key) => groth16::Prover::new(graph.clone(), key.as_ref().clone())?.into(),
            Self::Halo2 => halo2::Prover::new(graph)?.into(),
        })
    }

    fn verifying_key(&self, graph: &Graph) -> Vec<u8> {
        match self {
            Self::Groth16(key) => key.verifying_key().to_vec(),
            Self::Halo2 => key_bytes(graph),
        }
    }
}

fn progress(total: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} [{bar:40}] {pos}/{len} {eta}");
    ProgressBar::new(total)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(message)
}
