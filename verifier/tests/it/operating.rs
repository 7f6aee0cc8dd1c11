//! Operating keys: who signs for whom, from when to when, and what a stolen one can do.

use assay_proto::block::CommittedBlock;
use assay_proto::challenge::Outcome;
use assay_proto::hold::{Hold, Release, ReleaseReason};
use assay_proto::operating::{KeyConsent, SetOperatingKey};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::{RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, Lock, Purpose, RegisterMiner, Transfer};
use assay_proto::{ChainId, Envelope, Epoch, Height, PublicKey, SecretKey, SubnetId};
use assay_verifier::challenge::judge;
use assay_verifier::limits::{KEY_BLOCKS, OVERLAP_BLOCKS};
use assay_verifier::operating::{key_of, owner_of, signers, speaks_for_validator};
use assay_verifier::propose::propose;
use assay_verifier::snapshot::{self, Trusted};
use assay_verifier::state::State;
use assay_verifier::{Reason, audit, certificate};

use crate::accounts::costly;
use crate::challenges::{challenging, open, register, report, right};
use crate::subnets::{model, number};
use crate::world::{Attempt, MODEL, PRICE, World, client, genesis, key, miner, parameters, validator};

/// Names a key by its owner's next transaction.
pub fn name(world: &World, owner: &SecretKey, operating: &SecretKey) -> Envelope {
    let body = SetOperatingKey::new(&world.chain, owner.public_key(), operating);
    world.next(owner, Body::SetOperatingKey(body))
}

fn k(n: u8) -> SecretKey {
    key(60 + n)
}

/// Names a key and waits until it is in force in the next block.
fn rotate(world: &mut World, owner: &SecretKey, operating: &SecretKey) -> Height {
    world.commit(vec![name(world, owner, operating)]);
    let from = Height(world.state.head().height.0 + KEY_BLOCKS);
    world.advance(from.0 - 1);
    from
}

/// A receipt of validator 0 about an honest answer of `owner`, its evidence signed by another key.
fn answered(world: &World, nonce: u64, owner: &SecretKey, by: &SecretKey) -> Envelope {
    let attempt = world.attempt(world.job(&client(0), nonce), owner.clone());
    attempted(world, &attempt, by, Verdict::Verified)
}

fn attempted(world: &World, attempt: &Attempt, by: &SecretKey, verdict: Verdict) -> Envelope {
    let (job, outputs, proof) = (attempt.job.clone(), attempt.outputs.clone(), attempt.proof.clone());
    let signed = world.evidence(&Attempt { job, outputs, proof, miner: by.clone(), ..*attempt });
    let evidence = Evidence { miner: attempt.miner.public_key(), ..signed };
    world.signed_receipt(Receipt { evidence, verdict }, 1)
}

fn by_nobody(world: &World, transaction: Envelope, by: &SecretKey) -> bool {
    matches!(world.refusal(transaction), Reason::EvidenceSigner { got, .. } if got == by.public_key())
}

#[test]
fn answers_of_a_miner_are_signed_by_the_key_in_force_and_earn_for_the_owner() {
    let mut world = World::ready();
    let (owner, by) = (miner(0), k(1));
    world.commit(vec![name(&world, &owner, &by)]);
    // Named at 2, in force from 4 on.
    assert!(by_nobody(&world, answered(&world, 1, &owner, &by), &by));
    world.commit(vec![answered(&world, 1, &owner, &owner)]);
    world.commit(vec![answered(&world, 2, &owner, &by)]);
    assert_eq!(world.state.head().height, Height(4));
    assert_eq!((world.balance(&owner), world.balance(&by)), (2 * PRICE, 0));
    assert!(world.state.miner(&by.public_key()).is_none());
    assert_eq!(owner_of(&world.state, &by.public_key()), owner.public_key());
    assert_eq!(key_of(&world.state, &owner.public_key(), Height(3)), owner.public_key());
    assert_eq!(key_of(&world.state, &owner.public_key(), Height(4)), by.public_key());
    // Of two parts each has to be by one of its keys, and the job is still bound to the owner.
    let mut mixed = world.evidence(&world.attempt(world.job(&client(0), 3), owner.clone()));
    mixed.output.as_mut().unwrap().signer = miner(1).public_key();
    let mixed = world.signed_receipt(Receipt { evidence: mixed, verdict: Verdict::Verified }, 1);
    assert!(by_nobody(&world, mixed, &miner(1)));
    let attempt = world.attempt(world.job(&client(0), 3), by.clone());
    let other = Evidence { miner: owner.public_key(), ..world.evidence(&attempt) };
    let bound = world.signed_receipt(Receipt { evidence: other, verdict: Verdict::Verified }, 1);
    assert!(matches!(world.refusal(bound), Reason::Verdict { expected: Verdict::InvalidProof, .. }));
    // Another miner's key, however good, answers for nobody else.
    assert!(by_nobody(&world, answered(&world, 3, &miner(1), &by), &by));
}

