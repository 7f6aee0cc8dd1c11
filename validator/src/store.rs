//! The database. A decided block becomes durable in one synced, atomic write together with the state after it, so
//! that at any moment, also after `kill -9`, the stored state is the state after the stored head:
//!
//! ```text
//! root(state) = header(head).state_root      hash(header(head)) = head.hash      certificate(head) holds
//! ```
//!
//! [`Store::open`] checks all three before the node does anything else.

pub mod migrations;
pub mod schema;
pub mod usage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use assay_proto::block::{Block, CommittedBlock};
use assay_proto::genesis::Genesis;
use assay_proto::receipt::Receipt;
use assay_proto::report::EpochReport;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{BlockHash, Canonical, ChainId, Envelope, Epoch, Height, JobId, ProtoError, PublicKey};
use assay_verifier::limits::JOB_WINDOW;
use assay_verifier::snapshot;
use assay_verifier::state::State;
use assay_verifier::transition::Transition;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction,
    ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use crate::error::Error;
use migrations::{STEPS, Step};
use schema::Family;

/// Bytes of a family that are written before they are sorted into a file, which is also what of the log's file is allocated
/// ahead at every start.
const WRITE_BUFFER: usize = 4 << 20;
/// Files that RocksDB may hold open.
const OPEN_FILES: i32 = 512;
/// RocksDB's own log files that are kept.
const LOG_FILES: usize = 4;
/// The same of all families together.
const WRITE_BUFFERS: usize = 8 << 20;
/// Bytes of what was read from files, their indices included, that all families keep together: it does not grow with the log.
const BLOCK_CACHE: usize = 8 << 20;
/// Blocks that one call deletes.
const PRUNE_BLOCKS: u64 = 64;

/// The open database. Calls block; call them from threads that may.
#[derive(Debug)]
pub struct Store {
    db: DB,
    /// Held while the nonces of a client are read and then written.
    nonces: Mutex<()>,
    /// The earliest height whose block is kept.
    earliest: AtomicU64,
}

/// A key and its value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// What a decided block changes.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The block and its certificate.
    pub block: &'a CommittedBlock,
    /// What the block did to the state before it.
    pub transition: &'a Transition,
}

impl Store {
    /// Opens the database in `path`, makes it when there is none, and reads the state after its last block.
    pub fn open(path: &Path, genesis: &Genesis) -> Result<(Self, State), Error> {
        Self::open_with(path, genesis, STEPS)
    }

    /// The same with other migrations.
    fn open_with(path: &Path, genesis: &Genesis, steps: &[Step]) -> Result<(Self, State), Error> {
        let store = Self { db: open_database(path)?, nonces: Mutex::new(()), earliest: AtomicU64::new(1) };
        match store.get(Family::Meta, schema::META_SCHEMA)? {
            None => store.initialise(genesis, steps)?,
            Some(bytes) => store.check_schema(path, &bytes, genesis, steps)?,
        }
        let state = store.load(genesis)?;
        Ok((store, state))
    }

    /// Makes `path` a database that begins with this block and the state after it, which [`snapshot::accept`] took: all of
    /// it or nothing. What was there before must be behind it; this broker's own records stay.
    pub fn begin_at(
        path: &Path,
        genesis: &Genesis,
        block: &CommittedBlock,
        state: &State,
    ) -> Result<(), Error> {
        let (store, before) = Self::open(path, genesis)?;
        let (height, head) = (state.head().height, before.head().height);
        if height <= head {
            return Err(Error::NotBehind { head, height });
        }
        let mut batch = WriteBatch::default();
        for family in [Family::Blocks, Family::Receipts, Family::State, Family::Undecided, Family::Proposals]
        {
            // No key is as long as this and no smaller.
            batch.delete_range_cf(store.family(family)?, [].as_slice(), &[0xff; 64]);
        }
        batch.put_cf(store.family(Family::Blocks)?, schema::block_key(height), block.encode());
        let records = store.family(Family::State)?;
        for record in state.records() {
            batch.put_cf(records, record.key(), record.value());
        }
        let places = receipts_of(state.chain_id(), height, &block.block.transactions);
        let receipts = store.family(Family::Receipts)?;
        places.for_each(|key| batch.put_cf(receipts, key, []));
        store.write(batch)
    }

    /// The earliest height whose block is kept; 1 while there is none.
    pub fn earliest(&self) -> Height {
        Height(self.earliest.load(Ordering::Acquire))
    }

