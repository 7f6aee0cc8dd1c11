//! What the programs that run until they are told to stop have in common.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How a service logs.
#[derive(clap::Args)]
pub struct Logs {
    /// Log one JSON object a line; RUST_LOG says how much (default: info)
    #[arg(long)]
    log_json: bool,
}

impl Logs {
    /// Sends logs to standard error.
    pub fn start(&self) -> Result<()> {
        let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
        let filter = filter.from_env().context("RUST_LOG")?;
        let colours = std::io::stderr().is_terminal();
        let logs =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
        if self.log_json {
            logs.json().init()
        } else {
            logs.init()
        }
        Ok(())
    }
}

/// Resolves when the process is asked to stop (SIGINT or SIGTERM).
pub async fn told_to_stop() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
