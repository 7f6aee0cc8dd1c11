//! The node: database, engine, broker and services, started and stopped together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::client::ClientTls;
use assay_proto::genesis::Genesis;
use assay_proto::{ChainId, PublicKey, SecretKey};
use assay_validator_bft::{Engine, Settings, SigningState, Status};
use assay_verifier::operating::owner_of;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::application::Application;
use crate::broker::Broker;
use crate::config::Config;
use crate::consensus::{self, Ledger};
use crate::error::Error;
use crate::mempool::Mempool;
use crate::monitor::Monitor;
use crate::questions::{self, Questions};
use crate::stop::stopping;
use crate::store::Store;
use crate::{challenges, pem, retention, scoring, services, sync};

/// Folder of the consensus engine, in that of the database.
const CONSENSUS: &str = "consensus";
/// Time that calls in progress get to end when the node stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Time that work in other threads gets to let go of the database.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// A running validator. Dropping it stops the node without waiting.
#[derive(Debug)]
pub struct Node {
    local_addr: SocketAddr,
    monitor_addr: Option<SocketAddr>,
    application: Arc<Application>,
    broker: Arc<Broker>,
    ready: watch::Receiver<bool>,
    status: watch::Receiver<Status>,
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

/// Notes that a key has signed nothing on this chain yet, so that its validator takes part at once. Only whoever made
/// the key can know.
pub fn begin_signing(data_dir: &Path, chain: &ChainId, key: &PublicKey) -> Result<(), Error> {
    let folder = data_dir.join(CONSENSUS);
    std::fs::create_dir_all(&folder)
        .map_err(|source| assay_validator_bft::Error::File { path: folder.clone(), source })?;
    SigningState::create(&SigningState::path(&folder), chain, key)?;
    Ok(())
}

/// Whether a key is a validator's on this chain, or can become one by stake. Until then its node follows the others.
pub fn may_validate(genesis: &Genesis, key: &PublicKey) -> bool {
    genesis.parameters.stake_per_power > 0
        || genesis.validators.iter().any(|validator| validator.public_key == *key)
}

impl Node {
    /// Opens the database, binds the address and starts. Needs a multi-threaded runtime.
    pub async fn start(config: Config, key: SecretKey, genesis: Genesis) -> Result<Self, Error> {
        config.validate()?;
        genesis.check().map_err(Error::Genesis)?;
        let own = key.public_key();
        let owner = config.owner()?;
        let validator = owner.unwrap_or(own);
        if !may_validate(&genesis, &validator) {
            return Err(Error::NotValidator(validator));
        }
        let (peers, others) = (config.consensus.peers()?, config.consensus.owners()?);
        if let Some(peer) = peers.iter().find(|peer| peer.key == own) {
            return Err(Error::NotPeer(peer.key));
        }
        if let Some(other) = others.iter().find(|other| !may_validate(&genesis, other)) {
            return Err(Error::NotPeer(*other));
        }
        // The address first: a second start on the same machine says so instead of naming the database's lock.
        let listen = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let tls = services::tls(&config.tls)?;
        let questions = Questions::read(&config.questions)?.map(Arc::new);
        let monitor = match config.monitor.enabled {
            true => Some(Monitor::bind(config.monitor.listen).await?),
            false => None,
        };
        sync::begin(&config, &genesis).await?;
        let path = config.data_dir.clone();
        let (store, state) = tokio::task::spawn_blocking(move || Store::open(&path, &genesis)).await??;
        let height = state.head().height;
        let named = owner_of(&state, &own);
        if named != own && owner.is_some_and(|owner| owner != named) {
            return Err(Error::OtherOwner { key: own, expected: validator, got: named });
        }
        let mempool = Mempool::new(config.mempool.clone(), key.public_key());
        let application = Application::new(key.clone(), store, state, mempool)?;
        let application = Arc::new(application.keeping(config.store.clone()));
        let settings = Settings {
            chain: application.chain_id(),
            key,
            listen: config.consensus.listen,
            peers,
            folder: config.data_dir.join(CONSENSUS),
            timeouts: config.consensus.timeouts(),
            deaf: false,
        };
        let (stop, stopped) = watch::channel(false);
        let broker = Arc::new(Broker::new(
            Arc::clone(&application),
            config.broker.clone(),
            pem::read(&config.broker.miner_ca)?,
            config.mempool.commit_timeout(),
            stopped.clone(),
        ));
        let resuming = Arc::clone(&broker);
        let resumed = tokio::task::spawn_blocking(move || resuming.resume()).await??;
        let (ledger, messages) = Ledger::new(Arc::clone(&application), config.engine.clone());
        let engine = Engine::start(settings, Arc::new(ledger), stopped.clone()).await?;
        let status = engine.status();
        let (told, ready) = watch::channel(false);
        tokio::spawn(consensus::listen(Arc::clone(&application), messages));
        let miner_tls = pem::read(&config.broker.miner_ca)?.map(|ca| ClientTls { ca, identity: None });
        tokio::spawn(challenges::run(Arc::clone(&application), miner_tls, ready.clone(), stopped.clone()));
        if let Some(questions) = &questions {
            let (application, broker) = (Arc::clone(&application), Arc::clone(&broker));
            tokio::spawn(questions::run(application, broker, Arc::clone(questions), stopped.clone()));
        }
        tokio::spawn(scoring::run(Arc::clone(&application), questions, stopped.clone()));
        tokio::spawn(consensus::tell(Arc::clone(&application), engine.gossip_sender(), stopped.clone()));
        tokio::spawn(retention::forget(Arc::clone(&application), stopped.clone()));
        tokio::spawn(consensus::readiness(
            Arc::clone(&application),
            config.data_dir.clone(),
            status.clone(),
            told,
            stopped.clone(),
        ));
        let monitor_addr = monitor.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = monitor {
            let (application, status) = (Arc::clone(&application), status.clone());
            let monitor = Monitor { application, status };
            tokio::spawn(monitor.serve(listener, stopped.clone()));
        }
        let services = {
            let ready = ready.clone();
            let (application, broker) = (Arc::clone(&application), Arc::clone(&broker));
            let (stop, stopped) = (stop.clone(), stopped.clone());
            tokio::spawn(async move {
                let ended =
                    services::serve(listener, &config, tls, application, broker, ready, stopped).await;
                stop.send_replace(true);
                ended
            })
        };
        let engine = {
            let stop = stop.clone();
            tokio::spawn(async move {
                let ended = engine.ended().await;
                stop.send_replace(true);
                Ok(ended?)
            })
        };
        tracing::info!(%local_addr, %height, resumed, "validator listens");
        Ok(Self {
            local_addr,
            monitor_addr,
            application,
            broker,
            ready,
            status,
            stop: Stop(stop),
            engine,
            services,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where its metrics are, if they are served.
    pub fn monitor_addr(&self) -> Option<SocketAddr> {
        self.monitor_addr
    }

    /// The ledger of this node.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Turns true when this node has caught up with the other validators, and false when it falls behind.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// What the consensus engine knows of itself and its peers.
    pub fn consensus(&self) -> watch::Receiver<Status> {
        self.status.clone()
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
