//! Fees, burning and locks: what they need, and that no base unit appears or is lost.

use assay_proto::block::CommittedBlock;
use assay_proto::genesis::{GenesisAccount, Parameters};
use assay_proto::hold::ReleaseReason;
use assay_proto::receipt::Verdict;
use assay_proto::scores::CommitScores;
use assay_proto::subnet::VoteParameter;
use assay_proto::transaction::{Body, Burn, Purpose};
use assay_proto::{Commitment, Envelope, Epoch, PublicKey, SecretKey, SubnetId, limits};
use assay_verifier::Reason;
use assay_verifier::snapshot::{self, SnapshotError};
use assay_verifier::state::{KeyCache, Record, State};
use assay_verifier::transition::apply;
use proptest::prelude::*;

use crate::subnets::{ONE, OTHER, answered, model, number, open, register, serve, weigh};
use crate::world::{Attempt, MODEL, PRICE, World, client, genesis, key, miner, validator};

fn stake(n: u8) -> Purpose {
    Purpose::Stake(validator(n).public_key())
}

/// The proof that a validator cast two votes at the state's height.
fn equivocation(world: &World, n: u8) -> Body {
    world.equivocation(&validator(n), world.state.head().height)
}

#[test]
fn what_is_burned_leaves_the_supply() {
    let mut world = World::empty();
    world.commit(vec![world.next(&client(0), Body::Burn(Burn { amount: 400 }))]);
    assert_eq!((world.balance(&client(0)), world.state.supply().burned), (9_600, 400));
    assert_eq!(world.state.supply().total(), 10_050 - 400);
    let reason = world.refusal(world.next(&client(1), Body::Burn(Burn { amount: 51 })));
    assert!(matches!(reason, Reason::Balance { balance: 50, needed: 51, .. }));
}

#[test]
fn a_fee_is_burned_and_a_transaction_that_fails_costs_none() {
    let mut world = World::of({
        let mut genesis = genesis();
        genesis.parameters.fee = 7;
        genesis
    });
    let to = PublicKey([9; 32]);
    world.commit(vec![world.transfer(&client(1), to, 40)]);
    assert_eq!((world.balance(&client(1)), world.state.supply().burned), (3, 7));
    assert!(matches!(
        world.refusal(world.transfer(&client(1), to, 1)),
        Reason::Balance { balance: 3, needed: 7, .. }
    ));
    // The whole is refused where the fee alone could be paid, and nothing has changed for what follows in its block.
    let beyond = world.transfer(&client(0), to, 10_000);
    let fine = world.transfer(&client(0), to, 9_993);
    let proposal = world.propose(&[beyond, fine]);
    assert_eq!((proposal.included, proposal.dropped.len()), (vec![1], 1));
    let supply = proposal.transition.state.supply();
    assert_eq!((supply.burned, proposal.transition.state.account(&client(0).public_key()).balance), (14, 0));
}

/// A chain with a fee and other numbers, two miners registered; validator 2 and the miners held what that cost.
pub fn costly(fee: u64, change: impl FnOnce(&mut Parameters)) -> World {
    let mut genesis = genesis();
    change(&mut genesis.parameters);
    genesis.parameters.fee = fee;
    let holders = [validator(2), miner(0), miner(1)].map(|secret| secret.public_key());
    genesis.accounts.extend(holders.map(|public_key| GenesisAccount { public_key, balance: fee }));
    genesis.accounts.sort_by_key(|account| account.public_key);
    let mut world = World::of(genesis);
    world.commit(vec![world.register_model(1)]);
    world.commit(vec![world.register_miner(0), world.register_miner(1)]);
    world
}

#[test]
fn what_a_validator_signs_by_duty_costs_no_fee() {
    let mut world = costly(5, |_| ());
    assert_eq!((world.balance(&validator(0)), world.state.supply().burned), (0, 15));
    let reason = world.refusal(world.transfer(&validator(0), PublicKey([9; 32]), 1));
    assert!(matches!(reason, Reason::Balance { needed: 5, .. }));
    world.commit(world.verified(&[(1, 0, 500)]));
    let evidence = equivocation(&world, 1);
    world.commit(vec![world.next(&validator(0), evidence)]);
    let body = CommitScores { epoch: Epoch(1), commitment: Commitment([1; 32]), subnet: SubnetId::ROOT };
    world.commit(vec![world.next(&validator(0), Body::CommitScores(body))]);
    assert_eq!(world.state.supply().burned, 15);
}

