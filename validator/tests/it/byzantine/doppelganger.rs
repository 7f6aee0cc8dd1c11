//! Signs with one key on two machines: two proposals and two votes for one round.

use assay_proto::Height;
use assay_validator::begin_signing;

use super::{LIAR, Lies, Running, honest};
use crate::support::network::{Network, PATIENCE, agree, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_signatures_for_one_round_are_found_and_their_author_is_removed_slow() {
    let mut network = Network::new(4);
    let nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    for node in &nodes {
        ready(node).await;
    }
    // The same key again, elsewhere: its own folder and port, and no knowledge of the other.
    let original = network.consensus[LIAR];
    network.consensus[LIAR] = ([127, 0, 0, 1], 0).into();
    let mut config = network.config(LIAR);
    config.data_dir = network.chain.dir.path().join("elsewhere");
    let (key, chain) = (network.keys[LIAR].clone(), network.chain.chain_id().clone());
    begin_signing(&config.data_dir, &chain, &key.public_key()).expect("a fresh folder");
    let genesis = network.chain.genesis.clone();
    let twin = assay_validator::Node::start(config, key, genesis).await.expect("starts");
    network.consensus[LIAR] = original;

    let offender = network.keys[LIAR].public_key();
    let mut nonce = 1;
    let found = || nodes[0].application().state().offenders().any(|(key, _)| *key == offender);
    let began = tokio::time::Instant::now();
    while !found() {
        assert!(began.elapsed() < PATIENCE, "no evidence");
        let mut calls = crate::support::network::calls(&nodes[0]).await;
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
        nonce += 1;
    }
    for _ in 0..3 {
        let mut calls = crate::support::network::calls(&nodes[0]).await;
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
        nonce += 1;
    }
    agree(&nodes).await;
    let state = nodes[0].application().state();
    assert!(!state.validators().contains(&offender));
    assert!(state.offenders().all(|(_, record)| record.offence > Height(0)));
    drop(twin);
    liar.stop().await;
}
