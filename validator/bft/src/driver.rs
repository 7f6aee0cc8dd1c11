//! The conversation between the engine and the application, one message after another.
//!
//! ```text
//! no height is started before there is a reason: the application wants a block, or a peer is ahead or votes already
//! a block is judged only on top of its parent; one that comes early waits for its height
//! a block is durable before the engine hears of it, a decision before the engine hears that it is
//! ```

mod bans;
mod connections;
mod echo;
mod incoming;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_proto::{Height as ChainHeight, PublicKey};
use bytes::Bytes;
use malachitebft_app_channel::app::engine::host::{HeightParams, Next, SyncedValueOutcome};
use malachitebft_app_channel::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachitebft_app_channel::app::types::core::{LinearTimeouts, Round, Validity, VoteExtensionPolicy};
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_app_channel::app::types::{LocallyProposedValue, ProposedValue, SignedConsensusMsg};
use malachitebft_app_channel::{AppMsg, Channels, NetworkMsg};
use malachitebft_core_types::{Proposal as _, Vote as _};
use malachitebft_engine::util::events::Event;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::application::{Application, Fault, Proposed, Verdict};
use crate::codec::{commit_certificate, extended};
use crate::context::{Address, Context, Height, Part, Start, ValidatorSet, Value};
use crate::engine::{Mode, PeerLog, Settings, Status, Timeouts, is_signed_by};
use crate::error::Error;
use crate::evidence::equivocations;
use crate::parts::{Streams, Whole, split};
use crate::peers::key_of;
use crate::signer::Verifier;
use crate::signing_state::SigningState;
use bans::Bans;
use connections::Connections;
use echo::Echo;

/// Time between looks at the peers while none are there, and between announcements of the own height.
const TICK: Duration = Duration::from_millis(250);
const TICKS_A_STATUS: u64 = 4;
/// Time to wait for peers before the first height is started without them.
const PEERS_TIME: Duration = Duration::from_secs(10);
/// Time that the first proposal of a run waits for what peers told to be read.
const READING: Duration = Duration::from_millis(500);
/// Blocks of one answer to a node that catches up.
const SYNC_BLOCKS: u64 = 64;

/// Why the conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The node stops.
    Told,
    /// The engine stopped by itself.
    Engine,
    /// Everything that this key may have signed is decided.
    Watched,
    /// This key signed before, and this node does not know what.
    Unaware,
}

/// A height that is not started yet.
struct Held {
    reply: Reply,
    wanted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum Reply {
    /// The first height of a run, which waits for peers until then.
    First(oneshot::Sender<(Height, HeightParams<Context>)>, Instant),
    Next(oneshot::Sender<Next<Context>>),
}

/// A value that the engine asks for.
struct Asked {
    height: Height,
    round: Round,
    reply: oneshot::Sender<LocallyProposedValue<Context>>,
    since: Instant,
}

/// One side of the conversation.
pub(crate) struct Driver {
    application: Arc<dyn Application>,
    own: PublicKey,
    state: Arc<Mutex<SigningState>>,
    mode: Mode,
    /// The last height at which this node itself may have signed in a former life; none while that is not known.
    former: Option<ChainHeight>,
    /// A moment before which a node without a record does not sign, whatever is decided.
    listens_until: Option<Instant>,
    /// Whether it was found that this key signed what this node does not know of.
    unaware: bool,
    timeouts: Timeouts,
    /// Validators of the height after the head.
    set: ValidatorSet,
    head: ChainHeight,
    /// The height in progress; none while it is held.
    started: Option<ChainHeight>,
    held: Option<Held>,
    asked: Option<Asked>,
    /// Whether the height in progress is the first one of this run.
    is_first: bool,
    streams: Streams,
    early: BTreeMap<PublicKey, Vec<Whole>>,
    heads: BTreeMap<PublicKey, PeerLog>,
    connections: Connections,
    bans: Bans,
    echo: Echo,
    verifier: Verifier,
    /// Whether it does not heed what the others heard of its own key.
    deaf: bool,
    status: watch::Sender<Status>,
    gossip: mpsc::Receiver<Vec<u8>>,
    sent: u64,
    ticks: u64,
}

impl Driver {
    pub fn new(
        application: Arc<dyn Application>,
        settings: &Settings,
        state: Arc<Mutex<SigningState>>,
        mode: Mode,
        gossip: mpsc::Receiver<Vec<u8>>,
        status: watch::Sender<Status>,
    ) -> Self {
        let (head, set) = (application.head(), ValidatorSet::new(application.validators()));
        let mut driver = Self {
            application,
            own: settings.key.public_key(),
            state,
            mode,
            former: None,
            listens_until: None,
            unaware: false,
            timeouts: settings.timeouts,
            set,
            head,
            started: None,
            held: None,
            asked: None,
            is_first: true,
            streams: Streams::default(),
            early: BTreeMap::new(),
            heads: BTreeMap::new(),
            connections: Connections::new(settings.peers.clone()),
            bans: Bans::default(),
            echo: Echo::default(),
            verifier: Verifier { chain: settings.chain.clone() },
            deaf: settings.deaf,
            status,
            gossip,
            sent: 0,
            ticks: 0,
        };
        driver.begin(mode);
        driver
    }

