//! Votes for a block, and then, with the same key at the same height and round, for none.

use assay_proto::Canonical;
use assay_proto::vote::{Vote, VoteKind};
use assay_validator_bft::Verdict;

use super::Lies;
use super::twice::sign_twice;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_votes_of_one_round_are_in_the_log_and_slashed() {
    let judge = |verdict| match verdict {
        Verdict::Valid(hash) => Verdict::Invalid(hash),
        Verdict::Invalid(_) | Verdict::NoBlock => verdict,
    };
    let evidence = sign_twice(0, Lies { judge: Box::new(judge), ..Lies::default() }).await;
    let [one, other] = evidence.map(|payload| Vote::decode(&payload));
    let (one, other) = (one.expect("a vote"), other.expect("a vote"));
    assert_eq!((one.kind, one.height, one.round), (other.kind, other.height, other.round));
    assert_eq!((one.kind, one.round), (VoteKind::Prevote, 0));
    assert!(one.block_hash.is_none() != other.block_hash.is_none(), "{one:?} {other:?}");
}