#[test]
fn what_a_former_key_signed_counts_for_a_while_and_then_no_more() {
    let mut world = World::ready();
    let owner = miner(0);
    let first = rotate(&mut world, &owner, &k(1));
    world.commit(vec![answered(&world, 1, &owner, &owner)]);
    let second = rotate(&mut world, &owner, &k(2));
    assert!(second.0 < first.0 + OVERLAP_BLOCKS);
    world.commit(vec![answered(&world, 2, &owner, &k(2))]);
    world.commit(vec![answered(&world, 3, &owner, &k(1))]);
    world.commit(vec![answered(&world, 4, &owner, &owner)]);
    let keys: Vec<PublicKey> = signers(&world.state, &owner.public_key()).iter().copied().collect();
    assert_eq!(keys, [k(2), k(1), owner.clone()].map(|key| key.public_key()));
    // The last block in which the owner's own signature counts, and the first in which it does not.
    world.advance(first.0 + OVERLAP_BLOCKS - 2);
    world.commit(vec![answered(&world, 5, &owner, &owner)]);
    assert!(by_nobody(&world, answered(&world, 6, &owner, &owner), &owner));
    world.advance(second.0 + OVERLAP_BLOCKS - 2);
    world.commit(vec![answered(&world, 6, &owner, &k(1))]);
    assert!(by_nobody(&world, answered(&world, 7, &owner, &k(1)), &k(1)));
    world.commit(vec![answered(&world, 7, &owner, &k(2))]);
}

#[test]
fn a_lie_under_any_of_its_keys_costs_the_owner() {
    let mut genesis = genesis();
    genesis.parameters.collateral_slash_ppm = 500_000;
    let mut world = World::of(genesis);
    let owner = miner(0);
    world.commit(vec![world.register_model(1), world.transfer(&client(0), owner.public_key(), 100)]);
    world.commit(vec![world.lock(&owner, Purpose::Collateral, 100)]);
    world.commit(vec![world.register_miner(0)]);
    rotate(&mut world, &owner, &k(1));
    rotate(&mut world, &owner, &k(2));
    for (nonce, by, left) in [(1, k(2), 50), (2, k(1), 25)] {
        let attempt = world.attempt(world.job(&client(0), nonce), owner.clone());
        let lie = Attempt { proof: Some(vec![3; 160]), ..attempt };
        world.commit(vec![attempted(&world, &lie, &by, Verdict::InvalidProof)]);
        assert_eq!(world.locked(&owner, Purpose::Collateral), (left, 0));
    }
    // Nobody else's lie does.
    let lie = Attempt { proof: Some(vec![3; 160]), ..world.attempt(world.job(&client(0), 3), owner.clone()) };
    assert!(by_nobody(&world, attempted(&world, &lie, &k(3), Verdict::InvalidProof), &k(3)));
}

