//! Challenges of devices: who is asked, what counts, what it costs.

use std::collections::BTreeSet;

use assay_proto::challenge::{Challenge, ChallengeAnswer, Challenged, Outcome};
use assay_proto::genesis::{DeviceClass, Genesis, Parameters};
use assay_proto::receipt::Verdict;
use assay_proto::subnet::RegisterSubnet;
use assay_proto::transaction::{Body, Devices, Purpose, RegisterMiner, Transfer};
use assay_proto::{BlockHash, Canonical, Envelope, Height, ModelId, PublicKey, SecretKey, Signed, SubnetId};
use assay_verifier::Reason;
use assay_verifier::challenge::work::{ROWS, Work};
use assay_verifier::challenge::{self, Counts, Open, SLACK_US, drawn, to_ask};
use assay_verifier::export;

use crate::subnets::{self, ONE, OTHER, number};
use crate::world::{MODEL, World, client, genesis, key, miner, validator};

/// Multiply-adds a second of class 1; class 2 is twice as fast and as dear.
pub const RATE: u64 = 1_000_000;
pub const DEVICES: Devices = Devices { class: 1, count: 2 };

pub fn classes() -> Vec<DeviceClass> {
    let class = |id, times| DeviceClass { id, rate: RATE * times, collateral_ppm: 1_000_000 * times };
    vec![class(1, 1), class(2, 2)]
}

/// A genesis in which every miner is challenged after every block.
pub fn challenging(change: impl FnOnce(&mut Parameters)) -> Genesis {
    let mut genesis = Genesis { classes: classes(), ..genesis() };
    genesis.parameters.challenge_ppm = 1_000_000;
    genesis.parameters.challenge_side = 16;
    genesis.parameters.challenge_rounds = 2;
    genesis.parameters.challenge_blocks = 3;
    genesis.parameters.availability_ppm = 500_000;
    change(&mut genesis.parameters);
    genesis
}

pub fn register(world: &World, n: u8, devices: Devices) -> Envelope {
    let body = RegisterMiner { endpoint: format!("http://miner-{n}:1"), model_ids: vec![MODEL], devices };
    world.next(&miner(n), Body::RegisterMiner(body))
}

/// Height 2: the model and two miners are registered.
fn ready(change: impl FnOnce(&mut Parameters)) -> World {
    let mut world = World::of(challenging(change));
    world.commit(vec![world.register_model(1)]);
    world.commit((0..2).map(|n| register(&world, n, DEVICES)).collect());
    world
}

/// The challenge of a miner that a validator is to set now.
pub fn open(world: &World, by: &SecretKey, n: u8) -> Option<Open> {
    let asked = to_ask(&world.state, &by.public_key()).into_iter();
    asked.filter(|(key, _)| *key == miner(n).public_key()).map(|(_, open)| open).next()
}

pub fn set(world: &World, by: &SecretKey, n: u8) -> Signed<Challenge> {
    by.sign(&world.chain, open(world, by, n).unwrap().challenge(miner(n).public_key()))
}

/// An answer with the right rows.
pub fn right(world: &World, challenge: &Signed<Challenge>) -> ChallengeAnswer {
    let id = challenge.id(&world.chain);
    let work = Work::of(challenge.value(), &id);
    let rows = work.rows(&(0..work.side).collect::<Vec<_>>());
    ChallengeAnswer { challenge: id, device_class: 1, rows, compute_us: 1 }
}

pub fn report(challenge: &Signed<Challenge>, answer: Option<Envelope>, outcome: Outcome) -> Challenged {
    let answer_us = u64::from(answer.is_some());
    Challenged { challenge: challenge.envelope().clone(), answer, outcome, answer_us, network_us: 0 }
}

