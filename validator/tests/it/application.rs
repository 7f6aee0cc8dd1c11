//! The seam to the engine: several validators, one engine.

use std::sync::Arc;
use std::time::Duration;

use assay_proto::block::{Block, CommitCertificate, CommitSignature, Precommit};
use assay_proto::genesis::{Genesis, GenesisValidator, Parameters};
use assay_proto::vote::{Equivocation, Vote, VoteKind};
use assay_proto::{BlockHash, Height, PublicKey, SecretKey};
use assay_validator::application::Application;
use assay_validator::config::PeerConfig;
use assay_validator::mempool::{Mempool, Outcome};
use assay_validator::store::Store;
use assay_validator::{Error, Node};
use assay_verifier::Reason;

use crate::support::calls::Calls;
use crate::support::miner::Behaviour;
use crate::support::{Chain, secret};

/// A node of a chain of four validators, without a network.
struct Peer {
    key: SecretKey,
    application: Arc<Application>,
    dir: tempfile::TempDir,
}

fn peers(chain: &mut Chain) -> Vec<Peer> {
    let keys: Vec<SecretKey> = (20..24).map(secret).collect();
    let validator = |key: &SecretKey| GenesisValidator { public_key: key.public_key(), power: 1 };
    chain.genesis.validators = keys.iter().map(validator).collect();
    chain.genesis.validators.sort_by_key(|validator| validator.public_key);
    keys.into_iter().map(|key| peer(key, &chain.genesis)).collect()
}

fn peer(key: SecretKey, genesis: &Genesis) -> Peer {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, state) = Store::open(dir.path(), genesis).expect("opens");
    let mempool = Mempool::new(Default::default(), key.public_key());
    let application = Arc::new(Application::new(key.clone(), store, state, mempool).expect("metrics"));
    Peer { key, application, dir }
}

fn certificate(block: &Block, signers: &[Peer]) -> CommitCertificate {
    let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
    let sign = |peer: &Peer| {
        let signed = peer.key.sign(&block.header.chain_id, precommit.vote());
        CommitSignature { validator: signed.signer(), signature: signed.envelope().signature }
    };
    CommitCertificate { precommit, signatures: signers.iter().map(sign).collect() }
}

#[test]
fn a_block_of_one_validator_is_validated_and_decided_by_the_others() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let mut wait = peers[0].application.submit(chain.transfer(1, 5).envelope()).expect("taken");
    let block = peers[0].application.propose(10).expect("a proposal");
    let certificate = certificate(&block, &peers[..3]);
    for peer in &peers {
        let hash = peer.application.validate(&block).expect("valid");
        assert_eq!(hash, block.header.hash());
        assert_eq!(peer.application.decide(certificate.clone()).expect("decided"), Height(1));
        assert_eq!(peer.application.state().account(&PublicKey([9; 32])).balance, 5);
    }
    assert_eq!(wait.try_recv(), Ok(Outcome::Committed { height: Height(1), index: 0 }));
    let roots: Vec<_> = peers.iter().map(|peer| peer.application.state().root()).collect();
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn two_of_four_validators_decide_nothing() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let block = peers[0].application.propose(10).expect("a proposal");
    let refused = peers[0].application.decide(certificate(&block, &peers[..2]));
    let Err(Error::Block(rejection)) = refused else { panic!("{refused:?}") };
    assert!(matches!(*rejection.reason, Reason::CertificatePower { got: 2, total: 4 }));
    assert_eq!(peers[0].application.state().head().height, Height(0));
    peers[0].application.decide(certificate(&block, &peers[1..])).expect("three of four");
}

#[test]
fn a_block_is_decided_once_and_only_after_it_was_validated() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let block = peers[0].application.propose(10).expect("a proposal");
    let certificate = certificate(&block, &peers);
    let unseen = peers[1].application.decide(certificate.clone());
    assert!(matches!(unseen, Err(Error::UnknownBlock(hash)) if hash == block.header.hash()));
    peers[0].application.decide(certificate.clone()).expect("decided");
    assert!(matches!(peers[0].application.decide(certificate), Err(Error::UnknownBlock(_))));
    assert_eq!(peers[0].application.state().head().height, Height(1));
}

#[test]
fn a_header_that_was_validated_vouches_for_its_own_transactions_only() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let _wait = peers[0].application.submit(chain.transfer(1, 5).envelope()).expect("taken");
    let block = peers[0].application.propose(10).expect("a proposal");
    let mut other = block.clone();
    other.transactions = vec![chain.transfer(1, 500).into_envelope()];
    let refused = peers[0].application.validate(&other).expect_err("other transactions");
    assert!(matches!(*refused.reason, Reason::TransactionsRoot { .. }));
}

