//! Validators that do not know all that their key signed: they watch, and sign again only where nothing can be signed twice.

use std::time::Instant;

use assay_proto::{Height, PublicKey};
use assay_validator::{Node, begin_signing};

use crate::support::calls::Calls;
use crate::support::network::{Network, PATIENCE, agree, calls, height, ready};

/// The one whose record is lost.
const LOST: usize = 3;
/// Heights from what the others have decided to the first one at which a node without its record may sign.
const WATCHED: u64 = 7;

/// The first height from this one on whose certificate has the signature of the validator.
pub fn signs_from(key: PublicKey, node: &Node, from: u64) -> Option<u64> {
    (from..=height(node)).find(|&height| {
        let block = node.application().store().block(Height(height)).expect("reads").expect("no gap");
        block.certificate.signatures.iter().any(|entry| entry.validator == key)
    })
}

/// Makes blocks until something holds.
pub async fn blocks_until(
    network: &Network,
    calls: &mut Calls,
    nonce: &mut u64,
    what: &str,
    mut holds: impl FnMut() -> bool,
) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {nonce} blocks");
        *nonce += 1;
        calls.submit(&network.chain.transfer(*nonce, 1)).await.expect("the others go on");
    }
}

async fn watches_before_it_signs_again(made_anew: bool) {
    let network = Network::new(4);
    let mut nodes = network.start_all().await;
    let (mut first, mut nonce, key) = (calls(&nodes[0]).await, 0, network.keys[LOST].public_key());
    let signed = || signs_from(key, &nodes[0], 1).is_some();
    blocks_until(&network, &mut first, &mut nonce, "a signature", signed).await;
    agree(&nodes).await;
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let folder = network.config(LOST).data_dir;
    std::fs::remove_dir_all(&folder).expect("wiped");
    if made_anew {
        // As `assay validator init` does for a new key, which this one is not.
        begin_signing(&folder, network.chain.chain_id(), &network.keys[LOST].public_key()).expect("made");
    }
    let lost = network.start(LOST).await;
    let mut status = lost.consensus();
    // No block is made meanwhile, so that it goes on watching.
    let watches = tokio::time::timeout(PATIENCE, status.wait_for(|status| !status.signing)).await;
    assert!(watches.is_ok(), "it signs though it does not know what");
    drop(watches);
    ready(&lost).await;
    let from = height(&nodes[0]) + 1;
    let signing = || lost.consensus().borrow().signing;
    blocks_until(&network, &mut first, &mut nonce, "it signs again", signing).await;
    let signed = || signs_from(key, &nodes[0], from).is_some();
    blocks_until(&network, &mut first, &mut nonce, "a signature", signed).await;
    let again = signs_from(key, &nodes[0], from).expect("just seen");
    assert!(again >= from - 1 + WATCHED, "{again}, when the others had decided {}", from - 1);
    nodes.push(lost);
    agree(&nodes).await;
    assert_eq!(nodes[0].application().state().offenders().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_validator_watches_until_it_can_sign_nothing_twice_and_then_signs() {
    watches_before_it_signs_again(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_made_anew_for_a_key_that_has_signed_is_not_believed() {
    watches_before_it_signs_again(true).await;
}
