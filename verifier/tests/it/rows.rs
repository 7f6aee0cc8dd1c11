//! What other systems are known for and what has to work here too, a test named after each.

use assay_proto::receipt::Verdict;
use assay_proto::report::EpochReport;
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::{Body, Burn, Purpose};
use assay_proto::{Envelope, Epoch, PublicKey, SubnetId};
use assay_verifier::Reason;

use crate::world::{Attempt, PRICE, World, client, miner, validator};

/// What a validator says about the three miners in an epoch.
fn scores(epoch: u64, n: u8, of: [u16; 3]) -> RevealScores {
    let named = (0..3).zip(of).filter(|&(_, score)| score > 0);
    let mut scores: Vec<(PublicKey, u16)> = named.map(|(n, score)| (miner(n).public_key(), score)).collect();
    scores.sort_unstable();
    RevealScores { epoch: Epoch(epoch), scores, salt: [n; 32], subnet: SubnetId::ROOT }
}

/// Whose answers are best in an epoch: that moves on every other one.
fn best(epoch: u64) -> [u16; 3] {
    let mut of = [100; 3];
    of[usize::try_from(epoch / 2 % 3).unwrap()] = 1000;
    of
}

/// One epoch: reveals of the last one, commitments, some work, its end. `what(epoch, validator)` is what a validator
/// commits to.
fn epoch(world: &mut World, what: &dyn Fn(u64, u8) -> [u16; 3]) -> EpochReport {
    let running = world.state.epoch_of(world.state.head().height.next()).0;
    let say = |world: &World, n: u8, offset, body| {
        let nonce = world.state.account(&validator(n).public_key()).nonce + offset;
        world.sign(&validator(n), nonce, body)
    };
    let mut said: Vec<Envelope> = Vec::new();
    for n in 0..3 {
        let (last, own) =
            (scores(running - 1, n, what(running - 1, n)), scores(running, n, what(running, n)));
        let commitment = own.commitment(&world.chain, &validator(n).public_key());
        let commit = Body::CommitScores(CommitScores { epoch: own.epoch, commitment, subnet: own.subnet });
        said.push(say(world, n, 1, commit));
        if world.state.ballot(&validator(n).public_key()).is_some() {
            said.push(say(world, n, 2, Body::RevealScores(last)));
        }
    }
    world.commit(said);
    let nonce = world.state.client(&client(0).public_key()).map_or(0, |jobs| jobs.latest()) + 1;
    world.commit(world.verified(&[(nonce, 0, 500), (nonce + 1, 1, 500), (nonce + 2, 2, 500)]));
    world.advance(running * 5).report.unwrap()
}

fn earned(reports: &[EpochReport], n: u8) -> u64 {
    let own = |report: &EpochReport| {
        let key = validator(n).public_key();
        report.validators.iter().find(|row| row.validator == key).unwrap().reward
    };
    reports.iter().map(own).sum()
}

#[test]
fn bittensor_who_copies_weights_earns_less_than_who_scores_itself() {
    let mut world = World::with(|parameters| {
        parameters.emission = 1_000_000;
        parameters.halving_epochs = 1_000;
    });
    world.commit((0..3).map(|n| world.register_miner(n)).collect());
    world.advance(5);
    // Validators 1 and 2 have the same power. 2 says what was shown last: in epoch e that is of e - 2, since what is
    // committed to in e - 1 is shown in e.
    let what = |epoch: u64, n: u8| if n == 2 { best(epoch.saturating_sub(2)) } else { best(epoch) };
    let reports: Vec<_> = (0..12).map(|_| epoch(&mut world, &what)).collect();
    assert!(reports[1..].iter().all(|report| report.scored));
    let (independent, copier) = (earned(&reports[1..], 1), earned(&reports[1..], 2));
    assert!(copier * 100 < independent * 95, "{copier} and {independent}");
}

#[test]
fn bittensor_a_minority_cannot_lift_its_miner() {
    // Validator 0 has 4 of 10 and gives all it has to miner 2; the others find all alike.
    let what = |_: u64, n: u8| if n == 0 { [0, 0, 1000] } else { [500, 500, 500] };
    let last = |floor_ppm: u64| {
        let mut world = World::with(|parameters| {
            parameters.emission = 1_000_000;
            parameters.floor_ppm = floor_ppm;
        });
        world.commit((0..3).map(|n| world.register_miner(n)).collect());
        world.advance(5);
        (0..4).map(|_| epoch(&mut world, &what)).last().unwrap()
    };
    let share = |report: &EpochReport| {
        let row = report.miners.iter().find(|row| row.miner == miner(2).public_key()).unwrap();
        (row.consensus_ppm, row.incentive_ppm)
    };
    // Cut to the consensus it gives a third, and nothing to the others: 1/3 of 1/3 + 1/5 + 1/5. A floor takes that away too.
    assert_eq!(share(&last(0)).1 / 1000, 454);
    let report = last(1_000_000);
    assert!(share(&report).0.abs_diff(333_333) <= 1 && share(&report).1.abs_diff(333_333) <= 1);
    let dividend = |n: u8| {
        let key = validator(n).public_key();
        report.validators.iter().find(|row| row.validator == key).unwrap().reward
    };
    assert!(dividend(0) * 3 < dividend(1) * 4, "per power it earns less than the others");
}

