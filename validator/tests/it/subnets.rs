//! Subnets as a node serves them: listed, voted on, and asked questions with known answers.

use std::time::Duration;

use assay_proto::client::{Client, ClientOptions};
use assay_proto::genesis::Parameters;
use assay_proto::subnet::{Number, RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, Transfer};
use assay_proto::{Epoch, Height, SubnetId};
use assay_validator::Node;
use assay_validator::config::{Config, QuestionsConfig};
use assay_verifier::audit::audit;

use crate::support::calls::Calls;
use crate::support::miner::Behaviour;
use crate::support::{Chain, secret};

const ONE: SubnetId = SubnetId(1);

/// Epochs of the subnet are twice as long as the chain's.
fn chain(tempo: u64) -> Chain {
    let parameters = Parameters { tempo, emission: 1_000, subnet_price: 10, ..Parameters::default() };
    let mut chain = Chain::with(parameters);
    chain.subnet = ONE;
    chain
}

fn register(chain: &Chain) -> Body {
    let number = |name: &str, value| Number { name: name.into(), value };
    let tempo = chain.genesis.parameters.tempo * 2;
    let numbers = vec![number("kappa", 40_000), number("tempo", tempo)];
    let body =
        RegisterSubnet { task: "sums".into(), models: vec![], proof_system: None, labelled: true, numbers };
    Body::RegisterSubnet(body)
}

async fn wait(node: &Node, height: u64) {
    let mut head = node.application().follow();
    let ended = head.wait_for(|state| state.head().height >= Height(height));
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("in time").expect("the epoch ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subnets_and_votes_are_listed() {
    let chain = chain(8);
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    calls.submit(&chain.sign(&chain.client, 1, register(&chain))).await.expect("a subnet");
    let _miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let number = Number { name: "fee".into(), value: 2 };
    let vote = Body::VoteParameter(VoteParameter { number: number.clone() });
    calls.submit(&chain.sign(&chain.validator, 2, vote)).await.expect("a vote");
    let url = format!("http://{}", node.local_addr());
    let client = Client::connect(&url, ClientOptions::default()).await.expect("connected");
    let list = client.subnets().await.expect("a list");
    let [root, one] = list.subnets.as_slice() else { panic!("{list:?}") };
    assert_eq!((root.subnet, root.owner, root.miners, root.models), (SubnetId::ROOT, None, 0, 0));
    assert_eq!((one.subnet, one.owner), (ONE, Some(chain.client.public_key())));
    assert_eq!((one.task.as_str(), one.labelled, one.miners, one.models), ("sums", true, 1, 1));
    assert_eq!((one.parameters.kappa, root.parameters.kappa), (40_000, 32_767));
    assert_eq!((one.parameters.tempo, root.parameters.tempo, one.pending_emission), (16, 8, 0));
    // The only validator has all of the power.
    assert_eq!((list.announced, list.votes), (vec![(Epoch(3), number)], vec![]));
    node.shutdown().await.expect("stops");
}

/// A validator with labels asks every model of the subnet, and what it finds is what its miners earn by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_with_labels_asks_the_models_of_its_subnet_and_scores_them_by_the_answers() {
    let chain = chain(4);
    let asker = secret(5);
    let (file, key) = (chain.dir.path().join("questions"), chain.dir.path().join("asker"));
    // The only output is the greatest, so that label 0 is right and label 1 never.
    std::fs::write(&file, "0 1,2\n0 3,4\n1 5,6\n").expect("a file");
    std::fs::write(&key, asker.to_hex().as_str()).expect("a file");
    let questions = QuestionsConfig { subnet: 1, file, key, questions: 3, ..QuestionsConfig::default() };
    let node = chain.start_with(Config { questions, ..chain.config() }).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    calls.submit(&chain.sign(&chain.client, 1, register(&chain))).await.expect("a subnet");
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let weights = Body::WeighSubnets(WeighSubnets { weights: vec![(ONE, 1)] });
    calls.submit(&chain.sign(&chain.validator, 2, weights)).await.expect("weights");
    let funds = Body::Transfer(Transfer { to: asker.public_key(), amount: 50 });
    calls.submit(&chain.sign(&chain.client, 2, funds)).await.expect("funds");
    // Epochs of the subnet, of 8 blocks. They have blocks for clients only: one job each.
    for epoch in 1..=4_u64 {
        calls.infer(&chain.job(epoch)).await.expect("an answer");
        if epoch < 4 {
            wait(&node, epoch * 8).await;
        }
    }
    wait(&node, 32).await;
    let own = chain.validator.public_key();
    let state = node.application().state();
    let asked = state.client(&asker.public_key()).expect("it has asked").latest();
    assert!((6..=9).contains(&asked), "three questions an epoch, none in the first: {asked}");
    assert!(miners[0].served.all() >= 4 + 6);
    assert!(state.account(&asker.public_key()).balance < 50, "miners are paid for them");
    assert_eq!(state.ballot_of(ONE, &own).expect("it has scores").bonds.len(), 1);
    let report = node.application().store().report(Epoch(8)).expect("reads").expect("a report");
    let one = &report.subnets[0];
    assert!(one.scored && !report.scored && one.validators[0].revealed);
    assert_eq!((one.epoch, one.emission), (Epoch(4), 2_000));
    assert_eq!(one.miners[0].miner, miners[0].key.public_key());
    assert!(one.miners[0].reward > 0 && one.miners[0].incentive_ppm > 999_000);
    let bytes = calls.export().await;
    assert_eq!(audit(bytes.as_slice(), &mut |_| {}).expect("accepted").epochs.last(), Some(&report));
    node.shutdown().await.expect("stops");
}