    /// Deletes blocks below a height with the places of their receipts, some at a time; whether some are left.
    pub fn prune(&self, chain: &ChainId, below: Height) -> Result<bool, Error> {
        let first = self.earliest();
        let end = Height(below.0.min(first.0.saturating_add(PRUNE_BLOCKS)));
        if end <= first {
            return Ok(false);
        }
        let mut batch = WriteBatch::default();
        let (blocks, receipts) = (self.family(Family::Blocks)?, self.family(Family::Receipts)?);
        for height in (first.0..end.0).map(Height) {
            let block = self.block(height)?.ok_or_else(|| corrupt("a block is missing"))?;
            receipts_of(chain, height, &block.block.transactions)
                .for_each(|key| batch.delete_cf(receipts, key));
            batch.delete_cf(blocks, schema::block_key(height));
        }
        // Readers are told before the blocks go. What a crash undoes is deleted again.
        self.earliest.store(end.0, Ordering::Release);
        self.db.write(batch)?;
        Ok(end < below)
    }

    /// Makes a decided block durable: the block, the state after it, its report and its receipts, or nothing.
    pub fn commit(&self, decision: Decision<'_>) -> Result<(), Error> {
        let Decision { block, transition } = decision;
        let height = block.block.header.height;
        let mut batch = WriteBatch::default();
        let blocks = self.family(Family::Blocks)?;
        batch.put_cf(blocks, schema::block_key(height), block.encode());
        let state = self.family(Family::State)?;
        for record in &transition.records {
            batch.put_cf(state, record.key(), record.value());
        }
        if let Some(report) = &transition.report {
            batch.put_cf(self.family(Family::Epochs)?, schema::epoch_key(report.epoch), report.encode());
        }
        let (receipts, outbox) = (self.family(Family::Receipts)?, self.family(Family::Outbox)?);
        for entry in &transition.receipts {
            batch.put_cf(receipts, schema::receipt_key(&entry.job_id, height, entry.index), []);
            batch.delete_cf(outbox, schema::outbox_key(&entry.job_id, &entry.miner));
        }
        for family in [Family::Undecided, Family::Proposals] {
            self.delete_decided(family, height, &mut batch)?;
        }
        self.write(batch)
    }

    /// Deletes what is kept of a height that is decided now, and of the one before it: some came while that was decided.
    /// One by one, since every read of a family goes through all its ranges that were deleted lately.
    fn delete_decided(&self, family: Family, height: Height, batch: &mut WriteBatch) -> Result<(), Error> {
        let family = self.family(family)?;
        let (first, end) = (schema::block_key(Height(height.0.saturating_sub(1))), height.next());
        for entry in self.db.iterator_cf(family, IteratorMode::From(&first, Direction::Forward)) {
            let (key, _) = entry?;
            if *key >= schema::block_key(end)[..] {
                break;
            }
            batch.delete_cf(family, key);
        }
        Ok(())
    }

    /// Keeps a block, durably, until one of its height is decided. `round`: this validator proposes it there.
    pub fn keep_undecided(&self, block: &Block, round: Option<u32>) -> Result<(), Error> {
        let (height, hash) = (block.header.height, block.header.hash());
        let mut batch = WriteBatch::default();
        let key = schema::undecided_key(height, &hash);
        batch.put_cf(self.family(Family::Undecided)?, key, block.encode());
        if let Some(round) = round {
            let family = self.family(Family::Proposals)?;
            batch.put_cf(family, schema::proposal_key(height, round), hash.0);
        }
        self.write(batch)
    }

    /// A block that is kept.
    pub fn undecided(&self, height: Height, hash: &BlockHash) -> Result<Option<Block>, Error> {
        let bytes = self.get(Family::Undecided, &schema::undecided_key(height, hash))?;
        bytes.map(|bytes| decoded(Block::decode(&bytes))).transpose()
    }

    /// What this validator proposed in a round of a height that is not decided.
    pub fn own_proposal(&self, height: Height, round: u32) -> Result<Option<Block>, Error> {
        match self.get(Family::Proposals, &schema::proposal_key(height, round))? {
            Some(hash) => self.undecided(height, &decoded(hash.as_slice().try_into())?),
            None => Ok(None),
        }
    }

