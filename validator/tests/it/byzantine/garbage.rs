//! Gossips bytes that are no transactions, and strangers send bytes that are no protocol.

use assay_proto::transaction::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Lies, Running, honest, until_proposed};
use crate::support::network::{Network, agree};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_oversized_messages_change_nothing() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    until_proposed(&network, &nodes, &liar, 1, 1).await;
    assert!(!liar.engine.gossip(vec![0; assay_proto::limits::MESSAGE_BYTES + 1]), "more than a message");
    for message in
        [vec![], vec![0xff; 10], vec![0; 1 << 20], network.chain.transfer(1, 1).envelope().payload.clone()]
    {
        assert!(liar.engine.gossip(message));
    }
    for address in &network.consensus {
        let mut stream = TcpStream::connect(address).await.expect("a port");
        stream.write_all(&[0x5a; 4096]).await.expect("sent");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // The other side ends it, or is waiting for a handshake that does not come.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), read).await;
    }
    until_proposed(&network, &nodes, &liar, 1, 100).await;
    agree(&nodes).await;
    // Scores that the validators themselves commit to may wait; nothing else does.
    let waiting = nodes.iter().flat_map(|node| node.application().mempool().candidates());
    for transaction in waiting {
        let body = &transaction.value().body;
        assert!(matches!(body, Body::CommitScores(_) | Body::RevealScores(_)), "{body:?}");
    }
    liar.stop().await;
}
