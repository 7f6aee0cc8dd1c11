//! Reading everything back from every validator.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, Height, JobId, PublicKey, Root};

use super::network::Network;
use super::receipts::Stock;

const PAUSE: Duration = Duration::from_millis(200);

/// A job and the miner that answered it.
type Assignment = (JobId, PublicKey);

/// What one validator's log says.
pub struct Log {
    roots: Vec<Root>,
    /// How often a verified receipt of an assignment is there.
    verified: BTreeMap<Assignment, usize>,
    /// Receipts of each block that has any.
    receipts: Vec<usize>,
}

impl Log {
    /// The mean over the blocks that have any.
    pub fn receipts_per_block(&self) -> f64 {
        self.receipts.iter().sum::<usize>() as f64 / self.receipts.len().max(1) as f64
    }
}

/// The logs of all, up to the height of the highest.
pub async fn read_all(network: &Network, patience: Duration) -> Result<Vec<Log>> {
    let mut highest = Height(0);
    for number in 0..network.len() {
        highest = highest.max(network.client(number)?.status().await?.head.height);
    }
    let mut logs = Vec::new();
    for number in 0..network.len() {
        let (client, began) = (network.client(number)?, Instant::now());
        while client.status().await?.head.height < highest {
            ensure!(began.elapsed() < patience, "validator {number} does not reach height {highest}");
            tokio::time::sleep(PAUSE).await;
        }
        let mut log = Log { roots: Vec::new(), verified: BTreeMap::new(), receipts: Vec::new() };
        let mut blocks = client.blocks(Height(1)).await?;
        while log.roots.len() < usize::try_from(highest.0)? {
            let Some(block) = blocks.next().await? else { break };
            log.roots.push(block.block.header.state_root);
            let mut count = 0;
            for envelope in &block.block.transactions {
                let Body::Receipt(receipt) = Transaction::decode(&envelope.payload)?.body else { continue };
                let job = &receipt.evidence.job;
                let assignment =
                    (JobId::derive(&network.chain, &job.signer, &job.payload), receipt.evidence.miner);
                if receipt.verdict == Verdict::Verified {
                    *log.verified.entry(assignment).or_default() += 1;
                    count += 1;
                }
            }
            log.receipts.extend(Some(count).filter(|count| *count > 0));
        }
        logs.push(log);
    }
    Ok(logs)
}

/// Receipts that are not in every log exactly once.
pub fn lost(logs: &[Log], stock: &Stock) -> usize {
    let chain = assay_proto::ChainId::new(super::receipts::CHAIN);
    let Ok(chain) = chain else { return stock.receipts.len() };
    let is_lost = |receipt: &&assay_proto::receipt::Receipt| {
        let job = &receipt.evidence.job;
        let assignment = (JobId::derive(&chain, &job.signer, &job.payload), receipt.evidence.miner);
        logs.iter().any(|log| log.verified.get(&assignment) != Some(&1))
    };
    stock.receipts.iter().filter(is_lost).count()
}

/// Whether all say the same of every height.
pub fn roots_are_equal(logs: &[Log]) -> bool {
    logs.windows(2).all(|pair| matches!(pair, [a, b] if a.roots == b.roots && !a.roots.is_empty()))
}
