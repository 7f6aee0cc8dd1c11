//! `assay key`: Ed25519 key files.
//!
//! A file is either the 32-byte secret as 64 hexadecimal digits, or sealed under a password (see `sealed`). Only its
//! owner may read it; one that others may read is refused. The password of a sealed key is the first line of the file
//! that `ASSAY_PASSWORD_FILE` names, or is asked for on the terminal.

mod sealed;

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::operating::SetOperatingKey;
use assay_proto::{Canonical, ChainId, PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::{Answer, output};

/// Bytes of a key file.
const FILE_BYTES: usize = 4096;
/// Names a file whose first line is the password of sealed keys.
const PASSWORD_FILE: &str = "ASSAY_PASSWORD_FILE";

/// What to do with a key.
#[derive(clap::Subcommand)]
#[command(
    after_help = "The password of a sealed key is the first line of the file that ASSAY_PASSWORD_FILE names; \
                        without it, it is asked for on the terminal."
)]
pub enum Command {
    /// Make a secret key and print its public key
    New {
        /// File to write; must not exist
        #[arg(short, long)]
        output: PathBuf,
        /// Seal the file under a password. Without this, whoever reads the file is you
        #[arg(long)]
        encrypt: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the public key of a secret key; a sealed one needs no password for this
    Show {
        /// Key file
        file: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Seal a key that is in the clear
    Import {
        /// Key file in the clear, or sealed under another password
        file: PathBuf,
        /// File to write; must not exist
        #[arg(short, long)]
        output: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Seal a sealed key's file under another password: the key stays, its old password opens nothing any more. The new
    /// password is the first line of --new-password-file, or asked for. Another key for a miner or a validator: `assay key
    /// consent`
    Rotate {
        /// Key file, which is replaced
        file: PathBuf,
        /// File whose first line is the new password
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Agree that a key signs the work of an owner as a miner or a validator, and print that for the owner's
    /// `assay tx set-operating-key`
    Consent {
        /// Key file of the operating key, which has never signed anything else
        file: PathBuf,
        /// Public key of the owner
        #[arg(long, value_name = "PUBKEY")]
        owner: PublicKey,
        /// Name of the chain
        #[arg(long)]
        chain_id: ChainId,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write a sealed key in the clear
    Export {
        /// Key file
        file: PathBuf,
        /// File to write; must not exist
        #[arg(short, long)]
        output: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
pub fn run(command: Command) -> Result<Answer> {
    let (public_key, json) = match command {
        Command::New { output, encrypt: false, json } => (create(&output)?.public_key(), json),
        Command::New { output, encrypt: true, json } => {
            let secret = SecretKey::generate()?;
            write_sealed(&output, &secret)?;
            (secret.public_key(), json)
        }
        Command::Show { file, json } => (public(&file)?, json),
        Command::Import { file, output, json } => {
            let secret = load(&file)?;
            write_sealed(&output, &secret)?;
            (secret.public_key(), json)
        }
        Command::Rotate { file, new_password_file, json } => {
            let sealed = sealed::is_sealed(&read(&file)?);
            ensure!(sealed, "{}: not sealed; `assay key import` seals it", file.display());
            let secret = load(&file)?;
            let password = match &new_password_file {
                Some(path) => first_line(path)?,
                None => asked_twice()?,
            };
            let text = sealed::seal(&secret, &password)?;
            output::write_private(&file, |file| Ok(file.write_all(text.as_bytes())?))?;
            (secret.public_key(), json)
        }
        Command::Consent { file, owner, chain_id, json } => return consent(&file, owner, &chain_id, json),
        Command::Export { file, output, json } => {
            let secret = load(&file)?;
            write(&output, &secret)?;
            (secret.public_key(), json)
        }
    };
    let public_key = public_key.to_string();
    if json {
        output::json(&serde_json::json!({ "public_key": public_key }))?;
    } else {
        println!("{public_key}");
    }
    Ok(Answer::Yes)
}

/// Prints what an owner needs to name an operating key.
fn consent(file: &Path, owner: PublicKey, chain: &ChainId, json: bool) -> Result<Answer> {
    let secret = load(file)?;
    let text = hex::encode(SetOperatingKey::new(chain, owner, &secret).encode());
    if json {
        let public_key = secret.public_key().to_string();
        output::json(&serde_json::json!({ "public_key": public_key, "consent": text }))?;
    } else {
        println!("{text}");
    }
    Ok(Answer::Yes)
}

/// Makes a key and its file; never overwrites one.
pub fn create(path: &Path) -> Result<SecretKey> {
    let key = SecretKey::generate()?;
    write(path, &key)?;
    Ok(key)
}

/// Writes a key in the clear to a new file.
pub fn write(path: &Path, key: &SecretKey) -> Result<()> {
    write_new(path, &[key.to_hex().as_bytes(), b"\n"])
}

fn write_sealed(path: &Path, key: &SecretKey) -> Result<()> {
    write_new(path, &[sealed::seal(key, &new_password()?)?.as_bytes()])
}

fn write_new(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let name = || path.display().to_string();
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(name)?;
    let mut written = parts.iter().try_for_each(|part| file.write_all(part));
    written = written.and_then(|()| file.sync_all());
    written.with_context(name)
}

/// Reads a key file, and opens it if it is sealed.
pub fn load(path: &Path) -> Result<SecretKey> {
    let name = || path.display().to_string();
    let text = read(path)?;
    if !sealed::is_sealed(&text) {
        return SecretKey::from_hex(&text).with_context(name);
    }
    let password = password(&format!("password of {}: ", path.display())).with_context(name)?;
    sealed::open(&text, &password).with_context(name)
}

/// The public key of a key file; a sealed one stays sealed.
pub fn public(path: &Path) -> Result<PublicKey> {
    let text = read(path)?;
    if sealed::is_sealed(&text) {
        return sealed::public_key(&text).with_context(|| path.display().to_string());
    }
    Ok(load(path)?.public_key())
}

/// The text of a key file that only its owner may read.
fn read(path: &Path) -> Result<Zeroizing<String>> {
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
    Ok(Zeroizing::new(text.to_owned()))
}

/// A password for a new file, asked for twice.
fn new_password() -> Result<Zeroizing<Vec<u8>>> {
    let first = password("password: ")?;
    if std::env::var_os(PASSWORD_FILE).is_none() {
        ensure!(first == password("again: ")?, "the two passwords differ");
    }
    Ok(first)
}

/// A password that replaces another one, which may come from [`PASSWORD_FILE`].
fn asked_twice() -> Result<Zeroizing<Vec<u8>>> {
    let first = ask("new password: ")?;
    ensure!(first == ask("again: ")?, "the two passwords differ");
    Ok(first)
}

fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(output::read(path, FILE_BYTES)?);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_vec()))
}

fn password(question: &str) -> Result<Zeroizing<Vec<u8>>> {
    match std::env::var_os(PASSWORD_FILE) {
        Some(path) => first_line(Path::new(&path)).context(PASSWORD_FILE),
        None => ask(question),
    }
}

fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>> {
    ensure!(
        std::io::stdin().is_terminal(),
        "the key is sealed: name a file with its password by {PASSWORD_FILE}, or run this on a terminal"
    );
    Ok(Zeroizing::new(rpassword::prompt_password(question)?.into_bytes()))
}
