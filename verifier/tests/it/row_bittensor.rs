//! What Bittensor is known for, over real transactions and blocks: subnets, registration with immunity and pruning, permits,
//! commit and reveal, the epoch. That a copier of weights earns less is in `rows`.

use assay_proto::report::{EpochReport, MinerEpoch, SubnetEpoch};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::RegisterSubnet;
use assay_proto::transaction::Body;
use assay_proto::{Envelope, Epoch, PublicKey, SubnetId};
use assay_verifier::Reason;
use assay_verifier::audit::audit;
use assay_verifier::export;

use crate::subnets::{ONE, OTHER, answered, number, open, register, serve, two, weigh};
use crate::world::{World, client, miner, validator};

/// Three places, an epoch of immunity, a say for the validators of the greatest power: 0, and of 1 and 2, whose
/// power is the same, the one with the smaller key.
fn subnet() -> World {
    let numbers =
        vec![number("immunity_epochs", 1), number("miner_slots", 3), number("validator_permits", 2)];
    let mut world = two(
        |parameters| {
            parameters.emission = 1_000_000;
            parameters.halving_epochs = 1_000;
        },
        numbers,
    );
    world.commit((0..3).map(|n| weigh(&world, n, &[(SubnetId::ROOT, 1), (ONE, 1)])).collect());
    world.commit((0..3).map(|n| serve(&world, &miner(n), &[OTHER])).collect());
    assert_eq!(world.state.head().height.0, 5, "the first epoch has ended");
    world
}

fn permitted(world: &World) -> [u8; 2] {
    let has = |&n: &u8| world.state.permitted(ONE).contains(&validator(n).public_key());
    let found: Vec<u8> = (0..3).filter(has).collect();
    found.try_into().expect("two permits")
}

fn scores(epoch: u64, n: u8, of: [u16; 3]) -> RevealScores {
    let named = (0..3).zip(of).filter(|&(_, score)| score > 0);
    let mut scores: Vec<(PublicKey, u16)> = named.map(|(n, score)| (miner(n).public_key(), score)).collect();
    scores.sort_unstable();
    RevealScores { epoch: Epoch(epoch), scores, salt: [n; 32], subnet: ONE }
}

fn commit(world: &World, n: u8, scores: &RevealScores) -> Envelope {
    let commitment = scores.commitment(&world.chain, &validator(n).public_key());
    world.next(
        &validator(n),
        Body::CommitScores(CommitScores { epoch: scores.epoch, commitment, subnet: ONE }),
    )
}

fn one(report: &EpochReport) -> &SubnetEpoch {
    report.subnets.iter().find(|row| row.subnet == ONE).expect("every report has it")
}

fn row(report: &EpochReport, n: u8) -> MinerEpoch {
    *one(report).miners.iter().find(|row| row.miner == miner(n).public_key()).expect("it worked")
}

/// Epoch 2 in which the permitted commit to these scores and epoch 3 in which these of them show theirs; its report.
fn scored(world: &mut World, of: [u16; 3], shown: &[u8]) -> EpochReport {
    let permits = permitted(world);
    world.commit(permits.iter().map(|&n| commit(world, n, &scores(2, n, of))).collect());
    world.advance(10);
    let show = |&n: &u8| world.next(&validator(n), Body::RevealScores(scores(2, n, of)));
    let said: Vec<_> = shown.iter().map(show).collect();
    world.commit(said);
    let work = answered(world, &[(1, 0, 500), (2, 1, 500), (3, 2, 500)]);
    world.commit(work);
    world.advance(15).report.expect("the epoch ends")
}

#[test]
fn bittensor_a_subnet_earns_what_validators_weigh_it_and_its_miners_what_their_scores_say() {
    let mut world = subnet();
    let permits = permitted(&world);
    let report = scored(&mut world, [600, 300, 100], &permits);
    assert_eq!((report.root_emission(), one(&report).emission), (500_000, 500_000));
    // Nobody worked in the root, so nothing is minted there.
    assert_eq!(report.minted(), one(&report).minted());
    for (n, expected) in [(0, 150_000), (1, 75_000), (2, 25_000)] {
        assert!(row(&report, n).reward.abs_diff(expected) <= 10, "{report:?}");
    }
    let voters: Vec<PublicKey> = one(&report).validators.iter().map(|row| row.validator).collect();
    let mut expected = permits.map(|n| validator(n).public_key());
    expected.sort_unstable();
    assert_eq!(voters, expected, "who has no permit has no row");
    assert!(one(&report).validators.iter().all(|row| row.revealed && row.reward > 100_000));
    assert!(world.state.check_supply().is_ok());
}

#[test]
fn bittensor_permits_are_for_those_with_the_most_power() {
    let world = subnet();
    let permits = permitted(&world);
    assert_eq!(permits[0], 0);
    let other = if permits[1] == 1 { 2 } else { 1 };
    assert!(validator(permits[1]).public_key() < validator(other).public_key());
    let refused = world.refusal(commit(&world, other, &scores(2, other, [1, 1, 1])));
    assert!(matches!(refused, Reason::Permit { subnet: ONE, .. }));
}

