//! `assay validator start`: runs until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use assay_proto::genesis::Genesis;
use assay_proto::{Canonical, limits};
use assay_validator::{Config, Node};

use super::{Home, block_on};
use crate::service::{Logs, told_to_stop};
use crate::{Answer, key, output, parameters};

/// Bytes of a configuration file.
const CONFIG_BYTES: usize = 1 << 16;

/// Arguments of `assay validator start`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder made by `assay validator init`
    #[arg(long)]
    home: PathBuf,
    /// Address to listen on instead of the configured one; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    logs: Logs,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let home = Home(arguments.home.clone());
    let mut config = config(&home.config())?;
    config.data_dir = home.path().join(&config.data_dir);
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    let name = || home.genesis().display().to_string();
    let genesis =
        Genesis::decode(&output::read(&home.genesis(), limits::GENESIS_BYTES)?).with_context(name)?;
    let key = key::load(&home.key())?;
    arguments.logs.start()?;
    // Parameters of halo2 circuits take seconds to make; a restart does not make them again.
    let parameters = config.data_dir.join("parameters");
    parameters::restore_all(&parameters)?;
    block_on(async {
        let node = Node::start(config, key, genesis).await?;
        // Whoever started this process with port 0 reads the port here.
        writeln!(std::io::stdout(), "listening on {}", node.local_addr())?;
        let stop = tokio::select! {
            stop = told_to_stop() => stop,
            () = node.stopped() => Ok(()),
        };
        node.shutdown().await?;
        stop
    })?;
    parameters::save(&parameters)?;
    Ok(Answer::Yes)
}

/// Reads the settings; an error names the line.
fn config(path: &Path) -> Result<Config> {
    let bytes = output::read(path, CONFIG_BYTES)?;
    let text = std::str::from_utf8(&bytes).with_context(|| path.display().to_string())?;
    match toml::from_str(text) {
        Ok(config) => Ok(config),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            bail!("{}, line {line}: {what}", path.display())
        }
    }
}
