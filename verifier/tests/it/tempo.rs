//! Subnets whose epochs are longer than the chain's: what they gather meanwhile, and what counts until their own end.

use assay_proto::limits::{EMISSION, TEMPO};
use assay_proto::report::{EpochReport, MinerEpoch};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::{RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, RegisterMiner};
use assay_proto::{Epoch, Height, PublicKey, SecretKey, SubnetId};
use assay_verifier::Reason;
use assay_verifier::audit::audit;
use assay_verifier::state::{Record, State, Supply};
use assay_verifier::transition::ends_epoch;

use crate::subnets::{ONE, OTHER, answered, number, open, register, serve, two, weigh};
use crate::world::{MODEL, World, client, genesis, key, miner, validator};

/// The chain's tempo is 5: subnet 1 has epochs of so many blocks, and half of the emission.
fn halved(tempo: u64) -> World {
    let mut world = two(|_| (), vec![number("tempo", tempo)]);
    world.commit((0..2).map(|n| serve(&world, &miner(n), &[MODEL, OTHER])).collect());
    world.commit((0..3).map(|n| weigh(&world, n, &[(SubnetId::ROOT, 1), (ONE, 1)])).collect());
    world
}

fn pending(world: &World) -> u64 {
    world.state.subnet(ONE).unwrap().pending_emission
}

fn row(rows: &[MinerEpoch], n: u8) -> MinerEpoch {
    *rows.iter().find(|row| row.miner == miner(n).public_key()).unwrap()
}

#[test]
fn the_tempo_of_a_subnet_is_a_multiple_of_the_chains() {
    // Stake has a vote: what that asks of the tempo it asks of the chain's.
    let world = World::with(|parameters| {
        (parameters.stake_per_power, parameters.unbonding_blocks) = (1 << 16, 12);
    });
    let with = |value| {
        let numbers = vec![number("tempo", value)];
        register(&world, &client(0), RegisterSubnet { numbers, ..open() })
    };
    for got in [0, 1, 4, 7, 5 * (TEMPO / 5 + 1), u64::MAX] {
        let refused = world.refusal(with(got));
        assert!(
            matches!(refused, Reason::SubnetTempo { tempo: 5, limit: TEMPO, got: told } if told == got),
            "{refused}"
        );
    }
    for tempo in [5, 10, 1000] {
        let mut world = World::with(|parameters| {
            (parameters.stake_per_power, parameters.unbonding_blocks) = (1 << 16, 12);
        });
        world.commit(vec![with(tempo)]);
        assert_eq!(world.state.parameters_of(ONE).tempo, tempo);
        // It stands in the way of no vote.
        let number = number("fee", 1);
        world.commit(vec![world.next(&validator(0), Body::VoteParameter(VoteParameter { number }))]);
    }
}

#[test]
fn epochs_of_a_subnet_are_numbered_and_end_by_its_own_tempo() {
    let world = halved(15);
    let of = |subnet, height| world.state.epoch_of(subnet, Height(height)).0;
    assert_eq!([1, 5, 6, 15, 16].map(|height| of(ONE, height)), [1, 1, 1, 1, 2]);
    assert_eq!([1, 5, 6, 15, 16].map(|height| of(SubnetId::ROOT, height)), [1, 1, 2, 3, 4]);
    let state = &world.state;
    let ends = |subnet| (1..=30).filter(move |&height| ends_epoch(state, subnet, Height(height)));
    assert_eq!(ends(ONE).collect::<Vec<_>>(), [15, 30]);
    assert_eq!(ends(SubnetId::ROOT).collect::<Vec<_>>(), [5, 10, 15, 20, 25, 30]);
}

#[test]
fn a_subnet_gathers_its_shares_and_what_counts_in_it_until_its_own_epoch_ends() {
    // The chain's first epoch has ended.
    let mut world = halved(15);
    assert_eq!((world.state.head().height, pending(&world)), (Height(5), 500));
    let root = world.verified(&[(1, 0, 500)]);
    world.commit(root);
    world.commit(answered(&world, &[(2, 0, 2_000), (3, 1, 500)]));
    let report = world.advance(10).report.unwrap();
    // What the subnet gathers is not minted yet, nor is it the root's.
    assert_eq!((report.emission, report.minted(), report.subnets.as_slice()), (500, 500, [].as_slice()));
    assert_eq!((pending(&world), world.state.supply().minted), (1_000, 500));
    // Work, latencies and places are as they were: the end of the chain's epoch is not the subnet's.
    let place = |world: &World, n: u8| world.state.place(ONE, &miner(n).public_key()).unwrap().clone();
    assert_eq!([0, 1].map(|n| place(&world, n).work.verified), [1, 1]);
    let measured =
        |world: &World| [0, 1].map(|n| world.state.latencies(ONE)[&miner(n).public_key()].latency_us());
    assert_eq!(measured(&world), [Some(2_000), Some(500)]);
    let report = world.advance(15).report.unwrap();
    // The emission has halved: 500 + 500 + 250.
    let [own] = report.subnets.as_slice() else { panic!("{report:?}") };
    assert_eq!((own.subnet, own.epoch, own.emission, report.epoch), (ONE, Epoch(1), 1_250, Epoch(3)));
    assert_eq!((report.emission, report.root_emission()), (1_500, 250));
    let [slow, fast] = [0, 1].map(|n| row(&own.miners, n));
    assert_eq!((slow.latency_us, slow.quality_ppm, fast.quality_ppm), (2_000, 500_000, 1_000_000));
    // Qualities 1/2 and 1, reputations 1/4 and 1/2: one part and four of 625.
    assert_eq!((slow.reward, fast.reward), (125, 500));
    assert_eq!(pending(&world), 0);
    assert_eq!(place(&world, 0).work.verified, 0);
    assert_eq!(measured(&world), [None, None]);
    // The next epoch begins with nothing.
    let report = world.advance(30).report.unwrap();
    assert_eq!((report.subnets[0].epoch, report.subnets[0].minted()), (Epoch(2), 0));
    let audited = audit(world.exported().as_slice(), &mut |_| {}).unwrap();
    assert_eq!(audited.epochs.last(), Some(&report));
    assert_eq!(audited.supply, *world.state.supply());
}