    /// Copies the database into a new folder while it is in use: links to files that never change, and the rest.
    pub fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(path)?)
    }

    /// A decided block as it is stored. Most are read once, one after the other: they do not push anything out of the cache.
    pub fn block_bytes(&self, height: Height) -> Result<Option<Vec<u8>>, Error> {
        let mut once = ReadOptions::default();
        once.fill_cache(false);
        Ok(self.db.get_cf_opt(self.family(Family::Blocks)?, schema::block_key(height), &once)?)
    }

    /// A decided block.
    pub fn block(&self, height: Height) -> Result<Option<CommittedBlock>, Error> {
        self.block_bytes(height)?.map(|bytes| decoded(CommittedBlock::decode(&bytes))).transpose()
    }

    /// The report of an ended epoch.
    pub fn report(&self, epoch: Epoch) -> Result<Option<EpochReport>, Error> {
        let bytes = self.get(Family::Epochs, &schema::epoch_key(epoch))?;
        bytes.map(|bytes| decoded(EpochReport::decode(&bytes))).transpose()
    }

    /// The report of the epoch that ended last.
    pub fn latest_report(&self) -> Result<Option<EpochReport>, Error> {
        let last = self.db.iterator_cf(self.family(Family::Epochs)?, IteratorMode::End).next();
        last.transpose()?.map(|(_, bytes)| decoded(EpochReport::decode(&bytes))).transpose()
    }

    /// Where the receipts of a job are, in the order of the log.
    pub fn receipts(&self, job: &JobId) -> Result<Vec<(Height, u32)>, Error> {
        let place = |key: &[u8]| schema::receipt_place(key).ok_or_else(|| corrupt("the key of a receipt"));
        self.with_prefix(Family::Receipts, &job.0)?.into_iter().map(|(key, _)| place(&key)).collect()
    }

    /// Marks a client's job nonce as used here, durably, or refuses one that is used or lies too far behind the
    /// greatest used one. Older marks go, so a client holds at most [`JOB_WINDOW`] of them.
    pub fn take_job_nonce(&self, client: &PublicKey, nonce: u64) -> Result<(), Error> {
        let family = self.family(Family::JobNonces)?;
        let _held = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = self.latest_job_nonce(client)?.max(nonce).saturating_sub(JOB_WINDOW);
        let key = schema::nonce_key(client, nonce);
        if nonce <= floor || self.db.get_pinned_cf(family, &key)?.is_some() {
            return Err(Error::JobNonceUsed { client: *client, nonce });
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(family, key, []);
        let from = schema::nonce_key(client, 0);
        for mark in self.db.iterator_cf(family, IteratorMode::From(&from, Direction::Forward)) {
            let (mark, _) = mark?;
            if !mark.starts_with(&client.0) || schema::nonce_of(&mark).is_none_or(|nonce| nonce > floor) {
                break;
            }
            batch.delete_cf(family, mark);
        }
        self.write(batch)
    }

    /// The greatest nonce under which this broker took a job of the client; 0 if it took none.
    pub fn latest_job_nonce(&self, client: &PublicKey) -> Result<u64, Error> {
        let from = schema::nonce_key(client, u64::MAX);
        let mode = IteratorMode::From(&from, Direction::Reverse);
        match self.db.iterator_cf(self.family(Family::JobNonces)?, mode).next().transpose()? {
            Some((key, _)) if key.starts_with(&client.0) => {
                schema::nonce_of(&key).ok_or_else(|| corrupt("the key of a job nonce"))
            }
            Some(_) | None => Ok(0),
        }
    }

    /// Keeps a receipt, durably, until it is in a decided block or [`Store::forget_receipt`] is told that it never
    /// will be.
    pub fn keep_receipt(&self, job: &JobId, receipt: &Receipt) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        let key = schema::outbox_key(job, &receipt.evidence.miner);
        batch.put_cf(self.family(Family::Outbox)?, key, receipt.encode());
        self.write(batch)
    }

    /// Drops a kept receipt that can be in no block.
    pub fn forget_receipt(&self, job: &JobId, miner: &PublicKey) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.family(Family::Outbox)?, schema::outbox_key(job, miner));
        self.write(batch)
    }

    /// Receipts that are kept.
    pub fn kept_receipts(&self) -> Result<Vec<Receipt>, Error> {
        let entries = self.with_prefix(Family::Outbox, &[])?;
        entries.into_iter().map(|(_, bytes)| decoded(Receipt::decode(&bytes))).collect()
    }

    fn initialise(&self, genesis: &Genesis, steps: &[Step]) -> Result<(), Error> {
        for family in Family::ALL {
            if self.db.iterator_cf(self.family(family)?, IteratorMode::Start).next().is_some() {
                return Err(corrupt("there is data but no schema version"));
            }
        }
        let mut batch = WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, schema::META_SCHEMA, migrations::newest(steps).to_be_bytes());
        batch.put_cf(meta, schema::META_GENESIS, genesis.encode());
        let state = self.family(Family::State)?;
        for record in State::genesis(genesis.clone())?.records() {
            batch.put_cf(state, record.key(), record.value());
        }
        self.write(batch)
    }

    fn check_schema(
        &self,
        path: &Path,
        version: &[u8],
        genesis: &Genesis,
        steps: &[Step],
    ) -> Result<(), Error> {
        let version: [u8; 4] = version.try_into().map_err(|_| corrupt("the schema version"))?;
        let (found, known) = (u32::from_be_bytes(version), migrations::newest(steps));
        if found > known {
            return Err(Error::NewerSchema { path: path.to_owned(), found, known });
        }
        if found == 0 {
            return Err(corrupt("schema version 0 was never released"));
        }
        let bytes = self.get(Family::Meta, schema::META_GENESIS)?;
        let stored = decoded(Genesis::decode(&bytes.ok_or_else(|| corrupt("no genesis"))?))?;
        if stored != *genesis {
            return Err(Error::OtherGenesis { expected: genesis.hash(), found: stored.hash() });
        }
        self.migrate(found, steps)
    }

    /// The state of the stored records, checked against the stored head.
    fn load(&self, genesis: &Genesis) -> Result<State, Error> {
        let records = self.with_prefix(Family::State, &[])?;
        let state = State::from_records(genesis.clone(), records)
            .map_err(|error| corrupt(&assay_verifier::describe(&error)))?;
        let head = *state.head();
        if head.height == Height(0) {
            return Ok(state);
        }
        let block = self.block(head.height)?.ok_or_else(|| corrupt("the last block is missing"))?;
        snapshot::check_state(&state, &block).map_err(|error| corrupt(&assay_verifier::describe(&error)))?;
        if self.block_bytes(head.height.next())?.is_some() {
            return Err(corrupt("there is a block after the last one"));
        }
        let first =
            self.db.iterator_cf(self.family(Family::Blocks)?, IteratorMode::Start).next().transpose()?;
        let height = first.and_then(|(key, _)| schema::height_of(&key));
        self.earliest.store(height.ok_or_else(|| corrupt("the key of a block"))?.0, Ordering::Release);
        Ok(state)
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, Error> {
        self.db.cf_handle(family.name()).ok_or_else(|| corrupt("a column family is missing"))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.db.get_cf(self.family(family)?, key)?)
    }

    fn with_prefix(&self, family: Family, prefix: &[u8]) -> Result<Vec<Entry>, Error> {
        let mode = IteratorMode::From(prefix, Direction::Forward);
        let mut entries = Vec::new();
        for entry in self.db.iterator_cf(self.family(family)?, mode) {
            let (key, value) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            entries.push((key, value));
        }
        Ok(entries)
    }

    /// Writes all or nothing, and returns once it is on the disk.
    fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(batch, &options)?)
    }
}

