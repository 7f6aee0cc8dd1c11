//! Scores of validators: when they are taken, whose they are, and what they decide.

use assay_proto::receipt::Verdict;
use assay_proto::report::{EpochReport, MinerEpoch, ValidatorEpoch};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::Body;
use assay_proto::{ChainId, Envelope, Epoch, PublicKey, SecretKey, SubnetId};
use assay_verifier::Reason;
use assay_verifier::scores::Tally;

use crate::world::{Attempt, World, client, miner, parameters, validator};

/// Scores of miners, by their numbers.
fn scores(epoch: u64, salt: u8, of: &[(u8, u16)]) -> RevealScores {
    let mut scores: Vec<(PublicKey, u16)> =
        of.iter().map(|&(n, score)| (miner(n).public_key(), score)).collect();
    scores.sort_unstable();
    RevealScores { epoch: Epoch(epoch), scores, salt: [salt; 32], subnet: SubnetId::ROOT }
}

fn commit(world: &World, by: &SecretKey, scores: &RevealScores) -> Envelope {
    let commitment = scores.commitment(&world.chain, &by.public_key());
    world
        .next(by, Body::CommitScores(CommitScores { epoch: scores.epoch, commitment, subnet: scores.subnet }))
}

fn reveal(world: &World, by: &SecretKey, scores: &RevealScores) -> Envelope {
    world.next(by, Body::RevealScores(scores.clone()))
}

/// One epoch of 5 blocks in which these validators commit to their scores, the next in which some show them and miner 0
/// has verified work; the report of that one.
fn scored(world: &mut World, of: &[(u8, RevealScores)], shown: &[u8]) -> EpochReport {
    world.commit(of.iter().map(|(n, scores)| commit(world, &validator(*n), scores)).collect());
    let last = world.state.head().height.0.next_multiple_of(5);
    world.advance(last);
    let shows = of.iter().filter(|(n, _)| shown.contains(n));
    world.commit(shows.map(|(n, scores)| reveal(world, &validator(*n), scores)).collect());
    let nonce = world.state.client(&client(0).public_key()).map_or(0, |jobs| jobs.latest()) + 1;
    world.commit(world.verified(&[(nonce, 0, 500), (nonce + 1, 1, 500), (nonce + 2, 2, 500)]));
    world.advance(last + 5).report.unwrap()
}

fn row(report: &EpochReport, n: u8) -> MinerEpoch {
    *report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap()
}

fn voter(report: &EpochReport, n: u8) -> ValidatorEpoch {
    *report.validators.iter().find(|row| row.validator == validator(n).public_key()).unwrap()
}

#[test]
fn what_enough_validators_show_decides_who_earns() {
    let mut world = World::ready();
    let all: Vec<_> = (0..3).map(|n| (n, scores(1, n, &[(0, 300), (1, 100)]))).collect();
    let report = scored(&mut world, &all, &[0, 1, 2]);
    assert!(report.scored);
    // All worked alike; the scores are 3 to 1 to nothing, the reputations alike.
    for (n, expected) in [(0, 375), (1, 125), (2, 0)] {
        assert!(row(&report, n).reward.abs_diff(expected) <= 1, "{report:?}");
    }
    let best = row(&report, 0);
    assert!(best.consensus_ppm.abs_diff(750_000) <= 1 && best.incentive_ppm.abs_diff(750_000) <= 1);
    // Everybody agrees, so that dividends are as power: of 500, 4, 3 and 3 tenths.
    let voters = [0, 1, 2].map(|n| voter(&report, n));
    assert!(voters.iter().all(|row| row.revealed && row.trust_ppm > 999_990));
    for (row, expected) in voters.iter().zip([200, 150, 150]) {
        assert!(row.reward.abs_diff(expected) <= 1, "{row:?}");
    }
    assert!(world.state.ballot(&validator(0).public_key()).unwrap().bonds.len() == 2);
}

#[test]
fn verified_work_decides_where_too_few_show_their_scores() {
    let mut world = World::ready();
    let all: Vec<_> = (0..3).map(|n| (n, scores(1, n, &[(0, 300)]))).collect();
    // 6 of 10 are not more than two thirds, 7 are.
    let report = scored(&mut world, &all, &[1, 2]);
    assert!(!report.scored);
    assert_eq!((row(&report, 0).reward, row(&report, 2).reward), (166, 166));
    assert_eq!(voter(&report, 0).reward, 200);
    let mut world = World::ready();
    let report = scored(&mut world, &all, &[0, 2]);
    assert!(report.scored);
    assert_eq!((row(&report, 0).reward, row(&report, 2).reward), (500, 0));
}

#[test]
fn who_does_not_show_its_scores_has_no_dividends() {
    let mut world = World::ready();
    let all: Vec<_> = (0..3).map(|n| (n, scores(1, n, &[(0, 300), (1, 100)]))).collect();
    let report = scored(&mut world, &all, &[0, 1]);
    let silent = voter(&report, 2);
    assert_eq!((silent.reward, silent.dividend_ppm, silent.revealed), (0, 0, false));
    assert!(voter(&report, 0).reward + voter(&report, 1).reward >= 499);
}