#[test]
fn stake_is_locked_and_leaves_only_after_the_unbonding() {
    let mut world = World::with(|parameters| parameters.unbonding_blocks = 3);
    world.commit(vec![world.lock(&client(0), stake(1), 600)]);
    assert_eq!((world.balance(&client(0)), world.locked(&client(0), stake(1))), (9_400, (600, 0)));
    world.commit(vec![world.unlock(&client(0), stake(1), 200)]);
    assert_eq!(world.locked(&client(0), stake(1)), (400, 200));
    world.advance(5);
    assert_eq!((world.balance(&client(0)), world.locked(&client(0), stake(1))), (9_400, (400, 200)));
    world.advance(6);
    assert_eq!((world.balance(&client(0)), world.locked(&client(0), stake(1))), (9_600, (400, 0)));
}

#[test]
fn nobody_locks_or_unlocks_what_is_not_there() {
    let mut world = World::with(|_| ());
    let reason = world.refusal(world.lock(&client(1), stake(0), 51));
    assert!(matches!(reason, Reason::Balance { balance: 50, needed: 51, .. }));
    world.commit(vec![world.lock(&client(0), stake(0), 5)]);
    for (owner, purpose, amount) in [
        (client(0), stake(0), 6),
        (client(0), stake(1), 1),
        (client(1), stake(0), 1),
        (client(0), Purpose::Escrow, 1),
    ] {
        let reason = world.refusal(world.unlock(&owner, purpose, amount));
        assert!(matches!(reason, Reason::Lock { needed, .. } if needed == amount), "{reason}");
    }
}

#[test]
fn stake_is_on_a_validator_that_may_keep_its_place() {
    let mut world = World::with(|_| ());
    let target = client(1).public_key();
    let reason = world.refusal(world.lock(&client(0), Purpose::Stake(target), 5));
    assert!(matches!(reason, Reason::StakeTarget(key) if key == target));
    let evidence = equivocation(&world, 1);
    world.commit(vec![]);
    // Still a validator of the next block, but not for long.
    world.commit(vec![world.next(&client(0), evidence)]);
    let reason = world.refusal(world.lock(&client(0), stake(1), 5));
    assert!(matches!(reason, Reason::StakeTarget(_)));
}

#[test]
fn the_parts_of_a_lock_that_leave_are_bounded() {
    let mut world = World::with(|_| ());
    world.commit(vec![world.lock(&client(0), Purpose::Escrow, 100)]);
    for _ in 0..limits::LEAVING {
        let nonce = world.state.account(&client(0).public_key()).nonce;
        // Two in one block leave together.
        let unlock = |offset| {
            let lock = assay_proto::transaction::Lock { purpose: Purpose::Escrow, amount: 1 };
            world.sign(&client(0), nonce + offset, Body::Unlock(lock))
        };
        let transactions = vec![unlock(1), unlock(2)];
        world.commit(transactions);
    }
    let reason = world.refusal(world.unlock(&client(0), Purpose::Escrow, 1));
    assert!(matches!(reason, Reason::Leaving(Purpose::Escrow)));
    assert_eq!(world.locked(&client(0), Purpose::Escrow), (68, 32));
}

#[test]
fn an_equivocation_burns_its_share_of_all_stake_on_the_validator_and_of_no_other() {
    let mut world = World::with(|parameters| parameters.slash_ppm = 250_000);
    world.commit(vec![world.lock(&client(0), stake(1), 1_001), world.lock(&client(1), stake(1), 8)]);
    world.commit(vec![world.lock(&client(0), stake(0), 100)]);
    world.commit(vec![world.unlock(&client(0), stake(1), 400)]);
    let evidence = equivocation(&world, 1);
    world.advance(5);
    world.commit(vec![world.next(&client(1), evidence)]);
    // 601 and 400 lose 150 and 100, 8 loses 2.
    assert_eq!(world.locked(&client(0), stake(1)), (451, 300));
    assert_eq!(world.locked(&client(1), stake(1)), (6, 0));
    assert_eq!(world.locked(&client(0), stake(0)), (100, 0));
    assert_eq!(world.state.supply().burned, 252);
}

