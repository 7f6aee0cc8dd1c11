//! Four validators under load, each a process of its own, over real gRPC and real consensus on this machine.
//!
//! ```text
//! receipts   N of them made beforehand, each with its own Groth16 proof of its own job; kept in target/load
//! submitted  to every validator in turn, as many at a time as `in-flight` says, or at a rate; what is refused for want of
//!            room is submitted again
//! latency    from the first submission to the answer, which comes when the receipt is in a decided block
//! processor  time of the validators' processes, which other work on the machine hardly changes
//! interval   between the moments at which one validator shows two blocks
//! lost       receipts that are not in every validator's log exactly once, verified
//! ```
//!
//! It fails unless nothing is lost and all state roots are equal at every height.

mod check;
mod drive;
mod network;
mod receipts;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::results::Destination;
use check::Log;
use drive::{Pace, Sender};
use network::Network;
pub use network::{NodeArguments, serve};
use receipts::Stock;
use report::{Measured, Report};

#[derive(clap::Args)]
pub struct Arguments {
    /// Receipts to commit; with --sustained, as many as the rate needs
    #[arg(default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    receipts: u32,
    /// A digit classifier: mlp, lenet5, or an ONNX file with one input of 784 values
    #[arg(long, default_value = "mlp")]
    model: String,
    /// Receipts in progress at each validator
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=512))]
    in_flight: u32,
    /// Go on for this many seconds at the rate of --rate instead of as fast as possible
    #[arg(long, value_name = "SECONDS", requires = "rate", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    sustained: Option<u32>,
    /// Receipts a second of --sustained, all validators together
    #[arg(long, requires = "sustained", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    #[command(flatten)]
    destination: Destination,
}

/// Runs the load; whether nothing was lost and all logs are one.
pub fn run(arguments: Arguments) -> Result<bool> {
    let (count, pace) = match (arguments.sustained, arguments.rate) {
        (Some(seconds), Some(rate)) => (seconds.saturating_mul(rate), Pace::Rate(rate)),
        _ => (arguments.receipts, Pace::AsAccepted),
    };
    let stock = Stock::make(&arguments.model, usize::try_from(count)?)?;
    let load_average = network::load_average();
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(async {
        let network = Network::start(&stock).await?;
        let measured = measure(&network, &stock, pace, usize::try_from(arguments.in_flight)?).await;
        network.stop()?;
        measured
    })?;
    let report = Report::new(&arguments.model, pace, arguments.in_flight, load_average, measured);
    let holds = report.holds();
    arguments.destination.put(&report, || report.print())?;
    Ok(holds)
}

async fn measure(network: &Network, stock: &Stock, pace: Pace, in_flight: usize) -> Result<Measured> {
    let disk_before = network.disk_bytes()?;
    let watch = network.watch_blocks().await?;
    let processor_before = network.processor_seconds();
    let began = Instant::now();
    let sender = Sender { network, stock, in_flight };
    let sent = sender.send(pace).await?;
    let elapsed = began.elapsed();
    let processor_seconds = network.processor_seconds() - processor_before;
    let blocks = watch.stop().await;
    // The last block may still be on its way to one of them.
    let logs = check::read_all(network, Duration::from_secs(60)).await?;
    ensure!(!logs.is_empty(), "there is no validator");
    Ok(Measured {
        elapsed,
        processor_seconds,
        latencies: sent.latencies,
        refused: sent.refused,
        memory: sent.memory,
        disk_bytes: network.disk_bytes()?.saturating_sub(disk_before),
        validators: network.len(),
        lost: check::lost(&logs, stock),
        roots_equal: check::roots_are_equal(&logs),
        receipts_per_block: logs.first().map(Log::receipts_per_block).unwrap_or_default(),
        blocks,
    })
}
