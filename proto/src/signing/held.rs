//! Signatures of many envelopes at once.

use std::collections::BTreeSet;

use super::ed25519::{Claim, Keys, all_hold};
use super::{Envelope, preimage};
use crate::id::ChainId;

/// Signatures that hold, by a name of all that they are about. Whether one holds depends on nothing else.
#[derive(Debug, Default)]
pub struct Held(BTreeSet<Name>);

type Name = [u8; 32];

impl Held {
    /// Those that hold of these envelopes, each of a kind, on a chain.
    pub fn of(chain: &ChainId, envelopes: &[(&'static str, &Envelope)]) -> Self {
        let mut keys = Keys::default();
        let read = |&(kind, envelope): &(&str, &Envelope)| {
            let (head, payload) = preimage(kind, chain, &envelope.payload);
            let claim = Claim::read(&mut keys, &envelope.signer.0, &envelope.signature.0, &[&head, payload])?;
            Some((name(kind, chain, envelope), claim))
        };
        let (names, claims): (Vec<Name>, Vec<Claim>) = envelopes.iter().filter_map(read).unzip();
        let mut held = Self::default();
        held.take(&names, &claims);
        held
    }

    /// All, or each half on its own.
    fn take(&mut self, names: &[Name], claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        if all_hold(claims) {
            self.0.extend(names);
        } else if claims.len() > 1 {
            let middle = claims.len() / 2;
            let ((left, right), (first, second)) = (names.split_at(middle), claims.split_at(middle));
            self.take(left, first);
            self.take(right, second);
        }
    }

    /// Takes in others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether the signature of an envelope of a kind was found to hold.
    pub(super) fn contains(&self, kind: &str, chain: &ChainId, envelope: &Envelope) -> bool {
        !self.0.is_empty() && self.0.contains(&name(kind, chain, envelope))
    }
}

fn name(kind: &str, chain: &ChainId, envelope: &Envelope) -> Name {
    let (head, payload) = preimage(kind, chain, &envelope.payload);
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 held");
    hash.update(&envelope.signer.0).update(&envelope.signature.0).update(&head).update(payload);
    hash.finalize().into()
}