/// A chain on which 2^16 base units of stake are one of power, with enough of them.
fn staked() -> World {
    let mut genesis = genesis();
    genesis.parameters.stake_per_power = 1 << 16;
    genesis.parameters.unbonding_blocks = 12;
    for account in &mut genesis.accounts {
        account.balance = 1 << 20;
    }
    World::of(genesis)
}

#[test]
fn stake_votes_from_the_first_block_of_the_next_but_one_epoch() {
    let mut world = staked();
    let power = |world: &World| world.state.validators().iter().map(|(_, power)| power).sum::<u64>();
    let own = |world: &World, n: u8| {
        let key = validator(n).public_key();
        world.state.validators().iter().find(|(other, _)| *other == key).unwrap().1
    };
    world.commit(vec![
        world.lock(&client(0), stake(1), 5 << 16),
        world.lock(&client(1), stake(1), (1 << 16) + 1),
    ]);
    world.advance(9);
    assert_eq!((power(&world), own(&world, 1)), (10, 3));
    // Epochs have 5 blocks: locked in the first, announced at its end, counted from block 11 on.
    assert_eq!(world.state.stake_power().next.get(&validator(1).public_key()), Some(&6));
    world.advance(10);
    assert_eq!((power(&world), own(&world, 1), own(&world, 0)), (16, 9, 4));
    // A certificate of the genesis' majority is none any more: 7 of 16.
    let block = world.block(vec![]);
    let certificate = world.certificate(&block, &[0, 2]);
    let verify = |certificate| {
        assay_verifier::certificate::verify(
            &world.chain,
            world.state.validators(),
            &certificate,
            &block.header,
        )
    };
    assert!(matches!(verify(certificate), Err(Reason::CertificatePower { got: 7, total: 16 })));
    assert!(verify(world.certificate(&block, &[0, 1])).is_ok());
    // What is unlocked in epoch 3 votes until the end of epoch 4, and is not released before.
    world.commit(vec![world.unlock(&client(0), stake(1), 5 << 16)]);
    world.advance(19);
    assert_eq!(own(&world, 1), 9);
    world.advance(20);
    assert_eq!(own(&world, 1), 4);
    assert_eq!(world.locked(&client(0), stake(1)).1, 5 << 16);
    world.advance(23);
    assert_eq!(world.locked(&client(0), stake(1)), (0, 0));
    assert_eq!(world.balance(&client(0)), 1 << 20);
}

#[test]
fn who_stakes_enough_on_its_own_key_is_a_validator_from_the_announced_block_until_its_stake_leaves() {
    let mut world = staked();
    let (key, other) = (client(0).public_key(), client(1).public_key());
    let power = |world: &World, key: PublicKey| {
        world.state.validators().iter().find(|(found, _)| *found == key).map(|(_, power)| power)
    };
    world.commit(vec![
        world.lock(&client(0), Purpose::Stake(key), 3 << 16),
        // One base unit less than a power of one.
        world.lock(&client(1), Purpose::Stake(other), (1 << 16) - 1),
    ]);
    // Nobody else stakes on a key that is no validator yet.
    let reason = world.refusal(world.lock(&client(1), Purpose::Stake(key), 5));
    assert!(matches!(reason, Reason::StakeTarget(target) if target == key));
    world.advance(9);
    assert_eq!((power(&world, key), power(&world, other)), (None, None));
    world.advance(10);
    assert_eq!((power(&world, key), power(&world, other)), (Some(3), None));
    assert_eq!(world.state.validators().total(), 13);
    world.commit(vec![world.lock(&client(1), Purpose::Stake(key), 5)]);
    world.commit(vec![world.unlock(&client(0), Purpose::Stake(key), 3 << 16)]);
    world.advance(19);
    assert_eq!(power(&world, key), Some(3), "what was unlocked in epoch 3 votes until the end of epoch 4");
    world.advance(20);
    assert_eq!((power(&world, key), world.state.validators().total()), (None, 10));
}

/// A client that was a validator by its own stake, which is on its way back.
fn left() -> World {
    let mut world = staked();
    let own = Purpose::Stake(client(0).public_key());
    world.commit(vec![world.lock(&client(0), own, 3 << 16)]);
    world.advance(12);
    world.commit(vec![world.unlock(&client(0), own, 3 << 16)]);
    world.advance(21);
    assert!(!world.state.validators().contains(&client(0).public_key()));
    assert_eq!(world.locked(&client(0), own), (0, 3 << 16));
    world
}

