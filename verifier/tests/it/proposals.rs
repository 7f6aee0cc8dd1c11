//! What a proposer makes of candidates is what the others accept.

use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, ProofSystem, RegisterModel, Transaction};
use assay_proto::{ChainId, PublicKey, Signed, SubnetId, limits};
use assay_verifier::Reason;
use assay_verifier::proof::KeyOrigin;
use assay_verifier::propose::propose;
use assay_verifier::state::KeyCache;
use assay_verifier::transition::{Candidate, apply, check};

use crate::trapdoor::Trapdoor;
use crate::world::{MODEL, World, client, key, miner, validator};

#[test]
fn candidates_that_may_not_apply_are_dropped_with_their_reason_and_the_rest_kept() {
    let world = World::ready();
    let to = PublicKey([9; 32]);
    let mut candidates = world.verified(&[(1, 0, 500), (1, 1, 500), (2, 1, 500)]);
    candidates.insert(1, world.transfer(&client(1), to, 51));
    candidates.push(world.transfer(&client(1), to, 50));
    let proposal = world.propose(&candidates);
    assert_eq!(proposal.included, [0, 3, 4]);
    assert_eq!(proposal.considered, 5);
    let dropped: Vec<_> = proposal.dropped.iter().map(|dropped| dropped.index).collect();
    assert_eq!(dropped, [1, 2]);
    assert!(matches!(proposal.dropped[0].reason, Reason::Balance { .. }));
    assert!(matches!(proposal.dropped[1].reason, Reason::JobClosed { .. }));
    let indices: Vec<_> = proposal.transition.receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indices, [0, 1]);

    let applied = apply(&world.state, &proposal.block, &KeyCache::new()).unwrap();
    assert_eq!(applied.state.root(), proposal.transition.state.root());
    assert_eq!(applied.records, proposal.transition.records);
    assert_eq!(applied.receipts, proposal.transition.receipts);
    assert_eq!(applied.state.head(), proposal.transition.state.head());
}

#[test]
fn candidates_past_the_size_of_a_block_wait() {
    let world = World::ready();
    let small = world.transfer(&client(0), PublicKey([9; 32]), 1);
    let mut large = small.clone();
    large.payload = vec![0; limits::TRANSACTION_BYTES];
    let proposal = world.propose(&[large.clone(), large.clone(), large, small.clone()]);
    // Two of them fill the block; none is passed over, although the last would fit.
    assert_eq!(proposal.considered, 2);
    let proposal = world.propose(&vec![small; limits::TRANSACTIONS + 5]);
    assert_eq!(proposal.considered, limits::TRANSACTIONS);
    assert_eq!((proposal.included.len(), proposal.dropped.len()), (1, limits::TRANSACTIONS - 1));
}

#[test]
fn only_a_validator_proposes() {
    let world = World::ready();
    let stranger = propose(&world.state, key(99).public_key(), 0, &[], &world.keys).unwrap_err();
    assert!(matches!(*stranger.reason, Reason::Proposer(_)));
    assert!(propose(&world.state, validator(2).public_key(), 0, &[], &world.keys).is_ok());
}

#[test]
fn a_receipt_is_judged_under_the_key_that_the_state_holds_not_under_another_candidate() {
    let world = World::empty();
    let other = Trapdoor::with_seed(MODEL.0, KeyOrigin::TestSeed, 5);
    let body = RegisterModel {
        model_id: MODEL,
        name: "other".into(),
        verifying_key: other.bytes,
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    let attempt = world.attempt(world.job(&client(0), 1), miner(0));
    let candidates = [
        world.sign(&validator(1), 0, Body::RegisterModel(body)),
        world.register_model(1),
        world.register_miner(0),
        world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1),
    ];
    let proposal = world.propose(&candidates);
    assert_eq!(proposal.included, [1, 2, 3]);
    assert!(matches!(proposal.dropped[0].reason, Reason::Nonce { .. }));
    assert!(apply(&world.state, &proposal.block, &KeyCache::new()).is_ok());
}

#[test]
fn a_mempool_is_told_what_a_proposer_would_drop() {
    let world = World::ready();
    let keys = KeyCache::new();
    assert!(check(&world.state, &world.verified(&[(1, 0, 500)])[0], &keys).is_ok());
    let reason = check(&world.state, &world.transfer(&client(1), PublicKey([9; 32]), 51), &keys);
    assert!(matches!(reason, Err(Reason::Balance { .. })));
    let reason = check(&world.state, &world.register_model(2), &keys);
    assert!(matches!(reason, Err(Reason::ModelExists(MODEL))));
}

#[test]
fn receipts_are_remembered_until_their_block_is_decided() {
    let mut world = World::ready();
    let receipts = world.verified(&[(1, 0, 500), (2, 1, 500)]);
    let block = world.propose(&receipts).block;
    assert_eq!((world.keys.remembered(), block.transactions.len()), (2, 2));
    assert!(apply(&world.state, &block, &world.keys).is_ok());
    assert_eq!(world.keys.remembered(), 2);
    world.keys.forget(&world.chain, &block.transactions[1]);
    assert_eq!(world.keys.remembered(), 1);
    // Forgotten is not refused.
    assert!(apply(&world.state, &block, &world.keys).is_ok());
    // Another chain names other transactions.
    world.keys.forget(&ChainId::new("test-other").unwrap(), &block.transactions[0]);
    assert_eq!(world.keys.remembered(), 2);
    // Of the signer's two, one is decided; what is judged while it is, is forgotten with the next block.
    world.commit(vec![receipts[0].clone()]);
    world.keys.forget_used(&world.state);
    assert_eq!(world.keys.remembered(), 1);
}

#[test]
fn an_opened_candidate_is_worth_its_envelope() {
    let world = World::ready();
    let receipts = world.verified(&[(1, 0, 500), (2, 1, 500)]);
    let opened: Vec<Signed<Transaction>> = receipts.iter().map(|r| r.open(&world.chain).unwrap()).collect();
    let candidates: Vec<_> = opened.iter().map(Candidate::Opened).collect();
    let time_ms = world.state.head().time_ms + 10;
    let proposer = validator(0).public_key();
    let proposal = propose(&world.state, proposer, time_ms, &candidates, &KeyCache::new()).unwrap();
    assert_eq!(proposal.block, world.propose(&receipts).block);
}
