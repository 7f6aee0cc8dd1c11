//! Which receipts count, and what their verdicts must be.

use assay_proto::job::{Job, Output, Proof};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::transaction::{Body, RegisterMiner};
use assay_proto::{Envelope, JobId, ModelId, ProtoError, Signature, Signed};
use assay_verifier::operating::Signers;
use assay_verifier::state::KeyCache;
use assay_verifier::transition::{apply, check_job};
use assay_verifier::{Reason, limits, receipt};

use crate::world::{Attempt, MODEL, PRICE, World, client, miner, plain_job, validator};

fn honest(world: &World) -> Attempt {
    world.attempt(world.job(&client(0), 1), miner(0))
}

/// Of a miner that signs for itself.
fn signers(evidence: &Evidence) -> Signers {
    Signers::new(evidence.miner, [evidence.miner])
}

/// What `judge` says of an attempt; a receipt that says so must count, one that says otherwise must not.
fn verdict(world: &World, attempt: &Attempt) -> Verdict {
    let evidence = world.evidence(attempt);
    let judged = receipt::judge(&world.chain, &signers(&evidence), &evidence, &world.trapdoor.key).unwrap();
    assert_eq!(judged.cause.is_none(), judged.verdict == Verdict::Verified);
    for claimed in
        [Verdict::Verified, Verdict::InvalidProof, Verdict::Malformed, Verdict::Late, Verdict::Absent]
    {
        let receipt = world.signed_receipt(Receipt { evidence: evidence.clone(), verdict: claimed }, 1);
        if claimed == judged.verdict {
            let proposal = world.propose(&[receipt]);
            assert!(proposal.dropped.is_empty(), "{claimed}: {:?}", proposal.dropped);
            assert_eq!(proposal.transition.receipts[0].verdict, claimed);
        } else {
            let reason = world.refusal(receipt);
            let wrong = matches!(
                reason,
                Reason::Verdict { expected, got, .. } if expected == judged.verdict && got == claimed
            );
            assert!(wrong, "{claimed} instead of {}: {reason:?}", judged.verdict);
        }
    }
    judged.verdict
}

fn refusal(world: &World, receipt: Receipt) -> Reason {
    world.refusal(world.signed_receipt(receipt, 1))
}

#[test]
fn a_proof_that_holds_in_time_is_verified_and_paid() {
    let mut world = World::ready();
    assert_eq!(verdict(&world, &honest(&world)), Verdict::Verified);
    let attempt = honest(&world);
    let receipt = world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1);
    let transition = world.commit(vec![receipt]);
    assert_eq!(world.balance(&client(0)), 10_000 - PRICE);
    assert_eq!(world.balance(&miner(0)), PRICE);
    let logged = transition.receipts[0];
    assert_eq!((logged.index, logged.job_id), (0, attempt.job.id(&world.chain)));
    assert_eq!((logged.miner, logged.verdict), (miner(0).public_key(), Verdict::Verified));
}

#[test]
fn only_verified_receipts_pay() {
    let mut world = World::ready();
    let absent = Attempt { outputs: None, proof: None, ..honest(&world) };
    world.commit(vec![world.signed_receipt(world.receipt(&absent, Verdict::Absent), 1)]);
    let invalid = Attempt { proof: Some(vec![1; 160]), ..world.attempt(world.job(&client(0), 1), miner(1)) };
    world.commit(vec![world.signed_receipt(world.receipt(&invalid, Verdict::InvalidProof), 1)]);
    let late = Attempt { proof_us: 2001, ..world.attempt(world.job(&client(0), 1), miner(2)) };
    world.commit(vec![world.signed_receipt(world.receipt(&late, Verdict::Late), 1)]);
    assert_eq!(world.balance(&client(0)), 10_000);
    for n in 0..3 {
        assert_eq!(world.balance(&miner(n)), 0);
    }
}

