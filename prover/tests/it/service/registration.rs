//! Registration through a scripted Ledger service.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay_circuits::ir;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::wire::ledger_server::{Ledger, LedgerServer};
use assay_proto::{ChainId, Envelope, SecretKey, Signed, wire};
use assay_prover::service::{Registered, Registration, RegistrationError, register};
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// What the scripted validator knows and has been sent.
#[derive(Default)]
struct Script {
    chain: String,
    miner: Option<wire::MinerRecord>,
    nonce: u64,
    /// Answers to submissions, the default being a place in block 3.
    refusals: VecDeque<Status>,
    submitted: Vec<Signed<Transaction>>,
}

struct Scripted(Arc<Mutex<Script>>);

type None<T> = Empty<Result<T, Status>>;

#[tonic::async_trait]
impl Ledger for Scripted {
    async fn submit_transaction(
        &self,
        request: Request<wire::SubmitTransactionRequest>,
    ) -> Result<Response<wire::SubmitTransactionResponse>, Status> {
        let signed = request.into_inner().transaction.expect("a transaction");
        let mut script = self.0.lock().expect("script");
        if let Some(refusal) = script.refusals.pop_front() {
            return Err(refusal);
        }
        script
            .submitted
            .push(Envelope::try_from(signed).expect("signed").open(&chain()).expect("a transaction"));
        Ok(Response::new(wire::SubmitTransactionResponse { height: 3, index: 1 }))
    }

