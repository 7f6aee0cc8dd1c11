//! Named limits of the ledger rules. Limits on sizes are in `assay_proto::limits`.

/// Models of a chain.
pub const MODELS: usize = 1 << 12;
/// Miners of a chain.
pub const MINERS: usize = assay_proto::limits::REPORT_MINERS;
/// How far a transaction's nonce may be ahead of its signer's last one, and a job's nonce ahead of its client's
/// greatest one: an account cannot be locked by one message.
pub const NONCE_STEP: u64 = 1 << 20;
/// Nonces of a client that stay open behind its greatest one: jobs in flight may end in any order within it.
pub const JOB_WINDOW: u64 = 1024;
/// Round trips that an assignment takes at most, as a ping takes one: of the connection, of its encryption (two), and of the job.
pub const PINGS: u64 = 4;
/// Assignments of one job that the ledger records.
pub const ATTEMPTS: usize = 16;
/// Prices of one client that are locked at a time.
pub const HOLDS: usize = 1024;
/// Blocks from the proof of an equivocation to the first one that its author is no validator of.
pub const REMOVAL_BLOCKS: u64 = 2;
/// Blocks from the one that names an operating key to the first one at which it signs: everybody knows the voters of a block
/// one block ahead.
pub const KEY_BLOCKS: u64 = 2;
/// Blocks after the end of an operating key's time in which work that it signed still counts, so that a miner is paid for jobs
/// that it was given before, or answers for them.
pub const OVERLAP_BLOCKS: u64 = 64;
/// Proofs that one batch verifies.
pub const BATCH: usize = 512;
/// Signatures that one batch checks.
pub const SIGNATURES: usize = 512;
/// Judged receipts that are remembered until a block with them is decided, and their bytes.
pub const KNOWN: usize = 4096;
/// See [`KNOWN`].
pub const KNOWN_BYTES: usize = 64 << 20;
/// Bytes of an export that the auditor holds at once, beyond one block.
pub const AUDIT_WINDOW_BYTES: usize = 32 << 20;
/// Blocks that the auditor holds at once.
pub const AUDIT_WINDOW_BLOCKS: usize = 1024;
