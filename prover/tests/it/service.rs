//! The Miner service around a scripted worker: order, bounds, refusals, callers that leave.

mod registration;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use assay_circuits::ir;
use assay_proto::challenge::{Challenge, ChallengeAnswer};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::transaction::Devices;
use assay_proto::wire::execute_response::Event;
use assay_proto::wire::miner_client::MinerClient;
use assay_proto::{BlockHash, ChainId, Envelope, Height, ModelId, SecretKey, Signed, wire};
use assay_prover::service::{Miner, MinerConfig, ServiceError};
use assay_prover::worker::{Inference, Worker, WorkerError};
use assay_verifier::challenge::work::Work;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const MODEL: [u8; 32] = [7; 32];

/// Holds whoever passes while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().expect("gate") = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.shut.lock().expect("gate"), |shut| *shut).expect("gate"));
    }
}

/// Sums its input, proves by naming the job, and does as it is told.
#[derive(Default)]
struct Scripted {
    inference: Gate,
    proving: Gate,
    inferred: Mutex<Vec<i32>>,
    proven: AtomicUsize,
    proving_now: AtomicUsize,
    proving_most: AtomicUsize,
}

/// Inputs that make the scripted worker fail.
const UNFIT: i32 = -1;
const BREAKS: i32 = -2;
const PANICS: i32 = -3;

impl Worker for Scripted {
    fn models(&self) -> Vec<ir::ModelId> {
        vec![ir::ModelId(MODEL)]
    }

    fn backend(&self) -> String {
        "script".to_owned()
    }

    fn infer(&self, model: &ir::ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        assert_eq!(model.0, MODEL);
        let sum = inputs.iter().flatten().sum();
        self.inferred.lock().expect("log").push(sum);
        self.inference.pass();
        match sum {
            UNFIT => Err(WorkerError::Input("too small".to_owned())),
            BREAKS => Err(WorkerError::Failed("out of memory".to_owned())),
            PANICS => panic!("scripted"),
            sum => Ok(Inference { outputs: vec![vec![sum]], trace: Box::new(sum) }),
        }
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        let now = self.proving_now.fetch_add(1, Ordering::SeqCst) + 1;
        self.proving_most.fetch_max(now, Ordering::SeqCst);
        self.proving.pass();
        self.proving_now.fetch_sub(1, Ordering::SeqCst);
        self.proven.fetch_add(1, Ordering::SeqCst);
        let sum: Box<i32> = inference.trace.downcast().expect("the trace of this worker");
        Ok([job.as_slice(), &sum.to_le_bytes()].concat())
    }
}

struct Fixture {
    miner: Miner,
    worker: Arc<Scripted>,
    key: SecretKey,
    calls: MinerClient<Channel>,
}

fn chain() -> ChainId {
    ChainId::new("test-miner").expect("chain id")
}

/// The miner, for whom the key of a fixture signs.
fn owner() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection")
}

async fn start(queue_capacity: u16) -> Fixture {
    start_with(queue_capacity, Devices::default()).await
}

async fn start_with(queue_capacity: u16, devices: Devices) -> Fixture {
    let (worker, key) = (Arc::new(Scripted::default()), SecretKey::from_bytes(&[1; 32]));
    let (listen, owner) = (([127, 0, 0, 1], 0).into(), owner().public_key());
    let config = MinerConfig { listen, chain_id: chain(), owner, queue_capacity, devices };
    let miner = Miner::start(config, key.clone(), worker.clone()).await.expect("starts");
    let calls = MinerClient::new(channel(miner.local_addr()).await).max_encoding_message_size(64 << 20);
    Fixture { miner, worker, key, calls }
}

fn job(input: i32) -> Signed<Job> {
    let model_id = ModelId(MODEL);
    let inputs = vec![vec![input]];
    let job = Job { model_id, inputs, nonce: 1, max_price: 1, deadline_ms: 1_000, tier: Default::default() };
    SecretKey::from_bytes(&[2; 32]).sign(&chain(), job)
}

fn request(job: &Signed<Job>) -> wire::ExecuteRequest {
    wire::ExecuteRequest { job: Some(job.into()), chain_id: chain().as_str().to_owned() }
}

