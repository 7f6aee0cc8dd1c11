//! Several validators in one process, over their own sockets and databases.

use std::time::{Duration, Instant};

use assay_proto::block::{CommitCertificate, CommitSignature, Precommit};
use assay_proto::receipt::Verdict;
use assay_proto::vote::{Equivocation, Vote, VoteKind};
use assay_proto::{BlockHash, Height, JobId, SecretKey};
use assay_validator::application::Application;
use assay_validator::mempool::{Mempool, Outcome};
use assay_validator::store::Store;
use assay_validator::{Error, Node};
use assay_validator_bft::SigningState;
use assay_verifier::audit::audit;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::calls::names;
use crate::support::miner::Behaviour;
use crate::support::network::{Network, PATIENCE, agree, calls, height, reach, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_commit_what_any_of_them_takes_and_all_their_logs_pass_the_audit() {
    let network = Network::new(4);
    let nodes = network.start_all().await;
    let mut first = calls(&nodes[0]).await;
    let _miners = first.set_up(&network.chain, &[Behaviour::Honest]).await;
    // Each takes a job of the same client; each broker has its own view of the miners.
    for (node, nonce) in nodes.iter().zip(1..) {
        reach(node, height(&nodes[0])).await;
        let events = calls(node).await.infer(&network.chain.job(nonce)).await.expect("an answer");
        assert_eq!(names(&events), ["assigned 1", "output", "proof", "committed"]);
    }
    let roots = agree(&nodes).await;
    assert!(!roots.is_empty());
    for node in &nodes {
        let export = calls(node).await.export().await;
        let report = audit(export.as_slice(), &mut |_| {}).expect("the log holds");
        assert_eq!((report.receipts.verified, report.receipts.total()), (4, 4));
        let last = node.application().store().block(report.height).expect("reads").expect("is there");
        let CommitCertificate { signatures, .. } = last.certificate;
        assert!(signatures.len() >= 3, "{} of 4 signed", signatures.len());
    }
    for node in nodes {
        node.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_four_go_on_and_the_fourth_catches_up() {
    let network = Network::new(4);
    let mut nodes = network.start_all().await;
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let mut first = calls(&nodes[0]).await;
    let before = height(&nodes[0]);
    for nonce in 1..=5 {
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("committed by three");
    }
    assert!(height(&nodes[0]) > before);
    let fourth = network.start(3).await;
    ready(&fourth).await;
    nodes.push(fourth);
    let roots = agree(&nodes).await;
    first.submit(&network.chain.transfer(6, 1)).await.expect("committed by all");
    assert!(agree(&nodes).await.len() > roots.len());
}

/// The first knows the second by the ledger alone, and sees it at an address that nobody told it of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_is_started_again_is_let_in_at_once_from_whatever_address() {
    let network = Network::new(2);
    let mut config = network.config(0);
    config.consensus.peers.clear();
    let first = Node::start(config, network.keys[0].clone(), network.chain.genesis.clone()).await;
    let first = first.expect("the node starts");
    let mut calls = calls(&first).await;
    for nonce in 1..=3 {
        let second = network.start(1).await;
        let transfer = network.chain.transfer(nonce, 1);
        // The chain needs both.
        let wait = tokio::time::timeout(Duration::from_secs(9), calls.submit(&transfer));
        wait.await.expect("in time").expect("committed");
        second.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_nobody_named_has_to_wait_between_connections() {
    let network = Network::new(2);
    let _node = network.start(0).await;
    let is_open = || async {
        let mut stream = TcpStream::connect(network.consensus[0]).await.expect("a port");
        // The node says nothing before the other side does.
        tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await.is_err()
    };
    assert!(is_open().await);
    // The node learns of a close a moment after it, so that an attempt may come before that, and is closed in its turn.
    let mut attempts = 0;
    while is_open().await {
        attempts += 1;
        assert!(attempts < 10, "the ones before were closed a moment ago");
    }
    let closed = Instant::now();
    while !is_open().await {
        assert!(closed.elapsed() < Duration::from_secs(9), "it waits for longer than it should");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_four_decide_nothing_and_go_on_when_a_third_is_back() {
    let network = Network::new(4);
    let mut nodes = network.start_all().await;
    for node in nodes.split_off(2) {
        node.shutdown().await.expect("stops");
    }
    let before = height(&nodes[0]).max(height(&nodes[1]));
    let wait = nodes[0].application().submit(network.chain.transfer(1, 5).envelope()).expect("taken");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(height(&nodes[0]).max(height(&nodes[1])) <= before, "two of four decided a block");
    assert!(!*nodes[0].ready().borrow(), "a node without a quorum is not ready");
    nodes.push(network.start(2).await);
    let outcome = tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("an end");
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    agree(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_signed_twice_is_removed_and_the_others_go_on() {
    let network = Network::new(4);
    let nodes = network.start_all().await;
    let offender = network.keys[3].public_key();
    let vote = |block: Option<u8>| {
        let block_hash = block.map(|byte| BlockHash([byte; 32]));
        let vote = Vote { kind: VoteKind::Precommit, height: Height(1), round: 0, block_hash };
        network.keys[3].sign(network.chain.chain_id(), vote).into_envelope()
    };
    let mut first = calls(&nodes[0]).await;
    first.submit(&network.chain.transfer(1, 1)).await.expect("a first block");
    let evidence = Equivocation::new(vote(Some(1)), vote(None)).expect("they differ");
    nodes[1].application().accuse(evidence).expect("taken");
    for nonce in 2..=6 {
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("committed");
    }
    agree(&nodes).await;
    let state = nodes[0].application().state();
    let (found, record) = state.offenders().next().expect("in the log");
    assert_eq!((*found, record.offence), (offender, Height(1)));
    assert!(!state.validators().contains(&offender));
    assert_eq!(state.validators().total(), 3);
    let export = calls(&nodes[0]).await.export().await;
    audit(export.as_slice(), &mut |_| {}).expect("certificates are held against the set of their height");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_of_a_validator_reach_the_log_though_others_propose() {
    let network = Network::new(4);
    let nodes = network.start_all().await;
    let mut last = calls(&nodes[3]).await;
    let _miners = last.set_up(&network.chain, &[Behaviour::GarbageProof, Behaviour::Honest]).await;
    let jobs: Vec<JobId> =
        (1..=6).map(|nonce| network.chain.job(nonce).id(network.chain.chain_id())).collect();
    for nonce in 1..=6 {
        last.infer(&network.chain.job(nonce)).await.expect("an answer");
    }
    for job in jobs {
        let verdicts = last.verdicts(job, 1).await;
        assert_eq!(
            verdicts.iter().filter(|verdict| **verdict == Verdict::Verified).count(),
            1,
            "{verdicts:?}"
        );
    }
    agree(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_the_same_folder_and_a_port_in_use_are_refused() {
    let network = Network::new(2);
    let node = network.start(0).await;
    assert!(matches!(network.try_start(0).await, Err(Error::Locked { .. })));
    let mut other = network.config(1);
    other.consensus.listen = network.consensus[0];
    let started = Node::start(other, network.keys[1].clone(), network.chain.genesis.clone()).await;
    assert!(matches!(started, Err(Error::Consensus(_))), "{:?}", started.err());
    node.shutdown().await.expect("stops");
}

/// Makes the databases of three of four validators, with as many blocks; the fourth has none.
fn with_long_log(network: &Network, blocks: u64) {
    let genesis = &network.chain.genesis;
    let folder = |index: usize| network.config(index).data_dir;
    let (store, state) = Store::open(&folder(0), genesis).expect("opens");
    let mempool = Mempool::new(Default::default(), network.keys[0].public_key());
    let application = Application::new(network.keys[0].clone(), store, state, mempool).expect("metrics");
    for time in 1..=blocks {
        if time % 100 == 0 {
            let transfer = network.chain.transfer(time / 100, 1);
            let _wait = application.submit(transfer.envelope()).expect("taken");
        }
        let block = application.propose(time).expect("a proposal");
        let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
        let sign = |key: &SecretKey| {
            let signed = key.sign(network.chain.chain_id(), precommit.vote());
            CommitSignature { validator: signed.signer(), signature: signed.envelope().signature }
        };
        let signatures = network.keys[..3].iter().map(sign).collect();
        application.decide(CommitCertificate { precommit, signatures }).expect("decided");
    }
    for index in 0..3 {
        let path = SigningState::path(&folder(index).join("consensus"));
        let key = network.keys[index].public_key();
        let state = SigningState::open(&path, network.chain.chain_id(), &key).expect("opens");
        state.expect("made with the network").concede(Height(blocks)).expect("written");
    }
    for index in 1..3 {
        let copy = folder(index).with_extension("copy");
        application.store().checkpoint(&copy).expect("copied");
        for entry in std::fs::read_dir(&copy).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::rename(entry.path(), folder(index).join(entry.file_name())).expect("moved");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_without_a_log_replays_ten_thousand_blocks_slow() {
    let mut network = Network::new(4);
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        network = Network::within(dir, 4);
    }
    with_long_log(&network, 10_000);
    let mut nodes = Vec::new();
    for index in 0..4 {
        nodes.push(network.start(index).await);
    }
    let began = Instant::now();
    let mut head = nodes[3].application().follow();
    while height(&nodes[3]) < 10_000 {
        let moved = tokio::time::timeout(PATIENCE, head.changed()).await;
        moved.expect("it goes on").expect("it runs");
    }
    println!("10,000 blocks in {:.1} s", began.elapsed().as_secs_f64());
    ready(&nodes[3]).await;
    let mut first = calls(&nodes[0]).await;
    first.submit(&network.chain.transfer(101, 1)).await.expect("committed");
    assert!(agree(&nodes).await.len() > 10_000);
}
