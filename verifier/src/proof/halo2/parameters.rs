//! Parameters of the commitments: `2^(k+1) + 2` points of Vesta that come from a hash, so that nobody knows a relation
//! between them. They are the same for every circuit of `2^k` rows, and constants of the protocol; since it takes
//! seconds to make them, a process makes them once, and may bring them from a file.
//!
//! ```text
//! file = "ASSAYHP\x01" || k || points || BLAKE3 of all before
//! ```
//!
//! The digest shows damage. It does not show that the points are the hash's: a file is as trustworthy as its folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use assay_circuits::halo2::EqAffine;
use assay_circuits::halo2::halo2_proofs::poly::commitment::Params;

use super::super::{ProofError, limits};

const MAGIC: &[u8; 8] = b"ASSAYHP\x01";
const DIGEST: usize = 32;
const POINT: usize = 32;

/// Parameters made or read by this process.
static KNOWN: Mutex<BTreeMap<u32, Parameters>> = Mutex::new(BTreeMap::new());

/// Parameters of one size. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parameters(Arc<Params<EqAffine>>);

impl Parameters {
    /// The parameters of `2^k` rows, made now if this process does not have them yet.
    pub fn get(k: u32) -> Self {
        Self::known(k).unwrap_or_else(|| Self(Arc::new(Params::new(k))).keep())
    }

    /// The parameters of `2^k` rows, if this process has them.
    pub fn known(k: u32) -> Option<Self> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&k).cloned()
    }

    /// All parameters that this process has.
    pub fn all() -> Vec<Self> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// They are for circuits of `2^k` rows.
    pub fn k(&self) -> u32 {
        self.0.k()
    }

    /// Keeps these parameters for every key of this process; the first ones of a size stay.
    pub fn keep(self) -> Self {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(self.0.k()).or_insert(self).clone()
    }

    /// The parameters as `halo2_proofs` has them.
    pub fn params(&self) -> &Params<EqAffine> {
        &self.0
    }

    /// Bytes of a file of parameters.
    pub fn file_bytes(k: u32) -> usize {
        MAGIC.len() + 4 + POINT * ((2usize << k) + 2) + DIGEST
    }

    /// Bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // A Vec takes any number of bytes.
        let written = self.0.write(&mut bytes);
        debug_assert!(written.is_ok());
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// Strict inverse of [`Parameters::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::KeyFormat(format!("parameters: {reason}"));
        let (content, digest) = bytes.split_last_chunk::<DIGEST>().ok_or_else(|| refuse("cut off"))?;
        let mut body = content.strip_prefix(MAGIC).ok_or_else(|| refuse("no magic"))?;
        let k = body.first_chunk::<4>().ok_or_else(|| refuse("cut off"))?;
        let k = u32::from_le_bytes(*k);
        if k > limits::HALO2_K {
            return Err(refuse("too many rows"));
        }
        if bytes.len() != Self::file_bytes(k) {
            return Err(refuse("the length is not that of their k"));
        }
        if blake3::hash(content) != *digest {
            return Err(refuse("the file is damaged"));
        }
        let params = Params::read(&mut body).map_err(|e| refuse(&e.to_string()))?;
        Ok(Self(Arc::new(params)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_round_trips_and_no_other_is_accepted() {
        let parameters = Parameters(Arc::new(Params::new(4)));
        let bytes = parameters.to_bytes();
        assert_eq!(bytes.len(), Parameters::file_bytes(4));
        let again = Parameters::from_bytes(&bytes).expect("the file is whole");
        assert_eq!(again.to_bytes(), bytes);
        for length in [0, 8, 12, 44, bytes.len() - 1] {
            assert!(Parameters::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        for at in [0, 8, 11, 40, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Parameters::from_bytes(&other).is_err(), "{at}");
        }
        assert!(Parameters::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