impl Fixture {
    async fn execute(&self, job: &Signed<Job>) -> Result<Streaming<wire::ExecuteResponse>, Status> {
        Ok(self.calls.clone().execute(request(job)).await?.into_inner())
    }

    async fn describe(&self) -> wire::DescribeResponse {
        self.calls.clone().describe(wire::DescribeRequest {}).await.expect("a description").into_inner()
    }

    /// Waits until this many jobs hold a place.
    async fn queue_is(&self, length: u32) {
        eventually(|| async { self.describe().await.queue_length == length }).await;
    }

    async fn inferred(&self, expected: &[i32]) {
        eventually(|| async { *self.worker.inferred.lock().expect("log") == expected }).await;
    }
}

async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come about in five seconds");
}

async fn output(stream: &mut Streaming<wire::ExecuteResponse>) -> Signed<Output> {
    match stream.message().await.expect("a message").expect("a message").event {
        Some(Event::Output(signed)) => {
            Envelope::try_from(signed).expect("signed").open(&chain()).expect("an output")
        }
        other => panic!("{other:?}"),
    }
}

async fn proof(stream: &mut Streaming<wire::ExecuteResponse>) -> Signed<Proof> {
    match stream.message().await.expect("a message").expect("a message").event {
        Some(Event::Proof(signed)) => {
            Envelope::try_from(signed).expect("signed").open(&chain()).expect("a proof")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_the_signed_output_then_the_signed_proof_bound_to_job_and_miner() {
    let miner = start(2).await;
    let job = job(5);
    let id = job.id(&chain());
    let mut stream = miner.execute(&job).await.expect("accepted");
    let output = output(&mut stream).await;
    assert_eq!((output.signer(), output.value().job_id), (miner.key.public_key(), id));
    assert_eq!(output.value().outputs, [[5]]);
    let proof = proof(&mut stream).await;
    assert_eq!((proof.signer(), proof.value().job_id), (miner.key.public_key(), id));
    let binding = job_binding(&chain(), &id, &owner().public_key());
    assert_eq!(proof.value().proof, [binding.as_slice(), &5i32.to_le_bytes()].concat());
    assert!(stream.message().await.expect("the end").is_none());
    miner.miner.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_is_sent_before_the_proof_is_made() {
    let miner = start(2).await;
    miner.worker.proving.set(true);
    let mut stream = miner.execute(&job(5)).await.expect("accepted");
    output(&mut stream).await;
    assert_eq!(miner.worker.proven.load(Ordering::SeqCst), 0);
    miner.worker.proving.set(false);
    proof(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signed_time_is_from_the_jobs_arrival_on_queue_included() {
    let (miner, began) = (start(2).await, Instant::now());
    miner.worker.proving.set(true);
    let mut first = miner.execute(&job(1)).await.expect("one");
    let mut second = miner.execute(&job(2)).await.expect("two");
    output(&mut first).await;
    output(&mut second).await;
    let wait = Duration::from_millis(100);
    tokio::time::sleep(wait).await;
    miner.worker.proving.set(false);
    proof(&mut first).await;
    let (queued, most) = (proof(&mut second).await, began.elapsed().as_micros());
    let Proof { prove_us, elapsed_us, .. } = *queued.value();
    // Its own proof took next to nothing: it waited for the other's.
    assert!(u128::from(elapsed_us) >= wait.as_micros() && u128::from(elapsed_us) <= most, "{elapsed_us}");
    assert!(prove_us < elapsed_us, "{prove_us} {elapsed_us}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_are_not_to_be_served_reach_no_worker() {
    let miner = start(2).await;
    let mut calls = miner.calls.clone();
    let good = job(5);
    let mut other_model = good.value().clone();
    other_model.model_id = ModelId([8; 32]);
    let other_model = SecretKey::from_bytes(&[2; 32]).sign(&chain(), other_model);
    let mut forged = request(&good);
    if let Some(signed) = &mut forged.job {
        signed.signature[0] ^= 1;
    }
    let elsewhere = ChainId::new("test-other").expect("chain id");
    let foreign = SecretKey::from_bytes(&[2; 32]).sign(&elsewhere, good.value().clone());
    let foreign = wire::ExecuteRequest { job: Some((&foreign).into()), chain_id: "test-other".to_owned() };
    let mut large = request(&good);
    if let Some(signed) = &mut large.job {
        signed.payload = vec![0; 17 << 20];
    }
    let cases = [
        ("another model", Code::NotFound, request(&other_model)),
        ("a forged signature", Code::InvalidArgument, forged),
        ("another chain", Code::InvalidArgument, foreign),
        (
            "no job",
            Code::InvalidArgument,
            wire::ExecuteRequest { job: None, chain_id: "test-miner".to_owned() },
        ),
        ("over the limit", Code::OutOfRange, large),
    ];
    for (name, code, request) in cases {
        let status = calls.execute(request).await.expect_err(name);
        assert_eq!(status.code(), code, "{name}: {}", status.message());
    }
    assert!(miner.worker.inferred.lock().expect("log").is_empty());
    assert_eq!(miner.describe().await.queue_length, 0, "they hold no place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_more_than_the_queue_holds_is_refused_until_there_is_room() {
    let miner = start(2).await;
    miner.worker.proving.set(true);
    let mut first = miner.execute(&job(1)).await.expect("one");
    let mut second = miner.execute(&job(2)).await.expect("two");
    let status = miner.execute(&job(3)).await.expect_err("full");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let description = miner.describe().await;
    assert_eq!((description.queue_length, description.queue_capacity), (2, 2));
    miner.worker.proving.set(false);
    for stream in [&mut first, &mut second] {
        output(stream).await;
        proof(stream).await;
        assert!(stream.message().await.expect("the end").is_none());
    }
    miner.queue_is(0).await;
    miner.execute(&job(3)).await.expect("room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inference_does_not_wait_for_proofs_and_proofs_are_made_one_at_a_time() {
    let miner = start(4).await;
    miner.worker.proving.set(true);
    let mut streams = Vec::new();
    for input in 1..=3 {
        let mut stream = miner.execute(&job(input)).await.expect("accepted");
        assert_eq!(output(&mut stream).await.value().outputs, [[input]]);
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(miner.worker.proving_now.load(Ordering::SeqCst), 1);
    miner.worker.proving.set(false);
    for mut stream in streams {
        proof(&mut stream).await;
    }
    assert_eq!(miner.worker.proving_most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_caller_left_while_it_waited_is_never_begun() {
    let miner = start(4).await;
    miner.worker.inference.set(true);
    let mut first = miner.execute(&job(1)).await.expect("accepted");
    miner.inferred(&[1]).await;
    let waiting = miner.execute(&job(2)).await.expect("accepted");
    let mut third = miner.execute(&job(3)).await.expect("accepted");
    miner.queue_is(3).await;
    drop(waiting);
    miner.queue_is(2).await;
    miner.worker.inference.set(false);
    proof_after_output(&mut first).await;
    proof_after_output(&mut third).await;
    assert_eq!(*miner.worker.inferred.lock().expect("log"), [1, 3]);
}

async fn proof_after_output(stream: &mut Streaming<wire::ExecuteResponse>) {
    output(stream).await;
    proof(stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_during_inference_gets_no_proof_made() {
    let miner = start(4).await;
    miner.worker.inference.set(true);
    let stream = miner.execute(&job(1)).await.expect("accepted");
    miner.inferred(&[1]).await;
    drop(stream);
    miner.queue_is(0).await;
    miner.worker.inference.set(false);
    let mut next = miner.execute(&job(2)).await.expect("accepted");
    proof_after_output(&mut next).await;
    assert_eq!(miner.worker.proven.load(Ordering::SeqCst), 1, "the second job's only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_fails_or_panics_is_told_as_its_kind_and_the_next_job_is_served() {
    let miner = start(1).await;
    for (input, code) in [(UNFIT, Code::InvalidArgument), (BREAKS, Code::Internal), (PANICS, Code::Internal)]
    {
        let mut stream = miner.execute(&job(input)).await.expect("accepted");
        let status = stream.message().await.expect_err("no output");
        assert_eq!(status.code(), code, "{}", status.message());
        drop(stream);
        miner.queue_is(0).await;
    }
    let mut stream = miner.execute(&job(5)).await.expect("accepted");
    proof_after_output(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_health_and_description_say_what_the_miner_is() {
    let miner = start(3).await;
    let channel = channel(miner.miner.local_addr()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let stream = reflection.server_reflection_info(tokio_stream::iter([request])).await.expect("reflection");
    let response = stream.into_inner().message().await.expect("one").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = response.message_response else {
        panic!("{response:?}")
    };
    assert!(list.service.iter().any(|service| service.name == "assay.v1.Miner"), "{list:?}");
    let request = HealthCheckRequest { service: "assay.v1.Miner".to_owned() };
    let health = HealthClient::new(channel).check(request).await.expect("health").into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let description = miner.describe().await;
    assert_eq!(description.public_key, owner().public_key().to_vec());
    assert_eq!(description.model_ids, [MODEL.to_vec()]);
    assert_eq!((description.backend.as_str(), description.queue_capacity), ("script", 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_a_queue_without_room_do_not_start() {
    let miner = start(1).await;
    let again = |listen, queue_capacity| {
        let (chain_id, owner, devices) = (chain(), owner().public_key(), Default::default());
        let config = MinerConfig { listen, chain_id, owner, queue_capacity, devices };
        Miner::start(config, miner.key.clone(), miner.worker.clone())
    };
    let address = miner.miner.local_addr();
    let refused = again(address, 1).await;
    assert!(matches!(refused, Err(ServiceError::Listen { address: a, .. }) if a == address));
    let refused = again(([127, 0, 0, 1], 0).into(), 0).await;
    assert!(matches!(refused, Err(ServiceError::Capacity { got: 0 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_jobs_longer_than_the_grace_slow() {
    let miner = start(1).await;
    miner.worker.proving.set(true);
    let mut stream = miner.execute(&job(1)).await.expect("accepted");
    output(&mut stream).await;
    let address = miner.miner.local_addr();
    let stopping = tokio::time::timeout(Duration::from_secs(9), miner.miner.shutdown());
    stopping.await.expect("in time").expect("stops");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    assert!(endpoint.connect().await.is_err(), "nobody listens");
    miner.worker.proving.set(false);
}

/// A challenge of this miner, and the answer.
async fn challenge(
    fixture: &Fixture,
    miner: &SecretKey,
    chain_id: &ChainId,
) -> Result<(Signed<Challenge>, Envelope), Status> {
    let (height, block_hash) = (Height(1), BlockHash([1; 32]));
    let challenge = Challenge { miner: miner.public_key(), height, block_hash, side: 16, rounds: 2 };
    let challenge = SecretKey::from_bytes(&[9; 32]).sign(chain_id, challenge);
    let request = wire::ChallengeRequest {
        challenge: Some((&challenge).into()),
        chain_id: chain_id.as_str().to_owned(),
    };
    let answer = fixture.calls.clone().challenge(request).await?.into_inner().answer.expect("an answer");
    Ok((challenge, Envelope::try_from(answer).expect("an envelope")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_computed_and_signed_with_the_class_that_the_miner_names() {
    let devices = Devices { class: 3, count: 2 };
    let fixture = start_with(1, devices).await;
    let (asked, answer) = challenge(&fixture, &owner(), &chain()).await.expect("answered");
    let answer: Signed<ChallengeAnswer> = answer.open(&chain()).expect("signed");
    let id = asked.id(&chain());
    assert_eq!(answer.signer(), fixture.key.public_key());
    assert_eq!((answer.value().challenge, answer.value().device_class), (id, 3));
    assert_eq!(answer.value().rows, Work::of(asked.value(), &id).rows(&(0..16).collect::<Vec<_>>()));
    let said = fixture.describe().await;
    assert_eq!((said.device_class, said.devices), (3, 2));
    assert!(said.rate > 1_000_000, "{}", said.rate);
    fixture.miner.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_of_another_miner_or_chain_is_refused_and_any_where_no_devices_are_named() {
    let fixture = start_with(1, Devices { class: 3, count: 2 }).await;
    let other = SecretKey::from_bytes(&[8; 32]);
    let refused = challenge(&fixture, &other, &chain()).await.expect_err("for another");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let foreign = ChainId::new("test-other").expect("chain id");
    let refused = challenge(&fixture, &owner(), &foreign).await.expect_err("of another chain");
    assert_eq!(refused.code(), Code::InvalidArgument);
    fixture.miner.shutdown().await.expect("stops");
    let fixture = start(1).await;
    let refused = challenge(&fixture, &owner(), &chain()).await.expect_err("no devices");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    fixture.miner.shutdown().await.expect("stops");
}
