//! Beginning with a state that another validator gives instead of with the first block.
//!
//! Whoever runs the node names a block, by height and hash, that it knows to be of the chain: two or three validators that
//! it trusts show theirs in `assay validator status`. The peer that is asked for the state is not trusted:
//! `assay_verifier::snapshot` holds everything that it sends against that hash.
//!
//! It happens where somebody says so: by `assay validator sync`, or by `[sync]` in the settings. A node that cannot catch up
//! by blocks says what there is to do (`advice`).

use std::path::Path;

use assay_proto::Height;
use assay_proto::client::{Client, ClientOptions, ClientTls, SnapshotPart};
use assay_proto::genesis::Genesis;
use assay_verifier::snapshot::{self, Trusted};
use assay_verifier::state::State;

use crate::config::Config;
use crate::error::Error;
use crate::pem;
use crate::store::Store;

/// Begins with the state that the settings name, where the database is behind it.
pub(crate) async fn begin(config: &Config, genesis: &Genesis) -> Result<(), Error> {
    let Some(trusted) = config.sync.trusted()? else { return Ok(()) };
    let (path, chain) = (config.data_dir.clone(), genesis.clone());
    let open = move || Store::open(&path, &chain).map(|(_, state)| state.head().height);
    let head = tokio::task::spawn_blocking(open).await??;
    if head >= trusted.height {
        return Ok(());
    }
    let tls = pem::read(&config.sync.ca)?.map(|ca| ClientTls { ca, identity: None });
    let client =
        Client::connect(&config.sync.peer, ClientOptions { tls, ..ClientOptions::default() }).await?;
    let mut records = 0;
    fetch(&client, genesis.clone(), trusted, &config.data_dir, |count| records = count).await?;
    tracing::info!(%head, height = %trusted.height, records, "began with a snapshot");
    Ok(())
}

/// What the operator of a node does that cannot catch up by blocks.
pub(crate) fn advice(data_dir: &Path, head: Height) -> String {
    let home = data_dir.parent().unwrap_or(data_dir).display();
    format!(
        "no connected validator keeps block {}, the next one here. Stop this node, take HEIGHT and HASH of a snapshot from \
         `assay validator status` of validators that you trust, run `assay validator sync --home {home} --endpoint URL \
         --trust-height HEIGHT --trust-hash HASH`, and start it again; or name them in [sync] of its settings and start it \
         again",
        head.next()
    )
}

/// Fetches the state after the trusted block and makes `data_dir` a database that begins with it. What is there must be
/// behind that block, and in use by nobody.
pub async fn fetch(
    client: &Client,
    genesis: Genesis,
    trusted: Trusted,
    data_dir: &Path,
    mut progress: impl FnMut(usize),
) -> Result<(), Error> {
    let mut parts = client.snapshot(trusted.height).await?;
    let Some(SnapshotPart::Block(block)) = parts.next().await? else {
        return Err(Error::Missing("the block"));
    };
    snapshot::check_block(trusted, &block)?;
    let mut records = Vec::new();
    while let Some(part) = parts.next().await? {
        match part {
            SnapshotPart::Block(_) => return Err(Error::Missing("a record")),
            SnapshotPart::Records(chunk) => records.extend(chunk),
        }
        progress(records.len());
    }
    let path = data_dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let state: State = snapshot::accept(genesis.clone(), trusted, &block, records)?;
        Store::begin_at(&path, &genesis, &block, &state)
    })
    .await?
}
