//! Spans reach an OpenTelemetry collector, and one that is away harms nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

use crate::support::Service;
use crate::support::network::{Chain, ask, connect};

/// Long enough for a batch of spans on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands on the names of the spans that it is sent.
struct Collector(mpsc::UnboundedSender<String>);

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans;
        let scopes = spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.0.send(span.name).map_err(|_| Status::cancelled("the test has ended"))?;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn start(chain: &Chain, collector: &str) -> Service {
    let home = chain.files.path("home");
    Service::start(&format!("validator start --home {home} --listen 127.0.0.1:0 --otlp {collector}"), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_a_job_reach_a_collector() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let collector = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, mut names) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let chain = Chain::new();
    let validator = start(&chain, &collector);
    chain.register_model(&validator.url());
    let _miner = chain.start_miner(&validator.url());
    let client = connect(&validator.url()).await;
    assert!(ask(&client, &chain.chain_id(), &chain.job(1)).await.is_some());

    let mut missing = BTreeSet::from(["job", "attempt", "propose", "decide"]);
    while !missing.is_empty() {
        let name = tokio::time::timeout(PATIENCE, names.recv()).await;
        let name = name.unwrap_or_else(|_| panic!("no spans named {missing:?}")).expect("the collector runs");
        missing.remove(name.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_harms_nobody() {
    // Port 1 of the loopback address refuses.
    let chain = Chain::new();
    let validator = start(&chain, "http://127.0.0.1:1");
    chain.register_model(&validator.url());
    let _miner = chain.start_miner(&validator.url());
    let client = connect(&validator.url()).await;
    assert!(ask(&client, &chain.chain_id(), &chain.job(1)).await.is_some());
    assert_eq!(validator.terminate(), Some(0));
}
