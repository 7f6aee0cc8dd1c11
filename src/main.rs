//! `assay`: one program for model owners, miners, validators, clients and auditors.
//!
//! Exit codes: 0 yes, 1 no (a proof, a receipt or a log that does not hold), 2 could not tell (wrong input, no
//! connection); every error is one line on standard error.

mod audit;
mod connection;
mod devnet;
mod epoch;
mod epoch_report;
mod infer;
mod key;
mod miner;
mod model;
mod opening;
mod output;
mod parameters;
mod proof_file;
mod prove;
mod service;
mod setup;
mod tensors;
mod tx;
mod validator;
mod verify;
mod verify_state;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about, long_about = None, after_help = "Exit codes: 0 yes, 1 no, 2 could not tell.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Import, inspect and run models
    #[command(subcommand)]
    Model(model::Command),
    /// Make the proving and verifying key of a model
    Setup(setup::Arguments),
    /// Prove an inference
    Prove(prove::Arguments),
    /// Check a proof
    Verify(verify::Arguments),
    /// Make and show Ed25519 keys
    #[command(subcommand)]
    Key(key::Command),
    /// Run a validator
    #[command(subcommand)]
    Validator(validator::Command),
    /// Run a network of validators and miners on this machine
    Devnet(devnet::Arguments),
    /// Run a miner
    Miner(miner::Arguments),
    /// Ask for an inference and check its proof
    Infer(infer::Arguments),
    /// Check an exported log, every proof and every reward of it, without a network
    Audit(audit::Arguments),
    /// Run the epoch function alone, on stakes and weights from a file
    Epoch(epoch::Arguments),
    /// Show who earned what in an epoch, and why
    EpochReport(epoch_report::Arguments),
    /// Check a record of the ledger against the genesis alone
    VerifyState(verify_state::Arguments),
    /// Move, lock and unlock base units of an account
    Tx(tx::Arguments),
}

/// What a command found.
enum Answer {
    Yes,
    No,
}

fn main() -> ExitCode {
    output::end_when_nobody_reads();
    // clap itself exits with 2 on wrong arguments and 0 on --help.
    let arguments = Arguments::parse();
    let answer = match arguments.command {
        Command::Model(command) => model::run(command),
        Command::Setup(arguments) => setup::run(arguments),
        Command::Prove(arguments) => prove::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Key(command) => key::run(command),
        Command::Validator(command) => validator::run(command),
        Command::Devnet(arguments) => devnet::run(&arguments),
        Command::Miner(arguments) => miner::run(arguments),
        Command::Infer(arguments) => infer::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Epoch(arguments) => epoch::run(arguments),
        Command::EpochReport(arguments) => epoch_report::run(&arguments),
        Command::VerifyState(arguments) => verify_state::run(&arguments),
        Command::Tx(arguments) => tx::run(&arguments),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
