//! What each kind of transaction needs.

use assay_circuits::ir::Graph;
use assay_circuits::samples;
use assay_proto::transaction::{Body, ProofSystem, RegisterMiner, RegisterModel, Transfer};
use assay_proto::{ChainId, ModelId, ProtoError, PublicKey, Signature, SubnetId};
use assay_verifier::proof::{KeyOrigin, halo2 as transparent};
use assay_verifier::state::{Record, State};
use assay_verifier::{Reason, limits};

use crate::trapdoor::Trapdoor;
use crate::world::{MODEL, World, client, genesis, key, miner, validator};

#[test]
fn a_transfer_moves_exactly_its_amount() {
    let mut world = World::empty();
    let to = PublicKey([9; 32]);
    world.commit(vec![world.transfer(&client(0), to, 300)]);
    assert_eq!((world.balance(&client(0)), world.state.account(&to).balance), (9_700, 300));
    world.commit(vec![world.transfer(&client(0), to, 9_700)]);
    assert_eq!((world.balance(&client(0)), world.state.account(&to).balance), (0, 10_000));
}

#[test]
fn a_transfer_beyond_the_balance_is_refused() {
    let world = World::empty();
    let to = PublicKey([9; 32]);
    let reason = world.refusal(world.transfer(&client(1), to, 51));
    assert!(matches!(reason, Reason::Balance { balance: 50, needed: 51, .. }));
    let reason = world.refusal(world.transfer(&key(99), to, 1));
    assert!(matches!(reason, Reason::Balance { balance: 0, needed: 1, .. }));
    let own = client(1).public_key();
    let reason = world.refusal(world.transfer(&client(1), own, u64::MAX));
    assert!(matches!(reason, Reason::Balance { .. }));
}

#[test]
fn a_transfer_to_oneself_changes_no_balance() {
    let mut world = World::empty();
    world.commit(vec![world.transfer(&client(1), client(1).public_key(), 50)]);
    assert_eq!(world.balance(&client(1)), 50);
}

#[test]
fn nonces_increase_strictly_by_bounded_steps() {
    let mut world = World::empty();
    let body = || Body::Transfer(Transfer { to: PublicKey([9; 32]), amount: 1 });
    let signed = |world: &World, nonce| world.sign(&client(0), nonce, body());
    assert!(matches!(world.refusal(signed(&world, 0)), Reason::Nonce { last: 0, got: 0 }));
    world.commit(vec![signed(&world, 3)]);
    for nonce in [0, 1, 3, 3 + limits::NONCE_STEP + 1, u64::MAX] {
        let reason = world.refusal(signed(&world, nonce));
        assert!(matches!(reason, Reason::Nonce { last: 3, got } if got == nonce));
    }
    world.commit(vec![signed(&world, 4), signed(&world, 4 + limits::NONCE_STEP)]);
}

#[test]
fn a_transaction_cannot_be_replayed_within_its_block() {
    let world = World::empty();
    let transfer = world.transfer(&client(0), PublicKey([9; 32]), 1);
    let rejection = world.reject(vec![transfer.clone(), transfer]);
    assert_eq!(rejection.index, Some(1));
    assert!(matches!(*rejection.reason, Reason::Nonce { last: 1, got: 1 }));
}

#[test]
fn a_transaction_of_another_chain_or_with_a_bad_signature_is_refused() {
    let mut world = World::empty();
    let mut broken = world.transfer(&client(0), PublicKey([9; 32]), 1);
    broken.signature = Signature([0; 64]);
    let signature = |reason| matches!(reason, Reason::Transaction(ProtoError::Signature { .. }));
    assert!(signature(world.refusal(broken)));
    world.chain = ChainId::new("test-other").unwrap();
    let foreign = world.transfer(&client(0), PublicKey([9; 32]), 1);
    world.chain = crate::world::chain();
    assert!(signature(world.refusal(foreign)));
}

