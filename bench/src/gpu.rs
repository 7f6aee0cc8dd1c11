//! Each computation of proofs and of inference on the processor and on a CUDA device, in one run, on the same values.
//!
//! A result that differs is an error, not a figure. Times are medians; those of the device hold the copies that a proof
//! makes too: scalars and inputs are copied each time, points and weights are resident.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ark_bn254::{Fr, g1, g2};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::short_weierstrass::{Affine, Projective};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::PrimeField;
use assay_circuits::ir::{Graph, elements};
use assay_prover::backend::{Accelerator, Backend, Choice, Work};
use assay_prover::bases::{self, Bases, Curve};
use assay_prover::fft::Coset;
use assay_prover::groth16::{Prover, Secret, setup};
use assay_prover::network::Network;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::models;
use crate::prove::median;
use crate::results::Destination;
use crate::table::table;

#[derive(clap::Args)]
pub struct Arguments {
    /// Device: auto or cuda:N
    #[arg(long, default_value_t)]
    device: Choice,
    /// Least and greatest logarithm of the numbers of points
    #[arg(long, num_args = 2, value_names = ["LOG", "LOG"], default_values_t = [14, 20],
        value_parser = clap::value_parser!(u32).range(2..=24))]
    sizes: Vec<u32>,
    /// Times that each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Models to run and prove; none for the kernels alone
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(serde::Serialize)]
struct Figures {
    measurement: &'static str,
    device: String,
    rows: Vec<Row>,
}

#[derive(serde::Serialize)]
struct Row {
    what: String,
    size: String,
    cpu_seconds: f64,
    gpu_seconds: f64,
}

/// Measures and prints; an error where there is no device.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let backend = match arguments.device {
        // `auto` falls back to the processor elsewhere; here that would measure nothing.
        Choice::Auto => Backend::open(Choice::Cuda(0), None),
        choice => Backend::open(choice, None),
    };
    let Backend::Cuda(accelerator) = backend.context("no device to measure")? else {
        anyhow::bail!("no device to measure: the processor was asked for");
    };
    let mut bench = Bench { accelerator: &accelerator, runs: arguments.runs, rows: Vec::new() };
    for log in (arguments.sizes[0]..=arguments.sizes[1]).step_by(2) {
        bench.sums::<g1::Config>("MSM G1", 1 << log)?;
        // G2 is a fifth of a proof and costs the processor three times as much.
        if log <= 18 {
            bench.sums::<g2::Config>("MSM G2", 1 << log)?;
        }
        bench.transform(1 << log)?;
    }
    for side in [256, 1024] {
        bench.work(Work { seed: 1, side, rounds: 4 })?;
    }
    for model in &arguments.models {
        bench.model(model)?;
    }
    let figures = Figures { measurement: "gpu", device: accelerator.to_string(), rows: bench.rows };
    arguments.destination.put(&figures, || figures.print())?;
    Ok(true)
}

