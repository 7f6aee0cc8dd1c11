//! Gossips without end what no validator passes on.

use std::time::Duration;

use assay_validator::Node;
use assay_validator_bft::Status;
use prost::Message;
use tokio::time::{sleep, timeout};

use super::{LIAR, Lies, Running, honest, until_proposed};
use crate::support::network::{Network, PATIENCE, agree, calls};

/// Floods until every honest validator shows what is asked of its engine.
async fn flood(network: &Network, nodes: &[Node], liar: &Running, shown: impl Fn(&Status) -> bool) {
    // A transaction whose signature is another's: well formed, and nobody takes it.
    let mut forged = network.chain.transfer(1, 1).into_envelope();
    forged.signature.0[0] ^= 1;
    let message = assay_proto::wire::Signed::from(&forged).encode_length_delimited_to_vec();
    let flooded = async {
        while !nodes.iter().all(|node| shown(&node.consensus().borrow())) {
            liar.engine.gossip(message.clone());
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, flooded).await.expect("every honest validator bans it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_is_banned_and_the_others_go_on() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    let nonce = until_proposed(&network, &nodes, &liar, 1, 1).await;
    let key = network.keys[LIAR].public_key();
    assert!(nodes.iter().all(|node| node.consensus().borrow().peers.contains_key(&key)));
    flood(&network, &nodes, &liar, |status| status.banned.contains(&key) && !status.peers.contains_key(&key))
        .await;
    let mut calls = calls(&nodes[0]).await;
    for nonce in nonce..nonce + 5 {
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
    }
    agree(&nodes).await;
    for node in &nodes {
        let others = node.consensus().borrow().peers.len();
        assert_eq!(others, 2, "the others stay connected");
    }
    liar.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_stays_connected_where_nothing_is_decided_without_its_vote() {
    let network = Network::new(4);
    let nodes = [network.start(0).await, network.start(1).await];
    let liar = Running::start(&network, Lies::default()).await;
    let nonce = until_proposed(&network, &nodes, &liar, 1, 1).await;
    let key = network.keys[LIAR].public_key();
    flood(&network, &nodes, &liar, |status| status.banned.contains(&key)).await;
    let mut calls = calls(&nodes[0]).await;
    for nonce in nonce..nonce + 5 {
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("with its votes they go on");
    }
    agree(&nodes).await;
    assert!(nodes.iter().all(|node| node.consensus().borrow().peers.contains_key(&key)));
    liar.abandon().await;
}
