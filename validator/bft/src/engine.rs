//! Starting and stopping agreement, and whether this node takes part or only watches.
//!
//! A node signs only if it knows all that its key signed before: it has the signing state, and, where it signed at a
//! height that is not decided, the engine's log of that height. Without either it follows the others as a node that
//! does not sign, until they have decided every height that its key may have signed at; then it takes part again.
//! A state that knows of no signature is believed only where the chain has no block yet, and one that knows less than the
//! signatures of its key in the log is not believed at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_proto::block::CommitCertificate;
use assay_proto::{ChainId, Height, PublicKey, SecretKey};
use bytesize::ByteSize;
use malachitebft_app_channel::app::config::{
    ConsensusConfig, DiscoveryConfig, NodeConfig, P2pConfig, PubSubProtocol, ValuePayload, ValueSyncConfig,
};
use malachitebft_app_channel::{
    Channels, ConsensusContext, EngineBuilder, EngineHandle, NetworkContext, NetworkIdentity, RequestContext,
    SyncContext, WalContext,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::application::Application;
use crate::codec::Borsh;
use crate::context::{Address, Context};
use crate::driver::{Driver, End};
use crate::error::Error;
use crate::peers::{configured, keypair, transport_address};
use crate::signer::{Signer, Verifier};
use crate::signing_state::{Refusal, SigningState};

/// A message of the transport: a piece of a block, or gossip.
pub(crate) const MESSAGE_BYTES: usize = assay_proto::limits::MESSAGE_BYTES + (64 << 10);
/// Answers to nodes that catch up: at least one block of the greatest size.
const SYNC_BYTES: usize = assay_proto::limits::COMMITTED_BLOCK_BYTES + (1 << 20);
/// Blocks of one answer to a node that catches up.
const SYNC_BLOCKS: usize = 20;
/// Gossip that waits to be sent.
const COMMANDS: usize = 1024;
/// Connections from one address at a time: validators behind one router are seen at one.
const CONNECTIONS_PER_ADDRESS: usize = 256;
/// Time in which an address that the settings do not name may not connect again after a connection from it has closed. So short,
/// since validators come from such ones: behind a router, or with more than one address, or named by the ledger alone. For as long
/// as a peer is refused that was only started again, its vote is missing.
const ADDRESS_PAUSE: Duration = Duration::from_secs(1);
/// Time between looks at a port that is not free.
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// Time that a port gets to become free.
const PORT_TIME: Duration = Duration::from_secs(5);
/// Time that the engine gets to let go of its files and its port.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Another validator of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key, which is its identity on the network too.
    pub key: PublicKey,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How long a step of a round may take before the round is given up; each grows by its own half with every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the proposal and its block, the checks of every proof in it included.
    pub propose: Duration,
    /// For votes, once more than two thirds of them came.
    pub vote: Duration,
}

/// What the engine is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the chain.
    pub chain: ChainId,
    /// This validator.
    pub key: SecretKey,
    /// Where to listen for other validators.
    pub listen: SocketAddr,
    /// The others.
    pub peers: Vec<Peer>,
    /// Folder of `consensus.wal` and `signing.state`.
    pub folder: PathBuf,
    /// Patience.
    pub timeouts: Timeouts,
    /// Does not heed what the others heard of its own key. A liar in a test does not; a validator always does.
    pub deaf: bool,
}

/// What a connected validator last said to have of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLog {
    /// Height of its last decided block.
    pub head: Height,
    /// Height of the earliest block that it keeps; 0 before it has said anything.
    pub earliest: Height,
}

impl PeerLog {
    /// Whether the peer has said anything since it is connected.
    pub fn is_known(&self) -> bool {
        self.earliest > Height::default()
    }
}

/// What the engine knows of itself and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether this node signs; otherwise it only watches.
    pub signing: bool,
    /// Connected validators.
    pub peers: BTreeMap<PublicKey, PeerLog>,
    /// Validators that are banned for what they sent.
    pub banned: BTreeSet<PublicKey>,
    /// Round of the height in progress.
    pub round: u32,
    /// Rounds beyond the first of a height, since the start.
    pub extra_rounds: u64,
}

impl Status {
    /// Whether a node with this head cannot catch up by blocks: others are ahead, and none of them keeps its next one.
    pub fn is_stranded(&self, head: Height) -> bool {
        let mut ahead = self.peers.values().filter(|log| log.head > head).peekable();
        ahead.peek().is_some() && ahead.all(|log| log.earliest > head.next())
    }
}

/// Whether this node signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sign,
    /// Until this height is decided; none: until the height of the others is known.
    Watch(Option<Height>),
}