struct Bench<'a> {
    accelerator: &'a std::sync::Arc<Accelerator>,
    runs: u32,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Medians of both, in turn; their results must be equal.
    fn measure<T: PartialEq>(
        &mut self,
        what: &str,
        size: &str,
        mut on_cpu: impl FnMut() -> Result<T>,
        mut on_device: impl FnMut() -> Result<T>,
    ) -> Result<()> {
        // The first time compiles the kernels.
        ensure!(on_cpu()? == on_device()?, "{what} {size}: the device computes another result");
        let (mut cpu, mut gpu) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let began = Instant::now();
            on_cpu()?;
            cpu.push(began.elapsed().as_secs_f64());
            let began = Instant::now();
            on_device()?;
            gpu.push(began.elapsed().as_secs_f64());
        }
        ensure!(self.accelerator.gpu().is_some(), "{what} {size}: the device was given up");
        self.rows.push(Row {
            what: what.to_owned(),
            size: size.to_owned(),
            cpu_seconds: median(&mut cpu),
            gpu_seconds: median(&mut gpu),
        });
        Ok(())
    }

    fn sums<P: Curve>(&mut self, what: &str, n: usize) -> Result<()>
    where
        Projective<P>: CurveGroup<Affine = Affine<P>, ScalarField = Fr> + PrimeGroup<ScalarField = Fr>,
    {
        let full = scalars(n);
        let points: Vec<Affine<P>> =
            BatchMulPreprocessing::new(Projective::<P>::generator(), n).batch_mul(&full);
        let resident = bases::upload(self.accelerator.device()?, &points)?;
        let (here, there) =
            (Bases::new(&points, None), Bases::new(&points, Some((self.accelerator, &resident))));
        let mut random = StdRng::seed_from_u64(2);
        let small: Vec<i64> = (0..n).map(|_| random.random_range(-128..128i64).max(0)).collect();
        self.measure(what, &format!("{n} full"), || Ok(here.msm(&full)), || Ok(there.msm(&full)))?;
        let small = small.as_slice();
        self.measure(what, &format!("{n} 8-bit"), || Ok(here.msm_small(small)), || Ok(there.msm_small(small)))
    }

    fn transform(&mut self, n: usize) -> Result<()> {
        let (coset, values) = (Coset::new(n), scalars(n));
        let gpu = self.accelerator.device()?;
        let (roots, shift) = coset.tables();
        let domain = gpu.domain(&bases::elements(&roots), &bases::elements(shift))?;
        let on_cpu = || {
            let mut values = values.clone();
            coset.extend(&mut values);
            Ok(bases::elements(&values))
        };
        let on_device = || Ok(gpu.extend(&domain, &gpu.elements(&bases::elements(&values))?)?.read()?);
        self.measure("two NTTs", &n.to_string(), on_cpu, on_device)
    }

    fn work(&mut self, work: Work) -> Result<()> {
        let gpu = self.accelerator.device()?;
        let size = format!("{} x {side}^3", work.rounds, side = work.side);
        self.measure("int8 GEMM", &size, || Ok(work.reference()), || Ok(gpu.work(&work)?))
    }

    fn model(&mut self, name: &str) -> Result<()> {
        let graph = models::find(name)?.import()?.graph;
        let gpu = self.accelerator.device()?;
        let network = Network::new(gpu, &graph)?;
        let inputs = inputs(&graph);
        self.measure(
            "infer",
            name,
            || Ok(graph.run(&inputs)?),
            || network.run(gpu, &graph, std::slice::from_ref(&inputs))?.pop().context("one trace"),
        )?;
        let key = setup(&graph, Secret::Random, None, &|_, _| {});
        let here = Prover::new(graph.clone(), key.clone())?;
        let mut there = Prover::new(graph.clone(), key)?;
        there.move_to(self.accelerator)?;
        let trace = graph.run(&inputs)?;
        // Two proofs differ by their randomness; their statements must not.
        let prove = |prover: &Prover| Ok(prover.prove(&trace, [0; 32], &[])?.0);
        self.measure("prove and check", name, || prove(&here), || prove(&there))
    }
}

impl Figures {
    fn print(&self) {
        println!("{}", self.device);
        let mut table = table(&["", "size", "CPU ms", "GPU ms", "ratio"], &[1, 2, 3, 4]);
        for row in &self.rows {
            table.add_row([
                row.what.clone(),
                row.size.clone(),
                format!("{:.2}", row.cpu_seconds * 1e3),
                format!("{:.2}", row.gpu_seconds * 1e3),
                format!("{:.2}", row.cpu_seconds / row.gpu_seconds),
            ]);
        }
        println!("{table}");
    }
}

fn scalars(n: usize) -> Vec<Fr> {
    let mut random = StdRng::seed_from_u64(1);
    (0..n).map(|_| Fr::from_le_bytes_mod_order(&random.random::<[u8; 64]>())).collect()
}

fn inputs(graph: &Graph) -> Vec<Vec<i32>> {
    let mut random = StdRng::seed_from_u64(3);
    let port = |port: &assay_circuits::ir::Port| {
        let (lo, hi) = (port.quant.lo, port.quant.hi);
        (0..elements(&port.shape)).map(|_| random.random_range(lo..=hi)).collect()
    };
    graph.inputs().iter().map(port).collect()
}