#[test]
fn a_proof_that_does_not_hold_is_invalid() {
    let world = World::ready();
    let attempt = honest(&world);
    let other_output = Attempt { outputs: Some(vec![vec![1, 0]]), ..honest(&world) };
    assert_eq!(verdict(&world, &other_output), Verdict::InvalidProof);
    for proof in [vec![], vec![0; 160], attempt.proof.clone().unwrap()[..159].to_vec()] {
        let attempt = Attempt { proof: Some(proof), ..honest(&world) };
        assert_eq!(verdict(&world, &attempt), Verdict::InvalidProof);
    }
}

#[test]
fn a_proof_copied_from_another_job_or_another_miner_is_invalid() {
    let world = World::ready();
    let other_job = world.attempt(world.job(&client(0), 2), miner(0)).proof;
    assert_eq!(verdict(&world, &Attempt { proof: other_job, ..honest(&world) }), Verdict::InvalidProof);
    let other_client = world.attempt(world.job(&client(1), 1), miner(0)).proof;
    assert_eq!(verdict(&world, &Attempt { proof: other_client, ..honest(&world) }), Verdict::InvalidProof);
    let other_miner = world.attempt(world.job(&client(0), 1), miner(1)).proof;
    assert_eq!(verdict(&world, &Attempt { proof: other_miner, ..honest(&world) }), Verdict::InvalidProof);
}

#[test]
fn an_output_that_does_not_fit_the_model_is_malformed() {
    let world = World::ready();
    let misfits = [
        vec![],
        vec![vec![1]],
        vec![vec![1, 2, 3]],
        vec![vec![1, 8]],
        vec![vec![-9, 1]],
        vec![vec![1, 1]; 2],
    ];
    for outputs in misfits {
        let attempt = Attempt { outputs: Some(outputs.clone()), ..honest(&world) };
        assert_eq!(verdict(&world, &attempt), Verdict::Malformed, "{outputs:?}");
        let unproven = Attempt { proof: None, ..attempt };
        assert_eq!(verdict(&world, &unproven), Verdict::Malformed, "{outputs:?}");
    }
}

#[test]
fn an_answer_without_an_output_or_a_proof_is_absent() {
    let world = World::ready();
    assert_eq!(verdict(&world, &Attempt { proof: None, ..honest(&world) }), Verdict::Absent);
    assert_eq!(verdict(&world, &Attempt { outputs: None, proof: None, ..honest(&world) }), Verdict::Absent);
    assert_eq!(verdict(&world, &Attempt { outputs: None, ..honest(&world) }), Verdict::Absent);
}

#[test]
fn an_answer_is_late_from_the_first_microsecond_past_the_deadline() {
    let world = World::ready();
    assert_eq!(plain_job(1).deadline_ms, 2);
    assert_eq!(verdict(&world, &Attempt { proof_us: 2000, ..honest(&world) }), Verdict::Verified);
    assert_eq!(verdict(&world, &Attempt { proof_us: 2001, ..honest(&world) }), Verdict::Late);
    assert_eq!(
        verdict(&world, &Attempt { output_us: 2001, proof_us: 2002, ..honest(&world) }),
        Verdict::Late
    );
    // A proof that does not hold is a lie however late it comes.
    let lie = Attempt { proof: Some(vec![0; 160]), proof_us: 2001, ..honest(&world) };
    assert_eq!(verdict(&world, &lie), Verdict::InvalidProof);
}

