//! The ledger as the consensus engine asks for it, and what validators tell each other beside blocks.
//!
//! A block is wanted when transactions wait that may apply (after `gather`, so that they share one, unless `ENOUGH` wait),
//! and, once per
//! `block_interval`, when the running epoch has work and must come to its end. No other empty block is made for its own
//! sake.
//!
//! A block is voted for if the rules of the ledger hold and its time is not more than [`DRIFT_MS`] ahead of this node's
//! clock: honest clocks that differ by less agree, and one that is further off delays its own turns only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::block::{Block, CommitCertificate};
use assay_proto::transaction::Transaction;
use assay_proto::vote::Equivocation;
use assay_proto::{
    BlockHash, Canonical, Envelope, Height, ProtoError, PublicKey, Signed, transactions, wire,
};
use assay_validator_bft::{Application as Agreed, Fault, PeerLog, Proposed, Status, Verdict};
use assay_verifier::operating::key_of;
use assay_verifier::state::State;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::application::Application;
use crate::clock;
use crate::config::EngineConfig;
use crate::error::Error;
use crate::stop::{Stopped, stopping};
use crate::sync;

/// How far ahead of this node's clock a block's time may be.
pub const DRIFT_MS: u64 = 600_000;
/// Gossip of other validators that waits to be read.
const HEARD: usize = 4_096;
/// Transactions with which a block waits for no more: each costs more than its share of what a block costs.
const ENOUGH: usize = 64;
/// Time after which a transaction that has not ended is told again, and then after twice as long each time.
const TELL_AGAIN: Duration = Duration::from_secs(3);
/// Time in which transactions gather that are told together.
const TELL_GATHER: Duration = Duration::from_millis(5);
/// Bytes of transactions that are told together; one that is larger is told alone.
const GOSSIP_BYTES: usize = 256 << 10;

/// A message of another validator.
pub type Heard = (PublicKey, Vec<u8>);

/// The application under the engine.
#[derive(Debug)]
pub struct Ledger {
    application: Arc<Application>,
    config: EngineConfig,
    heard: mpsc::Sender<Heard>,
}

impl Ledger {
    /// The ledger, and what its peers tell.
    pub fn new(application: Arc<Application>, config: EngineConfig) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, messages) = mpsc::channel(HEARD);
        (Self { application, config, heard }, messages)
    }

    fn next(&self) -> Height {
        self.application.state().head().height.next()
    }
}

#[tonic::async_trait]
impl Agreed for Ledger {
    fn head(&self) -> Height {
        self.application.state().head().height
    }

    fn validators(&self) -> Vec<(PublicKey, u64)> {
        self.application.state().voters().iter().collect()
    }

    fn known(&self) -> Vec<PublicKey> {
        let state = self.application.state();
        let owners = state.validators().iter().map(|(key, _)| key);
        let owners = owners.chain(state.stake_power().next.keys().copied());
        let next = state.head().height.next();
        // With the key that votes for each, the one that is about to.
        let keys = owners.flat_map(|owner| {
            let latest = state.operated(&owner).map(|operated| operated.latest);
            [key_of(&state, &owner, next)].into_iter().chain(latest)
        });
        keys.collect()
    }

    fn propose(&self, round: u32) -> Result<Proposed, Fault> {
        let block = match self.application.store().own_proposal(self.next(), round)? {
            Some(block) => block,
            None => {
                let prepared = self.application.take_prepared();
                let block = prepared.map_or_else(|| self.application.propose(clock::unix_ms()), Ok)?;
                self.application.store().keep_undecided(&block, Some(round))?;
                block
            }
        };
        Ok(Proposed { hash: block.header.hash(), bytes: block.encode() })
    }

    fn validate(&self, bytes: &[u8], live: bool) -> Result<Verdict, Fault> {
        let block = match Block::decode(bytes) {
            Ok(block) if transactions::root(&block.transactions) == block.header.transactions_root => block,
            Ok(_) | Err(_) => return Ok(Verdict::NoBlock),
        };
        let (hash, time) = (block.header.hash(), block.header.time_ms);
        let now = clock::unix_ms();
        if live && time > now.saturating_add(DRIFT_MS) {
            tracing::warn!(%hash, time, now, "a block from the future");
            return Ok(Verdict::Invalid(hash));
        }
        match self.application.validate(&block) {
            Ok(hash) => {
                self.application.store().keep_undecided(&block, None)?;
                Ok(Verdict::Valid(hash))
            }
            Err(rejection) => {
                let reason = assay_verifier::describe(&rejection);
                tracing::warn!(proposer = %block.header.proposer, %hash, reason, "block refused");
                Ok(Verdict::Invalid(hash))
            }
        }
    }