#[test]
fn a_key_is_named_by_its_owner_with_its_consent_and_is_nothing_else() {
    let mut world = World::ready();
    let owner = miner(0);
    let set = |world: &World, consent: Envelope| {
        world.next(&owner, Body::SetOperatingKey(SetOperatingKey { consent }))
    };
    let consent = |by: &SecretKey, owner: &SecretKey, chain: &ChainId| {
        by.sign(chain, KeyConsent { owner: owner.public_key() }).into_envelope()
    };
    // Without the new key: the consent of another one under its name, one for somebody else, one for another chain.
    let mut claimed = consent(&k(2), &owner, &world.chain);
    claimed.signer = k(1).public_key();
    assert!(matches!(world.refusal(set(&world, claimed)), Reason::KeyConsent(_)));
    let elsewhere = consent(&k(1), &owner, &ChainId::new("test-elsewhere").unwrap());
    assert!(matches!(world.refusal(set(&world, elsewhere)), Reason::KeyConsent(_)));
    let reason = world.refusal(set(&world, consent(&k(1), &miner(1), &world.chain)));
    assert!(matches!(reason, Reason::KeyOwner { got, .. } if got == miner(1).public_key()), "{reason}");
    // Keys that are something: itself, a miner, a validator that never signed, an account of the genesis, a client, a payer.
    world.commit(vec![world.transfer(&client(0), key(99).public_key(), 2 * PRICE)]);
    let job = key(99).sign(&world.chain, crate::world::plain_job(1));
    let attempt = world.attempt(job, miner(1));
    world.commit(vec![world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1)]);
    world.commit(vec![world.transfer(&client(0), key(98).public_key(), 2)]);
    world.commit(vec![world.transfer(&key(98), client(0).public_key(), 1)]);
    for known in [owner.clone(), miner(1), validator(1), client(1), key(99), key(98)] {
        let reason = world.refusal(name(&world, &owner, &known));
        assert!(matches!(reason, Reason::KeyTaken(key) if key == known.public_key()), "{reason}");
    }
    // Itself is something even where this is the first that it signs.
    assert!(matches!(world.refusal(name(&world, &key(97), &key(97))), Reason::KeyTaken(_)));
    // Whoever pays to a key that is to be named does not prevent it.
    world.commit(vec![world.transfer(&client(0), k(1).public_key(), 1)]);
    let named = name(&world, &owner, &k(1));
    world.commit(vec![named.clone()]);
    assert!(matches!(world.refusal(named), Reason::Nonce { .. }));
    // One change at a time.
    let reason = world.refusal(name(&world, &owner, &k(2)));
    assert!(matches!(reason, Reason::KeyPending { from: Height(9), .. }), "{reason}");
    assert!(matches!(world.refusal(name(&world, &miner(1), &k(1))), Reason::KeyTaken(_)));
    world.advance(8);
    rotate(&mut world, &owner, &k(2));
    // The old consent, said again, and the old key for another one: no key comes back.
    for taker in [&owner, &miner(1)] {
        let reason = world.refusal(name(&world, taker, &k(1)));
        assert!(matches!(reason, Reason::KeyTaken(key) if key == k(1).public_key()), "{reason}");
    }
}

#[test]
fn a_stolen_key_moves_nothing_of_its_owner() {
    let mut world = World::with(|parameters| parameters.unbonding_blocks = 3);
    let (owner, thief) = (client(0), k(1));
    world.commit(vec![world.lock(&owner, Purpose::Collateral, 500)]);
    world.commit(vec![world.lock(&owner, Purpose::Stake(validator(0).public_key()), 500)]);
    world.commit(vec![world.lock(&owner, Purpose::Escrow, 500)]);
    rotate(&mut world, &owner, &thief);
    let (before, stake) = (world.balance(&owner), Purpose::Stake(validator(0).public_key()));
    let lock = |purpose| Lock { purpose, amount: 1 };
    let subnet = RegisterSubnet {
        task: "t".into(),
        models: vec![],
        proof_system: None,
        labelled: false,
        numbers: vec![],
    };
    let another = SetOperatingKey::new(&world.chain, owner.public_key(), &k(2));
    let own = SetOperatingKey::new(&world.chain, thief.public_key(), &k(2));
    let bodies = [
        Body::Unlock(lock(Purpose::Collateral)),
        Body::Unlock(lock(stake)),
        Body::Unlock(lock(Purpose::Escrow)),
        Body::Lock(lock(Purpose::Escrow)),
        Body::SetOperatingKey(another),
        Body::SetOperatingKey(own),
        Body::VoteParameter(VoteParameter { number: number("fee", 3) }),
        Body::RegisterSubnet(subnet),
    ];
    for body in bodies {
        let reason = world.refusal(world.next(&thief, body.clone()));
        let Reason::KeyDuty { key, owner: of } = reason else { panic!("{body:?}: {reason}") };
        assert_eq!((key, of), (thief.public_key(), owner.public_key()));
    }
    let all = Transfer { to: k(3).public_key(), amount: 1 };
    let reason = world.refusal(world.next(&thief, Body::Transfer(all.clone())));
    assert!(matches!(reason, Reason::Balance { account, .. } if account == thief.public_key()), "{reason}");
    let burn = world.next(&thief, Body::Burn(assay_proto::transaction::Burn { amount: 1 }));
    assert!(matches!(world.refusal(burn), Reason::Balance { account, .. } if account == thief.public_key()));
    // What is its own it may move.
    world.commit(vec![world.transfer(&owner, thief.public_key(), 1)]);
    world.commit(vec![world.next(&thief, Body::Transfer(all))]);
    assert_eq!((world.balance(&owner), world.balance(&k(3))), (before - 1, 1));
    // Nobody stakes on it either.
    let reason = world.refusal(world.lock(&client(1), Purpose::Stake(thief.public_key()), 1));
    assert!(matches!(reason, Reason::StakeTarget(_)), "{reason}");
}