/// What a validator says of an honest answer that came after so long.
pub fn timed(world: &World, by: u8, n: u8, answer_us: u64, outcome: Outcome) -> Envelope {
    let challenge = set(world, &validator(by), n);
    let answer = miner(n).sign(&world.chain, right(world, &challenge)).into_envelope();
    let body = Challenged { answer_us, ..report(&challenge, Some(answer), outcome) };
    world.next(&validator(by), Body::Challenged(body))
}

pub fn absent(world: &World, by: u8, n: u8) -> Envelope {
    let challenge = set(world, &validator(by), n);
    world.next(&validator(by), Body::Challenged(report(&challenge, None, Outcome::Offline)))
}

pub fn counts(world: &World, n: u8) -> Counts {
    world.state.place(SubnetId::ROOT, &miner(n).public_key()).unwrap().challenges
}

/// 16^3 * 2 multiply-adds at the rate of class 1.
const WINDOW_US: u64 = 8_192 + SLACK_US;

#[test]
fn who_is_challenged_and_who_asks_follows_from_the_hash_of_the_block_before() {
    let at = |ppm: u64, validators: u64| {
        let mut genesis = challenging(|parameters| {
            parameters.challenge_ppm = ppm;
            parameters.challenge_validators = validators;
            parameters.challenge_blocks = 1;
        });
        genesis.parameters.tempo = 1000;
        let mut world = World::of(genesis);
        world.commit(vec![world.register_model(1)]);
        world.commit((0..3).map(|n| register(&world, n, DEVICES)).collect());
        world
    };
    // Two of three are drawn in the long run, by different validators in different orders.
    let mut world = at(666_667, 2);
    let (mut count, mut orders) = (0, BTreeSet::new());
    for _ in 0..100 {
        let now = drawn(&world.state);
        assert_eq!(now, drawn(&world.state));
        count += now.len();
        for (miner, open) in &now {
            assert_eq!((open.height, open.block_hash), (world.state.head().height, world.state.head().hash));
            assert_eq!(open.askers.len(), 2);
            let order: Vec<PublicKey> = open.askers.iter().map(|asker| asker.validator).collect();
            let asked = |n| to_ask(&world.state, &validator(n).public_key());
            for n in 0..3 {
                let named = order.contains(&validator(n).public_key());
                assert_eq!(asked(n).iter().any(|(key, _)| key == miner), named);
            }
            orders.insert(order);
        }
        world.commit(vec![]);
    }
    assert!((150..250).contains(&count), "{count}");
    assert_eq!(orders.len(), 6);
    assert!(drawn(&at(0, 2).state).is_empty());
    assert!(drawn(&World::ready().state).is_empty(), "no miner names a device");
}

#[test]
fn the_seed_is_known_to_nobody_before_the_asker_signs_and_differs_between_askers() {
    let world = ready(|_| ());
    let ids: BTreeSet<_> = (0..3).map(|n| set(&world, &validator(n), 0).id(&world.chain)).collect();
    assert_eq!(ids.len(), 3);
    let seeds: BTreeSet<u64> = ids.iter().map(|id| id.seed()).collect();
    assert_eq!(seeds.len(), 3);
    // The payload is the same for all: only the signature tells them apart.
    let payloads: BTreeSet<_> =
        (0..3).map(|n| set(&world, &validator(n), 0).envelope().payload.clone()).collect();
    assert_eq!(payloads.len(), 1);
}

#[test]
fn four_outcomes_are_distinct_and_each_counts_once() {
    let mut world = ready(|parameters| parameters.tempo = 1000);
    world.commit((0..2).map(|by| timed(&world, by, 0, WINDOW_US, Outcome::Online)).collect());
    assert_eq!(counts(&world, 0), Counts { online: 1, ..Counts::default() });
    world.commit((1..3).map(|by| timed(&world, by, 0, WINDOW_US + 1, Outcome::Slow)).collect());
    assert_eq!(counts(&world, 0), Counts { online: 1, slow: 1, ..Counts::default() });
    world.commit((0..3).map(|by| absent(&world, by, 0)).collect());
    let before = counts(&world, 0);
    assert_eq!(before, Counts { online: 1, slow: 1, offline: 1, ..Counts::default() });
    let challenge = set(&world, &validator(2), 0);
    let answer = ChallengeAnswer { device_class: 2, ..right(&world, &challenge) };
    let answer = miner(0).sign(&world.chain, answer).into_envelope();
    let body = report(&challenge, Some(answer), Outcome::WrongDevice);
    world.commit(vec![world.next(&validator(2), Body::Challenged(body))]);
    assert_eq!(counts(&world, 0), Counts { wrong_device: 1, ..before });
}

