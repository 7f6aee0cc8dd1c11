//! The seam to a consensus engine.
//!
//! ```text
//! propose   a block of what waits, on top of the last decided one
//! validate  a proposed block, by `verifier::transition::apply`; remembers what it does
//! decide    a validated block with a certificate of more than two thirds of the power: make it durable, publish the
//!           state after it, tell whoever waits
//! ```
//!
//! An engine asks in this order, any number of proposals a height and one decision; how validators come to agree is
//! the engine's business, what a block means is not. Calls block: proofs are verified and disks are synced.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use assay_proto::block::{Block, CommitCertificate, CommittedBlock};
use assay_proto::receipt::Receipt;
use assay_proto::scores::RevealScores;
use assay_proto::signing::{Held, Payload};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::vote::Equivocation;
use assay_proto::{
    BlockHash, ChainId, Envelope, Epoch, Height, JobId, PublicKey, SecretKey, Signed, SubnetId,
};
use assay_verifier::propose::{Proposal, propose};
use assay_verifier::state::{KeyCache, State};
use assay_verifier::transition::{Candidate, Transition, apply};
use assay_verifier::{Reason, Rejection, certificate, describe, operating};
use tokio::sync::watch;

use crate::config::StoreConfig;
use crate::error::Error;
use crate::mempool::{Mempool, Outcome, Stale, Wait};
use crate::metrics::Metrics;
use crate::retention::{Snapshots, earliest_kept};
use crate::store::{Decision, Store};

/// Faults of others that wait to be asked for.
const BLAMED: usize = 1024;
/// Validated proposals of one height that are remembered; rounds beyond them are validated again when decided.
const PROPOSALS: usize = 16;

/// The ledger of this node: its database, its head, and what waits for a block.
#[derive(Debug)]
pub struct Application {
    key: SecretKey,
    store: Store,
    keys: KeyCache,
    mempool: Mempool,
    head: watch::Sender<Arc<State>>,
    validated: Mutex<BTreeMap<BlockHash, Validated>>,
    /// Made ahead, when it was asked whether there is anything to propose.
    prepared: Mutex<Option<Block>>,
    /// Held while transactions are judged: what two judge at once, both pay for.
    judging: Mutex<()>,
    accused: Mutex<BTreeSet<PublicKey>>,
    blamed: Mutex<Vec<PublicKey>>,
    keeping: StoreConfig,
    snapshots: Snapshots,
    metrics: Metrics,
}

#[derive(Debug)]
struct Validated {
    block: Block,
    transition: Transition,
}

impl Application {
    /// The application on top of an opened store and its state, which keeps all of the log.
    pub fn new(key: SecretKey, store: Store, state: State, mempool: Mempool) -> Result<Self, Error> {
        let (state, keeping) = (Arc::new(state), StoreConfig::default());
        Ok(Self {
            key,
            store,
            keys: KeyCache::new(),
            mempool,
            snapshots: Snapshots::new(&keeping, Arc::clone(&state)),
            keeping,
            head: watch::Sender::new(state),
            validated: Mutex::default(),
            prepared: Mutex::default(),
            judging: Mutex::default(),
            accused: Mutex::default(),
            blamed: Mutex::default(),
            metrics: Metrics::new()?,
        })
    }

    /// The same with other settings of what is kept.
    #[must_use]
    pub fn keeping(mut self, config: StoreConfig) -> Self {
        self.snapshots = Snapshots::new(&config, self.state());
        self.keeping = config;
        self
    }

    /// The next block of what waits, proposed by this validator. What may be in no block is dropped.
    #[tracing::instrument(skip_all, fields(height = %self.state().head().height.next()))]
    pub fn propose(&self, time_ms: u64) -> Result<Block, Rejection> {
        let state = self.state();
        let candidates = self.mempool.candidates();
        // They were opened when they came.
        let opened: Vec<_> = candidates.iter().map(|signed| Candidate::Opened(signed)).collect();
        let judging = self.judging();
        let proposal = propose(&state, self.public_key(), time_ms, &opened, &self.keys)?;
        drop(judging);
        let Proposal { block, transition, dropped, .. } = proposal;
        for dropped in dropped {
            if let Some(transaction) = candidates.get(dropped.index) {
                self.drop_transaction(transaction, &dropped.reason);
            }
        }
        self.remember(block.clone(), transition);
        Ok(block)
    }

