//! The miner's gRPC service `assay.v1.Miner` around a [`Worker`].
//!
//! ```text
//! Execute:  open the job (chain, signature, canonical bytes, limits)   INVALID_ARGUMENT
//!           model served here?                                         NOT_FOUND
//!           place in the queue?                                        RESOURCE_EXHAUSTED
//!           infer  -> signed Output, sent at once
//!           prove  -> signed Proof, with the time since the call came in
//! ```
//!
//! Before each step the service looks whether its caller is still there; work for nobody is not begun.
//! Work whose caller leaves meanwhile is finished, its result dropped: computation cannot be interrupted.
//! Inference takes turns apart from proving, so a short answer never waits for another job's proof.

mod challenge;
mod registration;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use assay_circuits::ir::ModelId;
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::transaction::Devices;
use assay_proto::wire::miner_server::{Miner as MinerRpc, MinerServer};
use assay_proto::{ChainId, Envelope, JobId, PublicKey, SecretKey, Signed, limits, wire};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::queue::{Queue, Ticket};
use crate::worker::{Worker, WorkerError};

pub use registration::{Registered, Registration, RegistrationError, register};

/// Calls in progress on one connection.
const CALLS_PER_CONNECTION: u32 = 64;
/// Time between pings on an idle connection, which find callers that went away.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time that open streams get to end when the service stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Messages that a stream of `Execute` holds: an output, a proof, or the error that replaces one of them.
const EVENTS: usize = 2;

/// Settings of a miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinerConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only chain whose jobs are taken.
    pub chain_id: ChainId,
    /// The miner on the ledger: the owner of the key that signs, or that key itself. Proofs are bound to it.
    pub owner: PublicKey,
    /// Jobs that are held at a time, the one being worked on included; at least 1.
    pub queue_capacity: u16,
    /// What it computes with, as it registers them; without any, challenges are refused.
    pub devices: Devices,
}

/// What is left of devices of which some were lost; none of the class without any.
pub fn remaining(devices: Devices, lost: usize) -> Devices {
    match devices.count.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX)) {
        0 => Devices::default(),
        count => Devices { count, ..devices },
    }
}

/// Why a miner does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A queue that could hold no job.
    #[error("queue capacity: expected 1 to {}, got {got}", u16::MAX)]
    Capacity {
        /// The value.
        got: u16,
    },
    /// The reflection service refused the descriptors.
    #[error("reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The server ended with an error.
    #[error("the gRPC server failed")]
    Server(#[source] tonic::transport::Error),
    /// The server task panicked.
    #[error("the gRPC server's task ended abnormally")]
    Task,
}

/// A running miner. Dropping it stops the service without waiting.
#[derive(Debug)]
pub struct Miner {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Miner {
    /// Binds the address and serves in the clear until [`Miner::shutdown`].
    pub async fn start(
        config: MinerConfig,
        key: SecretKey,
        worker: Arc<dyn Worker>,
    ) -> Result<Self, ServiceError> {
        Self::serve(config, Server::builder(), key, worker).await
    }

    /// The same over TLS, with this certificate.
    pub async fn start_encrypted(
        config: MinerConfig,
        identity: Identity,
        key: SecretKey,
        worker: Arc<dyn Worker>,
    ) -> Result<Self, ServiceError> {
        let tls = ServerTlsConfig::new().identity(identity);
        let server = Server::builder().tls_config(tls).map_err(ServiceError::Server)?;
        Self::serve(config, server, key, worker).await
    }

