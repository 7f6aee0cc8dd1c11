//! `assay key`: Ed25519 key files.
//!
//! A file is the 32-byte secret as 64 hexadecimal digits. Only its owner may read it; one that others may read is
//! refused.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use assay_proto::SecretKey;
use zeroize::Zeroizing;

use crate::{Answer, output};

/// Bytes of a key file: the digits, and blanks around them.
const FILE_BYTES: usize = 256;

/// What to do with a key.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a secret key and print its public key
    #[command(
        after_help = "The file is NOT encrypted: its mode is 0600, and whoever reads it is you. There is no \
                            encrypted keystore in this version."
    )]
    New {
        /// File to write; must not exist
        #[arg(short, long)]
        output: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the public key of a secret key
    Show {
        /// Key file, as written by `assay key new`
        file: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
pub fn run(command: Command) -> Result<Answer> {
    let (key, json) = match command {
        Command::New { output, json } => (create(&output)?, json),
        Command::Show { file, json } => (load(&file)?, json),
    };
    let public_key = key.public_key().to_string();
    if json {
        output::json(&serde_json::json!({ "public_key": public_key }))?;
    } else {
        println!("{public_key}");
    }
    Ok(Answer::Yes)
}

/// Makes a key and its file; never overwrites one.
pub fn create(path: &Path) -> Result<SecretKey> {
    let key = SecretKey::generate()?;
    write(path, &key)?;
    Ok(key)
}

/// Writes a key to a new file.
pub fn write(path: &Path, key: &SecretKey) -> Result<()> {
    let name = || path.display().to_string();
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(name)?;
    let written = file.write_all(key.to_hex().as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).with_context(name)
}

/// Reads a key file.
pub fn load(path: &Path) -> Result<SecretKey> {
    let name = || path.display().to_string();
    let mode = std::fs::metadata(path).with_context(name)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{}: others may read this secret key (mode {:o}); run `chmod 600` on it",
            path.display(),
            mode & 0o777
        );
    }
    let bytes = Zeroizing::new(output::read(path, FILE_BYTES)?);
    let text =
        std::str::from_utf8(&bytes).ok().with_context(|| format!("{}: not a key file", path.display()))?;
    SecretKey::from_hex(text).with_context(name)
}
