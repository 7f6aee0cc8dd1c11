#![doc = include_str!("../README.md")]

mod demo;
mod digits;
mod gpu;
mod layout;
mod load;
mod models;
mod peers;
mod prove;
mod results;
mod simulate;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about, after_help = "Exit codes: 0 as it should be, 1 not so, 2 could not tell.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A validator, an honest miner, two liars and a client with real digits; then an audit, then a forged log
    Demo(demo::Arguments),
    /// What setup, proof and verification of a model cost, beside the floor of their arithmetic
    Prove(prove::Arguments),
    /// Four validators that commit thousands of receipts with real proofs: rate, latency, memory, disk, nothing lost
    Load(load::Arguments),
    /// A validator of `load`
    #[command(hide = true)]
    LoadNode(load::NodeArguments),
    /// Sums of points, transforms, inference and proofs on the processor and on a CUDA device
    Gpu(gpu::Arguments),
    /// Draw the halo2 circuit of a model
    Layout(layout::Arguments),
    /// EZKL and this prover in turn on the same ONNX files, and the ratios
    Peers(peers::Arguments),
    /// Rewards among honest and dishonest validators and miners, by the rules of the ledger
    Simulate(simulate::Arguments),
}

/// What is logged unless RUST_LOG says otherwise: of the engine not that its clock, at the end, has nobody left to tell.
const LOGGED: &str = "error,arc_malachitebft_engine::util::ticker=off";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let found = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Prove(arguments) => prove::run(arguments),
        Command::Load(arguments) => load::run(arguments),
        Command::LoadNode(arguments) => load::serve(arguments),
        Command::Gpu(arguments) => gpu::run(&arguments),
        Command::Layout(arguments) => layout::run(arguments),
        Command::Peers(arguments) => peers::run(arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
    };
    match found {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
