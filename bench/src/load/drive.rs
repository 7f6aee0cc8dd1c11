//! Submitting: as fast as receipts are accepted, or at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use assay_proto::client::{Client, ClientError};
use assay_proto::receipt::Receipt;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{ChainId, SecretKey};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::network::{Memory, Network, validator};
use super::receipts::Stock;

/// Pause before a receipt that was refused for want of room is submitted again.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Submissions of one receipt before it is given up.
const TRIES: usize = 1_000;
/// Parts of the receipts after each of which memory is read: caches have their size after some.
const PARTS: usize = 10;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as receipts are accepted.
    AsAccepted,
    /// Receipts a second.
    Rate(u32),
}

/// What is sent to whom.
pub struct Sender<'a> {
    pub network: &'a Network,
    pub stock: &'a Stock,
    pub in_flight: usize,
}

/// What came of it.
pub struct Sent {
    pub latencies: Vec<Duration>,
    /// Times that a receipt was refused for want of room.
    pub refused: u64,
    /// Of the validator that has most, after each of [`PARTS`] parts of the receipts.
    pub memory: Vec<Memory>,
}

/// One validator as the sender sees it.
struct Door {
    client: Client,
    key: SecretKey,
    chain: ChainId,
    nonce: AtomicU64,
    refused: AtomicU64,
}

impl Sender<'_> {
    /// Submits everything and waits until it is committed.
    pub async fn send(&self, pace: Pace) -> Result<Sent> {
        let mut doors = Vec::new();
        for number in 0..self.network.len() {
            let key = validator(u64::try_from(number)?);
            let client = self.network.client(number)?;
            let nonce = client.account(&key.public_key()).await?.nonce;
            let chain = self.network.chain.clone();
            doors.push(Arc::new(Door { client, key, chain, nonce: nonce.into(), refused: 0.into() }));
        }
        let rooms: Vec<_> = doors.iter().map(|_| Arc::new(Semaphore::new(self.in_flight))).collect();
        let (began, mut sending, mut latencies) = (Instant::now(), JoinSet::new(), Vec::new());
        let bar = progress(self.stock.receipts.len());
        let part = self.stock.receipts.len().div_ceil(PARTS).max(1);
        let mut memory = Vec::new();
        for (number, receipt) in self.stock.receipts.iter().enumerate() {
            if let Pace::Rate(rate) = pace {
                let due = Duration::from_secs_f64(number as f64 / f64::from(rate));
                tokio::time::sleep_until((began + due).into()).await;
            }
            let place = number % doors.len();
            let (Some(door), Some(room)) = (doors.get(place), rooms.get(place)) else { break };
            // At a rate, what waits for its turn is late already.
            let asked = Instant::now();
            let share = Arc::clone(room).acquire_owned().await?;
            let (door, receipt) = (Arc::clone(door), receipt.clone());
            let first = if pace == Pace::AsAccepted { Instant::now() } else { asked };
            sending.spawn(async move {
                let _share = share;
                door.submit(receipt).await.with_context(|| format!("receipt {number}"))?;
                anyhow::Ok(first.elapsed())
            });
            while let Some(ended) = sending.try_join_next() {
                latencies.push(ended??);
                bar.inc(1);
            }
            if number > 0 && number.is_multiple_of(part) {
                memory.push(self.network.memory());
            }
        }
        while let Some(ended) = sending.join_next().await {
            latencies.push(ended??);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let refused = doors.iter().map(|door| door.refused.load(Ordering::Relaxed)).sum();
        memory.push(self.network.memory());
        Ok(Sent { latencies, refused, memory })
    }
}

impl Door {
    /// Submits until it is committed.
    async fn submit(&self, receipt: Receipt) -> Result<()> {
        let mut signed = self.sign(&receipt);
        for _ in 0..TRIES {
            let status = match self.client.submit(&signed).await {
                Ok(_) => return Ok(()),
                Err(ClientError::Refused(status)) => status,
                Err(error) => return Err(error.into()),
            };
            match status.code() {
                tonic::Code::ResourceExhausted => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(BACK_OFF).await;
                }
                // Another receipt overtook this one, or the validator signed one again under this nonce.
                tonic::Code::FailedPrecondition if status.message().contains("nonce") => {
                    signed = self.sign(&receipt);
                }
                _ => bail!("{}: {}", status.code(), status.message()),
            }
        }
        bail!("not taken in {TRIES} tries")
    }

    fn sign(&self, receipt: &Receipt) -> assay_proto::Signed<Transaction> {
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed) + 1;
        self.key.sign(&self.chain, Transaction { nonce, body: Body::Receipt(Box::new(receipt.clone())) })
    }
}

fn progress(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(total as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message("committed")
}
