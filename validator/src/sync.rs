//! Beginning with a state that another validator gives instead of with the first block.
//!
//! Whoever runs the node names a block, by height and hash, that it knows to be of the chain: two or three validators that
//! it trusts show theirs in `assay validator status`. The peer that is asked for the state is not trusted:
//! `assay_verifier::snapshot` holds everything that it sends against that hash.

use std::path::Path;

use assay_proto::client::{Client, SnapshotPart};
use assay_proto::genesis::Genesis;
use assay_verifier::snapshot::{self, Trusted};
use assay_verifier::state::State;

use crate::error::Error;
use crate::store::Store;

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
