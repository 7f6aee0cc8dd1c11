//! Receipts that were prepared already, so that nobody pays twice for the same signatures and the same proof.
//!
//! ```text
//! name   = BLAKE3-derive_key("assay.v1 known", chain || signer || signature || payload)
//! known  = receipts whose four signatures held and whose evidence says Verified under the key of this digest
//! ```
//!
//! Whether that holds depends on nothing else, so remembering it saves time and decides nothing; where a state holds another
//! key, the receipt is judged again. The oldest are forgotten first, by number and by bytes.

use std::collections::{BTreeMap, VecDeque};

use assay_proto::job::Job;
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::{ChainId, Envelope, PublicKey, Signed};

use super::prepare::{Action, Judged, Prepared};
use crate::limits;
use crate::receipt::Judgement;
use crate::state::KeyDigest;

/// Names a transaction with its signature on its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name([u8; 32]);

impl Name {
    pub(crate) fn of(chain: &ChainId, transaction: &Envelope) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("assay.v1 known");
        hasher.update(&chain.prefixed()).update(&transaction.signer.0);
        hasher.update(&transaction.signature.0).update(&transaction.payload);
        Self(hasher.finalize().into())
    }
}

#[derive(Debug)]
struct Entry {
    signer: PublicKey,
    nonce: u64,
    receipt: Receipt,
    job: Signed<Job>,
    key: KeyDigest,
    bytes: usize,
}

/// The latest verified receipts.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: BTreeMap<Name, Entry>,
    order: VecDeque<Name>,
    bytes: usize,
}

impl Known {
    /// What preparing this transaction gave before.
    pub(super) fn recall(&self, name: &Name) -> Option<Prepared> {
        let Entry { signer, nonce, receipt, job, key, .. } = self.entries.get(name)?;
        let judged = Judged {
            receipt: receipt.clone(),
            job: job.clone(),
            key: Some(*key),
            judgement: Ok(Judgement { verdict: Verdict::Verified, cause: None }),
        };
        Some(Prepared { signer: *signer, nonce: *nonce, action: Action::Receipt(Box::new(judged)) })
    }

    /// Remembers what preparing a transaction of this length gave, if it is a verified receipt.
    pub(super) fn note(&mut self, name: Name, prepared: &Prepared, length: usize) {
        let Prepared { signer, nonce, action: Action::Receipt(judged) } = prepared else { return };
        let Judged { receipt, job, key: Some(key), judgement: Ok(judgement) } = judged.as_ref() else {
            return;
        };
        if judgement.verdict != Verdict::Verified || self.entries.contains_key(&name) {
            return;
        }
        // The payload, the job in it again, and the job's values.
        let bytes = length.saturating_mul(4);
        let (signer, nonce, receipt, job, key) = (*signer, *nonce, receipt.clone(), job.clone(), *key);
        self.entries.insert(name, Entry { signer, nonce, receipt, job, key, bytes });
        self.order.push_back(name);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.entries.len() > limits::KNOWN || self.bytes > limits::KNOWN_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            let gone = self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}