#[test]
fn who_left_answers_for_what_it_signed_as_long_as_its_stake_is_on_its_way_back() {
    let mut world = left();
    let (key, own) = (client(0).public_key(), Purpose::Stake(client(0).public_key()));
    let evidence = world.next(&client(1), world.equivocation(&client(0), assay_proto::Height(12)));
    let burned = world.state.supply().burned;
    world.commit(vec![evidence]);
    let rest = world.locked(&client(0), own).1;
    assert!(rest < 3 << 16);
    assert_eq!(world.state.supply().burned - burned, (3 << 16) - rest);
    assert!(world.state.offenders().any(|(offender, _)| *offender == key));
    // Once it is released nothing is left to answer with.
    let mut late = left();
    late.advance(26);
    assert_eq!(late.locked(&client(0), own), (0, 0));
    let reason = late.refusal(late.next(&client(1), late.equivocation(&client(0), assay_proto::Height(12))));
    assert!(matches!(reason, Reason::NotValidator(other) if other == key), "{reason}");
}

#[test]
fn of_more_keys_than_there_is_room_for_those_with_the_most_stake_are_validators() {
    let mut genesis = genesis();
    genesis.parameters.stake_per_power = 1 << 16;
    genesis.parameters.unbonding_blocks = 12;
    let room = limits::VALIDATORS - genesis.validators.len();
    let keys: Vec<SecretKey> =
        (0..=room).map(|n| SecretKey::from_bytes(blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    let account = |key: &SecretKey| GenesisAccount { public_key: key.public_key(), balance: 1 << 18 };
    genesis.accounts.extend(keys.iter().map(account));
    genesis.accounts.sort_by_key(|account| account.public_key);
    let mut world = World::of(genesis);
    // One has less than the others, and has no place.
    let amount = |n: usize| if n == 7 { 1 << 16 } else { 2 << 16 };
    let stake = |(n, key): (usize, &SecretKey)| world.lock(key, Purpose::Stake(key.public_key()), amount(n));
    let stakes = keys.iter().enumerate().map(stake).collect();
    world.commit(stakes);
    world.advance(10);
    assert_eq!(world.state.validators().iter().count(), limits::VALIDATORS);
    assert!(!world.state.validators().contains(&keys[7].public_key()));
    assert!(world.state.validators().contains(&keys[8].public_key()));
    assert!(world.state.validators().contains(&validator(1).public_key()));
}

/// The power of a new epoch is that of who commits after the block that ends the old one, not of who committed it.
#[test]
fn a_state_at_the_end_of_an_epoch_was_committed_with_the_power_before_it() {
    let mut world = staked();
    world.commit(vec![world.lock(&client(0), stake(1), 5 << 16), world.lock(&client(1), stake(1), 1 << 16)]);
    let check = |world: &World, signers: &[u8]| {
        let block = world.blocks.last().unwrap();
        let certificate = world.certificate(&block.block, signers);
        snapshot::check_state(&world.state, &CommittedBlock { certificate, ..block.clone() })
    };
    world.advance(10);
    assert!(check(&world, &[0, 2]).is_ok(), "7 of 10");
    world.advance(11);
    let refused = check(&world, &[0, 2]).unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Rule(Reason::CertificatePower { got: 7, total: 16 })),
        "{refused}"
    );
    assert!(check(&world, &[0, 1]).is_ok(), "13 of 16");
}

#[test]
fn the_owners_of_stake_that_votes_have_their_part_of_what_its_validator_earns() {
    let mut world = staked();
    world.commit(vec![world.lock(&client(0), stake(1), 4 << 16), world.lock(&client(1), stake(1), 1 << 16)]);
    world.advance(10);
    world.commit(vec![world.register_model(1), world.register_miner(0)]);
    // What was locked too late to vote has no part, and what is taken back meanwhile has.
    world
        .commit(vec![world.lock(&client(1), stake(1), 2 << 16), world.unlock(&client(0), stake(1), 1 << 16)]);
    let before = [client(0), client(1)].map(|secret| world.balance(&secret));
    world.commit(world.verified(&[(1, 0, 500)]));
    let report = world.advance(15).report.unwrap();
    let key = validator(1).public_key();
    let row = report.validators.iter().find(|row| row.validator == key).unwrap();
    // Power 8 of 15, 5 of it from stake, 4 to 1. The emission has halved once: 250 for validators.
    assert_eq!((row.power, row.reward), (8, 250 * 8 / 15));
    let owners = row.reward * 5 / 8;
    let after = [client(0), client(1)].map(|secret| world.balance(&secret));
    assert_eq!(after, [before[0] - PRICE + owners * 4 / 5, before[1] + owners / 5]);
    assert_eq!(world.balance(&validator(1)), row.reward - owners * 4 / 5 - owners / 5);
    assert_eq!(world.balance(&validator(0)), 250 * 4 / 15);
}

