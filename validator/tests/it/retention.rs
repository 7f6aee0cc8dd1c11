//! What a node that forgets old blocks still has, and says.

use assay_proto::block::{CommitCertificate, CommitSignature, Precommit};
use assay_proto::client::{Client, ClientError, ClientOptions};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::subnet::{Number, RegisterSubnet, WeighSubnets};
use assay_proto::transaction::Body;
use assay_proto::{Height, JobId, SubnetId, genesis::Parameters};
use assay_validator::Error;
use assay_validator::application::Application;
use assay_validator::config::StoreConfig;
use assay_validator::mempool::Mempool;
use assay_validator::store::Store;
use tonic::Code;

use crate::support::{Chain, secret};

const KEEP: StoreConfig = StoreConfig { retain_blocks: 4, snapshot_blocks: 2 };

fn application(chain: &Chain, config: StoreConfig) -> Application {
    let (store, state) = Store::open(&chain.config().data_dir, &chain.genesis).expect("opens");
    let mempool = Mempool::new(chain.config().mempool, chain.validator.public_key());
    Application::new(chain.validator.clone(), store, state, mempool).expect("metrics").keeping(config)
}

/// Decides the next block of what waits.
fn decide(chain: &Chain, application: &Application) {
    let block = application.propose(1).expect("a proposal");
    let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
    let signed = chain.validator.sign(chain.chain_id(), precommit.vote());
    let signature = CommitSignature { validator: signed.signer(), signature: signed.envelope().signature };
    application.decide(CommitCertificate { precommit, signatures: vec![signature] }).expect("decided");
}

/// A receipt in the log, without a miner's answer.
fn log_receipt(chain: &Chain, application: &Application, nonce: u64) -> JobId {
    let job = chain.job(nonce);
    let id = job.id(chain.chain_id());
    let evidence = Evidence {
        job: job.into_envelope(),
        miner: secret(10).public_key(),
        output: None,
        proof: None,
        assigned_at_ms: 1,
        output_us: 0,
        proof_us: 0,
        ping_us: 0,
    };
    let _wait = application.log_receipt(&id, Receipt { evidence, verdict: Verdict::Absent }).expect("kept");
    decide(chain, application);
    id
}

fn with_two_receipts(config: StoreConfig, blocks: u64) -> (Chain, Application, [JobId; 2]) {
    let chain = Chain::with(Parameters { tempo: 2, emission: 0, ..Parameters::default() });
    let application = application(&chain, config);
    let _wait = application.submit(chain.register_model(1).envelope()).expect("taken");
    decide(&chain, &application);
    let miner = chain.register_miner(&secret(10), "http://127.0.0.1:1");
    let _wait = application.submit(miner.envelope()).expect("taken");
    decide(&chain, &application);
    let early = log_receipt(&chain, &application, 1);
    (4..blocks).for_each(|_| decide(&chain, &application));
    let late = log_receipt(&chain, &application, 2);
    (chain, application, [early, late])
}

#[test]
fn blocks_below_the_kept_ones_go_with_the_places_of_their_receipts_and_the_rest_stays() {
    let (chain, application, [early, late]) = with_two_receipts(KEEP, 10);
    assert_eq!(application.store().receipts(&early).expect("reads").len(), 1);
    assert!(!application.prune().expect("prunes"), "there is little to delete");
    assert_eq!(application.store().earliest(), Height(7), "four of ten are kept");
    for height in 1..=6 {
        let refused = application.block(Height(height));
        assert!(matches!(refused, Err(Error::Pruned { earliest: Height(7), .. })), "{height}: {refused:?}");
    }
    (7..=10).for_each(|height| drop(application.block(Height(height)).expect("is kept")));
    assert!(matches!(application.block(Height(11)), Err(Error::NotFound(_))));
    assert!(application.store().receipts(&early).expect("reads").is_empty());
    assert_eq!(application.store().receipts(&late).expect("reads"), [(Height(10), 0)]);
    let root = application.state().root();
    drop(application);
    let again = self::application(&chain, KEEP);
    assert_eq!((again.store().earliest(), again.state().root()), (Height(7), root));
    decide(&chain, &again);
    again.prune().expect("prunes");
    assert_eq!(again.store().earliest(), Height(8));
}

#[test]
fn an_archive_keeps_all() {
    let (_chain, application, [early, _]) = with_two_receipts(StoreConfig { retain_blocks: 0, ..KEEP }, 10);
    assert!(!application.prune().expect("nothing to do"));
    assert_eq!(application.store().earliest(), Height(1));
    assert_eq!(application.store().receipts(&early).expect("reads").len(), 1);
}

