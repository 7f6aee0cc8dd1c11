//! `kill -9` of the validator while it works: what a client was told is committed stays, and nothing is paid twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_proto::client::{Client, Position};
use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{ChainId, Height, JobId, PublicKey};
use tokio::sync::mpsc;

use crate::assay;
use crate::support::Service;
use crate::support::network::{BALANCE, Chain, PRICE, ask, connect};

/// Times that the validator is killed.
const KILLS: u64 = 3;
/// Jobs that run at a time.
const JOBS: u64 = 12;
/// Committed jobs before the kill; the others are somewhere in between.
const COMMITTED: usize = 4;

/// Every paid job of the log, by where it is; none twice.
async fn paid(client: &Client, chain: &ChainId, head: Height) -> BTreeMap<JobId, Position> {
    let mut found = BTreeMap::new();
    for height in 1..=head.0 {
        let block = client.block(Some(Height(height))).await.expect("block").block;
        for (index, envelope) in (0..).zip(&block.transactions) {
            let transaction = envelope.open::<Transaction>(chain).expect("signed");
            let Body::Receipt(receipt) = &transaction.value().body else { continue };
            if receipt.verdict == Verdict::Verified {
                let job = &receipt.evidence.job;
                let id = JobId::derive(chain, &job.signer, &job.payload);
                let twice = found.insert(id, Position { height: Height(height), index });
                assert_eq!(twice, None, "job {id} is paid twice");
            }
        }
    }
    found
}

/// Runs jobs until some are committed, then kills the validator among the others; what the client saw committed.
async fn run_and_kill(
    chain: &Arc<Chain>,
    validator: Service,
    nonces: std::ops::Range<u64>,
) -> Vec<(JobId, Position)> {
    let url = validator.url();
    let (committed, mut seen) = mpsc::unbounded_channel();
    let mut jobs = tokio::task::JoinSet::new();
    let client = connect(&url).await;
    for nonce in nonces {
        let (client, chain, committed) = (client.clone(), Arc::clone(chain), committed.clone());
        jobs.spawn(async move {
            if let Some(found) = ask(&client, &chain.chain_id(), &chain.job(nonce)).await {
                committed.send(found).expect("the test listens");
            }
        });
    }
    drop(committed);
    let mut found = Vec::new();
    while found.len() < COMMITTED {
        found.push(seen.recv().await.expect("enough jobs are committed"));
    }
    validator.kill();
    jobs.join_all().await;
    // Some may have heard of their commit while the others were counted.
    while let Some(more) = seen.recv().await {
        found.push(more);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_committed_receipt_and_pays_none_twice() {
    let chain = Arc::new(Chain::new());
    let mut validator = chain.start();
    chain.register_model(&validator.url());
    let _miner = chain.start_miner(&validator.url());

    let mut committed: BTreeMap<JobId, Position> = BTreeMap::new();
    let mut interrupted = false;
    for round in 0..KILLS {
        let first = 1 + round * JOBS;
        let found = run_and_kill(&chain, validator, first..first + JOBS).await;
        interrupted |= found.len() < usize::try_from(JOBS).expect("small");
        committed.extend(found);
        validator = chain.start();
        let client = connect(&validator.url()).await;
        for (job, position) in &committed {
            let receipts = client.receipts(&chain.chain_id(), *job).await.expect("receipts");
            let paid = |entry: &assay_proto::client::ReceiptEntry| match &entry.transaction.value().body {
                Body::Receipt(receipt) => receipt.verdict == Verdict::Verified,
                _ => false,
            };
            let places: Vec<Position> =
                receipts.iter().filter(|entry| paid(entry)).map(|entry| entry.position).collect();
            assert_eq!(places, [*position], "job {job} was committed there before the kill");
        }
    }
    assert!(interrupted, "no kill came in the middle of jobs");

    // A nonce that was used before a kill stays used.
    let url = validator.url();
    let client = connect(&url).await;
    assert!(ask(&client, &chain.chain_id(), &chain.job(1)).await.is_none());
    // The chain goes on.
    let last = ask(&client, &chain.chain_id(), &chain.job(1 + KILLS * JOBS)).await.expect("committed");
    committed.extend([last]);

    let client_key: PublicKey = chain.client.parse().expect("key");
    let account = client.account(&client_key).await.expect("account");
    let paid = paid(&client, &chain.chain_id(), account.height).await;
    for (job, position) in &committed {
        assert_eq!(paid.get(job), Some(position));
    }
    let count = u64::try_from(paid.len()).expect("small");
    assert_eq!(account.balance, BALANCE - count * PRICE, "the client paid {count} jobs");
    let miner_key: PublicKey = chain.miner.parse().expect("key");
    let miner = client.account(&miner_key).await.expect("account");
    let mut rewards = 0;
    let (head, mut epoch) = (miner.height, assay_proto::Epoch(1));
    while let Ok(report) = client.epoch_report(Some(epoch)).await {
        if report.height > head {
            break;
        }
        rewards +=
            report.miners.iter().filter(|row| row.miner == miner_key).map(|row| row.reward).sum::<u64>();
        epoch = epoch.next();
    }
    assert!(rewards > 0, "an epoch ended");
    assert_eq!(miner.balance, count * PRICE + rewards);

    let log = chain.files.path("log.assay");
    let audited = tokio::task::spawn_blocking(move || {
        assay!("validator export --endpoint {url} -o {log}").ok();
        assay!("audit {log} --json").json()
    });
    let audited = audited.await.expect("no panic");
    assert_eq!(audited["verdict"], "accepted");
    assert_eq!(audited["receipts"]["verified"], count);
}
