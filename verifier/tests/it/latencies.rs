//! Latency: what either end may say about it, and what one validator's word is worth.

use assay_proto::genesis::Parameters;
use assay_proto::job::{Job, Proof};
use assay_proto::limits::{DEADLINE_MS, LATENCY_NETWORK_US, PPM};
use assay_proto::receipt::Verdict;
use assay_proto::report::{EpochReport, MinerEpoch};
use assay_proto::transaction::{Body, RegisterMiner};
use assay_proto::{Canonical, Envelope, PublicKey, SubnetId};
use assay_verifier::Reason;
use assay_verifier::audit::report::{epoch_json, render_epoch};
use assay_verifier::latency::{Measured, counted_us};
use assay_verifier::scores::Tally;
use proptest::prelude::*;

use crate::subnets::{OTHER, answer, number, serve, two};
use crate::world::{Attempt, MODEL, World, client, key, miner, parameters, plain_job, validator};

const NETWORK_US: u64 = 300;

/// The model and two miners at height 1 and 2; the target is 1000 us, the network's part at most 300 us.
fn world(network_us: u64) -> World {
    let mut world = World::with(|parameters| parameters.latency_network_us = network_us);
    world.commit(vec![world.register_miner(0), world.register_miner(1)]);
    world
}

/// What a validator measured of a miner, and what that says.
#[derive(Clone, Copy)]
struct Clocks {
    validator: u8,
    miner: u8,
    total_us: u64,
    claim_us: u64,
    ping_us: u64,
}

/// With a ping that took a quarter of the total: as much as the whole may be the network's.
fn clocks(validator: u8, miner: u8, total_us: u64, claim_us: u64) -> Clocks {
    Clocks { validator, miner, total_us, claim_us, ping_us: total_us.div_ceil(4) }
}

/// A verified receipt of the job with a nonce.
fn receipt(world: &World, nonce: u64, clocks: &Clocks) -> Body {
    let job = Job { deadline_ms: DEADLINE_MS, ..plain_job(nonce) };
    let job = client(0).sign(&world.chain, job);
    let (proof_us, elapsed_us) = (clocks.total_us, clocks.claim_us);
    let ping_us = clocks.ping_us;
    let attempt =
        Attempt { output_us: 1, proof_us, ping_us, elapsed_us, ..world.attempt(job, miner(clocks.miner)) };
    Body::Receipt(Box::new(world.receipt(&attempt, Verdict::Verified)))
}

/// Verified receipts of jobs with the nonces from 1 on, by the validators' own keys.
fn receipts(world: &World, all: &[Clocks]) -> Vec<Envelope> {
    let signed = |(index, clocks): (usize, &Clocks)| {
        let before = all[..index].iter().filter(|other| other.validator == clocks.validator).count() as u64;
        let signer = validator(clocks.validator);
        let nonce = world.state.account(&signer.public_key()).nonce + before + 1;
        world.sign(&signer, nonce, receipt(world, 1 + index as u64, clocks))
    };
    all.iter().enumerate().map(signed).collect()
}

fn finish(world: &mut World) -> EpochReport {
    world.advance(5).report.unwrap()
}

fn epoch(network_us: u64, all: &[Clocks]) -> EpochReport {
    let mut world = world(network_us);
    world.commit(receipts(&world, all));
    finish(&mut world)
}

fn row(report: &EpochReport, n: u8) -> MinerEpoch {
    *report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap()
}

/// Latency, validators that measured it, and quality of miner 0.
fn found(all: &[Clocks]) -> (u64, u64, u64) {
    let row = row(&epoch(NETWORK_US, all), 0);
    (row.latency_us, row.measured_by, row.quality_ppm)
}

/// The scores that a validator commits to.
fn scores(world: &World, n: u8) -> Vec<(PublicKey, u16)> {
    let mut tally = Tally::default();
    for entry in &world.blocks {
        tally.count(&world.state, SubnetId::ROOT, &validator(n).public_key(), &entry.block);
    }
    tally.scores(world.state.parameters())
}