#[test]
fn an_operating_key_keeps_its_miner_registered_at_its_own_cost() {
    let mut world = World::with(|parameters| {
        (parameters.fee, parameters.registration_price_min, parameters.registration_price_max) = (0, 7, 7);
    });
    let (owner, by) = (miner(0), k(1));
    world.commit(vec![world.transfer(&client(0), owner.public_key(), 100)]);
    rotate(&mut world, &owner, &by);
    let register = |world: &World, endpoint: &str| {
        let (endpoint, model_ids, devices) = (endpoint.to_owned(), vec![MODEL], Default::default());
        world.next(&by, Body::RegisterMiner(RegisterMiner { endpoint, model_ids, devices }))
    };
    let reason = world.refusal(register(&world, "http://a:1"));
    assert!(matches!(reason, Reason::Balance { account, .. } if account == by.public_key()), "{reason}");
    world.commit(vec![world.transfer(&client(0), by.public_key(), 10)]);
    world.commit(vec![register(&world, "http://a:1")]);
    assert_eq!((world.balance(&owner), world.balance(&by)), (100, 3));
    world.commit(vec![register(&world, "http://b:1")]);
    assert_eq!(world.state.miner(&owner.public_key()).unwrap().endpoint, "http://b:1");
    assert!(world.state.miner(&by.public_key()).is_none());
    // A key whose time is over says nothing any more.
    let until = rotate(&mut world, &owner, &k(2));
    world.advance(until.0 + OVERLAP_BLOCKS - 2);
    world.commit(vec![register(&world, "http://c:1")]);
    let reason = world.refusal(register(&world, "http://d:1"));
    assert!(matches!(reason, Reason::KeyTerm { until: Some(until_), .. } if until_ == until), "{reason}");
}

#[test]
fn fees_of_an_operating_key_are_its_own_to_pay() {
    let mut world = costly(1, |_| ());
    let (owner, by) = (miner(0), k(1));
    for key in [&owner, &by] {
        world.commit(vec![world.transfer(&client(0), key.public_key(), 10)]);
    }
    rotate(&mut world, &owner, &by);
    let (endpoint, model_ids, devices) = ("http://a:1".to_owned(), vec![MODEL], Default::default());
    let register = Body::RegisterMiner(RegisterMiner { endpoint, model_ids, devices });
    world.commit(vec![world.next(&by, register)]);
    // Of the owner it is the naming.
    assert_eq!((world.balance(&owner), world.balance(&by)), (9, 9));
}

#[test]
fn a_key_that_is_not_in_force_yet_says_nothing() {
    let mut world = World::ready();
    world.commit(vec![name(&world, &validator(1), &k(1))]);
    let body = |epoch| {
        let commitment = assay_proto::Commitment([1; 32]);
        Body::CommitScores(CommitScores { epoch, commitment, subnet: SubnetId::ROOT })
    };
    let reason = world.refusal(world.next(&k(1), body(Epoch(1))));
    assert!(matches!(reason, Reason::KeyTerm { from: Height(4), until: None, .. }), "{reason}");
    world.commit(vec![]);
    world.commit(vec![world.next(&k(1), body(Epoch(1)))]);
    assert!(world.state.ballot(&validator(1).public_key()).is_some());
    assert!(world.state.ballot(&k(1).public_key()).is_none());
}