#[test]
fn a_model_is_registered_once() {
    let mut world = World::empty();
    world.commit(vec![world.register_model(1)]);
    let model = world.state.model(&MODEL).unwrap();
    assert_eq!((model.name.as_str(), model.owner), ("tiny", validator(2).public_key()));
    assert_eq!(world.state.verifying_key(&MODEL).unwrap().as_ref(), world.trapdoor.bytes);
    assert!(matches!(world.refusal(world.register_model(2)), Reason::ModelExists(MODEL)));
    // Another key for the same model does not replace the first.
    let other = Trapdoor::with_seed(MODEL.0, KeyOrigin::SingleParty, 5);
    let body = RegisterModel {
        model_id: MODEL,
        name: "again".into(),
        verifying_key: other.bytes,
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    assert!(matches!(
        world.refusal(world.next(&validator(1), Body::RegisterModel(body))),
        Reason::ModelExists(MODEL)
    ));
}

#[test]
fn only_a_validator_answers_for_a_verifying_key() {
    let world = World::empty();
    let body = RegisterModel {
        model_id: MODEL,
        name: "own".into(),
        verifying_key: world.trapdoor.bytes.clone(),
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    let reason = world.refusal(world.next(&miner(0), Body::RegisterModel(body)));
    assert!(matches!(reason, Reason::NotValidator(signer) if signer == miner(0).public_key()));
    // Nor does anyone else make the others decode one.
    let body = RegisterModel {
        model_id: MODEL,
        name: "own".into(),
        verifying_key: b"no key".to_vec(),
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    let reason = world.refusal(world.next(&miner(0), Body::RegisterModel(body)));
    assert!(matches!(reason, Reason::NotValidator(signer) if signer == miner(0).public_key()));
}

/// A registration of a public model for halo2, under an id and a system.
fn halo2(graph: &Graph, model_id: ModelId, proof_system: ProofSystem) -> Body {
    let verifying_key = transparent::key_bytes(graph);
    Body::RegisterModel(RegisterModel {
        model_id,
        name: "open".into(),
        verifying_key,
        proof_system,
        subnet: SubnetId::ROOT,
    })
}

#[test]
fn a_key_is_of_the_proof_system_that_its_registration_names() {
    let mut world = World::empty();
    let graph = samples::dense();
    let id = ModelId(graph.id().0);
    let reason = world.refusal(world.next(&validator(1), halo2(&graph, id, ProofSystem::Groth16)));
    assert!(matches!(reason, Reason::KeySystem { expected: ProofSystem::Groth16, got: ProofSystem::Halo2 }));
    let body = RegisterModel {
        model_id: MODEL,
        name: "tiny".into(),
        verifying_key: world.trapdoor.bytes.clone(),
        proof_system: ProofSystem::Halo2,
        subnet: SubnetId::ROOT,
    };
    let reason = world.refusal(world.next(&validator(1), Body::RegisterModel(body)));
    assert!(matches!(reason, Reason::KeySystem { expected: ProofSystem::Halo2, got: ProofSystem::Groth16 }));
    let reason = world.refusal(world.next(&validator(1), halo2(&graph, MODEL, ProofSystem::Halo2)));
    assert!(matches!(reason, Reason::KeyModel { expected: MODEL, got } if got == id));
    world.commit(vec![world.next(&validator(1), halo2(&graph, id, ProofSystem::Halo2))]);
    // The ledger holds the model itself: whoever has an export can check every proof of it.
    let key = world.state.verifying_key(&id).unwrap();
    assert_eq!(key.as_ref(), transparent::key_bytes(&graph));
    assert_eq!(world.keys.model(&world.state, &id).unwrap().system(), ProofSystem::Halo2);
}

#[test]
fn a_key_that_does_not_decode_or_is_of_another_model_is_refused() {
    let world = World::empty();
    let register = |model_id, verifying_key| {
        let body = RegisterModel {
            model_id,
            name: "m".into(),
            verifying_key,
            proof_system: ProofSystem::Groth16,
            subnet: SubnetId::ROOT,
        };
        world.refusal(world.next(&validator(1), Body::RegisterModel(body)))
    };
    assert!(matches!(register(MODEL, b"no key".to_vec()), Reason::Key(_)));
    let other = ModelId([78; 32]);
    let reason = register(other, world.trapdoor.bytes.clone());
    assert!(matches!(reason, Reason::KeyModel { expected, got: MODEL } if expected == other));
}

#[test]
fn test_keys_are_for_test_chains_only() {
    let mut genesis = genesis();
    genesis.chain_id = ChainId::new("main-test-1").unwrap();
    let mut world = World::of(genesis);
    assert!(matches!(world.refusal(world.register_model(1)), Reason::TestKey));
    world.trapdoor = Trapdoor::new(MODEL.0, KeyOrigin::SingleParty);
    world.commit(vec![world.register_model(1)]);
    assert!(world.state.model(&MODEL).is_some());
}

#[test]
fn a_key_of_a_model_that_hides_its_inputs_is_refused() {
    let mut world = World::empty();
    world.trapdoor = Trapdoor::new(MODEL.0, KeyOrigin::TestSeed).committing();
    assert!(matches!(world.refusal(world.register_model(1)), Reason::CommittedPorts));
}

#[test]
fn a_miner_serves_registered_models_and_may_register_again() {
    let mut world = World::ready();
    let unknown = ModelId([78; 32]);
    let register = |world: &World, endpoint: &str, model_ids| {
        let body = RegisterMiner { endpoint: endpoint.into(), model_ids, devices: Default::default() };
        world.next(&miner(0), Body::RegisterMiner(body))
    };
    let reason = world.refusal(register(&world, "http://new:1", vec![MODEL, unknown]));
    assert!(matches!(reason, Reason::ModelUnknown(id) if id == unknown));
    world.commit(vec![register(&world, "http://new:1", vec![])]);
    let record = world.state.miner(&miner(0).public_key()).unwrap();
    assert_eq!((record.endpoint.as_str(), record.models.len()), ("http://new:1", 0));
}

#[test]
fn registering_again_keeps_reputation_and_work() {
    let mut world = World::ready();
    world.commit(world.verified(&[(1, 0, 500)]));
    let before = world.state.miner(&miner(0).public_key()).unwrap().clone();
    world.commit(vec![world.register_miner(0)]);
    assert_eq!(world.state.miner(&miner(0).public_key()), Some(&before));
    assert_eq!((before.root.work.verified, before.root.earned), (1, crate::world::PRICE));
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let world = World::ready();
    let empty = world.propose(&[]);
    let refused = [
        world.transfer(&client(1), PublicKey([9; 32]), 51),
        world.register_model(2),
        world.register_model(1),
    ];
    let proposal = world.propose(&refused);
    assert_eq!(proposal.dropped.len(), 3);
    assert_eq!(proposal.transition.state.root(), empty.transition.state.root());
}

/// A state with more records than a chain gathers in a test.
fn crowded(extra: impl Fn(u32) -> Record, count: usize) -> World {
    let mut world = World::ready();
    let records: Vec<Record> =
        world.state.records().chain((0..u32::try_from(count).unwrap()).map(extra)).collect();
    let stored = records.iter().map(|record| (record.key(), record.value()));
    world.state = State::from_records(genesis(), stored).unwrap();
    world
}

fn id(n: u32) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

#[test]
fn a_chain_has_a_bounded_number_of_models() {
    let model = World::ready().state.model(&MODEL).unwrap().clone();
    let extra = |n| Record::Model(ModelId(id(n)), model.clone());
    let register = |world: &World| {
        let verifying_key = Trapdoor::new([78; 32], KeyOrigin::TestSeed).bytes;
        let body = RegisterModel {
            model_id: ModelId([78; 32]),
            name: "one more".into(),
            verifying_key,
            proof_system: ProofSystem::Groth16,
            subnet: SubnetId::ROOT,
        };
        world.next(&validator(1), Body::RegisterModel(body))
    };
    let full = crowded(extra, limits::MODELS - 1);
    assert!(matches!(full.refusal(register(&full)), Reason::Models(limits::MODELS)));
    let room = crowded(extra, limits::MODELS - 2);
    assert!(room.propose(&[register(&room)]).dropped.is_empty());
}

#[test]
fn a_chain_has_a_bounded_number_of_miners() {
    let miner_record = World::ready().state.miner(&miner(0).public_key()).unwrap().clone();
    let full = crowded(|n| Record::Miner(PublicKey(id(n)), miner_record.clone()), limits::MINERS - 3);
    assert!(matches!(full.refusal(full.register_miner(9)), Reason::Miners(limits::MINERS)));
    // One that is registered may still change its registration.
    assert!(full.propose(&[full.register_miner(0)]).dropped.is_empty());
}
