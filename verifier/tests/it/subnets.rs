//! Subnets: who registers one, which models and miners are in it, and what of the emission it has.

use assay_proto::genesis::Parameters;
use assay_proto::job::{Job, job_binding};
use assay_proto::receipt::Verdict;
use assay_proto::report::{EpochReport, SubnetEpoch};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::{Number, RegisterSubnet, WeighSubnets};
use assay_proto::transaction::{Body, ProofSystem, RegisterMiner, RegisterModel};
use assay_proto::{Commitment, Envelope, Epoch, ModelId, PublicKey, SecretKey, SubnetId};
use assay_verifier::Reason;
use assay_verifier::proof::{KeyOrigin, Statement};
use assay_verifier::state::{Kind, Record, State};

use crate::trapdoor::Trapdoor;
use crate::world::{Attempt, MODEL, World, client, genesis, miner, plain_job, validator};

pub const ONE: SubnetId = SubnetId(1);
/// The model of subnet 1.
pub const OTHER: ModelId = ModelId([88; 32]);

pub fn number(name: &str, value: u64) -> Number {
    Number { name: name.into(), value }
}

pub fn open() -> RegisterSubnet {
    let task = "digits".into();
    RegisterSubnet { task, models: vec![], proof_system: None, labelled: false, numbers: vec![] }
}

pub fn register(world: &World, by: &SecretKey, body: RegisterSubnet) -> Envelope {
    world.next(by, Body::RegisterSubnet(body))
}

pub fn model(id: ModelId, subnet: SubnetId) -> RegisterModel {
    let verifying_key = Trapdoor::new(id.0, KeyOrigin::TestSeed).bytes;
    let proof_system = ProofSystem::Groth16;
    RegisterModel { model_id: id, name: "other".into(), verifying_key, proof_system, subnet }
}

pub fn serve(world: &World, by: &SecretKey, models: &[ModelId]) -> Envelope {
    let body = RegisterMiner {
        endpoint: "http://m:1".into(),
        model_ids: models.to_vec(),
        devices: Default::default(),
    };
    world.next(by, Body::RegisterMiner(body))
}

pub fn weigh(world: &World, n: u8, weights: &[(SubnetId, u16)]) -> Envelope {
    world.next(&validator(n), Body::WeighSubnets(WeighSubnets { weights: weights.to_vec() }))
}

/// A chain with the model of the root and another one in subnet 1, which is registered with these numbers.
pub fn two(change: impl FnOnce(&mut Parameters), numbers: Vec<Number>) -> World {
    let mut world = World::with(|parameters| {
        parameters.subnet_price = 40;
        change(parameters);
    });
    world.commit(vec![register(&world, &client(1), RegisterSubnet { numbers, ..open() })]);
    world.commit(vec![world.next(&validator(2), Body::RegisterModel(model(OTHER, ONE)))]);
    world
}

/// An honest answer of the model of subnet 1.
pub fn answer(world: &World, nonce: u64, n: u8, proof_us: u64) -> Attempt {
    let job = client(0).sign(&world.chain, Job { model_id: OTHER, ..plain_job(nonce) });
    let outputs = vec![vec![1, -1]];
    let binding = job_binding(&world.chain, &job.id(&world.chain), &miner(n).public_key());
    let statement = Statement::public(binding, job.value().inputs.clone(), outputs.clone());
    let proof = Trapdoor::new(OTHER.0, KeyOrigin::TestSeed).prove(&statement, 0);
    let (outputs, proof) = (Some(outputs), Some(proof));
    Attempt { job, miner: miner(n), outputs, proof, output_us: 100, proof_us, ping_us: 0, elapsed_us: 0 }
}

/// Verified receipts of answers in subnet 1, `(nonce, miner, proof_us)` each.
pub fn answered(world: &World, jobs: &[(u64, u8, u64)]) -> Vec<Envelope> {
    let signed = |(offset, &(nonce, n, proof_us)): (u64, &(u64, u8, u64))| {
        world.signed_receipt(world.receipt(&answer(world, nonce, n, proof_us), Verdict::Verified), offset)
    };
    (1..).zip(jobs).map(signed).collect()
}

fn since(world: &World, subnet: SubnetId, n: u8) -> bool {
    world.state.place(subnet, &miner(n).public_key()).is_some_and(|place| place.since.is_some())
}

fn one(report: &EpochReport) -> &SubnetEpoch {
    assert_eq!(report.subnets[0].subnet, ONE);
    &report.subnets[0]
}

