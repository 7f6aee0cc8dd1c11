//! One variant a reason; [`crate::services`] maps each to one gRPC status.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_proto::client::ClientError;
use assay_proto::{BlockHash, Height, ProtoError, PublicKey};
use assay_verifier::snapshot::SnapshotError;
use assay_verifier::{Reason, Rejection};

/// Why the validator refuses, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // Start.
    /// A setting out of its range.
    #[error("setting {field}: expected {allowed}, got {value:?}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        allowed: String,
    },
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The key is no validator's of the genesis, and stake makes none.
    #[error(
        "the key {0} is not a validator of this chain's genesis, and stake makes nobody one; if it is an operating key, the setting owner names its owner"
    )]
    NotValidator(PublicKey),
    /// The settings name another owner than the ledger.
    #[error("setting owner: the ledger says that {key} signs for {got}, not for {expected}")]
    OtherOwner {
        /// This node's key.
        key: PublicKey,
        /// Of the settings.
        expected: PublicKey,
        /// Of the ledger.
        got: PublicKey,
    },
    /// A peer that the genesis does not name, or this validator itself.
    #[error("consensus.peers names {0}, which is not another validator of this chain's genesis")]
    NotPeer(PublicKey),
    /// The engine.
    #[error("consensus")]
    Consensus(#[from] assay_validator_bft::Error),
    /// The genesis itself.
    #[error("the genesis is not valid")]
    Genesis(#[source] ProtoError),

    // Database.
    /// The folder or its files.
    #[error("the database {path} cannot be opened")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// Another process has the database open.
    #[error("the database {path} is in use by another process")]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
    /// The database was written by a newer version.
    #[error("the database {path} has schema {found}, this program knows up to {known}")]
    NewerSchema {
        /// Its folder.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// Its blocks are of a format that this version does not know any more.
    #[error(
        "the blocks of this chain are of an older format: it has to be begun anew, or run by the version that began it"
    )]
    OlderChain,
    /// The database is of another chain.
    #[error("the database holds the chain of genesis {found}, expected {expected}")]
    OtherGenesis {
        /// Hash of the genesis given.
        expected: BlockHash,
        /// Hash of the genesis stored.
        found: BlockHash,
    },
    /// A snapshot of a block that this node has.
    #[error("the database is at height {head}: a snapshot of height {height} is not ahead of it")]
    NotBehind {
        /// Height of the last block here.
        head: Height,
        /// The snapshot's.
        height: Height,
    },
    /// A peer's snapshot that is not of the trusted block.
    #[error("the snapshot is refused")]
    Snapshot(#[from] SnapshotError),
    /// A peer's answer.
    #[error("the validator that was asked")]
    Peer(#[from] ClientError),
    /// What is stored contradicts itself.
    #[error("the database is corrupt: {what}")]
    Corrupt {
        /// What does not fit.
        what: String,
    },
    /// RocksDB failed.
    #[error("the database failed")]
    Database(#[from] rocksdb::Error),

    // Requests.
    /// A message that is not one of this protocol.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// The ledger's rules refuse it.
    #[error(transparent)]
    Rule(#[from] Reason),
    /// A required part of a request.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No such thing on this chain.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Blocks that were deleted here.
    #[error("this node keeps blocks from height {earliest} on, not height {height}: ask one that keeps all")]
    Pruned {
        /// The one asked for.
        height: Height,
        /// The earliest one here.
        earliest: Height,
    },
    /// A limit on what is in progress.
    #[error("busy: {what} are at their limit of {limit}")]
    Busy {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A nonce at or below the last one.
    #[error("nonce {got} of {signer} is used: the last one is {last}")]
    NonceUsed {
        /// Whose.
        signer: PublicKey,
        /// The last one that counts.
        last: u64,
        /// The one given.
        got: u64,
    },
    /// Another transaction waits under this nonce.
    #[error("another transaction of {signer} waits under nonce {nonce}")]
    NonceTaken {
        /// Whose.
        signer: PublicKey,
        /// The nonce.
        nonce: u64,
    },
    /// This broker has taken a job under this nonce before, or one far above it.
    #[error("job nonce {nonce} of {client} was used here before")]
    JobNonceUsed {
        /// Whose.
        client: PublicKey,
        /// The nonce.
        nonce: u64,
    },
    /// A deadline that this validator does not take.
    #[error("deadline: expected {least} to {most} ms, got {got} ms")]
    Deadline {
        /// Least.
        least: u64,
        /// Greatest.
        most: u64,
        /// The job's.
        got: u64,
    },
    /// A price that this validator does not take.
    #[error("price: expected at least {least}, got {got}")]
    Price {
        /// Least.
        least: u64,
        /// The job's.
        got: u64,
    },
    /// The client cannot pay for this job beside those in progress.
    #[error(
        "client {client} holds {balance}, of which {reserved} are reserved for jobs in progress: {needed} are needed"
    )]
    Funds {
        /// Who.
        client: PublicKey,
        /// Its balance on the ledger.
        balance: u64,
        /// Prices of its jobs in progress.
        reserved: u64,
        /// The job's price.
        needed: u64,
    },
    /// The transaction can be in no block.
    #[error("the transaction was refused: {0}")]
    Dropped(String),
    /// The transaction waits still.
    #[error("not decided after {ms} ms; it may be decided later")]
    Undecided {
        /// How long was waited.
        ms: u64,
    },
    /// Others are ahead of this node.
    #[error("the validator is not ready: it waits for other validators, or catches up with them")]
    NotReady,
    /// The node is stopping.
    #[error("the validator is stopping")]
    Stopping,

    /// Signed by a key that is not this validator's, or too long ago.
    #[error("this node is not {0}'s to operate, or the request is more than a minute old")]
    NotOperator(PublicKey),
    /// A backup of this name is there.
    #[error("{0} exists")]
    BackupExists(PathBuf),

    // Failures of the node itself.
    /// A decided block that is not valid, or an own proposal that is not.
    #[error("block refused")]
    Block(#[from] Rejection),
    /// A decision about a block that was never seen.
    #[error("block {0} was decided but never validated here")]
    UnknownBlock(BlockHash),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
    /// The reflection service refused the descriptors.
    #[error("reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server ended with an error.
    #[error("the gRPC server failed")]
    Server(#[from] tonic::transport::Error),
    /// A metric that cannot be.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A file of the settings.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A task ended abnormally.
    #[error("a task of the node ended abnormally: {0}")]
    Task(#[from] tokio::task::JoinError),
}