#[test]
fn nobody_is_blamed_for_what_the_miner_did_not_sign_for_this_job() {
    let world = World::ready();
    let receipt = || world.receipt(&honest(&world), Verdict::InvalidProof);
    let (job_id, chain) = (honest(&world).job.id(&world.chain), &world.chain);
    let other_job = JobId([1; 32]);

    let by = |n, job_id| {
        miner(n).sign(chain, Output { job_id, outputs: vec![vec![0, 0]], compute_us: 1 }).into_envelope()
    };
    let with_output = |output| {
        let mut receipt = receipt();
        receipt.evidence.output = Some(output);
        refusal(&world, receipt)
    };
    assert!(matches!(with_output(by(1, job_id)), Reason::EvidenceSigner { what: "output", .. }));
    assert!(matches!(
        with_output(by(0, other_job)),
        Reason::EvidenceJob { what: "output", got, .. } if got == other_job
    ));
    let forged = Envelope { signature: Signature([1; 64]), ..by(0, job_id) };
    let reason = with_output(forged);
    assert!(matches!(reason, Reason::Evidence { what: "output", source: ProtoError::Signature { .. } }));

    let by = |n, job_id| {
        miner(n)
            .sign(chain, Proof { job_id, proof: vec![0; 160], prove_us: 1, elapsed_us: 0 })
            .into_envelope()
    };
    let with_proof = |proof| {
        let mut receipt = receipt();
        receipt.evidence.proof = Some(proof);
        refusal(&world, receipt)
    };
    assert!(matches!(with_proof(by(1, job_id)), Reason::EvidenceSigner { what: "proof", .. }));
    assert!(matches!(with_proof(by(0, other_job)), Reason::EvidenceJob { what: "proof", .. }));
    let forged = Envelope { signature: Signature([1; 64]), ..by(0, job_id) };
    assert!(matches!(with_proof(forged), Reason::Evidence { what: "proof", .. }));
    // A signed proof is no signed output.
    assert!(matches!(with_output(by(0, job_id)), Reason::Evidence { what: "output", .. }));
}

#[test]
fn timings_must_agree_with_the_evidence() {
    let world = World::ready();
    type Change = fn(&mut Receipt);
    let changes: [Change; 5] = [
        |receipt| receipt.evidence.output_us = 0,
        |receipt| receipt.evidence.proof_us = 0,
        |receipt| receipt.evidence.proof_us = receipt.evidence.output_us - 1,
        |receipt| receipt.evidence.output = None,
        |receipt| receipt.evidence.proof = None,
    ];
    for change in changes {
        let mut receipt = world.receipt(&honest(&world), Verdict::Verified);
        change(&mut receipt);
        assert!(matches!(refusal(&world, receipt), Reason::Timings(_)));
    }
}

#[test]
fn only_validators_write_receipts_and_not_of_themselves() {
    let world = World::ready();
    let receipt = world.receipt(&honest(&world), Verdict::Verified);
    let body = Body::Receipt(Box::new(receipt));
    let reason = world.refusal(world.next(&client(1), body));
    assert!(matches!(reason, Reason::NotValidator(signer) if signer == client(1).public_key()));

    let own_client = Attempt { job: world.job(&validator(0), 1), ..honest(&world) };
    let own_client = world.attempt(own_client.job, miner(0));
    let reason = refusal(&world, world.receipt(&own_client, Verdict::Verified));
    assert!(matches!(reason, Reason::OwnReceipt(_)));
    let own_miner = world.attempt(world.job(&client(0), 1), validator(0));
    let reason = refusal(&world, world.receipt(&own_miner, Verdict::Verified));
    assert!(matches!(reason, Reason::OwnReceipt(_)));
    let own_job = world.attempt(world.job(&miner(0), 1), miner(0));
    let reason = refusal(&world, world.receipt(&own_job, Verdict::Verified));
    assert!(matches!(reason, Reason::OwnJob(_)));
}

#[test]
fn the_miner_must_be_registered_for_the_model() {
    let mut world = World::ready();
    let stranger = world.attempt(world.job(&client(0), 1), miner(9));
    let reason = refusal(&world, world.receipt(&stranger, Verdict::Verified));
    assert!(matches!(reason, Reason::MinerUnknown(key) if key == miner(9).public_key()));
    let body =
        RegisterMiner { endpoint: "http://h:1".into(), model_ids: vec![], devices: Default::default() };
    world.commit(vec![world.next(&miner(0), Body::RegisterMiner(body))]);
    let reason = refusal(&world, world.receipt(&honest(&world), Verdict::Verified));
    assert!(matches!(reason, Reason::MinerModel { model: MODEL, .. }));
}

