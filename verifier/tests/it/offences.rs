//! Evidence that a validator signed what it may not: of whom, when, and how often it counts.

use assay_proto::transaction::Body;
use assay_proto::vote::{Equivocation, Vote, VoteKind};
use assay_proto::{BlockHash, Height, SecretKey};
use assay_verifier::Reason;

use crate::world::{World, client, validator};

/// The proof that a key signed two votes at a height.
fn equivocation(world: &World, key: &SecretKey, height: Height) -> Body {
    let vote = |block_hash| Vote { kind: VoteKind::Precommit, height, round: 3, block_hash };
    let sign = |block_hash| key.sign(&world.chain, vote(block_hash)).into_envelope();
    Body::Equivocation(Equivocation::new(sign(None), sign(Some(BlockHash([8; 32])))).unwrap())
}

#[test]
fn a_validator_is_slashed_for_one_offence_and_not_again_for_the_next() {
    let mut world = World::with(|_| ());
    world.commit(vec![]);
    let height = world.state.head().height;
    let (first, second) = (Height(height.0 - 1), height);
    world.commit(vec![world.next(&client(0), equivocation(&world, &validator(1), first))]);
    let reason = world.refusal(world.next(&client(0), equivocation(&world, &validator(1), second)));
    assert!(matches!(reason, Reason::OffenderKnown(key) if key == validator(1).public_key()), "{reason}");
}

#[test]
fn only_a_validator_can_have_voted() {
    let mut world = World::with(|_| ());
    world.commit(vec![]);
    let height = world.state.head().height;
    let reason = world.refusal(world.next(&client(0), equivocation(&world, &client(1), height)));
    assert!(matches!(reason, Reason::NotValidator(key) if key == client(1).public_key()), "{reason}");
}

#[test]
fn an_offence_lies_in_the_past() {
    let mut world = World::with(|_| ());
    world.commit(vec![]);
    let head = world.state.head().height;
    // Of the block that the evidence would be in.
    let reason = world.refusal(world.next(&client(0), equivocation(&world, &validator(1), head.next())));
    assert!(matches!(reason, Reason::OffenceHeight { got, .. } if got == head.next()), "{reason}");
    world.commit(vec![world.next(&client(0), equivocation(&world, &validator(1), head))]);
}
