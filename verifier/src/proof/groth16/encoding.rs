//! Strict encoding of points: compressed, canonical, on the curve, in the subgroup, not the identity.

use ark_bn254::{G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize, SerializationError};

/// Why the bytes of a point are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// Not a point of the curve or the subgroup.
    #[error("not a point of the group")]
    NotInGroup,
    /// Another encoding of the point is the canonical one.
    #[error("not in canonical form")]
    NotCanonical,
    /// The identity has no place here.
    #[error("the identity")]
    Identity,
}

/// A point of G1 that is not the identity.
pub fn g1(bytes: &[u8; 32]) -> Result<G1Affine, PointError> {
    decode(bytes)
}

/// A point of G1, the identity included.
pub fn g1_or_identity(bytes: &[u8; 32]) -> Result<G1Affine, PointError> {
    if *bytes == g1_bytes(&G1Affine::zero()) {
        return Ok(G1Affine::zero());
    }
    decode(bytes)
}

/// A point of G2 that is not the identity.
pub fn g2(bytes: &[u8; 64]) -> Result<G2Affine, PointError> {
    decode(bytes)
}

/// A point of the curve of G2 that is not the identity; whether it is in the subgroup is not checked.
pub fn g2_on_curve(bytes: &[u8; 64]) -> Result<G2Affine, PointError> {
    canonical(bytes, G2Affine::deserialize_compressed_unchecked(bytes.as_slice()))
}

/// Canonical bytes of a point of G1.
pub fn g1_bytes(point: &G1Affine) -> [u8; 32] {
    let mut bytes = [0; 32];
    // The array has the compressed size; writing to it cannot fail.
    let written = point.serialize_compressed(bytes.as_mut_slice());
    debug_assert!(written.is_ok());
    bytes
}

/// Canonical bytes of a point of G2.
pub fn g2_bytes(point: &G2Affine) -> [u8; 64] {
    let mut bytes = [0; 64];
    // The array has the compressed size; writing to it cannot fail.
    let written = point.serialize_compressed(bytes.as_mut_slice());
    debug_assert!(written.is_ok());
    bytes
}

fn decode<P: AffineRepr>(bytes: &[u8]) -> Result<P, PointError> {
    canonical(bytes, P::deserialize_compressed(bytes))
}

/// A point that was read from compressed bytes, which puts it on the curve, if these are its only bytes.
fn canonical<P: AffineRepr>(bytes: &[u8], read: Result<P, SerializationError>) -> Result<P, PointError> {
    let point = read.map_err(|_| PointError::NotInGroup)?;
    if point.is_zero() {
        return Err(PointError::Identity);
    }
    let mut again = Vec::with_capacity(bytes.len());
    match point.serialize_compressed(&mut again) {
        Ok(()) if again == bytes => Ok(point),
        _ => Err(PointError::NotCanonical),
    }
}
