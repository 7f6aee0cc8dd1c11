//! The end of an epoch.

use std::collections::BTreeMap;

use assay_proto::genesis::Parameters;
use assay_proto::limits::{EMISSION, PPM};
use assay_proto::receipt::Verdict;
use assay_proto::report::{EpochReport, MinerEpoch};
use assay_proto::{Envelope, Epoch, Height, PublicKey, SubnetId};
use assay_verifier::certificate::ValidatorSet;
use assay_verifier::epoch::{self, Standing};
use assay_verifier::latency::Measured;
use assay_verifier::state::{Place, Work};
use proptest::prelude::*;

use crate::world::{Attempt, PRICE, World, client, genesis, miner, parameters, validator};

/// Miners that nobody challenged.
fn standing<'a>(miners: &'a BTreeMap<PublicKey, &'a Place>) -> Standing<'a> {
    const UNMEASURED: &BTreeMap<PublicKey, &Measured> = &BTreeMap::new();
    Standing { miners, latencies: UNMEASURED }
}

/// Runs to the end of the epoch, with these transactions in its first block.
fn finish(world: &mut World, transactions: Vec<Envelope>) -> EpochReport {
    let mut transition = world.commit(transactions);
    while transition.report.is_none() {
        transition = world.commit(vec![]);
    }
    transition.report.unwrap()
}

fn row(report: &EpochReport, n: u8) -> &MinerEpoch {
    report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap()
}

/// The attempts of one epoch: two verified by miner 0, one verified by miner 1 at half quality, one lie by miner 2.
fn mixed(world: &World) -> Vec<Envelope> {
    let mut transactions = world.verified(&[(1, 0, 500), (2, 0, 1000), (3, 1, 2000)]);
    let lie = Attempt { proof: Some(vec![0; 160]), ..world.attempt(world.job(&client(0), 4), miner(2)) };
    transactions.push(world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 4));
    let absent = Attempt { outputs: None, proof: None, ..world.attempt(world.job(&client(0), 4), miner(1)) };
    transactions.push(world.signed_receipt(world.receipt(&absent, Verdict::Absent), 5));
    transactions
}

#[test]
fn rewards_follow_verified_work_quality_and_reputation() {
    let mut world = World::ready();
    let transactions = mixed(&world);
    let report = finish(&mut world, transactions);
    assert_eq!((report.epoch, report.height, report.emission), (Epoch(1), Height(5), 1000));

    // Miner 0: quality 1, availability 1. Miner 1: quality 1/2, availability 1/2. Rate 1/2.
    let (honest, slow, liar) = (row(&report, 0), row(&report, 1), row(&report, 2));
    assert_eq!((honest.verified, honest.quality_ppm, honest.reputation_ppm), (2, PPM, 500_000));
    assert_eq!((slow.verified, slow.absent, slow.quality_ppm, slow.reputation_ppm), (1, 1, 500_000, 125_000));
    assert_eq!((liar.invalid, liar.reputation_ppm, liar.reward), (1, 0, 0));
    assert_eq!((honest.incentive_ppm, slow.incentive_ppm, liar.incentive_ppm), (800_000, 200_000, 0));
    // Weights 2 * 1/2 and 1/2 * 1/8: 16 to 1 of 500.
    assert_eq!((honest.reward, slow.reward), (500 * 16 / 17, 500 / 17));
    for row in &report.validators {
        assert_eq!(row.reward, 500 * row.power / 10);
    }

    assert_eq!(world.balance(&miner(0)), 2 * PRICE + honest.reward);
    assert_eq!(world.balance(&miner(2)), 0);
    assert_eq!(world.balance(&validator(0)), 200);
    let supply = world.state.supply();
    assert_eq!(supply.minted, report.minted());
    assert_eq!(supply.minted, honest.reward + slow.reward + 500);
    let record = world.state.miner(&miner(0).public_key()).unwrap();
    assert_eq!((record.root.work, record.root.earned), (Work::default(), 2 * PRICE + honest.reward));
}

#[test]
fn a_liar_earns_nothing_however_much_it_proved() {
    let mut world = World::ready();
    let mut transactions = world.verified(&[(1, 0, 500), (2, 0, 500), (3, 1, 500)]);
    let attempt = world.attempt(world.job(&client(0), 4), miner(0));
    let misfit = Attempt { outputs: Some(vec![]), ..attempt };
    transactions.push(world.signed_receipt(world.receipt(&misfit, Verdict::Malformed), 4));
    let report = finish(&mut world, transactions);
    assert_eq!((row(&report, 0).reputation_ppm, row(&report, 0).reward), (0, 0));
    assert_eq!(row(&report, 1).reward, 500);
    assert_eq!(world.balance(&miner(0)), 2 * PRICE);
}

#[test]
fn an_epoch_without_verified_work_mints_nothing() {
    let mut world = World::ready();
    let absent = Attempt { outputs: None, proof: None, ..world.attempt(world.job(&client(0), 1), miner(0)) };
    let receipt = world.signed_receipt(world.receipt(&absent, Verdict::Absent), 1);
    assert!(!world.state.has_work());
    let report = finish(&mut world, vec![receipt]);
    assert_eq!((report.minted(), row(&report, 0).absent), (0, 1));
    let report = finish(&mut world, vec![]);
    assert_eq!((report.minted(), report.miners.len()), (0, 0));
    assert_eq!(world.state.supply().minted, 0);
}

