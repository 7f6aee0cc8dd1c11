//! What a proof of halo2 costs. There is no setup: what takes time once is making the parameters, which depend on nothing
//! but the number of rows, and the keys, which follow from the model.

use std::time::Instant;

use anyhow::{Context, Result};
use assay_circuits::halo2::Witness;
use assay_circuits::ir::Graph;
use assay_prover::halo2::Prover;
use assay_prover::prover::statement;
use assay_verifier::proof::halo2::{Parameters, VerifyingKey, key_bytes};
use assay_verifier::proof::{self, Statement};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::report::{Times, median};
use super::{inputs, memory};
use crate::results::Destination;

/// Proofs of a batch.
const BATCH: usize = 32;

#[derive(serde::Serialize)]
struct Report {
    model: String,
    model_id: String,
    system: &'static str,
    cores: usize,
    runs: usize,
    /// Rows in use.
    constraints: usize,
    /// All rows.
    domain: usize,
    limb_bits: u32,
    taps: usize,
    columns_first_phase: usize,
    columns_second_phase: usize,
    lookups_per_row: usize,
    parameters_seconds: f64,
    parameters_bytes: usize,
    /// Making the proving key, the verifying one included, from the parameters.
    setup_seconds: f64,
    infer_seconds: f64,
    witness_seconds: f64,
    prove_seconds: f64,
    verify_seconds: f64,
    batch: usize,
    batch_distinct_proofs: usize,
    batch_seconds_per_proof: f64,
    proof_bytes: usize,
    verifying_key_bytes: usize,
    setup_peak_bytes: Option<u64>,
    prove_peak_bytes: Option<u64>,
}

/// Measures and reports.
pub fn run(model: String, graph: &Graph, runs: u32, destination: &Destination) -> Result<bool> {
    let bytes = key_bytes(graph);
    let key = VerifyingKey::decode(&bytes)?;
    let layout = key.layout().clone();
    let seconds = |began: Instant| began.elapsed().as_secs_f64();
    let began = Instant::now();
    Parameters::get(layout.k);
    let parameters_seconds = seconds(began);
    let began = Instant::now();
    let prover = Prover::new(graph)?;
    let setup_seconds = seconds(began);
    let setup_peak_bytes = memory::peak();

    let mut random = StdRng::seed_from_u64(1);
    memory::reset_peak();
    prove(&prover, &inputs(graph, &mut random), &mut Times::default())?;
    let prove_peak_bytes = memory::peak();
    let (mut times, mut proofs) = (Times::default(), Vec::new());
    for _ in 0..runs {
        proofs.push(prove(&prover, &inputs(graph, &mut random), &mut times)?);
    }
    let batch: Vec<(Statement, Vec<u8>)> = proofs.iter().cycle().take(BATCH).cloned().collect();
    let mut batches = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        proof::verify_batch(prover.verifying_key(), &batch)?;
        batches.push(seconds(began));
    }
    let report = Report {
        model,
        model_id: graph.id().to_string(),
        system: "halo2",
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        runs: proofs.len(),
        constraints: layout.units,
        domain: 1 << layout.k,
        limb_bits: layout.shape.limb_bits,
        taps: layout.shape.taps,
        columns_first_phase: layout.shape.first_phase(),
        columns_second_phase: layout.shape.second_phase(),
        lookups_per_row: layout.shape.lookups().len(),
        parameters_seconds,
        parameters_bytes: Parameters::file_bytes(layout.k),
        setup_seconds,
        infer_seconds: median(&mut times.infer),
        witness_seconds: median(&mut times.witness),
        prove_seconds: median(&mut times.prove),
        verify_seconds: median(&mut times.verify),
        batch: BATCH,
        batch_distinct_proofs: proofs.len().min(BATCH),
        batch_seconds_per_proof: median(&mut batches) / BATCH as f64,
        proof_bytes: key.proof_bytes(),
        verifying_key_bytes: bytes.len(),
        setup_peak_bytes,
        prove_peak_bytes,
    };
    destination.put(&report, || report.print())?;
    Ok(true)
}

/// Makes and checks one proof.
fn prove(prover: &Prover, inputs: &[Vec<i32>], times: &mut Times) -> Result<(Statement, Vec<u8>)> {
    let began = Instant::now();
    let trace = prover.graph().run(inputs)?;
    let inferred = Instant::now();
    let witness = Witness::new(prover.layout(), &trace);
    let witnessed = Instant::now();
    let statement = statement(prover.graph(), &trace, [0; 32], &[])?;
    let proof = prover.prove_witness(&witness, &statement)?;
    let proven = Instant::now();
    proof::verify(prover.verifying_key(), &statement, &proof).context("a proof that was just made")?;
    times.infer.push((inferred - began).as_secs_f64());
    times.witness.push((witnessed - inferred).as_secs_f64());
    times.prove.push((proven - inferred).as_secs_f64());
    times.verify.push(proven.elapsed().as_secs_f64());
    Ok((statement, proof))
}

impl Report {
    fn print(&self) {
        let millis = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        println!("model        {}, id {}", self.model, self.model_id);
        println!("machine      {} cores; medians of {} runs", self.cores, self.runs);
        println!(
            "circuit      {} rows, {} in use; limbs of {} bits",
            self.domain, self.constraints, self.limb_bits
        );
        println!(
            "columns      {} and {}, {} lookups and {} taps a row",
            self.columns_first_phase, self.columns_second_phase, self.lookups_per_row, self.taps
        );
        println!("parameters   {} (once for all models of this size)", millis(self.parameters_seconds));
        println!("setup        {}", millis(self.setup_seconds));
        println!("infer        {}", millis(self.infer_seconds));
        println!(
            "prove        {} (of which witness {})",
            millis(self.prove_seconds),
            millis(self.witness_seconds)
        );
        println!("verify       {}", millis(self.verify_seconds));
        println!(
            "batch        {} a proof in a batch of {} ({} distinct)",
            millis(self.batch_seconds_per_proof),
            self.batch,
            self.batch_distinct_proofs
        );
        println!("proof        {} bytes", self.proof_bytes);
        println!(
            "keys         vk {} bytes, parameters {} bytes",
            self.verifying_key_bytes, self.parameters_bytes
        );
        let mib = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), mib);
        println!("peak memory  setup {}, prove {}", mib(self.setup_peak_bytes), mib(self.prove_peak_bytes));
    }
}
