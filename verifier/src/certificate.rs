//! Commit certificates: a block counts if validators with more than two thirds of the voting power signed it.
//!
//! `3 * signed > 2 * total`, each validator counted once, every signature over
//! precommit of the certificate's height, round and block.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use assay_proto::block::{BlockHeader, CommitCertificate};
use assay_proto::genesis::{Genesis, GenesisValidator};
use assay_proto::vote::Vote;
use assay_proto::{Canonical, ChainId, Payload, PublicKey, signing};

use crate::error::Reason;

/// Validators and their voting power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    power: BTreeMap<PublicKey, u64>,
    total: u64,
}

impl ValidatorSet {
    /// The set of a genesis.
    pub fn of(genesis: &Genesis) -> Self {
        Self::new(&genesis.validators)
    }

    /// These.
    pub(crate) fn new(validators: &[GenesisValidator]) -> Self {
        let pair = |validator: &GenesisValidator| (validator.public_key, validator.power);
        let power: BTreeMap<_, _> = validators.iter().map(pair).collect();
        let total = power.values().fold(0, |sum: u64, &power| sum.saturating_add(power));
        Self { power, total }
    }

    /// The set with more power for some of its members, and with new ones that have no other power.
    pub(crate) fn plus(mut self, more: &BTreeMap<PublicKey, u64>) -> Self {
        for (key, more) in more {
            let power = self.power.entry(*key).or_insert(0);
            *power = power.saturating_add(*more);
            self.total = self.total.saturating_add(*more);
        }
        self
    }

    /// The set with other keys, each of which stands for one member.
    pub(crate) fn renamed(&self, key: impl Fn(&PublicKey) -> PublicKey) -> Self {
        let power = self.power.iter().map(|(owner, &power)| (key(owner), power)).collect();
        Self { power, total: self.total }
    }

    /// The set without some of its members; with all of them if none would be left.
    pub(crate) fn without(&self, gone: impl Fn(&PublicKey) -> bool) -> Self {
        let power: BTreeMap<_, _> =
            self.power.iter().filter(|(key, _)| !gone(key)).map(|(&key, &power)| (key, power)).collect();
        if power.is_empty() {
            return self.clone();
        }
        let total = power.values().fold(0, |sum: u64, &power| sum.saturating_add(power));
        Self { power, total }
    }

    /// Those with the greatest power, of equal ones those with the smaller keys.
    pub(crate) fn greatest(&self, count: usize) -> Self {
        let mut ranked: Vec<(Reverse<u64>, PublicKey)> =
            self.power.iter().map(|(&key, &power)| (Reverse(power), key)).collect();
        ranked.sort_unstable();
        let chosen: BTreeSet<PublicKey> = ranked.into_iter().take(count).map(|(_, key)| key).collect();
        self.without(|key| !chosen.contains(key))
    }

    /// Whether the key is a validator's.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.power.contains_key(key)
    }

    /// Keys and powers in ascending order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (PublicKey, u64)> + '_ {
        self.power.iter().map(|(&key, &power)| (key, power))
    }

    /// Power of all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Power of a validator; 0 of anybody else.
    pub fn power(&self, key: &PublicKey) -> u64 {
        self.power.get(key).copied().unwrap_or(0)
    }

    /// Whether this much power decides.
    pub fn is_quorum(&self, power: u64) -> bool {
        u128::from(power) * 3 > u128::from(self.total) * 2
    }
}

/// Whether part of some validators' power is more than half of it: what it takes for words that nobody can check to count against
/// a miner.
pub(crate) fn is_majority(part: u64, total: u64) -> bool {
    part > total / 2
}

/// Checks that the certificate commits the block of this header.
pub fn verify(
    chain: &ChainId,
    validators: &ValidatorSet,
    certificate: &CommitCertificate,
    header: &BlockHeader,
) -> Result<(), Reason> {
    let (expected, precommit) = (header.hash(), &certificate.precommit);
    if precommit.block_hash != expected || precommit.height != header.height {
        return Err(Reason::CertificateBlock { expected, got: precommit.block_hash });
    }
    let payload = precommit.vote().encode();
    let (mut seen, mut signed) = (BTreeSet::new(), 0_u64);
    for entry in &certificate.signatures {
        let power = validators.power.get(&entry.validator);
        let power = power.ok_or(Reason::CertificateSigner(entry.validator))?;
        if !seen.insert(entry.validator) {
            return Err(Reason::CertificateDuplicate(entry.validator));
        }
        signing::verify(Vote::KIND, chain, &payload, &entry.validator, &entry.signature)
            .map_err(Reason::CertificateSignature)?;
        signed = signed.saturating_add(*power);
    }
    if validators.is_quorum(signed) {
        Ok(())
    } else {
        Err(Reason::CertificatePower { got: signed, total: validators.total })
    }
}
