//! What an operator watches, in Prometheus' text format. Names follow CometBFT's where it has them, under `assay_`.
//!
//! Counters and histograms are kept where things happen; gauges are set when they are asked for. What the process takes of
//! processor, memory and descriptors has the names that every Prometheus client gives it, `process_*`.

use std::time::Duration;

use assay_proto::Height;
use assay_proto::block::CommittedBlock;
use assay_validator_bft::Status;
use assay_verifier::state::State;
use assay_verifier::transition::LoggedReceipt;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::error::Error;
use crate::mempool::Mempool;
use crate::store::usage::Usage;

/// Counters of one node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    height: IntGauge,
    round: IntGauge,
    rounds: IntGauge,
    validators: IntGauge,
    validators_power: IntGauge,
    signing: IntGauge,
    block_interval: Histogram,
    block_transactions: Histogram,
    block_bytes: Histogram,
    transactions: IntCounter,
    receipts: IntCounterVec,
    verify: Histogram,
    refused_blocks: IntCounter,
    equivocations: IntCounter,
    mempool_size: IntGauge,
    mempool_bytes: IntGauge,
    remembered: IntGauge,
    memtables: IntGauge,
    block_cache: IntGauge,
    table_readers: IntGauge,
    files: IntGauge,
    peers: IntGauge,
    banned: IntGauge,
    ready: IntGauge,
    jobs: IntCounter,
    limited: IntCounter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, Error> {
            let gauge = IntGauge::with_opts(options(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, Error> {
            let counter = IntCounter::with_opts(options(name, help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> Result<Histogram, Error> {
            let options = HistogramOpts { common_opts: options(name, help), buckets };
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let seconds = || prometheus::exponential_buckets(0.001, 2.0, 16);
        let sizes = || prometheus::exponential_buckets(1.0, 4.0, 14);
        let help = "Receipts in decided blocks, by verdict.";
        let receipts = IntCounterVec::new(options("receipts_verified_total", help), &["verdict"])?;
        registry.register(Box::new(receipts.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            height: gauge("consensus_height", "Height of the last decided block.")?,
            round: gauge("consensus_round", "Round of the height in progress.")?,
            rounds: gauge("consensus_rounds", "Rounds beyond the first of a height, since the start.")?,
            validators: gauge("consensus_validators", "Validators of the next block.")?,
            validators_power: gauge("consensus_validators_power", "Their voting power together.")?,
            signing: gauge("consensus_signing", "1 if this node signs, 0 if it only watches.")?,
            block_interval: histogram(
                "consensus_block_interval_seconds",
                "Time between the times of two blocks.",
                seconds()?,
            )?,
            block_transactions: histogram(
                "consensus_block_transactions",
                "Transactions of a block.",
                sizes()?,
            )?,
            block_bytes: histogram("consensus_block_size_bytes", "Bytes of a block.", sizes()?)?,
            transactions: counter("consensus_transactions_total", "Transactions in decided blocks.")?,
            receipts,
            verify: histogram(
                "proof_verify_seconds",
                "Time to check a proposed block: every signature, every proof, every rule.",
                seconds()?,
            )?,
            refused_blocks: counter("consensus_blocks_refused_total", "Proposed blocks that break a rule.")?,
            equivocations: counter("consensus_equivocations_total", "Equivocations found here.")?,
            mempool_size: gauge("mempool_size", "Transactions that wait for a block.")?,
            mempool_bytes: gauge("mempool_size_bytes", "Their bytes.")?,
            remembered: gauge("receipts_remembered", "Receipts that were judged and are in no block yet.")?,
            memtables: gauge("store_memtable_bytes", "Memory of what was written and is in no file yet.")?,
            block_cache: gauge("store_block_cache_bytes", "Memory of what was read from files.")?,
            table_readers: gauge("store_table_readers_bytes", "Memory that open files need beside that.")?,
            files: gauge("store_files_bytes", "Sorted files of the database on the disk.")?,
            peers: gauge("p2p_peers", "Connected validators.")?,
            banned: gauge("p2p_banned", "Validators that are banned for what they sent.")?,
            ready: gauge("ready", "1 if this node is where the other validators are.")?,
            jobs: counter("jobs_total", "Jobs that were taken from clients.")?,
            limited: counter("rate_limited_total", "Calls refused since their caller made too many.")?,
            registry,
        })
    }

    /// A block was decided.
    pub fn decided(&self, block: &CommittedBlock, receipts: &[LoggedReceipt], parent_time_ms: u64) {
        let header = &block.block.header;
        // The first block follows a genesis that may have been made long before.
        if header.height > Height(1) {
            let interval = Duration::from_millis(header.time_ms.saturating_sub(parent_time_ms));
            self.block_interval.observe(interval.as_secs_f64());
        }
        let transactions = u64::try_from(block.block.transactions.len()).unwrap_or(u64::MAX);
        self.block_transactions.observe(approximately(transactions));
        let bytes = block.block.transactions.iter().map(assay_proto::Envelope::encoded_len).sum::<usize>();
        self.block_bytes.observe(approximately(u64::try_from(bytes).unwrap_or(u64::MAX)));
        self.transactions.inc_by(transactions);
        for receipt in receipts {
            self.receipts.with_label_values(&[receipt.verdict.to_string().as_str()]).inc();
        }
    }

    /// A proposed block was checked.
    pub fn checked(&self, time: Duration, holds: bool) {
        self.verify.observe(time.as_secs_f64());
        if !holds {
            self.refused_blocks.inc();
        }
    }

    /// A validator was found to equivocate.
    pub fn equivocated(&self) {
        self.equivocations.inc();
    }

    /// A job was taken.
    pub fn took_job(&self) {
        self.jobs.inc();
    }

    /// A call was refused for its caller's rate.
    pub fn limited(&self) {
        self.limited.inc();
    }

    /// Everything, as text.
    pub fn text(
        &self,
        state: &State,
        mempool: &Mempool,
        remembered: usize,
        usage: &Usage,
        status: &Status,
        ready: bool,
    ) -> Result<String, Error> {
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        set(&self.height, state.head().height.0);
        set(&self.round, status.round.into());
        set(&self.rounds, status.extra_rounds);
        set(&self.validators, count(state.validators().iter().count()));
        set(&self.validators_power, state.validators().total());
        set(&self.signing, status.signing.into());
        set(&self.mempool_size, count(mempool.len()));
        set(&self.mempool_bytes, count(mempool.bytes()));
        set(&self.remembered, count(remembered));
        set(&self.memtables, usage.memtables);
        set(&self.block_cache, usage.block_cache);
        set(&self.table_readers, usage.table_readers);
        set(&self.files, usage.files);
        set(&self.peers, count(status.peers.len()));
        set(&self.banned, count(status.banned.len()));
        set(&self.ready, ready.into());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("assay")
}

/// Counts are far below what a float holds exactly; this is a measurement, not a rule.
fn approximately(count: u64) -> f64 {
    count as f64
}