#[test]
fn rounds_without_a_decision_leave_a_bounded_memory_and_the_last_proposal_decidable() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let blocks: Vec<Block> =
        (10..40).map(|time| peers[0].application.propose(time).expect("a proposal")).collect();
    let forgotten = blocks.iter().filter(|block| {
        // With too little power nothing is decided: this only asks whether the block is known.
        let asked = peers[0].application.decide(certificate(block, &peers[..1]));
        matches!(asked, Err(Error::UnknownBlock(_)))
    });
    assert_eq!(forgotten.count(), 14, "sixteen of thirty are remembered");
    let last = blocks.last().expect("a block");
    peers[0].application.validate(last).expect("valid still");
    peers[0].application.decide(certificate(last, &peers)).expect("decided");
}

#[test]
fn a_candidate_that_may_not_apply_is_dropped_with_its_reason() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let application = &peers[0].application;
    let mut poor = application.submit(chain.transfer(1, 1_000_000).envelope()).expect("taken");
    let mut good = application.submit(chain.transfer(2, 1).envelope()).expect("taken");
    let block = application.propose(10).expect("a proposal");
    assert_eq!(block.transactions.len(), 1);
    let Ok(Outcome::Dropped { reason }) = poor.try_recv() else { panic!("not dropped") };
    assert!(reason.contains("1000000 are needed"), "{reason}");
    application.decide(certificate(&block, &peers)).expect("decided");
    assert_eq!(good.try_recv(), Ok(Outcome::Committed { height: Height(1), index: 0 }));
    assert!(application.mempool().is_empty());
}

#[test]
fn a_database_opens_at_the_last_block_that_a_removed_validator_signed() {
    let mut chain = Chain::new();
    let peers = peers(&mut chain);
    let decide = |time: u64| {
        let block = peers[0].application.propose(time).expect("a proposal");
        peers[0].application.decide(certificate(&block, &peers)).expect("decided");
    };
    decide(1);
    let vote = |block: Option<u8>| {
        let block_hash = block.map(|byte| BlockHash([byte; 32]));
        let vote = Vote { kind: VoteKind::Precommit, height: Height(1), round: 0, block_hash };
        peers[3].key.sign(chain.chain_id(), vote).into_envelope()
    };
    let evidence = Equivocation::new(vote(Some(1)), vote(None)).expect("they differ");
    peers[0].application.accuse(evidence).expect("taken");
    decide(2);
    assert_eq!(peers[0].application.state().offenders().count(), 1);
    decide(3);
    let state = peers[0].application.state();
    assert_eq!(
        state.validators().iter().count(),
        3,
        "it may not sign the next block, but it signed the last"
    );
    let mut peers = peers;
    let Peer { application, dir, .. } = peers.remove(0);
    drop((state, application));
    let (_, state) = Store::open(dir.path(), &chain.genesis).expect("opens");
    assert_eq!(state.head().height, Height(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_no_validators_and_a_peer_that_is_none_are_refused() {
    let mut chain = Chain::new();
    let started = Node::start(chain.config(), secret(99), chain.genesis.clone()).await;
    assert!(matches!(started, Err(Error::NotValidator(key)) if key == secret(99).public_key()));
    let _peers = peers(&mut chain);
    chain.validator = secret(20);
    for stranger in [secret(98).public_key(), chain.validator.public_key()] {
        let mut config = chain.config();
        let address = ([127, 0, 0, 1], 1).into();
        config.consensus.peers =
            vec![PeerConfig { validator: stranger.to_string(), owner: String::new(), address }];
        let started = chain.start_with(config).await;
        assert!(matches!(started, Err(Error::NotPeer(key)) if key == stranger));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_blocks_are_made_only_to_end_an_epoch_in_which_work_was_done() {
    let chain = Chain::with(Parameters { tempo: 6, emission: 1_000, ..Parameters::default() });
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(node.application().state().head().height, Height(2), "no work, no empty block");
    calls.infer(&chain.job(1)).await.expect("an answer");
    let mut head = node.application().follow();
    head.wait_for(|state| state.head().height >= Height(6)).await.expect("the epoch ends");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(node.application().state().head().height, Height(6), "the epoch has ended, no more blocks");
    let report = node.application().store().latest_report().expect("reads").expect("a report");
    assert_eq!(report.miners.len(), 1);
    assert_eq!(report.miners[0].miner, miners[0].key.public_key());
    assert_eq!((report.miners[0].verified, report.miners[0].reward), (1, 500));
    node.shutdown().await.expect("stops");
}
