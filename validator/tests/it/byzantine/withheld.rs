//! Proposes hashes of blocks whose bytes it never sends: parts of another block, or of none.

use assay_proto::block::Block;
use assay_proto::{BlockHash, Canonical};
use assay_validator_bft::Proposed;

use super::{Lies, Running, honest, nothing_of_the_liar_is_decided, until_proposed};
use crate::support::network::Network;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_without_its_block_costs_its_round_only() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let propose = |_: &_, honest: Proposed| {
        let mut other = Block::decode(&honest.bytes).expect("a block");
        other.header.time_ms += 1;
        match honest.hash.0[0] % 2 {
            // The parts are those of another block.
            0 => Proposed { hash: honest.hash, bytes: other.encode() },
            // The parts are those of no block.
            _ => Proposed { hash: BlockHash([7; 32]), bytes: vec![0xff; 300_000] },
        }
    };
    let liar = Running::start(&network, Lies { propose: Box::new(propose), ..Lies::default() }).await;
    until_proposed(&network, &nodes, &liar, 2, 1).await;
    nothing_of_the_liar_is_decided(&network, &nodes).await;
    liar.stop().await;
}