    fn undecided(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.application.store().undecided(self.next(), hash)?.map(|block| block.encode()))
    }

    fn decide(&self, certificate: CommitCertificate) -> Result<(), Fault> {
        let (round, signatures) = (certificate.precommit.round, certificate.signatures.len());
        let height = self.application.decide(certificate)?;
        tracing::info!(%height, round, signatures, "block decided");
        Ok(())
    }

    fn decided(&self, height: Height) -> Result<Option<(Vec<u8>, CommitCertificate)>, Fault> {
        let block = self.application.store().block(height)?;
        Ok(block.map(|committed| (committed.block.encode(), committed.certificate)))
    }

    fn earliest(&self) -> Result<Height, Fault> {
        Ok(self.application.store().earliest())
    }

    fn accuse(&self, evidence: Equivocation) -> Result<(), Fault> {
        if let Err(error) = self.application.accuse(evidence) {
            tracing::error!(error = %assay_verifier::describe(&error), "an equivocation is not reported");
        }
        Ok(())
    }

    fn blamed(&self) -> Vec<PublicKey> {
        self.application.take_blamed()
    }

    fn hear(&self, from: PublicKey, message: Vec<u8>) {
        // What is lost here is told again.
        if self.heard.try_send((from, message)).is_err() {
            tracing::debug!(%from, "gossip is dropped: too much waits");
        }
    }

    async fn wanted(&self) {
        let mempool = self.application.mempool();
        let due = Instant::now() + self.config.block_interval();
        loop {
            if mempool.is_empty() {
                tokio::select! {
                    () = mempool.arrived() => {}
                    () = sleep_until(due), if self.application.has_work() => return,
                }
            }
            if mempool.len() < ENOUGH {
                sleep(self.config.gather()).await;
                // A transaction that was decided before anybody waited for it has left its notice.
                if mempool.is_empty() {
                    continue;
                }
            }
            let application = Arc::clone(&self.application);
            let prepared = tokio::task::spawn_blocking(move || application.prepare(clock::unix_ms())).await;
            match prepared {
                Ok(Ok(false)) if Instant::now() < due || !self.application.has_work() => {}
                Ok(Ok(_)) => return,
                Ok(Err(error)) => {
                    tracing::error!(error = %assay_verifier::describe(&error), "no block can be made");
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "making a block ended abnormally");
                    return;
                }
            }
        }
    }
}

