//! A state as records: what a store keeps is the state, and the root commits to it.

use std::collections::BTreeMap;

use assay_proto::receipt::Verdict;
use assay_verifier::state::{Record, RecordError, State};
use proptest::prelude::*;

use crate::world::{Attempt, World, client, genesis, miner};

/// A chain with every kind of record, an open job and a closed one.
fn lived() -> World {
    let mut world = World::ready();
    world.commit(world.verified(&[(2, 0, 500)]));
    let attempt = world.attempt(world.job(&client(0), 4), miner(1));
    let absent = Attempt { outputs: None, proof: None, ..attempt };
    world.commit(vec![world.signed_receipt(world.receipt(&absent, Verdict::Absent), 1)]);
    world
}

fn stored(state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
    state.records().map(|record| (record.key(), record.value())).collect()
}

#[test]
fn writing_only_what_changed_keeps_the_whole_state() {
    let mut world = World::empty();
    let mut store = stored(&world.state);
    let steps: [fn(&World) -> Vec<assay_proto::Envelope>; 6] = [
        |world| vec![world.register_model(1), world.register_miner(0), world.register_miner(1)],
        |world| world.verified(&[(2, 0, 500), (5, 1, 500)]),
        |world| world.verified(&[(1, 1, 700)]),
        |_| vec![],
        |_| vec![],
        |world| vec![world.transfer(&client(1), miner(0).public_key(), 1)],
    ];
    for step in steps {
        let transition = world.commit(step(&world));
        store.extend(transition.records.iter().map(|record| (record.key(), record.value())));
        assert_eq!(store, stored(&world.state));
        let reopened = State::from_records(genesis(), &store).unwrap();
        assert_eq!(reopened.root(), world.state.root());
        assert_eq!(reopened.head(), world.state.head());
        assert_eq!(Some(reopened.root()), world.blocks.last().map(|entry| entry.block.header.state_root));
    }
    // A chain goes on from reopened records.
    world.state = State::from_records(genesis(), &store).unwrap();
    world.commit(world.verified(&[(3, 0, 500)]));
}

#[test]
fn records_come_in_ascending_order_of_their_keys() {
    let keys: Vec<_> = lived().state.records().map(|record| record.key()).collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn records_round_trip() {
    for record in lived().state.records() {
        assert_eq!(Record::decode(&record.key(), &record.value()).unwrap(), record);
    }
}

#[test]
fn the_root_depends_on_every_committed_record() {
    let world = lived();
    let root = world.state.root();
    let store = stored(&world.state);
    let committed = world.state.records().filter(Record::is_committed);
    for key in committed.map(|record| record.key()) {
        let mut fewer = store.clone();
        fewer.remove(&key);
        match State::from_records(genesis(), fewer) {
            Ok(state) => assert_ne!(state.root(), root),
            Err(RecordError::Missing(_) | RecordError::Inconsistent(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_ne!(World::ready().state.root(), root);
}

#[test]
fn damaged_records_are_refused_or_give_another_root() {
    let world = lived();
    let store = stored(&world.state);
    let root = world.state.root();
    for (key, value) in &store {
        let record = Record::decode(key, value).unwrap();
        for cut in [vec![], value[..value.len() - 1].to_vec(), [value.as_slice(), &[0]].concat()] {
            assert!(Record::decode(key, &cut).is_err(), "{record:?}");
        }
        if record.is_committed() {
            for index in 0..value.len() {
                let mut changed = value.clone();
                changed[index] ^= 1;
                let mut store = store.clone();
                store.insert(key.clone(), changed);
                assert!(!State::from_records(genesis(), &store).is_ok_and(|state| state.root() == root));
            }
        }
    }
}

#[test]
fn a_set_that_is_out_of_order_or_names_something_twice_is_refused() {
    let mut world = World::ready();
    world.commit(world.verified(&[(3, 0, 500), (5, 0, 500)]));
    let is_client = |record: &Record| matches!(record, Record::Client(..));
    let record = world.state.records().find(is_client).expect("the client has settled jobs");
    let value = record.value();
    // The floor, the number of closed nonces, the nonces.
    let (three, five) = (3_u64.to_le_bytes(), 5_u64.to_le_bytes());
    assert_eq!(value[8..28], [&[2, 0, 0, 0], &three[..], &five[..]].concat());
    for set in [[five, three], [three, three]] {
        let changed = [&value[..12], &set.concat(), &value[28..]].concat();
        assert!(Record::decode(&record.key(), &changed).is_err());
    }
}

#[test]
fn records_with_a_part_missing_or_unknown_are_refused() {
    let world = lived();
    let store = stored(&world.state);
    let without = |tag: u8| {
        let rest: BTreeMap<_, _> = store.clone().into_iter().filter(|(key, _)| key[0] != tag).collect();
        State::from_records(genesis(), rest).unwrap_err()
    };
    assert!(matches!(without(0), RecordError::Missing("head")));
    assert!(matches!(without(1), RecordError::Missing("supply")));
    assert!(matches!(without(2), RecordError::Inconsistent(_)));
    assert!(matches!(without(3), RecordError::Missing(_)));
    assert!(matches!(without(6), RecordError::Missing(_)));
    assert!(matches!(without(8), RecordError::Missing("power of stake")));
    assert!(matches!(without(9), RecordError::Missing("price of places")));
    for key in [
        vec![],
        vec![99; 33],
        vec![2; 32],
        vec![0, 0],
        vec![7],
        vec![8, 0],
        vec![10; 64],
        vec![10; 66],
        vec![12; 32],
    ] {
        assert!(matches!(Record::decode(&key, &[]), Err(RecordError::Key(_))), "{key:?}");
    }
    let mut other = genesis();
    other.time_ms += 1;
    let start = stored(&World::empty().state);
    assert!(matches!(State::from_records(other, &start), Err(RecordError::Inconsistent(_))));
}

#[test]
fn a_genesis_state_holds_its_balances() {
    let state = World::empty().state;
    assert_eq!(state.supply().total(), 10_050);
    assert_eq!(state.head().hash, genesis().hash());
    assert!(state.check_supply().is_ok());
    let mut broken = genesis();
    broken.validators.clear();
    assert!(State::genesis(broken).is_err());
}

proptest! {
    #[test]
    fn no_stored_bytes_make_decoding_panic(key in prop::collection::vec(any::<u8>(), 0..40), tag in 0..16_u8, value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&key, &value);
        let _ = Record::decode(&[&[tag], [3; 32].as_slice()].concat(), &value);
        let _ = Record::decode(&[tag], &value);
    }
}