#[test]
fn scores_beyond_the_consensus_are_cut() {
    let mut world = World::ready();
    let mut all: Vec<_> = (0..2).map(|n| (n, scores(1, n, &[(0, 100), (1, 100)]))).collect();
    all.push((2, scores(1, 2, &[(2, 100)])));
    let report = scored(&mut world, &all, &[0, 1, 2]);
    assert_eq!((row(&report, 2).consensus_ppm, row(&report, 2).reward), (0, 0));
    assert_eq!((voter(&report, 2).trust_ppm, voter(&report, 2).reward), (0, 0));
}

#[test]
fn reputation_weighs_the_incentive() {
    let mut world = World::ready();
    let all: Vec<_> = (0..3).map(|n| (n, scores(1, n, &[(0, 100), (1, 100)]))).collect();
    world.commit(all.iter().map(|(n, scores)| commit(&world, &validator(*n), scores)).collect());
    world.advance(5);
    world.commit(all.iter().map(|(n, scores)| reveal(&world, &validator(*n), scores)).collect());
    world.commit(world.verified(&[(1, 0, 500)]));
    let lie = Attempt { proof: Some(vec![3; 160]), ..world.attempt(world.job(&client(0), 2), miner(1)) };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    let report = world.advance(10).report.unwrap();
    // Half of the incentive each, but one of them lied.
    assert!(row(&report, 1).incentive_ppm.abs_diff(500_000) <= 1);
    assert_eq!((row(&report, 0).reward, row(&report, 1).reward), (500, 0));
}

#[test]
fn an_epoch_without_verified_work_mints_nothing_whatever_was_shown() {
    let mut world = World::ready();
    let all: Vec<_> = (0..3).map(|n| (n, scores(1, n, &[(0, 100)]))).collect();
    world.commit(all.iter().map(|(n, scores)| commit(&world, &validator(*n), scores)).collect());
    world.advance(5);
    world.commit(all.iter().map(|(n, scores)| reveal(&world, &validator(*n), scores)).collect());
    let report = world.advance(10).report.unwrap();
    assert!(report.scored);
    assert_eq!((report.minted(), world.state.supply().minted), (0, 0));
}

#[test]
fn scores_are_committed_to_in_their_epoch_and_shown_in_the_next() {
    let mut world = World::ready();
    let by = validator(0);
    let first = scores(1, 0, &[(0, 1)]);
    for other in [0, 2, u64::MAX] {
        let refused = world.refusal(commit(&world, &by, &scores(other, 0, &[(0, 1)])));
        assert!(matches!(refused, Reason::ScoresEpoch { expected: Epoch(1), .. }), "{refused}");
    }
    world.commit(vec![commit(&world, &by, &first)]);
    let again = world.refusal(commit(&world, &by, &scores(1, 5, &[(1, 1)])));
    assert!(matches!(again, Reason::ScoresSealed { epoch: Epoch(1), .. }));
    let early = world.refusal(reveal(&world, &by, &first));
    assert!(matches!(early, Reason::ScoresEpoch { expected: Epoch(0), got: Epoch(1) }));
    world.advance(5);
    world.commit(vec![reveal(&world, &by, &first)]);
    let twice = world.refusal(reveal(&world, &by, &first));
    assert!(matches!(twice, Reason::ScoresUnknown { epoch: Epoch(1), .. }));
    let silent = world.refusal(reveal(&world, &validator(1), &first));
    assert!(matches!(silent, Reason::ScoresUnknown { .. }));
}

#[test]
fn scores_that_were_not_shown_in_time_are_lost() {
    let mut world = World::ready();
    let first = scores(1, 0, &[(0, 1)]);
    world.commit(vec![commit(&world, &validator(0), &first)]);
    world.advance(10);
    let late = world.refusal(reveal(&world, &validator(0), &first));
    assert!(matches!(late, Reason::ScoresEpoch { expected: Epoch(2), got: Epoch(1) }));
    assert!(world.state.ballot(&validator(0).public_key()).unwrap().sealed.is_empty());
}

#[test]
fn only_validators_have_a_say() {
    let mut world = World::ready();
    let own = scores(1, 0, &[(0, 1)]);
    let refused = world.refusal(commit(&world, &miner(0), &own));
    assert!(matches!(refused, Reason::NotValidator(key) if key == miner(0).public_key()));
    world.advance(5);
    let refused = world.refusal(reveal(&world, &miner(0), &own));
    assert!(matches!(refused, Reason::NotValidator(_)));
}