    /// Makes the next block ahead of its proposal, which drops what may be in none; whether it has transactions.
    pub fn prepare(&self, time_ms: u64) -> Result<bool, Rejection> {
        let block = self.propose(time_ms)?;
        let wanted = !block.transactions.is_empty();
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(block);
        Ok(wanted)
    }

    /// The block that was made ahead, if it is still the next one.
    pub fn take_prepared(&self) -> Option<Block> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        prepared.filter(|block| block.header.parent == self.state().head().hash)
    }

    /// Whether a block may be decided on top of the last one. The hash names it from then on.
    #[tracing::instrument(skip_all, fields(height = %block.header.height, transactions = block.transactions.len()))]
    pub fn validate(&self, block: &Block) -> Result<BlockHash, Rejection> {
        let hash = block.header.hash();
        if self.validated().get(&hash).is_some_and(|known| known.block == *block) {
            return Ok(hash);
        }
        let began = Instant::now();
        let judging = self.judging();
        let applied = apply(&self.state(), block, &self.keys);
        drop(judging);
        self.metrics.checked(began.elapsed(), applied.is_ok());
        self.remember(block.clone(), applied?);
        Ok(hash)
    }

    /// Makes a validated block the head. When this returns, the block is durable.
    #[tracing::instrument(skip_all, fields(height = %certificate.precommit.height))]
    pub fn decide(&self, certificate: CommitCertificate) -> Result<Height, Error> {
        let hash = certificate.precommit.block_hash;
        let state = self.state();
        let height = state.head().height.next();
        let mut validated = self.validated();
        if let Entry::Vacant(unknown) = validated.entry(hash) {
            // Validated before this program was started again, or long ago.
            let block = self.store.undecided(height, &hash)?.ok_or(Error::UnknownBlock(hash))?;
            let transition = apply(&state, &block, &self.keys)?;
            unknown.insert(Validated { block, transition });
        }
        let known = validated.get(&hash).ok_or(Error::UnknownBlock(hash))?;
        certificate::verify(state.chain_id(), state.voters(), &certificate, &known.block.header)
            .map_err(|reason| Rejection { height, index: None, reason: Box::new(reason) })?;
        let known = validated.remove(&hash).ok_or(Error::UnknownBlock(hash))?;
        let Validated { block, transition } = known;
        let block = CommittedBlock { block, certificate };
        self.store.commit(Decision { block: &block, transition: &transition })?;
        validated.clear();
        drop(validated);
        self.metrics.decided(&block, &transition.receipts, state.head().time_ms);
        let state = Arc::new(transition.state);
        self.snapshots.note(&state);
        self.keys.forget_used(&state);
        self.head.send_replace(state);
        self.settle(height, &block.block);
        Ok(height)
    }

    /// Deletes some of the blocks that are no longer kept; whether some are left.
    pub fn prune(&self) -> Result<bool, Error> {
        let state = self.state();
        match earliest_kept(&self.keeping, &state) {
            Some(earliest) => self.store.prune(state.chain_id(), earliest),
            None => Ok(false),
        }
    }

    /// A decided block, or why it is not here.
    pub fn block(&self, height: Height) -> Result<CommittedBlock, Error> {
        self.store.block(height)?.ok_or_else(|| self.absent(height))
    }

    /// A decided block as it is stored, or why it is not here.
    pub fn block_bytes(&self, height: Height) -> Result<Vec<u8>, Error> {
        self.store.block_bytes(height)?.ok_or_else(|| self.absent(height))
    }

    fn absent(&self, height: Height) -> Error {
        let earliest = self.store.earliest();
        // No chain has a block 0.
        if (Height(1)..earliest).contains(&height) {
            Error::Pruned { height, earliest }
        } else {
            Error::NotFound("block")
        }
    }

    /// States that are offered to those who do not begin with the first block, ascending.
    pub fn snapshots(&self) -> Vec<Arc<State>> {
        self.snapshots.all()
    }

    /// Whether there is a reason for a block that has no transactions: it brings the end of an epoch nearer in which
    /// work was done.
    pub fn has_work(&self) -> bool {
        self.state().has_work()
    }

    /// Takes a transaction in.
    pub fn submit(&self, transaction: &Envelope) -> Result<Wait, Error> {
        let state = self.state();
        let transaction: Signed<Transaction> = transaction.open(state.chain_id())?;
        let last = state.account(&transaction.signer()).nonce;
        self.mempool.submit(transaction, last)
    }

    /// Takes in transactions that another validator tells of; why some are not taken.
    pub fn hear(&self, transactions: &[Envelope]) -> Vec<Error> {
        let state = self.state();
        let named: Vec<_> = transactions.iter().map(|envelope| (Transaction::KIND, envelope)).collect();
        let held = Held::of(state.chain_id(), &named);
        let take = |envelope: &Envelope| {
            let transaction: Signed<Transaction> = envelope.open_held(state.chain_id(), &held)?;
            let signer = transaction.signer();
            let last = state.account(&signer).nonce;
            self.mempool.hear(transaction, last, operating::speaks_for_validator(&state, &signer))
        };
        transactions.iter().filter_map(|envelope| take(envelope).err()).collect()
    }

    /// Notes that a validator gossiped what none passes on.
    pub fn blame(&self, validator: PublicKey) {
        let mut blamed = self.blamed.lock().unwrap_or_else(PoisonError::into_inner);
        if blamed.len() < BLAMED {
            blamed.push(validator);
        }
    }

    /// Who gossiped what none passes on, once each time, since this was asked last.
    pub fn take_blamed(&self) -> Vec<PublicKey> {
        std::mem::take(&mut *self.blamed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the proof that a validator signed what it may not to the ledger, once for each validator.
    pub fn accuse(&self, evidence: Equivocation) -> Result<(), Error> {
        let state = self.state();
        let offence = evidence.open(state.chain_id())?;
        let owner = operating::owner_of(&state, &offence.validator);
        let known = state.offenders().any(|(key, _)| *key == owner);
        let fresh = || self.accused.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
        if known || !fresh() {
            return Ok(());
        }
        self.metrics.equivocated();
        tracing::error!(validator = %owner, key = %offence.validator, height = %offence.height, round = offence.round, "a validator equivocated");
        let last = state.account(&self.public_key()).nonce;
        self.mempool.submit_own(last, |nonce| {
            self.key.sign(state.chain_id(), Transaction { nonce, body: Body::Equivocation(evidence) })
        })?;
        Ok(())
    }

    /// Signs a receipt of this validator and takes it in. It survives a crash from here on: it is submitted again
    /// after a restart until it is in a block or can be in none.
    pub fn log_receipt(&self, job: &JobId, receipt: Receipt) -> Result<Wait, Error> {
        self.store.keep_receipt(job, &receipt)?;
        self.submit_receipt(receipt)
    }

    /// Takes a kept receipt in again after a restart.
    pub fn submit_receipt(&self, receipt: Receipt) -> Result<Wait, Error> {
        let state = self.state();
        let last = state.account(&self.public_key()).nonce;
        self.mempool.submit_own(last, |nonce| {
            self.key.sign(state.chain_id(), Transaction { nonce, body: Body::Receipt(Box::new(receipt)) })
        })
    }

    /// Signs a transaction of this validator and takes it in.
    pub fn say(&self, body: Body) -> Result<Wait, Error> {
        let state = self.state();
        let last = state.account(&self.public_key()).nonce;
        self.mempool.submit_own(last, |nonce| self.key.sign(state.chain_id(), Transaction { nonce, body }))
    }

    /// Signs a message of this validator's.
    pub fn sign<T: Payload>(&self, value: T) -> Signed<T> {
        self.key.sign(&self.chain_id(), value)
    }

    /// The salt of this validator's scores of a subnet and an epoch.
    pub fn salt(&self, subnet: SubnetId, epoch: Epoch) -> [u8; 32] {
        RevealScores::salt(&self.key, &self.chain_id(), subnet, epoch)
    }

    /// The state after the last decided block.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.head.borrow())
    }

    /// Follows the head.
    pub fn follow(&self) -> watch::Receiver<Arc<State>> {
        self.head.subscribe()
    }

    /// Name of the chain.
    pub fn chain_id(&self) -> ChainId {
        self.head.borrow().chain_id().clone()
    }

    /// The key that this node signs with.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// This validator on the ledger: the owner that the node's key signs for, or else the key itself.
    pub fn validator(&self) -> PublicKey {
        operating::owner_of(&self.head.borrow(), &self.key.public_key())
    }

    /// Decoded verifying keys.
    pub fn keys(&self) -> &KeyCache {
        &self.keys
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Counters of this node.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What waits for a block.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    fn remember(&self, block: Block, transition: Transition) {
        let mut validated = self.validated();
        while validated.len() >= PROPOSALS {
            validated.pop_first();
        }
        validated.insert(block.header.hash(), Validated { block, transition });
    }

    fn settle(&self, height: Height, block: &Block) {
        let mut signers = BTreeSet::new();
        for (index, envelope) in (0u32..).zip(&block.transactions) {
            // What is in a valid block was opened by the verifier; this reads its nonce only.
            let Ok(transaction) = <Transaction as assay_proto::Canonical>::decode(&envelope.payload) else {
                continue;
            };
            let outcome = Outcome::Committed { height, index };
            self.mempool.settle_committed(envelope, transaction.nonce, &outcome);
            signers.insert(envelope.signer);
        }
        for signer in signers {
            let last = self.state().account(&signer).nonce;
            for stale in self.mempool.take_stale(&signer, last) {
                self.end_stale(stale);
            }
        }
    }

    /// A transaction whose nonce has passed without it. What this validator has to say it says under another nonce; what
    /// others signed can be in no block.
    fn end_stale(&self, stale: Stale) {
        let Stale { transaction, waiters } = stale;
        let signer = transaction.signer();
        self.forget(&transaction);
        if signer != self.public_key() {
            let last = self.state().account(&signer).nonce;
            let reason = Error::NonceUsed { signer, last, got: transaction.value().nonce }.to_string();
            for waiter in waiters {
                // A waiter that has gone needs no answer.
                let _ = waiter.send(Outcome::Dropped { reason: reason.clone() });
            }
            return;
        }
        let (state, body) = (self.state(), transaction.value().body.clone());
        let sign = |nonce| self.key.sign(state.chain_id(), Transaction { nonce, body });
        if let Err(error) = self.mempool.submit_own_for(state.account(&signer).nonce, waiters, sign) {
            tracing::error!(%error, "an own transaction is not submitted again");
        }
    }

    /// What was found out about a transaction that can be in no block.
    fn forget(&self, transaction: &Signed<Transaction>) {
        self.keys.forget(&self.chain_id(), transaction.envelope());
    }

    fn drop_transaction(&self, transaction: &Signed<Transaction>, reason: &Reason) {
        let (signer, nonce, own) = (transaction.signer(), transaction.value().nonce, self.public_key());
        if let (true, Reason::Nonce { .. }) = (signer == own, reason) {
            if let Some(stale) = self.mempool.take(&signer, nonce) {
                self.end_stale(stale);
            }
            return;
        }
        self.forget(transaction);
        let reason = describe(reason);
        tracing::info!(%signer, nonce, reason, "transaction dropped");
        if signer == own
            && let Body::Receipt(receipt) = &transaction.value().body
        {
            let evidence = &receipt.evidence;
            let job = JobId::derive(&self.chain_id(), &evidence.job.signer, &evidence.job.payload);
            if let Err(error) = self.store.forget_receipt(&job, &evidence.miner) {
                // It stays in the outbox and is tried again after a restart, which harms nobody.
                tracing::error!(%job, %error, "a dropped receipt is still kept");
            }
        }
        self.mempool.settle(&signer, nonce, &Outcome::Dropped { reason });
    }

    /// Insertions and removals leave the map whole, so a poisoned lock is still good.
    fn judging(&self) -> MutexGuard<'_, ()> {
        self.judging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn validated(&self) -> MutexGuard<'_, BTreeMap<BlockHash, Validated>> {
        self.validated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