#[test]
fn bittensor_who_commits_and_does_not_reveal_loses_its_dividends_of_that_epoch() {
    let mut world = subnet();
    // 4 of 7 are no quorum of those with a permit: verified work decides, and power.
    let report = scored(&mut world, [600, 300, 100], &[0]);
    assert!(!one(&report).scored);
    assert!(row(&report, 0).reward.abs_diff(row(&report, 2).reward) <= 1);
    // With the quorum without it, who is silent has nothing.
    let mut world = two(|_| (), vec![]);
    world.commit((0..3).map(|n| weigh(&world, n, &[(ONE, 1)])).collect());
    world.commit((0..3).map(|n| serve(&world, &miner(n), &[OTHER])).collect());
    world.commit((0..3).map(|n| commit(&world, n, &scores(2, n, [6, 3, 1]))).collect());
    world.advance(10);
    let show = |n: u8| world.next(&validator(n), Body::RevealScores(scores(2, n, [6, 3, 1])));
    let said = vec![show(0), show(1)];
    world.commit(said);
    let work = answered(&world, &[(1, 0, 500)]);
    world.commit(work);
    let report = world.advance(15).report.unwrap();
    let silent =
        one(&report).validators.iter().find(|row| row.validator == validator(2).public_key()).unwrap();
    assert_eq!((one(&report).scored, silent.revealed, silent.reward), (true, false, 0));
}

#[test]
fn bittensor_a_newcomer_takes_the_place_of_who_earned_least_and_nobody_that_is_immune_leaves() {
    let mut world = subnet();
    let permits = permitted(&world);
    let placed = |world: &World, n: u8| {
        world.state.place(ONE, &miner(n).public_key()).is_some_and(|place| place.since.is_some())
    };
    // All registered in epoch 1, and are immune in it only; the price is the subnet's.
    let report = scored(&mut world, [600, 300, 100], &permits);
    assert!(row(&report, 2).reward < row(&report, 1).reward);
    world.commit(vec![serve(&world, &miner(3), &[OTHER])]);
    assert_eq!([0, 1, 2, 3].map(|n| placed(&world, n)), [true, true, false, true]);
    // Of the others the one that earned less leaves next, not the newcomer, which earned nothing but is immune.
    world.commit(vec![serve(&world, &miner(4), &[OTHER])]);
    assert_eq!([0, 1, 3, 4].map(|n| placed(&world, n)), [true, false, true, true]);
    world.commit(vec![serve(&world, &miner(5), &[OTHER])]);
    let full = world.refusal(serve(&world, &miner(6), &[OTHER]));
    assert!(matches!(full, Reason::Miners(3)), "{full}");
    // Once immunity has ended, the one that earned nothing goes.
    world.advance(20);
    world.commit(vec![serve(&world, &miner(6), &[OTHER])]);
    assert_eq!((3..7).filter(|&n| placed(&world, n)).count(), 3);
    assert!(placed(&world, 6));
}

#[test]
fn bittensor_registration_is_dearer_where_many_want_in_and_burned() {
    let numbers = vec![
        number("registration_price_max", 64),
        number("registration_price_min", 2),
        number("registrations_target", 1),
    ];
    let mut world = two(|_| (), numbers);
    let fund = |world: &World, offset, n| {
        let body = assay_proto::transaction::Transfer { to: miner(n).public_key(), amount: 100 };
        let nonce = world.state.account(&client(0).public_key()).nonce + offset;
        world.sign(&client(0), nonce, Body::Transfer(body))
    };
    world.commit((1..5).zip(0..4).map(|(offset, n)| fund(&world, offset, n)).collect());
    let burned = world.state.supply().burned;
    world.commit(vec![serve(&world, &miner(0), &[OTHER]), serve(&world, &miner(1), &[OTHER])]);
    world.commit(vec![serve(&world, &miner(2), &[OTHER])]);
    assert_eq!((world.state.head().height.0, world.state.supply().burned - burned), (6, 2 + 2 + 4));
    world.advance(10);
    assert_eq!([world.state.registrations_of(ONE).price, world.state.registrations().price], [4, 0]);
}

#[test]
fn bittensor_an_auditor_computes_every_subnet_again() {
    let mut world = subnet();
    let permits = permitted(&world);
    let report = scored(&mut world, [600, 300, 100], &permits);
    world.commit(vec![register(&world, &client(0), RegisterSubnet { task: "more".into(), ..open() })]);
    let file = |blocks: &[assay_proto::block::CommittedBlock]| -> Vec<u8> {
        let start = export::start(world.state.genesis_block()).into_iter();
        let end = export::end(world.state.head().height);
        start.chain(blocks.iter().flat_map(export::block)).chain(end).collect()
    };
    let accepted = audit(file(&world.blocks).as_slice(), &mut |_| ()).unwrap();
    assert_eq!(accepted.state_root, world.state.root());
    assert_eq!(accepted.epochs.last(), Some(&report));
    let text = assay_verifier::audit::report::render_epoch(&report);
    assert!(
        text.contains("subnet 1, epoch 3 of its own, 500000 of it, shared by the scores of validators"),
        "{text}"
    );
    // Validators that sign another root for the block that ends the epoch do not make it true.
    let mut blocks = world.blocks.clone();
    blocks[14].block.header.state_root.0[0] ^= 1;
    blocks[14].certificate = world.certificate(&blocks[14].block, &[0, 1, 2]);
    let refused = audit(file(&blocks).as_slice(), &mut |_| ()).unwrap_err();
    assert!(assay_verifier::describe(&refused).contains("height 15"), "{refused}");
}
