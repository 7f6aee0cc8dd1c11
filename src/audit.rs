//! `assay audit`: the auditor's program, as `assay-audit`, with a progress bar.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_verifier::audit::{self, AuditError, Progress, report};

use crate::{Answer, output};

/// Arguments of `assay audit`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 accepted, 1 rejected, 2 unreadable.")]
pub struct Arguments {
    /// Log, as written by `assay validator export`
    file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let name = || arguments.file.display().to_string();
    let file = File::open(&arguments.file).with_context(name)?;
    let bar = output::progress(file.metadata().with_context(name)?.len(), "audit");
    let mut show = |progress: Progress| bar.set_position(progress.bytes);
    let outcome = audit::audit(BufReader::with_capacity(1 << 20, file), &mut show);
    bar.finish_and_clear();
    print!("{}", if arguments.json { report::render_json(&outcome) } else { report::render(&outcome) });
    match outcome {
        Ok(_) => Ok(Answer::Yes),
        Err(AuditError::Rejected(_)) => Ok(Answer::No),
        Err(AuditError::Unreadable(error)) => Err(error).with_context(name),
    }
}
