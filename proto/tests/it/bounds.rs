//! Every named limit refuses the first value past it.

use assay_proto::block::{Block, CommitCertificate, CommittedBlock};
use assay_proto::challenge::{Challenge, ChallengeAnswer, Challenged};
use assay_proto::genesis::{DeviceClass, Genesis, GenesisValidator, Parameters};
use assay_proto::hold::{Release, ReleaseReason};
use assay_proto::inclusion::{InclusionProof, Path};
use assay_proto::job::{Job, Output, Proof, Tier};
use assay_proto::report::EpochReport;
use assay_proto::scores::RevealScores;
use assay_proto::subnet::{VoteParameter, WeighSubnets};
use assay_proto::transaction::{
    Body, Burn, Devices, Lock, ProofSystem, Purpose, RegisterMiner, RegisterModel, Transaction, Transfer,
};
use assay_proto::{Canonical, Epoch, JobId, ModelId, ProtoError, PublicKey, SubnetId, limits, wire};
use prost::Message;

use crate::samples;

fn refused<T: Canonical + std::fmt::Debug>(value: &T) -> ProtoError {
    T::decode(&value.encode()).unwrap_err()
}

#[test]
fn ports_and_elements_of_a_job_are_bounded() {
    let ports = |count| Job { inputs: vec![vec![1]; count], ..samples::job() };
    assert!(Job::decode(&ports(limits::PORTS).encode()).is_ok());
    assert!(matches!(refused(&ports(limits::PORTS + 1)), ProtoError::TooMany { limit: limits::PORTS, .. }));
    let elements = |count| Job { inputs: vec![vec![1; count]], ..samples::job() };
    assert!(Job::decode(&elements(limits::ELEMENTS).encode()).is_ok());
    let error = refused(&elements(limits::ELEMENTS + 1));
    assert!(matches!(error, ProtoError::TooMany { limit: limits::ELEMENTS, .. }));
    let long = Job { inputs: vec![vec![i32::MIN; limits::JOB_BYTES / 5 + 1]], ..samples::job() };
    assert!(matches!(refused(&long), ProtoError::TooLong { limit: limits::JOB_BYTES, .. }));
}

#[test]
fn ports_and_elements_of_an_output_are_bounded() {
    let output = |ports, elements| Output {
        outputs: vec![vec![1; elements]; ports],
        ..samples::output(JobId([0; 32]))
    };
    assert!(Output::decode(&output(limits::PORTS, 1).encode()).is_ok());
    assert!(matches!(refused(&output(limits::PORTS + 1, 1)), ProtoError::TooMany { .. }));
    assert!(matches!(refused(&output(2, limits::ELEMENTS / 2 + 1)), ProtoError::TooMany { .. }));
}

#[test]
fn many_empty_entries_are_counted_before_they_are_allocated() {
    let block = wire::Block {
        header: Some((&samples::header()).into()),
        transactions: vec![wire::Signed::default(); limits::TRANSACTIONS + 1],
    };
    let too_many = |error| {
        matches!(
            error,
            ProtoError::TooMany { what: "transactions of a block", limit: limits::TRANSACTIONS, .. }
        )
    };
    assert!(too_many(Block::decode(&block.encode_to_vec()).unwrap_err()));
    let committed = wire::CommittedBlock { block: Some(block), certificate: None };
    assert!(too_many(CommittedBlock::decode(&committed.encode_to_vec()).unwrap_err()));
    // A message field that occurs twice is merged: its entries add up.
    let half =
        wire::Block { header: None, transactions: vec![wire::Signed::default(); limits::TRANSACTIONS] };
    let half = wire::CommittedBlock { block: Some(half), certificate: None }.encode_to_vec();
    assert!(too_many(CommittedBlock::decode(&[half.clone(), half].concat()).unwrap_err()));
    let signatures = wire::CommitCertificate {
        signatures: vec![wire::CommitSignature::default(); limits::VALIDATORS + 1],
        ..(&samples::committed().certificate).into()
    };
    assert!(matches!(
        CommitCertificate::decode(&signatures.encode_to_vec()),
        Err(ProtoError::TooMany { limit: limits::VALIDATORS, .. })
    ));
}

