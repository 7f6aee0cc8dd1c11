//! What other systems are known for and what has to work here too, a test named after each.

use assay_proto::challenge::Outcome;
use assay_proto::hold::ReleaseReason;
use assay_proto::receipt::Verdict;
use assay_proto::report::EpochReport;
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::{Body, Burn, Devices, Purpose};
use assay_proto::{Envelope, Epoch, PublicKey, SubnetId};
use assay_verifier::Reason;

use crate::challenges::{DEVICES, absent, challenging, counts, register, timed};
use crate::holds::{hold, release};
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
    let running = world.state.epoch_of(SubnetId::ROOT, world.state.head().height.next()).0;
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
    let unpaid = hold(&world, 0, &world.job(&client(0), 1));
    assert!(matches!(world.refusal(unpaid), Reason::Balance { balance: 0, needed: PRICE, .. }));

    world.commit(vec![world.lock(&client(0), Purpose::Escrow, 2 * PRICE)]);
    let unheld = world.signed_receipt(world.receipt(&attempt(&world, 1, 0), Verdict::Verified), 1);
    assert!(matches!(world.refusal(unheld), Reason::HoldMissing { .. }));
    world.commit(vec![hold(&world, 0, &world.job(&client(0), 1))]);
    let lie = Attempt { proof: Some(vec![3; 160]), ..attempt(&world, 1, 0) };
    let late = Attempt { proof_us: 5000, ..attempt(&world, 1, 1) };
    world.commit(vec![
        world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1),
        world.signed_receipt(world.receipt(&late, Verdict::Late), 2),
    ]);
    let held = |world: &World| world.state.holds(&client(0).public_key()).unwrap().total();
    assert_eq!((world.locked(&client(0), Purpose::Escrow).0, world.balance(&miner(0))), (PRICE, 0));
    assert_eq!(held(&world), u128::from(PRICE));
    world.commit(vec![world.signed_receipt(world.receipt(&attempt(&world, 1, 2), Verdict::Verified), 1)]);
    assert_eq!((world.locked(&client(0), Purpose::Escrow).0, world.balance(&miner(2))), (PRICE, PRICE));

    // A client cannot take back what a job runs for, and what is spent stays spent.
    world.commit(vec![hold(&world, 0, &world.job(&client(0), 2))]);
    let taken = world.unlock(&client(0), Purpose::Escrow, PRICE);
    assert!(matches!(world.refusal(taken), Reason::Lock { locked: 0, .. }));
    world.commit(vec![world.signed_receipt(world.receipt(&attempt(&world, 2, 1), Verdict::Verified), 1)]);
    assert_eq!((world.locked(&client(0), Purpose::Escrow), world.balance(&miner(1))), ((0, 0), PRICE));
    assert_eq!(held(&world), 0);
    // Where every miner failed the price goes back, with the reason in the log.
    world.commit(vec![world.lock(&client(0), Purpose::Escrow, PRICE)]);
    world.commit(vec![hold(&world, 0, &world.job(&client(0), 3))]);
    world.commit(vec![release(&world, &validator(0), 3, ReleaseReason::MinersFailed)]);
    assert_eq!(world.locked(&client(0), Purpose::Escrow).0, PRICE);
    world.commit(vec![world.unlock(&client(0), Purpose::Escrow, PRICE)]);
    let height = world.state.head().height.0;
    world.advance(height + 3);
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
        world.commit(vec![hold(&world, 0, &attempt.job)]);
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