#[test]
fn render_an_escrow_pays_only_for_a_verified_proof_and_a_rejected_job_goes_to_another_miner() {
    let mut world = World::with(|parameters| {
        parameters.prepaid = 1;
        parameters.emission = 0;
        parameters.unbonding_blocks = 2;
    });
    world.commit((0..3).map(|n| world.register_miner(n)).collect());
    let attempt = |world: &World, nonce, n| world.attempt(world.job(&client(0), nonce), miner(n));
    let unpaid = world.signed_receipt(world.receipt(&attempt(&world, 1, 0), Verdict::Verified), 1);
    let reason = world.refusal(unpaid);
    assert!(matches!(reason, Reason::Lock { purpose: Purpose::Escrow, locked: 0, needed: PRICE, .. }));

    world.commit(vec![world.lock(&client(0), Purpose::Escrow, 2 * PRICE)]);
    let lie = Attempt { proof: Some(vec![3; 160]), ..attempt(&world, 1, 0) };
    let late = Attempt { proof_us: 5000, ..attempt(&world, 1, 1) };
    world.commit(vec![
        world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1),
        world.signed_receipt(world.receipt(&late, Verdict::Late), 2),
    ]);
    assert_eq!((world.locked(&client(0), Purpose::Escrow).0, world.balance(&miner(0))), (2 * PRICE, 0));
    world.commit(vec![world.signed_receipt(world.receipt(&attempt(&world, 1, 2), Verdict::Verified), 1)]);
    assert_eq!((world.locked(&client(0), Purpose::Escrow).0, world.balance(&miner(2))), (PRICE, PRICE));

    // A client that takes its escrow back still pays for what was answered meanwhile, and what is spent stays spent.
    world.commit(vec![world.unlock(&client(0), Purpose::Escrow, PRICE)]);
    world.commit(vec![world.signed_receipt(world.receipt(&attempt(&world, 2, 1), Verdict::Verified), 1)]);
    assert_eq!((world.locked(&client(0), Purpose::Escrow), world.balance(&miner(1))), ((0, 0), PRICE));
    let more = world.signed_receipt(world.receipt(&attempt(&world, 3, 1), Verdict::Verified), 1);
    assert!(matches!(world.refusal(more), Reason::Lock { locked: 0, .. }));
    world.advance(9);
    // What it held beside the escrow.
    assert_eq!(world.balance(&client(0)), 10_000 - 2 * PRICE);
}

#[test]
fn render_what_is_burned_and_minted_balances() {
    let mut world = World::ready();
    world.commit(world.verified(&[(1, 0, 500)]));
    let report = world.advance(5).report.unwrap();
    world.commit(vec![world.next(&client(0), Body::Burn(Burn { amount: report.minted() }))]);
    let supply = world.state.supply();
    assert_eq!((supply.minted, supply.burned, supply.total()), (1000, 1000, supply.genesis));
    assert!(world.state.check_supply().is_ok());
}

#[test]
fn superagi_a_key_and_a_prepaid_balance_are_all_that_a_client_needs() {
    let mut world = World::with(|parameters| parameters.prepaid = 1);
    world.commit(vec![world.register_miner(0)]);
    // It has a key, and somebody's 50 base units; no other transaction of it is on the chain.
    world.commit(vec![world.lock(&client(1), Purpose::Escrow, 50)]);
    for nonce in 1..=10 {
        let job = assay_proto::job::Job { max_price: 5, ..crate::world::plain_job(nonce) };
        let attempt = world.attempt(client(1).sign(&world.chain, job), miner(0));
        let transition =
            world.commit(vec![world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1)]);
        // The receipt is in the log under the job's name, and the balance runs with it.
        assert_eq!(transition.receipts[0].job_id, attempt.job.id(&world.chain));
        assert_eq!(world.state.funds(&client(1).public_key()), 50 - 5 * nonce);
    }
    let job = assay_proto::job::Job { max_price: 5, ..crate::world::plain_job(11) };
    let job = client(1).sign(&world.chain, job);
    let refused = assay_verifier::transition::check_job(&world.state, &job, &world.keys);
    assert!(matches!(refused, Err(Reason::Balance { balance: 0, needed: 5, .. })));
}
