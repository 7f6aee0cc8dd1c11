//! Proposes a transaction again that is in the log already.

use assay_proto::Canonical;
use assay_proto::block::Block;
use assay_proto::transactions;
use assay_validator_bft::Proposed;

use super::{Lies, Running, honest, nothing_of_the_liar_is_decided, until_proposed};
use crate::support::BALANCE;
use crate::support::network::{Network, calls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_in_the_log_once_however_often_it_is_proposed() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let old = network.chain.transfer(1, 1).into_envelope();
    let replayed = old.clone();
    let propose = move |_: &_, honest: Proposed| {
        let mut block = Block::decode(&honest.bytes).expect("a block");
        block.transactions.extend([replayed.clone(), replayed.clone()]);
        block.header.transactions_root = transactions::root(&block.transactions);
        Proposed { hash: block.header.hash(), bytes: block.encode() }
    };
    let liar = Running::start(&network, Lies { propose: Box::new(propose), ..Lies::default() }).await;
    let nonce = until_proposed(&network, &nodes, &liar, 1, 1).await;
    nothing_of_the_liar_is_decided(&network, &nodes).await;
    // Told again by gossip, or submitted again, it is refused too.
    assert_eq!(nodes[1].application().hear(&[old]).len(), 1, "a used nonce");
    calls(&nodes[1]).await.submit(&network.chain.transfer(1, 1)).await.expect_err("a used nonce");
    let client = calls(&nodes[2]).await.account(network.chain.client.public_key()).await;
    assert_eq!(client.balance, BALANCE - (nonce - 1));
    liar.stop().await;
}
