//! Gossips without end what no validator passes on.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{LIAR, Lies, Running, honest, until_proposed};
use crate::support::network::{Network, PATIENCE, agree, calls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_is_banned_and_the_others_go_on() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    let mut nonce = until_proposed(&network, &nodes, &liar, 1, 1).await;
    let key = network.keys[LIAR].public_key();
    assert!(nodes.iter().all(|node| node.consensus().borrow().peers.contains_key(&key)));
    // A transaction whose signature is another's: well formed, and nobody takes it.
    let mut forged = network.chain.transfer(1, 1).into_envelope();
    forged.signature.0[0] ^= 1;
    let message = prost::Message::encode_length_delimited_to_vec(&assay_proto::wire::Signed::from(&forged));
    let banned = async {
        while !nodes.iter().all(|node| {
            let status = node.consensus().borrow().clone();
            status.banned.contains(&key) && !status.peers.contains_key(&key)
        }) {
            liar.engine.gossip(message.clone());
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, banned).await.expect("every honest validator bans it");
    let mut calls = calls(&nodes[0]).await;
    for _ in 0..5 {
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
        nonce += 1;
    }
    agree(&nodes).await;
    for node in &nodes {
        let others = node.consensus().borrow().peers.len();
        assert_eq!(others, 2, "the others stay connected");
    }
    liar.abandon().await;
}
