//! Prices that are locked while their jobs run; tiers and what they cost.

use assay_proto::hold::{Hold, Release, ReleaseReason};
use assay_proto::job::{Job, Tier};
use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, Purpose};
use assay_proto::{Envelope, JobId, SecretKey, Signed};
use assay_verifier::Reason;
use assay_verifier::limits::HOLDS;
use assay_verifier::tiers::floor;
use assay_verifier::transition::check_job;

use crate::world::{Attempt, PRICE, World, client, key, miner, parameters, plain_job, validator};

pub fn hold(world: &World, by: u8, job: &Signed<Job>) -> Envelope {
    world.next(&validator(by), Body::Hold(Hold { job: job.envelope().clone() }))
}

pub fn release(world: &World, by: &SecretKey, nonce: u64, reason: ReleaseReason) -> Envelope {
    let release = Release { client: client(0).public_key(), nonce, reason };
    world.next(by, Body::Release(release))
}

fn ready(blocks: u64) -> World {
    let mut world = World::with(|parameters| {
        (parameters.prepaid, parameters.hold_blocks, parameters.emission) = (1, blocks, 0);
        parameters.unbonding_blocks = 3;
    });
    world.commit((0..3).map(|n| world.register_miner(n)).collect());
    world.commit(vec![world.lock(&client(0), Purpose::Escrow, PRICE + PRICE / 2)]);
    world
}

fn escrow(world: &World) -> u64 {
    world.locked(&client(0), Purpose::Escrow).0
}

fn held(world: &World) -> u128 {
    world.state.holds(&client(0).public_key()).map_or(0, |holds| holds.total())
}

fn verified(world: &World, job: &Signed<Job>, n: u8) -> Envelope {
    let attempt = world.attempt(job.clone(), miner(n));
    world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1)
}

#[test]
fn one_escrow_cannot_be_promised_to_two_brokers_at_once() {
    let mut world = ready(10);
    let (first, second) = (world.job(&client(0), 1), world.job(&client(0), 2));
    world.commit(vec![hold(&world, 0, &first)]);
    assert_eq!((escrow(&world), held(&world)), (PRICE / 2, u128::from(PRICE)));
    assert_eq!(world.state.funds(&client(0).public_key()), PRICE / 2);
    let reason = world.refusal(hold(&world, 1, &second));
    assert!(matches!(reason, Reason::Balance { .. }), "{reason}");
    // Nor the same job, nor can its price be taken back meanwhile.
    let reason = world.refusal(hold(&world, 1, &world.job(&client(0), 1)));
    assert!(matches!(reason, Reason::Balance { .. }), "{reason}");
    let cheap = client(0).sign(&world.chain, Job { max_price: 1, ..plain_job(1) });
    assert!(matches!(world.refusal(hold(&world, 1, &cheap)), Reason::HoldExists { nonce: 1, .. }));
    let taken = world.unlock(&client(0), Purpose::Escrow, PRICE);
    assert!(matches!(world.refusal(taken), Reason::Lock { .. }));
    // Both in one block: the second of them is refused.
    let other = ready(10);
    let rejected = other.reject(vec![hold(&other, 0, &first), hold(&other, 1, &second)]);
    assert_eq!(rejected.index, Some(1));
}

#[test]
fn what_is_held_pays_for_the_verified_answer_of_its_broker_and_for_nothing_else() {
    let mut world = ready(10);
    let job = world.job(&client(0), 1);
    let reason = world.refusal(verified(&world, &job, 0));
    assert!(matches!(reason, Reason::HoldMissing { nonce: 1, .. }), "{reason}");
    world.commit(vec![hold(&world, 1, &job)]);
    // Validator 0 signs the receipt, validator 1 held the price.
    assert!(matches!(world.refusal(verified(&world, &job, 0)), Reason::HoldMissing { .. }));
    let mut world = ready(10);
    world.commit(vec![hold(&world, 0, &job)]);
    let other = client(0).sign(&world.chain, Job { max_price: 1, ..plain_job(1) });
    assert!(matches!(world.refusal(verified(&world, &other, 0)), Reason::JobConflict { .. }));
    world.commit(vec![verified(&world, &job, 0)]);
    assert_eq!((world.balance(&miner(0)), escrow(&world), held(&world)), (PRICE, PRICE / 2, 0));
    let reason = world.refusal(hold(&world, 0, &job));
    assert!(matches!(reason, Reason::JobClosed { .. }), "{reason}");
}

