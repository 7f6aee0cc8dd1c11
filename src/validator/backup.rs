//! `assay validator backup`, `restore`: a copy of a running validator's database, and a database from a copy.
//!
//! A backup holds what validators share: blocks, state, receipts. It does not hold what the key signed; a node that is
//! restored without that watches until it is safe to sign.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use assay_proto::Canonical;
use assay_proto::genesis::Genesis;
use assay_proto::limits;
use assay_proto::operator::Backup;
use assay_validator::store::Store;

use super::{Home, block_on};
use crate::connection::Tls;
use crate::{Answer, key, output};

/// File that makes a folder a database.
const MARK: &str = "CURRENT";

/// Arguments of `assay validator backup`.
#[derive(clap::Args)]
pub struct BackupArguments {
    /// Home of the validator, whose key signs the request
    #[arg(long)]
    home: PathBuf,
    /// The validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Name of the backup: 1 to 64 of a-z, 0-9 and -; it is made in data-backups/NAME of the home
    #[arg(long)]
    name: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `assay validator restore`.
#[derive(clap::Args)]
pub struct RestoreArguments {
    /// Home of the validator, which must hold no database
    #[arg(long)]
    home: PathBuf,
    /// Folder of the backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Has a running validator copy its database.
pub fn backup(arguments: &BackupArguments) -> Result<Answer> {
    let secret = key::load(&Home(arguments.home.clone()).key())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let backup = Backup::new(arguments.name.clone(), u64::try_from(now.as_millis())?)?;
    let (path, height) = block_on(async {
        let client = arguments.tls.connect(&arguments.endpoint).await?;
        let chain = client.account(&secret.public_key()).await?.chain_id;
        Ok(client.backup(&secret.sign(&chain, backup)).await?)
    })?;
    if arguments.json {
        output::json(&serde_json::json!({ "path": path, "height": height.0 }))?;
    } else {
        println!("{path}, height {height} or later");
    }
    Ok(Answer::Yes)
}

/// Makes a database of a copy, and opens it once to check it.
pub fn restore(arguments: &RestoreArguments) -> Result<Answer> {
    let home = Home(arguments.home.clone());
    let (data, partial) = (home.path().join("data"), home.path().join("data.partial"));
    ensure!(!data.join(MARK).exists(), "{}: a database is there", data.display());
    let bytes = output::read(&home.genesis(), limits::GENESIS_BYTES)?;
    let genesis = Genesis::decode(&bytes).with_context(|| home.genesis().display().to_string())?;
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
    }
    copy(&arguments.from, &partial).with_context(|| arguments.from.display().to_string())?;
    let (_, state) = Store::open(&partial, &genesis)?;
    let height = state.head().height;
    // What the key signed stays where it is.
    std::fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
    for entry in std::fs::read_dir(&partial)? {
        let entry = entry?;
        if entry.file_name() != MARK {
            std::fs::rename(entry.path(), data.join(entry.file_name()))?;
        }
    }
    // Last: with it there, the folder is a database.
    std::fs::rename(partial.join(MARK), data.join(MARK))?;
    std::fs::remove_dir(&partial)?;
    if arguments.json {
        output::json(&serde_json::json!({ "height": height.0 }))?;
    } else {
        println!("height {height}");
    }
    Ok(Answer::Yes)
}

/// Copies the files of a backup, which has no folders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
