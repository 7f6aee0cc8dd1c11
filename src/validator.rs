//! `assay validator`: a validator's home, its process, and questions to a running one.
//!
//! ```text
//! HOME/config.toml     settings, every one documented there
//! HOME/genesis.bin     canonical bytes of the genesis: the same file for every validator of a chain
//! HOME/validator.key   secret key
//! HOME/data/           database
//! ```

mod backup;
mod export;
pub mod init;
mod overrides;
pub mod register;
mod start;
mod status;
mod sync;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Answer;

/// What to do with a validator.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a validator's home, and the genesis of a new chain
    Init(init::Arguments),
    /// Run a validator
    Start(start::Arguments),
    /// Check settings, genesis and key without starting anything
    ValidateConfig(start::Check),
    /// Register a model's verifying key on the ledger
    RegisterModel(register::Arguments),
    /// Copy the database of a running validator
    Backup(backup::BackupArguments),
    /// Make a database of a copy
    Restore(backup::RestoreArguments),
    /// Begin with a state that another validator gives, at a block that you trust
    Sync(sync::Arguments),
    /// Write the log of a running validator to a file for auditors
    Export(export::Arguments),
    /// Show the ledger of a running validator
    Status(status::Arguments),
}

/// Runs a command.
pub fn run(command: Command) -> Result<Answer> {
    match command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Start(arguments) => start::run(&arguments),
        Command::ValidateConfig(arguments) => start::check(&arguments),
        Command::RegisterModel(arguments) => register::run(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Sync(arguments) => sync::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
    }
}

/// Files of a validator's home.
pub struct Home(pub PathBuf);

impl Home {
    /// Its file.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Its file.
    pub fn genesis(&self) -> PathBuf {
        self.0.join("genesis.bin")
    }

    /// Its file.
    pub fn key(&self) -> PathBuf {
        self.0.join("validator.key")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Runs a conversation with a validator.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new().context("the runtime")?.block_on(work)
}