#[test]
fn a_subnet_is_paid_for_by_burning_and_their_number_is_bounded() {
    let mut world = World::with(|parameters| {
        parameters.subnet_price = 30;
        parameters.subnet_slots = 2;
    });
    let poor = world.refusal(register(&world, &miner(0), open()));
    assert!(matches!(poor, Reason::Balance { balance: 0, needed: 30, .. }));
    world.commit(vec![register(&world, &client(1), open())]);
    assert_eq!((world.balance(&client(1)), world.state.supply().burned), (20, 30));
    world.commit(vec![register(&world, &client(0), open())]);
    let ids: Vec<u64> = world.state.subnets().map(|(id, _)| id.0).collect();
    assert_eq!((ids, world.state.subnet(ONE).unwrap().owner), (vec![1, 2], client(1).public_key()));
    assert!(matches!(world.refusal(register(&world, &client(0), open())), Reason::Subnets(2)));
    let none = World::with(|parameters| parameters.subnet_slots = 0);
    assert!(matches!(none.refusal(register(&none, &client(0), open())), Reason::Subnets(0)));
}

#[test]
fn a_subnet_has_numbers_of_its_own_within_their_ranges_and_the_chains_for_the_rest() {
    let world =
        two(|parameters| parameters.kappa = 7, vec![number("immunity_epochs", 0), number("miner_slots", 2)]);
    let own = world.state.parameters_of(ONE);
    assert_eq!((own.immunity_epochs, own.miner_slots, own.kappa), (0, 2, 7));
    assert_eq!(world.state.parameters_of(SubnetId::ROOT), *world.state.parameters());
    for numbers in [vec![number("kappa", 65_536)], vec![number("registration_price_min", 1)]] {
        let refused = world.refusal(register(&world, &client(0), RegisterSubnet { numbers, ..open() }));
        assert!(matches!(refused, Reason::Parameters(_)), "{refused}");
    }
}

#[test]
fn a_subnet_takes_the_models_and_the_proof_system_that_it_names() {
    let mut world = World::with(|parameters| parameters.subnet_price = 0);
    world.commit(vec![register(&world, &client(0), RegisterSubnet { models: vec![OTHER], ..open() })]);
    let halo2 = RegisterSubnet { proof_system: Some(ProofSystem::Halo2), ..open() };
    world.commit(vec![register(&world, &client(0), halo2)]);
    let refused =
        |id, subnet| world.refusal(world.next(&validator(2), Body::RegisterModel(model(id, subnet))));
    let third = ModelId([89; 32]);
    assert!(matches!(refused(third, SubnetId(3)), Reason::SubnetUnknown(SubnetId(3))));
    assert!(matches!(refused(third, ONE), Reason::SubnetModel { subnet: ONE, model } if model == third));
    let system = refused(OTHER, SubnetId(2));
    assert!(matches!(
        system,
        Reason::SubnetSystem { expected: ProofSystem::Halo2, got: ProofSystem::Groth16, .. }
    ));
    world.commit(vec![world.next(&validator(2), Body::RegisterModel(model(OTHER, ONE)))]);
    assert_eq!((world.state.subnet_of(&OTHER), world.state.subnet_of(&MODEL)), (ONE, SubnetId::ROOT));
}

#[test]
fn a_miner_has_a_place_in_the_subnet_of_every_model_and_pays_for_each_once_or_for_none() {
    let prices = vec![
        number("registration_price_max", 100),
        number("registration_price_min", 5),
        number("registrations_target", 0),
    ];
    let mut world = two(
        |parameters| (parameters.registration_price_min, parameters.registration_price_max) = (3, 3),
        prices,
    );
    world.commit(vec![world.transfer(&client(0), miner(0).public_key(), 8)]);
    world.commit(vec![world.transfer(&client(0), miner(1).public_key(), 7)]);
    let both = [MODEL, OTHER];
    let poor = world.refusal(serve(&world, &miner(1), &both));
    assert!(matches!(poor, Reason::Balance { balance: 7, needed: 8, .. }));
    assert!(!since(&world, SubnetId::ROOT, 1) && world.state.registrations_of(ONE).count == 0);
    world.commit(vec![serve(&world, &miner(0), &both)]);
    assert!(since(&world, SubnetId::ROOT, 0) && since(&world, ONE, 0));
    assert_eq!((world.balance(&miner(0)), world.state.registrations_of(ONE).count), (0, 1));
    // What it has it keeps, and does not pay for again.
    world.commit(vec![serve(&world, &miner(0), &[])]);
    world.commit(vec![serve(&world, &miner(0), &both)]);
    // Who serves only there has no place in the root.
    world.commit(vec![serve(&world, &miner(1), &[OTHER])]);
    world.commit(vec![serve(&world, &miner(1), &[])]);
    assert!(!since(&world, SubnetId::ROOT, 1) && since(&world, ONE, 1));
    world.advance(10);
    // Each follows its own demand: two registrations in the second epoch, none in the root after the first.
    assert_eq!((world.state.registrations_of(ONE).price, world.state.registrations().price), (10, 3));
}