    /// A new run of the engine.
    pub fn begin(&mut self, mode: Mode) {
        (self.mode, self.unaware, self.listens_until) = (mode, false, None);
        self.former = match mode {
            Mode::Sign => None,
            Mode::Watch(until) => until,
        };
        (self.started, self.held, self.asked, self.is_first) = (None, None, None, true);
        (self.streams, self.early) = (Streams::default(), BTreeMap::new());
        self.connections.begin();
        self.status.send_modify(|status| {
            status.signing = mode == Mode::Sign;
            status.peers.clear();
        });
        match mode {
            Mode::Sign => tracing::info!(head = %self.head, "takes part in consensus"),
            Mode::Watch(Some(until)) => tracing::warn!(%until, "watches until this height is decided"),
            Mode::Watch(None) => tracing::warn!("watches until the height of the other validators is known"),
        }
    }

    /// Answers the engine until one of the reasons to end.
    pub async fn run(
        &mut self,
        channels: &mut Channels<Context>,
        stopped: watch::Receiver<bool>,
    ) -> Result<End, Error> {
        let mut events = channels.events.subscribe();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopping(stopped.clone()) => return Ok(End::Told),
                message = channels.consensus.recv() => match message {
                    Some(message) => self.answer(message, channels).await?,
                    None => return Ok(End::Engine),
                },
                event = events.recv() => {
                    if let Ok(Event::Received(message)) = event {
                        self.echo.note(&message, &self.set, &self.own, &self.verifier);
                        self.noticed(height_of(&message));
                    }
                }
                () = wanted(&mut self.held) => self.release(),
                Some(message) = self.gossip.recv() => self.publish(channels, Part::Gossip(message)).await,
                _ = ticks.tick() => self.tick(channels).await?,
            }
            if self.unaware {
                return Ok(End::Unaware);
            }
            self.propose(channels).await?;
            if self.has_watched()? {
                return Ok(End::Watched);
            }
        }
    }

    async fn answer(&mut self, message: AppMsg<Context>, channels: &Channels<Context>) -> Result<(), Error> {
        match message {
            AppMsg::ConsensusReady { reply } => {
                self.hold(Reply::First(reply, Instant::now() + PEERS_TIME));
            }
            AppMsg::StartedRound { height, round, proposer, reply_value, .. } => {
                tracing::debug!(%height, %round, %proposer, "round");
                self.started = Some(height.into());
                let round = round.as_u32().unwrap_or(0);
                self.status.send_modify(|status| {
                    status.round = round;
                    status.extra_rounds = status.extra_rounds.saturating_add(u64::from(round.min(1)));
                });
                let values = self.judge_early().await?;
                answered(reply_value.send(values));
            }
            AppMsg::GetValue { height, round, reply, .. } => {
                self.asked = Some(Asked { height, round, reply, since: Instant::now() });
            }
            AppMsg::RestreamProposal { height, round, valid_round, address, value_id } => {
                let hash = value_id.0;
                if let Some(bytes) = self.blocking(move |app| app.undecided(&hash)).await? {
                    let (proposer, length) = (address, length(&bytes));
                    let start = Start { height, round, valid_round, proposer, value: value_id, length };
                    self.publish_block(channels, start, &bytes).await;
                }
            }
            AppMsg::ReceivedProposalPart { from, published_by, part, reply } => {
                let value = match key_of(&published_by.unwrap_or(from)) {
                    Some(key) => self.take_part(key, part).await?,
                    None => None,
                };
                answered(reply.send(value));
            }
            AppMsg::Decided { certificate, reply, .. } => {
                let Some(certificate) = commit_certificate(&certificate) else { return Err(Error::Stopped) };
                let signed = is_signed_by(&certificate, &self.own);
                self.blocking(move |app| app.decide(certificate)).await?;
                self.advance();
                if signed {
                    self.recognise(self.head)?;
                }
                answered(reply.send(()));
            }
            AppMsg::Finalized { evidence, reply, .. } => {
                for evidence in equivocations(&evidence) {
                    self.blocking(move |app| app.accuse(evidence)).await?;
                }
                self.hold(Reply::Next(reply));
            }
            AppMsg::GetHistoryMinHeight { reply } => {
                let earliest = self.blocking(|app| app.earliest()).await?;
                answered(reply.send(earliest.into()));
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let (first, last) = (range.start().0, range.end().0);
                let last = last.min(first.saturating_add(SYNC_BLOCKS)).min(self.head.0);
                let values = self.blocking(move |app| decided(app, first, last)).await?;
                answered(reply.send(values));
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let outcome = if self.head.next() == height.into() {
                    let verdict = self.blocking(move |app| app.validate(&value_bytes, false)).await?;
                    let value = |value, valid| ProposedValue {
                        height,
                        round,
                        valid_round: Round::Nil,
                        proposer,
                        value: Value(value),
                        validity: Validity::from_bool(valid),
                    };
                    match verdict {
                        Verdict::Valid(hash) => SyncedValueOutcome::Verdict(value(hash, true)),
                        Verdict::Invalid(hash) => SyncedValueOutcome::Verdict(value(hash, false)),
                        Verdict::NoBlock => SyncedValueOutcome::PeerFault,
                    }
                } else {
                    SyncedValueOutcome::LocalTransientError
                };
                answered(reply.send(outcome));
            }
            AppMsg::ExtendVote { reply, .. } => answered(reply.send(None)),
            AppMsg::VerifyVoteExtensions { extensions, reply, .. } => {
                answered(reply.send(extensions.into_iter().map(|(address, _)| (address, Ok(()))).collect()));
            }
        }
        Ok(())
    }

    /// Makes the value that is asked for; the first one of a run not before what the peers told of this node's key is read: it comes
    /// right after the question, if they told.
    async fn propose(&mut self, channels: &Channels<Context>) -> Result<(), Error> {
        let reads = |asked: &mut Asked| {
            let unread = self.connections.keys().any(|key| !self.heads.contains_key(key));
            !(self.is_first && unread && asked.since.elapsed() < READING)
        };
        let Some(Asked { height, round, reply, since: _ }) = self.asked.take_if(reads) else { return Ok(()) };
        if self.head.next() != height.into() {
            tracing::error!(%height, head = %self.head, "a value is asked for at another height");
            return Ok(());
        }
        let number = round.as_u32().unwrap_or(0);
        let Proposed { hash, bytes } = self.blocking(move |app| app.propose(number)).await?;
        answered(reply.send(LocallyProposedValue::new(height, round, Value(hash))));
        let start = Start {
            height,
            round,
            valid_round: Round::Nil,
            proposer: Address(self.own),
            value: Value(hash),
            length: length(&bytes),
        };
        self.publish_block(channels, start, &bytes).await;
        Ok(())
    }

    /// Keeps the next height back until there is a reason for it.
    fn hold(&mut self, reply: Reply) {
        self.started = None;
        let application = Arc::clone(&self.application);
        let alone = self.is_alone();
        let wanted: Pin<Box<dyn Future<Output = ()> + Send>> = match reply {
            // Others may be in the middle of a height: they are found out by taking part in it.
            Reply::First(..) if !alone => Box::pin(std::future::pending()),
            Reply::First(..) | Reply::Next(_) => Box::pin(async move { application.wanted().await }),
        };
        self.held = Some(Held { reply, wanted });
        self.consider();
    }

    /// Starts the held height where what is known of the peers is reason enough.
    fn consider(&mut self) {
        let Some(held) = &self.held else { return };
        let first = matches!(held.reply, Reply::First(..));
        if first && self.mode == Mode::Sign && !self.is_alone() {
            // What knows of no signature is believed at the beginning of a chain only.
            let fresh = self.signing_state().height() == ChainHeight(0);
            self.unaware |= fresh && self.heads.values().any(|log| log.head > ChainHeight(0));
            // Whoever is connected has its say about this node's key before the key signs anything. What it says the engine keeps
            // until a height begins, and hands over before what that height brings: it is enough that it had the time.
            let heard = self.connections.have_told(&self.heads, Instant::now());
            let patient = matches!(held.reply, Reply::First(_, until) if until > Instant::now());
            if self.unaware || (patient && !heard) {
                return;
            }
        }
        let ahead = self.heads.values().any(|log| log.head > self.head);
        let early = self.early.values().flatten().any(|whole| whole.start.height.0 > self.head.0);
        let first = match &held.reply {
            Reply::First(_, until) if !self.is_alone() => self.has_peers() || *until <= Instant::now(),
            Reply::First(..) | Reply::Next(_) => false,
        };
        if ahead || early || first {
            self.release();
        }
    }

    /// Somebody has voted or proposed at a height.
    fn noticed(&mut self, height: ChainHeight) {
        if height > self.head {
            match &self.held {
                Some(Held { reply: Reply::Next(_), .. }) => self.release(),
                Some(Held { reply: Reply::First(..), .. }) | None => {}
            }
        }
    }

    /// Starts the height after the head.
    fn release(&mut self) {
        let Some(Held { reply, .. }) = self.held.take() else { return };
        let (height, parameters) = (Height::from(self.head.next()), self.parameters());
        match reply {
            Reply::First(reply, _) => answered(reply.send((height, parameters))),
            Reply::Next(reply) => answered(reply.send(Next::Start(height, parameters))),
        }
    }

    fn parameters(&self) -> HeightParams<Context> {
        let Timeouts { propose, vote } = self.timeouts;
        let timeouts = LinearTimeouts {
            propose,
            propose_delta: propose / 2,
            prevote: vote,
            prevote_delta: vote / 2,
            precommit: vote,
            precommit_delta: vote / 2,
            rebroadcast: propose + vote,
            ..LinearTimeouts::default()
        };
        HeightParams::new(self.set.clone(), timeouts, None)
            .with_vote_extension_policy(VoteExtensionPolicy::Disabled)
    }

    /// A block was decided.
    fn advance(&mut self) {
        (self.head, self.is_first) = (self.application.head(), false);
        self.set = ValidatorSet::new(self.application.validators());
        let head = self.head;
        self.streams.prune(head);
        self.echo.retain(&self.set);
        for blocks in self.early.values_mut() {
            blocks.retain(|whole| whole.start.height.0 > head.0);
        }
    }

    async fn publish_block(&mut self, channels: &Channels<Context>, start: Start, bytes: &[u8]) {
        if self.is_alone() {
            return;
        }
        let name = self.stream_name();
        for (sequence, part) in (0_u64..).zip(split(start, bytes)) {
            send(
                channels,
                StreamMessage::new(StreamId::new(name.clone()), sequence, StreamContent::Data(part)),
            )
            .await;
        }
    }

    async fn publish(&mut self, channels: &Channels<Context>, part: Part) {
        if !self.is_alone() {
            let name = self.stream_name();
            send(channels, StreamMessage::new(StreamId::new(name), 0, StreamContent::Data(part))).await;
        }
    }

    /// A name for a stream that no other one of this run has; the time tells runs apart.
    fn stream_name(&mut self) -> Bytes {
        self.sent = self.sent.wrapping_add(1);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        [now.as_nanos().to_be_bytes().as_slice(), &self.sent.to_be_bytes()].concat().into()
    }

    async fn tick(&mut self, channels: &Channels<Context>) -> Result<(), Error> {
        if self.is_alone() {
            return Ok(());
        }
        self.ticks = self.ticks.wrapping_add(1);
        let waits = matches!(self.held, Some(Held { reply: Reply::First(..), .. }));
        let due = self.ticks.is_multiple_of(TICKS_A_STATUS);
        if due || waits {
            self.connections.look(channels).await;
            let (connections, heads) = (&self.connections, &mut self.heads);
            heads.retain(|key, _| connections.contains(key));
            let log = |key| (key, heads.get(&key).copied().unwrap_or_default());
            let peers = connections.keys().copied().map(log).collect();
            self.status.send_if_modified(|status| {
                let changed = status.peers != peers;
                status.peers = peers;
                changed
            });
        }
        if due {
            let now = Instant::now();
            for key in self.application.blamed() {
                self.bans.blame(key, "gossip that no validator passes on", now);
            }
            let known = self.application.known();
            self.bans.retain(|key| known.contains(key) || self.connections.is_configured(key));
            let connected = |key: &PublicKey| *key == self.own || self.connections.contains(key);
            let decides =
                |gone: &BTreeSet<_>| self.set.is_quorum(|key| connected(key) && !gone.contains(key));
            let banned = self.bans.dispensable(now, decides);
            self.connections.allow(known, &self.own, &banned, channels).await;
            self.connections.renew(channels).await;
            self.status.send_if_modified(|status| {
                let banned = self.bans.banned(now).collect();
                std::mem::replace(&mut status.banned, banned) != status.banned
            });
        }
        if due || waits {
            let earliest = self.blocking(|app| app.earliest()).await?;
            let votes = self.echo.votes();
            let head = Part::Head { head: self.head.into(), earliest: earliest.into(), votes };
            self.publish(channels, head).await;
        }
        self.consider();
        Ok(())
    }

    fn signing_state(&self) -> MutexGuard<'_, SigningState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more than two thirds of the power are connected, this validator included.
    fn has_peers(&self) -> bool {
        self.set.is_quorum(|key| *key == self.own || self.connections.contains(key))
    }

    fn is_alone(&self) -> bool {
        self.set.len() == 1 && self.set.contains(&self.own)
    }

    /// Runs what blocks away from the threads that serve the network.
    fn blocking<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&dyn Application) -> Result<T, Fault> + Send + 'static,
    {
        let application = Arc::clone(&self.application);
        async move {
            let work = tokio::task::spawn_blocking(move || work(application.as_ref()));
            work.await?.map_err(Error::Application)
        }
    }
}

