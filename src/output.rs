//! Files and streams that several commands use: reading with limits, writing whole or not at all, progress.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}"))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("{name}"))?;
    if bytes.len() > limit {
        bail!("{name}: larger than the limit of {limit} bytes");
    }
    Ok(bytes)
}

/// Writes a file through a temporary one beside it, so that a crash leaves the old file or the new one.
pub fn write(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    write_as(path, 0o666, fill)
}

/// The same for a file that only its owner may read.
pub fn write_private(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    write_as(path, 0o600, fill)
}

fn write_as(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let name = path.display();
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&partial).with_context(|| format!("{}", partial.display()))?;
    fill(&mut file).and_then(|()| Ok(file.sync_all()?)).with_context(|| format!("{name}"))?;
    std::fs::rename(&partial, path).with_context(|| format!("{name}"))
}

/// Ends the program where the reader of its output has gone, as `head` does, instead of reporting a panic: the standard
/// library prints or panics.
pub fn end_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload().downcast_ref::<String>() {
        Some(message) if message.starts_with("failed printing to stdout") => std::process::exit(2),
        _ => report(panic),
    }));
}

/// Prints a value as one line of JSON on standard output.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    Ok(writeln!(out)?)
}

/// A progress bar on standard error; silent where that is no terminal.
pub fn progress(total: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent}% {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(message)
}
