//! Ed25519 so that one signature and many give the same answer.
//!
//! ```text
//! k = SHA-512(R || A || message)
//! one     [8](s B - R - k A) = 0
//! many    [8](sum z_i s_i B - sum z_i R_i - sum_A (sum_{i of A} z_i k_i) A) = 0,   z_i: 128 bits of a hash of all
//! ```
//!
//! with canonical `s`, and neither `R` nor `A` of small order. The factor 8 is that of RFC 8032, section 5.1.7: without it a
//! sum could hold where a part of small order in one signature makes it fail alone, and validators that check in different
//! batches would disagree.

use std::collections::BTreeMap;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};

/// A key and a signature under it, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    a: EdwardsPoint,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
    /// `A || R || s || k`.
    bytes: [u8; 128],
}

impl Claim {
    /// Reads a key, where that has not been done, and a signature over the parts of a message.
    pub fn read(keys: &mut Keys, key: &[u8; 32], signature: &[u8; 64], message: &[&[u8]]) -> Option<Self> {
        let (r, s) = signature.split_first_chunk::<32>()?;
        let s = <[u8; 32]>::try_from(s).ok()?;
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(key);
        message.iter().for_each(|part| hash.update(part));
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let (a, point) = (keys.get(key)?, point(r)?);
        let mut bytes = [0; 128];
        let parts = [key, r, &s, k.as_bytes()];
        bytes.chunks_exact_mut(32).zip(parts).for_each(|(to, from)| to.copy_from_slice(from));
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s))?;
        Some(Self { a, r: point, s, k, bytes })
    }

    /// Whether the signature holds.
    pub fn holds(&self) -> bool {
        let Self { a, r, s, k, .. } = self;
        is_small(&(EdwardsPoint::vartime_double_scalar_mul_basepoint(k, &-a, s) - r))
    }
}

/// Whether all signatures hold.
pub(super) fn all_hold(claims: &[Claim]) -> bool {
    if let [claim] = claims {
        return claim.holds();
    }
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 signatures");
    for claim in claims {
        hash.update(&claim.bytes);
    }
    let mut stream = hash.finalize_xof();
    let mut base = Scalar::ZERO;
    let mut keys: BTreeMap<&[u8], (Scalar, EdwardsPoint)> = BTreeMap::new();
    let mut scalars = Vec::with_capacity(claims.len());
    for claim in claims {
        let mut z = [0; 16];
        stream.fill(&mut z);
        let z = Scalar::from(u128::from_le_bytes(z));
        base += z * claim.s;
        let (key, _) = claim.bytes.split_at(32);
        keys.entry(key).or_insert((Scalar::ZERO, claim.a)).0 -= z * claim.k;
        scalars.push(-z);
    }
    let points = claims.iter().map(|claim| claim.r).chain(keys.values().map(|(_, a)| *a));
    let points: Vec<EdwardsPoint> = points.collect();
    scalars.extend(keys.values().map(|(scalar, _)| *scalar));
    let sum = EdwardsPoint::vartime_multiscalar_mul(&scalars, &points) + EdwardsPoint::mul_base(&base);
    is_small(&sum)
}

/// Keys that were read already: few keys sign most of what there is.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<[u8; 32], Option<EdwardsPoint>>);

impl Keys {
    fn get(&mut self, key: &[u8; 32]) -> Option<EdwardsPoint> {
        *self.0.entry(*key).or_insert_with(|| point(key))
    }
}

/// A point that is not of small order.
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress().filter(|point| !point.is_small_order())
}

fn is_small(point: &EdwardsPoint) -> bool {
    point.mul_by_cofactor().is_identity()
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    const MESSAGE: &[u8] = b"a message";

    fn claim(key: &[u8; 32], signature: &[u8; 64]) -> Option<Claim> {
        Claim::read(&mut Keys::default(), key, signature, &[MESSAGE])
    }

    fn honest(seed: u8) -> Claim {
        let key = SigningKey::from_bytes(&[seed; 32]);
        claim(key.verifying_key().as_bytes(), &key.sign(MESSAGE).to_bytes()).expect("points")
    }

    /// A signature with these parts of small order in its key and in `R`, by whoever knows the secret.
    fn odd(seed: u8, of_key: usize, of_r: usize) -> Claim {
        let (a, r) = (Scalar::from(u64::from(seed) + 5), Scalar::from(77_u64 + u64::from(seed)));
        let key = (ED25519_BASEPOINT_POINT * a + EIGHT_TORSION[of_key]).compress().to_bytes();
        let point = (ED25519_BASEPOINT_POINT * r + EIGHT_TORSION[of_r]).compress().to_bytes();
        let hash = Sha512::new().chain_update(point).chain_update(key).chain_update(MESSAGE).finalize();
        let s = r + Scalar::from_bytes_mod_order_wide(&hash.into()) * a;
        let signature: Vec<u8> = [point, s.to_bytes()].concat();
        claim(&key, signature.as_slice().try_into().expect("64 bytes")).expect("points")
    }

    #[test]
    fn what_holds_alone_holds_in_any_company_and_what_does_not_fails_in_any() {
        let mut claims: Vec<Claim> = (0..40).map(|n| honest(n % 7)).collect();
        claims.extend((0..40).map(|n| odd(n, usize::from(n) % 8, usize::from(n / 2) % 8)));
        assert!(claims.iter().all(Claim::holds));
        for length in [0, 2, 3, 10, 80] {
            assert!(all_hold(&claims[..length]) && claims.chunks(length.max(1)).all(all_hold), "{length}");
        }
        for at in 0..claims.len() {
            let mut bad = claims.clone();
            bad[at].s += Scalar::ONE;
            assert!(!bad[at].holds() && !all_hold(&bad), "{at}");
        }
    }

    #[test]
    fn errors_of_two_signatures_do_not_cancel() {
        let (mut one, mut other) = (honest(1), honest(1));
        one.s += Scalar::ONE;
        other.s -= Scalar::ONE;
        assert!(!all_hold(&[one, other]));
    }

    #[test]
    fn points_of_small_order_are_refused_on_either_side() {
        let signature = SigningKey::from_bytes(&[1; 32]).sign(MESSAGE).to_bytes();
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        assert!(claim(&key, &signature).is_some());
        for small in EIGHT_TORSION.map(|point| point.compress().to_bytes()) {
            assert!(claim(&small, &signature).is_none());
            let mut nothing = signature;
            nothing[..32].copy_from_slice(&small);
            assert!(claim(&key, &nothing).is_none());
        }
    }
}