#[test]
fn the_time_of_the_network_is_not_the_miners() {
    let world = ready(|_| ());
    let late = |network_us, outcome| {
        let challenge = set(&world, &validator(0), 0);
        let answer = miner(0).sign(&world.chain, right(&world, &challenge)).into_envelope();
        let answer_us = WINDOW_US + 1_000;
        let body = Challenged { answer_us, network_us, ..report(&challenge, Some(answer), outcome) };
        world.next(&validator(0), Body::Challenged(body))
    };
    assert_eq!(world.propose(&[late(1_000, Outcome::Online)]).included.len(), 1);
    let reason = world.refusal(late(999, Outcome::Online));
    assert!(matches!(reason, Reason::Outcome { expected: Outcome::Slow, got: Outcome::Online }), "{reason}");
    // More than all of the time is not the network's.
    let reason = world.refusal(late(WINDOW_US + 1_001, Outcome::Online));
    assert!(matches!(reason, Reason::Transaction(_)), "{reason}");
}

#[test]
fn nobody_is_blamed_on_the_word_of_one_validator() {
    // Validator 0 has 8 of 14 alone.
    let mut genesis = challenging(|parameters| (parameters.challenge_blocks, parameters.tempo) = (2, 1000));
    let first = validator(0).public_key();
    genesis.validators.iter_mut().filter(|entry| entry.public_key == first).for_each(|entry| entry.power = 8);
    let mut world = World::of(genesis);
    world.commit(vec![world.register_model(1)]);
    world.commit(vec![register(&world, 0, DEVICES)]);
    world.commit(vec![absent(&world, 0, 0)]);
    assert_eq!(counts(&world, 0), Counts::default());
    // It is not asked twice, and what is older than challenge_blocks ends without an outcome.
    assert!(open(&world, &validator(0), 0).is_none());
    assert!(open(&world, &validator(1), 0).is_some());
    let height = world.state.head().height;
    world.commit(vec![]);
    assert_eq!(counts(&world, 0), Counts::default());
    assert_eq!(open(&world, &validator(0), 0).unwrap().height, height.next());
    // Its word that the miner is there is enough.
    world.commit(vec![timed(&world, 0, 0, 1, Outcome::Online)]);
    assert_eq!(counts(&world, 0).online, 1);
    // Two others with less than half of the power are not.
    world.commit((1..3).map(|by| absent(&world, by, 0)).collect());
    assert_eq!(counts(&world, 0).offline, 0);
    world.commit(vec![absent(&world, 0, 0)]);
    assert_eq!(counts(&world, 0).offline, 1);
}

#[test]
fn a_single_validator_speaks_for_itself() {
    let mut genesis = challenging(|_| ());
    genesis.validators.retain(|entry| entry.public_key == validator(2).public_key());
    let mut world = World::of(genesis);
    let commit = |world: &mut World, transactions: Vec<Envelope>| {
        let candidates: Vec<_> =
            transactions.iter().map(assay_verifier::transition::Candidate::Sealed).collect();
        let proposer = validator(2).public_key();
        let made = assay_verifier::propose::propose(&world.state, proposer, 2000, &candidates, &world.keys);
        let made = made.unwrap();
        assert!(made.dropped.is_empty(), "{:?}", made.dropped);
        world.state = made.transition.state;
    };
    let model = world.register_model(1);
    commit(&mut world, vec![model]);
    let transaction = register(&world, 0, DEVICES);
    commit(&mut world, vec![transaction]);
    let transaction = absent(&world, 2, 0);
    commit(&mut world, vec![transaction]);
    assert_eq!(counts(&world, 0).offline, 1);
}