#[test]
fn the_duties_of_a_validator_are_signed_by_its_operating_key_and_stand_under_the_owner() {
    let mut world = World::with(|parameters| {
        (parameters.prepaid, parameters.hold_blocks, parameters.emission) = (1, 100, 0);
    });
    world.commit((0..2).map(|n| world.register_miner(n)).collect());
    world.commit(vec![world.lock(&client(0), Purpose::Escrow, 4 * PRICE)]);
    let (owner, by) = (validator(1), k(1));
    rotate(&mut world, &owner, &by);
    let hold = |world: &World, nonce| {
        world.next(&by, Body::Hold(Hold { job: world.job(&client(0), nonce).into_envelope() }))
    };
    world.commit(vec![hold(&world, 1)]);
    let release = Release { client: client(0).public_key(), nonce: 1, reason: ReleaseReason::NoMiner };
    world.commit(vec![world.next(&by, Body::Release(release))]);
    world.commit(vec![hold(&world, 2)]);
    // The owner held it: the receipt may be by either of its keys.
    let attempt = world.attempt(world.job(&client(0), 2), miner(0));
    let receipt = world.receipt(&attempt, Verdict::Verified);
    world.commit(vec![world.next(&by, Body::Receipt(Box::new(receipt)))]);
    assert_eq!(world.balance(&miner(0)), PRICE);
    // Scores are sealed and opened under the owner's name.
    let height = world.state.head().height.0;
    world.advance(height.next_multiple_of(parameters().tempo));
    let epoch = world.state.epoch_of(SubnetId::ROOT, world.state.head().height.next());
    let scores = RevealScores {
        epoch,
        scores: vec![(miner(0).public_key(), 9)],
        salt: [1; 32],
        subnet: SubnetId::ROOT,
    };
    let commit = |committer: &SecretKey| CommitScores {
        epoch,
        commitment: scores.commitment(&world.chain, &committer.public_key()),
        subnet: SubnetId::ROOT,
    };
    let sealed = commit(&owner);
    world.commit(vec![
        world.next(&by, Body::CommitScores(sealed)),
        world.sign(
            &by,
            world.state.account(&by.public_key()).nonce + 2,
            Body::WeighSubnets(WeighSubnets { weights: vec![] }),
        ),
    ]);
    world.advance(epoch.0 * parameters().tempo);
    world.commit(vec![world.next(&by, Body::RevealScores(scores))]);
    assert!(world.state.ballot(&owner.public_key()).unwrap().revealed.is_some());
    assert!(world.state.weights().all(|(key, _)| *key == owner.public_key()));
    // Until when its transactions are looked at, and that the owner's always are.
    assert!(speaks_for_validator(&world.state, &by.public_key()));
    let until = rotate(&mut world, &owner, &k(2));
    assert!(speaks_for_validator(&world.state, &k(2).public_key()), "in the next block it is in force");
    world.advance(until.0 + OVERLAP_BLOCKS - 1);
    assert!(speaks_for_validator(&world.state, &by.public_key()));
    world.advance(until.0 + OVERLAP_BLOCKS);
    assert!(!speaks_for_validator(&world.state, &by.public_key()));
    assert!(speaks_for_validator(&world.state, &owner.public_key()));
    assert!(!speaks_for_validator(&world.state, &miner(0).public_key()));
    assert!(matches!(world.refusal(hold(&world, 3)), Reason::NotValidator(_)));
    // A model is the owner's to answer for.
    let register = world.next(&by, Body::RegisterModel(model(crate::subnets::OTHER, SubnetId::ROOT)));
    assert!(matches!(world.refusal(register), Reason::NotValidator(_) | Reason::KeyDuty { .. }));
}

#[test]
fn nobody_is_two_parties_of_one_job_by_another_key() {
    let mut world = World::ready();
    for (owner, by) in [(validator(1), k(1)), (miner(0), k(2))] {
        world.commit(vec![world.transfer(&client(0), by.public_key(), 2 * PRICE)]);
        world.commit(vec![name(&world, &owner, &by)]);
    }
    let receipt = |world: &World, client: &SecretKey, n| {
        let attempt = world.attempt(world.job(client, 1), miner(n));
        let receipt = world.receipt(&attempt, Verdict::Verified);
        world.next(&validator(1), Body::Receipt(Box::new(receipt)))
    };
    assert!(matches!(world.refusal(receipt(&world, &k(1), 1)), Reason::OwnReceipt(_)));
    assert!(matches!(world.refusal(receipt(&world, &k(2), 0)), Reason::OwnJob(_)));
    assert_eq!(world.propose(&[receipt(&world, &k(2), 1)]).included.len(), 1);
    let job = world.job(&k(1), 1).into_envelope();
    let reason = world.refusal(world.next(&validator(1), Body::Hold(Hold { job })));
    assert!(matches!(reason, Reason::OwnReceipt(_)), "{reason}");
}

