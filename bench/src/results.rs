//! Files of raw results: figures with the machine, the day and the command that gave them.
//!
//! ```text
//! { "date", "machine": { .. }, "results": [ { "model", "command", figures .. }, .. ] }
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where figures go.
#[derive(Debug, clap::Args)]
pub struct Destination {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Put the figures into a file of results with the machine's description; other models in it stay
    #[arg(long, value_name = "FILE", value_parser = destination)]
    out: Option<PathBuf>,
}

impl Destination {
    /// Keeps figures and shows them; `print` is for people.
    pub fn put(&self, figures: &impl Serialize, print: impl FnOnce()) -> Result<()> {
        if let Some(path) = &self.out {
            put(path, serde_json::to_value(figures)?)?;
        }
        if self.json {
            println!("{}", serde_json::to_string(figures)?);
        } else {
            print();
        }
        Ok(())
    }
}

/// What tells figures of one model apart: two entries that have these in common are of the same measurement.
const IDENTITY: [&str; 4] = ["model", "system", "peer", "measurement"];

/// Where the figures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: Option<u64>,
    os: String,
    rustc: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Results {
    date: String,
    machine: Machine,
    results: Vec<Value>,
}

/// The results in a file, or none yet. A file of another machine is refused, since its figures cannot be compared.
fn read(path: &Path) -> Result<Results> {
    let (name, machine) = (path.display(), Machine::this());
    let Ok(bytes) = std::fs::read(path) else {
        return Ok(Results { date: String::new(), machine, results: Vec::new() });
    };
    let results: Results =
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is no file of results"))?;
    ensure!(results.machine == machine, "{name} has results of another machine: {:?}", results.machine);
    Ok(results)
}

/// A file that figures can go into, found out before anything is measured.
fn destination(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    read(&path)?;
    Ok(path)
}

/// Puts the figures of a model into a file, in the place of earlier ones of the same measurement.
fn put(path: &Path, mut figures: Value) -> Result<()> {
    let mut results = read(path)?;
    results.date = today();
    figures["command"] = command().into();
    let same = |other: &Value| IDENTITY.iter().all(|name| other[name] == figures[name]);
    match results.results.iter_mut().find(|other| same(other)) {
        Some(other) => *other = figures,
        None => results.results.push(figures),
    }
    let mut text = serde_json::to_string_pretty(&results)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// The command of this process, without its folder.
fn command() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

impl Machine {
    fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        let kib = field(&read("/proc/meminfo"), "MemTotal:")
            .and_then(|value| value.trim_end_matches("kB").trim().parse::<u64>().ok());
        let rustc = Command::new("rustc").arg("--version").current_dir(crate::models::root()).output();
        let rustc =
            rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name\t:").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            // What the kernel keeps for itself makes it a little less than what the machine has.
            memory_gib: kib.map(|kib| kib.div_ceil(1 << 20)),
            os: field(&read("/etc/os-release"), "PRETTY_NAME=").unwrap_or_else(unknown),
            rustc: rustc.split_whitespace().nth(1).map_or_else(unknown, str::to_owned),
        }
    }
}

/// What follows a key in the first line that begins with it, without quotation marks.
fn field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The day in UTC as YYYY-MM-DD.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    date(seconds / 86_400)
}

/// Proleptic Gregorian calendar, by eras of 400 years that begin in March.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (days, expected) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29")] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_780), "2026-11-23");
        assert_eq!(date(20_819), "2027-01-01");
    }

    #[test]
    fn a_measurement_is_replaced_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        for (model, system, seconds) in [("a", "x", 1), ("b", "x", 2), ("a", "y", 3), ("a", "x", 4)] {
            put(&path, json!({ "model": model, "system": system, "seconds": seconds })).unwrap();
        }
        let results: Results = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let figures =
            results.results.iter().map(|entry| (entry["model"].as_str(), entry["seconds"].as_u64()));
        assert_eq!(
            figures.collect::<Vec<_>>(),
            [(Some("a"), Some(4)), (Some("b"), Some(2)), (Some("a"), Some(3))]
        );
        assert!(results.results.iter().all(|entry| entry["command"].is_string()));
    }

    #[test]
    fn results_of_another_machine_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        put(&path, json!({ "model": "a" })).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let other = text.replace("\"cores\": ", "\"cores\": 1");
        for content in [other.as_str(), "{}", ""] {
            std::fs::write(&path, content).unwrap();
            assert!(put(&path, json!({ "model": "a" })).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }
}