#[test]
fn what_does_not_follow_from_the_answer_is_refused() {
    let mut world = ready(|_| ());
    let challenge = set(&world, &validator(0), 0);
    let honest = right(&world, &challenge);
    let sign = |by: &SecretKey, answer: &ChallengeAnswer| {
        Some(by.sign(&world.chain, answer.clone()).into_envelope())
    };
    let say = |answer: Option<Envelope>, outcome| {
        world.next(&validator(0), Body::Challenged(report(&challenge, answer, outcome)))
    };
    let refused = |answer, outcome| world.refusal(say(answer, outcome));
    for outcome in [Outcome::Slow, Outcome::WrongDevice, Outcome::Offline] {
        let reason = refused(sign(&miner(0), &honest), outcome);
        assert!(matches!(reason, Reason::Outcome { expected: Outcome::Online, .. }), "{reason}");
    }
    for outcome in [Outcome::Online, Outcome::Slow, Outcome::WrongDevice] {
        assert!(matches!(refused(None, outcome), Reason::Outcome { expected: Outcome::Offline, .. }));
    }
    // Rows that are none, too few, too many, and another answer's.
    let wrong = |rows: Vec<[u8; 8]>| ChallengeAnswer { rows, ..honest.clone() };
    let few = honest.rows[1..].to_vec();
    let many = [honest.rows.clone(), vec![[0; 8]]].concat();
    for rows in [vec![], few, many, vec![[7; 8]; 16]] {
        let reason = refused(sign(&miner(0), &wrong(rows)), Outcome::Online);
        assert!(matches!(reason, Reason::Outcome { expected: Outcome::WrongDevice, .. }), "{reason}");
    }
    // Nobody is blamed for what others signed, or for another challenge.
    let reason = refused(sign(&miner(1), &wrong(vec![])), Outcome::WrongDevice);
    assert!(matches!(reason, Reason::EvidenceSigner { what: "answer", .. }), "{reason}");
    let other = right(&world, &set(&world, &validator(1), 0));
    let reason = refused(sign(&miner(0), &other), Outcome::Online);
    assert!(matches!(reason, Reason::ChallengeAnswer { .. }), "{reason}");
    let mut forged = sign(&miner(0), &honest).unwrap();
    forged.signature.0[3] ^= 1;
    assert!(matches!(refused(Some(forged), Outcome::Online), Reason::Evidence { what: "answer", .. }));
    let timeless =
        Challenged { answer_us: 0, ..report(&challenge, sign(&miner(0), &honest), Outcome::Online) };
    let reason = world.refusal(world.next(&validator(0), Body::Challenged(timeless)));
    assert!(matches!(reason, Reason::Timings(_)));

    // A challenge that was not drawn, of another asker, by nobody who is to ask, and one that was answered.
    let drawn = *challenge.value();
    let set = |change: &dyn Fn(&mut Challenge), by: &SecretKey| {
        let mut changed = drawn;
        change(&mut changed);
        let challenge = by.sign(&world.chain, changed);
        world.next(&validator(0), Body::Challenged(report(&challenge, None, Outcome::Offline)))
    };
    let unknown = |transaction| matches!(world.refusal(transaction), Reason::ChallengeUnknown { .. });
    assert!(unknown(set(&|c| c.height = Height(1), &validator(0))));
    assert!(unknown(set(&|c| c.block_hash = BlockHash([0; 32]), &validator(0))));
    assert!(unknown(set(&|c| c.side = 64, &validator(0))));
    assert!(unknown(set(&|c| c.rounds = 1, &validator(0))));
    assert!(unknown(set(&|c| c.miner = miner(2).public_key(), &validator(0))));
    let reason = world.refusal(set(&|_| (), &validator(1)));
    assert!(matches!(reason, Reason::EvidenceSigner { what: "challenge", .. }), "{reason}");
    let stranger = key(99).sign(&world.chain, drawn);
    let body = Body::Challenged(report(&stranger, None, Outcome::Offline));
    assert!(matches!(world.refusal(world.next(&key(99), body)), Reason::NotValidator(_)));
    let said = say(sign(&miner(0), &honest), Outcome::Online);
    let again = Body::Challenged(report(&challenge, None, Outcome::Offline));
    world.commit(vec![said]);
    assert!(matches!(world.refusal(world.next(&validator(0), again)), Reason::NotAsker { .. }));
}

