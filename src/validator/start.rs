//! `assay validator start`: runs until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::genesis::Genesis;
use assay_proto::{Canonical, limits};
use assay_validator::{Config, Node, may_validate};

use super::{Home, block_on, overrides};
use crate::service::{Logs, told_to_stop};
use crate::{Answer, key, output, parameters};

/// Bytes of a configuration file.
const CONFIG_BYTES: usize = 1 << 16;

/// Arguments of `assay validator start`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Address to listen on instead of the configured one; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    logs: Logs,
}

/// Arguments of `assay validator validate-config`.
#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Print the settings in force as a JSON object
    #[arg(long)]
    json: bool,
}

/// Where the settings are, and what replaces them.
#[derive(clap::Args)]
#[command(
    after_help = "A setting is replaced by --set, or by the environment: ASSAY_VALIDATOR_ENGINE_GATHER_MS=5 is engine.gather_ms."
)]
struct Settings {
    /// Folder made by `assay validator init`
    #[arg(long)]
    home: PathBuf,
    /// Replace a setting, for example engine.gather_ms=5; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Settings and genesis, checked.
    fn load(&self) -> Result<(Home, Config, Genesis)> {
        let home = Home(self.home.clone());
        let mut config =
            overrides::apply(config(&home.config())?, &self.set, &std::env::vars_os().collect())?;
        config.data_dir = home.path().join(&config.data_dir);
        let tls = &mut config.tls;
        let files = [&mut tls.certificate, &mut tls.key, &mut tls.client_ca];
        let questions = &mut config.questions;
        let others =
            [&mut config.broker.miner_ca, &mut config.sync.ca, &mut questions.file, &mut questions.key];
        for path in files.into_iter().chain(others) {
            if !path.as_os_str().is_empty() {
                *path = home.path().join(&*path);
            }
        }
        config.validate()?;
        let name = || home.genesis().display().to_string();
        let genesis =
            Genesis::decode(&output::read(&home.genesis(), limits::GENESIS_BYTES)?).with_context(name)?;
        Ok((home, config, genesis))
    }
}

/// Checks settings, genesis and key without starting anything.
pub fn check(arguments: &Check) -> Result<Answer> {
    let (home, config, genesis) = arguments.settings.load()?;
    let key = key::public(&home.key())?;
    let owner = config.owner()?.unwrap_or(key);
    let may = |key| may_validate(&genesis, &key);
    ensure!(
        may(owner),
        "{}: {owner} is not a validator of the genesis; the setting owner names the owner of an operating key",
        home.key().display()
    );
    for (peer, other) in config.consensus.peers()?.iter().zip(config.consensus.owners()?) {
        ensure!(may(other) && peer.key != key, "consensus.peers: {other} is not another validator");
    }
    let missing = genesis.validators.len().saturating_sub(1 + config.consensus.peers.len());
    if arguments.json {
        output::json(&config)?;
    } else {
        println!("chain      {}", genesis.chain_id);
        println!("genesis    {}", genesis.hash());
        println!("validator  {owner}, one of {}", genesis.validators.len());
        if missing > 0 {
            println!("peers      {missing} validators of the genesis are not among them");
        }
        println!("valid");
    }
    Ok(Answer::Yes)
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let (home, mut config, genesis) = arguments.settings.load()?;
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    let key = key::load(&home.key())?;
    let _telemetry = arguments.logs.start("assay-validator")?;
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