/// Running agreement.
#[derive(Debug)]
pub struct Engine {
    task: JoinHandle<Result<(), Error>>,
    gossip: mpsc::Sender<Vec<u8>>,
    status: watch::Receiver<Status>,
}

impl Engine {
    /// Starts. The engine runs until `stopped` turns true or until it cannot go on.
    pub async fn start(
        settings: Settings,
        application: Arc<dyn Application>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let (opened, asked) = (settings.clone(), Arc::clone(&application));
        let (state, mode) =
            tokio::task::spawn_blocking(move || open_state(&opened, asked.as_ref())).await??;
        let state = Arc::new(Mutex::new(state));
        // The engine itself only logs that it cannot listen.
        await_port(settings.listen).await?;
        let (gossip, commands) = mpsc::channel(COMMANDS);
        let (told, status) = watch::channel(Status::default());
        let signer = Signer {
            chain: settings.chain.clone(),
            key: settings.key.clone(),
            state: Arc::clone(&state),
            refused: Arc::default(),
        };
        let driver = Driver::new(application, &settings, state, mode, commands, told);
        let first = build(&settings, &signer, mode).await?;
        let task = tokio::spawn(run(settings, signer, driver, first, mode, stopped));
        Ok(Self { task, gossip, status })
    }

    /// Tells the other validators something; false if too much waits to be told.
    pub fn gossip(&self, message: Vec<u8>) -> bool {
        message.len() <= assay_proto::limits::MESSAGE_BYTES && self.gossip.try_send(message).is_ok()
    }

    /// Sends gossip from elsewhere.
    pub fn gossip_sender(&self) -> mpsc::Sender<Vec<u8>> {
        self.gossip.clone()
    }

    /// What the engine knows.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Resolves when the engine has stopped, with the reason if it stopped by itself.
    pub async fn ended(self) -> Result<(), Error> {
        self.task.await?
    }
}

/// Runs the engine, and starts it again when this node begins or ceases to sign.
async fn run(
    settings: Settings,
    signer: Signer,
    mut driver: Driver,
    first: (Channels<Context>, EngineHandle),
    mut mode: Mode,
    stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (mut channels, mut handle) = first;
    loop {
        let end = driver.run(&mut channels, stopped.clone()).await;
        drop(channels);
        stop(handle).await;
        mode = match (end?, take_refusal(&signer)) {
            (End::Told, _) => return Ok(()),
            (End::Watched, _) => Mode::Sign,
            (End::Unaware, _) => Mode::Watch(None),
            (End::Engine, Some(refusal)) if mode == Mode::Sign => {
                tracing::warn!(%refusal, "this node watches until that height is decided");
                Mode::Watch(Some(refusal.height))
            }
            (End::Engine, _) => return Err(Error::Stopped),
        };
        if mode == Mode::Sign {
            let mut state = signer.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.rename(&SigningState::path(&settings.folder))?;
        }
        await_port(settings.listen).await?;
        driver.begin(mode);
        (channels, handle) = build(&settings, &signer, mode).await?;
    }
}

/// Waits until the port is free: an engine that has just stopped may hold it for a moment.
async fn await_port(address: SocketAddr) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(source) if began.elapsed() > PORT_TIME => return Err(Error::Listen(address, source)),
            Err(_) => tokio::time::sleep(RESTART_PAUSE).await,
        }
    }
}

async fn stop(handle: EngineHandle) {
    let EngineHandle { actor, handle } = handle;
    actor.stop(None);
    if tokio::time::timeout(STOP_TIME, handle).await.is_err() {
        tracing::warn!("the consensus engine does not stop");
    }
}

