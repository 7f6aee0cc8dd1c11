//! Proposes two blocks, with the same key, at the same height and round, and votes for both.

use assay_proto::vote::{Proposal, Vote};
use assay_proto::{BlockHash, Canonical, Height};

use super::twice::sign_twice;
use super::{LIAR, Lies};

/// Height, round and block of one message. The evidence is a pair of proposals, or the pair of votes that came with them:
/// whatever is accused first.
fn what(message: &[u8]) -> (bool, Height, u32, BlockHash) {
    if let Ok(Proposal { height, round, block_hash, .. }) = Proposal::decode(message) {
        return (false, height, round, block_hash);
    }
    let Vote { height, round, block_hash, .. } = Vote::decode(message).expect("a proposal or a vote");
    (true, height, round, block_hash.expect("a vote for a block"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_blocks_of_one_round_are_in_the_log_and_slashed() {
    // Neither machine lies: the second one makes a block of its own, since it does not know of the first one's.
    let [one, other] = sign_twice(LIAR, Lies::default()).await.map(|message| what(&message));
    assert_eq!((one.0, one.1, one.2), (other.0, other.1, other.2));
    assert_ne!(one.3, other.3);
}
