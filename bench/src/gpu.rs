//! Each computation of proofs and of inference on the processor and on a CUDA device, in one run, on the same values.
//!
//! A result that differs is an error, not a figure. Times are medians. Three are told apart:
//!
//! ```text
//! CPU      all cores, from scalars in memory to the result
//! GPU      from scalars in memory to the result; points, roots and weights are resident, scalars and inputs are not
//! kernels  the device's own time, operands resident, by its own clock
//! ```
//!
//! The share is that of the rate that the device was seen to have in the same run at what the computation consists of:
//!
//! ```text
//! MSM, NTT   products of field elements: 10 a point and window, thrice as many in G2, one a butterfly
//! GEMM       multiply-adds of bytes on tensor cores
//! ```

mod kernels;
mod models;
mod report;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_cuda_kernels::ceiling::{Ceilings, Effort};
use assay_prover::backend::{Accelerator, Backend, Choice};

use crate::prove::median;
use crate::results::Destination;
use report::{Figures, Row};

#[derive(clap::Args)]
pub struct Arguments {
    /// Device: auto or cuda:N
    #[arg(long, default_value_t)]
    device: Choice,
    /// Least and greatest logarithm of the numbers of points
    #[arg(long, num_args = 2, value_names = ["LOG", "LOG"], default_values_t = [14, 20],
        value_parser = clap::value_parser!(u32).range(2..=24))]
    sizes: Vec<u32>,
    /// Side of the product of matrices that is held against the ceiling of tensor cores
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(64..=16384))]
    gemm: u32,
    /// Times that each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Models to run and prove; none for the kernels alone
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Less work for the ceilings: for an emulator
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    destination: Destination,
}

/// Measures and prints; an error where there is no device.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let began = Instant::now();
    let choice = match &arguments.device {
        // `auto` falls back to the processor elsewhere; here that would measure nothing.
        Choice::Auto => Choice::Cuda(vec![0]),
        choice => choice.clone(),
    };
    let opened = Backend::open(&choice, None).context("no device to measure")?.into_accelerators();
    let [accelerator] = &opened[..] else {
        anyhow::bail!("no device to measure: expected one, --device {choice} gives {}", opened.len());
    };
    let opened = began.elapsed().as_secs_f64();
    let code = accelerator.device()?.code().to_owned();
    eprintln!("{accelerator}: opened in {opened:.2} s, kernels from {code}");
    let effort =
        if arguments.brief { Effort { blocks: 2, rounds: 2, bytes: 1 << 16 } } else { Effort::default() };
    let ceilings = accelerator.device()?.ceilings(effort)?;
    let mut bench = Bench { accelerator, runs: arguments.runs, ceilings, rows: Vec::new() };
    for model in &arguments.models {
        bench.model(model)?;
    }
    bench.gemm(arguments.gemm as usize)?;
    bench.kernels(arguments.sizes[0], arguments.sizes[1])?;
    let figures = Figures {
        measurement: "gpu",
        device: accelerator.to_string(),
        code,
        opened_seconds: opened,
        ceilings: ceilings.into(),
        rows: bench.rows,
    };
    arguments.destination.put(&figures, || figures.print())?;
    Ok(true)
}

struct Bench<'a> {
    accelerator: &'a Arc<Accelerator>,
    runs: u32,
    ceilings: Ceilings,
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
    ) -> Result<&mut Row> {
        let began = Instant::now();
        let (mut cpu, mut gpu) = (Vec::new(), Vec::new());
        let expected = on_cpu()?;
        cpu.push(began.elapsed().as_secs_f64());
        // The first time on the device takes memory, which is kept.
        ensure!(expected == on_device()?, "{what} {size}: the device computes another result");
        for _ in 0..self.runs {
            // What takes the processor seconds is seen once.
            if cpu[0] < 1.0 {
                let began = Instant::now();
                on_cpu()?;
                cpu.push(began.elapsed().as_secs_f64());
            }
            let began = Instant::now();
            on_device()?;
            gpu.push(began.elapsed().as_secs_f64());
        }
        let row = Row {
            cpu_seconds: Some(median(&mut cpu)),
            gpu_seconds: Some(median(&mut gpu)),
            ..Row::new(what, size)
        };
        self.push(row)
    }

    /// The median of the device's own time.
    fn kernel_seconds(
        &self,
        mut work: impl FnMut() -> Result<(), assay_cuda_kernels::DeviceError>,
    ) -> Result<f64> {
        let gpu = self.accelerator.device()?;
        work()?;
        let mut times = Vec::new();
        for _ in 0..self.runs {
            times.push(gpu.timed(&mut work)?.1.as_secs_f64());
        }
        Ok(median(&mut times))
    }

    fn push(&mut self, row: Row) -> Result<&mut Row> {
        ensure!(self.accelerator.gpu().is_some(), "{} {}: the device was given up", row.what, row.size);
        eprintln!("{}", row.line());
        self.rows.push(row);
        self.rows.last_mut().context("a row")
    }
}