#[test]
fn a_price_goes_back_with_a_reason_or_when_it_expires() {
    let mut world = ready(4);
    world.commit(vec![hold(&world, 0, &world.job(&client(0), 1))]);
    let reason = ReleaseReason::MinersFailed;
    for stranger in [validator(1), client(0), key(99)] {
        let refused = world.refusal(release(&world, &stranger, 1, reason));
        assert!(matches!(refused, Reason::HoldMissing { .. }), "{refused}");
    }
    assert!(matches!(world.refusal(release(&world, &validator(0), 2, reason)), Reason::HoldMissing { .. }));
    world.commit(vec![release(&world, &validator(0), 1, reason)]);
    assert_eq!((escrow(&world), held(&world)), (PRICE + PRICE / 2, 0));
    assert!(matches!(world.refusal(release(&world, &validator(0), 1, reason)), Reason::HoldMissing { .. }));

    world.commit(vec![hold(&world, 0, &world.job(&client(0), 2))]);
    let height = world.state.head().height.0;
    world.advance(height + 3);
    assert_eq!(held(&world), u128::from(PRICE));
    world.advance(height + 4);
    assert_eq!((escrow(&world), held(&world)), (PRICE + PRICE / 2, 0));
}

#[test]
fn holds_are_bounded_and_only_where_jobs_are_prepaid() {
    let free = World::ready();
    assert!(matches!(free.refusal(hold(&free, 0, &free.job(&client(0), 1))), Reason::HoldNotTaken));
    let none = ready(0);
    assert!(matches!(none.refusal(hold(&none, 0, &none.job(&client(0), 1))), Reason::HoldNotTaken));

    let mut world = ready(5000);
    let foreign = world.next(&key(99), Body::Hold(Hold { job: world.job(&client(0), 1).into_envelope() }));
    assert!(matches!(world.refusal(foreign), Reason::NotValidator(_)));
    let own = validator(0).sign(&world.chain, plain_job(1));
    assert!(matches!(world.refusal(hold(&world, 0, &own)), Reason::OwnReceipt(_)));
    let mut unsigned = world.job(&client(0), 1).into_envelope();
    unsigned.signature.0[0] ^= 1;
    let forged = world.next(&validator(0), Body::Hold(Hold { job: unsigned }));
    assert!(matches!(world.refusal(forged), Reason::Job(_)));

    let cheap = |world: &World, nonce| client(0).sign(&world.chain, Job { max_price: 0, ..plain_job(nonce) });
    let last = world.state.account(&validator(0).public_key()).nonce;
    let holds = (1..=HOLDS as u64).map(|nonce| {
        let body = Body::Hold(Hold { job: cheap(&world, nonce).into_envelope() });
        world.sign(&validator(0), last + nonce, body)
    });
    let holds = holds.collect();
    world.commit(holds);
    let more = hold(&world, 0, &cheap(&world, HOLDS as u64 + 1));
    assert!(matches!(world.refusal(more), Reason::Holds(_)));
}

#[test]
fn a_failed_attempt_keeps_the_hold_for_the_next_miner() {
    let mut world = ready(10);
    let job = world.job(&client(0), 1);
    world.commit(vec![hold(&world, 0, &job)]);
    let lie = Attempt { proof: Some(vec![3; 160]), ..world.attempt(job.clone(), miner(0)) };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    assert_eq!((world.balance(&miner(0)), held(&world)), (0, u128::from(PRICE)));
    world.commit(vec![verified(&world, &job, 1)]);
    assert_eq!((world.balance(&miner(1)), held(&world)), (PRICE, 0));
}

#[test]
fn a_tier_has_its_price_floor_in_the_job_and_in_its_receipt() {
    let mut world = World::with(|parameters| parameters.price_floor = PRICE - 1);
    world.commit(vec![world.register_miner(0)]);
    let numbers = world.state.parameters();
    assert_eq!(floor(numbers, Tier::Standard), 99);
    assert_eq!(floor(numbers, Tier::Economy), 50, "half of 99, up");
    assert_eq!(floor(numbers, Tier::Priority), 198);
    let job = |tier, max_price| client(0).sign(&world.chain, Job { tier, max_price, ..plain_job(1) });
    for (tier, floor) in [(Tier::Standard, 99), (Tier::Economy, 50), (Tier::Priority, 198)] {
        assert!(check_job(&world.state, &job(tier, floor), &world.keys).is_ok());
        let below = job(tier, floor - 1);
        let reason = check_job(&world.state, &below, &world.keys).unwrap_err();
        assert!(matches!(reason, Reason::PriceFloor { floor: f, .. } if f == floor), "{reason}");
        assert!(matches!(world.refusal(verified(&world, &below, 0)), Reason::PriceFloor { .. }));
        assert_eq!(world.propose(&[verified(&world, &job(tier, floor), 0)]).included.len(), 1);
    }
    // Another tier is another job.
    let ids: std::collections::BTreeSet<JobId> =
        [Tier::Standard, Tier::Economy, Tier::Priority].map(|tier| job(tier, PRICE).id(&world.chain)).into();
    assert_eq!(ids.len(), 3);
    assert_eq!(floor(&parameters(), Tier::Priority), 0);
}