#[test]
fn what_counts_is_the_total_less_a_bounded_part_of_the_network() {
    let parameters = Parameters { latency_network_us: 300, ..parameters() };
    let of = |total, claim| counted_us(&parameters, total, claim, total);
    // Silent; honest; too little; nothing of the network's; above the total.
    assert_eq!(
        [of(2000, 0), of(2000, 1800), of(2000, 1), of(2000, 2000), of(2000, 9000)],
        [2000, 1800, 1700, 2000, 2000]
    );
    assert_eq!([of(200, 1), of(1, 1), of(u64::MAX, 1), of(1, u64::MAX)], [1, 1, u64::MAX - 300, 1]);
    assert_eq!(of(u64::MAX, u64::MAX), u64::MAX);
    // No more than four times what a ping took; nothing without one.
    let pinged = |ping| counted_us(&parameters, 2000, 1800, ping);
    assert_eq!(
        [pinged(0), pinged(1), pinged(49), pinged(50), pinged(u64::MAX)],
        [2000, 1996, 1804, 1800, 1800]
    );
    assert_eq!(counted_us(&parameters, 2000, 1, 10), 1960);
}

proptest! {
    #[test]
    fn what_counts_is_between_claim_and_total_and_near_the_total(
        total in 1_u64.., claim: u64, ping: u64, network_us in 0..=LATENCY_NETWORK_US,
    ) {
        let parameters = Parameters { latency_network_us: network_us, ..parameters() };
        let counted = counted_us(&parameters, total, claim, ping);
        prop_assert!(counted <= total && total - counted <= network_us);
        prop_assert!(u128::from(total - counted) <= 4 * u128::from(ping));
        prop_assert!(counted >= claim.min(total));
    }

    #[test]
    fn less_than_half_of_the_power_moves_a_latency_no_further_than_the_words_of_the_rest(
        honest in proptest::collection::vec((1_u64..1000, 1_u64..1_000_000), 1..8), lie: u64,
    ) {
        let most: u64 = honest.iter().map(|(power, _)| power).sum();
        let mut measured = Measured::default();
        for (n, (power, us)) in honest.iter().enumerate() {
            measured.note(PublicKey([n as u8; 32]), *power, *us);
        }
        measured.note(PublicKey([99; 32]), most - 1, lie);
        let words = || honest.iter().map(|(_, us)| *us);
        let latency = measured.latency_us().unwrap();
        prop_assert!(words().min().unwrap() <= latency && latency <= words().max().unwrap());
    }
}

#[test]
fn a_claim_is_what_the_miner_signed() {
    let world = world(NETWORK_US);
    let job = client(0).sign(&world.chain, Job { deadline_ms: DEADLINE_MS, ..plain_job(1) });
    let attempt = Attempt { proof_us: 2000, elapsed_us: 1900, ..world.attempt(job, miner(0)) };
    let mut receipt = world.receipt(&attempt, Verdict::Verified);
    let envelope = receipt.evidence.proof.as_mut().unwrap();
    let proof = Proof::decode(&envelope.payload).unwrap();
    assert_eq!(proof.elapsed_us, 1900);
    envelope.payload = Proof { elapsed_us: 1700, ..proof }.encode();
    let refusal = world.refusal(world.signed_receipt(receipt, 1));
    assert!(matches!(refusal, Reason::Evidence { what: "proof", .. }), "{refusal}");
}

#[test]
fn a_miner_that_claims_too_little_gains_the_networks_part_and_no_more() {
    assert_eq!(found(&[clocks(0, 0, 2000, 0)]), (2000, 1, 500_000));
    assert_eq!(found(&[clocks(0, 0, 2000, 1900)]), (1900, 1, 526_315));
    assert_eq!(found(&[clocks(0, 0, 2000, 1)]), (1700, 1, 588_235));
}

#[test]
fn a_ping_that_was_not_answered_leaves_the_network_nothing_and_one_that_was_its_round_trips() {
    let with = |ping_us| found(&[Clocks { ping_us, ..clocks(0, 0, 2000, 1750) }]).0;
    assert_eq!([with(0), with(10), with(60), with(63), with(2000)], [2000, 1960, 1760, 1750, 1750]);
    let world = world(NETWORK_US);
    let late = Clocks { ping_us: 2001, ..clocks(0, 0, 2000, 1750) };
    let refusal = world.refusal(receipts(&world, &[late]).remove(0));
    assert!(matches!(refusal, Reason::Timings(_)), "{refusal}");
}

#[test]
fn a_claim_above_the_total_counts_as_the_total() {
    assert_eq!(found(&[clocks(0, 0, 2000, 2001)]), (2000, 1, 500_000));
    assert_eq!(found(&[clocks(0, 0, 2000, u64::MAX)]), (2000, 1, 500_000));
}

