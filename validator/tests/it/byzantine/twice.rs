//! Two machines with one key: the second one begins with a copy of what the first one had a height earlier, so that it does
//! not know what the first one signed. The engine and the ledger of both are the true ones.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use assay_proto::transaction::{Body, Lock, Purpose, Transaction};
use assay_proto::{Canonical, Height, PublicKey, wire};
use assay_validator::Node;
use assay_validator_bft::SigningState;
use tokio::time::sleep;

use super::{LIAR, Lies, Running, honest};
use crate::support::network::{Network, PATIENCE, agree, calls, height, ready};

const STAKE: u64 = 100;

/// Time in which what was signed reaches the other validators: the engine sends its last votes again every two seconds.
const SENT: Duration = Duration::from_secs(5);

/// Has the liar sign twice at a height whose first proposer is this validator; both messages, from the evidence that the
/// others put in the log. They slash the liar, remove it, and go on.
pub async fn sign_twice(proposer: usize, second: Lies) -> [Vec<u8>; 2] {
    let network = Network::new(4);
    let mut nodes = honest(&network).await;
    let liar = Running::start(&network, Lies::default()).await;
    for node in &nodes {
        ready(node).await;
    }
    let key = network.keys[LIAR].public_key();
    let mut first = calls(&nodes[0]).await;
    let stake = Lock { purpose: Purpose::Stake(key), amount: STAKE };
    let staked = network.chain.sign(&network.chain.client, 1, Body::Lock(stake));
    first.submit(&staked).await.expect("committed");
    let mut nonce = 2;
    while first_proposer(&network, height(&nodes[0]) + 1) != network.keys[proposer].public_key() {
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("committed");
        nonce += 1;
    }
    let offence = height(&nodes[0]) + 1;
    let folder = network.config(LIAR).data_dir;
    let copy = folder.with_extension("copy");
    liar.stop().await;
    copy_all(&folder, &copy);

    // With two of four nothing is decided, so that the height stays.
    for node in nodes.split_off(1) {
        node.shutdown().await.expect("stops");
    }
    assert_eq!(height(&nodes[0]), offence - 1);
    let machine = Running::start(&network, Lies::default()).await;
    hear_each_other(&nodes[0], &machine, &network).await;
    let waiting = nodes[0].application().submit(network.chain.transfer(nonce, 1).envelope()).expect("taken");
    signs(&network, offence).await;
    sleep(SENT).await;
    machine.stop().await;

    fs::remove_dir_all(&folder).expect("removed");
    fs::rename(&copy, &folder).expect("put in its place");
    assert!(signed(&network) < offence, "the copy does not know");
    let machine = Running::start(&network, second).await;
    hear_each_other(&nodes[0], &machine, &network).await;
    signs(&network, offence).await;
    sleep(SENT).await;
    // What it denied the others decide: it may have ended by itself.
    machine.abandon().await;

    for index in 1..LIAR {
        nodes.push(network.start(index).await);
    }
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("an end");
    let began = Instant::now();
    while nodes[0].application().state().offenders().next().is_none() {
        assert!(began.elapsed() < PATIENCE, "no evidence is in the log");
        nonce += 1;
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("three go on");
    }
    for _ in 0..3 {
        nonce += 1;
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("three go on");
    }
    agree(&nodes).await;
    let state = nodes[0].application().state();
    let (found, record) = state.offenders().next().expect("in the log");
    assert_eq!((*found, record.offence), (key, Height(offence)));
    assert!(!state.validators().contains(&key));
    let left =
        state.lock(Purpose::Stake(key), network.chain.client.public_key()).expect("what is left").amount;
    let slashed = STAKE * state.parameters().slash_ppm / 1_000_000;
    assert!(slashed > 0);
    assert_eq!(left, STAKE - slashed);
    evidence(&nodes[0])
}

/// Both messages of the only evidence in a log.
fn evidence(node: &Node) -> [Vec<u8>; 2] {
    let mut found = Vec::new();
    for height in 1..=height(node) {
        let block = node.application().store().block(Height(height)).expect("reads").expect("no gap");
        for envelope in &block.block.transactions {
            let transaction = Transaction::decode(&envelope.payload).expect("decided");
            if let Body::Equivocation(evidence) = transaction.body {
                found.push(wire::Equivocation::from(&evidence));
            }
        }
    }
    assert_eq!(found.len(), 1);
    let wire::Equivocation { first, second } = found.remove(0);
    [first, second].map(|signed| signed.expect("a message").payload)
}

/// Who proposes first at a height, where all have the same power: as the README of the engine's crate says.
fn first_proposer(network: &Network, height: u64) -> PublicKey {
    let mut keys: Vec<PublicKey> = network.keys.iter().map(|key| key.public_key()).collect();
    keys.sort();
    let point = u128::from(height.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 4;
    keys[usize::try_from(point >> 64).expect("below four")]
}

/// Waits until the first node and the machine have heard each other: messages pass both ways.
async fn hear_each_other(node: &Node, machine: &Running, network: &Network) {
    let height = node.application().state().head().height;
    let (own, liar) = (network.keys[0].public_key(), network.keys[LIAR].public_key());
    for (mut status, other) in [(node.consensus(), liar), (machine.engine.status(), own)] {
        let heard = status.wait_for(|status| status.peers.get(&other).is_some_and(|log| log.head == height));
        assert!(tokio::time::timeout(PATIENCE, heard).await.is_ok(), "they do not hear each other");
    }
}

/// Waits until the liar has signed at a height.
async fn signs(network: &Network, height: u64) {
    let began = Instant::now();
    while signed(network) < height {
        assert!(began.elapsed() < PATIENCE, "nothing is signed at height {height}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The last height that the liar's record knows of: of a copy, since the record itself is locked.
fn signed(network: &Network) -> u64 {
    let folder = network.config(LIAR).data_dir.join("consensus");
    let copy = network.chain.dir.path().join("record");
    fs::copy(SigningState::path(&folder), &copy).expect("copied");
    let (chain, key) = (network.chain.chain_id(), network.keys[LIAR].public_key());
    let state = SigningState::open(&copy, chain, &key).expect("whole").expect("there");
    state.height().0
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}
