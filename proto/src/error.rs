//! Why bytes from outside are not a message of this protocol.

use crate::id::PublicKey;

/// One variant a reason; `what` names the field or message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// More bytes than the named limit.
    #[error("{what}: {got} bytes, at most {limit} are accepted")]
    TooLong {
        /// Field or message.
        what: &'static str,
        /// Greatest length accepted.
        limit: usize,
        /// Length found.
        got: usize,
    },
    /// More entries than the named limit.
    #[error("{what}: {got} entries, at most {limit} are accepted")]
    TooMany {
        /// Field.
        what: &'static str,
        /// Greatest count accepted.
        limit: usize,
        /// Count found; counting may stop at the first that is too many.
        got: usize,
    },
    /// A field of fixed length has another.
    #[error("{what}: expected {expected} bytes, got {got}")]
    Length {
        /// Field.
        what: &'static str,
        /// The length that it has.
        expected: usize,
        /// Length found.
        got: usize,
    },
    /// A required field or message is absent.
    #[error("{what} is missing")]
    Missing {
        /// Field.
        what: &'static str,
    },
    /// The bytes are not protobuf of this message.
    #[error("{what} is not a protobuf message of its type")]
    Decode {
        /// Message.
        what: &'static str,
        /// Where decoding stopped.
        source: prost::DecodeError,
    },
    /// Protobuf, but not the one encoding that is accepted.
    #[error("{what} is not in canonical encoding")]
    NotCanonical {
        /// Message.
        what: &'static str,
    },
    /// A number outside its range.
    #[error("{what}: expected {lo} to {hi}, got {got}")]
    OutOfRange {
        /// Field.
        what: &'static str,
        /// Least value accepted.
        lo: u64,
        /// Greatest value accepted.
        hi: u64,
        /// Value found.
        got: u64,
    },
    /// Text that does not follow the rule of its field.
    #[error("{what}: expected {expected}, got {got:?}")]
    Text {
        /// Field.
        what: &'static str,
        /// The rule.
        expected: &'static str,
        /// The text, cut to a printable length.
        got: String,
    },
    /// An enum value that this version does not know, or the unspecified one.
    #[error("{what}: {got} is not a known value")]
    UnknownValue {
        /// Field.
        what: &'static str,
        /// Value found.
        got: i32,
    },
    /// An entry occurs twice where each may occur once.
    #[error("{what} occurs twice")]
    Duplicate {
        /// Entry.
        what: &'static str,
    },
    /// The signature does not hold for this payload, this kind, this chain and this signer.
    #[error("the signature of {signer} over this {kind} does not hold")]
    Signature {
        /// Kind of the payload.
        kind: &'static str,
        /// Claimed signer.
        signer: PublicKey,
    },
    /// Two messages that one validator may have signed both, or that are not of one validator.
    #[error("the two messages are no equivocation")]
    NoEquivocation,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness for a new key")]
    Randomness,
}

impl ProtoError {
    /// A [`ProtoError::Text`] whose quotation is short whatever the input.
    pub(crate) fn text(what: &'static str, expected: &'static str, got: &str) -> Self {
        Self::Text { what, expected, got: got.chars().take(80).collect() }
    }
}