#[test]
fn a_report_shows_latency_and_number_as_text_and_as_json() {
    let report = epoch(NETWORK_US, &[clocks(0, 0, 2000, 1), clocks(1, 0, 2000, 1900)]);
    let text = render_epoch(&report);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    let of_miner = line(&miner(0).public_key().to_string()[..16]);
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(line("miner"))[6..9], ["latency", "by", "quality"], "{text}");
    assert_eq!(cells(of_miner)[6..9], ["0.001700", "2", "0.588235"], "{text}");
    let row = &epoch_json(&report)["miners"][0];
    assert_eq!((&row["latency_us"], &row["measured_by"]), (&1700.into(), &2.into()));
    let none = render_epoch(&epoch(0, &[clocks(0, 0, 2000, 1)]));
    assert!(none.lines().any(|line| cells(line).get(6..8) == Some(&["-".into(), "0".into()])), "{none}");
}

/// Validator 2 has 3 of 10 of the power.
#[test]
fn false_times_of_a_minority_change_no_latency_no_reward_and_no_score() {
    let with = |lie: u64| {
        let mut world = world(NETWORK_US);
        let honest = |n| [clocks(n, 0, 2100, 2000), clocks(n, 1, 4000, 4000)];
        let lies = [clocks(2, 0, lie, lie), clocks(2, 1, 4000, 4000), clocks(2, 0, lie, 0)];
        world.commit(receipts(&world, &[&honest(0)[..], &honest(1), &lies].concat()));
        let seen = [0, 1, 2].map(|n| scores(&world, n));
        (finish(&mut world), seen)
    };
    let (honest, seen) = with(2000);
    assert_eq!((row(&honest, 0).latency_us, row(&honest, 0).measured_by), (2000, 3));
    assert_eq!(row(&honest, 0).quality_ppm, 500_000);
    let of = |other| {
        let mut scores = vec![(miner(0).public_key(), 65_535), (miner(1).public_key(), other)];
        scores.sort_unstable();
        scores
    };
    // Validator 2 has two answers of miner 0; its own clock does not count for itself either.
    assert_eq!(seen, [of(32_767), of(32_767), of(16_383)]);
    for lie in [1, 100, 3_000_000, DEADLINE_MS * 1000] {
        let (report, scores) = with(lie);
        assert_eq!(report, honest, "{lie}");
        assert_eq!(scores, seen, "{lie}");
    }
}

#[test]
fn it_takes_more_than_half_of_the_power_that_measured_to_blame_a_miner() {
    // 3 and 3 of power: the lesser word. 4 against 3: the greater power's.
    assert_eq!(found(&[clocks(1, 0, 1500, 0), clocks(2, 0, 4000, 0)]).0, 1500);
    assert_eq!(found(&[clocks(1, 0, 4000, 0), clocks(2, 0, 1500, 0)]).0, 1500);
    assert_eq!(found(&[clocks(0, 0, 4000, 0), clocks(2, 0, 1500, 0)]).0, 4000);
    assert_eq!(found(&[clocks(0, 0, 1500, 0), clocks(2, 0, 4000, 0)]).0, 1500);
    // Whoever has three receipts has one word, their mean.
    let many = [clocks(2, 0, 4000, 0), clocks(2, 0, 4001, 0), clocks(2, 0, 4000, 0)];
    assert_eq!(found(&[&many[..], &[clocks(0, 0, 1500, 0)]].concat()), (1500, 2, 666_666));
    assert_eq!(found(&many), (4000, 1, 250_000));
}

#[test]
fn extreme_numbers_do_not_overflow() {
    let mut measured = Measured::default();
    assert_eq!((measured.latency_us(), measured.validators()), (None, 0));
    for n in 0..3 {
        measured.note(PublicKey([n; 32]), u64::MAX, u64::MAX);
        measured.note(PublicKey([n; 32]), u64::MAX, u64::MAX);
    }
    assert_eq!(measured.latency_us(), Some(u64::MAX / 2));
    // Who has no power has no say beside others.
    let mut measured = Measured::default();
    measured.note(PublicKey([1; 32]), 0, 1);
    assert_eq!(measured.latency_us(), Some(1));
    measured.note(PublicKey([2; 32]), 1, 9);
    assert_eq!(measured.latency_us(), Some(9));
}