    async fn get_account(
        &self,
        request: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::GetAccountResponse>, Status> {
        let script = self.0.lock().expect("script");
        let asked = request.into_inner().public_key;
        let (chain_id, empty) = (script.chain.clone(), wire::GetAccountResponse::default());
        // The registration is the owner's, the nonce that of the key that signs.
        Ok(Response::new(if asked == owner().public_key().to_vec() {
            wire::GetAccountResponse { chain_id, nonce: 900, miner: script.miner.clone(), ..empty }
        } else {
            assert_eq!(asked, key().public_key().to_vec());
            wire::GetAccountResponse { chain_id, nonce: script.nonce, ..empty }
        }))
    }

    async fn get_block(
        &self,
        _: Request<wire::GetBlockRequest>,
    ) -> Result<Response<wire::GetBlockResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type StreamBlocksStream = None<wire::StreamBlocksResponse>;

    async fn stream_blocks(
        &self,
        _: Request<wire::StreamBlocksRequest>,
    ) -> Result<Response<Self::StreamBlocksStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_epoch_report(
        &self,
        _: Request<wire::GetEpochReportRequest>,
    ) -> Result<Response<wire::GetEpochReportResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type ExportStream = None<wire::ExportResponse>;

    async fn list_subnets(
        &self,
        _: Request<wire::ListSubnetsRequest>,
    ) -> Result<Response<wire::ListSubnetsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prove_record(
        &self,
        _: Request<wire::ProveRecordRequest>,
    ) -> Result<Response<wire::ProveRecordResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prove_transaction(
        &self,
        _: Request<wire::ProveTransactionRequest>,
    ) -> Result<Response<wire::ProveTransactionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn export(&self, _: Request<wire::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_status(
        &self,
        _: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type GetSnapshotStream = None<wire::GetSnapshotResponse>;

    async fn get_snapshot(
        &self,
        _: Request<wire::GetSnapshotRequest>,
    ) -> Result<Response<Self::GetSnapshotStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn chain() -> ChainId {
    ChainId::new("test-miner").expect("chain id")
}

fn key() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

/// The miner, for whom the key signs.
fn owner() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

fn models() -> Vec<ir::ModelId> {
    vec![ir::ModelId([7; 32]), ir::ModelId([6; 32])]
}

const ENDPOINT: &str = "http://127.0.0.1:9000";

/// Runs a registration against a script.
async fn run(
    script: Script,
    patience: Duration,
) -> (Result<Registered, RegistrationError>, Arc<Mutex<Script>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let script = Arc::new(Mutex::new(script));
    let service = LedgerServer::new(Scripted(Arc::clone(&script)));
    let server = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let result = register(&registration(address.to_string(), patience), &key()).await;
    server.abort();
    (result, script)
}

fn registration(validator: String, patience: Duration) -> Registration {
    Registration {
        tls: None,
        validator: format!("http://{validator}"),
        chain_id: chain(),
        owner: owner().public_key(),
        endpoint: ENDPOINT.to_owned(),
        models: models(),
        devices: Default::default(),
        patience,
    }
}

fn script() -> Script {
    Script { chain: "test-miner".to_owned(), nonce: 4, ..Script::default() }
}

fn record(endpoint: &str, models: &[[u8; 32]]) -> wire::MinerRecord {
    let model_ids = models.iter().map(|id| id.to_vec()).collect();
    wire::MinerRecord { endpoint: endpoint.to_owned(), model_ids, ..Default::default() }
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_miner_is_registered_under_its_next_nonce() {
    let (result, script) = run(script(), LONG).await;
    assert_eq!(result.expect("registered"), Registered::Now { height: 3, index: 1 });
    let script = script.lock().expect("script");
    let [signed] = script.submitted.as_slice() else { panic!("{} transactions", script.submitted.len()) };
    assert_eq!((signed.signer(), signed.value().nonce), (key().public_key(), 5));
    let Body::RegisterMiner(body) = &signed.value().body else { panic!("{:?}", signed.value().body) };
    assert_eq!(body.endpoint, ENDPOINT);
    assert_eq!(body.model_ids.iter().map(|id| id.0).collect::<Vec<_>>(), [[7; 32], [6; 32]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_when_the_ledger_holds_the_same_whatever_the_order_of_models() {
    let same = Script { miner: Some(record(ENDPOINT, &[[6; 32], [7; 32]])), ..script() };
    let (result, script) = run(same, LONG).await;
    assert_eq!(result.expect("registered"), Registered::Already);
    assert!(script.lock().expect("script").submitted.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_or_other_models_are_registered_anew() {
    for miner in [record("http://127.0.0.1:1", &[[6; 32], [7; 32]]), record(ENDPOINT, &[[6; 32]])] {
        let (result, script) = run(Script { miner: Some(miner), ..script() }, LONG).await;
        assert!(matches!(result, Ok(Registered::Now { .. })), "{result:?}");
        assert_eq!(script.lock().expect("script").submitted.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_can_pass_are_tried_again() {
    let refusals = [Code::FailedPrecondition, Code::Unavailable, Code::ResourceExhausted];
    let refusals = refusals.map(|code| Status::new(code, "not now")).into();
    let (result, script) = run(Script { refusals, ..script() }, LONG).await;
    assert!(matches!(result, Ok(Registered::Now { .. })), "{result:?}");
    assert!(script.lock().expect("script").refusals.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_cannot_pass_ends_it_at_once() {
    let refusals = VecDeque::from([Status::invalid_argument("never")]);
    let began = Instant::now();
    let (result, _) = run(Script { refusals, ..script() }, LONG).await;
    assert!(matches!(result, Err(RegistrationError::Refused(status)) if status.message() == "never"));
    assert!(began.elapsed() < Duration::from_secs(5));
    let elsewhere = Script { chain: "test-other".to_owned(), ..script() };
    let (result, other) = run(elsewhere, LONG).await;
    assert!(matches!(result, Err(RegistrationError::Chain { got, .. }) if got == "test-other"));
    assert!(other.lock().expect("script").submitted.is_empty());
    let (result, _) = run(Script { nonce: u64::MAX, ..script() }, LONG).await;
    assert!(matches!(result, Err(RegistrationError::Nonce)), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_never_comes_up_ends_the_patience() {
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = unused.local_addr().expect("an address").to_string();
    drop(unused);
    let began = Instant::now();
    let result = register(&registration(address, Duration::from_millis(500)), &key()).await;
    assert!(matches!(result, Err(RegistrationError::Unreachable { .. })), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_none_is_refused_at_once() {
    let mut bad = registration("x".to_owned(), LONG);
    bad.validator = "not an address".to_owned();
    let result = register(&bad, &key()).await;
    assert!(matches!(result, Err(RegistrationError::Validator { .. })), "{result:?}");
    let mut bad = registration("127.0.0.1:1".to_owned(), LONG);
    bad.endpoint = "ftp://nowhere".to_owned();
    assert!(matches!(register(&bad, &key()).await, Err(RegistrationError::Invalid(_))));
}
