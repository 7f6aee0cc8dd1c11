//! Canonical protobuf: a message has one accepted encoding, the one that encoding its decoded value yields.
//!
//! `decode(b) = Ok(v)` only if `encode(v) = b`. Unknown fields, fields out of order, repeated scalars,
//! over-long varints and explicit defaults are all refused by that one rule. Length and repetition are bounded
//! before anything is allocated.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::error::ProtoError;

/// A repeated field: the tags from the message down to it, and the count that is accepted.
pub struct Repeated {
    /// Name for messages.
    pub what: &'static str,
    /// Tags, outermost first.
    pub path: &'static [u32],
    /// Greatest count over the whole message.
    pub limit: usize,
}

/// A domain type with a canonical encoding.
pub trait Canonical: Sized + TryFrom<Self::Wire, Error = ProtoError> {
    /// Generated type.
    type Wire: Message + Default + for<'a> From<&'a Self>;
    /// Name for messages.
    const NAME: &'static str;
    /// Greatest length.
    const MAX_BYTES: usize;
    /// Bounds on every repeated message or bytes field.
    const REPEATED: &'static [Repeated] = &[];

    /// The canonical bytes.
    fn encode(&self) -> Vec<u8> {
        Self::Wire::from(self).encode_to_vec()
    }

    /// Accepts canonical bytes of a valid value only.
    fn decode(bytes: &[u8]) -> Result<Self, ProtoError> {
        let what = Self::NAME;
        if bytes.len() > Self::MAX_BYTES {
            return Err(ProtoError::TooLong { what, limit: Self::MAX_BYTES, got: bytes.len() });
        }
        for bound in Self::REPEATED {
            let decode_error = |source| ProtoError::Decode { what, source };
            let got = count(bytes, bound.path, bound.limit).map_err(decode_error)?;
            if got > bound.limit {
                return Err(ProtoError::TooMany { what: bound.what, limit: bound.limit, got });
            }
        }
        let wire = Self::Wire::decode(bytes).map_err(|source| ProtoError::Decode { what, source })?;
        if wire.encode_to_vec() != bytes {
            return Err(ProtoError::NotCanonical { what });
        }
        Self::try_from(wire)
    }
}

/// Occurrences of the field at `path`, without decoding it; stops at the first above `limit`.
fn count(mut bytes: &[u8], path: &[u32], limit: usize) -> Result<usize, prost::DecodeError> {
    let Some((&wanted, rest)) = path.split_first() else { return Ok(1) };
    let mut found = 0;
    while !bytes.is_empty() && found <= limit {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        if tag == wanted && wire_type == WireType::LengthDelimited {
            let mut ahead = bytes;
            let length = decode_varint(&mut ahead)?;
            let inner = usize::try_from(length).ok().and_then(|length| ahead.get(..length));
            found += inner.map_or(Ok(0), |inner| count(inner, rest, limit))?;
        }
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
    }
    Ok(found)
}

/// A nested message that must be there.
pub(crate) fn required<W, T>(value: Option<W>, what: &'static str) -> Result<T, ProtoError>
where
    T: TryFrom<W, Error = ProtoError>,
{
    value.ok_or(ProtoError::Missing { what })?.try_into()
}

/// Every entry converted, the first error returned.
pub(crate) fn each<W, T>(
    values: Vec<W>,
    what: &'static str,
    limit: usize,
    mut convert: impl FnMut(W) -> Result<T, ProtoError>,
) -> Result<Vec<T>, ProtoError> {
    if values.len() > limit {
        return Err(ProtoError::TooMany { what, limit, got: values.len() });
    }
    values.into_iter().map(&mut convert).collect()
}

/// A number within its range.
pub(crate) fn ranged(what: &'static str, got: u64, lo: u64, hi: u64) -> Result<u64, ProtoError> {
    if (lo..=hi).contains(&got) { Ok(got) } else { Err(ProtoError::OutOfRange { what, lo, hi, got }) }
}