#[test]
fn the_job_must_be_signed_known_and_fit_its_model() {
    let world = World::ready();
    let mut receipt = world.receipt(&honest(&world), Verdict::Verified);
    receipt.evidence.job.signature = Signature([0; 64]);
    assert!(matches!(refusal(&world, receipt), Reason::Job(ProtoError::Signature { .. })));
    let with = |job: Job| {
        let attempt = world.attempt(client(0).sign(&world.chain, job), miner(0));
        refusal(&world, world.receipt(&attempt, Verdict::Verified))
    };
    let unknown = ModelId([78; 32]);
    assert!(matches!(
        with(Job { model_id: unknown, ..plain_job(1) }),
        Reason::ModelUnknown(id) if id == unknown
    ));
    for inputs in [vec![], vec![vec![1, 2, 3]], vec![vec![1, 2, 3, 16]], vec![vec![0, 0, 0, -1]]] {
        assert!(matches!(with(Job { inputs, ..plain_job(1) }), Reason::Inputs(_)));
    }
}

#[test]
fn a_job_settles_once_whatever_the_proof_bytes() {
    let mut world = World::ready();
    world.commit(world.verified(&[(1, 0, 500)]));
    let mut again = honest(&world);
    again.proof = Some(world.prove(&again.job, &miner(0), &[vec![1, -1]], 5));
    assert_ne!(again.proof, honest(&world).proof);
    let evidence = world.evidence(&again);
    let judged = receipt::judge(&world.chain, &signers(&evidence), &evidence, &world.trapdoor.key).unwrap();
    assert_eq!(judged.verdict, Verdict::Verified);
    let reason = refusal(&world, world.receipt(&again, Verdict::Verified));
    assert!(matches!(reason, Reason::JobClosed { nonce: 1, .. }));
    let other_miner = world.attempt(world.job(&client(0), 1), miner(1));
    let reason = refusal(&world, world.receipt(&other_miner, Verdict::Verified));
    assert!(matches!(reason, Reason::JobClosed { nonce: 1, .. }));
    assert_eq!(world.balance(&miner(0)), PRICE);
}

#[test]
fn a_job_settles_once_within_a_block() {
    let world = World::ready();
    let receipt = |n, offset| {
        let attempt = world.attempt(world.job(&client(0), 1), miner(n));
        world.signed_receipt(world.receipt(&attempt, Verdict::Verified), offset)
    };
    let rejection = world.reject(vec![receipt(0, 1), receipt(1, 2)]);
    assert_eq!(rejection.index, Some(1));
    assert!(matches!(*rejection.reason, Reason::JobClosed { .. }));
}

#[test]
fn jobs_of_one_client_settle_in_any_order() {
    let mut world = World::ready();
    world.commit(world.verified(&[(4, 0, 500), (2, 1, 500), (3, 2, 500)]));
    world.commit(world.verified(&[(1, 0, 500)]));
    assert_eq!(world.balance(&client(0)), 10_000 - 4 * PRICE);
    assert_eq!(world.state.client(&client(0).public_key()).unwrap().latest(), 4);
}

#[test]
fn one_assignment_is_recorded_once_and_a_retry_goes_elsewhere() {
    let mut world = World::ready();
    let absent = |world: &World, n| {
        let attempt =
            Attempt { outputs: None, proof: None, ..world.attempt(world.job(&client(0), 1), miner(n)) };
        world.signed_receipt(world.receipt(&attempt, Verdict::Absent), 1)
    };
    world.commit(vec![absent(&world, 0)]);
    assert!(matches!(world.refusal(absent(&world, 0)), Reason::DuplicateReceipt { .. }));
    world.commit(vec![absent(&world, 1)]);
    world.commit(world.verified(&[(1, 2, 500)]));
    assert_eq!(world.balance(&miner(2)), PRICE);
}

