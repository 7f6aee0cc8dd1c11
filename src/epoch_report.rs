//! `assay epoch-report`: who earned what in an epoch and why, asked of a validator or recomputed from an exported log.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use assay_proto::Epoch;
use assay_proto::report::EpochReport;
use assay_verifier::audit::{self, report};

use crate::connection::Tls;
use crate::{Answer, output};

/// Arguments of `assay epoch-report`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Number of the epoch [default: the last that ended]
    epoch: Option<u64>,
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL", required_unless_present = "file")]
    endpoint: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// Log, as written by `assay validator export`: the report is recomputed from it
    #[arg(long, value_name = "FILE", conflicts_with = "endpoint")]
    file: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let epoch = arguments.epoch.map(Epoch);
    let found = match (&arguments.file, &arguments.endpoint) {
        (Some(path), _) => recomputed(path, epoch)?,
        (None, Some(endpoint)) => asked(&arguments.tls, endpoint, epoch)?,
        (None, None) => anyhow::bail!("give --endpoint or --file"),
    };
    if arguments.json {
        output::json(&report::epoch_json(&found))?;
    } else {
        print!("{}", report::render_epoch(&found));
    }
    Ok(Answer::Yes)
}

fn recomputed(path: &Path, epoch: Option<Epoch>) -> Result<EpochReport> {
    let name = || path.display().to_string();
    let file = BufReader::with_capacity(1 << 20, File::open(path).with_context(name)?);
    let mut epochs = audit::audit(file, &mut |_| {}).with_context(name)?.epochs.into_iter();
    let found = match epoch {
        None => epochs.next_back(),
        Some(wanted) => epochs.find(|report| report.epoch == wanted),
    };
    found.with_context(|| format!("{}: no such epoch has ended in it", name()))
}

fn asked(tls: &Tls, endpoint: &str, epoch: Option<Epoch>) -> Result<EpochReport> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    runtime.block_on(async { Ok(tls.connect(endpoint).await?.epoch_report(epoch).await?) })
}
