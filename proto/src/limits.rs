//! Named limits on everything that comes from outside. Sizes are in bytes unless the name says otherwise.

/// A gRPC message of the Inference and Miner services, and a submitted transaction.
pub const MESSAGE_BYTES: usize = 16 << 20;
/// A gRPC message that carries a committed block.
pub const BLOCK_MESSAGE_BYTES: usize = COMMITTED_BLOCK_BYTES + (64 << 10);

/// Payload of a signed job.
pub const JOB_BYTES: usize = 6 << 20;
/// Payload of a signed output.
pub const OUTPUT_BYTES: usize = 6 << 20;
/// Proof bytes.
pub const PROOF_BYTES: usize = 1 << 20;
/// Payload of a signed proof.
pub const PROOF_PAYLOAD_BYTES: usize = PROOF_BYTES + 256;
/// Payload of a transaction: a receipt with the largest job, output and proof fits.
pub const TRANSACTION_BYTES: usize = 14 << 20;
/// A block without its certificate.
pub const BLOCK_BYTES: usize = 32 << 20;
/// A commit certificate.
pub const CERTIFICATE_BYTES: usize = 64 << 10;
/// A block with its certificate.
pub const COMMITTED_BLOCK_BYTES: usize = BLOCK_BYTES + CERTIFICATE_BYTES + 64;
/// A block header.
pub const HEADER_BYTES: usize = 512;
/// A vote.
pub const VOTE_BYTES: usize = 64;
/// A proposal of a round.
pub const PROPOSAL_BYTES: usize = 64;
/// A genesis.
pub const GENESIS_BYTES: usize = 8 << 20;
/// The report of an epoch.
pub const REPORT_BYTES: usize = 8 << 20;

/// A record of the state or a transaction, with the proof that it is in it.
pub const INCLUSION_PROOF_BYTES: usize = 15 << 20;

/// Transactions of a block.
pub const TRANSACTIONS: usize = 4096;
/// Input or output ports of a model.
pub const PORTS: usize = 16;
/// Elements of all inputs, or of all outputs, of a job together.
pub const ELEMENTS: usize = 1 << 22;
/// Longest deadline of a job, milliseconds.
pub const DEADLINE_MS: u64 = 3_600_000;
/// A chain id.
pub const CHAIN_ID_BYTES: usize = 64;
/// The name of a model.
pub const NAME_BYTES: usize = 256;
/// The name of a backup.
pub const BACKUP_NAME_BYTES: usize = 64;
/// The endpoint of a miner.
pub const ENDPOINT_BYTES: usize = 256;
/// A verifying key.
pub const VERIFYING_KEY_BYTES: usize = 8 << 20;
/// Models that one miner offers.
pub const MODELS_PER_MINER: usize = 64;
/// Validators of a genesis, and signatures of a certificate.
pub const VALIDATORS: usize = 256;
/// Voting power of all validators together.
pub const TOTAL_POWER: u64 = 1 << 48;
/// Accounts of a genesis.
pub const GENESIS_ACCOUNTS: usize = 1 << 16;
/// Miners of an epoch report.
pub const REPORT_MINERS: usize = 1 << 14;
/// Subnets beside the root.
pub const SUBNETS: usize = 64;
/// Miners of a subnet that is not the root.
pub const SUBNET_MINERS: usize = 256;
/// Models that a subnet names, if it does not accept any.
pub const SUBNET_MODELS: usize = 64;
/// Numbers of a subnet that differ from the chain's.
pub const SUBNET_NUMBERS: usize = crate::genesis::Parameters::OF_SUBNETS.len();
/// Siblings of a record.
pub const SIBLINGS: usize = 256;
/// Device classes of a genesis.
pub const CLASSES: usize = 64;
/// Devices of one miner.
pub const DEVICES: u64 = 1 << 16;
/// Collateral of a device, share of the parameter.
pub const COLLATERAL_PPM: u64 = 1000 * PPM;
/// Sides of a challenge's matrices.
pub const CHALLENGE_SIDES: [u64; 5] = [16, 64, 256, 1024, 4096];
/// Products of a challenge.
pub const CHALLENGE_ROUNDS: u64 = 1 << 10;
/// Multiply-adds of one row of a challenge: `side^2 * rounds`.
pub const CHALLENGE_ROW: u64 = 1 << 24;
/// Validators that are to ask one miner.
pub const CHALLENGE_VALIDATORS: u64 = 16;
/// Blocks in which outcomes of a challenge are taken.
pub const CHALLENGE_BLOCKS: u64 = 1 << 16;
/// Payload of a challenge.
pub const CHALLENGE_BYTES: usize = 128;
/// Payload of an answer to a challenge.
pub const ANSWER_BYTES: usize = 4096 * 8 + 64;
/// Payload of an operating key's consent.
pub const KEY_CONSENT_BYTES: usize = 64;
/// Keys by which a miner's work counts at a time.
pub const SIGNERS: usize = 64;
/// Blocks that a job's price is locked.
pub const HOLD_BLOCKS: u64 = 1 << 24;
/// The network's part of a proof's time, microseconds.
pub const LATENCY_NETWORK_US: u64 = 10_000_000;
/// Share that one tier's price floor is of another's.
pub const TIER_PPM: u64 = 1000 * PPM;

/// Scores that a validator reveals in an epoch.
pub const SCORES: usize = 1 << 10;
/// Parts of one lock that leave at different heights.
pub const LEAVING: usize = 16;
/// Locks of an account that an answer shows.
pub const LOCKS: usize = 1 << 10;

/// Records of a snapshot in one message; a longer record is in a message of its own.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Records of a snapshot in all.
pub const SNAPSHOT_BYTES: usize = 1 << 32;
/// Snapshots that a node offers.
pub const SNAPSHOTS: usize = 8;

/// Blocks of an epoch.
pub const TEMPO: u64 = 1 << 20;
/// Blocks from unlocking to the release.
pub const UNBONDING_BLOCKS: u64 = 1 << 32;
/// Least stake for one of voting power, where stake gives any.
pub const STAKE_PER_POWER: u64 = 1 << 16;
/// Greatest number of miners at a time.
pub const MINERS: u64 = 1 << 14;
/// Greatest steepness of the rates of bonds.
pub const STEEPNESS_PPM: u64 = 30_000 * PPM;
/// Base units minted an epoch, before halvings.
pub const EMISSION: u64 = 1 << 53;
/// Parts per million in one.
pub const PPM: u64 = 1_000_000;

// The largest job, output and proof fit a receipt; a transaction fits a message and a block. 128 bytes are more than a
// signer, a signature and their framing take.
const _: () = {
    assert!(JOB_BYTES + OUTPUT_BYTES + PROOF_PAYLOAD_BYTES + 4 * 128 <= TRANSACTION_BYTES);
    assert!(VERIFYING_KEY_BYTES + NAME_BYTES + 128 <= TRANSACTION_BYTES);
    assert!(TRANSACTION_BYTES + 128 <= MESSAGE_BYTES);
    assert!(TRANSACTION_BYTES + 128 + HEADER_BYTES <= BLOCK_BYTES);
    assert!(VALIDATORS * 128 + VOTE_BYTES <= CERTIFICATE_BYTES);
    assert!(
        TRANSACTION_BYTES + SIBLINGS * 34 + HEADER_BYTES + CERTIFICATE_BYTES + 256 <= INCLUSION_PROOF_BYTES
    );
    assert!(INCLUSION_PROOF_BYTES + 64 <= BLOCK_MESSAGE_BYTES);
};
