//! Subnets with a labelled task, to which miners bring models of their own.

use assay_proto::job::{Job, job_binding};
use assay_proto::receipt::Verdict;
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::RegisterSubnet;
use assay_proto::transaction::Body;
use assay_proto::{ModelId, PublicKey, SecretKey, SubnetId};
use assay_verifier::labels::Labels;
use assay_verifier::proof::{KeyOrigin, Statement};
use assay_verifier::scores::Tally;

use crate::subnets::{ONE, model, open, register, serve, weigh};
use crate::trapdoor::Trapdoor;
use crate::world::{Attempt, World, client, miner, plain_job, validator};

/// Each miner's own.
fn brought(n: u8) -> ModelId {
    ModelId([100 + n; 32])
}

/// Inputs that tell questions apart, and their label.
fn question(n: i32) -> (Vec<Vec<i32>>, usize) {
    (vec![vec![n, 1, 2, 3]], usize::from(n % 2 == 1))
}

/// A chain with a labelled subnet that is open to any model, and one model for each of three miners in it.
fn opened() -> World {
    let mut world = World::with(|parameters| {
        parameters.emission = 1_000_000;
        parameters.halving_epochs = 1_000;
    });
    world.commit(vec![register(&world, &client(0), RegisterSubnet { labelled: true, ..open() })]);
    for n in 0..3 {
        world.commit(vec![world.next(&validator(2), Body::RegisterModel(model(brought(n), ONE)))]);
        world.commit(vec![serve(&world, &miner(n), &[brought(n)])]);
    }
    world.commit((0..3).map(|n| weigh(&world, n, &[(ONE, 1)])).collect());
    let last = world.state.head().height.0.next_multiple_of(5);
    world.advance(last);
    world
}

/// What the model of miner `n` says to a question of `by`.
fn answered(
    world: &World,
    by: &SecretKey,
    nonce: u64,
    n: u8,
    inputs: Vec<Vec<i32>>,
    says: Vec<i32>,
) -> Attempt {
    let job = by.sign(&world.chain, Job { model_id: brought(n), inputs, ..plain_job(nonce) });
    let outputs = vec![says];
    let binding = job_binding(&world.chain, &job.id(&world.chain), &miner(n).public_key());
    let statement = Statement::public(binding, job.value().inputs.clone(), outputs.clone());
    let proof = Trapdoor::new(brought(n).0, KeyOrigin::TestSeed).prove(&statement, 0);
    Attempt {
        job,
        miner: miner(n),
        outputs: Some(outputs),
        proof: Some(proof),
        output_us: 100,
        proof_us: 500,
        ping_us: 0,
        elapsed_us: 0,
    }
}

fn says(label: usize) -> Vec<i32> {
    if label == 1 { vec![-1, 1] } else { vec![1, -1] }
}

fn tallied<'a>(world: &World, labels: &'a Labels, from: usize) -> Tally<'a> {
    let mut tally = Tally::labelled(labels);
    for entry in &world.blocks[from..] {
        tally.count(&world.state, ONE, &validator(0).public_key(), &entry.block);
    }
    tally
}

