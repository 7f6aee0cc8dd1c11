//! Validators among others, each in a process of its own, that are killed, cut off, run out of disk or have a wrong clock:
//! the chain goes on where it may, stops where it must, and never says two things.

mod clocks;
mod disk;
mod partitions;

use std::time::Duration;

use assay_verifier::audit::audit;

use crate::support::BALANCE;
use crate::support::network::{Network, PATIENCE};
use crate::support::process::{ChildNode, Spec, VALIDATORS, agree, be_a_child, transfer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_validates_until_it_is_killed() {
    be_a_child().await;
}

fn start(network: &Network, index: usize) -> ChildNode {
    Spec::new(network, index).start()
}

/// Whom to kill and when: anywhere in the making of a block, the same in every run. Never the one that is asked, so that what
/// it was told counts.
fn moments(kills: usize) -> impl Iterator<Item = (usize, Duration)> {
    let draw = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = *state >> 33;
        let victim = usize::try_from(1 + bits % 3).expect("small");
        Some((victim, Duration::from_micros(bits / 3 % 60_000)))
    };
    let mut state = 7;
    std::iter::from_fn(move || draw(&mut state)).take(kills)
}

async fn kill_and_restart(kills: usize) {
    let network = Network::new(VALIDATORS);
    let mut nodes: Vec<ChildNode> = (0..4).map(|index| start(&network, index)).collect();
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    for (victim, moment) in moments(kills) {
        let pending = {
            let mut calls = nodes[0].calls().await;
            let transaction = network.chain.transfer(nonce, 1);
            nonce += 1;
            tokio::spawn(async move { calls.submit(&transaction).await })
        };
        tokio::time::sleep(moment).await;
        let gone = nodes.remove(victim);
        gone.kill();
        let committed = tokio::time::timeout(PATIENCE, pending).await.expect("three go on").expect("joined");
        committed.expect("committed");
        nodes.insert(victim, start(&network, victim));
    }
    transfer(&network, &nodes[0], &mut nonce).await;
    agree(&network, &nodes).await;
    let spent = nonce - 1;
    for node in &nodes {
        let mut calls = node.calls().await;
        let client = calls.account(network.chain.client.public_key()).await;
        assert_eq!((client.balance, client.nonce), (BALANCE - spent, spent), "nothing lost, nothing twice");
        audit(calls.export().await.as_slice(), &mut |_| {}).expect("the log holds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_four_is_killed_again_and_again_and_nothing_is_lost_or_done_twice() {
    kill_and_restart(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_four_is_killed_twenty_times_and_nothing_is_lost_or_done_twice_slow() {
    kill_and_restart(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_four_killed_stop_the_chain_without_a_fork_and_all_killed_go_on_after_a_restart() {
    let network = Network::new(VALIDATORS);
    let mut nodes: Vec<ChildNode> = (0..4).map(|index| start(&network, index)).collect();
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    for node in nodes.split_off(2) {
        node.kill();
    }
    let before = [nodes[0].height().await, nodes[1].height().await];
    let pending = {
        let mut calls = nodes[0].calls().await;
        let transaction = network.chain.transfer(nonce, 1);
        tokio::spawn(async move { calls.submit(&transaction).await })
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let highest = *before.iter().max().expect("two");
    for node in &nodes {
        assert!(node.height().await <= highest, "two of four decided a block");
    }
    nodes.push(start(&network, 2));
    tokio::time::timeout(PATIENCE, pending).await.expect("in time").expect("joined").expect("committed");
    nonce += 1;
    nodes.push(start(&network, 3));
    agree(&network, &nodes).await;
    nodes.into_iter().for_each(ChildNode::kill);
    let nodes: Vec<ChildNode> = (0..4).map(|index| start(&network, index)).collect();
    transfer(&network, &nodes[0], &mut nonce).await;
    agree(&network, &nodes).await;
    let client = nodes[3].calls().await.account(network.chain.client.public_key()).await;
    assert_eq!(client.balance, BALANCE - (nonce - 1));
}
