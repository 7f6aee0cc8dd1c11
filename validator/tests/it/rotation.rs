//! Operating keys of running nodes: a validator's vote goes from one key to the next, a miner's key earns for its owner.

use assay_proto::operating::SetOperatingKey;
use assay_proto::transaction::Body;
use assay_proto::vote::{Equivocation, Vote, VoteKind};
use assay_proto::wire::infer_response::Event;
use assay_proto::{BlockHash, Height, PublicKey, SecretKey};
use assay_validator::{Error, Node, begin_signing};
use assay_verifier::audit::audit;
use assay_verifier::limits::KEY_BLOCKS;

use crate::records::{blocks_until, signs_from};
use crate::support::calls::{Calls, names};
use crate::support::miner::{Behaviour, FakeMiner};
use crate::support::network::{Network, agree, calls, height, ready};
use crate::support::{Chain, PRICE, secret};

/// The one whose key is replaced.
const ROTATED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validators_vote_goes_to_its_new_key_and_the_old_one_stays_slashable() {
    let network = Network::new(4);
    let mut nodes = network.start_all().await;
    let (mut first, mut nonce) = (calls(&nodes[0]).await, 0);
    let (owner, new) = (network.keys[ROTATED].clone(), secret(60));
    let (old_key, new_key) = (owner.public_key(), new.public_key());
    let signed = || signs_from(old_key, &nodes[0], 1).is_some();
    blocks_until(&network, &mut first, &mut nonce, "a vote of the old key", signed).await;
    let voted = signs_from(old_key, &nodes[0], 1).expect("just seen");

    // The new key has a machine of its own, which nobody's settings name.
    let mut config = network.config(ROTATED);
    config.data_dir = network.chain.dir.path().join("rotated");
    begin_signing(&config.data_dir, network.chain.chain_id(), &new_key).expect("a fresh key");
    let refused = Node::start(config.clone(), new.clone(), network.chain.genesis.clone()).await;
    assert!(matches!(refused, Err(Error::NotValidator(key)) if key == new_key), "{refused:?}");
    config.owner = old_key.to_string();

    let body = SetOperatingKey::new(network.chain.chain_id(), old_key, &new);
    let last = first.account(old_key).await.nonce;
    let named = network.chain.sign(&owner, last + 1, Body::SetOperatingKey(body));
    first.submit(&named).await.expect("named");
    let from = height(&nodes[0]) + KEY_BLOCKS;
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let rotated = Node::start(config, new.clone(), network.chain.genesis.clone()).await;
    let rotated = rotated.expect("the node starts");
    let signed = || signs_from(new_key, &nodes[0], 1).is_some();
    blocks_until(&network, &mut first, &mut nonce, "a vote of the new key", signed).await;
    assert!(signs_from(new_key, &nodes[0], 1).expect("just seen") >= from);
    assert_eq!(signs_from(old_key, &nodes[0], from), None);
    ready(&rotated).await;
    assert_eq!(rotated.application().validator(), old_key);

    // Three of four are needed: without the third nothing is decided but with the new key.
    nodes.pop().expect("a node").shutdown().await.expect("stops");
    let before = height(&nodes[0]);
    blocks_until(&network, &mut first, &mut nonce, "they go on", || height(&nodes[0]) > before + 3).await;
    assert!(signs_from(new_key, &nodes[0], before + 2).is_some());
    nodes.push(rotated);
    agree(&nodes).await;

    let vote = |block: Option<u8>| {
        let block_hash = block.map(|byte| BlockHash([byte; 32]));
        let vote = Vote { kind: VoteKind::Precommit, height: Height(voted), round: 9, block_hash };
        owner.sign(network.chain.chain_id(), vote).into_envelope()
    };
    let evidence = Equivocation::new(vote(Some(1)), vote(None)).expect("they differ");
    nodes[1].application().accuse(evidence).expect("taken");
    let found = || nodes[0].application().state().offenders().any(|(key, _)| *key == old_key);
    blocks_until(&network, &mut first, &mut nonce, "its offence of before counts", found).await;
    let export = first.export().await;
    audit(export.as_slice(), &mut |_| {}).expect("certificates are held against the keys of their height");
}

/// An owner whose miner signs with another key; the balances of both after a job.
async fn operated(behaviour: impl Fn(PublicKey) -> Behaviour) -> (Vec<String>, u64, u64) {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let (owner, by): (SecretKey, SecretKey) = (secret(50), secret(51));
    calls.submit(&chain.register_model(1)).await.expect("the model is registered");
    let behaviour = behaviour(owner.public_key());
    let (id, model) = (chain.chain_id().clone(), chain.model.clone());
    let miner = FakeMiner::start(by.clone(), id, model, behaviour).await;
    calls.submit(&chain.register_miner(&owner, &miner.endpoint())).await.expect("registered");
    let body = SetOperatingKey::new(chain.chain_id(), owner.public_key(), &by);
    calls.submit(&chain.sign(&owner, 2, Body::SetOperatingKey(body))).await.expect("named");
    for nonce in 1..=KEY_BLOCKS {
        calls.submit(&chain.transfer(nonce, 1)).await.expect("a block");
    }
    let job = chain.job(1);
    let events = calls.infer(&job).await.expect("events");
    if let Some(Event::Assigned(assigned)) = events.first() {
        assert_eq!(assigned.miner, owner.public_key().to_vec());
        let keys = [by.public_key(), owner.public_key()].map(|key| key.to_vec());
        assert_eq!(assigned.signers, keys, "the one in force, and the one before for a while");
    }
    let account = calls.account(owner.public_key()).await;
    let named = account.operating_key.expect("its key is shown");
    assert_eq!((named.public_key, named.owner), (by.public_key().to_vec(), owner.public_key().to_vec()));
    let own = calls.account(by.public_key()).await;
    assert_eq!(own.operates.expect("whose it is, is shown").owner, owner.public_key().to_vec());
    let balances = (account.balance, own.balance);
    node.shutdown().await.expect("stops");
    (names(&events), balances.0, balances.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_an_operating_key_answers_pays_its_owner() {
    let (events, owner, own) = operated(Behaviour::Operates).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "committed"]);
    assert_eq!((owner, own), (PRICE, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operating_key_that_works_in_its_own_name_is_not_paid() {
    let (events, owner, own) = operated(|_| Behaviour::Honest).await;
    assert_eq!(events[..3], ["assigned 1", "output", "proof"]);
    assert!(events[3].starts_with("attempt failed: InvalidProof"), "{events:?}");
    assert_eq!((owner, own), (0, 0));
}