#[test]
fn a_wrong_row_among_the_sampled_ones_is_found_and_all_rows_cannot_be_guessed() {
    let world = ready(|_| ());
    // An honest half of the rows passes only if no other is sampled: (1/2)^8 a signature.
    let passes = (0..64_u64).filter(|&compute_us| {
        let challenge = set(&world, &validator(0), 0);
        let mut answer = ChallengeAnswer { compute_us, ..right(&world, &challenge) };
        answer.rows[8..].fill([0; 8]);
        let answer = miner(0).sign(&world.chain, answer).into_envelope();
        let body = report(&challenge, Some(answer), Outcome::Online);
        world.propose(&[world.next(&validator(0), Body::Challenged(body))]).included.len() == 1
    });
    assert!(passes.count() <= 3);
    assert_eq!(ROWS, 8);
}

#[test]
fn a_wrong_device_loses_collateral_and_service_and_a_missed_challenge_loses_neither() {
    let mut world = World::of(challenging(|parameters| {
        (parameters.collateral, parameters.collateral_slash_ppm) = (100, 100_000);
    }));
    world.commit(vec![world.register_model(1)]);
    world.commit(vec![
        world.next(&client(0), Body::Transfer(Transfer { to: miner(0).public_key(), amount: 1_000 })),
    ]);
    // Two devices of class 2: 2 * 2 * 100.
    world.commit(vec![world.lock(&miner(0), Purpose::Collateral, 399)]);
    let devices = Devices { class: 2, count: 2 };
    let reason = world.refusal(register(&world, 0, devices));
    assert!(matches!(reason, Reason::Collateral { needed: 400, got: 399, .. }), "{reason}");
    world.commit(vec![world.lock(&miner(0), Purpose::Collateral, 1)]);
    world.commit(vec![register(&world, 0, devices)]);
    let reason = world.refusal(world.unlock(&miner(0), Purpose::Collateral, 1));
    assert!(matches!(reason, Reason::Collateral { needed: 400, .. }), "{reason}");

    world.commit((0..3).map(|by| absent(&world, by, 0)).collect());
    assert_eq!((counts(&world, 0).offline, world.locked(&miner(0), Purpose::Collateral).0), (1, 400));
    // It has registered class 2 and signs class 1.
    let transaction = timed(&world, 1, 0, 1, Outcome::WrongDevice);
    world.commit(vec![transaction]);
    assert_eq!((counts(&world, 0).wrong_device, world.locked(&miner(0), Purpose::Collateral).0), (1, 360));
    assert!(world.state.miner(&miner(0).public_key()).unwrap().models.is_empty());
    assert!(open(&world, &validator(0), 0).is_none(), "who is out of service is not asked");
    let attempt = world.attempt(world.job(&client(0), 1), miner(0));
    let receipt = world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1);
    assert!(matches!(world.refusal(receipt), Reason::MinerModel { .. }));
    world.commit(vec![register(&world, 0, Devices { class: 1, count: 3 })]);
    assert!(open(&world, &validator(0), 0).is_some());
}