#[test]
fn a_nonce_belongs_to_the_first_job_seen_under_it() {
    let mut world = World::ready();
    let absent = Attempt { outputs: None, proof: None, ..honest(&world) };
    world.commit(vec![world.signed_receipt(world.receipt(&absent, Verdict::Absent), 1)]);
    let other = client(0).sign(&world.chain, Job { max_price: 1, ..plain_job(1) });
    let attempt = world.attempt(other, miner(1));
    let reason = refusal(&world, world.receipt(&attempt, Verdict::Verified));
    assert!(matches!(reason, Reason::JobConflict { .. }));
}

#[test]
fn a_client_that_cannot_pay_settles_nothing() {
    let world = World::ready();
    let attempt = world.attempt(world.job(&client(1), 1), miner(0));
    let reason = refusal(&world, world.receipt(&attempt, Verdict::Verified));
    assert!(matches!(reason, Reason::Balance { balance: 50, needed: PRICE, .. }));
    let free = client(1).sign(&world.chain, Job { max_price: 0, ..plain_job(1) });
    let attempt = world.attempt(free, miner(0));
    let receipt = world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1);
    assert!(world.propose(&[receipt]).dropped.is_empty());
}

#[test]
fn an_invalid_answer_costs_the_reputation_at_once() {
    let mut world = World::ready();
    (0..4).for_each(|n| drop(world.commit(world.verified(&[(n + 1, 0, 500)]))));
    let reputation = |world: &World| world.state.miner(&miner(0).public_key()).unwrap().root.reputation_ppm;
    assert_eq!(reputation(&world), 500_000);
    let attempt = world.attempt(world.job(&client(0), 9), miner(0));
    let lie = Attempt { proof: Some(vec![7; 160]), ..attempt };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    assert_eq!(reputation(&world), 0);
}

