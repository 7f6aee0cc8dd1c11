//! What a run cost.

use std::time::{Duration, Instant};

use assay_proto::Height;
use serde::Serialize;

use super::drive::Pace;
use super::network::Memory;

/// Raw measurements of a run.
pub struct Measured {
    pub elapsed: Duration,
    pub processor_seconds: f64,
    pub latencies: Vec<Duration>,
    pub refused: u64,
    pub memory: Vec<Memory>,
    pub disk_bytes: u64,
    pub validators: usize,
    pub lost: usize,
    pub roots_equal: bool,
    pub receipts_per_block: f64,
    pub blocks: Vec<(Height, Instant)>,
}

/// Figures of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    measurement: &'static str,
    model: String,
    validators: usize,
    receipts: usize,
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// Of the machine in the minute before: what else ran here.
    load_average_before: Option<f64>,
    seconds: f64,
    receipts_per_second: f64,
    /// Of all validators together.
    processor_ms_per_receipt: f64,
    latency_p50_seconds: f64,
    latency_p99_seconds: f64,
    blocks: usize,
    receipts_per_block: f64,
    block_interval_p50_seconds: f64,
    block_interval_p99_seconds: f64,
    disk_bytes_per_receipt: f64,
    /// Of the validator that has most, after each tenth of the receipts.
    resident_bytes: Vec<u64>,
    /// The part of it that is not mapped from files.
    anonymous_bytes: Vec<u64>,
    refused: u64,
    lost: usize,
    roots_equal: bool,
}

impl Report {
    pub fn new(
        model: &str,
        pace: Pace,
        in_flight: u32,
        load_average: Option<f64>,
        measured: Measured,
    ) -> Self {
        let Measured { elapsed, latencies, refused, memory, blocks, .. } = measured;
        let seconds = elapsed.as_secs_f64();
        let intervals = blocks.iter().zip(blocks.iter().skip(1)).map(|(a, b)| (b.1 - a.1).as_secs_f64());
        let (mut intervals, count) = (intervals.collect::<Vec<_>>(), latencies.len());
        let mut latencies: Vec<f64> = latencies.iter().map(Duration::as_secs_f64).collect();
        Self {
            measurement: if pace == Pace::AsAccepted { "load" } else { "sustained load" },
            model: model.to_owned(),
            validators: measured.validators,
            receipts: count,
            in_flight,
            rate: match pace {
                Pace::AsAccepted => None,
                Pace::Rate(rate) => Some(rate),
            },
            load_average_before: load_average,
            seconds,
            receipts_per_second: count as f64 / seconds,
            processor_ms_per_receipt: 1e3 * measured.processor_seconds / count.max(1) as f64,
            latency_p50_seconds: quantile(&mut latencies, 0.5),
            latency_p99_seconds: quantile(&mut latencies, 0.99),
            blocks: blocks.len(),
            receipts_per_block: measured.receipts_per_block,
            block_interval_p50_seconds: quantile(&mut intervals, 0.5),
            block_interval_p99_seconds: quantile(&mut intervals, 0.99),
            disk_bytes_per_receipt: measured.disk_bytes as f64
                / measured.validators.max(1) as f64
                / count.max(1) as f64,
            resident_bytes: memory.iter().map(|memory| memory.resident).collect(),
            anonymous_bytes: memory.iter().map(|memory| memory.anonymous).collect(),
            refused,
            lost: measured.lost,
            roots_equal: measured.roots_equal,
        }
    }

    /// Whether the run proves anything.
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.roots_equal
    }

    pub fn print(&self) {
        let mib = |bytes: &[u64]| {
            let each = bytes.iter().map(|bytes| format!("{}", bytes >> 20));
            each.collect::<Vec<_>>().join(" ")
        };
        println!("receipts   {} of {} by {} validators", self.receipts, self.model, self.validators);
        println!("rate       {:.0} receipts/s committed in {:.1} s", self.receipts_per_second, self.seconds);
        println!("processor  {:.2} ms a receipt, all validators together", self.processor_ms_per_receipt);
        println!(
            "latency    {:.2} s median, {:.2} s p99, {} in progress at each validator at most",
            self.latency_p50_seconds, self.latency_p99_seconds, self.in_flight
        );
        println!(
            "blocks     {}, every {:.2} s median, {:.2} s p99, {:.0} receipts each",
            self.blocks,
            self.block_interval_p50_seconds,
            self.block_interval_p99_seconds,
            self.receipts_per_block
        );
        println!("disk       {:.0} bytes a receipt at each validator", self.disk_bytes_per_receipt);
        println!(
            "memory     {} MiB after each tenth, of the validator that has most",
            mib(&self.resident_bytes)
        );
        println!(
            "           {} MiB of it anonymous: without the program's own file",
            mib(&self.anonymous_bytes)
        );
        println!("refused    {} times for want of room, submitted again", self.refused);
        println!("lost       {}", self.lost);
        println!("roots      {}", if self.roots_equal { "equal at every height" } else { "NOT equal" });
        if let Some(load) = self.load_average_before {
            println!("machine    had a load average of {load:.1} before");
        }
    }
}

/// The value below which a share of the values lies; 0 where there is none.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (0..101).rev().map(f64::from).collect();
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.99)), (50.0, 99.0));
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
