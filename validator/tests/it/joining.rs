//! A key that becomes a validator by its stake, unknown to the settings of the others.

use std::time::Duration;

use assay_proto::Height;
use assay_proto::genesis::{GenesisAccount, Parameters};
use assay_proto::transaction::{Body, Lock, Purpose};
use assay_validator::Node;
use assay_verifier::audit::audit;

use crate::records::{blocks_until, signs_from};
use crate::support::network::{Network, agree, calls, height, ready};

const FIFTH: usize = 4;
const STAKE: u64 = 1 << 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fifth_node_catches_up_stakes_votes_and_proposes_and_the_chain_needs_its_vote() {
    let parameters =
        Parameters { tempo: 5, stake_per_power: STAKE, unbonding_blocks: 100, ..Parameters::default() };
    let mut network = Network::with(5, parameters);
    let key = network.keys[FIFTH].public_key();
    let genesis = &mut network.chain.genesis;
    genesis.validators.retain(|validator| validator.public_key != key);
    genesis.accounts.push(GenesisAccount { public_key: key, balance: 2 * STAKE });
    genesis.accounts.sort_by_key(|account| account.public_key);

    let mut nodes = Vec::new();
    for index in 0..FIFTH {
        let mut config = network.config(index);
        config.consensus.peers.retain(|peer| peer.validator != key.to_string());
        let started = Node::start(config, network.keys[index].clone(), network.chain.genesis.clone()).await;
        nodes.push(started.expect("the node starts"));
    }
    for node in &nodes {
        ready(node).await;
    }
    let (mut first, mut nonce) = (calls(&nodes[0]).await, 0);
    blocks_until(&network, &mut first, &mut nonce, "some blocks", || height(&nodes[0]) >= 3).await;
    // It dials the others, who talk to nobody whom neither their settings nor the ledger name.
    let fifth = network.start(FIFTH).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(nodes.iter().all(|node| !node.consensus().borrow().peers.contains_key(&key)));
    assert_eq!(height(&fifth), 0);
    let stake = Lock { purpose: Purpose::Stake(key), amount: STAKE };
    first.submit(&network.chain.sign(&network.keys[FIFTH], 1, Body::Lock(stake))).await.expect("committed");
    let staked = height(&nodes[0]);

    let joined = || nodes[0].application().state().validators().contains(&key);
    blocks_until(&network, &mut first, &mut nonce, "it is a validator", joined).await;
    let from = height(&nodes[0]) + 1;
    blocks_until(&network, &mut first, &mut nonce, "it catches up", || *fifth.ready().borrow()).await;
    assert!(from > staked + 5, "its power was announced an epoch ahead");
    assert_eq!(nodes[0].application().state().validators().total(), 5);
    let signs = || signs_from(key, &nodes[0], 1).is_some();
    blocks_until(&network, &mut first, &mut nonce, "it votes", signs).await;
    assert!(signs_from(key, &nodes[0], 1).expect("just seen") >= from, "nobody counts a stranger's vote");
    let proposes = || {
        let store = nodes[0].application().store();
        let block = |height| store.block(Height(height)).expect("reads").expect("no gap").block;
        (from..=height(&nodes[0])).any(|height| block(height).header.proposer == key)
    };
    blocks_until(&network, &mut first, &mut nonce, "it proposes", proposes).await;

    // Four of five are needed: without the fourth nothing is decided but with the fifth.
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let before = height(&nodes[0]);
    blocks_until(&network, &mut first, &mut nonce, "they go on", || height(&nodes[0]) > before + 3).await;
    assert!(signs_from(key, &nodes[0], before + 2).is_some());
    nodes.push(fifth);
    agree(&nodes).await;
    let export = calls(&nodes[3]).await.export().await;
    audit(export.as_slice(), &mut |_| {}).expect("certificates are held against the set of their height");
}