#[test]
fn of_the_models_that_miners_bring_the_best_earns_most() {
    let mut world = opened();
    let labels = Labels::new(client(0).public_key(), (0..4).map(question));
    // Four questions each: miner 0 knows 4, miner 1 knows 2, miner 2 none. Miner 1 has other work, too.
    let from = world.blocks.len();
    let mut receipts = Vec::new();
    let mut nonce = 0;
    for n in 0..3_u8 {
        for q in 0..4 {
            nonce += 1;
            let (inputs, label) = question(q);
            let knows = match n {
                0 => true,
                1 => q < 2,
                _ => false,
            };
            let said = says(if knows { label } else { 1 - label });
            let attempt = answered(&world, &client(0), nonce, n, inputs, said);
            receipts.push(world.signed_receipt(world.receipt(&attempt, Verdict::Verified), nonce));
        }
    }
    for _ in 0..5 {
        nonce += 1;
        let attempt = answered(&world, &client(0), nonce, 1, vec![vec![9, 9, 9, 9]], says(0));
        receipts.push(world.signed_receipt(world.receipt(&attempt, Verdict::Verified), nonce));
    }
    world.commit(receipts);
    let scores = tallied(&world, &labels, from).scores(world.state.parameters());
    let mut expected = vec![(miner(0).public_key(), 65_535), (miner(1).public_key(), 32_767)];
    expected.sort_unstable();
    assert_eq!(scores, expected);

    // Whoever has the labels says so, and what they say decides.
    let running = world.state.epoch_of(SubnetId::ROOT, world.state.head().height.next());
    let of = |n: u8| RevealScores { epoch: running, scores: scores.clone(), salt: [n; 32], subnet: ONE };
    let commit = |world: &World, n: u8| {
        let commitment = of(n).commitment(&world.chain, &validator(n).public_key());
        world
            .next(&validator(n), Body::CommitScores(CommitScores { epoch: running, commitment, subnet: ONE }))
    };
    world.commit((0..3).map(|n| commit(&world, n)).collect());
    world.advance(running.0 * 5);
    world.commit((0..3).map(|n| world.next(&validator(n), Body::RevealScores(of(n)))).collect());
    let work: Vec<_> = (0..3_u8)
        .map(|n| {
            let attempt = answered(&world, &client(0), nonce + 1 + u64::from(n), n, question(0).0, says(0));
            world.signed_receipt(world.receipt(&attempt, Verdict::Verified), u64::from(n) + 1)
        })
        .collect();
    world.commit(work);
    let report = world.advance((running.0 + 1) * 5).report.unwrap();
    let report = &report.subnets[0];
    let reward = |n: u8| report.miners.iter().find(|row| row.miner == miner(n).public_key()).unwrap().reward;
    assert!(report.scored);
    assert!(reward(0) > reward(1) * 19 / 10 && reward(1) > 0 && reward(2) == 0, "{report:?}");
}

#[test]
fn a_question_is_a_job_of_the_asker_on_inputs_with_a_label_and_counts_whatever_its_verdict() {
    let mut world = opened();
    world.commit(vec![world.transfer(&client(0), client(1).public_key(), 500)]);
    let (asker, other) = (client(0), client(1));
    let labels = Labels::new(asker.public_key(), (0..4).map(question));
    let from = world.blocks.len();
    let right = |world: &World, by: &SecretKey, nonce, q| {
        let (inputs, label) = question(q);
        answered(world, by, nonce, 0, inputs, says(label))
    };
    let one = right(&world, &asker, 1, 0);
    // Somebody else asks what is known by then.
    let known = right(&world, &other, 1, 1);
    let absent = Attempt { outputs: None, proof: None, ..right(&world, &asker, 2, 1) };
    // Of equal values the first counts: place 0 is not the label of question 3.
    let tie = answered(&world, &asker, 3, 0, question(3).0, vec![1, 1]);
    world.commit(vec![
        world.signed_receipt(world.receipt(&one, Verdict::Verified), 1),
        world.signed_receipt(world.receipt(&known, Verdict::Verified), 2),
        world.signed_receipt(world.receipt(&absent, Verdict::Absent), 3),
        world.signed_receipt(world.receipt(&tie, Verdict::Verified), 4),
    ]);
    let evidence = |attempt: &Attempt| world.evidence(attempt);
    let told = |attempt: &Attempt, verdict| labels.right(attempt.job.value(), &evidence(attempt), verdict);
    assert_eq!(told(&one, Verdict::Verified), Some(true));
    assert_eq!(told(&one, Verdict::Late), Some(false));
    assert_eq!(told(&known, Verdict::Verified), None);
    assert_eq!(told(&absent, Verdict::Absent), Some(false));
    assert_eq!(told(&tie, Verdict::Verified), Some(false));
    let unknown = answered(&world, &asker, 4, 0, vec![vec![7, 7, 7, 7]], says(0));
    assert_eq!(told(&unknown, Verdict::Verified), None);
    // One of three is right; beside a miner that knows all it has a third of its score.
    let mut tally = tallied(&world, &labels, from);
    let best: PublicKey = miner(1).public_key();
    tally.note(world.state.parameters(), best, Verdict::Verified, 500);
    tally.ask(best, true);
    let scores = tally.scores(world.state.parameters());
    let own = scores.iter().find(|(key, _)| *key == miner(0).public_key()).unwrap().1;
    assert_eq!((own, scores.len()), (21_844, 2), "rounded down twice");
    // Who was asked nothing has none, however much it works.
    let mut idle = Tally::labelled(&labels);
    idle.note(world.state.parameters(), best, Verdict::Verified, 500);
    assert_eq!(idle.scores(world.state.parameters()), []);
}