#[test]
fn without_the_parameter_qualities_are_of_totals_and_nothing_is_kept() {
    let mut world = world(0);
    let all = [clocks(0, 0, 500, 1), clocks(1, 0, 2000, 1), clocks(2, 0, 4000, 4000)];
    world.commit(receipts(&world, &all));
    assert!(world.state.latencies(SubnetId::ROOT).is_empty());
    let report = finish(&mut world);
    let row = row(&report, 0);
    assert_eq!((row.latency_us, row.measured_by), (0, 0));
    assert_eq!(row.quality_ppm, (PPM + PPM / 2 + PPM / 4) / 3);
}

#[test]
fn a_subnet_has_its_own_bound_and_its_own_latencies() {
    let measured = |chain: u64, own: u64| {
        let mut world =
            two(|parameters| parameters.latency_network_us = chain, vec![number("latency_network_us", own)]);
        world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER])]);
        world.advance(5);
        let job = world.job(&client(0), 1);
        let root = Attempt { proof_us: 2000, ping_us: 500, elapsed_us: 1, ..world.attempt(job, miner(0)) };
        let there = Attempt { ping_us: 500, elapsed_us: 1, ..answer(&world, 2, 0, 1800) };
        let receipts = [(root, 1), (there, 2)];
        let receipts = receipts
            .map(|(own, offset)| world.signed_receipt(world.receipt(&own, Verdict::Verified), offset));
        world.commit(receipts.into());
        let report = world.advance(10).report.unwrap();
        [row(&report, 0), report.subnets[0].miners[0]].map(|row| (row.latency_us, row.quality_ppm))
    };
    assert_eq!(measured(300, 800), [(1700, 588_235), (1000, 1_000_000)]);
    assert_eq!(measured(0, 300), [(0, 500_000), (1500, 666_666)]);
    assert_eq!(measured(300, 0), [(1700, 588_235), (0, 555_555)]);
}

#[test]
fn an_epoch_begins_without_latencies() {
    let mut world = world(NETWORK_US);
    world.commit(receipts(&world, &[clocks(0, 0, 4000, 0)]));
    assert_eq!(row(&finish(&mut world), 0).latency_us, 4000);
    assert_eq!(world.state.latencies(SubnetId::ROOT)[&miner(0).public_key()], &Measured::default());
    let again = Attempt { output_us: 1, proof_us: 1500, ..world.attempt(world.job(&client(0), 9), miner(0)) };
    world.commit(vec![world.signed_receipt(world.receipt(&again, Verdict::Verified), 1)]);
    assert_eq!(row(&world.advance(10).report.unwrap(), 0).latency_us, 1500);
}

#[test]
fn whoever_leaves_its_place_leaves_its_latency() {
    let mut world = World::with(|parameters| (parameters.miner_slots, parameters.immunity_epochs) = (1, 0));
    world.commit(vec![world.register_miner(0)]);
    world.commit(receipts(&world, &[clocks(0, 0, 4000, 0)]));
    assert_eq!(world.state.latencies(SubnetId::ROOT)[&miner(0).public_key()].validators(), 1);
    let body = RegisterMiner {
        endpoint: "http://other:1".into(),
        model_ids: vec![MODEL],
        devices: Default::default(),
    };
    world.commit(vec![world.next(&miner(1), Body::RegisterMiner(body))]);
    assert_eq!(world.state.latencies(SubnetId::ROOT)[&miner(0).public_key()], &Measured::default());
}

#[test]
fn what_a_validator_says_under_two_keys_is_one_word() {
    let said = [clocks(1, 0, 1500, 1500), clocks(1, 0, 1700, 1700), clocks(1, 1, 3200, 3200)];
    let mut plain = world(NETWORK_US);
    plain.commit(receipts(&plain, &said));
    let mut rotated = world(NETWORK_US);
    let (owner, by) = (validator(1), key(60));
    rotated.commit(vec![crate::operating::name(&rotated, &owner, &by)]);
    rotated.commit(vec![rotated.next(&owner, receipt(&rotated, 1, &said[0]))]);
    let later = said[1..].iter().zip(2..);
    let later = later.map(|(clocks, nonce)| rotated.sign(&by, nonce - 1, receipt(&rotated, nonce, clocks)));
    let report = rotated.commit(later.collect()).report.unwrap();
    assert_eq!((row(&report, 0).latency_us, row(&report, 0).measured_by), (1600, 1));
    assert_eq!((row(&report, 1).latency_us, row(&report, 1).measured_by), (3200, 1));
    assert_eq!(scores(&rotated, 1), scores(&plain, 1));
    assert_eq!(scores(&rotated, 1).len(), 2);
}
