//! Signed messages.
//!
//! `signature = Ed25519(secret, "assay.v1." kind || 0x00 || len(chain_id) || chain_id || payload)`, the length in
//! one byte. Kind and chain are inside, so a signature counts for one message type on one chain. It is checked
//! strictly (`ed25519`): canonical `s`, no point of small order, and the same answer alone and among many. The payload is
//! signed as bytes and accepted only in its canonical encoding.

mod ed25519;
mod held;

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::codec::Canonical;
use crate::error::ProtoError;
use crate::id::{ChainId, PublicKey};
use crate::wire;
use ed25519::{Claim, Keys};

pub use held::Held;

/// A message that is signed.
pub trait Payload: Canonical {
    /// Name inside the signature; no two kinds share it.
    const KIND: &'static str;
}

/// 64 bytes of an Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl TryFrom<&[u8]> for Signature {
    type Error = ProtoError;

    fn try_from(bytes: &[u8]) -> Result<Self, ProtoError> {
        bytes.try_into().map(Self).map_err(|_| ProtoError::Length {
            what: "signature",
            expected: 64,
            got: bytes.len(),
        })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// Ed25519 secret key. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, ProtoError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| ProtoError::Randomness)?;
        Ok(Self::from_bytes(&seed))
    }

    /// The key of a 32-byte seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key of 64 hexadecimal digits, blanks around them ignored.
    pub fn from_hex(text: &str) -> Result<Self, ProtoError> {
        let mut seed = Zeroizing::new([0; 32]);
        // The text is secret: the error must not quote it.
        hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| ProtoError::Text {
            what: "secret key",
            expected: "64 hexadecimal digits",
            got: "something else".to_owned(),
        })?;
        Ok(Self::from_bytes(&seed))
    }

    /// The seed as 64 hexadecimal digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_bytes()))
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message for one chain.
    pub fn sign<T: Payload>(&self, chain: &ChainId, value: T) -> Signed<T> {
        let payload = value.encode();
        let signature = Signature(self.0.sign(&message(T::KIND, chain, &payload)).to_bytes());
        Signed { value, envelope: Envelope { payload, signer: self.public_key(), signature } }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// A signed message as it travels: nothing about it is checked but its lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes under the signature.
    pub payload: Vec<u8>,
    /// Claimed signer.
    pub signer: PublicKey,
    /// Signature.
    pub signature: Signature,
}

impl Envelope {
    /// Checks the signature, then the payload: its canonical encoding and its limits.
    pub fn open<T: Payload>(&self, chain: &ChainId) -> Result<Signed<T>, ProtoError> {
        self.open_held(chain, &Held::default())
    }

    /// The same, but that a signature which is among those that hold is not checked again.
    pub fn open_held<T: Payload>(&self, chain: &ChainId, held: &Held) -> Result<Signed<T>, ProtoError> {
        if self.payload.len() > T::MAX_BYTES {
            return Err(ProtoError::TooLong { what: T::NAME, limit: T::MAX_BYTES, got: self.payload.len() });
        }
        if !held.contains(T::KIND, chain, self) {
            verify(T::KIND, chain, &self.payload, &self.signer, &self.signature)?;
        }
        Ok(Signed { value: T::decode(&self.payload)?, envelope: self.clone() })
    }

    /// Bytes of the encoded message.
    pub fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(&wire::Signed::from(self))
    }
}

/// A message whose signature holds and whose payload is valid. Made by signing or by [`Envelope::open`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    envelope: Envelope,
}

impl<T> Signed<T> {
    /// The message.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Who signed it.
    pub fn signer(&self) -> PublicKey {
        self.envelope.signer
    }

    /// As it travels.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// As it travels.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// The message and the envelope that carried it.
    pub fn into_parts(self) -> (T, Envelope) {
        (self.value, self.envelope)
    }
}

/// Checks a signature over a payload of a kind on a chain.
pub fn verify(
    kind: &'static str,
    chain: &ChainId,
    payload: &[u8],
    signer: &PublicKey,
    signature: &Signature,
) -> Result<(), ProtoError> {
    let (head, payload) = preimage(kind, chain, payload);
    let claim = Claim::read(&mut Keys::default(), &signer.0, &signature.0, &[&head, payload]);
    match claim {
        Some(claim) if claim.holds() => Ok(()),
        Some(_) | None => Err(ProtoError::Signature { kind, signer: *signer }),
    }
}

/// The bytes that a signature covers, in two parts.
fn preimage<'a>(kind: &str, chain: &ChainId, payload: &'a [u8]) -> (Vec<u8>, &'a [u8]) {
    ([b"assay.v1.", kind.as_bytes(), &[0], &chain.prefixed()].concat(), payload)
}

fn message(kind: &str, chain: &ChainId, payload: &[u8]) -> Vec<u8> {
    let (mut head, payload) = preimage(kind, chain, payload);
    head.extend(payload);
    head
}

impl TryFrom<wire::Signed> for Envelope {
    type Error = ProtoError;

    fn try_from(wire: wire::Signed) -> Result<Self, ProtoError> {
        Ok(Self {
            signer: wire.signer.as_slice().try_into()?,
            signature: wire.signature.as_slice().try_into()?,
            payload: wire.payload,
        })
    }
}

impl From<&Envelope> for wire::Signed {
    fn from(envelope: &Envelope) -> Self {
        Self {
            payload: envelope.payload.clone(),
            signer: envelope.signer.to_vec(),
            signature: envelope.signature.0.to_vec(),
        }
    }
}

impl From<Envelope> for wire::Signed {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload: envelope.payload,
            signer: envelope.signer.to_vec(),
            signature: envelope.signature.0.to_vec(),
        }
    }
}

impl<T> From<&Signed<T>> for wire::Signed {
    fn from(signed: &Signed<T>) -> Self {
        (&signed.envelope).into()
    }
}
