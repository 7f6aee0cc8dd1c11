//! What a validator holds does not grow with its log.
//!
//! Counted by the allocator of its process, which every part of it uses but RocksDB: that has limits, and gauges of its own.

use std::time::Duration;

use assay_proto::transaction::{Body, Transaction, Transfer};
use assay_proto::wire::infer_response::Event;
use assay_proto::{SecretKey, Signed};
use peak_alloc::PeakAlloc;

use crate::support::miner::Behaviour;
use crate::support::network::Network;
use crate::support::process::{ChildNode, Spec, VALIDATORS};
use crate::support::secret;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that this process holds.
pub fn held() -> usize {
    ALLOCATOR.current_usage()
}

/// Clients that submit a transaction each in a round.
const CLIENTS: u8 = 16;
/// Jobs of a round.
const JOBS: u64 = 2;

/// One base unit from a client to a client; to itself it moves nothing, and counts as any other.
fn transfer(network: &Network, nonce: u64, from: &SecretKey, to: &SecretKey) -> Signed<Transaction> {
    network.chain.sign(from, nonce, Body::Transfer(Transfer { to: to.public_key(), amount: 1 }))
}

/// The least that each was seen to hold: what is on its way comes and goes.
async fn quiet(nodes: &mut [ChildNode]) -> Vec<usize> {
    let mut least = vec![usize::MAX; nodes.len()];
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for (least, node) in least.iter_mut().zip(nodes.iter_mut()) {
            *least = node.held().min(*least);
        }
    }
    least
}

/// Works for so many rounds: no validator holds `limit` bytes more then than it held after the first ones.
async fn grows_by_less_than(limit: usize, first: u64, rounds: u64) {
    let network = Network::new(VALIDATORS);
    let mut nodes: Vec<ChildNode> =
        (0..usize::from(VALIDATORS)).map(|index| Spec::new(&network, index).start()).collect();
    let mut calls = nodes[0].calls().await;
    let _miners = calls.set_up(&network.chain, &[Behaviour::Honest]).await;
    let clients: Vec<SecretKey> = (0..CLIENTS).map(|number| secret(100 + number)).collect();
    for (nonce, client) in (1..).zip(&clients) {
        let funds = transfer(&network, nonce, &network.chain.client, client);
        calls.submit(&funds).await.expect("committed");
    }
    let mut before = Vec::new();
    for round in 1..=rounds {
        let mut pending = Vec::new();
        for client in &clients {
            let (mut calls, transfer) = (calls.clone(), transfer(&network, round, client, client));
            pending.push(tokio::spawn(async move { calls.submit(&transfer).await }));
        }
        for job in 0..JOBS {
            let nonce = round * JOBS + job;
            let job = network.chain.job_with(|job| (job.nonce, job.max_price) = (nonce, 1));
            let events = calls.infer(&job).await.expect("an answer");
            assert!(matches!(events.last(), Some(Event::Committed(_))), "{events:?}");
        }
        for submitted in pending {
            submitted.await.expect("joined").expect("committed");
        }
        if round == first {
            before = quiet(&mut nodes).await;
        }
    }
    let after = quiet(&mut nodes).await;
    println!("height {}: {before:?}, then {after:?}", nodes[0].height().await);
    assert_eq!(before.len(), nodes.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(*before > 0 && *after < before + limit, "{before} bytes, then {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_validator_holds_does_not_grow_with_its_log() {
    grows_by_less_than(64 << 10, 10, 60).await;
}

/// More blocks than an epoch has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_validator_holds_does_not_grow_beyond_an_epoch_slow() {
    grows_by_less_than(128 << 10, 50, 400).await;
}
