//! Receipts that were prepared already and are in no decided block yet, so that nobody pays twice for the same
//! signatures and the same proof.
//!
//! ```text
//! name   = BLAKE3-derive_key("assay.v1 known", chain || signer || signature || payload)
//! known  = receipts whose four signatures held and whose evidence says what they say, under the key of this digest
//! ```
//!
//! Whether it does depends on nothing else, so remembering it saves time and decides nothing; where a state holds another
//! key, the receipt is judged again. Deciding a block forgets what can be in no later one; the oldest are forgotten first
//! beyond a number and beyond a size.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_proto::{ChainId, Envelope, PublicKey};

use super::prepare::{Action, Judged, Prepared};
use crate::limits;
use crate::receipt::Judgement;

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
    judged: Arc<Judged>,
    bytes: usize,
    number: u64,
}

/// The latest judged receipts.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: BTreeMap<Name, Entry>,
    /// By the order in which they came.
    order: BTreeMap<u64, Name>,
    next: u64,
    bytes: usize,
}

impl Known {
    /// What preparing this transaction gave before.
    pub(super) fn recall(&self, name: &Name) -> Option<Prepared> {
        let Entry { signer, nonce, judged, .. } = self.entries.get(name)?;
        let action = Action::Receipt(Arc::clone(judged));
        Some(Prepared { signer: *signer, nonce: *nonce, action })
    }

    /// Remembers what preparing a transaction of this length gave, if it is a receipt and says what its evidence says.
    pub(super) fn note(&mut self, name: Name, prepared: &Prepared, length: usize) {
        let Prepared { signer, nonce, action: Action::Receipt(judged) } = prepared else { return };
        let agrees = |judgement: &Judgement| judgement.verdict == judged.receipt.verdict;
        if !judged.judgement.as_ref().is_ok_and(agrees) || self.entries.contains_key(&name) {
            return;
        }
        // The receipt, the job in it again, and the job's values.
        let (bytes, number) = (length.saturating_mul(3), self.next);
        let entry = Entry { signer: *signer, nonce: *nonce, judged: Arc::clone(judged), bytes, number };
        self.entries.insert(name, entry);
        self.order.insert(number, name);
        self.next = self.next.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.entries.len() > limits::KNOWN || self.bytes > limits::KNOWN_BYTES {
            let Some((_, oldest)) = self.order.first_key_value() else { return };
            let oldest = *oldest;
            self.forget(&oldest);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what can be in no block any more, given the last nonce of a signer: what was decided, and what was judged while
    /// it was.
    pub(crate) fn forget_used(&mut self, last: impl Fn(&PublicKey) -> u64) {
        let used = |entry: &Entry| entry.nonce <= last(&entry.signer);
        let gone: Vec<Name> =
            self.entries.iter().filter(|(_, entry)| used(entry)).map(|(name, _)| *name).collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// Forgets a transaction.
    pub(crate) fn forget(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&entry.number);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_proto::SecretKey;
    use assay_proto::job::Job;
    use assay_proto::receipt::{Evidence, Receipt, Verdict};
    use assay_proto::{ModelId, Signed};

    use super::*;

    fn name(number: usize) -> Name {
        Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn prepared(nonce: u64, says: Verdict) -> Prepared {
        let (key, chain) = (SecretKey::from_bytes(&[1; 32]), ChainId::new("test-known").unwrap());
        let job = Job {
            model_id: ModelId([2; 32]),
            inputs: vec![],
            nonce,
            max_price: 1,
            deadline_ms: 1,
            tier: Default::default(),
        };
        let job: Signed<Job> = key.sign(&chain, job);
        let evidence = Evidence {
            job: job.envelope().clone(),
            miner: key.public_key(),
            output: None,
            proof: None,
            assigned_at_ms: 0,
            output_us: 0,
            proof_us: 0,
            ping_us: 0,
        };
        let receipt = Receipt { evidence, verdict: Verdict::Absent };
        let judgement = Ok(Judgement { verdict: says, cause: None });
        let judged = Judged { receipt, job, key: None, judgement };
        Prepared { signer: key.public_key(), nonce, action: Action::Receipt(Arc::new(judged)) }
    }

    #[test]
    fn receipts_are_remembered_up_to_a_number_and_a_size_the_oldest_forgotten_first() {
        let mut known = Known::default();
        let prepared = prepared(7, Verdict::Absent);
        (0..=limits::KNOWN).for_each(|number| known.note(name(number), &prepared, 100));
        assert!(known.recall(&name(0)).is_none());
        assert!(
            [1, limits::KNOWN]
                .iter()
                .all(|&number| known.recall(&name(number)).is_some_and(|p| p.nonce == 7))
        );
        known.note(name(1), &prepared, 100);
        assert_eq!(
            (known.entries.len(), known.order.len(), known.bytes),
            (limits::KNOWN, limits::KNOWN, 300 * limits::KNOWN)
        );
        known.note(name(limits::KNOWN + 1), &prepared, limits::KNOWN_BYTES / 3);
        assert_eq!((known.entries.len(), known.order.len()), (1, 1));
        known.forget(&name(limits::KNOWN + 1));
        known.forget(&name(limits::KNOWN + 1));
        assert_eq!((known.entries.len(), known.order.len(), known.bytes), (0, 0, 0));
    }

    #[test]
    fn what_can_be_in_no_block_any_more_is_forgotten() {
        let mut known = Known::default();
        for nonce in 1..=5 {
            known.note(name(nonce), &prepared(nonce as u64, Verdict::Absent), 100);
        }
        known.forget_used(|_| 3);
        assert!((1..=3).all(|number| known.recall(&name(number)).is_none()));
        assert!((4..=5).all(|number| known.recall(&name(number)).is_some()));
        assert_eq!((known.order.len(), known.bytes), (2, 600));
    }

    #[test]
    fn a_receipt_that_does_not_say_what_its_evidence_says_is_not_remembered() {
        let mut known = Known::default();
        known.note(name(0), &prepared(1, Verdict::Verified), 100);
        assert!(known.entries.is_empty());
    }
}
