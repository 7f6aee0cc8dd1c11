//! The node: database, engine, broker and services, started and stopped together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::SecretKey;
use assay_proto::genesis::Genesis;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::application::Application;
use crate::broker::Broker;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::mempool::Mempool;
use crate::services;
use crate::stop::stopping;
use crate::store::Store;

/// Time that calls in progress get to end when the node stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Time that work in other threads gets to let go of the database.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// A running validator. Dropping it stops the node without waiting.
#[derive(Debug)]
pub struct Node {
    local_addr: SocketAddr,
    application: Arc<Application>,
    broker: Arc<Broker>,
    stop: Stop,
    engine: JoinHandle<Result<(), Error>>,
    services: JoinHandle<Result<(), Error>>,
}

/// Tells every part of the node to stop when it is dropped.
#[derive(Debug)]
struct Stop(watch::Sender<bool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Node {
    /// Opens the database, binds the address and starts. Needs a multi-threaded runtime.
    pub async fn start(config: Config, key: SecretKey, genesis: Genesis) -> Result<Self, Error> {
        config.validate()?;
        genesis.check().map_err(Error::Genesis)?;
        // The address first: a second start on the same machine says so instead of naming the database's lock.
        let listen = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let path = config.data_dir.clone();
        let (store, state) = tokio::task::spawn_blocking(move || Store::open(&path, &genesis)).await??;
        let height = state.head().height;
        let mempool = Mempool::new(config.mempool.clone(), key.public_key());
        let application = Arc::new(Application::new(key.clone(), store, state, mempool));
        let engine = Engine::new(Arc::clone(&application), key, config.engine.clone())?;
        let (stop, stopped) = watch::channel(false);
        let broker = Arc::new(Broker::new(
            Arc::clone(&application),
            config.broker.clone(),
            config.mempool.commit_timeout(),
            stopped.clone(),
        ));
        let resuming = Arc::clone(&broker);
        let resumed = tokio::task::spawn_blocking(move || resuming.resume()).await??;
        let services = {
            let (application, broker) = (Arc::clone(&application), Arc::clone(&broker));
            let (stop, stopped) = (stop.clone(), stopped.clone());
            tokio::spawn(async move {
                let ended = services::serve(listener, &config, application, broker, stopped).await;
                stop.send_replace(true);
                ended
            })
        };
        let engine = {
            let stop = stop.clone();
            tokio::spawn(async move {
                let ended = engine.run(stopped).await;
                stop.send_replace(true);
                ended
            })
        };
        tracing::info!(%local_addr, %height, resumed, "validator listens");
        Ok(Self { local_addr, application, broker, stop: Stop(stop), engine, services })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The ledger of this node.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Resolves when the node can no longer go on, since its engine or its services ended. Then call
    /// [`Node::shutdown`], which says why.
    pub async fn stopped(&self) {
        stopping(self.stop.0.subscribe()).await;
    }

    /// Takes no more calls, ends jobs and streams, finishes the block in progress and closes the database. After
    /// this, another node may open it.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { application, broker, stop, engine, mut services, .. } = self;
        drop(stop);
        broker.shutdown().await;
        drop(broker);
        let engine = engine.await?;
        let services = match tokio::time::timeout(SHUTDOWN_GRACE, &mut services).await {
            Ok(ended) => ended?,
            Err(_) => {
                services.abort();
                // Cut off on purpose.
                let _ = services.await;
                Ok(())
            }
        };
        let closed = async {
            while Arc::strong_count(&application) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(CLOSE_GRACE, closed).await.is_err() {
            tracing::warn!("the database is still in use by a thread of this node");
        }
        drop(application);
        tracing::info!("validator stopped");
        engine.and(services)
    }
}