#[test]
fn who_registers_another_class_meanwhile_may_sign_for_either_and_has_the_time_of_the_one_before() {
    let mut world = ready(|parameters| parameters.challenge_blocks = 10);
    // The challenge is of class 1, which has twice the time of class 2.
    world.commit(vec![]);
    world.commit(vec![register(&world, 0, Devices { class: 2, count: 1 })]);
    let say = |device_class, answer_us, outcome| {
        let challenge = set(&world, &validator(0), 0);
        let answer = ChallengeAnswer { device_class, ..right(&world, &challenge) };
        let answer = miner(0).sign(&world.chain, answer).into_envelope();
        let body = Challenged { answer_us, ..report(&challenge, Some(answer), outcome) };
        world.propose(&[world.next(&validator(0), Body::Challenged(body))]).included.len() == 1
    };
    for class in [1, 2] {
        assert!(say(class, WINDOW_US, Outcome::Online));
        assert!(say(class, WINDOW_US + 1, Outcome::Slow));
    }
    assert!(say(3, 1, Outcome::WrongDevice));
}

#[test]
fn classes_are_those_of_the_genesis() {
    let mut world = ready(|_| ());
    let refused = |devices| matches!(world.refusal(register(&world, 2, devices)), Reason::DeviceClass(_));
    assert!(refused(Devices { class: 3, count: 1 }));
    assert!(refused(Devices::default()), "a miner in service names its devices");
    let out = RegisterMiner { endpoint: "http://m:1".into(), model_ids: vec![], devices: Devices::default() };
    world.commit(vec![world.next(&miner(2), Body::RegisterMiner(out))]);
    let plain = World::ready();
    assert!(matches!(plain.refusal(register(&plain, 0, DEVICES)), Reason::DeviceClass(1)));
}

#[test]
fn a_missed_challenge_costs_its_epoch_and_no_other() {
    let mut world = ready(|parameters| parameters.tempo = 5);
    let epoch = |world: &mut World, first: u64, transactions: Vec<Envelope>| {
        let mut said = transactions;
        let offset = said.iter().filter(|envelope| envelope.signer == validator(0).public_key()).count();
        let jobs = [(first, 0, 500), (first + 1, 1, 500)];
        for ((nonce, n, _), offset) in jobs.into_iter().zip(1 + offset as u64..) {
            let attempt = world.attempt(world.job(&client(0), nonce), miner(n));
            said.push(world.signed_receipt(world.receipt(&attempt, Verdict::Verified), offset));
        }
        let mut transition = world.commit(said);
        while transition.report.is_none() {
            transition = world.commit(vec![]);
        }
        transition.report.unwrap()
    };
    let offline = (0..2).map(|by| absent(&world, by, 0)).collect();
    let report = epoch(&mut world, 1, offline);
    let row = |report: &assay_proto::report::EpochReport, n: u8| {
        *report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap()
    };
    // Half of the performance hangs on availability, half of that on this epoch.
    let (missed, other) = (row(&report, 0), row(&report, 1));
    assert_eq!((missed.offline, missed.availability_ppm, missed.reputation_ppm), (1, 0, 250_000));
    assert_eq!((other.offline, other.availability_ppm, other.reputation_ppm), (0, 1_000_000, 500_000));
    let report = epoch(&mut world, 3, vec![]);
    assert_eq!((row(&report, 0).offline, row(&report, 0).availability_ppm), (0, 1_000_000));
    assert_eq!((row(&report, 0).reputation_ppm, row(&report, 1).reputation_ppm), (625_000, 750_000));
}

