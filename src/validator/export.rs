//! `assay validator export`: the log as a file that `assay audit` reads.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use crate::connection::Tls;
use crate::{Answer, output};

/// Arguments of `assay validator export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// File to write
    #[arg(short, long)]
    output: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let mut bytes: u64 = 0;
    let runtime = Runtime::new().context("the runtime")?;
    let mut stream = runtime
        .block_on(async { anyhow::Ok(arguments.tls.connect(&arguments.endpoint).await?.export().await?) })?;
    output::write(&arguments.output, |file| {
        let spinner = ProgressBar::new_spinner().with_message("export");
        runtime.block_on(async {
            while let Some(chunk) = stream.next().await? {
                file.write_all(&chunk)?;
                bytes += u64::try_from(chunk.len()).context("length of a chunk")?;
                spinner.set_message(format!("export: {} KiB", bytes >> 10));
                spinner.tick();
            }
            anyhow::Ok(())
        })?;
        spinner.finish_and_clear();
        Ok(())
    })?;
    if arguments.json {
        output::json(&serde_json::json!({ "file": arguments.output, "bytes": bytes }))?;
    } else {
        println!("{} ({bytes} bytes); check it with: assay audit {0}", arguments.output.display());
    }
    Ok(Answer::Yes)
}
