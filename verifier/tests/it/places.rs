//! Places for miners: their price, the collateral of those in service, and who has to leave.

use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, Purpose, RegisterMiner};
use assay_proto::{Envelope, SecretKey};
use assay_verifier::Reason;
use assay_verifier::miners::{Registrations, may_serve};

use crate::world::{Attempt, MODEL, World, client, key, miner, parameters};

fn register(world: &World, secret: &SecretKey, serves: bool) -> Envelope {
    let model_ids = if serves { vec![MODEL] } else { vec![] };
    world.next(
        secret,
        Body::RegisterMiner(RegisterMiner {
            endpoint: "http://m:1".into(),
            model_ids,
            devices: Default::default(),
        }),
    )
}

#[test]
fn the_price_of_a_place_follows_demand_within_its_bounds() {
    let mut parameters = parameters();
    (parameters.registration_price_min, parameters.registration_price_max) = (3, 20);
    parameters.registrations_target = 2;
    let next = |price, count| Registrations { price, count }.next(&parameters).price;
    assert_eq!([next(8, 3), next(8, 2), next(8, 1), next(8, 0)], [16, 8, 4, 4]);
    assert_eq!([next(16, 3), next(20, 9), next(5, 0), next(3, 0)], [20, 20, 3, 3]);
    (parameters.registration_price_min, parameters.registration_price_max) = (0, u64::MAX);
    let next = |price, count| Registrations { price, count }.next(&parameters).price;
    assert_eq!([next(0, 3), next(u64::MAX, 3), next(1, 0)], [2, u64::MAX, 0]);
}

#[test]
fn a_place_is_paid_once_and_by_burning() {
    let mut world = World::with(|parameters| {
        (parameters.registration_price_min, parameters.registration_price_max) = (30, 100);
        parameters.registrations_target = 0;
    });
    let refused = world.refusal(register(&world, &miner(0), true));
    assert!(matches!(refused, Reason::Balance { balance: 0, needed: 30, .. }));
    world.commit(vec![register(&world, &client(1), true)]);
    assert_eq!((world.balance(&client(1)), world.state.supply().burned), (20, 30));
    // What it registers again is the same place.
    world.commit(vec![register(&world, &client(1), false)]);
    assert_eq!((world.balance(&client(1)), world.state.registrations().count), (20, 1));
    world.advance(5);
    assert_eq!(*world.state.registrations(), Registrations { price: 60, count: 0 });
    world.advance(10);
    assert_eq!(world.state.registrations().price, 60);
}

#[test]
fn a_miner_in_service_has_its_collateral_locked() {
    let mut world = World::with(|parameters| parameters.collateral = 40);
    let refused = world.refusal(register(&world, &client(1), true));
    assert!(matches!(refused, Reason::Collateral { needed: 40, got: 0, .. }));
    world.commit(vec![world.lock(&client(1), Purpose::Collateral, 45)]);
    assert!(
        may_serve(&world.state, &client(1).public_key()) && !may_serve(&world.state, &miner(0).public_key())
    );
    world.commit(vec![register(&world, &client(1), true)]);
    // It takes back what is beyond the collateral, and the rest when it serves nobody any more.
    let refused = world.refusal(world.unlock(&client(1), Purpose::Collateral, 6));
    assert!(matches!(refused, Reason::Collateral { needed: 40, got: 39, .. }));
    world.commit(vec![world.unlock(&client(1), Purpose::Collateral, 5)]);
    world.commit(vec![register(&world, &client(1), false)]);
    world.commit(vec![world.unlock(&client(1), Purpose::Collateral, 40)]);
    assert!(!may_serve(&world.state, &client(1).public_key()));
}