#[test]
fn only_what_was_committed_to_is_shown_and_only_by_its_committer() {
    let mut world = World::ready();
    let (own, other) = (scores(1, 0, &[(0, 300), (1, 7)]), validator(1));
    let sealed = own.commitment(&world.chain, &validator(0).public_key());
    // Validator 1 copies the commitment, and its scores once they are shown.
    let copy =
        Body::CommitScores(CommitScores { epoch: Epoch(1), commitment: sealed, subnet: SubnetId::ROOT });
    world.commit(vec![commit(&world, &validator(0), &own), world.next(&other, copy)]);
    world.advance(5);
    let mismatch =
        |reason: Reason| matches!(reason, Reason::ScoresCommitment { expected, .. } if expected == sealed);
    assert!(mismatch(world.refusal(reveal(&world, &other, &own))));
    for changed in
        [scores(1, 0, &[(0, 301), (1, 7)]), scores(1, 1, &[(0, 300), (1, 7)]), scores(1, 0, &[(0, 300)])]
    {
        assert!(mismatch(world.refusal(reveal(&world, &validator(0), &changed))));
    }
    let foreign = own.commitment(&ChainId::new("test-other").unwrap(), &validator(0).public_key());
    assert_ne!(foreign, sealed);
    world.commit(vec![reveal(&world, &validator(0), &own)]);
}

#[test]
fn nobody_scores_itself_nor_a_miner_that_came_later() {
    let mut world = World::ready();
    // Validator 2 is a miner too, and miner 0 takes its place anew after the commitments.
    let itself = validator(2);
    let registration = |world: &World| {
        let body = assay_proto::transaction::RegisterMiner {
            endpoint: "http://v:1".into(),
            model_ids: vec![],
            devices: Default::default(),
        };
        world.next(&itself, Body::RegisterMiner(body))
    };
    world.commit(vec![registration(&world)]);
    let late = miner(5);
    let own = |n: u8| {
        let mut all =
            vec![(itself.public_key(), 500), (late.public_key(), 500), (miner(1).public_key(), 500)];
        all.sort_unstable();
        RevealScores { epoch: Epoch(1), scores: all, salt: [n; 32], subnet: SubnetId::ROOT }
    };
    // The least power that agrees on something is its own: it gives its own miner all it has.
    let all: Vec<_> = (0..3).map(|n| (n, own(n))).collect();
    world.commit(all.iter().map(|(n, scores)| commit(&world, &validator(*n), scores)).collect());
    let body = assay_proto::transaction::RegisterMiner {
        endpoint: "http://l:1".into(),
        model_ids: vec![],
        devices: Default::default(),
    };
    world.commit(vec![world.next(&late, Body::RegisterMiner(body))]);
    world.advance(5);
    world.commit(all.iter().map(|(n, scores)| reveal(&world, &validator(*n), scores)).collect());
    world.commit(world.verified(&[(1, 1, 500)]));
    let report = world.advance(10).report.unwrap();
    let share =
        |key: PublicKey| report.miners.iter().find(|row| row.miner == key).map_or(0, |row| row.incentive_ppm);
    assert_eq!(share(late.public_key()), 0);
    // 7 of 10 give validator 2 half of their scores, itself none: R is 0.35 and 0.35 + 0.15 (what it gives is cut).
    assert_eq!(share(itself.public_key()) / 1000, 411);
    assert_eq!(share(miner(1).public_key()) / 1000, 588);
}

#[test]
fn own_scores_count_the_quality_of_what_one_verified_oneself() {
    let mut world = World::ready();
    let mut tally = Tally::default();
    let attempt = |world: &World, nonce, n| world.attempt(world.job(&client(0), nonce), miner(n));
    world.commit(world.verified(&[(1, 0, 500), (2, 0, 1000), (3, 1, 2000), (4, 2, 500)]));
    let lie = Attempt { proof: Some(vec![3; 160]), ..attempt(&world, 5, 2) };
    let absent = Attempt { outputs: None, proof: None, ..attempt(&world, 6, 1) };
    world.commit(vec![
        world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1),
        world.signed_receipt(world.receipt(&absent, Verdict::Absent), 2),
    ]);
    for entry in &world.blocks {
        tally.count(&world.state, SubnetId::ROOT, &validator(0).public_key(), &entry.block);
    }
    // Qualities: 1 + 1 for miner 0, 1/2 for miner 1, nothing for a liar.
    let mut expected = vec![(miner(0).public_key(), 65_535), (miner(1).public_key(), 16_383)];
    expected.sort_unstable();
    assert_eq!(tally.scores(&parameters()), expected);
    let mut others = Tally::default();
    for entry in &world.blocks {
        others.count(&world.state, SubnetId::ROOT, &validator(1).public_key(), &entry.block);
    }
    assert_eq!(others.scores(&parameters()), []);
}

#[test]
fn salts_follow_from_the_key_the_chain_the_subnet_and_the_epoch_only() {
    let chain = crate::world::chain();
    let of = |n: u8, chain: &ChainId, epoch| {
        RevealScores::salt(&validator(n), chain, SubnetId::ROOT, Epoch(epoch))
    };
    assert_eq!(of(0, &chain, 1), of(0, &chain, 1));
    let other = ChainId::new("test-other").unwrap();
    let all = [
        of(0, &chain, 1),
        of(1, &chain, 1),
        of(0, &other, 1),
        of(0, &chain, 2),
        RevealScores::salt(&validator(0), &chain, SubnetId(1), Epoch(1)),
    ];
    assert!((1..all.len()).all(|n| !all[n..].contains(&all[n - 1])));
}