    async fn serve(
        config: MinerConfig,
        server: Server,
        key: SecretKey,
        worker: Arc<dyn Worker>,
    ) -> Result<Self, ServiceError> {
        if config.queue_capacity == 0 {
            return Err(ServiceError::Capacity { got: 0 });
        }
        let listen = |source| ServiceError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let measuring = Arc::clone(&worker);
        let rate = tokio::task::spawn_blocking(move || measuring.rate()).await;
        let turns = worker.turns();
        let service = Service {
            key,
            owner: config.owner,
            chain: config.chain_id,
            worker,
            queue: Queue::new(config.queue_capacity, turns),
            devices: config.devices,
            rate: rate.map_err(|_| ServiceError::Task)?,
        };
        let miner = MinerServer::new(Endpoint(Arc::new(service)))
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        reporter.set_serving::<MinerServer<Endpoint>>().await;
        let router = server
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_service(health)
            .add_service(reflection()?.build_v1().map_err(ServiceError::Reflection)?)
            .add_service(reflection()?.build_v1alpha().map_err(ServiceError::Reflection)?)
            .add_service(miner);
        let (stop, stopped) = watch::channel(false);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(serve(router, incoming, stopped));
        tracing::info!(%local_addr, "miner listens");
        Ok(Self { local_addr, stop, server })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more calls, gives open streams five seconds, and ends.
    pub async fn shutdown(self) -> Result<(), ServiceError> {
        self.stop.send_replace(true);
        match self.server.await {
            Ok(ended) => ended.map_err(ServiceError::Server),
            Err(_) => Err(ServiceError::Task),
        }
    }
}

/// Serves until told to stop, then for the grace at most.
async fn serve(
    router: tonic::transport::server::Router,
    incoming: TcpIncoming,
    stopped: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let told = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the handle is gone, which stops the service too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let serving = router.serve_with_incoming_shutdown(incoming, told(stopped.clone()));
    let cut_off = async {
        told(stopped).await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = cut_off => Ok(()),
    }
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, ServiceError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}

/// The service as the server holds it.
struct Endpoint(Arc<Service>);

struct Service {
    key: SecretKey,
    owner: PublicKey,
    chain: ChainId,
    worker: Arc<dyn Worker>,
    queue: Queue,
    devices: Devices,
    /// Multiply-adds a second.
    rate: u64,
}

/// The messages of one call. Its place in the queue is taken until they are sent or the caller has gone, so that
/// callers who do not read cannot pile up answers.
struct Answers {
    events: ReceiverStream<Result<wire::ExecuteResponse, Status>>,
    _place: Arc<Ticket>,
}

impl Stream for Answers {
    type Item = Result<wire::ExecuteResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.events).poll_next(context)
    }
}

type Events = mpsc::Sender<Result<wire::ExecuteResponse, Status>>;

#[tonic::async_trait]
impl MinerRpc for Endpoint {
    async fn describe(
        &self,
        _request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        let devices = remaining(self.0.devices, self.0.worker.lost());
        Ok(Response::new(wire::DescribeResponse {
            public_key: self.0.owner.to_vec(),
            model_ids: self.0.worker.models().iter().map(|id| id.0.to_vec()).collect(),
            backend: self.0.worker.backend(),
            queue_length: self.0.queue.length(),
            queue_capacity: self.0.queue.capacity(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device_class: devices.class,
            devices: devices.count,
            rate: self.0.rate,
        }))
    }

    async fn ping(
        &self,
        _request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PingResponse>, Status> {
        Ok(Response::new(wire::PingResponse {}))
    }

    async fn challenge(
        &self,
        request: Request<wire::ChallengeRequest>,
    ) -> Result<Response<wire::ChallengeResponse>, Status> {
        Ok(Response::new(self.0.challenge(request.into_inner()).await?))
    }

    type ExecuteStream = Answers;

    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let arrived = Instant::now();
        let ticket = self.0.queue.enter().map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let service = Arc::clone(&self.0);
        let request = request.into_inner();
        let job = blocking(move || service.open(request)).await??;
        let ticket = Arc::new(ticket);
        let (events, stream) = mpsc::channel(EVENTS);
        let answers = Answers { events: ReceiverStream::new(stream), _place: Arc::clone(&ticket) };
        let service = Arc::clone(&self.0);
        tokio::spawn(async move {
            let id = job.id(&service.chain);
            tokio::select! {
                () = events.closed() => tracing::debug!(%id, "the caller has gone"),
                ended = service.answer(&ticket, (job, arrived), &events) => if let Err(status) = ended {
                    tracing::warn!(%id, %status, "no answer");
                    // The channel holds every message of a stream; it fails only when the caller has gone.
                    let _ = events.try_send(Err(status));
                },
            }
        });
        Ok(Response::new(answers))
    }
}

impl Service {
    /// Accepts a job of this chain that its client signed, for a model that is served here.
    fn open(&self, request: wire::ExecuteRequest) -> Result<Signed<Job>, Status> {
        self.check_chain(&request.chain_id)?;
        let signed = request.job.ok_or_else(|| Status::invalid_argument("the job is missing"))?;
        let invalid = |error: assay_proto::ProtoError| Status::invalid_argument(error.to_string());
        let job = Envelope::try_from(signed).map_err(invalid)?.open::<Job>(&self.chain).map_err(invalid)?;
        let model = model_of(&job);
        if self.worker.models().contains(&model) {
            Ok(job)
        } else {
            Err(status(&WorkerError::UnknownModel(model)))
        }
    }

