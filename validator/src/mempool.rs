//! Transactions that wait for a block.
//!
//! ```text
//! one transaction per (signer, nonce); the same bytes again join the wait, other bytes are refused
//! order: arrival, but within one signer by nonce, since the ledger takes a signer's nonces in ascending order
//! room : transactions and bytes in all, and transactions per signer; this validator's own are always taken,
//!        their number is bounded by the jobs in progress
//! ```
//!
//! Whoever submits is told how it ended: in which block and where, or why it was dropped.
//!
//! What was submitted here is told to the other validators, and told again until it ended; what they tell is taken in
//! under the same bounds, but that a validator's own transactions may fill the pool, as its jobs bound them there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use assay_proto::transaction::Transaction;
use assay_proto::{Envelope, Height, PublicKey, Signed, limits};
use tokio::sync::{Notify, oneshot};

use crate::config::MempoolConfig;
use crate::error::Error;

/// Callers that may wait for one transaction.
const WAITERS: usize = 16;

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in a decided block.
    Committed {
        /// Height of the block.
        height: Height,
        /// Place in the block.
        index: u32,
    },
    /// It can be in no block.
    Dropped {
        /// Why.
        reason: String,
    },
}

/// The end of a transaction, to be awaited; an error means that the node stopped first.
pub type Wait = oneshot::Receiver<Outcome>;

/// Bounded room for transactions.
#[derive(Debug)]
pub struct Mempool {
    config: MempoolConfig,
    own: PublicKey,
    pool: Mutex<Pool>,
    arrived: Notify,
    untold: Notify,
}

/// A transaction that can be in no block any more, and who waits for it.
#[derive(Debug)]
pub struct Stale {
    /// The transaction.
    pub transaction: Arc<Signed<Transaction>>,
    /// To be told how it ends.
    pub waiters: Waiters,
}

/// Callers that wait for one transaction.
pub type Waiters = Vec<oneshot::Sender<Outcome>>;

#[derive(Debug, Default)]
struct Pool {
    signers: BTreeMap<PublicKey, BTreeMap<u64, Entry>>,
    arrivals: BTreeMap<u64, PublicKey>,
    next_arrival: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    transaction: Arc<Signed<Transaction>>,
    bytes: usize,
    arrival: u64,
    waiters: Waiters,
    telling: Telling,
}

/// Whether the other validators hear of a transaction from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    /// It came from them.
    Heard,
    /// Not yet.
    Untold,
    /// They did, then; they do again after this time.
    Told(Instant, Duration),
}

impl Mempool {
    /// An empty pool; `own` is this validator's key.
    pub fn new(config: MempoolConfig, own: PublicKey) -> Self {
        Self { config, own, pool: Mutex::default(), arrived: Notify::new(), untold: Notify::new() }
    }

    /// Takes a transaction in. `last` is its signer's last nonce on the ledger.
    pub fn submit(&self, transaction: Signed<Transaction>, last: u64) -> Result<Wait, Error> {
        let (signer, nonce) = (transaction.signer(), transaction.value().nonce);
        if nonce <= last {
            return Err(Error::NonceUsed { signer, last, got: nonce });
        }
        let bytes = transaction.envelope().encoded_len();
        let mut pool = self.lock();
        if let Some(entry) = pool.entry(&signer, nonce) {
            if entry.transaction.envelope() != transaction.envelope() {
                return Err(Error::NonceTaken { signer, nonce });
            }
            entry.waiters.retain(|waiter| !waiter.is_closed());
            return match entry.waiters.len() {
                WAITERS.. => Err(Error::Busy { what: "callers of one transaction", limit: WAITERS }),
                _ => Ok(entry.wait()),
            };
        }
        if signer != self.own {
            self.check_room(&pool, &signer, bytes)?;
        }
        let wait = pool.insert(transaction, bytes, Telling::Untold).wait();
        drop(pool);
        self.arrived.notify_one();
        self.untold.notify_one();
        Ok(wait)
    }

    /// Takes in what another validator tells. `last` is its signer's last nonce on the ledger; `is_validator`: the
    /// signer is one.
    pub fn hear(&self, transaction: Signed<Transaction>, last: u64, is_validator: bool) -> Result<(), Error> {
        let (signer, nonce) = (transaction.signer(), transaction.value().nonce);
        if nonce <= last {
            return Err(Error::NonceUsed { signer, last, got: nonce });
        }
        let bytes = transaction.envelope().encoded_len();
        let mut pool = self.lock();
        if let Some(entry) = pool.entry(&signer, nonce) {
            let same = entry.transaction.envelope() == transaction.envelope();
            return if same { Ok(()) } else { Err(Error::NonceTaken { signer, nonce }) };
        }
        self.check_total(&pool, bytes)?;
        if !is_validator {
            self.check_signer(&pool, &signer)?;
        }
        pool.insert(transaction, bytes, Telling::Heard);
        drop(pool);
        self.arrived.notify_one();
        Ok(())
    }