#[test]
fn the_culprit_is_named_whatever_the_batch() {
    let world = World::ready();
    let jobs: Vec<_> = (1..=12).map(|nonce| (nonce, u8::try_from(nonce % 3).unwrap(), 500)).collect();
    for culprits in [vec![7], vec![3, 9], vec![0], vec![11]] {
        let mut receipts = world.verified(&jobs);
        for &culprit in &culprits {
            let attempt = world.attempt(world.job(&client(0), jobs[culprit].0), miner(jobs[culprit].1));
            let lie = Attempt { outputs: Some(vec![vec![2, 2]]), ..attempt };
            let offset = u64::try_from(culprit).unwrap() + 1;
            receipts[culprit] = world.signed_receipt(world.receipt(&lie, Verdict::Verified), offset);
        }
        let rejection = world.reject(receipts.clone());
        assert_eq!(rejection.index, Some(culprits[0]));
        assert!(matches!(
            *rejection.reason,
            Reason::Verdict { expected: Verdict::InvalidProof, got: Verdict::Verified, .. }
        ));
        // A proposer leaves them out and keeps the rest.
        let dropped: Vec<_> = world.propose(&receipts).dropped.iter().map(|dropped| dropped.index).collect();
        assert_eq!(dropped, culprits);
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_block_is_named() {
    let world = World::ready();
    let mut receipts = world.verified(&[(1, 0, 500), (2, 1, 500), (3, 2, 500)]);
    receipts[2].signature = Signature([0; 64]);
    let lie =
        Attempt { outputs: Some(vec![vec![2, 2]]), ..world.attempt(world.job(&client(0), 2), miner(1)) };
    receipts[1] = world.signed_receipt(world.receipt(&lie, Verdict::Verified), 2);
    let rejection = world.reject(receipts);
    assert_eq!(rejection.index, Some(1));
    assert!(matches!(*rejection.reason, Reason::Verdict { .. }));
}

#[test]
fn a_model_serves_from_the_transaction_after_its_registration_on() {
    let world = World::empty();
    let attempt = honest(&world);
    let transactions = vec![
        world.register_model(1),
        world.register_miner(0),
        world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1),
    ];
    assert!(world.propose(&transactions).dropped.is_empty());
    let mut early = transactions;
    early.swap(0, 2);
    early.swap(1, 2);
    let rejection = world.reject(early);
    assert_eq!(rejection.index, Some(0));
    assert!(matches!(*rejection.reason, Reason::ModelUnknown(MODEL)));
}

#[test]
fn a_broker_is_told_beforehand_what_the_ledger_will_refuse() {
    let mut world = World::ready();
    let keys = KeyCache::new();
    let check = |world: &World, job: &Signed<Job>| check_job(&world.state, job, &keys);
    let signed = |job| client(0).sign(&crate::world::chain(), job);
    let key = check(&world, &signed(plain_job(1))).unwrap();
    assert_eq!(key.digest(), world.trapdoor.key.digest());
    let refused = |job| check(&world, &signed(job)).unwrap_err();
    assert!(matches!(refused(Job { model_id: ModelId([1; 32]), ..plain_job(1) }), Reason::ModelUnknown(_)));
    assert!(matches!(refused(Job { inputs: vec![vec![16; 4]], ..plain_job(1) }), Reason::Inputs(_)));
    assert!(matches!(refused(plain_job(0)), Reason::JobClosed { .. }));
    assert!(matches!(refused(plain_job(limits::NONCE_STEP + 1)), Reason::JobNonce { .. }));
    assert!(matches!(refused(Job { max_price: 10_001, ..plain_job(1) }), Reason::Balance { .. }));
    world.commit(world.verified(&[(1, 0, 500)]));
    assert!(matches!(check(&world, &signed(plain_job(1))), Err(Reason::JobClosed { .. })));
}

#[test]
fn evidence_is_judged_under_the_key_of_its_own_model_only() {
    let world = World::ready();
    let other = crate::trapdoor::Trapdoor::new([78; 32], assay_verifier::proof::KeyOrigin::TestSeed);
    let evidence = world.evidence(&honest(&world));
    let judged = receipt::judge(&world.chain, &signers(&evidence), &evidence, &other.key);
    assert!(matches!(judged, Err(Reason::JobModel { expected: MODEL, .. })));
}

#[test]
fn what_is_remembered_of_a_receipt_stands_for_that_very_transaction_only() {
    let world = World::ready();
    let block = world.block(vec![world.signed_receipt(world.receipt(&honest(&world), Verdict::Verified), 1)]);
    let applied =
        |keys: &KeyCache| apply(&world.state, &block, keys).map(|transition| transition.state.root());
    let keys = KeyCache::new();
    let root = applied(&keys).expect("valid");
    assert_eq!(applied(&keys).expect("valid still"), root);
    // Each of these was signed by nobody.
    let spoilt: [fn(&mut Envelope); 3] = [
        |envelope| envelope.signature.0[0] ^= 1,
        |envelope| envelope.signer.0[0] ^= 1,
        |envelope| *envelope.payload.last_mut().unwrap() ^= 1,
    ];
    for spoil in spoilt {
        let mut transactions = block.transactions.clone();
        spoil(&mut transactions[0]);
        let mut other = block.clone();
        other.header.transactions_root = assay_proto::transactions::root(&transactions);
        other.transactions = transactions;
        let rejection = apply(&world.state, &other, &keys).expect_err("signed by nobody");
        assert!(matches!(*rejection.reason, Reason::Transaction(_)), "{rejection:?}");
    }
    // It counts once, however well it is remembered.
    let twice = vec![block.transactions[0].clone(), block.transactions[0].clone()];
    let mut other = block.clone();
    other.header.transactions_root = assay_proto::transactions::root(&twice);
    other.transactions = twice;
    let rejection = apply(&world.state, &other, &keys).expect_err("a nonce counts once");
    assert!(matches!(*rejection.reason, Reason::Nonce { .. }), "{rejection:?}");
}