    fn check_chain(&self, got: &str) -> Result<(), Status> {
        if got == self.chain.as_str() {
            return Ok(());
        }
        Err(Status::invalid_argument(format!("chain id: expected {}, got another", self.chain)))
    }

    /// Sends the output, then the proof. Dropping the future abandons what has not begun.
    async fn answer(
        self: &Arc<Self>,
        ticket: &Ticket,
        (job, arrived): (Signed<Job>, Instant),
        events: &Events,
    ) -> Result<(), Status> {
        let id = job.id(&self.chain);
        let turn = ticket.inference().await;
        let service = Arc::clone(self);
        let (job, inference, compute_us) = blocking(move || {
            let began = Instant::now();
            let span = tracing::info_span!("infer", job = %id, model = %job.value().model_id);
            let inference = span.in_scope(|| service.worker.infer(&model_of(&job), &job.value().inputs));
            turn.end(service.worker.turns());
            inference.map(|inference| (job, inference, micros(began)))
        })
        .await?
        .map_err(|error| status(&error))?;
        drop(job);
        let output = Output { job_id: id, outputs: inference.outputs.clone(), compute_us };
        let output = self.key.sign(&self.chain, output).into_envelope();
        send(events, wire::execute_response::Event::Output(output.into()))?;

        let turn = ticket.proving().await;
        let (service, binding) = (Arc::clone(self), self.binding(&id));
        let (proof, prove_us) = blocking(move || {
            let began = Instant::now();
            let span = tracing::info_span!("prove", job = %id);
            let proof = span.in_scope(|| service.worker.prove(inference, binding));
            turn.end(service.worker.turns());
            proof.map(|proof| (proof, micros(began)))
        })
        .await?
        .map_err(|error| status(&error))?;
        // 0 would say nothing.
        let proof = Proof { job_id: id, proof, prove_us, elapsed_us: micros(arrived).max(1) };
        let proof = self.key.sign(&self.chain, proof).into_envelope();
        send(events, wire::execute_response::Event::Proof(proof.into()))
    }

    fn binding(&self, id: &JobId) -> [u8; 32] {
        job_binding(&self.chain, id, &self.owner)
    }
}

fn model_of(job: &Signed<Job>) -> ModelId {
    ModelId(job.value().model_id.0)
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn send(events: &Events, event: wire::execute_response::Event) -> Result<(), Status> {
    events
        .try_send(Ok(wire::ExecuteResponse { event: Some(event) }))
        .map_err(|_| Status::cancelled("the caller has gone"))
}

/// Runs computation away from the threads that serve the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::internal("the worker panicked"))
}

/// The one mapping of a worker's error.
fn status(error: &WorkerError) -> Status {
    match error {
        WorkerError::UnknownModel(_) => Status::not_found(error.to_string()),
        WorkerError::Input(_) => Status::invalid_argument(error.to_string()),
        WorkerError::Failed(_) => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_lost_are_not_counted_and_without_any_there_is_no_class() {
        let devices = |count| Devices { class: 3, count };
        assert_eq!(remaining(devices(4), 0), devices(4));
        assert_eq!(remaining(devices(4), 3), devices(1));
        assert_eq!(remaining(devices(4), 4), Devices::default());
        assert_eq!(remaining(devices(1), 9), Devices::default());
        assert_eq!(remaining(Devices::default(), 1), Devices::default());
    }
}
