//! Devices are challenged over gRPC, and what was seen is on the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use assay_proto::challenge::Outcome;
use assay_proto::genesis::{DeviceClass, Parameters};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, Height, PublicKey, SubnetId};
use assay_validator::Node;
use assay_verifier::audit::audit;
use assay_verifier::challenge::Counts;
use assay_verifier::state::State;

use crate::support::Chain;
use crate::support::calls::Calls;
use crate::support::miner::{Behaviour, FakeMiner, Trick};
use crate::support::network::{Network, PATIENCE, calls, height, reach};

fn parameters() -> Parameters {
    Parameters {
        tempo: 100_000,
        challenge_ppm: 1_000_000,
        challenge_side: 16,
        challenge_rounds: 1,
        challenge_blocks: 1_000,
        ..Parameters::default()
    }
}

/// 16^3 multiply-adds in 4 ms, and the slack.
const CLASS: DeviceClass = DeviceClass { id: 1, rate: 1_024_000, collateral_ppm: 0 };

fn counted(state: &State, miner: &PublicKey) -> Counts {
    state.place(SubnetId::ROOT, miner).map_or_else(Counts::default, |place| place.challenges)
}

fn counts(node: &Node, miner: &PublicKey) -> Counts {
    counted(&node.application().state(), miner)
}

/// Waits until the counts of a miner are such.
async fn until(node: &Node, miner: &FakeMiner, wanted: impl Fn(&Counts) -> bool) {
    let (mut head, key) = (node.application().follow(), miner.key.public_key());
    let seen = head.wait_for(|state| wanted(&counted(state, &key)));
    let seen = tokio::time::timeout(PATIENCE, seen).await.map(|_| ());
    assert!(seen.is_ok(), "{:?}", counts(node, &key));
}

fn set(miner: &FakeMiner, trick: Trick) {
    *miner.trick.lock().expect("a trick") = trick;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_online_slow_offline_or_a_wrong_one_and_the_ledger_says_which() {
    let mut chain = Chain::with(parameters());
    chain.genesis.classes = vec![CLASS];
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let miner = &miners[0];
    until(&node, miner, |counts| counts.online >= 2).await;
    set(miner, Trick::Slow(Duration::from_millis(120)));
    until(&node, miner, |counts| counts.slow >= 1).await;
    set(miner, Trick::Refuses);
    until(&node, miner, |counts| counts.offline >= 1).await;
    let before = counts(&node, &miner.key.public_key()).offline;
    // What the miner did not sign is no answer, and nobody's evidence.
    set(miner, Trick::OtherSigner);
    until(&node, miner, |counts| counts.offline >= before + 2).await;
    set(miner, Trick::WrongRows);
    until(&node, miner, |counts| counts.wrong_device == 1).await;
    // It is out of service until it registers again.
    let account = calls.account(miner.key.public_key()).await;
    assert!(account.miner.expect("a miner").model_ids.is_empty());
    let report = audit(calls.export().await.as_slice(), &mut |_| {}).expect("the log holds");
    assert_eq!(report.height, node.application().state().head().height);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_that_signs_for_another_class_is_a_wrong_device() {
    let mut chain = Chain::with(parameters());
    chain.genesis.classes = vec![CLASS, DeviceClass { id: 2, ..CLASS }];
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    calls.submit(&chain.register_model(1)).await.expect("taken");
    let key = crate::support::secret(10);
    let (name, model) = (chain.chain_id().clone(), chain.model.clone());
    let miner = FakeMiner::start(key.clone(), name, model, Behaviour::Honest).await;
    set(&miner, Trick::OtherClass);
    calls.submit(&chain.register_miner(&key, &miner.endpoint())).await.expect("taken");
    until(&node, &miner, |counts| *counts == Counts { wrong_device: 1, ..Counts::default() }).await;
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_validators_ask_each_miner_and_agree_about_it() {
    let mut network = Network::with(3, parameters());
    network.chain.genesis.classes = vec![CLASS];
    let nodes = network.start_all().await;
    let mut first = calls(&nodes[0]).await;
    let mut miners = first.set_up(&network.chain, &[Behaviour::Honest, Behaviour::Honest]).await;
    for miner in &miners {
        until(&nodes[0], miner, |counts| counts.online >= 1).await;
    }
    // One of the miners goes away: two of three say so.
    let gone = miners.pop().expect("a miner");
    let key = gone.key.public_key();
    set(&gone, Trick::Refuses);
    until(&nodes[0], &gone, |counts| counts.offline >= 1).await;
    reach(&nodes[1], height(&nodes[0])).await;
    let mut said: BTreeSet<(PublicKey, u64)> = BTreeSet::new();
    for height in 1..=height(&nodes[0]) {
        let block = nodes[0].application().store().block(Height(height)).expect("reads").expect("no gap");
        for envelope in &block.block.transactions {
            let transaction = Transaction::decode(&envelope.payload).expect("decodes");
            let Body::Challenged(body) = transaction.body else { continue };
            let challenge =
                body.challenge.open::<assay_proto::challenge::Challenge>(network.chain.chain_id());
            let challenge = challenge.expect("signed");
            if body.outcome == Outcome::Offline && challenge.value().miner == key {
                said.insert((envelope.signer, challenge.value().height.0));
            }
        }
    }
    let askers: BTreeSet<_> = said.iter().map(|(signer, _)| signer).collect();
    assert!(askers.len() >= 2, "{said:?}");
    drop(gone);
    for node in nodes {
        node.shutdown().await.expect("stops");
    }
}