/// Keys of the places of receipts among a block's transactions.
fn receipts_of<'a>(
    chain: &'a ChainId,
    height: Height,
    transactions: &'a [Envelope],
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let job = |envelope: &Envelope| {
        let Body::Receipt(receipt) = Transaction::decode(&envelope.payload).ok()?.body else { return None };
        let job = receipt.evidence.job;
        Some(JobId::derive(chain, &job.signer, &job.payload))
    };
    (0_u32..)
        .zip(transactions)
        .filter_map(move |(index, envelope)| Some(schema::receipt_key(&job(envelope)?, height, index)))
}

fn open_database(path: &Path) -> Result<DB, Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(OPEN_FILES);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    // A newer schema may have families of its own; they must be opened for its version to be read.
    let mut names: BTreeSet<String> = Family::ALL.map(|family| family.name().to_owned()).into();
    if path.join("CURRENT").exists() {
        names.extend(DB::list_cf(&options, path).map_err(|error| opening(path, error))?);
    }
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    let families = names.into_iter().map(|name| {
        let (mut options, mut tables) = (Options::default(), BlockBasedOptions::default());
        tables.set_block_cache(&cache);
        tables.set_cache_index_and_filter_blocks(true);
        options.set_block_based_table_factory(&tables);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER);
        ColumnFamilyDescriptor::new(name, options)
    });
    DB::open_cf_descriptors(&options, path, families).map_err(|error| opening(path, error))
}

fn opening(path: &Path, error: rocksdb::Error) -> Error {
    match error.kind() {
        // RocksDB has no kind of its own for a lock that another process holds.
        ErrorKind::IOError if error.as_ref().contains("lock") => Error::Locked { path: path.to_owned() },
        ErrorKind::Corruption => corrupt(error.as_ref()),
        _ => Error::Open { path: PathBuf::from(path), source: error },
    }
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt { what: what.to_owned() }
}

/// What was written by this program must decode.
fn decoded<T>(result: Result<T, ProtoError>) -> Result<T, Error> {
    result.map_err(|error| corrupt(&assay_verifier::describe(&error)))
}