/// Reads what other validators tell, until the engine is gone.
pub(crate) async fn listen(application: Arc<Application>, mut messages: mpsc::Receiver<Heard>) {
    while let Some((from, message)) = messages.recv().await {
        let hears = Arc::clone(&application);
        let heard = tokio::task::spawn_blocking(move || Ok::<_, Error>(hears.hear(&unpacked(&message)?)));
        match heard.await {
            Ok(Ok(refused)) => {
                for error in refused {
                    tracing::debug!(%from, error = %assay_verifier::describe(&error), "gossip is not taken in");
                    // Rules differ by what a node knows of the chain; encodings and signatures do not.
                    if matches!(error, Error::Proto(_)) {
                        application.blame(from);
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "gossip is not understood");
                application.blame(from);
            }
            Err(error) => tracing::error!(%error, "reading gossip ended abnormally"),
        }
    }
}

/// Tells the other validators what was submitted here, until the node stops.
pub(crate) async fn tell(application: Arc<Application>, gossip: mpsc::Sender<Vec<u8>>, stopped: Stopped) {
    loop {
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            // An elapsed time is a reason too: to tell again.
            untold = timeout(TELL_AGAIN / 3, application.mempool().untold()) => {
                if untold.is_ok() {
                    sleep(TELL_GATHER).await;
                }
            }
        }
        for message in packed(&application.mempool().tell(TELL_AGAIN)) {
            if gossip.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// Transactions in messages, each behind its length.
fn packed(transactions: &[Arc<Signed<Transaction>>]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for transaction in transactions {
        let bytes = wire::Signed::from(transaction.envelope()).encode_length_delimited_to_vec();
        match messages.last_mut() {
            Some(last) if last.len().saturating_add(bytes.len()) <= GOSSIP_BYTES => last.extend(bytes),
            Some(_) | None => messages.push(bytes),
        }
    }
    messages
}

/// The transactions of a message.
fn unpacked(mut message: &[u8]) -> Result<Vec<Envelope>, ProtoError> {
    let mut transactions = Vec::new();
    while !message.is_empty() {
        let malformed = |source| ProtoError::Decode { what: "what a validator tells", source };
        let transaction = wire::Signed::decode_length_delimited(&mut message).map_err(malformed)?;
        transactions.push(Envelope::try_from(transaction)?);
    }
    Ok(transactions)
}

/// Says whether this node is where the others are: more than two thirds of the power are connected, itself included, and
/// nobody is more than a block ahead. A node that cannot get there by blocks logs what there is to do.
pub(crate) async fn readiness(
    application: Arc<Application>,
    data_dir: PathBuf,
    mut status: watch::Receiver<Status>,
    ready: watch::Sender<bool>,
    stopped: Stopped,
) {
    let mut head = application.follow();
    let mut was_stranded = false;
    loop {
        let height = head.borrow().head().height;
        let stranded = status.borrow().is_stranded(height);
        if stranded && !was_stranded {
            tracing::error!("{}", sync::advice(&data_dir, height));
        }
        was_stranded = stranded;
        let now = is_ready(&head.borrow_and_update(), &status.borrow_and_update(), &application.public_key());
        let changed = ready.send_if_modified(|ready| std::mem::replace(ready, now) != now);
        if changed {
            tracing::info!(ready = now, "readiness");
        }
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether this node is where the others are. Of a peer that is connected and has not said yet what it has, nothing is known.
pub(crate) fn is_ready(state: &State, status: &Status, own: &PublicKey) -> bool {
    let validators = state.voters();
    let here = |key: &PublicKey| key == own || status.peers.get(key).is_some_and(PeerLog::is_known);
    let power = validators
        .iter()
        .filter(|(key, _)| here(key))
        .fold(0, |sum: u64, (_, power)| sum.saturating_add(power));
    let greatest = status.peers.values().map(|log| log.head).max().unwrap_or_default();
    validators.is_quorum(power) && greatest <= state.head().height.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proto::genesis::{Genesis, GenesisValidator, Parameters};
    use assay_proto::transaction::{Body, ProofSystem, RegisterModel};
    use assay_proto::{ChainId, ModelId, SecretKey};

    #[test]
    fn transactions_are_told_together_up_to_a_size_and_read_back_in_their_order() {
        let (chain, key) = (ChainId::new("test-gossip").expect("chain id"), SecretKey::from_bytes(&[1; 32]));
        let sign = |nonce, bytes: usize| {
            let body = Body::RegisterModel(RegisterModel {
                model_id: ModelId([1; 32]),
                name: "m".to_owned(),
                verifying_key: vec![7; bytes],
                proof_system: ProofSystem::Groth16,
                subnet: assay_proto::SubnetId::ROOT,
            });
            Arc::new(key.sign(&chain, Transaction { nonce, body }))
        };
        let sizes = [10, 20, GOSSIP_BYTES, 30, GOSSIP_BYTES / 2, GOSSIP_BYTES / 2];
        let transactions: Vec<_> = (1..).zip(sizes).map(|(nonce, bytes)| sign(nonce, bytes)).collect();
        let messages = packed(&transactions);
        let read: Vec<Vec<Envelope>> = messages.iter().map(|m| unpacked(m).expect("whole")).collect();
        assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1]);
        let told: Vec<Envelope> = transactions.iter().map(|signed| signed.envelope().clone()).collect();
        assert_eq!(read.concat(), told);
        assert!(unpacked(&messages[0][..messages[0].len() - 1]).is_err());
        assert_eq!(unpacked(&[]), Ok(Vec::new()));
    }

    #[test]
    fn peers_that_have_not_said_what_they_have_make_nobody_ready() {
        let key = |n: u8| PublicKey([n; 32]);
        let validators = (0..4).map(|n| GenesisValidator { public_key: key(n), power: 1 }).collect();
        let chain_id = ChainId::new("test-readiness").expect("chain id");
        let parameters = Parameters::default();
        let genesis = Genesis {
            chain_id,
            time_ms: 0,
            validators,
            accounts: Vec::new(),
            parameters,
            classes: Vec::new(),
        };
        let state = State::genesis(genesis).expect("a genesis");
        let ready = |logs: &[PeerLog]| {
            let peers = (1..).map(key).zip(logs.iter().copied()).collect();
            is_ready(&state, &Status { peers, ..Status::default() }, &key(0))
        };
        let known = |head| PeerLog { head: Height(head), earliest: Height(1) };
        let silent = PeerLog::default();
        assert!(ready(&[known(0), known(1)]));
        assert!(ready(&[known(0), known(1), silent]));
        assert!(!ready(&[known(0), silent, silent]));
        assert!(!ready(&[known(0), known(0), known(2)]));
    }
}