#[test]
fn challenges_are_set_and_answered_by_operating_keys() {
    let mut world = World::of(challenging(|_| ()));
    world.commit(vec![world.register_model(1)]);
    let devices = assay_proto::transaction::Devices { class: 1, count: 1 };
    world.commit(vec![name(&world, &validator(1), &k(1)), name(&world, &validator(2), &k(4))]);
    world.commit(vec![register(&world, 0, devices)]);
    world.commit(vec![name(&world, &miner(0), &k(2))]);
    world.commit(vec![]);
    let asked = |world: &World| open(world, &validator(1), 0).unwrap();
    let found = |world: &World, asker: &SecretKey, answerer: &SecretKey| {
        let challenge = asker.sign(&world.chain, asked(world).challenge(miner(0).public_key()));
        let answer = answerer.sign(&world.chain, right(world, &challenge)).into_envelope();
        report(&challenge, Some(answer), Outcome::Online)
    };
    let said = |world: &World, asker: &SecretKey, answerer: &SecretKey| {
        world.next(&k(1), Body::Challenged(found(world, asker, answerer)))
    };
    assert!(by_nobody(&world, said(&world, &k(1), &k(3)), &k(3)));
    assert!(by_nobody(&world, said(&world, &k(3), &k(2)), &k(3)));
    // Neither another validator's own key nor the one that signs for it.
    for other in [validator(2), k(4)] {
        assert!(by_nobody(&world, said(&world, &other, &k(2)), &other));
    }
    for answerer in [k(2), miner(0)] {
        assert_eq!(world.propose(&[said(&world, &k(1), &answerer)]).included.len(), 1);
    }
    // What a validator has to say is drawn from the same signatures, of the height at which it heard them.
    let open = asked(&world);
    let reports = [k(2), k(3)].map(|answerer| found(&world, &k(1), &answerer));
    world.commit(vec![said(&world, &k(1), &k(2))]);
    let [right, other] = reports.map(|report| judge(&world.state, &open, &report));
    assert!(matches!(right, Ok(Outcome::Online)), "{right:?}");
    assert!(matches!(other, Err(Reason::EvidenceSigner { got, .. }) if got == k(3).public_key()));
}

/// Commits an empty block under a certificate of these keys and of the height before or after a rotation.
fn certified(world: &mut World, proposer: &SecretKey, by: &[SecretKey]) {
    let time_ms = world.state.head().time_ms + 10;
    let proposal = propose(&world.state, proposer.public_key(), time_ms, &[], &world.keys).unwrap();
    let certificate = world.certificate_by(&proposal.block, by);
    certificate::verify(&world.chain, world.state.voters(), &certificate, &proposal.block.header).unwrap();
    world.blocks.push(CommittedBlock { block: proposal.block, certificate });
    world.state = proposal.transition.state;
}