    /// Signs and takes in a transaction of this validator, under the nonce after its last one. `last` is the last
    /// on the ledger; `sign` is called with the lock held, so that nonces and arrival agree.
    pub fn submit_own(
        &self,
        last: u64,
        sign: impl FnOnce(u64) -> Signed<Transaction>,
    ) -> Result<Wait, Error> {
        let (waiter, wait) = oneshot::channel();
        self.submit_own_for(last, vec![waiter], sign)?;
        Ok(wait)
    }

    /// The same, for callers that wait already.
    pub fn submit_own_for(
        &self,
        last: u64,
        waiters: Waiters,
        sign: impl FnOnce(u64) -> Signed<Transaction>,
    ) -> Result<(), Error> {
        let mut pool = self.lock();
        let pending = pool.signers.get(&self.own).and_then(|queue| queue.last_key_value());
        let greatest = pending.map_or(last, |(&nonce, _)| nonce.max(last));
        let nonce = greatest.checked_add(1).ok_or(Error::NonceUsed {
            signer: self.own,
            last: greatest,
            got: greatest,
        })?;
        let transaction = sign(nonce);
        let bytes = transaction.envelope().encoded_len();
        pool.insert(transaction, bytes, Telling::Untold).waiters = waiters;
        drop(pool);
        self.arrived.notify_one();
        self.untold.notify_one();
        Ok(())
    }

    /// What the other validators are to be told now: what they were not told yet, or not within `again`, and then not within
    /// twice as long each time: where blocks are late, telling more makes them later.
    pub fn tell(&self, again: Duration) -> Vec<Arc<Signed<Transaction>>> {
        let (mut pool, now) = (self.lock(), Instant::now());
        let mut telling = Vec::new();
        for entry in pool.signers.values_mut().flat_map(BTreeMap::values_mut) {
            let wait = match entry.telling {
                Telling::Untold => again,
                Telling::Told(then, wait) if now.saturating_duration_since(then) >= wait => {
                    wait.saturating_mul(2)
                }
                Telling::Heard | Telling::Told(..) => continue,
            };
            entry.telling = Telling::Told(now, wait);
            telling.push(Arc::clone(&entry.transaction));
        }
        telling
    }

    /// Resolves when there is something to tell since the last call.
    pub async fn untold(&self) {
        self.untold.notified().await;
    }

    /// Transactions for the next block, in the order of the rule above, no more than a block holds.
    pub fn candidates(&self) -> Vec<Arc<Signed<Transaction>>> {
        let pool = self.lock();
        let mut queues: BTreeMap<&PublicKey, _> =
            pool.signers.iter().map(|(signer, queue)| (signer, queue.values())).collect();
        let mut bytes = 0_usize;
        pool.arrivals
            .values()
            .filter_map(|signer| queues.get_mut(signer).and_then(Iterator::next))
            .take(limits::TRANSACTIONS)
            .take_while(|entry| {
                bytes = bytes.saturating_add(entry.bytes);
                bytes <= limits::BLOCK_BYTES
            })
            .map(|entry| Arc::clone(&entry.transaction))
            .collect()
    }

