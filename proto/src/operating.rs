//! The key that signs the work of a miner or a validator, apart from the key that owns its base units.
//!
//! ```text
//! owner        signs SetOperatingKey          its key may stay offline
//! operating    signs KeyConsent{owner}        shows that whoever names the key has it; the chain is in the signature
//! ```

use crate::codec::{Canonical, required};
use crate::error::ProtoError;
use crate::id::{ChainId, PublicKey};
use crate::signing::{Envelope, Payload, SecretKey};
use crate::{limits, wire};

/// A key agrees to sign for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyConsent {
    /// Whom it signs for.
    pub owner: PublicKey,
}

/// Names the signer's operating key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetOperatingKey {
    /// A [`KeyConsent`], signed by the operating key.
    pub consent: Envelope,
}

impl SetOperatingKey {
    /// With the consent of this key.
    pub fn new(chain: &ChainId, owner: PublicKey, operating: &SecretKey) -> Self {
        Self { consent: operating.sign(chain, KeyConsent { owner }).into_envelope() }
    }
}

impl Canonical for KeyConsent {
    type Wire = wire::KeyConsent;
    const NAME: &'static str = "consent of an operating key";
    const MAX_BYTES: usize = limits::KEY_CONSENT_BYTES;
}

impl Payload for KeyConsent {
    const KIND: &'static str = "KeyConsent";
}

impl TryFrom<wire::KeyConsent> for KeyConsent {
    type Error = ProtoError;

    fn try_from(wire: wire::KeyConsent) -> Result<Self, ProtoError> {
        Ok(Self { owner: wire.owner.as_slice().try_into()? })
    }
}

impl From<&KeyConsent> for wire::KeyConsent {
    fn from(consent: &KeyConsent) -> Self {
        Self { owner: consent.owner.to_vec() }
    }
}

impl Canonical for SetOperatingKey {
    type Wire = wire::SetOperatingKey;
    const NAME: &'static str = "operating key with its consent";
    const MAX_BYTES: usize = limits::KEY_CONSENT_BYTES + 128;
}

impl TryFrom<wire::SetOperatingKey> for SetOperatingKey {
    type Error = ProtoError;

    fn try_from(wire: wire::SetOperatingKey) -> Result<Self, ProtoError> {
        Ok(Self { consent: required(wire.consent, "consent of an operating key")? })
    }
}

impl From<&SetOperatingKey> for wire::SetOperatingKey {
    fn from(body: &SetOperatingKey) -> Self {
        Self { consent: Some((&body.consent).into()) }
    }
}
