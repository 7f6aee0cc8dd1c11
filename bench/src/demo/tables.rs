//! What the demo shows.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_proto::PublicKey;
use assay_proto::receipt::Verdict;
use comfy_table::Table;

use super::client::Attempt;
use super::network::{PRICE, Standing};
use crate::table::table;

/// A row for every attempt.
pub fn attempts(attempts: &[Attempt], names: &BTreeMap<PublicKey, &'static str>) -> Table {
    let header = ["digit", "label", "answer", "miner", "verdict", "reason", "prove ms", "verify ms"];
    let mut table = table(&header, &[0, 1, 2, 6, 7]);
    for attempt in attempts {
        table.add_row([
            attempt.digit.to_string(),
            attempt.label.to_string(),
            attempt.answer.map_or_else(|| "-".to_owned(), |answer| answer.to_string()),
            names.get(&attempt.miner).copied().unwrap_or("unknown").to_owned(),
            attempt.verdict.to_string(),
            attempt.reason.clone(),
            millis(attempt.prove),
            millis(attempt.verify),
        ]);
    }
    table
}

/// A row for every miner.
pub fn miners(standings: &[Standing]) -> Table {
    let header =
        ["miner", "key", "verified", "invalid", "late", "absent", "reputation", "paid", "reward", "balance"];
    let mut table = table(&header, &[2, 3, 4, 5, 6, 7, 8, 9]);
    for standing in standings {
        table.add_row([
            standing.name.to_owned(),
            standing.miner.to_string().chars().take(16).collect(),
            standing.verified.to_string(),
            standing.invalid.to_string(),
            standing.late.to_string(),
            standing.absent.to_string(),
            format!("{:.3}", standing.reputation_ppm as f64 / 1e6),
            (standing.verified * PRICE).to_string(),
            standing.rewards.to_string(),
            standing.balance.to_string(),
        ]);
    }
    table
}

/// One line.
pub fn summary(attempts: &[Attempt], digits: usize) -> String {
    let verified = || attempts.iter().filter(|attempt| attempt.verdict == Verdict::Verified);
    let right =
        verified().filter(|attempt| attempt.answer.is_some_and(|answer| answer as i64 == attempt.label));
    let caught = attempts.len() - verified().count();
    format!(
        "{} of {digits} digits answered with proof, {} as labelled; {caught} lies caught",
        verified().count(),
        right.count()
    )
}

fn millis(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.1}", duration.as_secs_f64() * 1e3))
}