fn take_refusal(signer: &Signer) -> Option<Refusal> {
    signer.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Opens the signing state and says whether it tells enough to sign.
fn open_state(settings: &Settings, application: &dyn Application) -> Result<(SigningState, Mode), Error> {
    let (path, key) = (SigningState::path(&settings.folder), settings.key.public_key());
    let file = |source| Error::File { path: settings.folder.clone(), source };
    std::fs::create_dir_all(&settings.folder).map_err(file)?;
    let (head, alone) = (application.head(), application.validators().len() <= 1);
    let Some(mut state) = SigningState::open(&path, &settings.chain, &key)? else {
        if alone && head > Height(0) {
            return Err(Error::Unrecorded { path, height: head });
        }
        if alone {
            // Its first height cannot have been voted on by a validator that is alone and has no block.
            return Ok((SigningState::create(&path, &settings.chain, &key)?, Mode::Sign));
        }
        // It gets its name when the watch is over: a node that is started again before that watches again.
        let provisional = path.with_extension("watching");
        match std::fs::remove_file(&provisional) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file(error)),
            Ok(()) | Err(_) => {}
        }
        return Ok((SigningState::create(&provisional, &settings.chain, &key)?, Mode::Watch(None)));
    };
    let last = application.decided(head).map_err(Error::Application)?;
    let signed = last.is_some_and(|(_, certificate)| is_signed_by(&certificate, &key));
    if head > Height(0) && (state.height() == Height(0) || (signed && state.height() < head)) {
        if alone {
            return Err(Error::Unrecorded { path, height: head });
        }
        tracing::error!(%head, known = %state.height(), "the record of what this key signed is older than the log");
        state.concede(head)?;
        return Ok((state, Mode::Watch(None)));
    }
    let log = wal(settings);
    let kept = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let height = state.height();
    let mode = match (height > head && !kept, alone) {
        (false, _) => Mode::Sign,
        (true, false) => Mode::Watch(Some(height)),
        (true, true) => return Err(Error::LostLog { path: log, height }),
    };
    Ok((state, mode))
}

/// Whether a certificate has a signature of this key.
pub(crate) fn is_signed_by(certificate: &CommitCertificate, key: &PublicKey) -> bool {
    certificate.signatures.iter().any(|entry| entry.validator == *key)
}

fn wal(settings: &Settings) -> PathBuf {
    settings.folder.join("consensus.wal")
}

#[derive(Clone)]
struct Config {
    moniker: String,
    consensus: ConsensusConfig,
    sync: ValueSyncConfig,
}

impl NodeConfig for Config {
    fn moniker(&self) -> &str {
        &self.moniker
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.sync
    }
}

fn config(settings: &Settings) -> Result<Config, Error> {
    let start = |error: &dyn std::fmt::Display| Error::Start(error.to_string());
    let persistent_peers = settings.peers.iter().map(configured).collect::<Result<_, _>>()?;
    let listen_addr = transport_address(&settings.listen).parse().map_err(|error| start(&error))?;
    let consensus = ConsensusConfig {
        // The other mode takes every value for valid without asking the application.
        value_payload: ValuePayload::ProposalAndParts,
        p2p: P2pConfig {
            listen_addr,
            persistent_peers,
            persistent_peers_only: true,
            protocol: PubSubProtocol::Broadcast,
            pubsub_max_size: bytesize(MESSAGE_BYTES),
            rpc_max_size: bytesize(SYNC_BYTES),
            discovery: DiscoveryConfig {
                enabled: false,
                max_connections_per_ip: CONNECTIONS_PER_ADDRESS,
                ip_throttle_duration: ADDRESS_PAUSE,
                ..DiscoveryConfig::default()
            },
            ..P2pConfig::default()
        },
        ..ConsensusConfig::default()
    };
    if !consensus.value_payload.include_parts() {
        return Err(Error::Start("values would not be validated".to_owned()));
    }
    let sync = ValueSyncConfig {
        status_update_interval: Duration::from_secs(1),
        max_response_size: bytesize(SYNC_BYTES),
        batch_size: SYNC_BLOCKS,
        ..ValueSyncConfig::default()
    };
    Ok(Config { moniker: settings.key.public_key().to_string(), consensus, sync })
}

fn bytesize(bytes: usize) -> ByteSize {
    ByteSize::b(u64::try_from(bytes).unwrap_or(u64::MAX))
}

async fn build(
    settings: &Settings,
    signer: &Signer,
    mode: Mode,
) -> Result<(Channels<Context>, EngineHandle), Error> {
    let config = config(settings)?;
    let address = match mode {
        Mode::Sign => Address(settings.key.public_key()),
        // The engine asks for signatures wherever its address is a validator's.
        Mode::Watch(_) => Address(PublicKey([0; 32])),
    };
    let identity =
        NetworkIdentity::new(config.moniker.clone(), keypair(&settings.key)?, Some(address.to_string()));
    let verifier = Box::new(Verifier { chain: settings.chain.clone() });
    let consensus = match mode {
        Mode::Sign => ConsensusContext::new_validator(address, verifier, Box::new(signer.clone())),
        Mode::Watch(_) => ConsensusContext::new_full_node(address, verifier),
    };
    EngineBuilder::new(Context, config)
        .with_default_wal(WalContext::new(wal(settings), Borsh))
        .with_default_network(NetworkContext::new(identity, Borsh))
        .with_default_sync(SyncContext::new(Borsh))
        .with_default_consensus(consensus)
        .with_default_request(RequestContext::new(COMMANDS))
        .build()
        .await
        .map_err(|error| Error::Start(format!("{error:#}")))
}