#[test]
fn at_least_two_epochs_and_two_snapshots_are_kept_however_few_blocks_are_asked_for() {
    for (snapshot_blocks, earliest) in [(1, 7), (2, 7), (3, 5)] {
        let config = StoreConfig { retain_blocks: 1, snapshot_blocks };
        let (_chain, application, _) = with_two_receipts(config, 10);
        application.prune().expect("prunes");
        assert_eq!(application.store().earliest(), Height(earliest), "tempo 2, {snapshot_blocks}");
        for state in application.snapshots() {
            application.block(state.head().height).expect("the block of a snapshot is there");
        }
    }
}

#[test]
fn two_epochs_are_those_of_the_longest_subnet_that_validators_give_a_share() {
    let parameters = Parameters { tempo: 2, emission: 0, subnet_price: 1, ..Parameters::default() };
    let chain = Chain::with(parameters);
    let application = application(&chain, StoreConfig { retain_blocks: 1, snapshot_blocks: 1 });
    let numbers = vec![Number { name: "tempo".into(), value: 6 }];
    let body =
        RegisterSubnet { task: "slow".into(), models: vec![], proof_system: None, labelled: false, numbers };
    let subnet = chain.sign(&chain.client, 1, Body::RegisterSubnet(body));
    let _wait = application.submit(subnet.envelope()).expect("taken");
    decide(&chain, &application);
    let weights = Body::WeighSubnets(WeighSubnets { weights: vec![(SubnetId(1), 1)] });
    let _wait = application.submit(chain.sign(&chain.validator, 1, weights).envelope()).expect("taken");
    (0..19).for_each(|_| decide(&chain, &application));
    application.prune().expect("prunes");
    assert_eq!(application.store().earliest(), Height(9));
    // Nobody is made to keep more by a subnet that no validator wants.
    let weights = Body::WeighSubnets(WeighSubnets { weights: vec![] });
    let _wait = application.submit(chain.sign(&chain.validator, 2, weights).envelope()).expect("taken");
    decide(&chain, &application);
    application.prune().expect("prunes");
    assert_eq!(application.store().earliest(), Height(18));
}

#[test]
fn an_archive_that_begins_to_forget_does_so_some_blocks_at_a_time() {
    let (_chain, application, _) =
        with_two_receipts(StoreConfig { retain_blocks: 3, snapshot_blocks: 1 }, 80);
    assert!(application.prune().expect("prunes"), "more is left");
    assert_eq!(application.store().earliest(), Height(65));
    assert!(!application.prune().expect("prunes"));
    assert_eq!(application.store().earliest(), Height(77));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forgot_blocks_says_from_where_on_it_has_them_and_exports_nothing() {
    let chain = Chain::with(Parameters { tempo: 2, emission: 0, ..Parameters::default() });
    let mut config = chain.config();
    config.store = KEEP;
    let node = chain.start_with(config).await.expect("starts");
    let url = format!("http://{}", node.local_addr());
    let client = Client::connect(&url, ClientOptions::default()).await.expect("connected");
    assert_eq!(client.status().await.expect("a status").earliest, Height(1));
    let mut export = client.export().await.expect("an export");
    while export.next().await.expect("a chunk").is_some() {}
    for nonce in 1..=10 {
        client.submit(&chain.transfer(nonce, 1)).await.expect("committed");
    }
    let status = loop {
        let status = client.status().await.expect("a status");
        if status.earliest == Height(status.head.height.0 - 3) {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(status.ready);
    let heights: Vec<u64> = status.snapshots.iter().map(|point| point.height.0).collect();
    assert_eq!(heights, [8, 10]);
    let refused = |got: ClientError| match got {
        ClientError::Refused(status) => {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains("keeps blocks from height 7 on"), "{}", status.message());
        }
        other => panic!("{other}"),
    };
    refused(client.export().await.map(|_| ()).expect_err("an export without its beginning"));
    refused(client.block(Some(Height(2))).await.map(|_| ()).expect_err("a block that is gone"));
    let mut blocks = client.blocks(Height(1)).await.expect("a stream");
    refused(blocks.next().await.map(|_| ()).expect_err("a block that is gone"));
    let mut blocks = client.blocks(Height(7)).await.expect("a stream");
    assert_eq!(blocks.next().await.expect("a block").expect("one").block.header.height, Height(7));
    node.shutdown().await.expect("stops");
}