#[test]
fn who_has_to_leave_a_subnet_is_who_earned_least_in_it_and_it_keeps_its_other_places() {
    let numbers = vec![number("immunity_epochs", 0), number("miner_slots", 2)];
    let mut world = two(|_| (), numbers);
    world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER]), serve(&world, &miner(1), &[OTHER])]);
    world.commit((0..3).map(|n| weigh(&world, n, &[(SubnetId::ROOT, 1), (ONE, 1)])).collect());
    world.advance(5);
    // Miner 0 earns all of the root and a little of subnet 1, where miner 1 earns most.
    let root = world.verified(&[(1, 0, 500)]);
    world.commit(root);
    world.commit(answered(&world, &[(2, 1, 500), (3, 1, 500), (4, 0, 2000)]));
    let report = world.advance(10).report.unwrap();
    let reward = |rows: &[assay_proto::report::MinerEpoch], n: u8| {
        rows.iter().find(|row| row.miner == miner(n).public_key()).map_or(0, |row| row.reward)
    };
    assert!(reward(&report.miners, 0) > reward(&one(&report).miners, 1));
    assert!(reward(&one(&report).miners, 1) > reward(&one(&report).miners, 0));
    world.commit(vec![serve(&world, &miner(2), &[OTHER])]);
    assert!(!since(&world, ONE, 0) && since(&world, SubnetId::ROOT, 0) && since(&world, ONE, 1));
    let left = world.state.miner(&miner(0).public_key()).unwrap();
    assert_eq!(
        (left.models.iter().collect::<Vec<_>>(), left.endpoint.as_str()),
        (vec![&MODEL], "http://m:1")
    );
    assert_eq!(world.state.place(ONE, &miner(0).public_key()).unwrap().reputation_ppm, 0);
    // Nobody is left who is not new: with immunity there would be no room.
    let mut world = two(|_| (), vec![number("miner_slots", 1)]);
    world.commit(vec![serve(&world, &miner(0), &[OTHER])]);
    assert!(matches!(world.refusal(serve(&world, &miner(1), &[OTHER])), Reason::Miners(1)));
    world.commit(vec![serve(&world, &miner(1), &[MODEL])]);
}

#[test]
fn work_and_reputation_count_in_the_subnet_of_the_model() {
    let mut world = two(|_| (), vec![number("latency_target_us", 250)]);
    world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER])]);
    world.advance(5);
    let root = world.verified(&[(1, 0, 500)]);
    world.commit(root);
    world.commit(answered(&world, &[(2, 0, 500)]));
    let place = |world: &World, subnet| world.state.place(subnet, &miner(0).public_key()).unwrap().clone();
    // The same time is of full quality in the root, and of half of it in the subnet.
    assert_eq!(place(&world, SubnetId::ROOT).work.quality_ppm_sum, 1_000_000);
    assert_eq!(place(&world, ONE).work.quality_ppm_sum, 500_000);
    world.advance(10);
    let honest = place(&world, SubnetId::ROOT).reputation_ppm;
    assert!(honest > place(&world, ONE).reputation_ppm && place(&world, ONE).reputation_ppm > 0);
    let lie = Attempt { proof: Some(vec![3; 160]), ..answer(&world, 3, 0, 500) };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    assert_eq!(
        (place(&world, ONE).reputation_ppm, place(&world, SubnetId::ROOT).reputation_ppm),
        (0, honest)
    );
    assert_eq!(world.state.earned(&miner(0).public_key()), world.balance(&miner(0)));
}

/// Everybody serves both models; shares of the emission after these weights.
fn shares(weights: &[(u8, &[(SubnetId, u16)])]) -> (u64, u64) {
    let mut world = two(|_| (), vec![]);
    world.commit((0..3).map(|n| serve(&world, &miner(n), &[MODEL, OTHER])).collect());
    let said = weights.iter().map(|(n, of)| weigh(&world, *n, of)).collect();
    world.commit(said);
    let report = world.advance(10).report.unwrap();
    (report.root_emission(), one(&report).emission)
}