    /// Ends the wait of a transaction and makes room; nothing if it is not here.
    pub fn settle(&self, signer: &PublicKey, nonce: u64, outcome: &Outcome) {
        let Some(entry) = self.lock().remove(signer, nonce) else { return };
        for waiter in entry.waiters {
            // A waiter that has gone needs no answer.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Ends the wait of a transaction that is in a block. Another one of its signer and nonce is left for
    /// [`Mempool::take_stale`].
    pub fn settle_committed(&self, envelope: &Envelope, nonce: u64, outcome: &Outcome) {
        let mut pool = self.lock();
        let same = |entry: &mut Entry| entry.transaction.envelope() == envelope;
        if !pool.entry(&envelope.signer, nonce).is_some_and(same) {
            return;
        }
        let entry = pool.remove(&envelope.signer, nonce);
        drop(pool);
        for waiter in entry.into_iter().flat_map(|entry| entry.waiters) {
            // A waiter that has gone needs no answer.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Takes out what a signer's last nonce on the ledger has left behind.
    pub fn take_stale(&self, signer: &PublicKey, last: u64) -> Vec<Stale> {
        let mut pool = self.lock();
        let queue = pool.signers.get(signer);
        let nonces: Vec<u64> =
            queue.into_iter().flat_map(|queue| queue.range(..=last)).map(|(&n, _)| n).collect();
        let taken = nonces.into_iter().filter_map(|nonce| pool.remove(signer, nonce));
        taken.map(|Entry { transaction, waiters, .. }| Stale { transaction, waiters }).collect()
    }

    /// Takes one transaction out.
    pub fn take(&self, signer: &PublicKey, nonce: u64) -> Option<Stale> {
        let Entry { transaction, waiters, .. } = self.lock().remove(signer, nonce)?;
        Some(Stale { transaction, waiters })
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().arrivals.is_empty()
    }

    /// Bytes of the transactions that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Transactions that wait.
    pub fn len(&self) -> usize {
        self.lock().arrivals.len()
    }

    /// Resolves when a transaction arrived since the last call.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn check_room(&self, pool: &Pool, signer: &PublicKey, bytes: usize) -> Result<(), Error> {
        self.check_signer(pool, signer)?;
        self.check_total(pool, bytes)
    }

    fn check_signer(&self, pool: &Pool, signer: &PublicKey) -> Result<(), Error> {
        let queued = pool.signers.get(signer).map_or(0, BTreeMap::len);
        if queued >= self.config.per_signer {
            return Err(Error::Busy { what: "transactions of one signer", limit: self.config.per_signer });
        }
        Ok(())
    }

    fn check_total(&self, pool: &Pool, bytes: usize) -> Result<(), Error> {
        if pool.arrivals.len() >= self.config.transactions {
            return Err(Error::Busy { what: "waiting transactions", limit: self.config.transactions });
        }
        if pool.bytes.saturating_add(bytes) > self.config.bytes {
            return Err(Error::Busy { what: "bytes of waiting transactions", limit: self.config.bytes });
        }
        Ok(())
    }

    /// The pool is consistent between any two statements that can panic, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn entry(&mut self, signer: &PublicKey, nonce: u64) -> Option<&mut Entry> {
        self.signers.get_mut(signer)?.get_mut(&nonce)
    }

    fn insert(&mut self, transaction: Signed<Transaction>, bytes: usize, telling: Telling) -> &mut Entry {
        let (signer, nonce, arrival) = (transaction.signer(), transaction.value().nonce, self.next_arrival);
        self.next_arrival = self.next_arrival.saturating_add(1);
        self.arrivals.insert(arrival, signer);
        self.bytes = self.bytes.saturating_add(bytes);
        let entry =
            Entry { transaction: Arc::new(transaction), bytes, arrival, waiters: Vec::new(), telling };
        // Nobody inserts where an entry is.
        self.signers.entry(signer).or_default().entry(nonce).or_insert(entry)
    }

    fn remove(&mut self, signer: &PublicKey, nonce: u64) -> Option<Entry> {
        let queue = self.signers.get_mut(signer)?;
        let entry = queue.remove(&nonce)?;
        if queue.is_empty() {
            self.signers.remove(signer);
        }
        self.arrivals.remove(&entry.arrival);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }
}

impl Entry {
    fn wait(&mut self) -> Wait {
        let (sender, wait) = oneshot::channel();
        self.waiters.push(sender);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proto::transaction::{Body, Transfer};
    use assay_proto::{ChainId, SecretKey};

    fn transfer(seed: u8, nonce: u64, amount: u64) -> Signed<Transaction> {
        let body = Body::Transfer(Transfer { to: PublicKey([9; 32]), amount });
        let chain = ChainId::new("test-mempool").expect("chain id");
        SecretKey::from_bytes(&[seed; 32]).sign(&chain, Transaction { nonce, body })
    }

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_bytes(&[seed; 32]).public_key()
    }

    fn pool(transactions: usize, per_signer: usize) -> Mempool {
        let config = MempoolConfig { transactions, per_signer, ..MempoolConfig::default() };
        Mempool::new(config, key(255))
    }

    fn order(pool: &Mempool) -> Vec<(PublicKey, u64)> {
        pool.candidates().iter().map(|t| (t.signer(), t.value().nonce)).collect()
    }

    #[test]
    fn one_transaction_more_than_the_limit_is_refused() {
        let pool = pool(2, 2);
        let _a = pool.submit(transfer(1, 1, 1), 0).expect("first");
        let _b = pool.submit(transfer(2, 1, 1), 0).expect("second");
        let refused = pool.submit(transfer(3, 1, 1), 0);
        assert!(matches!(refused, Err(Error::Busy { what: "waiting transactions", limit: 2 })));
    }

    #[test]
    fn one_signer_cannot_take_the_room_of_the_others() {
        let pool = pool(10, 2);
        let _a = pool.submit(transfer(1, 1, 1), 0).expect("first");
        let _b = pool.submit(transfer(1, 2, 1), 0).expect("second");
        let refused = pool.submit(transfer(1, 3, 1), 0);
        assert!(matches!(refused, Err(Error::Busy { what: "transactions of one signer", limit: 2 })));
        let _c = pool.submit(transfer(2, 1, 1), 0).expect("another signer");
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let bytes = transfer(1, 1, 1).envelope().encoded_len();
        let config = MempoolConfig { bytes: bytes * 2 - 1, ..MempoolConfig::default() };
        let pool = Mempool::new(config, key(255));
        let _a = pool.submit(transfer(1, 1, 1), 0).expect("first");
        let refused = pool.submit(transfer(2, 1, 1), 0);
        assert!(matches!(refused, Err(Error::Busy { what: "bytes of waiting transactions", .. })));
        pool.settle(&key(1), 1, &Outcome::Dropped { reason: String::new() });
        let _b = pool.submit(transfer(2, 1, 1), 0).expect("room again");
    }

    #[test]
    fn the_validators_own_transactions_are_taken_into_a_full_pool() {
        let pool = pool(1, 1);
        let _a = pool.submit(transfer(1, 1, 1), 0).expect("first");
        let _b = pool.submit_own(0, |nonce| transfer(255, nonce, 1)).expect("own");
        let _c = pool.submit_own(0, |nonce| transfer(255, nonce, 1)).expect("own again");
        assert_eq!(order(&pool), [(key(1), 1), (key(255), 1), (key(255), 2)]);
    }

    #[test]
    fn own_nonces_follow_the_ledger_and_what_waits() {
        let pool = pool(10, 10);
        let _a = pool.submit(transfer(255, 9, 1), 3).expect("by hand");
        let _b = pool.submit_own(3, |nonce| transfer(255, nonce, 1)).expect("own");
        assert_eq!(order(&pool), [(key(255), 9), (key(255), 10)]);
        let exhausted = pool.submit_own(u64::MAX, |nonce| transfer(255, nonce, 1));
        assert!(matches!(exhausted, Err(Error::NonceUsed { .. })));
    }

    #[test]
    fn a_used_nonce_and_a_second_transaction_under_one_nonce_are_refused() {
        let pool = pool(10, 10);
        let used = pool.submit(transfer(1, 5, 1), 5);
        assert!(matches!(used, Err(Error::NonceUsed { last: 5, got: 5, .. })));
        let _a = pool.submit(transfer(1, 6, 1), 5).expect("first");
        assert!(matches!(pool.submit(transfer(1, 6, 2), 5), Err(Error::NonceTaken { nonce: 6, .. })));
    }

    #[test]
    fn the_same_transaction_again_joins_the_wait_up_to_a_limit() {
        let pool = pool(10, 10);
        let mut waits: Vec<Wait> =
            (0..WAITERS).map(|_| pool.submit(transfer(1, 1, 1), 0).expect("joins")).collect();
        assert!(matches!(pool.submit(transfer(1, 1, 1), 0), Err(Error::Busy { .. })));
        assert_eq!(pool.len(), 1);
        waits.pop();
        waits.push(pool.submit(transfer(1, 1, 1), 0).expect("a waiter that left makes room"));
        let outcome = Outcome::Committed { height: Height(3), index: 1 };
        pool.settle(&key(1), 1, &outcome);
        for mut wait in waits {
            assert_eq!(wait.try_recv(), Ok(outcome.clone()));
        }
        assert!(pool.is_empty());
    }

    #[test]
    fn what_was_submitted_is_told_again_after_twice_as_long_each_time_and_what_was_heard_never() {
        let (pool, again) = (pool(10, 10), Duration::from_millis(20));
        let _a = pool.submit(transfer(1, 1, 1), 0).expect("taken");
        pool.hear(transfer(2, 1, 1), 0, false).expect("taken");
        let told = |pool: &Mempool| pool.tell(again).iter().map(|t| t.signer()).collect::<Vec<_>>();
        assert_eq!(told(&pool), [key(1)]);
        assert_eq!(told(&pool), []);
        std::thread::sleep(again);
        assert_eq!(told(&pool), [key(1)]);
        let waits = |pool: &Mempool| match pool.lock().entry(&key(1), 1).expect("there").telling {
            Telling::Told(_, wait) => wait,
            Telling::Heard | Telling::Untold => Duration::ZERO,
        };
        assert_eq!(waits(&pool), again * 2);
    }

    #[test]
    fn candidates_keep_arrival_between_signers_and_nonces_within_one() {
        let pool = pool(10, 10);
        let waits: Vec<Wait> = [(1, 2), (2, 1), (1, 1), (3, 7)]
            .into_iter()
            .map(|(seed, nonce)| pool.submit(transfer(seed, nonce, 1), 0).expect("taken"))
            .collect();
        assert_eq!(order(&pool), [(key(1), 1), (key(2), 1), (key(1), 2), (key(3), 7)]);
        drop(waits);
    }
}
