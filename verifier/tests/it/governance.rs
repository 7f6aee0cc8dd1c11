//! Votes on the numbers of the rules: who votes, what is decided, and when it counts.

use assay_proto::genesis::Parameters;
use assay_proto::subnet::{Number, VoteParameter};
use assay_proto::transaction::{Body, Burn};
use assay_proto::{Envelope, Epoch};
use assay_verifier::Reason;
use assay_verifier::audit::audit;
use assay_verifier::export;
use assay_verifier::state::State;

use crate::subnets::{ONE, number, open, register, two};
use crate::world::{World, client, validator};

fn vote(world: &World, n: u8, name: &str, value: u64) -> Envelope {
    let body = VoteParameter { number: Number { name: name.into(), value } };
    world.next(&validator(n), Body::VoteParameter(body))
}

fn fee(world: &World) -> u64 {
    world.state.parameters().fee
}

#[test]
fn more_than_two_thirds_of_the_power_change_a_number_from_the_next_epoch_but_one() {
    let mut world = World::with(|_| ());
    // 6 of 10 are not enough, 10 are.
    world.commit(vec![vote(&world, 1, "fee", 3), vote(&world, 2, "fee", 3)]);
    assert!(world.state.governance().unwrap().announced.is_empty());
    world.commit(vec![vote(&world, 0, "fee", 3)]);
    let voted = world.state.governance().unwrap();
    assert_eq!((voted.announced.get("fee"), voted.votes.len()), (Some(&(Epoch(3), 3)), 0));
    world.advance(9);
    assert_eq!(fee(&world), 0);
    world.advance(10);
    // Block 11 is the first of epoch 3.
    assert_eq!((world.state.head().height.0, fee(&world)), (10, 3));
    world.commit(vec![world.next(&client(0), Body::Burn(Burn { amount: 1 }))]);
    assert_eq!(world.state.supply().burned, 4);
}

#[test]
fn a_validator_has_one_vote_and_may_change_its_mind() {
    let mut world = World::with(|_| ());
    world.commit(vec![vote(&world, 0, "fee", 3), vote(&world, 1, "fee", 3)]);
    assert_eq!(world.state.governance().unwrap().announced.len(), 1, "7 of 10 are more than two thirds");
    let mut world = World::with(|_| ());
    world.commit(vec![vote(&world, 0, "fee", 3)]);
    world.commit(vec![vote(&world, 0, "kappa", 3)]);
    world.commit(vec![vote(&world, 1, "fee", 3)]);
    world.commit(vec![vote(&world, 2, "fee", 4)]);
    let voted = world.state.governance().unwrap();
    assert!(voted.announced.is_empty() && voted.votes.len() == 3);
}

#[test]
fn only_validators_vote_and_on_nothing_that_is_decided() {
    let mut world = World::with(|_| ());
    let body = VoteParameter { number: number("fee", 3) };
    let refused = world.refusal(world.next(&client(0), Body::VoteParameter(body)));
    assert!(matches!(refused, Reason::NotValidator(key) if key == client(0).public_key()));
    world.commit(vec![vote(&world, 0, "fee", 3), vote(&world, 1, "fee", 3)]);
    let refused = world.refusal(vote(&world, 2, "fee", 4));
    assert!(matches!(refused, Reason::AnnouncedParameter { epoch: Epoch(3), .. }));
}

#[test]
fn what_the_genesis_fixes_no_vote_changes() {
    let world = World::with(|_| ());
    for name in Parameters::FIXED {
        let value = world.state.parameters().get(name).unwrap();
        let refused = world.refusal(vote(&world, 0, name, value));
        assert!(matches!(refused, Reason::FixedParameter(other) if other == *name));
    }
    for name in ["tempo", "emission", "stake_per_power", "miner_slots", "subnet_slots"] {
        assert!(Parameters::FIXED.contains(&name), "{name}");
    }
}

#[test]
fn a_number_stays_in_its_range_with_all_that_is_decided_and_in_every_subnet() {
    let mut world =
        two(|parameters| parameters.registration_price_max = 10, vec![number("registration_price_max", 7)]);
    let out = |world: &World, name, value| {
        let refused = world.refusal(vote(world, 0, name, value));
        assert!(matches!(refused, Reason::Parameters(_)), "{refused}");
    };
    out(&world, "kappa", 65_536);
    out(&world, "registration_price_min", 11);
    // In range for the chain, but not beside what subnet 1 has itself.
    out(&world, "registration_price_min", 8);
    world.commit(vec![
        vote(&world, 0, "registration_price_min", 6),
        vote(&world, 1, "registration_price_min", 6),
    ]);
    out(&world, "registration_price_max", 5);
    // A subnet that would be out of range when it counts is refused at once.
    let numbers = vec![number("registration_price_max", 5)];
    let late = assay_proto::subnet::RegisterSubnet { numbers, ..open() };
    assert!(matches!(world.refusal(register(&world, &client(0), late)), Reason::Parameters(_)));
    world.advance(10);
    let own = world.state.parameters_of(ONE);
    assert_eq!((own.registration_price_min, own.registration_price_max), (6, 7));
}

#[test]
fn a_reopened_state_and_an_auditor_have_the_numbers_that_were_voted() {
    let mut world = World::with(|_| ());
    world.commit(vec![vote(&world, 0, "reputation_rate_ppm", 9), vote(&world, 1, "reputation_rate_ppm", 9)]);
    world.commit(vec![vote(&world, 2, "kappa", 9)]);
    world.advance(12);
    let stored: Vec<_> = world.state.records().map(|record| (record.key(), record.value())).collect();
    let reopened = State::from_records(world.state.genesis_block().clone(), stored).unwrap();
    assert_eq!((reopened.root(), reopened.parameters().reputation_rate_ppm), (world.state.root(), 9));
    assert_eq!(reopened.governance(), world.state.governance());
    let blocks = world.blocks.iter().flat_map(export::block);
    let file: Vec<u8> = export::start(world.state.genesis_block())
        .into_iter()
        .chain(blocks)
        .chain(export::end(world.state.head().height))
        .collect();
    assert_eq!(audit(file.as_slice(), &mut |_| ()).unwrap().state_root, world.state.root());
}