#[test]
fn a_reopened_state_has_the_voters_that_stake_made() {
    let mut world = staked();
    world.commit(vec![world.lock(&client(0), stake(1), 5 << 16)]);
    world.advance(10);
    let records: Vec<_> = world.state.records().map(|record| (record.key(), record.value())).collect();
    let reopened = State::from_records(world.state.genesis_block().clone(), records).unwrap();
    assert_eq!(reopened.validators(), world.state.validators());
    assert_eq!(reopened.validators().total(), 15);
}

#[test]
fn stake_gives_no_power_where_the_genesis_says_none() {
    let mut world = World::with(|_| ());
    world.commit(vec![world.lock(&client(0), stake(1), 5_000)]);
    world.advance(15);
    assert_eq!(world.state.validators().total(), 10);
}

#[test]
fn a_locked_base_unit_is_counted_and_a_missing_one_is_noticed() {
    let mut world = World::with(|_| ());
    world.commit(vec![world.lock(&client(0), stake(1), 500)]);
    let records: Vec<_> = world.state.records().collect();
    let without = records.iter().filter(|record| !matches!(record, Record::Lock(..)));
    let reopened = State::from_records(genesis(), without.map(|record| (record.key(), record.value())));
    assert!(reopened.is_err());
}

/// What one of a few accounts tries.
#[derive(Clone, Debug)]
enum Try {
    Transfer(u8, u8, u64),
    Burn(u8, u64),
    Lock(u8, u8, u64),
    Unlock(u8, u8, u64),
    Work(u8, bool),
    Accuse(u8),
    Subnet(u8),
    Serve(u8, bool, bool),
    Answer(u8),
    Weigh(u8, u16),
    Vote(u8, u8, u64),
    Hold(u8),
    Release(u64),
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let amount = prop_oneof![0..200_u64, 0..20_000_u64, Just(u64::MAX)].prop_map(|amount| amount.max(1));
    let one = prop_oneof![
        3 => (0..5_u8, 0..5_u8, amount.clone()).prop_map(|(a, b, amount)| Try::Transfer(a, b, amount)),
        1 => (0..5_u8, amount.clone()).prop_map(|(a, amount)| Try::Burn(a, amount)),
        4 => (0..5_u8, 0..5_u8, amount.clone()).prop_map(|(a, b, amount)| Try::Lock(a, b, amount)),
        3 => (0..5_u8, 0..5_u8, amount).prop_map(|(a, b, amount)| Try::Unlock(a, b, amount)),
        2 => (0..2_u8, any::<bool>()).prop_map(|(n, lies)| Try::Work(n, lies)),
        1 => (1..3_u8).prop_map(Try::Accuse),
        1 => (0..5_u8).prop_map(Try::Subnet),
        1 => (0..2_u8, any::<bool>(), any::<bool>()).prop_map(|(n, root, other)| Try::Serve(n, root, other)),
        2 => (0..2_u8).prop_map(Try::Answer),
        2 => (0..3_u8, 1..u16::MAX).prop_map(|(n, weight)| Try::Weigh(n, weight)),
        2 => (0..3_u8, 0..4_u8, 0..3_u64).prop_map(|(n, what, value)| Try::Vote(n, what, value)),
        3 => (0..2_u8).prop_map(Try::Hold),
        1 => (1..4_u64).prop_map(Try::Release),
    ];
    prop::collection::vec(one, 1..60)
}

fn account(n: u8) -> SecretKey {
    match n {
        0 | 1 => client(n),
        2 | 3 => miner(n - 2),
        _ => key(99),
    }
}

fn purpose(n: u8) -> Purpose {
    match n {
        0..3 => stake(n),
        3 => Purpose::Collateral,
        _ => Purpose::Escrow,
    }
}

