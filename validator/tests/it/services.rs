//! The listener: every call of the ledger, its limits and its errors, start and stop.

use std::time::Duration;

use assay_proto::block::CommittedBlock;
use assay_proto::genesis::Parameters;
use assay_proto::inclusion::InclusionProof;
use assay_proto::transaction::{Body, Lock, Purpose, RegisterMiner, Transfer};
use assay_proto::wire::infer_response::Event;
use assay_proto::wire::ledger_client::LedgerClient;
use assay_proto::{Epoch, Height, ModelId, PublicKey, wire};
use assay_validator::{Config, Error, Node};
use assay_verifier::audit::audit;
use assay_verifier::inclusion::{self, Included, Trusted};
use assay_verifier::state::{Kind, Record};
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::support::calls::{Calls, names};
use crate::support::miner::{Behaviour, FakeMiner};
use crate::support::{BALANCE, Chain, PRICE, secret};

const MINERS_FAILED: &str = "failed: MinersFailed";

fn refused<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> (Code, String) {
    let status = result.expect_err("must be refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_names_the_services_and_health_says_that_they_serve() {
    let chain = Chain::new();
    let node = chain.start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", node.local_addr())).expect("an address");
    let channel = endpoint.connect().await.expect("a connection");
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let stream = reflection.server_reflection_info(tokio_stream::iter([request])).await.expect("reflection");
    let response: ServerReflectionResponse = stream.into_inner().message().await.expect("one").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = response.message_response else {
        panic!("{response:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["assay.v1.Inference", "assay.v1.Ledger", "grpc.health.v1.Health"] {
        assert!(names.contains(&service), "{names:?}");
        if service.starts_with("assay") {
            let mut health = HealthClient::new(channel.clone());
            let check =
                health.check(HealthCheckRequest { service: service.to_owned() }).await.expect("health");
            assert_eq!(check.into_inner().status(), ServingStatus::Serving);
        }
    }
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_answered_with_its_place_and_changes_the_account() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    assert_eq!(calls.submit(&chain.transfer(1, 30)).await.expect("decided"), (1, 0));
    let account = calls.account(chain.client.public_key()).await;
    assert_eq!((account.balance, account.nonce, account.height), (BALANCE - 30, 1, 1));
    assert_eq!(account.chain_id, "test-validator");
    assert_eq!(calls.account(PublicKey([9; 32])).await.balance, 30);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_does_not_count_is_refused_with_the_rule_it_breaks() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    calls.submit(&chain.transfer(5, 1)).await.expect("decided");
    let used = refused(calls.submit(&chain.transfer(5, 2)).await);
    assert_eq!(used.0, Code::FailedPrecondition, "{}", used.1);
    let dear = refused(calls.submit(&chain.transfer(6, BALANCE)).await);
    assert_eq!(dear.0, Code::FailedPrecondition);
    assert!(dear.1.contains("holds 999"), "{}", dear.1);
    let body = RegisterMiner {
        endpoint: "http://127.0.0.1:1".to_owned(),
        model_ids: vec![ModelId([1; 32])],
        devices: Default::default(),
    };
    let unknown = refused(calls.submit(&chain.sign(&chain.client, 7, Body::RegisterMiner(body))).await);
    assert_eq!(unknown.0, Code::FailedPrecondition);
    assert!(unknown.1.contains("is not registered"), "{}", unknown.1);
    let mut forged: wire::Signed = (&chain.transfer(8, 1)).into();
    forged.signature[0] ^= 1;
    let request = wire::SubmitTransactionRequest { transaction: Some(forged) };
    assert_eq!(refused(calls.ledger.submit_transaction(request).await).0, Code::InvalidArgument);
    let empty = wire::SubmitTransactionRequest { transaction: None };
    assert_eq!(refused(calls.ledger.submit_transaction(empty).await).0, Code::InvalidArgument);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let mut large: wire::Signed = (&chain.transfer(1, 1)).into();
    large.payload = vec![0; 17 << 20];
    let request = wire::SubmitTransactionRequest { transaction: Some(large) };
    let (code, message) = refused(calls.ledger.submit_transaction(request).await);
    assert_eq!(code, Code::OutOfRange, "{message}");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_read_by_height_and_the_latest_by_zero() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let none = calls.ledger.get_block(wire::GetBlockRequest { height: 0 }).await;
    assert_eq!(refused(none).0, Code::NotFound, "there is no block yet");
    for nonce in 1..=3 {
        calls.submit(&chain.transfer(nonce, 1)).await.expect("decided");
    }
    for (asked, expected) in [(0, 3), (1, 1), (2, 2)] {
        let response =
            calls.ledger.get_block(wire::GetBlockRequest { height: asked }).await.expect("a block");
        let block = response.into_inner().block.expect("a block");
        let block = CommittedBlock::try_from(block).expect("a block");
        assert_eq!(block.block.header.height, Height(expected));
    }
    assert_eq!(refused(calls.ledger.get_block(wire::GetBlockRequest { height: 4 }).await).0, Code::NotFound);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_blocks_gives_the_old_ones_and_then_the_new_ones() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    for nonce in 1..=2 {
        calls.submit(&chain.transfer(nonce, 1)).await.expect("decided");
    }
    let request = wire::StreamBlocksRequest { from_height: 2 };
    let mut stream = calls.ledger.stream_blocks(request).await.expect("a stream").into_inner();
    let mut heights = Vec::new();
    for nonce in 3..=5 {
        let block = stream.message().await.expect("a block").expect("a block").block.expect("a block");
        heights.push(block.block.expect("a block").header.expect("a header").height);
        calls.submit(&chain.transfer(nonce, 1)).await.expect("decided");
    }
    assert_eq!(heights, [2, 3, 4]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_are_bounded_and_given_back() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.services.streams = 1;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let request = || Request::new(wire::StreamBlocksRequest { from_height: 1 });
    let first = calls.ledger.stream_blocks(request()).await.expect("one").into_inner();
    assert_eq!(refused(calls.ledger.stream_blocks(request()).await).0, Code::ResourceExhausted);
    drop(first);
    let mut again = Err(tonic::Status::unknown("not tried"));
    for _ in 0..100 {
        again = calls.ledger.stream_blocks(request()).await;
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    again.expect("a stream that its reader left makes room");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_listed_with_their_keys_and_their_miners() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Honest, Behaviour::Silent]).await;
    let list = calls.inference.list_models(wire::ListModelsRequest {}).await.expect("a list").into_inner();
    let [model] = list.models.as_slice() else { panic!("{} models", list.models.len()) };
    assert_eq!(model.model_id, chain.model.id().to_vec());
    assert_eq!(model.verifying_key, chain.model.key_bytes());
    assert_eq!((model.name.as_str(), model.miners), ("sum", 2));
    assert_eq!(model.owner, chain.validator.public_key().to_vec());
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_export_is_accepted_by_the_auditor_and_every_epoch_has_a_report() {
    let chain = Chain::with(Parameters { tempo: 2, emission: 1_000, ..Parameters::default() });
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let none = calls.ledger.get_epoch_report(wire::GetEpochReportRequest { epoch: 0 }).await;
    assert_eq!(refused(none).0, Code::NotFound, "no epoch has ended");
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    for nonce in 1..=3 {
        calls.infer(&chain.job(nonce)).await.expect("an answer");
    }
    let mut head = node.application().follow();
    head.wait_for(|state| !state.has_work()).await.expect("the epoch ends");
    let latest =
        calls.ledger.get_epoch_report(wire::GetEpochReportRequest { epoch: 0 }).await.expect("a report");
    let latest = latest.into_inner().report.expect("a report");
    let by_number = wire::GetEpochReportRequest { epoch: latest.epoch };
    let by_number = calls.ledger.get_epoch_report(by_number).await.expect("a report").into_inner();
    assert_eq!(by_number.report.as_ref(), Some(&latest));
    assert_eq!(latest.miners[0].miner, miners[0].key.public_key().to_vec());
    let bytes = calls.export().await;
    let report = audit(bytes.as_slice(), &mut |_| {}).expect("accepted");
    assert_eq!(report.height, node.application().state().head().height);
    let mut spoilt = bytes;
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    audit(spoilt.as_slice(), &mut |_| {}).expect_err("one bit is changed");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_commits_to_scores_and_shows_them_by_itself_also_after_a_restart() {
    let chain = Chain::with(Parameters { tempo: 8, emission: 1_000, ..Parameters::default() });
    let own = chain.validator.public_key();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let wait = async |node: &Node, height: u64| {
        let mut head = node.application().follow();
        let ended = head.wait_for(|state| state.head().height >= Height(height)).await;
        ended.expect("the epoch ends").clone()
    };
    // Work in epoch 1 is what is committed to in epoch 2, which needs work to have blocks.
    calls.infer(&chain.job(1)).await.expect("an answer");
    wait(&node, 8).await;
    calls.infer(&chain.job(2)).await.expect("an answer");
    let state = wait(&node, 16).await;
    assert!(state.ballot(&own).expect("it has committed").sealed.contains_key(&Epoch(2)));
    node.shutdown().await.expect("stops");

    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    calls.infer(&chain.job(3)).await.expect("an answer");
    let state = wait(&node, 24).await;
    let report = node.application().store().report(Epoch(3)).expect("reads").expect("a report");
    assert!(report.scored && report.validators[0].revealed);
    assert_eq!((report.miners[0].miner, report.miners[0].reward), (miners[0].key.public_key(), 500));
    assert_eq!((report.validators[0].trust_ppm, report.validators[0].reward), (1_000_000, 500));
    assert_eq!(state.ballot(&own).expect("its bonds").bonds.len(), 1);
    let bytes = calls.export().await;
    let audited = audit(bytes.as_slice(), &mut |_| {}).expect("accepted");
    assert!(audited.epochs[2].scored && !audited.epochs[1].scored);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_locked_is_shown_and_every_record_is_proven() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let own = chain.client.public_key();
    let request = |key: Vec<u8>| wire::ProveRecordRequest { key };
    let account = Kind::Account.key(&own.0);
    // The genesis has no header that could name a root.
    assert_eq!(refused(calls.ledger.prove_record(request(account.clone())).await).0, Code::NotFound);
    let stake = Purpose::Stake(chain.validator.public_key());
    for (nonce, body) in [
        (1, Body::Lock(Lock { purpose: stake, amount: 30 })),
        (2, Body::Unlock(Lock { purpose: stake, amount: 10 })),
        (3, Body::Lock(Lock { purpose: Purpose::Escrow, amount: 5 })),
    ] {
        calls.submit(&chain.sign(&chain.client, nonce, body)).await.expect("taken");
    }
    let shown = calls.account(own).await;
    assert_eq!((shown.balance, shown.locks.len()), (BALANCE - 35, 2));
    assert_eq!((shown.locks[0].amount, shown.locks[0].leaving[0].amount), (20, 10));
    assert_eq!(shown.locks[0].leaving[0].height, 2 + chain.genesis.parameters.unbonding_blocks);
    assert_eq!((shown.locks[0].validator.len(), shown.locks[1].validator.len()), (32, 0));

    let answer = calls.ledger.prove_record(request(account)).await.expect("a proof").into_inner();
    let trusted = Trusted::of_genesis(&chain.genesis).expect("its validators");
    let verified = |proof: Option<wire::InclusionProof>| {
        let proof = InclusionProof::try_from(proof.expect("a proof")).expect("well formed");
        inclusion::verify(&chain.genesis, &trusted, &proof).expect("it holds")
    };
    let Included::Record(record) = verified(answer.proof) else { panic!("no record") };
    assert!(
        matches!(*record, Record::Account(key, account) if key == own && account.balance == BALANCE - 35)
    );
    let place = |height, index| wire::ProveTransactionRequest { height, index };
    let answer = calls.ledger.prove_transaction(place(2, 0)).await.expect("a proof").into_inner();
    let Included::Transaction(shown) = verified(answer.proof) else { panic!("no transaction") };
    assert_eq!((shown.signer(), shown.value().nonce), (own, 2));
    for (height, index) in [(0, 0), (2, 1), (2, u32::MAX), (99, 0)] {
        let answer = calls.ledger.prove_transaction(place(height, index)).await;
        assert_eq!(refused(answer).0, Code::NotFound, "{height} {index}");
    }
    for unknown in [Kind::Miner.key(&own.0), vec![], vec![0]] {
        assert_eq!(refused(calls.ledger.prove_record(request(unknown)).await).0, Code::NotFound);
    }
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepaid_chain_takes_jobs_for_what_is_in_the_escrow() {
    let chain = Chain::with(Parameters { tempo: 1_000, prepaid: 1, ..Parameters::default() });
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    assert_eq!(refused(calls.infer(&chain.job(1)).await).0, Code::FailedPrecondition);
    let lock = Lock { purpose: Purpose::Escrow, amount: PRICE };
    calls.submit(&chain.sign(&chain.client, 1, Body::Lock(lock))).await.expect("taken");
    let events = calls.infer(&chain.job(2)).await.expect("an answer");
    assert_eq!(names(&events), ["assigned 1", "output", "proof", "committed"]);
    let account = calls.account(chain.client.public_key()).await;
    assert_eq!((account.locks[0].amount, account.held), (0, 0));
    assert_eq!(refused(calls.infer(&chain.job(3)).await).0, Code::FailedPrecondition);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_is_held_while_its_job_runs_and_given_back_where_every_miner_failed() {
    let chain = Chain::with(Parameters { tempo: 1_000, prepaid: 1, ..Parameters::default() });
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Silent]).await;
    let lock = Lock { purpose: Purpose::Escrow, amount: PRICE };
    calls.submit(&chain.sign(&chain.client, 1, Body::Lock(lock))).await.expect("taken");
    let job = chain.job_with(|job| job.deadline_ms = 300);
    let mut stream = calls.start(&job).await.expect("taken");
    let assigned = stream.message().await.expect("an event").expect("an event").event;
    assert!(matches!(assigned, Some(Event::Assigned(_))));
    // Before anybody works for it, the price is on the ledger, where no other broker can promise it.
    let account = calls.account(chain.client.public_key()).await;
    assert_eq!((account.locks[0].amount, account.held), (0, PRICE));
    let mut last = None;
    while let Some(response) = stream.message().await.expect("events") {
        last = response.event;
    }
    assert!(matches!(last, Some(Event::Failed(failed)) if failed.reason() == wire::Reason::MinersFailed));
    for _ in 0..200 {
        let account = calls.account(chain.client.public_key()).await;
        if account.held == 0 {
            assert_eq!(account.locks[0].amount, PRICE);
            return node.shutdown().await.expect("stops");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the price is not given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_without_the_collateral_that_the_chain_asks_for_gets_no_jobs() {
    let chain = Chain::with(Parameters { tempo: 1_000, collateral: 50, ..Parameters::default() });
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    calls.submit(&chain.register_model(1)).await.expect("taken");
    let key = secret(10);
    let miner =
        FakeMiner::start(key.clone(), chain.chain_id().clone(), chain.model.clone(), Behaviour::GarbageProof);
    let miner = miner.await;
    let early = calls.submit(&chain.register_miner(&key, &miner.endpoint())).await;
    assert_eq!(refused(early).0, Code::FailedPrecondition);
    let gift = Body::Transfer(Transfer { to: key.public_key(), amount: 50 });
    calls.submit(&chain.sign(&chain.client, 1, gift)).await.expect("taken");
    let model_ids = vec![chain.model.id()];
    let registration = RegisterMiner { endpoint: miner.endpoint(), model_ids, devices: Default::default() };
    let lock = Lock { purpose: Purpose::Collateral, amount: 50 };
    calls.submit(&chain.sign(&key, 1, Body::Lock(lock))).await.expect("taken");
    calls.submit(&chain.sign(&key, 2, Body::RegisterMiner(registration))).await.expect("taken");
    let events = calls.infer(&chain.job(1)).await.expect("events");
    assert_eq!(
        names(&events),
        ["assigned 1", "output", "proof", "attempt failed: InvalidProof", MINERS_FAILED]
    );
    calls.verdicts(chain.job(1).id(chain.chain_id()), 1).await;
    assert_eq!(calls.account(key.public_key()).await.locks[0].amount, 45);
    let events = calls.infer(&chain.job(2)).await.expect("events");
    assert_eq!(names(&events), ["failed: NoMiner"]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_a_wrong_length_are_refused() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let account = wire::GetAccountRequest { public_key: vec![1; 31] };
    assert_eq!(refused(calls.ledger.get_account(account).await).0, Code::InvalidArgument);
    let receipt = wire::GetReceiptRequest { job_id: vec![1; 33] };
    assert_eq!(refused(calls.inference.get_receipt(receipt).await).0, Code::InvalidArgument);
    assert_eq!(
        refused(calls.inference.infer(wire::InferRequest { job: None }).await).0,
        Code::InvalidArgument
    );
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_a_locked_database_are_told_apart() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut config = chain.config();
    let refused = chain.start_with(config.clone()).await;
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    config.listen = node.local_addr();
    let refused = chain.start_with(config).await;
    assert!(matches!(refused, Err(Error::Listen { address, .. }) if address == node.local_addr()));
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_no_validator_and_a_bad_setting_do_not_start() {
    let mut chain = Chain::new();
    let mut config = chain.config();
    config.broker.attempts = 0;
    let refused = chain.start_with(config).await;
    assert!(matches!(refused, Err(Error::Config { field: "broker.attempts", .. })), "{refused:?}");
    chain.validator = secret(99);
    let refused = chain.start_with(chain.config()).await;
    assert!(matches!(refused, Err(Error::NotValidator(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_and_jobs_and_leaves_the_database_to_the_next_node() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Silent]).await;
    let blocks = wire::StreamBlocksRequest { from_height: 100 };
    let mut blocks = calls.ledger.stream_blocks(blocks).await.expect("a stream").into_inner();
    let job = chain.job_with(|job| job.deadline_ms = 60_000);
    let mut events = calls.start(&job).await.expect("accepted");
    assert!(matches!(events.message().await, Ok(Some(_))), "assigned");
    let stopping = tokio::time::timeout(Duration::from_secs(9), node.shutdown());
    stopping.await.expect("in time").expect("stops");
    assert!(!matches!(blocks.message().await, Ok(Some(_))), "the stream has ended");
    assert!(!matches!(events.message().await, Ok(Some(_))), "so has the job's");
    let node = chain.start().await;
    node.shutdown().await.expect("stops");
}

/// A node on which transactions wait: a block takes seconds to begin.
async fn waiting(chain: &Chain, change: impl FnOnce(&mut Config)) -> (Node, Calls) {
    let mut config = chain.config();
    config.engine.gather_ms = 5_000;
    change(&mut config);
    let node = chain.start_with(config).await.expect("starts");
    let calls = Calls::to(node.local_addr()).await;
    (node, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_told_when_its_transaction_is_not_decided_in_time() {
    let chain = Chain::new();
    let (node, mut calls) = waiting(&chain, |config| config.mempool.commit_timeout_ms = 50).await;
    let (code, message) = refused(calls.submit(&chain.transfer(1, 1)).await);
    assert_eq!(code, Code::DeadlineExceeded, "{message}");
    assert_eq!(node.application().mempool().len(), 1, "it waits still");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_progress_are_bounded() {
    let chain = Chain::new();
    let (node, calls) = waiting(&chain, |config| config.services.calls = 1).await;
    let (mut first, mut second, transfer) = (calls.clone(), calls, chain.transfer(1, 1));
    let pending = tokio::spawn(async move { first.submit(&transfer).await });
    while node.application().mempool().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (code, _) = refused(second.ledger.get_block(wire::GetBlockRequest { height: 0 }).await);
    assert_eq!(code, Code::ResourceExhausted);
    node.shutdown().await.expect("stops");
    let (code, _) = refused(pending.await.expect("a result"));
    assert_eq!(code, Code::Unavailable, "the node stopped before a block was made");
}

const A_MOMENT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

/// Whether the node answers this caller in time.
async fn is_answered(calls: &mut Calls, time: Duration) -> bool {
    let block = calls.ledger.get_block(wire::GetBlockRequest { height: 1 });
    tokio::time::timeout(time, block).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_more_than_the_limit_waits_until_another_closes() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.services.connections = 1;
    let node = chain.start_with(config).await.expect("starts");
    let mut first = Calls::to(node.local_addr()).await;
    assert!(is_answered(&mut first, LONG).await);
    let endpoint = Endpoint::from_shared(format!("http://{}", node.local_addr())).expect("an address");
    let mut second = LedgerClient::new(endpoint.connect_lazy());
    let request = || wire::GetBlockRequest { height: 1 };
    let early = tokio::time::timeout(A_MOMENT, second.get_block(request())).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    let late = tokio::time::timeout(LONG, second.get_block(request())).await;
    assert_eq!(refused(late.expect("answered")).0, Code::NotFound);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_one_connection_are_bounded() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.services.calls_per_connection = 1;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    // The limit reaches the client with its first answer.
    assert!(is_answered(&mut calls, LONG).await);
    let request = wire::StreamBlocksRequest { from_height: 1 };
    let open = calls.ledger.stream_blocks(request).await.expect("a stream");
    assert!(!is_answered(&mut calls, A_MOMENT).await);
    drop(open);
    assert!(is_answered(&mut calls, LONG).await);
    node.shutdown().await.expect("stops");
}
