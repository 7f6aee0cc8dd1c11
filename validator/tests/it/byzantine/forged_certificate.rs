//! Serves blocks with forged certificates to a node that catches up.

use assay_proto::Signature;
use assay_proto::block::CommitCertificate;

use super::{Lies, Running, honest};
use crate::support::network::{Network, agree, calls, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_catches_up_takes_no_block_without_a_true_certificate_slow() {
    let network = Network::new(4);
    let mut nodes = honest(&network).await;
    let decided = |bytes: Vec<u8>, mut certificate: CommitCertificate| {
        for entry in &mut certificate.signatures {
            let mut forged = entry.signature.0;
            forged[40] ^= 1;
            entry.signature = Signature(forged);
        }
        (bytes, certificate)
    };
    let liar = Running::start(&network, Lies { decided: Box::new(decided), ..Lies::default() }).await;
    for node in &nodes {
        ready(node).await;
    }
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let mut first = calls(&nodes[0]).await;
    for nonce in 1..=30 {
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("three go on, the liar among them");
    }
    let late = network.start(2).await;
    ready(&late).await;
    nodes.push(late);
    // Every block that it took was checked against its certificate by the auditor's own function when it was decided.
    agree(&nodes).await;
    liar.stop().await;
}