#[test]
fn reputation_falls_with_absence_and_rests_without_assignments() {
    let mut world = World::ready();
    let transactions = world.verified(&[(1, 0, 500)]);
    finish(&mut world, transactions);
    let report = finish(&mut world, vec![]);
    assert_eq!((row(&report, 0).reputation_ppm, row(&report, 0).reward), (500_000, 0));
    let absent = Attempt { outputs: None, proof: None, ..world.attempt(world.job(&client(0), 2), miner(0)) };
    let receipt = world.signed_receipt(world.receipt(&absent, Verdict::Absent), 1);
    assert!(!world.state.has_work());
    let report = finish(&mut world, vec![receipt]);
    assert_eq!(row(&report, 0).reputation_ppm, 250_000);
}

#[test]
fn emission_halves_and_ends() {
    let of = |number| epoch::emission(&parameters(), Epoch(number), 0);
    assert_eq!([1, 2, 3, 4, 5].map(of), [1000, 1000, 500, 500, 250]);
    assert_eq!([20, 21, 200, u64::MAX].map(of), [1, 0, 0, 0]);
}

#[test]
fn the_supply_never_leaves_64_bits() {
    let huge = Parameters { emission: EMISSION, ..parameters() };
    assert_eq!(epoch::emission(&huge, Epoch(1), u64::MAX - 7), 7);
    assert_eq!(epoch::emission(&huge, Epoch(1), u64::MAX), 0);
}

#[test]
fn quality_is_one_up_to_the_target_and_falls_with_time() {
    let of = |us| epoch::quality_ppm(&parameters(), us);
    assert_eq!([0, 1, 1000, 1001, 2000, 3000].map(of), [PPM, PPM, PPM, 999_000, 500_000, 333_333]);
    assert_eq!(of(u64::MAX), 0);
}

#[test]
fn epochs_are_numbered_from_one_and_end_with_multiples_of_the_tempo() {
    let world = World::empty();
    let of = |height| world.state.epoch_of(SubnetId::ROOT, Height(height)).0;
    assert_eq!([1, 5, 6, 10, 11].map(of), [1, 1, 2, 2, 3]);
}

fn miners() -> impl Strategy<Value = Vec<(u64, u64, u64, u64, u64, u64)>> {
    let counts = (0..50_u64, 0..3_u64, 0..9_u64, 0..9_u64);
    let row = (counts, 0..=PPM, 0..=PPM).prop_map(|((verified, invalid, late, absent), quality, before)| {
        (verified, invalid, late, absent, quality, before)
    });
    prop::collection::vec(row, 0..20)
}

proptest! {
    #[test]
    fn no_epoch_mints_more_than_its_emission_or_rewards_a_liar(rows in miners(), emission in 0..=EMISSION) {
        let parameters = Parameters { emission, ..parameters() };
        let record = |&(verified, invalid, late, absent, quality, reputation_ppm): &(u64, u64, u64, u64, u64, u64)| Place {
            reputation_ppm,
            work: Work { verified, invalid, late, absent, quality_ppm_sum: quality * verified },
            ..Place::default()
        };
        let places: Vec<Place> = rows.iter().map(record).collect();
        let key = |n| PublicKey([u8::try_from(n).unwrap(); 32]);
        let miners = places.iter().enumerate().map(|(n, place)| (key(n), place)).collect();
        let validators = ValidatorSet::of(&genesis());
        let report = epoch::close(&parameters, (SubnetId::ROOT, Epoch(1), emission), &validators, standing(&miners), None);
        prop_assert!(report.minted() <= emission);
        let (mut earned, mut incentive) = (0, 0);
        for row in &report.miners {
            prop_assert!(row.reputation_ppm <= PPM && row.quality_ppm <= PPM);
            prop_assert!(row.invalid == 0 || (row.reward, row.reputation_ppm) == (0, 0));
            prop_assert!(row.verified > 0 || row.reward == 0);
            earned += row.reward;
            incentive += row.incentive_ppm;
        }
        prop_assert!(earned <= emission / 2 && incentive <= PPM);
        let weighty = report.miners.iter().any(|row| row.verified * row.quality_ppm * row.reputation_ppm > 0);
        // Rounding costs less than one unit a miner.
        let count = u64::try_from(report.miners.len()).unwrap();
        prop_assert!(!weighty || earned + count >= emission / 2);
    }

    #[test]
    fn the_largest_numbers_that_the_limits_admit_do_not_overflow(before in 0..=PPM) {
        let verified = 1_u64 << 32;
        let record = Place {
            reputation_ppm: before,
            work: Work { verified, quality_ppm_sum: verified * PPM, ..Work::default() },
            ..Place::default()
        };
        let miners = [(PublicKey([1; 32]), &record)].into();
        let parameters = Parameters { emission: EMISSION, ..parameters() };
        let validators = ValidatorSet::of(&genesis());
        let report = epoch::close(&parameters, (SubnetId::ROOT, Epoch(1), EMISSION), &validators, standing(&miners), None);
        prop_assert_eq!(report.miners[0].reward, EMISSION / 2);
    }
}
