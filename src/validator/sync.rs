//! `assay validator sync`: begin with a state that another validator gives, instead of with the first block.
//!
//! The block of that state is named by whoever runs the command, from a source that they trust. The validator that is
//! asked need not be trusted: what it sends must hash to what the block names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_proto::genesis::Genesis;
use assay_proto::{BlockHash, Canonical, Height, limits};
use assay_validator::sync;
use assay_verifier::snapshot::Trusted;
use indicatif::ProgressBar;

use super::{Home, block_on};
use crate::connection::Tls;
use crate::{Answer, output};

/// Arguments of `assay validator sync`.
#[derive(clap::Args)]
#[command(
    after_help = "`assay validator status` of a validator that you trust shows the snapshots that it offers, each with its height and hash. Then `assay validator start` goes on with the blocks after it."
)]
pub struct Arguments {
    /// Home of the validator, which is not running and is behind the trusted block
    #[arg(long)]
    home: PathBuf,
    /// The services of a validator that offers the snapshot, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Height of a block that you know to be of the chain
    #[arg(long, value_name = "HEIGHT")]
    trust_height: u64,
    /// Hash of that block's header
    #[arg(long, value_name = "HASH")]
    trust_hash: BlockHash,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let home = Home(arguments.home.clone());
    let bytes = output::read(&home.genesis(), limits::GENESIS_BYTES)?;
    let genesis = Genesis::decode(&bytes).with_context(|| home.genesis().display().to_string())?;
    let trusted = Trusted { height: Height(arguments.trust_height), hash: arguments.trust_hash };
    let spinner = ProgressBar::new_spinner().with_message("snapshot");
    let mut count = 0;
    block_on(async {
        let client = arguments.tls.connect(&arguments.endpoint).await?;
        let progress = |records| {
            count = records;
            spinner.set_message(format!("snapshot: {records} records"));
            spinner.tick();
        };
        Ok(sync::fetch(&client, genesis, trusted, &home.path().join("data"), progress).await?)
    })?;
    spinner.finish_and_clear();
    if arguments.json {
        output::json(&serde_json::json!({ "height": arguments.trust_height, "records": count }))?;
    } else {
        println!("height {}, {count} records; go on with: assay validator start", arguments.trust_height);
    }
    Ok(Answer::Yes)
}