#[test]
fn the_emission_is_shared_as_validators_with_half_of_the_power_want_it() {
    let half: &[_] = &[(SubnetId::ROOT, 1), (ONE, 1)];
    let all: &[_] = &[(ONE, 7)];
    assert_eq!(shares(&[]), (1000, 0), "who says nothing wants all for the root");
    assert_eq!(shares(&[(0, &[])]), (1000, 0));
    assert_eq!(shares(&[(0, half), (1, half), (2, half)]), (500, 500));
    assert_eq!(shares(&[(0, all), (1, all), (2, all)]), (0, 1000));
    // 4 of 10 get nothing for their subnet, whatever it pays itself for work; 6 of 10 do.
    assert_eq!(shares(&[(0, all)]), (1000, 0));
    assert_eq!(shares(&[(1, all), (2, all)]), (0, 1000));
    // 7 of 10 want half of it, the others nothing: ranks 1/2 and 7/20.
    assert_eq!(shares(&[(0, half), (1, half)]).1, 1000 * 7 / 17);
}

#[test]
fn only_validators_weigh_subnets_and_only_those_that_there_are() {
    let world = two(|_| (), vec![]);
    let body = Body::WeighSubnets(WeighSubnets { weights: vec![] });
    assert!(matches!(world.refusal(world.next(&client(0), body)), Reason::NotValidator(_)));
    assert!(matches!(
        world.refusal(weigh(&world, 0, &[(SubnetId(2), 1)])),
        Reason::SubnetUnknown(SubnetId(2))
    ));
}

#[test]
fn a_subnet_without_verified_work_mints_nothing() {
    let mut world = two(|_| (), vec![]);
    world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER])]);
    world.commit((0..3).map(|n| weigh(&world, n, &[(SubnetId::ROOT, 1), (ONE, 1)])).collect());
    world.advance(5);
    let root = world.verified(&[(1, 0, 500)]);
    world.commit(root);
    let report = world.advance(10).report.unwrap();
    assert_eq!((one(&report).minted(), report.minted()), (0, 500));
    world.commit(answered(&world, &[(2, 0, 500)]));
    let report = world.advance(15).report.unwrap();
    // The emission has halved.
    assert_eq!((one(&report).emission, one(&report).minted(), report.minted()), (250, 249, 249));
    assert_eq!(world.state.supply().minted, 749);
}

fn scores(epoch: u64, n: u8, subnet: SubnetId, of: &[(u8, u16)]) -> RevealScores {
    let mut scores: Vec<(PublicKey, u16)> =
        of.iter().map(|&(n, score)| (miner(n).public_key(), score)).collect();
    scores.sort_unstable();
    RevealScores { epoch: Epoch(epoch), scores, salt: [n; 32], subnet }
}

fn commit(world: &World, n: u8, scores: &RevealScores) -> Envelope {
    let commitment = scores.commitment(&world.chain, &validator(n).public_key());
    let body = CommitScores { epoch: scores.epoch, commitment, subnet: scores.subnet };
    world.next(&validator(n), Body::CommitScores(body))
}

#[test]
fn scores_are_of_one_subnet_and_decide_there_alone() {
    let mut world = two(|_| (), vec![]);
    world.commit((0..2).map(|n| serve(&world, &miner(n), &[MODEL, OTHER])).collect());
    world.commit((0..3).map(|n| weigh(&world, n, &[(SubnetId::ROOT, 1), (ONE, 1)])).collect());
    world.advance(5);
    let said: Vec<_> = (0..3).map(|n| scores(2, n, ONE, &[(1, 9)])).collect();
    world.commit((0..3_u8).zip(&said).map(|(n, scores)| commit(&world, n, scores)).collect());
    world.advance(10);
    let show =
        |(n, scores): (u8, &RevealScores)| world.next(&validator(n), Body::RevealScores(scores.clone()));
    // Shown for another subnet it is not what was committed to.
    let moved = RevealScores { subnet: SubnetId::ROOT, ..said[0].clone() };
    assert!(matches!(world.refusal(show((0, &moved))), Reason::ScoresUnknown { .. }));
    let shown = (0..3_u8).zip(&said).map(show).collect();
    world.commit(shown);
    let root = world.verified(&[(1, 0, 500), (2, 1, 500)]);
    world.commit(root);
    world.commit(answered(&world, &[(3, 0, 500), (4, 1, 500)]));
    let report = world.advance(15).report.unwrap();
    assert!(!report.scored && one(&report).scored);
    let reward = |rows: &[assay_proto::report::MinerEpoch], n: u8| {
        rows.iter().find(|row| row.miner == miner(n).public_key()).unwrap().reward
    };
    // The emission has halved: 250 each, half of it for miners.
    assert_eq!([0, 1].map(|n| reward(&report.miners, n)), [62, 62]);
    assert_eq!([0, 1].map(|n| reward(&one(&report).miners, n)), [0, 125]);
    let ballot = world.state.ballot_of(ONE, &validator(0).public_key()).unwrap();
    assert!(ballot.bonds.len() == 1 && world.state.ballot(&validator(0).public_key()).is_none());
}

