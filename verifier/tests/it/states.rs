//! A state as records: what a store keeps is the state, and the root commits to it.

use std::collections::BTreeMap;

use assay_proto::inclusion::{InclusionProof, Path};
use assay_proto::receipt::Verdict;
use assay_proto::scores::CommitScores;
use assay_proto::subnet::VoteParameter;
use assay_proto::transaction::{Body, Lock, Purpose};
use assay_proto::{Canonical, Commitment, Epoch, Height, ProtoError, Signature, SubnetId, transactions};
use assay_verifier::Reason;
use assay_verifier::inclusion::{Included, InclusionError, Trusted, verify};
use assay_verifier::state::{Record, RecordError, State};
use proptest::prelude::*;

use crate::operating::name;
use crate::subnets::{ONE, OTHER, model, number, open, register, serve, weigh};
use crate::world::{Attempt, MODEL, World, client, genesis, key, miner, validator};

/// A chain with every kind of record, an open job and a closed one.
fn lived() -> World {
    let mut world = World::ready();
    let stake = Purpose::Stake(validator(0).public_key());
    for (offset, purpose) in (1..).zip([stake, Purpose::Collateral, Purpose::Escrow]) {
        let nonce = world.state.account(&client(1).public_key()).nonce + offset;
        let lock = |amount| Body::Lock(Lock { purpose, amount });
        world.commit(vec![world.sign(&client(1), nonce, lock(4))]);
    }
    world.commit(vec![world.unlock(&client(1), stake, 1)]);
    let evidence = world.equivocation(&validator(2), Height(1));
    let scores = CommitScores { epoch: Epoch(2), commitment: Commitment([1; 32]), subnet: SubnetId::ROOT };
    world.commit(vec![
        world.next(&client(1), evidence),
        world.next(&validator(1), Body::CommitScores(scores)),
    ]);
    world.commit(world.verified(&[(2, 0, 500)]));
    world.commit(vec![register(&world, &client(0), open())]);
    world.commit(vec![
        world.next(&validator(1), Body::RegisterModel(model(OTHER, ONE))),
        serve(&world, &miner(1), &[MODEL, OTHER]),
        weigh(&world, 0, &[(ONE, 1)]),
    ]);
    let epoch = world.state.epoch_of(SubnetId::ROOT, world.state.head().height.next());
    let scores = CommitScores { epoch, commitment: Commitment([1; 32]), subnet: ONE };
    world.commit(vec![
        world.next(&validator(0), Body::CommitScores(scores)),
        world.next(&validator(1), Body::VoteParameter(VoteParameter { number: number("fee", 3) })),
    ]);
    world.commit(vec![name(&world, &miner(1), &key(61))]);
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
fn records_round_trip_and_are_found_under_their_keys() {
    let state = lived().state;
    for record in state.records() {
        assert_eq!(Record::decode(&record.key(), &record.value()).unwrap(), record);
        assert_eq!(state.record(&record.key()), Some(record));
    }
    assert_eq!(state.record(&[]), None);
    assert_eq!(state.record(&[2; 33]), None);
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

/// The proof of a record after the last block.
fn proof(world: &World, key: Vec<u8>) -> InclusionProof {
    let committed = world.blocks.last().unwrap();
    InclusionProof {
        path: Path::Record {
            value: world.state.record(&key).unwrap().value(),
            siblings: world.state.siblings(&key).unwrap(),
            key,
        },
        header: committed.block.header.clone(),
        certificate: committed.certificate.clone(),
    }
}

/// The proof of a transaction of a block.
fn place(world: &World, height: usize, index: usize) -> InclusionProof {
    let committed = &world.blocks[height - 1];
    let all = &committed.block.transactions;
    InclusionProof {
        path: Path::Transaction {
            transaction: all[index].clone(),
            index: u32::try_from(index).unwrap(),
            count: u32::try_from(all.len()).unwrap(),
            siblings: transactions::siblings(all, index).unwrap(),
        },
        header: committed.block.header.clone(),
        certificate: committed.certificate.clone(),
    }
}

fn shown(proof: &InclusionProof) -> Result<Included, InclusionError> {
    verify(&genesis(), &Trusted::of_genesis(&genesis())?, proof)
}

#[test]
fn every_committed_record_can_be_shown_to_somebody_who_has_the_genesis_alone() {
    let world = lived();
    for record in world.state.records() {
        if record.is_committed() {
            let proof = proof(&world, record.key());
            assert_eq!(InclusionProof::decode(&proof.encode()), Ok(proof.clone()));
            assert_eq!(shown(&proof).unwrap(), Included::Record(Box::new(record)));
        } else {
            assert_eq!(world.state.siblings(&record.key()), None);
        }
    }
}

#[test]
fn every_transaction_can_be_shown_to_somebody_who_has_the_genesis_alone() {
    let world = lived();
    let mut count = 0;
    for (height, committed) in (1..).zip(&world.blocks) {
        for (index, transaction) in committed.block.transactions.iter().enumerate() {
            let proof = place(&world, height, index);
            assert_eq!(InclusionProof::decode(&proof.encode()), Ok(proof.clone()));
            match shown(&proof).unwrap() {
                Included::Transaction(shown) => assert_eq!(shown.envelope(), transaction),
                Included::Record(record) => panic!("{record:?}"),
            }
            count += 1;
        }
    }
    assert!(count > 12, "{count}");
}

#[test]
fn no_bit_of_a_proof_may_change() {
    let world = lived();
    let account = assay_verifier::state::Kind::Account.key(&client(0).public_key().0);
    let several = world.blocks.iter().position(|entry| entry.block.transactions.len() == 3).unwrap();
    for bytes in [proof(&world, account).encode(), place(&world, several + 1, 1).encode()] {
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let Ok(proof) = InclusionProof::decode(&changed) else { continue };
            assert!(shown(&proof).is_err(), "bit {at}");
        }
    }
}

#[test]
fn a_proof_needs_its_chain_and_enough_signatures() {
    let world = lived();
    let trusted = Trusted::of_genesis(&genesis()).unwrap();
    for whole in [proof(&world, vec![1]), place(&world, 1, 0)] {
        let mut few = whole.clone();
        few.certificate.signatures.truncate(1);
        assert!(matches!(shown(&few), Err(InclusionError::Proof(Reason::CertificatePower { .. }))));
        let mut other = genesis();
        other.chain_id = assay_proto::ChainId::new("test-other").unwrap();
        let error = verify(&other, &trusted, &whole);
        assert!(matches!(error, Err(InclusionError::Proof(Reason::Chain { .. }))));
    }
    let mut whole = proof(&world, vec![1]);
    let mut other = genesis();
    other.time_ms += 1;
    let error = verify(&other, &trusted, &whole);
    assert!(matches!(error, Err(InclusionError::Proof(Reason::StateRoot { .. }))));
    let Path::Record { siblings, .. } = &mut whole.path else { panic!("a record") };
    *siblings = vec![[0; 32]; 257];
    assert!(matches!(shown(&whole), Err(InclusionError::Depth)));
}

#[test]
fn a_transaction_is_shown_at_its_place_and_as_it_was_signed() {
    let world = lived();
    let whole = place(&world, 1, 0);
    let with = |change: &dyn Fn(&mut assay_proto::Envelope, &mut u32, &mut u32)| {
        let mut proof = whole.clone();
        let Path::Transaction { transaction, index, count, .. } = &mut proof.path else { panic!("one") };
        change(transaction, index, count);
        shown(&proof)
    };
    let count = u32::try_from(world.blocks[0].block.transactions.len()).unwrap();
    assert!(count > 1);
    assert!(matches!(with(&|_, index, _| *index = count), Err(InclusionError::Path { .. })));
    let root = |error| matches!(error, Err(InclusionError::Proof(Reason::TransactionsRoot { .. })));
    assert!(root(with(&|_, index, _| *index ^= 1)));
    assert!(root(with(&|transaction, _, _| transaction.signature = Signature([1; 64]))));

    // Validators that commit what nobody signed: the tree has it, and it is not taken all the same.
    let mut world = lived();
    let committed = world.blocks.last_mut().unwrap();
    committed.block.transactions[0].signature = Signature([1; 64]);
    committed.block.header.transactions_root = transactions::root(&committed.block.transactions);
    let block = committed.block.clone();
    world.blocks.last_mut().unwrap().certificate = world.certificate(&block, &[0, 1]);
    let height = world.blocks.len();
    let error = shown(&place(&world, height, 0));
    assert!(matches!(error, Err(InclusionError::Transaction(ProtoError::Signature { .. }))), "{error:?}");
}

#[test]
fn where_stake_votes_the_validators_of_an_audit_are_trusted_and_those_of_the_genesis_are_not() {
    let mut world = World::ready();
    world.commit(vec![]);
    let whole = proof(&world, vec![1]);
    let mut staked = genesis();
    staked.parameters.stake_per_power = 1 << 16;
    assert!(matches!(Trusted::of_genesis(&staked), Err(InclusionError::StakeVotes)));
    let voter = |(public_key, power)| assay_proto::genesis::GenesisValidator { public_key, power };
    let voters: Vec<_> = world.state.voters().iter().map(voter).collect();
    let by = |voters: &[_]| verify(&genesis(), &Trusted::of_audit(voters)?, &whole);
    assert!(by(&voters).is_ok());
    // Others did not sign, and one alone does not decide for all.
    assert!(matches!(by(&voters[..1]), Err(InclusionError::Proof(Reason::CertificateSigner(_)))));
    let mut heavy = voters.clone();
    heavy.push(voter((client(0).public_key(), 1_000_000)));
    assert!(matches!(by(&heavy), Err(InclusionError::Proof(Reason::CertificatePower { .. }))));
    for none in [vec![], vec![voter((client(0).public_key(), 0))]] {
        assert!(matches!(Trusted::of_audit(&none), Err(InclusionError::NoValidators)));
    }
}

proptest! {
    #[test]
    fn no_stored_bytes_make_decoding_panic(key in prop::collection::vec(any::<u8>(), 0..40), tag in 0..22_u8, value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&key, &value);
        let _ = Record::decode(&[&[tag], [3; 32].as_slice()].concat(), &value);
        let _ = Record::decode(&[tag], &value);
    }
}
