//! What the programs that run until they are told to stop have in common.

use std::env::VarError;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How long the collector may take for one message.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is logged unless RUST_LOG says otherwise. The engine says at each height how it got there, forty lines a second, and at its
/// end that its clock has nobody left to tell.
const LOGGED: &str = "info,arc_malachitebft=warn,arc_malachitebft_engine::util::ticker=off";

/// How a service logs.
#[derive(clap::Args)]
pub struct Logs {
    /// Log one JSON object a line; RUST_LOG says how much (default: info, and warnings of the consensus engine)
    #[arg(long)]
    log_json: bool,
    /// Send spans by OTLP over gRPC to the OpenTelemetry collector here, for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
}

impl Logs {
    /// Sends logs to standard error, and spans where they are wanted, under the name of the service. Keep what comes back: when it
    /// goes, what is left to send is sent.
    pub fn start(&self, service: &'static str) -> Result<Option<Telemetry>> {
        let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
            Err(VarError::NotPresent) => EnvFilter::new(LOGGED),
            given => EnvFilter::try_new(given.context("RUST_LOG")?).context("RUST_LOG")?,
        };
        let telemetry = self.otlp.as_ref().map(|url| Telemetry::new(url, service)).transpose()?;
        // Only spans of this program: the exporter's own would never end.
        let spans = telemetry.as_ref().map(|telemetry| {
            let ours = Targets::new().with_target("assay", tracing::Level::INFO);
            tracing_opentelemetry::layer().with_tracer(telemetry.provider.tracer(service)).with_filter(ours)
        });
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let logs = if self.log_json {
            logs.json().with_filter(filter).boxed()
        } else {
            logs.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
        };
        tracing_subscriber::registry().with(logs).with(spans).init();
        Ok(telemetry)
    }
}

/// Sends spans until it is dropped, and then those that are left. A collector that is away costs the spans, nothing else.
pub struct Telemetry {
    provider: SdkTracerProvider,
    /// What the connection to the collector runs on.
    _runtime: Runtime,
}

impl Telemetry {
    fn new(url: &str, service: &'static str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let _inside = runtime.enter();
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(url).with_timeout(PATIENCE);
        let exporter = exporter.build().with_context(|| format!("--otlp {url}"))?;
        let resource = Resource::builder().with_service_name(service).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        Ok(Self { provider: provider.build(), _runtime: runtime })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            eprintln!("warning: the last spans did not reach the collector: {error}");
        }
    }
}

/// Resolves when the process is asked to stop (SIGINT or SIGTERM).
pub async fn told_to_stop() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
