//! What a model's setup, proof and verification cost, beside the floor of a Groth16 prover's arithmetic.
//!
//! ```text
//! floor = one full-width MSM in G1 of the domain's size + seven FFTs of that size, by arkworks, in the same process
//! ```
//!
//! FFTs are of the next power of two where the domain is `3 * 2^k`. Runs of floor and proof alternate, so that what
//! else the machine does meets both; every time is a median over the runs, each on another input. The first proof warms
//! up and shows the prover's peak memory; its time does not count.

mod floor;
mod halo2;
mod memory;
mod report;

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_circuits::ir::Graph;
use assay_circuits::r1cs::Plan;
use assay_circuits::r1cs::witness::Witness;
use assay_proto::ProofSystem;
use assay_prover::groth16::{Prover, ProvingKey, Secret, draw_salts, setup};
use assay_verifier::proof::{Statement, VerifyingKey, verify, verify_batch};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::models;
use crate::results::Destination;
use floor::Floor;
pub use report::median;
use report::{Report, Times};

/// Proofs of a batch.
const BATCH: usize = 256;

#[derive(clap::Args)]
pub struct Arguments {
    /// ONNX file, or one of mlp, lenet5, cnn264k, dense4m, mnist2m
    model: String,
    /// Proof system: groth16 or halo2; the floor is that of groth16
    #[arg(long, default_value_t)]
    system: ProofSystem,
    /// Proofs that are made and timed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    #[command(flatten)]
    destination: Destination,
}

/// Measures and reports.
pub fn run(arguments: Arguments) -> Result<bool> {
    let source = models::find(&arguments.model)?;
    let began = Instant::now();
    let imported = source.import()?;
    let import_seconds = began.elapsed().as_secs_f64();
    let graph = imported.graph;
    if arguments.system == ProofSystem::Halo2 {
        return halo2::run(source.name, &graph, arguments.runs, &arguments.destination);
    }
    let plan = Plan::new(&graph);

    let began = Instant::now();
    let key = setup(&graph, Secret::Random, None, &|_, _| {});
    let setup_seconds = began.elapsed().as_secs_f64();
    let verifying_key = key.verifying_key().to_vec();
    let mut file = tempfile::tempfile().context("a file for the proving key")?;
    key.write(BufWriter::with_capacity(1 << 20, &mut file))?;
    file.flush()?;
    drop(key);
    let setup_peak_bytes = memory::peak();

    memory::reset_peak();
    let (prover, proving_key_bytes, load_seconds) = load(file, &graph)?;
    let key = VerifyingKey::decode(&verifying_key)?;
    let mut random = StdRng::seed_from_u64(1);
    prove(&prover, &key, &inputs(&graph, &mut random), &mut Times::default())?;
    let prove_peak_bytes = memory::peak();

    let mut floor = Floor::new(plan.domain(), &mut random);
    let (mut times, mut proofs) = (Times::default(), Vec::new());
    for _ in 0..arguments.runs {
        floor.run();
        let inputs = inputs(&graph, &mut random);
        proofs.push(prove(&prover, &key, &inputs, &mut times)?);
    }

    let batch: Vec<(Statement, Vec<u8>)> = proofs.iter().cycle().take(BATCH).cloned().collect();
    let mut batches = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        verify_batch(&key, &batch)?;
        batches.push(began.elapsed().as_secs_f64());
    }
    let report = Report::new(report::Measured {
        model: source.name,
        graph: &graph,
        plan: &plan,
        distinct_proofs: proofs.len().min(BATCH),
        proof_bytes: proofs.first().map_or(0, |(_, proof)| proof.len()),
        verifying_key_bytes: verifying_key.len(),
        proving_key_bytes,
        import_seconds,
        setup_seconds,
        load_seconds,
        times,
        floor: floor.into_times(),
        batch_seconds: median(&mut batches),
        batch: BATCH,
        setup_peak_bytes,
        prove_peak_bytes,
    });
    arguments.destination.put(&report, || report.print())?;
    Ok(true)
}

fn load(mut file: File, graph: &Graph) -> Result<(Prover, u64, f64)> {
    let bytes = file.metadata()?.len();
    file.rewind()?;
    let (began, graph) = (Instant::now(), graph.clone());
    let key = ProvingKey::read(BufReader::with_capacity(1 << 20, file), &graph)?;
    let prover = Prover::new(graph, key)?;
    Ok((prover, bytes, began.elapsed().as_secs_f64()))
}

/// Makes and checks one proof.
fn prove(
    prover: &Prover,
    key: &VerifyingKey,
    inputs: &[Vec<i32>],
    times: &mut Times,
) -> Result<(Statement, Vec<u8>)> {
    let salts = draw_salts(prover.graph());
    let began = Instant::now();
    let trace = prover.graph().run(inputs)?;
    let inferred = Instant::now();
    let witness = Witness::new(prover.graph(), prover.plan(), &trace)?;
    let witnessed = Instant::now();
    let statement = prover.statement(&trace, [0; 32], &salts);
    let proof = prover.prove_witness(&witness, &statement, &salts);
    let proven = Instant::now();
    verify(key, &statement, &proof).context("a proof that was just made")?;
    times.infer.push((inferred - began).as_secs_f64());
    times.witness.push((witnessed - inferred).as_secs_f64());
    times.prove.push((proven - inferred).as_secs_f64());
    times.verify.push(proven.elapsed().as_secs_f64());
    ensure!(witness.violations().is_empty(), "the witness breaks a constraint");
    Ok((statement, proof))
}

/// Integers drawn evenly from the types of the inputs: proving time hardly depends on them.
fn inputs(graph: &Graph, random: &mut StdRng) -> Vec<Vec<i32>> {
    let port = |port: &assay_circuits::ir::Port| {
        let (lo, hi) = (port.quant.lo, port.quant.hi);
        (0..assay_circuits::ir::elements(&port.shape)).map(|_| random.random_range(lo..=hi)).collect()
    };
    graph.inputs().iter().map(port).collect()
}