fn envelope(world: &World, what: &Try) -> Envelope {
    match *what {
        Try::Transfer(from, to, amount) => world.transfer(&account(from), account(to).public_key(), amount),
        Try::Burn(from, amount) => world.next(&account(from), Body::Burn(Burn { amount })),
        Try::Lock(owner, n, amount) => world.lock(&account(owner), purpose(n), amount),
        Try::Unlock(owner, n, amount) => world.unlock(&account(owner), purpose(n), amount),
        Try::Work(n, lies) => {
            let client_jobs = world.state.client(&client(0).public_key());
            let nonce = client_jobs.map_or(0, |jobs| jobs.latest()) + 1;
            let honest = world.attempt(world.job(&client(0), nonce), miner(n));
            let (attempt, verdict) = match lies {
                true => (Attempt { proof: Some(vec![3; 160]), ..honest }, Verdict::InvalidProof),
                false => (honest, Verdict::Verified),
            };
            world.signed_receipt(world.receipt(&attempt, verdict), 1)
        }
        Try::Subnet(by) => register(world, &account(by), open()),
        Try::Serve(n, root, other) => {
            let models = [(MODEL, root), (OTHER, other)].into_iter().filter(|(_, served)| *served);
            serve(world, &miner(n), &models.map(|(id, _)| id).collect::<Vec<_>>())
        }
        Try::Answer(n) => {
            let nonce = world.state.client(&client(0).public_key()).map_or(0, |jobs| jobs.latest()) + 1;
            answered(world, &[(nonce, n, 700)]).remove(0)
        }
        Try::Weigh(n, weight) => weigh(world, n, &[(SubnetId::ROOT, u16::MAX - weight), (ONE, weight)]),
        Try::Vote(n, what, value) => {
            let name = ["fee", "registration_price_max", "registration_price_min", "subnet_price"]
                [usize::from(what)];
            let number = number(name, value);
            world.next(&validator(n), Body::VoteParameter(VoteParameter { number }))
        }
        Try::Hold(n) => {
            let client_jobs = world.state.client(&client(0).public_key());
            let nonce = client_jobs.map_or(0, |jobs| jobs.latest()) + 1 + u64::from(n);
            crate::holds::hold(world, 0, &world.job(&client(0), nonce))
        }
        Try::Release(nonce) => crate::holds::release(world, &validator(0), nonce, ReleaseReason::NoMiner),
        Try::Accuse(n) => {
            let nonce = world.state.account(&validator(0).public_key()).nonce + 1;
            world.sign(&validator(0), nonce, equivocation(world, n))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn base_units_are_conserved_whatever_anyone_tries(tries in tries(), prepaid in 0..3_u64, fee in 0..3_u64) {
        let mut world = costly(fee, |parameters| {
            parameters.unbonding_blocks = 4;
            (parameters.prepaid, parameters.hold_blocks) = (prepaid.min(1), prepaid.saturating_sub(1) * 3);
            parameters.collateral_slash_ppm = 333_333;
            parameters.slash_ppm = 900_000;
            parameters.subnet_price = 20;
        });
        world.commit(vec![world.transfer(&client(0), validator(2).public_key(), 100 + fee)]);
        world.commit(vec![register(&world, &client(0), open())]);
        world.commit(vec![world.next(&validator(2), Body::RegisterModel(model(OTHER, ONE)))]);
        for what in &tries {
            let envelope = envelope(&world, what);
            let proposal = world.propose(&[envelope]);
            let applies = proposal.included.len() == 1;
            let transactions = proposal.block.transactions.clone();
            prop_assert_eq!(transactions.len(), usize::from(applies));
            let state = world.commit(transactions).state;
            let balances: u128 = state.records().map(|record| match record {
                Record::Account(_, account) => u128::from(account.balance),
                Record::Lock(_, _, locked) => locked.total(),
                Record::Holds(_, holds) => holds.total(),
                _ => 0,
            }).sum();
            let supply = state.supply();
            prop_assert_eq!(balances, u128::from(supply.genesis + supply.minted - supply.burned));
        }
        // The log gives the same roots to somebody who has nothing but the log.
        let mut state = State::genesis(world.state.genesis_block().clone()).unwrap();
        for entry in &world.blocks {
            state = apply(&state, &entry.block, &KeyCache::new()).unwrap().state;
            prop_assert_eq!(state.root(), entry.block.header.state_root);
        }
        prop_assert_eq!(state.head(), world.state.head());
    }
}