#[test]
fn io_net_a_device_shows_itself_every_period_and_a_missed_period_costs_that_period_only() {
    let mut world = World::of(challenging(|parameters| {
        (parameters.tempo, parameters.collateral, parameters.availability_ppm) = (5, 10, 1_000_000);
        (parameters.emission, parameters.reputation_rate_ppm) = (1_000_000, 1_000_000);
        parameters.halving_epochs = 100;
    }));
    world.commit(vec![world.register_model(1)]);
    // Collateral per device times the multiplier of the class.
    world.commit(vec![
        world.transfer(&client(0), miner(0).public_key(), 100),
        world.transfer(&client(1), miner(1).public_key(), 50),
    ]);
    let reason = world.refusal(register(&world, 0, DEVICES));
    assert!(matches!(reason, Reason::Collateral { needed: 20, got: 0, .. }));
    world.commit((0..2).map(|n| world.lock(&miner(n), Purpose::Collateral, 20)).collect());
    world.commit((0..2).map(|n| register(&world, n, DEVICES)).collect());
    // A period each: miner 1 shows its device in all of them, miner 0 misses the second.
    let period = |world: &mut World, shows: bool| {
        let nonce = world.state.client(&client(0).public_key()).map_or(0, |jobs| jobs.latest()) + 1;
        let one = |world: &World, by, n: u8| match shows || n == 1 {
            true => timed(world, by, n, 1, Outcome::Online),
            false => absent(world, by, n),
        };
        for n in 0..2 {
            let said = (0..2).map(|by| one(world, by, n)).collect();
            world.commit(said);
        }
        world.commit(world.verified(&[(nonce, 0, 500), (nonce + 1, 1, 500)]));
        let mut transition = world.commit(vec![]);
        while transition.report.is_none() {
            transition = world.commit(vec![]);
        }
        let report = transition.report.unwrap();
        [0, 1].map(|n| report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap().reward)
    };
    let rewards = [true, false, true].map(|shows| period(&mut world, shows));
    assert_eq!(rewards[0][0], rewards[0][1]);
    assert_eq!(rewards[1], [0, rewards[0][0] * 2]);
    assert_eq!(rewards[2], rewards[0]);
    assert_eq!(world.locked(&miner(0), Purpose::Collateral).0, 20, "no collateral for what it missed");
    // A device that signs for another model than it registered is refused with a reason, and pays.
    world.commit(vec![world.lock(&miner(0), Purpose::Collateral, 20)]);
    world.commit(vec![register(&world, 0, Devices { class: 2, count: 1 })]);
    let claimed = world.refusal(timed(&world, 0, 0, 1, Outcome::Online));
    assert_eq!(claimed.to_string(), r#"the outcome is "online", the answer says "wrong device""#);
    world.commit(vec![timed(&world, 0, 0, 1, Outcome::WrongDevice)]);
    assert_eq!(counts(&world, 0).wrong_device, 1);
    assert_eq!(world.locked(&miner(0), Purpose::Collateral).0, 36);
}

/// Two miners in service; the second does what a test says, the first is what it is compared with.
fn proofs() -> World {
    let mut world = World::of(challenging(|parameters| {
        (parameters.tempo, parameters.emission, parameters.halving_epochs) = (10, 1_000_000, 100);
        (parameters.reputation_rate_ppm, parameters.availability_ppm) = (1_000_000, 1_000_000);
    }));
    world.commit(vec![world.register_model(1)]);
    world.commit((0..2).map(|n| register(&world, n, DEVICES)).collect());
    world
}

fn rows_of(world: &mut World) -> [assay_proto::report::MinerEpoch; 2] {
    let report = world.advance(10).report.unwrap();
    [0, 1].map(|n| *report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap())
}

#[test]
fn proof_of_availability_is_a_record_of_its_own_and_moves_the_reward() {
    let mut world = proofs();
    world.commit((0..2).map(|by| timed(&world, by, 0, 1, Outcome::Online)).collect());
    let missed = [0, 1].map(|by| absent(&world, by, 1));
    world.commit(missed.into());
    world.commit(world.verified(&[(1, 0, 500), (2, 1, 500)]));
    let [there, missing] = rows_of(&mut world);
    assert_eq!((there.online, there.offline, there.availability_ppm), (1, 0, 1_000_000));
    assert_eq!((missing.online, missing.offline, missing.availability_ppm), (0, 1, 0));
    // Work and quality are the same.
    assert_eq!((there.verified, there.quality_ppm), (missing.verified, missing.quality_ppm));
    assert_eq!((there.reward, missing.reward), (500_000, 0));
}

#[test]
fn proof_of_quality_is_a_record_of_its_own_and_moves_the_reward() {
    let mut world = proofs();
    // The target is 1000 us; a breach lowers the score, the answer stays valid and is paid.
    world.commit(world.verified(&[(1, 0, 500), (2, 1, 2000)]));
    assert_eq!((world.balance(&miner(0)), world.balance(&miner(1))), (PRICE, PRICE));
    let [fast, slow] = rows_of(&mut world);
    assert_eq!((fast.verified, fast.availability_ppm), (slow.verified, slow.availability_ppm));
    assert_eq!((fast.quality_ppm, slow.quality_ppm), (1_000_000, 500_000));
    assert_eq!((fast.reward, slow.reward), (400_000, 100_000));
}

#[test]
fn proof_of_work_is_a_record_of_its_own_and_moves_the_reward() {
    let mut world = proofs();
    let unproven = Attempt { proof: None, ..world.attempt(world.job(&client(0), 2), miner(1)) };
    let undelivered =
        Attempt { outputs: None, proof: None, ..world.attempt(world.job(&client(0), 3), miner(1)) };
    let mut said = world.verified(&[(1, 0, 500)]);
    said.push(world.signed_receipt(world.receipt(&unproven, Verdict::Absent), 2));
    said.push(world.signed_receipt(world.receipt(&undelivered, Verdict::Absent), 3));
    world.commit(said);
    // A proof that verifies and an output that was delivered, or no pay.
    assert_eq!((world.balance(&miner(0)), world.balance(&miner(1))), (PRICE, 0));
    let [worked, idle] = rows_of(&mut world);
    assert_eq!((worked.verified, worked.absent), (1, 0));
    assert_eq!((idle.verified, idle.absent), (0, 2));
    assert_eq!((worked.availability_ppm, idle.availability_ppm), (1_000_000, 1_000_000));
    assert_eq!((worked.reward, idle.reward), (500_000, 0));
}