#[test]
fn scores_are_sealed_and_shown_by_the_epochs_of_their_subnet() {
    let mut world = halved(10);
    let mut of: Vec<(PublicKey, u16)> = vec![(miner(1).public_key(), 9)];
    of.sort_unstable();
    let scores =
        |n: u8, epoch| RevealScores { epoch: Epoch(epoch), scores: of.clone(), salt: [n; 32], subnet: ONE };
    let commit = |world: &World, n: u8, epoch| {
        let commitment = scores(n, epoch).commitment(&world.chain, &validator(n).public_key());
        let body = CommitScores { epoch: Epoch(epoch), commitment, subnet: ONE };
        world.next(&validator(n), Body::CommitScores(body))
    };
    let show = |world: &World, n: u8| world.next(&validator(n), Body::RevealScores(scores(n, 1)));
    // The chain's second epoch is still the first of the subnet.
    world.advance(6);
    let refused = world.refusal(commit(&world, 0, 2));
    assert!(matches!(refused, Reason::ScoresEpoch { expected: Epoch(1), got: Epoch(2) }), "{refused}");
    world.commit((0..3).map(|n| commit(&world, n, 1)).collect());
    let refused = world.refusal(show(&world, 0));
    assert!(matches!(refused, Reason::ScoresEpoch { expected: Epoch(0), got: Epoch(1) }), "{refused}");
    world.advance(10);
    world.commit((0..3).map(|n| show(&world, n)).collect());
    world.commit(answered(&world, &[(1, 0, 500), (2, 1, 500)]));
    // Shown scores outlast the end of the chain's third epoch, and decide at that of the subnet's second.
    let report = world.advance(15).report.unwrap();
    assert!(report.subnets.is_empty());
    let report = world.advance(20).report.unwrap();
    assert!(!report.scored && report.subnets[0].scored && report.subnets[0].validators[0].revealed);
    let [ignored, wanted] = [0, 1].map(|n| row(&report.subnets[0].miners, n).reward);
    assert!(ignored == 0 && wanted > 0);
    assert!(audit(world.exported().as_slice(), &mut |_| {}).is_ok());
}

#[test]
fn a_place_is_immune_by_the_epochs_of_its_subnet() {
    let numbers = vec![number("immunity_epochs", 1), number("miner_slots", 1), number("tempo", 10)];
    let mut world = two(|_| (), numbers);
    let body = |by: &SecretKey, world: &World| {
        let body = RegisterMiner {
            endpoint: "http://m:1".into(),
            model_ids: vec![OTHER],
            devices: Default::default(),
        };
        world.next(by, Body::RegisterMiner(body))
    };
    world.commit(vec![body(&miner(0), &world)]);
    // Two of the chain's epochs are one of the subnet.
    world.advance(8);
    assert!(matches!(world.refusal(body(&key(40), &world)), Reason::Miners(1)));
    world.advance(10);
    world.commit(vec![body(&key(40), &world)]);
    assert!(world.state.place(ONE, &miner(0).public_key()).unwrap().since.is_none());
}

#[test]
fn a_subnet_gathers_no_more_than_a_chain_may_emit_in_an_epoch() {
    let mut world = two(
        |parameters| (parameters.emission, parameters.halving_epochs) = (EMISSION, 100),
        vec![number("tempo", 20)],
    );
    world.commit(vec![serve(&world, &miner(0), &[OTHER])]);
    let weights = |world: &World, n: u8| {
        world.next(&validator(n), Body::WeighSubnets(WeighSubnets { weights: vec![(ONE, 1)] }))
    };
    world.commit((0..3).map(|n| weights(&world, n)).collect());
    world.commit(answered(&world, &[(1, 0, 500)]));
    world.advance(15);
    assert_eq!(pending(&world), EMISSION);
    let report: EpochReport = world.advance(20).report.unwrap();
    assert_eq!((report.emission, row(&report.subnets[0].miners, 0).reward), (EMISSION, EMISSION / 2));
}

#[test]
fn what_subnets_gathered_counts_as_minted_where_the_supply_nears_its_end() {
    let mut world = halved(15);
    // The same chain, rich: 1,300 below the greatest supply, all of it with client 0.
    let Supply { burned, .. } = world.state.supply();
    let minted = u64::MAX - 1_300 - 10_050 + burned;
    let records = world.state.records().map(|record| match record {
        Record::Supply(supply) => Record::Supply(Supply { minted, ..supply }),
        Record::Account(account, own) if account == client(0).public_key() => {
            let balance = own.balance + minted;
            Record::Account(account, assay_verifier::state::Account { balance, ..own })
        }
        other => other,
    });
    let records: Vec<_> = records.map(|record| (record.key(), record.value())).collect();
    world.state = State::from_records(genesis(), records).unwrap();
    let emission = |world: &mut World, height| world.advance(height).report.unwrap().root_emission();
    // Of 1,300 the subnet has 500 already, though none of it is minted; then it has 900. The two halve what is left.
    assert_eq!((pending(&world), emission(&mut world, 10), pending(&world)), (500, 400, 900));
    assert_eq!((emission(&mut world, 15), pending(&world)), (200, 0));
}
