//! `kill -9` of validators among others, each in a process of its own: the chain goes on where it may, stops where it
//! must, and never says two things.
//!
//! A child is this test binary again, given its index, folder and everybody's ports.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay_proto::wire;
use assay_validator::Node;
use assay_verifier::audit::audit;

use crate::support::BALANCE;
use crate::support::calls::Calls;
use crate::support::network::{Network, PATIENCE};

const CHILD: &str = "ASSAY_TEST_VALIDATOR";
const LISTENS: &str = "child listens on ";
const VALIDATORS: u8 = 4;

/// A validator in a process of its own; killed when dropped.
struct ChildNode {
    process: Child,
    address: SocketAddr,
}

impl ChildNode {
    fn start(network: &Network, index: usize) -> Self {
        let ports: Vec<String> = network.consensus.iter().map(ToString::to_string).collect();
        let folder = network.config(index).data_dir;
        let mut process = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "outages::the_child_validates_until_it_is_killed", "--nocapture"])
            .env(CHILD, format!("{index} {} {}", ports.join(","), folder.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find_map(|line| {
                line.split_once(LISTENS).map(|(_, address)| address.parse().expect("an address"))
            })
            .expect("the child listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn kill(mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("gone");
    }

    async fn calls(&self) -> Calls {
        Calls::to(self.address).await
    }

    async fn height(&self) -> u64 {
        self.calls().await.account(assay_proto::PublicKey([0; 32])).await.height
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_validates_until_it_is_killed() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let mut words = given.splitn(3, ' ');
    let mut word = || words.next().expect("index, ports, folder");
    let index: usize = word().parse().expect("an index");
    let ports = word().split(',').map(|port| port.parse().expect("an address")).collect();
    let folder = PathBuf::from(word());
    let mut network = Network::new(VALIDATORS);
    network.consensus = ports;
    let mut config = network.config(index);
    config.data_dir = folder;
    let key = network.keys[index].clone();
    let node = Node::start(config, key, network.chain.genesis.clone()).await.expect("the node starts");
    println!("{LISTENS}{}", node.local_addr());
    node.stopped().await;
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = tokio::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn block(node: &ChildNode, height: u64) -> wire::CommittedBlock {
    let request = wire::GetBlockRequest { height };
    let response = node.calls().await.ledger.get_block(request).await.expect("a block").into_inner();
    response.block.expect("a block")
}

/// Everybody has the height of the highest, and the same block at every height up to it.
async fn agree(nodes: &[ChildNode]) -> u64 {
    let mut highest = 0;
    for node in nodes {
        highest = highest.max(node.height().await);
    }
    for node in nodes {
        until("the height of the others", || async { node.height().await >= highest }).await;
    }
    let mut parent: Option<Vec<u8>> = None;
    for height in 1..=highest {
        let first = block(&nodes[0], height).await.block.expect("a block");
        let header = first.header.clone().expect("a header");
        assert_eq!(header.height, height, "no gap");
        // The hash of a header is known from the certificate of its block, and from the next header.
        assert!(parent.is_none_or(|hash| hash == header.parent), "height {height} has another parent");
        parent = block(&nodes[0], height).await.certificate.map(|certificate| certificate.block_hash);
        for node in &nodes[1..] {
            assert_eq!(block(node, height).await.block, Some(first.clone()), "height {height}");
        }
    }
    highest
}

/// Submits transfers of 1 until one is committed; its height.
async fn transfer(network: &Network, nodes: &[ChildNode], nonce: &mut u64) {
    let mut calls = nodes[0].calls().await;
    let transaction = network.chain.transfer(*nonce, 1);
    let wait = calls.submit(&transaction);
    tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("committed");
    *nonce += 1;
}

async fn kill_and_restart(kills: usize) {
    let network = Network::new(VALIDATORS);
    let mut nodes: Vec<ChildNode> = (0..4).map(|index| ChildNode::start(&network, index)).collect();
    let mut nonce = 1;
    transfer(&network, &nodes, &mut nonce).await;
    for kill in 0..kills {
        // Never the one that is asked, so that what it was told counts.
        let victim = 1 + kill % 3;
        let pending = {
            let mut calls = nodes[0].calls().await;
            let transaction = network.chain.transfer(nonce, 1);
            nonce += 1;
            tokio::spawn(async move { calls.submit(&transaction).await })
        };
        // Anywhere in the making of a block.
        tokio::time::sleep(Duration::from_millis(u64::try_from(kill * 7 % 40).expect("small"))).await;
        let gone = nodes.remove(victim);
        gone.kill();
        let committed = tokio::time::timeout(PATIENCE, pending).await.expect("three go on").expect("joined");
        committed.expect("committed");
        nodes.insert(victim, ChildNode::start(&network, victim));
    }
    transfer(&network, &nodes, &mut nonce).await;
    agree(&nodes).await;
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
    let mut nodes: Vec<ChildNode> = (0..4).map(|index| ChildNode::start(&network, index)).collect();
    let mut nonce = 1;
    transfer(&network, &nodes, &mut nonce).await;
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
    nodes.push(ChildNode::start(&network, 2));
    tokio::time::timeout(PATIENCE, pending).await.expect("in time").expect("joined").expect("committed");
    nonce += 1;
    nodes.push(ChildNode::start(&network, 3));
    agree(&nodes).await;
    nodes.into_iter().for_each(ChildNode::kill);
    let nodes: Vec<ChildNode> = (0..4).map(|index| ChildNode::start(&network, index)).collect();
    transfer(&network, &nodes, &mut nonce).await;
    agree(&nodes).await;
    let client = nodes[3].calls().await.account(network.chain.client.public_key()).await;
    assert_eq!(client.balance, BALANCE - (nonce - 1));
}