/// Resolves when the node stops, or when its handle is gone.
async fn stopping(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Resolves when the application wants the held height.
async fn wanted(held: &mut Option<Held>) {
    match held {
        Some(held) => held.wanted.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn send(channels: &Channels<Context>, message: StreamMessage<Part>) {
    // An error means that the engine has stopped, which the next message says too.
    let _ = channels.network.send(NetworkMsg::PublishProposalPart(message)).await;
}

/// An engine that no longer waits for an answer has stopped, which the next message says too.
fn answered<T>(sent: Result<(), T>) {
    if sent.is_err() {
        tracing::debug!("the engine did not wait for an answer");
    }
}

fn length(bytes: &[u8]) -> u32 {
    // A block is bounded far below 4 GiB.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn height_of(message: &SignedConsensusMsg<Context>) -> ChainHeight {
    match message {
        SignedConsensusMsg::Vote(vote) => vote.message.height().into(),
        SignedConsensusMsg::Proposal(proposal) => proposal.message.height().into(),
    }
}

/// Decided blocks for a node that catches up, as many as one answer may hold.
fn decided(
    application: &dyn Application,
    first: u64,
    last: u64,
) -> Result<Vec<RawDecidedValue<Context>>, Fault> {
    let (mut values, mut bytes) = (Vec::new(), 0_usize);
    for height in first..=last {
        let Some((block, certificate)) = application.decided(ChainHeight(height))? else { break };
        bytes = bytes.saturating_add(block.len());
        if !values.is_empty() && bytes > assay_proto::limits::BLOCK_BYTES {
            break;
        }
        values.push(RawDecidedValue::new(block.into(), extended(&certificate)));
    }
    Ok(values)
}
