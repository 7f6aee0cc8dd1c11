//! Gossips bytes that are no transactions, and strangers send bytes that are no protocol.

use std::time::Duration;

use assay_proto::transaction::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Lies, Running, honest, until_proposed};
use crate::support::network::{Network, PATIENCE, agree};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_oversized_messages_change_nothing() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    let nonce = until_proposed(&network, &nodes, &liar, 1, 1).await;
    assert!(!liar.engine.gossip(vec![0; assay_proto::limits::MESSAGE_BYTES + 1]), "more than a message");
    for message in
        [vec![], vec![0xff; 10], vec![0; 1 << 20], network.chain.transfer(1, 1).envelope().payload.clone()]
    {
        assert!(liar.engine.gossip(message));
    }
    for address in &network.consensus {
        let mut stream = TcpStream::connect(address).await.expect("a port");
        let mut answer = Vec::new();
        let talk = async {
            stream.write_all(&[0x5a; 4096]).await?;
            stream.read_to_end(&mut answer).await
        };
        // The other side ends it, at once or later, or is waiting for a handshake that does not come.
        let _ = timeout(Duration::from_secs(1), talk).await;
    }
    until_proposed(&network, &nodes, &liar, 1, nonce).await;
    agree(&nodes).await;
    // Scores that the validators themselves commit to may wait; all else was decided or thrown away.
    let scores = |body: &Body| matches!(body, Body::CommitScores(_) | Body::RevealScores(_));
    for node in &nodes {
        let candidates = || node.application().mempool().candidates();
        let settled = async {
            while !candidates().iter().all(|transaction| scores(&transaction.value().body)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, settled).await.is_ok(), "{:?}", candidates());
    }
    liar.stop().await;
}