#[test]
fn numbers_of_a_job_stay_in_their_ranges() {
    for deadline_ms in [0, limits::DEADLINE_MS + 1] {
        let error = refused(&Job { deadline_ms, ..samples::job() });
        assert!(matches!(error, ProtoError::OutOfRange { got, .. } if got == deadline_ms));
    }
}

#[test]
fn proof_bytes_are_bounded() {
    let proof = |length| Proof { proof: vec![1; length], ..samples::proof(JobId([0; 32])) };
    assert!(Proof::decode(&proof(limits::PROOF_BYTES).encode()).is_ok());
    let error = refused(&proof(limits::PROOF_BYTES + 1));
    assert!(matches!(error, ProtoError::TooLong { limit: limits::PROOF_BYTES, .. }));
}

fn model(name: &str, key: usize) -> Transaction {
    let body = RegisterModel {
        model_id: ModelId([1; 32]),
        name: name.into(),
        verifying_key: vec![0; key],
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    Transaction { nonce: 1, body: Body::RegisterModel(body) }
}

#[test]
fn names_and_keys_of_models_are_bounded() {
    assert!(Transaction::decode(&model(&"n".repeat(256), 8).encode()).is_ok());
    for name in ["", "a\nb", "a\u{7f}", &"n".repeat(257)] {
        assert!(matches!(refused(&model(name, 8)), ProtoError::Text { what: "model name", .. }), "{name:?}");
    }
    let error = refused(&model("m", limits::VERIFYING_KEY_BYTES + 1));
    assert!(matches!(error, ProtoError::TooLong { limit: limits::VERIFYING_KEY_BYTES, .. }));
}

fn miner(endpoint: &str, models: Vec<ModelId>) -> Transaction {
    let body = RegisterMiner { endpoint: endpoint.into(), model_ids: models, devices: Default::default() };
    Transaction { nonce: 1, body: Body::RegisterMiner(body) }
}

#[test]
fn endpoints_and_models_of_miners_are_bounded() {
    assert!(Transaction::decode(&miner("https://host:1", vec![]).encode()).is_ok());
    let long = format!("http://{}", "h".repeat(250));
    for endpoint in ["", "http://", "ftp://host", "host:1", "http://a b", "http://é", long.as_str()] {
        let error = refused(&miner(endpoint, vec![]));
        assert!(matches!(error, ProtoError::Text { what: "endpoint", .. }), "{endpoint:?}");
    }
    let ids = |count: usize| (0..count).map(|n| ModelId([u8::try_from(n).unwrap(); 32])).collect();
    assert!(Transaction::decode(&miner("http://h", ids(limits::MODELS_PER_MINER)).encode()).is_ok());
    let error = refused(&miner("http://h", ids(limits::MODELS_PER_MINER + 1)));
    assert!(matches!(error, ProtoError::TooMany { limit: limits::MODELS_PER_MINER, .. }));
    let twice = refused(&miner("http://h", vec![ModelId([1; 32]), ModelId([2; 32]), ModelId([1; 32])]));
    assert_eq!(twice, ProtoError::Duplicate { what: "model of a miner" });
}

#[test]
fn a_transfer_of_nothing_is_refused() {
    let body = Body::Transfer(Transfer { to: PublicKey([1; 32]), amount: 0 });
    assert!(matches!(
        refused(&Transaction { nonce: 1, body }),
        ProtoError::OutOfRange { what: "amount", .. }
    ));
}

#[test]
fn a_transaction_without_a_body_is_refused() {
    let bytes = wire::Transaction { nonce: 1, body: None }.encode_to_vec();
    assert_eq!(Transaction::decode(&bytes), Err(ProtoError::Missing { what: "body of a transaction" }));
}

#[test]
fn unknown_proof_systems_are_refused_and_groth16_is_the_one_that_is_not_written() {
    let wire = wire::Transaction::from(&model("m", 8));
    let with = |proof_system: i32| {
        let mut wire = wire.clone();
        if let Some(wire::transaction::Body::RegisterModel(body)) = &mut wire.body {
            body.proof_system = proof_system;
        }
        wire.encode_to_vec()
    };
    assert_eq!(with(0), model("m", 8).encode());
    assert!(Transaction::decode(&with(1)).is_ok());
    for system in [2, -1] {
        let expected = ProtoError::UnknownValue { what: "proof system", got: system };
        assert_eq!(Transaction::decode(&with(system)), Err(expected));
    }
}

#[test]
fn unknown_and_unspecified_verdicts_are_refused() {
    for verdict in [0, 6, -1] {
        let receipt = samples::receipt(assay_proto::receipt::Verdict::Absent);
        let bytes = wire::Receipt { verdict, ..(&receipt).into() }.encode_to_vec();
        let got = assay_proto::receipt::Receipt::decode(&bytes);
        assert_eq!(got, Err(ProtoError::UnknownValue { what: "verdict", got: verdict }));
    }
}

fn broken_genesis(change: impl FnOnce(&mut Genesis)) -> ProtoError {
    let mut genesis = samples::genesis();
    change(&mut genesis);
    let error = refused(&genesis);
    assert_eq!(genesis.check(), Err(error.clone()));
    error
}

#[test]
fn a_genesis_needs_validators_ascending_keys_and_sums_that_fit() {
    let missing = broken_genesis(|genesis| genesis.validators.clear());
    assert!(matches!(missing, ProtoError::Missing { .. }));
    let twice = broken_genesis(|genesis| genesis.validators.push(genesis.validators[0]));
    assert!(matches!(twice, ProtoError::NotCanonical { .. }));
    let order = broken_genesis(|genesis| genesis.accounts.reverse());
    assert!(matches!(order, ProtoError::NotCanonical { .. }));
    let powerless = broken_genesis(|genesis| {
        genesis.validators.push(GenesisValidator { public_key: PublicKey([9; 32]), power: 0 });
    });
    assert!(matches!(powerless, ProtoError::OutOfRange { what: "voting power", got: 0, .. }));
    let rich = broken_genesis(|genesis| genesis.accounts[0].balance = u64::MAX);
    assert!(matches!(rich, ProtoError::OutOfRange { what: "total of the balances", .. }));
}

#[test]
fn parameters_stay_in_their_ranges() {
    let broken = [
        broken_genesis(|genesis| genesis.parameters.tempo = 0),
        broken_genesis(|genesis| genesis.parameters.tempo = limits::TEMPO + 1),
        broken_genesis(|genesis| genesis.parameters.emission = limits::EMISSION + 1),
        broken_genesis(|genesis| genesis.parameters.halving_epochs = 0),
        broken_genesis(|genesis| genesis.parameters.reputation_rate_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.latency_target_us = 0),
        broken_genesis(|genesis| genesis.parameters.slash_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.collateral_slash_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.unbonding_blocks = limits::UNBONDING_BLOCKS + 1),
        broken_genesis(|genesis| genesis.parameters.miner_slots = limits::MINERS + 1),
        broken_genesis(|genesis| genesis.parameters.prepaid = 2),
        broken_genesis(|genesis| genesis.parameters.kappa = 65_536),
        broken_genesis(|genesis| genesis.parameters.floor_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.bonds_penalty_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.bonds_rate_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.liquid_high_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.liquid_low_ppm = 1),
        broken_genesis(|genesis| genesis.parameters.liquid_steepness_ppm = limits::STEEPNESS_PPM + 1),
        broken_genesis(|genesis| genesis.parameters.registration_price_min = 1),
        broken_genesis(|genesis| genesis.parameters.challenge_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.availability_ppm = limits::PPM + 1),
        broken_genesis(|genesis| genesis.parameters.hold_blocks = limits::HOLD_BLOCKS + 1),
        broken_genesis(|genesis| genesis.parameters.price_floor = limits::EMISSION + 1),
        broken_genesis(|genesis| genesis.parameters.economy_price_ppm = limits::TIER_PPM + 1),
        broken_genesis(|genesis| genesis.parameters.priority_price_ppm = limits::TIER_PPM + 1),
        broken_genesis(|genesis| genesis.parameters.latency_network_us = limits::LATENCY_NETWORK_US + 1),
        broken_challenges(|parameters| parameters.challenge_side = 128),
        broken_challenges(|parameters| parameters.challenge_side = 0),
        broken_challenges(|parameters| parameters.challenge_rounds = 0),
        // 256 * 256 * 257 multiply-adds a row.
        broken_challenges(|parameters| parameters.challenge_rounds = 257),
        broken_challenges(|parameters| parameters.challenge_validators = 0),
        broken_challenges(|parameters| parameters.challenge_validators = limits::CHALLENGE_VALIDATORS + 1),
        broken_challenges(|parameters| parameters.challenge_blocks = 0),
        broken_challenges(|parameters| parameters.challenge_blocks = limits::CHALLENGE_BLOCKS + 1),
        broken_genesis(|genesis| genesis.classes[0].id = 0),
        broken_genesis(|genesis| genesis.classes[0].rate = 0),
        broken_genesis(|genesis| genesis.classes[0].collateral_ppm = limits::COLLATERAL_PPM + 1),
        broken_genesis(|genesis| genesis.parameters.stake_per_power = limits::STAKE_PER_POWER - 1),
        broken_genesis(|genesis| {
            genesis.parameters.stake_per_power = limits::STAKE_PER_POWER;
            genesis.parameters.unbonding_blocks = genesis.parameters.tempo * 2 + 1;
        }),
    ];
    for error in broken {
        assert!(matches!(error, ProtoError::OutOfRange { .. }), "{error}");
    }
}

fn broken_challenges(change: impl FnOnce(&mut Parameters)) -> ProtoError {
    broken_genesis(|genesis| {
        genesis.parameters.challenge_ppm = 1;
        change(&mut genesis.parameters);
    })
}

#[test]
fn device_classes_are_bounded_and_none_is_there_twice() {
    let twice = broken_genesis(|genesis| genesis.classes.push(genesis.classes[0]));
    assert!(matches!(twice, ProtoError::NotCanonical { .. }));
    let class = |id| DeviceClass { id, ..samples::genesis().classes[0] };
    let many = broken_genesis(|genesis| genesis.classes = (1..=65).map(class).collect());
    assert!(matches!(many, ProtoError::TooMany { limit: limits::CLASSES, .. }));
}

#[test]
fn devices_are_counted_if_and_only_if_they_have_a_class() {
    for (class, count) in [(0, 1), (1, 0), (1, 65_537)] {
        let devices = Devices { class, count };
        let body = RegisterMiner { endpoint: "http://h:1".into(), model_ids: vec![], devices };
        let error = refused(&Transaction { nonce: 1, body: Body::RegisterMiner(body) });
        assert!(matches!(error, ProtoError::OutOfRange { what: "number of devices", .. }), "{error}");
    }
}

#[test]
fn challenges_and_answers_are_bounded() {
    for (side, rounds) in [(0, 1), (32, 1), (16_384, 1), (16, 0), (16, 1025), (4096, 2)] {
        let error = refused(&Challenge { side, rounds, ..samples::challenge() });
        assert!(matches!(error, ProtoError::OutOfRange { .. }), "{error}");
    }
    let answer = |rows| ChallengeAnswer { rows: vec![[1; 8]; rows], ..samples::answer() };
    assert!(ChallengeAnswer::decode(&answer(4096).encode()).is_ok());
    let error = refused(&answer(4104));
    assert!(matches!(error, ProtoError::TooLong { limit: limits::ANSWER_BYTES, .. }), "{error}");
    let mut odd = wire::ChallengeAnswer::from(&samples::answer());
    odd.rows.push(0);
    let error = ChallengeAnswer::decode(&odd.encode_to_vec()).unwrap_err();
    assert!(matches!(error, ProtoError::Length { expected: 8, got: 1, .. }), "{error}");
    // The network takes no longer than the answer did.
    let body = Challenged { network_us: 901, ..samples::challenged() };
    let error = refused(&Transaction { nonce: 1, body: Body::Challenged(body) });
    assert!(matches!(error, ProtoError::OutOfRange { what: "time of the network in us", .. }), "{error}");
    let body = Body::Challenged(samples::challenged());
    for unknown in [0, 5] {
        let error = broken_body(body.clone(), |body| match body {
            wire::transaction::Body::Challenged(body) => body.outcome = unknown,
            _ => panic!("not a challenge"),
        });
        assert!(matches!(error, ProtoError::UnknownValue { what: "outcome", .. }), "{error}");
    }
}

#[test]
fn tiers_and_reasons_are_known_ones() {
    let mut job = wire::Job::from(&samples::job());
    job.tier = 3;
    let error = Job::decode(&job.encode_to_vec()).unwrap_err();
    assert!(matches!(error, ProtoError::UnknownValue { what: "tier", .. }), "{error}");
    let release = Release { client: PublicKey([1; 32]), nonce: 1, reason: ReleaseReason::NoMiner };
    for unknown in [0, 3] {
        let error = broken_body(Body::Release(release), |body| match body {
            wire::transaction::Body::Release(body) => body.reason = unknown,
            _ => panic!("not a release"),
        });
        assert!(matches!(error, ProtoError::UnknownValue { what: "reason of a release", .. }), "{error}");
    }
    assert_eq!("priority".parse(), Ok(Tier::Priority));
    assert!("fast".parse::<Tier>().is_err());
}

#[test]
fn a_genesis_that_check_accepts_decodes() {
    assert_eq!(samples::genesis().check(), Ok(()));
    let sum = |genesis: &Genesis| genesis.validators.iter().map(|validator| validator.power).sum::<u64>();
    let mut heavy = samples::genesis();
    heavy.validators[0].power = limits::TOTAL_POWER;
    assert_eq!((heavy.check(), sum(&heavy)), (Ok(()), limits::TOTAL_POWER));
    let error = broken_genesis(|genesis| {
        genesis.validators[0].power = limits::TOTAL_POWER;
        genesis.validators.push(GenesisValidator { public_key: PublicKey([9; 32]), power: 1 });
    });
    assert!(matches!(error, ProtoError::OutOfRange { what: "total voting power", .. }));
}

#[test]
fn shares_of_a_report_are_at_most_one() {
    let mut report = samples::report();
    report.miners[0].incentive_ppm = limits::PPM + 1;
    assert!(matches!(EpochReport::decode(&report.encode()), Err(ProtoError::OutOfRange { .. })));
}

#[test]
fn parameters_are_set_by_their_names() {
    let mut parameters = Parameters::default();
    for (name, value) in Parameters::NAMES.iter().zip(1..) {
        assert_eq!(parameters.set(name, value), Ok(()));
    }
    assert_eq!((parameters.tempo, parameters.emission, parameters.fee), (1, 2, 6));
    assert!(matches!(parameters.set("Fee", 1), Err(ProtoError::Text { what: "parameter", .. })));
}

/// What the decoder says of a transaction whose wire form was changed.
fn broken_body(body: Body, change: impl FnOnce(&mut wire::transaction::Body)) -> ProtoError {
    let mut wire = wire::Transaction::from(&Transaction { nonce: 1, body });
    change(wire.body.as_mut().unwrap());
    Transaction::decode(&wire.encode_to_vec()).unwrap_err()
}

#[test]
fn a_lock_names_a_validator_if_and_only_if_it_is_a_stake() {
    let lock = |purpose| Body::Lock(Lock { purpose, amount: 1 });
    let with = |body: &mut wire::transaction::Body, change: &dyn Fn(&mut wire::Lock)| match body {
        wire::transaction::Body::Lock(lock) => change(lock),
        _ => panic!("not a lock"),
    };
    let stake = || lock(Purpose::Stake(PublicKey([4; 32])));
    for length in [0, 31, 33] {
        let error = broken_body(stake(), |body| with(body, &|lock| lock.validator = vec![4; length]));
        assert!(matches!(error, ProtoError::Length { expected: 32, .. }), "{error}");
    }
    for purpose in [Purpose::Collateral, Purpose::Escrow] {
        let error = broken_body(lock(purpose), |body| with(body, &|lock| lock.validator = vec![4; 32]));
        assert!(matches!(error, ProtoError::Length { expected: 0, got: 32, .. }), "{error}");
    }
    for unknown in [0, 4] {
        let error = broken_body(stake(), |body| with(body, &|lock| lock.purpose = unknown));
        assert!(matches!(error, ProtoError::UnknownValue { what: "purpose", .. }), "{error}");
    }
    let error = broken_body(stake(), |body| with(body, &|lock| lock.amount = 0));
    assert!(matches!(error, ProtoError::OutOfRange { what: "amount", .. }));
    let error = broken_body(Body::Burn(Burn { amount: 1 }), |body| {
        *body = wire::transaction::Body::Burn(wire::Burn { amount: 0 });
    });
    assert!(matches!(error, ProtoError::OutOfRange { what: "amount", .. }));
}

#[test]
fn scores_are_bounded_in_number_order_and_range() {
    let with = |change: &dyn Fn(&mut wire::RevealScores)| {
        broken_body(Body::RevealScores(samples::scores()), |body| match body {
            wire::transaction::Body::RevealScores(scores) => change(scores),
            _ => panic!("no scores"),
        })
    };
    let zero = with(&|scores| scores.scores[0].score = 0);
    let large = with(&|scores| scores.scores[0].score = 65_536);
    assert!(matches!(zero, ProtoError::OutOfRange { what: "score", .. }));
    assert!(matches!(large, ProtoError::OutOfRange { what: "score", .. }));
    assert!(matches!(with(&|scores| scores.scores.swap(0, 1)), ProtoError::NotCanonical { .. }));
    let twice = with(&|scores| scores.scores[1] = scores.scores[0].clone());
    assert!(matches!(twice, ProtoError::NotCanonical { .. }));
    assert!(matches!(with(&|scores| scores.salt.push(0)), ProtoError::Length { what: "salt", .. }));
    let many = with(&|scores| scores.scores = vec![scores.scores[0].clone(); limits::SCORES + 1]);
    assert!(matches!(many, ProtoError::TooMany { what: "scores", .. }));
}

#[test]
fn a_commitment_is_of_its_chain_its_committer_and_every_part_of_the_scores() {
    let (chain, committer) = (samples::chain(), PublicKey([3; 32]));
    let of = |scores: &RevealScores| scores.commitment(&chain, &committer);
    let scores = samples::scores();
    let other = assay_proto::ChainId::new("test-other").unwrap();
    let mut others =
        vec![scores.commitment(&other, &committer), scores.commitment(&chain, &PublicKey([4; 32]))];
    others.push(of(&RevealScores { epoch: Epoch(8), ..scores.clone() }));
    others.push(of(&RevealScores { salt: [6; 32], ..scores.clone() }));
    others.push(of(&RevealScores { scores: vec![scores.scores[0]], ..scores.clone() }));
    others.push(of(&RevealScores { subnet: SubnetId::ROOT, ..scores.clone() }));
    assert!(!others.contains(&of(&scores)));
}

#[test]
fn a_subnet_is_bounded_and_has_one_form() {
    let sample = samples::transactions().into_iter().find_map(|transaction| match transaction.body {
        Body::RegisterSubnet(body) => Some(body),
        _ => None,
    });
    let sample = Body::RegisterSubnet(sample.unwrap());
    let with = |change: &dyn Fn(&mut wire::RegisterSubnet)| {
        broken_body(sample.clone(), |body| match body {
            wire::transaction::Body::RegisterSubnet(subnet) => change(subnet),
            _ => panic!("no subnet"),
        })
    };
    assert!(matches!(with(&|subnet| subnet.task.clear()), ProtoError::Text { .. }));
    assert!(matches!(with(&|subnet| subnet.model_ids.swap(0, 1)), ProtoError::NotCanonical { .. }));
    let many = with(&|subnet| subnet.model_ids = vec![vec![1; 32]; limits::SUBNET_MODELS + 1]);
    assert!(matches!(many, ProtoError::TooMany { what: "models of a subnet", .. }));
    assert!(matches!(with(&|subnet| subnet.numbers.swap(0, 1)), ProtoError::NotCanonical { .. }));
    let many = with(&|subnet| subnet.numbers = vec![subnet.numbers[0].clone(); limits::SUBNET_NUMBERS + 1]);
    assert!(matches!(many, ProtoError::TooMany { what: "numbers of a subnet", .. }));
    // The chain's own, and none at all.
    for name in ["fee", "kapa"] {
        let other = with(&|subnet| subnet.numbers[0].name = name.into());
        assert!(matches!(other, ProtoError::Text { .. }), "{other}");
    }
    assert!(matches!(with(&|subnet| subnet.proof_system = Some(9)), ProtoError::UnknownValue { .. }));
    assert!(Parameters::OF_SUBNETS.len() <= limits::SUBNET_NUMBERS);
    let named = Parameters::OF_SUBNETS.iter().chain(Parameters::FIXED);
    assert!(named.into_iter().all(|name| Parameters::NAMES.contains(name)));
}

#[test]
fn weights_of_subnets_are_bounded_in_number_order_and_range() {
    let weights = vec![(SubnetId(0), 1), (SubnetId(3), u16::MAX)];
    let with = |change: &dyn Fn(&mut wire::WeighSubnets)| {
        broken_body(Body::WeighSubnets(WeighSubnets { weights: weights.clone() }), |body| match body {
            wire::transaction::Body::WeighSubnets(body) => change(body),
            _ => panic!("no weights"),
        })
    };
    for weight in [0, 65_536] {
        let other = with(&|body| body.weights[0].weight = weight);
        assert!(matches!(other, ProtoError::OutOfRange { what: "weight of a subnet", .. }));
    }
    assert!(matches!(with(&|body| body.weights.swap(0, 1)), ProtoError::NotCanonical { .. }));
    let many = with(&|body| body.weights = vec![body.weights[0]; limits::SUBNETS + 2]);
    assert!(matches!(many, ProtoError::TooMany { what: "weights of subnets", .. }));
}

#[test]
fn a_vote_names_a_number_of_the_rules() {
    let vote = VoteParameter { number: samples::number("fee", 7) };
    let with = |change: &dyn Fn(&mut wire::VoteParameter)| {
        broken_body(Body::VoteParameter(vote.clone()), |body| match body {
            wire::transaction::Body::VoteParameter(body) => change(body),
            _ => panic!("no vote"),
        })
    };
    let other = with(&|body| body.number.as_mut().unwrap().name = "fees".into());
    assert!(matches!(other, ProtoError::Text { .. }));
    assert!(matches!(with(&|body| body.number = None), ProtoError::Missing { .. }));
}

#[test]
fn siblings_are_bounded_in_number_and_length() {
    let proof = |path| InclusionProof {
        path,
        header: samples::header(),
        certificate: samples::committed().certificate,
    };
    let record = |siblings| proof(Path::Record { key: vec![2; 33], value: vec![1], siblings });
    let transaction = samples::committed().block.transactions.remove(0);
    let place = |siblings| {
        proof(Path::Transaction { transaction: transaction.clone(), index: 1, count: 2, siblings })
    };
    for (what, with) in [
        ("siblings of a record", &record as &dyn Fn(Vec<[u8; 32]>) -> InclusionProof),
        ("siblings of a transaction", &place),
    ] {
        let whole = with(vec![[7; 32]; limits::SIBLINGS]);
        assert_eq!(InclusionProof::decode(&whole.encode()), Ok(whole.clone()));
        match refused(&with(vec![[7; 32]; limits::SIBLINGS + 1])) {
            ProtoError::TooMany { what: got, .. } => assert_eq!(got, what),
            other => panic!("{other}"),
        }
        let mut wire = wire::InclusionProof::from(&whole);
        match wire.path.as_mut().unwrap() {
            wire::inclusion_proof::Path::Record(path) => path.siblings[3].pop(),
            wire::inclusion_proof::Path::Transaction(path) => path.siblings[3].pop(),
        };
        let error = InclusionProof::decode(&wire.encode_to_vec()).unwrap_err();
        assert!(matches!(error, ProtoError::Length { what: got, expected: 32, got: 31 } if got == what));
        wire.path = None;
        let error = InclusionProof::decode(&wire.encode_to_vec()).unwrap_err();
        assert!(matches!(error, ProtoError::Missing { .. }), "{error}");
    }
    let long = proof(Path::Record {
        key: vec![2; 33],
        value: vec![0; limits::INCLUSION_PROOF_BYTES],
        siblings: Vec::new(),
    });
    assert!(matches!(refused(&long), ProtoError::TooLong { .. }));
}
