//! Beginning with a state that another validator gives.

use std::time::Instant;

use assay_proto::block::CommittedBlock;
use assay_proto::client::{Client, ClientOptions};
use assay_proto::genesis::Parameters;
use assay_proto::{Height, Root};
use assay_validator::config::{Config, MonitorConfig, StoreConfig, SyncConfig};
use assay_validator::store::Store;
use assay_validator::{Error, Node, sync};
use assay_validator_bft::Status;
use assay_verifier::Reason;
use assay_verifier::snapshot::{SnapshotError, Trusted, accept};
use assay_verifier::state::State;

use crate::operations::get;
use crate::support::Chain;
use crate::support::calls::Calls;
use crate::support::miner::Behaviour;
use crate::support::network::{Network, PATIENCE, calls, height, reach, ready};

async fn client(node: &Node) -> Client {
    let url = format!("http://{}", node.local_addr());
    Client::connect(&url, ClientOptions::default()).await.expect("connected")
}

/// A block that a node has decided, and the state after it.
struct Past {
    trusted: Trusted,
    root: Root,
    block: CommittedBlock,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A node with a model, a miner, receipts and transfers, and its last block.
async fn with_history(chain: &Chain) -> (Node, Past) {
    let mut config = chain.config();
    config.store = StoreConfig { snapshot_blocks: 1, ..StoreConfig::default() };
    // No block that nobody asked for: the last one stays the last one.
    config.engine.block_interval_ms = 600_000;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(chain, &[Behaviour::Honest]).await;
    calls.infer(&chain.job(1)).await.expect("an answer");
    for nonce in 1..=3 {
        calls.submit(&chain.transfer(nonce, 1)).await.expect("committed");
    }
    let state = node.application().state();
    let trusted = Trusted { height: state.head().height, hash: state.head().hash };
    let block = node.application().block(trusted.height).expect("the last block");
    let records = state.records().map(|record| (record.key(), record.value())).collect();
    (node, Past { trusted, root: state.root(), block, records })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_validator_begins_with_a_snapshot_and_goes_on_with_blocks() {
    let network = Network::with(4, Parameters { tempo: 5, ..Parameters::default() });
    let mut nodes = Vec::new();
    for index in 0..4 {
        let mut config = network.config(index);
        config.store = StoreConfig { retain_blocks: 8, snapshot_blocks: 4 };
        let (key, genesis) = (network.keys[index].clone(), network.chain.genesis.clone());
        nodes.push(Node::start(config, key, genesis).await.expect("starts"));
    }
    for node in &nodes {
        ready(node).await;
    }
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    std::fs::remove_dir_all(network.config(3).data_dir).expect("wiped");
    let mut first = calls(&nodes[0]).await;
    for nonce in 1..=30 {
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("committed by three");
    }
    let client = client(&nodes[0]).await;
    let status = client.status().await.expect("a status");
    let offered = *status.snapshots.last().expect("a snapshot");
    let trusted = Trusted { height: offered.height, hash: offered.hash };
    let (folder, genesis) = (network.config(3).data_dir, network.chain.genesis.clone());
    let mut seen = 0;
    sync::fetch(&client, genesis, trusted, &folder, |records| seen = records).await.expect("fetched");
    assert!(seen > 3, "{seen} records");
    let fourth = network.start(3).await;
    assert_eq!(fourth.application().store().earliest(), offered.height);
    ready(&fourth).await;
    first.submit(&network.chain.transfer(31, 1)).await.expect("committed");
    let last = height(&nodes[0]);
    reach(&fourth, last).await;
    let (own, other) = (fourth.application().state(), nodes[0].application().state());
    assert_eq!(own.account(&network.chain.client.public_key()).nonce, 31);
    for height in offered.height.0..=own.head().height.0.min(other.head().height.0) {
        let block = |node: &Node| node.application().block(Height(height)).expect("kept").block;
        assert_eq!(block(&fourth), block(&nodes[0]), "{height}");
    }
    // It could not have begun with the first block: nobody has it any more.
    assert!(nodes.iter().all(|node| node.application().store().earliest() > Height(1)));
    fourth.shutdown().await.expect("stops");
}

/// Four validators that keep few blocks.
fn forgetful(network: &Network, index: usize) -> Config {
    let mut config = network.config(index);
    config.store = StoreConfig { retain_blocks: 8, snapshot_blocks: 4 };
    config.monitor = MonitorConfig { enabled: true, listen: ([127, 0, 0, 1], 0).into() };
    config
}

async fn start(network: &Network, index: usize, config: Config) -> Result<Node, Error> {
    Node::start(config, network.keys[index].clone(), network.chain.genesis.clone()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_whose_next_block_nobody_keeps_says_so_and_its_settings_help() {
    let network = Network::with(4, Parameters { tempo: 5, ..Parameters::default() });
    let mut nodes = Vec::new();
    for index in 0..4 {
        nodes.push(start(&network, index, forgetful(&network, index)).await.expect("starts"));
    }
    for node in &nodes {
        ready(node).await;
    }
    let mut first = calls(&nodes[0]).await;
    first.submit(&network.chain.transfer(1, 1)).await.expect("committed");
    let late = nodes.pop().expect("a node");
    late.shutdown().await.expect("stops");
    let began = Instant::now();
    let mut nonce = 1;
    // Blocks are deleted some time after they may be.
    while nodes.iter().any(|node| node.application().store().earliest() < Height(20)) {
        assert!(began.elapsed() < PATIENCE, "nothing is deleted");
        nonce += 1;
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("committed by three");
    }

    let late = start(&network, 3, forgetful(&network, 3)).await.expect("starts");
    let head = late.application().state().head().height;
    let stranded = |status: &Status| status.is_stranded(head);
    let waited = tokio::time::timeout(PATIENCE, late.consensus().wait_for(stranded)).await.map(drop);
    assert!(waited.is_ok(), "it does not know that it is stranded");
    let (code, health) = get(late.monitor_addr().expect("an address"), "GET /health").await;
    assert!(code.contains("503") && health.contains("\"stranded\":true"), "{code} {health}");
    let (_, health) = get(nodes[0].monitor_addr().expect("an address"), "GET /health").await;
    assert!(health.contains("\"stranded\":false"), "{health}");
    // Its own write-ahead log may end the height that it was in; nobody brings it further.
    let moved = late.application().state().head().height.0 - head.0;
    assert!(moved <= 1, "it has moved by {moved}");
    late.shutdown().await.expect("stops");

    let offered = *client(&nodes[0]).await.status().await.expect("a status").snapshots.last().expect("one");
    let mut config = forgetful(&network, 3);
    config.sync = SyncConfig {
        peer: format!("http://{}", nodes[0].local_addr()),
        trust_height: offered.height.0,
        trust_hash: "ab".repeat(32),
        ..SyncConfig::default()
    };
    let refused = start(&network, 3, config.clone()).await;
    assert!(matches!(refused, Err(Error::Snapshot(SnapshotError::Block { .. }))), "{:?}", refused.err());
    config.sync.trust_hash = offered.hash.to_string();
    let late = start(&network, 3, config.clone()).await.expect("starts");
    assert_eq!(late.application().store().earliest(), offered.height);
    ready(&late).await;
    late.shutdown().await.expect("stops");
    // The same settings change nothing where the database is not behind.
    config.sync.peer = "http://127.0.0.1:1".to_owned();
    let late = start(&network, 3, config).await.expect("starts without asking");
    late.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_records_are_not_those_of_the_trusted_block_is_refused() {
    let chain = Chain::new();
    let (node, Past { trusted, root, block, records }) = with_history(&chain).await;
    let genesis = || chain.genesis.clone();
    let accepted = accept(genesis(), trusted, &block, records.clone()).expect("the true one");
    assert_eq!(accepted.root(), root);

    // The head is made from the block, whatever a peer says; every other record counts.
    let is_head = |key: &[u8]| key == [0];
    assert!(records.iter().any(|(key, _)| is_head(key)));
    for place in 0..records.len() {
        let (key, value) = &records[place];
        let mut forged = records.clone();
        forged[place].1[value.len() / 2] ^= 1;
        assert_eq!(accept(genesis(), trusted, &block, forged).is_ok(), is_head(key), "{key:?} changed");
        let mut shorter = records.clone();
        shorter.remove(place);
        assert_eq!(accept(genesis(), trusted, &block, shorter).is_ok(), is_head(key), "{key:?} left out");
    }
    // Money from nowhere, and money of others.
    let account = records.iter().position(|(key, _)| key[0] == 2).expect("an account");
    let mut more = records.clone();
    let (mut key, value) = more[account].clone();
    key[5] ^= 1;
    more.push((key, value));
    assert!(accept(genesis(), trusted, &block, more).is_err(), "an account more");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_block_or_with_a_certificate_that_does_not_hold_is_refused() {
    let chain = Chain::new();
    let (node, Past { trusted, block, records, .. }) = with_history(&chain).await;
    let accept =
        |block: &CommittedBlock, trusted| accept(chain.genesis.clone(), trusted, block, records.clone());
    let refusal = |block: &CommittedBlock, trusted| accept(block, trusted).expect_err("refused");

    let mut other = trusted;
    other.hash.0[0] ^= 1;
    assert!(matches!(refusal(&block, other), SnapshotError::Block { .. }), "another hash");
    let other = Trusted { height: trusted.height.next(), ..trusted };
    assert!(matches!(refusal(&block, other), SnapshotError::Block { .. }), "another height");
    let mut changed = block.clone();
    changed.block.header.state_root.0[0] ^= 1;
    assert!(matches!(refusal(&changed, trusted), SnapshotError::Block { .. }), "another root");
    // Even for whoever trusts that block, its records are others.
    let wrong = Trusted { hash: changed.block.header.hash(), ..trusted };
    assert!(matches!(refusal(&changed, wrong), SnapshotError::Rule(Reason::StateRoot { .. })));
    let mut changed = block.clone();
    changed.block.transactions.clear();
    assert!(matches!(refusal(&changed, trusted), SnapshotError::Rule(Reason::TransactionsRoot { .. })));
    let mut changed = block.clone();
    changed.certificate.signatures[0].signature.0[0] ^= 1;
    assert!(matches!(refusal(&changed, trusted), SnapshotError::Rule(Reason::CertificateSignature(_))));
    let mut changed = block.clone();
    changed.certificate.signatures.clear();
    assert!(matches!(refusal(&changed, trusted), SnapshotError::Rule(Reason::CertificatePower { .. })));
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_snapshot_leaves_the_database_as_it_was_and_one_that_is_not_ahead_is_refused() {
    let chain = Chain::new();
    let (node, Past { trusted, root, .. }) = with_history(&chain).await;
    let client = client(&node).await;
    let folder = chain.dir.path().join("other");
    let fetch = |trusted: Trusted| sync::fetch(&client, chain.genesis.clone(), trusted, &folder, |_| ());

    let mut other = trusted;
    other.hash.0[7] ^= 1;
    let refused = fetch(other).await;
    assert!(matches!(refused, Err(Error::Snapshot(SnapshotError::Block { .. }))), "{refused:?}");
    let refused = fetch(Trusted { height: Height(1_000), ..trusted }).await;
    assert!(matches!(refused, Err(Error::Peer(_))), "not offered: {refused:?}");
    assert!(!folder.exists());

    fetch(trusted).await.expect("fetched");
    let opened = || -> State { Store::open(&folder, &chain.genesis).expect("opens").1 };
    assert_eq!(opened().root(), root);
    let refused = fetch(trusted).await;
    assert!(matches!(refused, Err(Error::NotBehind { head, height }) if head == height), "{refused:?}");
    assert_eq!(opened().head().height, trusted.height);
    node.shutdown().await.expect("stops");
}
