//! What the listener offers: `assay.v1.Inference`, `assay.v1.Ledger`, health and reflection.
//!
//! Every bound is named: connections, calls on one connection, calls in all, open streams, message sizes, the time
//! that a call may take and the time that a stream waits for its reader. What is over a bound is told so.

mod connections;
mod inference;
mod ledger;
mod operator;
mod rates;
mod snapshot;
mod status;
mod subnets;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_proto::wire::inference_server::InferenceServer;
use assay_proto::wire::ledger_server::LedgerServer;
use assay_proto::wire::operator_server::OperatorServer;
use assay_proto::{limits, wire};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tonic::Request;
use tonic::server::NamedService;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::application::Application;
use crate::broker::Broker;
use crate::config::{Config, TlsConfig};
use crate::error::Error;
use crate::pem;
use crate::stop::{Stopped, stopping};
use connections::Connections;
use inference::Inference;
use ledger::Ledger;
use operator::Operator;
use rates::Rates;

/// A submission is received and then decided within its own timeout; any other call is far shorter.
const CALL_MARGIN: Duration = Duration::from_secs(30);
/// Time that a stream waits for its reader before it is cut.
const READER_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages of a stream that wait for its reader.
const STREAM_BUFFER: usize = 2;

/// What every service of this node needs.
#[derive(Debug)]
pub(crate) struct Context {
    application: Arc<Application>,
    rates: Rates,
    calls: Room,
    streams: Room,
    commit_timeout: Duration,
    ready: watch::Receiver<bool>,
    stopped: Stopped,
}

impl Context {
    /// A share of the calls in progress, if the caller has not made too many.
    fn enter<T>(&self, request: &Request<T>) -> Result<OwnedSemaphorePermit, Error> {
        self.check_rate(request)?;
        self.calls.enter()
    }

    /// A share of the open streams.
    fn enter_stream<T>(&self, request: &Request<T>) -> Result<OwnedSemaphorePermit, Error> {
        self.check_rate(request)?;
        self.streams.enter()
    }

    fn check_rate<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let Some(caller) = request.remote_addr() else { return Ok(()) };
        self.rates.enter(caller.ip(), Instant::now()).inspect_err(|_| self.application.metrics().limited())
    }

    /// Refuses what a node that is behind cannot do well.
    fn check_ready(&self) -> Result<(), Error> {
        if *self.ready.borrow() { Ok(()) } else { Err(Error::NotReady) }
    }
}

/// A bounded number of something.
#[derive(Debug)]
struct Room {
    what: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

impl Room {
    fn new(what: &'static str, limit: usize) -> Self {
        Self { what, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    /// Takes a share, or says at once that there is none.
    fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        let taken = Arc::clone(&self.free).try_acquire_owned();
        taken.map_err(|_| Error::Busy { what: self.what, limit: self.limit })
    }
}

/// Serves until `stopped` turns true, then lets the calls in progress end.
pub async fn serve(
    listener: TcpListener,
    config: &Config,
    tls: Option<ServerTlsConfig>,
    application: Arc<Application>,
    broker: Arc<Broker>,
    ready: watch::Receiver<bool>,
    stopped: Stopped,
) -> Result<(), Error> {
    let context = Arc::new(Context {
        application,
        rates: Rates::new(config.services.calls_per_second),
        calls: Room::new("calls in progress", config.services.calls),
        streams: Room::new("open streams", config.services.streams),
        commit_timeout: config.mempool.commit_timeout(),
        ready: ready.clone(),
        stopped: stopped.clone(),
    });
    let inference = InferenceServer::new(Inference::new(Arc::clone(&context), broker))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::BLOCK_MESSAGE_BYTES);
    let operator = OperatorServer::new(Operator::new(Arc::clone(&context), config.backup_dir()));
    let ledger = LedgerServer::new(Ledger::new(context))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::BLOCK_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    let told = report_health(reporter, ready, stopped);
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls)?;
    }
    server
        .max_concurrent_streams(config.services.calls_per_connection)
        .http2_keepalive_interval(Some(Duration::from_secs(config.services.keepalive_s)))
        .timeout(config.mempool.commit_timeout() + CALL_MARGIN)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(inference)
        .add_service(ledger)
        .add_service(operator)
        .serve_with_incoming_shutdown(Connections::new(listener, config.services.connections), told)
        .await?;
    Ok(())
}

/// What the settings say about encryption.
pub fn tls(config: &TlsConfig) -> Result<Option<ServerTlsConfig>, Error> {
    let (Some(certificate), Some(key)) = (pem::read(&config.certificate)?, pem::read(&config.key)?) else {
        return Ok(None);
    };
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    Ok(Some(match pem::read(&config.client_ca)? {
        Some(ca) => tls.client_ca_root(Certificate::from_pem(ca)),
        None => tls,
    }))
}

/// Reports every service as serving while the node is ready, until it stops.
async fn report_health(reporter: HealthReporter, mut ready: watch::Receiver<bool>, stopped: Stopped) {
    loop {
        let serving = *ready.borrow_and_update() && !*stopped.borrow();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        reporter.set_service_status(InferenceServer::<Inference>::NAME, status).await;
        reporter.set_service_status(LedgerServer::<Ledger>::NAME, status).await;
        if *stopped.borrow() {
            return;
        }
        tokio::select! {
            () = stopping(stopped.clone()) => {}
            // A node whose readiness nobody watches any more is stopping.
            changed = ready.changed() => if changed.is_err() { stopping(stopped.clone()).await },
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Runs what blocks (database, signatures) away from the threads that serve the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

/// Sends to a stream's reader; false when it has gone or does not read in time.
async fn deliver<T>(stream: &mpsc::Sender<T>, message: T, time: Duration) -> bool {
    stream.send_timeout(message, time).await.is_ok()
}

/// Runs `work`, or ends it when the node stops or the reader has gone.
async fn while_wanted<T>(stream: &mpsc::Sender<T>, stopped: Stopped, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stream.closed() => {}
        () = stopping(stopped) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_cut_when_its_reader_does_not_read() {
        let (stream, mut reader) = mpsc::channel(1);
        let time = Duration::from_millis(20);
        assert!(deliver(&stream, 1, time).await);
        assert!(!deliver(&stream, 2, time).await, "the buffer is full and nobody reads");
        assert_eq!(reader.recv().await, Some(1));
        assert!(deliver(&stream, 3, time).await);
        drop(reader);
        assert!(!deliver(&stream, 4, time).await);
    }

    #[test]
    fn room_is_refused_beyond_its_limit_and_given_back() {
        let room = Room::new("calls", 1);
        let share = room.enter().expect("one");
        assert!(matches!(room.enter(), Err(Error::Busy { what: "calls", limit: 1 })));
        drop(share);
        assert!(room.enter().is_ok());
    }
}
