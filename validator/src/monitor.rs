//! `/metrics` and `/health` over HTTP, on a port of their own.
//!
//! `/health` is 200 where the node is ready and 503 where it is not; its body says height, readiness and whether the
//! node signs, and whether it is stranded: no connected validator keeps its next block, so that it needs a snapshot. Connections are few and short: one more than the limit waits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use assay_validator_bft::Status;
use assay_verifier::describe;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::application::Application;
use crate::consensus::is_ready;
use crate::error::Error;
use crate::stop::{Stopped, stopping};

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Time that a connection may be open.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Time for the headers of a request.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Pause after a failure to accept.
const RETRY: Duration = Duration::from_millis(100);

/// What is watched.
pub(crate) struct Monitor {
    pub application: Arc<Application>,
    pub status: watch::Receiver<Status>,
}

impl Monitor {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
    }

    /// Serves until the node stops.
    pub async fn serve(self, listener: TcpListener, stopped: Stopped) {
        let (monitor, room) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            // The semaphore is never closed.
            let Ok(share) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stopping(stopped.clone()) => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let monitor = Arc::clone(&monitor);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let monitor = Arc::clone(&monitor);
                    async move { Ok::<_, Infallible>(monitor.answer(&request)) }
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
                let served = server.serve_connection(TokioIo::new(stream), answer);
                if let Ok(Err(error)) = timeout(CONNECTION_TIME, served).await {
                    tracing::debug!(%error, "a connection of the monitor");
                }
                drop(share);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/health" => self.health(),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics and /health\n".to_owned()),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let (state, mempool) = (self.application.state(), self.application.mempool());
        let status = self.status.borrow().clone();
        let ready = is_ready(&state, &status, &self.application.public_key());
        let remembered = self.application.keys().remembered();
        let metrics = self.application.metrics();
        let usage = self.application.store().usage();
        match usage.and_then(|usage| metrics.text(&state, mempool, remembered, &usage, &status, ready)) {
            Ok(metrics) => text(StatusCode::OK, metrics),
            Err(error) => {
                tracing::error!(error = %describe(&error), "metrics");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the node's log says more\n".to_owned())
            }
        }
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let (state, status) = (self.application.state(), self.status.borrow());
        let height = state.head().height;
        let ready = is_ready(&state, &status, &self.application.public_key());
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let (signing, peers) = (status.signing, status.peers.len());
        let stranded = status.is_stranded(height);
        let body = format!(
            "{{\"ready\":{ready},\"height\":{height},\"signing\":{signing},\"peers\":{peers},\"stranded\":{stranded}}}\n"
        );
        let mut response = text(code, body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
