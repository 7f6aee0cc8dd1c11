//! Identifiers as distinct types, so that none stands in for another.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::ProtoError;
use crate::limits;

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ProtoError;

            fn from_str(text: &str) -> Result<Self, ProtoError> {
                let mut bytes = [0; 32];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(ProtoError::text($what, "64 hexadecimal digits", text)),
                }
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ProtoError;

            fn try_from(bytes: &[u8]) -> Result<Self, ProtoError> {
                bytes.try_into().map(Self).map_err(|_| ProtoError::Length {
                    what: $what,
                    expected: 32,
                    got: bytes.len(),
                })
            }
        }

        impl $name {
            /// The bytes as a protobuf field.
            pub fn to_vec(&self) -> Vec<u8> {
                self.0.to_vec()
            }
        }
    };
}

bytes32!(
    /// Ed25519 public key: the name of a client, miner or validator and of its account.
    PublicKey,
    "public key"
);
bytes32!(
    /// Digest of a job's chain, signer and payload.
    JobId,
    "job id"
);
bytes32!(
    /// Digest of a block header, or of the genesis.
    BlockHash,
    "block hash"
);
bytes32!(
    /// Digest of a model's canonical bytes.
    ModelId,
    "model id"
);
bytes32!(
    /// Commitment to a list or a state.
    Root,
    "root"
);
bytes32!(
    /// Digest of a challenge's chain, signer, signature and payload.
    ChallengeId,
    "challenge id"
);
bytes32!(
    /// Stands for scores that are not shown yet.
    Commitment,
    "commitment"
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The one after it; the greatest has none above and yields itself.
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

counter!(
    /// Position of a block: the genesis is 0, the first block 1.
    Height
);
counter!(
    /// Number of an epoch: the first is 1, and epoch `e` ends with height `e * tempo`.
    Epoch
);

counter!(
    /// Number of a subnet, in the order of their registration.
    SubnetId
);

impl SubnetId {
    /// The one that every chain begins with.
    pub const ROOT: Self = Self(0);
}

/// Name of a chain: 1 to 64 of `a-z`, `0-9` and `-`. Every signature covers it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(String);

impl ChainId {
    /// Checks the name.
    pub fn new(text: impl Into<String>) -> Result<Self, ProtoError> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > limits::CHAIN_ID_BYTES || !text.bytes().all(allowed) {
            return Err(ProtoError::text("chain id", "1 to 64 of a-z, 0-9 and -", &text));
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `len(chain_id) || chain_id`, the length in one byte: how digests and signatures take it in.
    pub fn prefixed(&self) -> Vec<u8> {
        // `new` bounds the length by 64.
        let mut bytes = vec![u8::try_from(self.0.len()).unwrap_or(u8::MAX)];
        bytes.extend_from_slice(self.0.as_bytes());
        bytes
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainId({})", self.0)
    }
}

impl FromStr for ChainId {
    type Err = ProtoError;

    fn from_str(text: &str) -> Result<Self, ProtoError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_text_round_trips_and_other_text_is_refused() {
        let key = PublicKey([0xab; 32]);
        assert_eq!(key.to_string().parse::<PublicKey>(), Ok(key));
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        for length in [0, 31, 33] {
            let got = JobId::try_from(vec![0; length].as_slice());
            assert_eq!(got, Err(ProtoError::Length { what: "job id", expected: 32, got: length }));
        }
    }

    #[test]
    fn chain_ids_outside_the_alphabet_or_the_length_are_refused() {
        assert!(ChainId::new("assay-demo-1").is_ok());
        assert!(ChainId::new("a".repeat(64)).is_ok());
        for bad in ["", "A", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(ChainId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_prefixed_form_tells_the_name_from_what_follows() {
        let short = [ChainId::new("a").unwrap().prefixed(), b"bc".to_vec()].concat();
        let long = [ChainId::new("ab").unwrap().prefixed(), b"c".to_vec()].concat();
        assert_ne!(short, long);
    }
}