#[test]
fn blocks_are_voted_for_by_the_keys_of_their_height() {
    let mut world = World::ready();
    let (old, new) = (validator(1), k(1));
    let all = [validator(0), old.clone(), validator(2)];
    let after = [validator(0), new.clone(), validator(2)];
    world.commit(vec![name(&world, &old, &new)]);
    let power = |world: &World, key: &SecretKey| {
        let mut voters = world.state.voters().iter();
        voters.find(|(voter, _)| *voter == key.public_key()).map(|(_, power)| power)
    };
    // The next block is still the old key's.
    assert_eq!((power(&world, &old), power(&world, &new)), (Some(3), None));
    assert!(propose(&world.state, new.public_key(), 0, &[], &world.keys).is_err());
    certified(&mut world, &old, &all);
    assert_eq!((power(&world, &old), power(&world, &new)), (None, Some(3)));
    assert!(world.state.validators().contains(&old.public_key()));
    let rejected = propose(&world.state, old.public_key(), 0, &[], &world.keys).unwrap_err();
    assert!(matches!(*rejected.reason, Reason::Proposer(_)));
    let block = world.block(vec![]);
    let stale = world.certificate(&block, &[0, 1, 2]);
    let refused = certificate::verify(&world.chain, world.state.voters(), &stale, &block.header);
    assert!(matches!(refused, Err(Reason::CertificateSigner(key)) if key == old.public_key()));
    certified(&mut world, &new, &after);
    // At an epoch's end, and after it.
    while world.state.head().height < Height(6) {
        certified(&mut world, &validator(0), &after);
    }
    // Who has the records alone knows the voters, and who committed the block.
    let records: Vec<_> = world.state.records().map(|record| (record.key(), record.value())).collect();
    let again = State::from_records(genesis(), records.clone()).unwrap();
    assert_eq!(again.voters(), world.state.voters());
    for blocks in 1..=2 {
        let mut world = World::ready();
        world.commit(vec![name(&world, &old, &new)]);
        certified(&mut world, &old, &all);
        if blocks == 2 {
            certified(&mut world, &new, &after);
        }
        let last = world.blocks.last().unwrap();
        let trusted = Trusted { height: world.state.head().height, hash: world.state.head().hash };
        let records = world.state.records().map(|record| (record.key(), record.value()));
        snapshot::accept(genesis(), trusted, last, records.collect::<Vec<_>>()).unwrap();
    }
    assert!(audit::audit(world.exported().as_slice(), &mut |_| {}).is_ok());
}

#[test]
fn an_auditor_takes_the_costly_transactions_of_a_key_that_was_named_in_the_same_window() {
    let mut world = World::with(|parameters| (parameters.prepaid, parameters.hold_blocks) = (1, 100));
    world.commit(vec![world.lock(&client(0), Purpose::Escrow, PRICE)]);
    let all = [validator(0), k(1), validator(2)];
    world.commit(vec![name(&world, &validator(1), &k(1))]);
    world.commit(vec![]);
    let hold = world.next(&k(1), Body::Hold(Hold { job: world.job(&client(0), 1).into_envelope() }));
    world.commit(vec![hold]);
    let mut last = world.blocks.pop().unwrap();
    last.certificate = world.certificate_by(&last.block, &all);
    world.blocks.push(last);
    let report = audit::audit(world.exported().as_slice(), &mut |_| {}).unwrap();
    assert_eq!(report.state_root, world.state.root());
}

#[test]
fn who_voted_twice_is_slashed_after_a_rotation_too_and_nobody_for_votes_that_were_none() {
    let mut world = World::ready();
    let (owner, stake) = (validator(1), Purpose::Stake(validator(1).public_key()));
    world.commit(vec![world.lock(&client(0), stake, 1_000)]);
    let first = rotate(&mut world, &owner, &k(1));
    let second = rotate(&mut world, &owner, &k(2));
    world.commit(vec![]);
    let accuse = |world: &World, by: &SecretKey, height: u64| {
        world.next(&client(1), world.equivocation(by, Height(height)))
    };
    // Before its time, and after it: no vote of the validator's.
    let wrong = [(k(1), first.0 - 1), (k(1), second.0), (k(2), second.0 - 1), (owner.clone(), first.0)];
    for (by, height) in wrong {
        let reason = world.refusal(accuse(&world, &by, height));
        assert!(matches!(reason, Reason::OffenceKey { .. }), "{height}: {reason}");
    }
    let right = [(owner.clone(), first.0 - 1), (k(1), first.0), (k(1), second.0 - 1), (k(2), second.0)];
    for (by, height) in right {
        let proposal = world.propose(&[accuse(&world, &by, height)]);
        assert_eq!(proposal.included.len(), 1, "{height}: {:?}", proposal.dropped);
        let state = proposal.transition.state;
        assert_eq!(state.lock(stake, client(0).public_key()).unwrap().amount, 900);
        assert!(state.offenders().any(|(key, _)| *key == owner.public_key()));
    }
    world.commit(vec![accuse(&world, &k(1), first.0)]);
    world.commit(vec![]);
    assert!(!world.state.voters().contains(&k(2).public_key()));
    // Once for all its keys.
    assert!(matches!(world.refusal(accuse(&world, &k(2), second.0)), Reason::OffenderKnown(_)));
}