#[test]
fn an_invalid_answer_burns_collateral_and_nothing_else_does() {
    let mut world = World::with(|parameters| {
        parameters.collateral = 40;
        parameters.collateral_slash_ppm = 500_000;
    });
    world.commit(vec![world.transfer(&client(0), miner(0).public_key(), 100)]);
    world.commit(vec![world.lock(&miner(0), Purpose::Collateral, 100)]);
    world.commit(vec![world.register_miner(0)]);
    let attempt = |world: &World, nonce| world.attempt(world.job(&client(0), nonce), miner(0));
    let harmless = [
        (Attempt { outputs: None, proof: None, ..attempt(&world, 1) }, Verdict::Absent),
        (Attempt { proof: None, ..attempt(&world, 2) }, Verdict::Absent),
        (Attempt { proof_us: 5000, ..attempt(&world, 3) }, Verdict::Late),
        (attempt(&world, 4), Verdict::Verified),
    ];
    for (attempt, verdict) in harmless {
        world.commit(vec![world.signed_receipt(world.receipt(&attempt, verdict), 1)]);
        assert_eq!(
            (world.locked(&miner(0), Purpose::Collateral), world.state.supply().burned),
            ((100, 0), 0)
        );
    }
    let lie = Attempt { proof: Some(vec![3; 160]), ..attempt(&world, 5) };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    assert_eq!((world.locked(&miner(0), Purpose::Collateral), world.state.supply().burned), ((50, 0), 50));
    let misfit = Attempt { outputs: Some(vec![]), ..attempt(&world, 6) };
    world.commit(vec![world.signed_receipt(world.receipt(&misfit, Verdict::Malformed), 1)]);
    assert_eq!((world.locked(&miner(0), Purpose::Collateral), world.state.supply().burned), ((25, 0), 75));
    assert!(!may_serve(&world.state, &miner(0).public_key()));
}

#[test]
fn collateral_that_leaves_is_still_slashed() {
    let mut world = World::with(|parameters| parameters.collateral_slash_ppm = 500_000);
    world.commit(vec![world.transfer(&client(0), miner(0).public_key(), 100)]);
    world.commit(vec![world.lock(&miner(0), Purpose::Collateral, 100)]);
    world.commit(vec![world.register_miner(0)]);
    world.commit(vec![world.unlock(&miner(0), Purpose::Collateral, 60)]);
    let lie = Attempt { proof: Some(vec![3; 160]), ..world.attempt(world.job(&client(0), 1), miner(0)) };
    world.commit(vec![world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 1)]);
    assert_eq!(world.locked(&miner(0), Purpose::Collateral), (20, 30));
}

#[test]
fn where_all_places_are_taken_the_one_with_the_least_emission_leaves_unless_it_is_immune() {
    let mut world = World::with(|parameters| {
        parameters.miner_slots = 3;
        parameters.immunity_epochs = 2;
    });
    world.commit((0..3).map(|n| world.register_miner(n)).collect());
    let refused = world.refusal(register(&world, &key(40), true));
    assert!(matches!(refused, Reason::Miners(3)));
    // Miner 1 works, miner 2 works little, miner 0 does not.
    world.commit(world.verified(&[(1, 1, 500), (2, 1, 500), (3, 2, 500)]));
    world.advance(5);
    assert!(matches!(world.refusal(register(&world, &key(40), true)), Reason::Miners(3)));
    world.commit(world.verified(&[(4, 1, 500), (5, 1, 500), (6, 2, 500)]));
    world.advance(10);
    world.commit(vec![register(&world, &key(40), true)]);
    let (pruned, fresh) = (miner(0).public_key(), key(40).public_key());
    let record = world.state.miner(&pruned).unwrap();
    assert_eq!((record.root.since, record.models.len(), record.root.reputation_ppm), (None, 0, 0));
    assert!(world.state.miner(&fresh).unwrap().root.since.is_some());
    // The newest has earned nothing and stays: it is immune. Miner 2 earned least of the others.
    world.commit(vec![register(&world, &key(41), true)]);
    assert!(world.state.miner(&miner(2).public_key()).unwrap().root.since.is_none());
    assert!(world.state.miner(&miner(1).public_key()).unwrap().root.since.is_some());
    // Nobody works for a place that it has not.
    let attempt = world.attempt(world.job(&client(0), 7), miner(0));
    let receipt = world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1);
    assert!(matches!(world.refusal(receipt), Reason::MinerModel { .. }));
    // And it may come back in the place of another.
    world.commit(vec![world.register_miner(2)]);
    assert!(world.state.miner(&miner(2).public_key()).unwrap().root.since.is_some());
    assert!(world.state.miner(&miner(1).public_key()).unwrap().root.since.is_none());
}