#[test]
fn an_outcome_counts_in_every_place_until_the_epoch_of_its_subnet_ends() {
    let mut world = World::of(challenging(|parameters| (parameters.tempo, parameters.subnet_price) = (5, 0)));
    let numbers = vec![number("tempo", 10)];
    world.commit(vec![
        world.register_model(1),
        world.next(&client(0), Body::RegisterSubnet(RegisterSubnet { numbers, ..subnets::open() })),
    ]);
    world.commit(vec![world.next(&validator(1), Body::RegisterModel(subnets::model(OTHER, ONE)))]);
    let serves = |model_ids: &[ModelId], world: &World, n: u8| {
        let body =
            RegisterMiner { endpoint: "http://m:1".into(), model_ids: model_ids.to_vec(), devices: DEVICES };
        world.next(&miner(n), Body::RegisterMiner(body))
    };
    world.commit(vec![serves(&[MODEL, OTHER], &world, 0), serves(&[OTHER], &world, 1)]);
    world.commit(
        (0..2)
            .flat_map(|n| (0..2).map(move |by| (by, n)))
            .map(|(by, n)| {
                let nonce = world.state.account(&validator(by).public_key()).nonce + 1 + u64::from(n);
                let challenge = set(&world, &validator(by), n);
                world.sign(
                    &validator(by),
                    nonce,
                    Body::Challenged(report(&challenge, None, Outcome::Offline)),
                )
            })
            .collect(),
    );
    let of = |world: &World, subnet, n: u8| {
        world.state.place(subnet, &miner(n).public_key()).map(|place| place.challenges)
    };
    let missed = Some(Counts { offline: 1, ..Counts::default() });
    assert_eq!((of(&world, SubnetId::ROOT, 0), of(&world, ONE, 0)), (missed, missed));
    let none = Some(Counts::default());
    assert_eq!(
        (of(&world, SubnetId::ROOT, 1), of(&world, ONE, 1)),
        (none, missed),
        "it has no place in the root"
    );
    world.advance(5);
    assert_eq!((of(&world, SubnetId::ROOT, 0), of(&world, ONE, 0)), (Some(Counts::default()), missed));
    let report = world.advance(10).report.unwrap();
    assert_eq!((report.subnets[0].miners[0].offline, report.subnets[0].miners[0].availability_ppm), (1, 0));
    assert_eq!(of(&world, ONE, 0), Some(Counts::default()));
}

#[test]
fn without_its_parameter_availability_changes_nothing() {
    let parameters = Parameters::default();
    let missed = Counts { offline: 9, ..Counts::default() };
    assert_eq!(challenge::factor_ppm(&parameters, &missed), 1_000_000);
    let half = Parameters { availability_ppm: 500_000, ..parameters };
    let factor = |counts: Counts| challenge::factor_ppm(&half, &counts);
    assert_eq!(factor(Counts::default()), 1_000_000);
    assert_eq!(factor(missed), 500_000);
    assert_eq!(factor(Counts { online: 3, slow: 1, ..Counts::default() }), 875_000);
    assert_eq!(factor(Counts { online: 3, wrong_device: 1, ..Counts::default() }), 500_000);
}

#[test]
fn the_auditor_checks_outcomes_too() {
    let mut world = ready(|_| ());
    world.commit((0..2).map(|by| timed(&world, by, 0, 9, Outcome::Online)).collect());
    let file = |blocks: &[assay_proto::block::CommittedBlock]| {
        let mut bytes = export::start(world.state.genesis_block());
        blocks.iter().for_each(|block| bytes.extend(export::block_bytes(&block.encode())));
        bytes.extend(export::end(Height(blocks.len() as u64)));
        bytes
    };
    let audit = |bytes: &[u8]| assay_verifier::audit::audit(bytes, &mut |_| ());
    assert!(audit(&file(&world.blocks)).is_ok());
    // The last block again, with an outcome that its answer does not say, signed by enough validators.
    let mut lying = World { blocks: world.blocks.clone(), ..ready(|_| ()) };
    lying.blocks.pop();
    let block = lying.block(vec![timed(&lying, 0, 0, WINDOW_US + 1, Outcome::Online)]);
    let certificate = lying.certificate(&block, &[0, 1, 2]);
    lying.blocks.push(assay_proto::block::CommittedBlock { block, certificate });
    let error = audit(&file(&lying.blocks)).unwrap_err();
    let text = assay_verifier::describe(&error);
    assert!(text.contains("height 3, transaction 0") && text.contains("\"slow\""), "{text}");
}
