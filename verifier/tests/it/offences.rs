//! Evidence that a validator signed what it may not: of whom, when, and how often it counts.

use assay_proto::{Height, SecretKey};
use assay_verifier::Reason;

use crate::world::{World, client, validator};

/// Why a key is not blamed for two votes at a height.
fn refusal(world: &World, key: &SecretKey, height: Height) -> Reason {
    world.refusal(world.next(&client(0), world.equivocation(key, height)))
}

fn two_blocks() -> (World, Height) {
    let mut world = World::with(|_| ());
    world.commit(vec![]);
    let height = world.state.head().height;
    (world, height)
}

#[test]
fn a_validator_is_slashed_for_one_offence_and_not_again_for_the_next() {
    let (mut world, height) = two_blocks();
    let first = world.equivocation(&validator(1), Height(height.0 - 1));
    world.commit(vec![world.next(&client(0), first)]);
    let reason = refusal(&world, &validator(1), height);
    assert!(matches!(reason, Reason::OffenderKnown(key) if key == validator(1).public_key()), "{reason}");
}

#[test]
fn only_a_validator_can_have_voted() {
    let (world, height) = two_blocks();
    let reason = refusal(&world, &client(1), height);
    assert!(matches!(reason, Reason::NotValidator(key) if key == client(1).public_key()), "{reason}");
}

#[test]
fn an_offence_lies_in_the_past() {
    let (mut world, head) = two_blocks();
    // Of the block that the evidence would be in.
    let reason = refusal(&world, &validator(1), head.next());
    assert!(matches!(reason, Reason::OffenceHeight { got, .. } if got == head.next()), "{reason}");
    let evidence = world.equivocation(&validator(1), head);
    world.commit(vec![world.next(&client(0), evidence)]);
}
