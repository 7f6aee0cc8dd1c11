//! Everything the database holds, in one place. Numbers in keys are big-endian, so that keys sort as numbers do.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `meta` | `schema` | `u32`, big-endian |
//! | `meta` | `genesis` | `Genesis`, canonical protobuf |
//! | `blocks` | height | `CommittedBlock`, canonical protobuf |
//! | `state` | key of a state record | value of a state record, see `assay_verifier::state::Record` |
//! | `receipts` | job id, height, index | nothing: the place of a receipt in the log |
//! | `epochs` | epoch | `EpochReport`, canonical protobuf |
//! | `job_nonces` | client, nonce | nothing: this broker took a job under the nonce |
//! | `outbox` | job id, miner | `Receipt`, canonical protobuf, signed and submitted here but in no decided block yet |
//! | `undecided` | height, hash of the header | `Block`, canonical protobuf: proposed here or found valid |
//! | `proposals` | height, round | hash of the block that this validator proposed |
//!
//! `meta`, `blocks`, `state`, `receipts` and `epochs` change together, once a block, and then
//! `undecided` and `proposals` lose what is decided. `job_nonces` and `outbox` are this broker's own. Blocks are kept from
//! one height to the last without a gap, and `receipts` names places in those only.

use assay_proto::{BlockHash, Epoch, Height, JobId, PublicKey};

/// Version of this layout. An older database is led here by `super::migrations`; a newer one is refused.
pub const SCHEMA: u32 = 3;

/// Key of the schema's version in `meta`.
pub const META_SCHEMA: &[u8] = b"schema";
/// Key of the genesis in `meta`.
pub const META_GENESIS: &[u8] = b"genesis";

/// The column families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Version and genesis.
    Meta,
    /// Decided blocks with their certificates.
    Blocks,
    /// Records of the state after the last block.
    State,
    /// Where a job's receipts are in the log.
    Receipts,
    /// Reports of ended epochs.
    Epochs,
    /// Nonces of jobs that this broker took.
    JobNonces,
    /// Receipts of this broker that are in no block yet.
    Outbox,
    /// Blocks that may be decided.
    Undecided,
    /// What this validator proposed.
    Proposals,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 9] = [
        Self::Meta,
        Self::Blocks,
        Self::State,
        Self::Receipts,
        Self::Epochs,
        Self::JobNonces,
        Self::Outbox,
        Self::Undecided,
        Self::Proposals,
    ];

    /// Name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Blocks => "blocks",
            Self::State => "state",
            Self::Receipts => "receipts",
            Self::Epochs => "epochs",
            Self::JobNonces => "job_nonces",
            Self::Outbox => "outbox",
            Self::Undecided => "undecided",
            Self::Proposals => "proposals",
        }
    }
}

/// Key in `blocks`.
pub fn block_key(height: Height) -> [u8; 8] {
    height.0.to_be_bytes()
}

/// Height of a key in `blocks`.
pub fn height_of(key: &[u8]) -> Option<Height> {
    Some(Height(u64::from_be_bytes(key.try_into().ok()?)))
}

/// Key in `epochs`.
pub fn epoch_key(epoch: Epoch) -> [u8; 8] {
    epoch.0.to_be_bytes()
}

/// Key in `receipts`.
pub fn receipt_key(job: &JobId, height: Height, index: u32) -> Vec<u8> {
    [job.0.as_slice(), &height.0.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// Height and index of a key in `receipts`.
pub fn receipt_place(key: &[u8]) -> Option<(Height, u32)> {
    let (_, place) = key.split_first_chunk::<32>()?;
    let (height, index) = place.split_first_chunk::<8>()?;
    Some((Height(u64::from_be_bytes(*height)), u32::from_be_bytes(index.try_into().ok()?)))
}

/// Key in `job_nonces`.
pub fn nonce_key(client: &PublicKey, nonce: u64) -> Vec<u8> {
    [client.0.as_slice(), &nonce.to_be_bytes()].concat()
}

/// Nonce of a key in `job_nonces`.
pub fn nonce_of(key: &[u8]) -> Option<u64> {
    let (_, nonce) = key.split_first_chunk::<32>()?;
    Some(u64::from_be_bytes(nonce.try_into().ok()?))
}

/// Key in `outbox`.
pub fn outbox_key(job: &JobId, miner: &PublicKey) -> Vec<u8> {
    [job.0, miner.0].concat()
}

/// Key in `undecided`.
pub fn undecided_key(height: Height, hash: &BlockHash) -> Vec<u8> {
    [height.0.to_be_bytes().as_slice(), &hash.0].concat()
}

/// Key in `proposals`.
pub fn proposal_key(height: Height, round: u32) -> Vec<u8> {
    [height.0.to_be_bytes().as_slice(), &round.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_do() {
        let job = JobId([7; 32]);
        assert!(block_key(Height(255)) < block_key(Height(256)));
        assert!(receipt_key(&job, Height(1), 300) < receipt_key(&job, Height(2), 0));
        assert!(nonce_key(&PublicKey([1; 32]), 255) < nonce_key(&PublicKey([1; 32]), 256));
    }

    #[test]
    fn composed_keys_are_read_back_and_others_refused() {
        let key = receipt_key(&JobId([7; 32]), Height(258), 65_539);
        assert_eq!(receipt_place(&key), Some((Height(258), 65_539)));
        assert_eq!(receipt_place(&key[..43]), None);
        assert_eq!(nonce_of(&nonce_key(&PublicKey([1; 32]), 1 << 40)), Some(1 << 40));
        assert_eq!(nonce_of(b"short"), None);
    }
}