#[test]
fn only_the_validators_of_the_greatest_power_have_a_say_where_permits_are_few() {
    let mut world = two(|_| (), vec![number("validator_permits", 1)]);
    world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER])]);
    world.commit((0..3).map(|n| weigh(&world, n, &[(ONE, 1)])).collect());
    let own = |n| scores(2, n, ONE, &[(0, 9)]);
    for n in [1, 2] {
        let refused = world.refusal(commit(&world, n, &own(n)));
        assert!(
            matches!(refused, Reason::Permit { subnet: ONE, validator: key } if key == validator(n).public_key())
        );
    }
    world.commit(vec![commit(&world, 0, &own(0))]);
    world.advance(10);
    world.commit(vec![world.next(&validator(0), Body::RevealScores(own(0)))]);
    world.commit(answered(&world, &[(1, 0, 500)]));
    let report = world.advance(15).report.unwrap();
    // All power that has a say showed its scores.
    let voters: Vec<_> = one(&report).validators.iter().map(|row| (row.validator, row.reward)).collect();
    assert_eq!((one(&report).scored, voters), (true, vec![(validator(0).public_key(), 250)]));
    assert_eq!(report.validators.len(), 3);
    let body = CommitScores { epoch: Epoch(4), commitment: Commitment([1; 32]), subnet: SubnetId(2) };
    let unknown = world.refusal(world.next(&validator(0), Body::CommitScores(body)));
    assert!(matches!(unknown, Reason::SubnetUnknown(SubnetId(2))));
}

#[test]
fn a_state_with_subnets_is_the_one_that_its_records_give() {
    let mut world = two(|_| (), vec![number("miner_slots", 9)]);
    world.commit(vec![serve(&world, &miner(0), &[MODEL, OTHER]), weigh(&world, 0, &[(ONE, 1)])]);
    world.commit(vec![commit(&world, 0, &scores(1, 0, ONE, &[(0, 9)]))]);
    let stored: Vec<_> = world.state.records().map(|record| (record.key(), record.value())).collect();
    let reopened = State::from_records(world.state.genesis_block().clone(), stored).unwrap();
    assert_eq!(reopened.root(), world.state.root());
    assert_eq!(reopened.parameters_of(ONE), world.state.parameters_of(ONE));
    let tags: std::collections::BTreeSet<u8> = world.state.records().map(|record| record.key()[0]).collect();
    assert!((14..=18).all(|tag| tags.contains(&tag)), "{tags:?}");
    assert!(world.state.records().all(|record| world.state.record(&record.key()) == Some(record)));
    let (miner, validator) = (miner(0).public_key(), validator(0).public_key());
    for key in [Kind::Miner.in_subnet(ONE, &miner.0), Kind::Ballot.in_subnet(ONE, &validator.0)] {
        assert!(world.state.siblings(&key.unwrap()).is_some());
    }
    assert!(
        world.state.siblings(&Kind::subnet(ONE)).is_some()
            && Kind::Account.in_subnet(ONE, &miner.0).is_none()
    );
}

/// What a chain without subnets commits to does not depend on what they have. Where this root changes, the format of the state
/// does, and with it whether the logs of before are valid.
#[test]
fn a_chain_without_subnets_has_no_record_of_them() {
    let mut genesis = genesis();
    for name in [
        "subnet_slots",
        "subnet_price",
        "challenge_validators",
        "challenge_side",
        "challenge_rounds",
        "challenge_blocks",
        "hold_blocks",
        "economy_price_ppm",
        "priority_price_ppm",
        "latency_network_us",
    ] {
        genesis.parameters.set(name, 0).unwrap();
    }
    let mut world = World::of(genesis);
    world.commit(vec![world.register_model(1), world.register_miner(0)]);
    world.commit(world.verified(&[(1, 0, 500)]));
    world.advance(10);
    assert!(world.state.records().all(|record| record.key()[0] < 14));
    assert!(!world.state.records().any(|record| matches!(record, Record::Governance(_))));
    let root = "fbb4968a579a9d611034319b84251652d58b9bd3816195ce9e9b77f1615d95bc";
    assert_eq!(world.state.root().to_string(), root);
}
