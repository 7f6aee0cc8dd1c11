//! The types that the engine is generic over. All of them are private to this crate; what is signed is the canonical
//! form of `assay_proto::vote`.
//!
//! The proposer of round `r` at height `h` is validator `(first(h) + r) mod n` in descending order of power, where
//! `first(h)` is the one whose share of the power holds the point `frac(h * golden ratio)`: everybody proposes in
//! proportion to its power, turns are spread out, and a round that fails moves on to another validator.

use std::fmt;
use std::sync::Arc;

use assay_proto::vote::{self, VoteKind};
use assay_proto::{BlockHash, Height as ChainHeight, PublicKey, SecretKey};
use borsh::{BorshDeserialize, BorshSerialize};
use malachitebft_core_types::{
    self as core, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme, VoteType, VotingPower,
};

/// The one instance of the engine's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context;

/// A height.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub(crate) struct Height(pub u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ChainHeight> for Height {
    fn from(height: ChainHeight) -> Self {
        Self(height.0)
    }
}

impl From<Height> for ChainHeight {
    fn from(height: Height) -> Self {
        Self(height.0)
    }
}

impl core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A validator is named by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Address(pub PublicKey);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Address for Address {}

/// What is agreed on: the hash of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Value(pub BlockHash);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Value for Value {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

/// A piece of a proposed block, or of something else that validators tell each other.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    /// What follows in the stream.
    Start(Start),
    /// A piece of the block's bytes.
    Chunk { index: u32, bytes: Vec<u8> },
    /// A message of the application.
    Gossip(Vec<u8>),
    /// What the sender has of the log, its last decided block and the earliest one that it keeps, and the last vote that it
    /// heard of every validator.
    Head { head: Height, earliest: Height, votes: Vec<SignedVote> },
}

impl Part {
    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Start(_) => size_of::<Start>(),
            Self::Chunk { bytes, .. } | Self::Gossip(bytes) => bytes.len(),
            Self::Head { votes, .. } => votes.len().saturating_mul(size_of::<SignedVote>()),
        }
    }
}

/// The beginning of a proposed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Start {
    pub height: Height,
    pub round: Round,
    pub valid_round: Round,
    pub proposer: Address,
    pub value: Value,
    /// Bytes of the block.
    pub length: u32,
}

impl core::ProposalPart<Context> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Self::Start(_))
    }

    fn is_last(&self) -> bool {
        false
    }
}

/// Ed25519 as `assay_proto::signing` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme;

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Signature(pub [u8; 64]);

/// A validator's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub PublicKey);

impl SigningScheme for Scheme {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = Key;
    type PrivateKey = SecretKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into().map(Signature).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Key, Self::DecodingError> {
        PublicKey::try_from(bytes).map(Key).map_err(|_| "a public key has 32 bytes")
    }

    fn encode_public_key(key: &Key) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// A validator and its power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validator {
    address: Address,
    key: Key,
    power: u64,
}

impl core::Validator<Context> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &Key {
        &self.key
    }

    fn voting_power(&self) -> VotingPower {
        self.power
    }
}

/// The validators of a height, in descending order of power, then ascending order of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValidatorSet(Arc<Vec<Validator>>);

impl ValidatorSet {
    pub fn new(validators: Vec<(PublicKey, u64)>) -> Self {
        let validator = |(key, power)| Validator { address: Address(key), key: Key(key), power };
        let mut validators: Vec<Validator> = validators.into_iter().map(validator).collect();
        validators.sort_by(|a, b| b.power.cmp(&a.power).then(a.address.cmp(&b.address)));
        Self(Arc::new(validators))
    }

    fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, validator| sum.saturating_add(validator.power))
    }

    /// The proposer by the rule above; none of an empty set.
    pub fn proposer(&self, height: u64, round: u32) -> Option<&Validator> {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let point = (u128::from(height.wrapping_mul(GOLDEN)) * u128::from(self.total())) >> 64;
        let mut below = 0_u128;
        let first = self.0.iter().position(|validator| {
            below += u128::from(validator.power);
            point < below
        });
        let (count, round) = (self.0.len(), usize::try_from(round).unwrap_or(0));
        self.0.get((first.unwrap_or(0) + round % count.max(1)) % count.max(1))
    }

    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0.iter().any(|validator| validator.key.0 == *key)
    }

    /// Power of those that the question holds for.
    pub fn power(&self, counts: impl Fn(&PublicKey) -> bool) -> u64 {
        let counted = self.0.iter().filter(|validator| counts(&validator.key.0));
        counted.fold(0, |sum: u64, validator| sum.saturating_add(validator.power))
    }

    /// Whether those that the question holds for have more than two thirds of the power.
    pub fn is_quorum(&self, counts: impl Fn(&PublicKey) -> bool) -> bool {
        u128::from(self.power(counts)) * 3 > u128::from(self.total()) * 2
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl core::ValidatorSet<Context> for ValidatorSet {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.total()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.0.iter().find(|validator| validator.address == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.0.get(index)
    }
}

/// A vote; `VoteExtensionPolicy::Disabled` is in force, so it has no extension.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Vote {
    kind: VoteType,
    height: Height,
    round: Round,
    value: NilOrVal<Value>,
    address: Address,
}

impl Vote {
    /// What is signed; none for a vote of no round.
    pub fn message(&self) -> Option<vote::Vote> {
        let kind = match self.kind {
            VoteType::Prevote => VoteKind::Prevote,
            VoteType::Precommit => VoteKind::Precommit,
        };
        let block_hash = match self.value {
            NilOrVal::Nil => None,
            NilOrVal::Val(value) => Some(value.0),
        };
        Some(vote::Vote { kind, height: self.height.into(), round: self.round.as_u32()?, block_hash })
    }
}

impl Vote {
    /// Its place in the order in which a validator votes.
    pub fn place(&self) -> (u64, u32, bool) {
        (self.height.0, self.round.as_u32().unwrap_or(0), self.kind == VoteType::Precommit)
    }
}

/// A vote as it is told again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SignedVote {
    pub vote: Vote,
    pub signature: Signature,
}

impl From<&core::SignedVote<Context>> for SignedVote {
    fn from(signed: &core::SignedVote<Context>) -> Self {
        Self { vote: signed.message.clone(), signature: signed.signature }
    }
}

impl core::Vote<Context> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Value> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Value> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    fn extension(&self) -> Option<&SignedExtension<Context>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Context>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Context>) -> Self {
        self
    }
}

/// The proposal of a round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposal {
    height: Height,
    round: Round,
    value: Value,
    valid_round: Round,
    address: Address,
}

impl Proposal {
    /// What is signed; none for a proposal of no round.
    pub fn message(&self) -> Option<vote::Proposal> {
        Some(vote::Proposal {
            height: self.height.into(),
            round: self.round.as_u32()?,
            block_hash: self.value.0,
            valid_round: self.valid_round.as_u32(),
        })
    }
}

impl core::Proposal<Context> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.valid_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

impl core::Context for Context {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = Vec<u8>;
    type SigningScheme = Scheme;

    /// The engine starts no height without validators.
    fn select_proposer<'a>(&self, set: &'a ValidatorSet, height: Height, round: Round) -> &'a Validator {
        set.proposer(height.0, round.as_u32().unwrap_or(0)).expect("a validator")
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        valid_round: Round,
        address: Address,
    ) -> Proposal {
        Proposal { height, round, value, valid_round, address }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<Value>, address: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, address }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<Value>, address: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey([byte; 32])
    }

    #[test]
    fn everybody_proposes_in_proportion_to_its_power() {
        let set = ValidatorSet::new(vec![(key(1), 1), (key(2), 3), (key(3), 4)]);
        let mut turns = std::collections::BTreeMap::new();
        for height in 1..=8_000 {
            *turns.entry(set.proposer(height, 0).expect("one").address.0).or_insert(0_u32) += 1;
        }
        for (validator, expected) in [(key(1), 1_000), (key(2), 3_000), (key(3), 4_000)] {
            assert!(turns[&validator].abs_diff(expected) <= 10, "{turns:?}");
        }
    }

    #[test]
    fn as_many_rounds_as_validators_ask_each_of_them_once() {
        let set = ValidatorSet::new((1..=5).map(|n| (key(n), u64::from(n))).collect());
        for height in [1, 2, 77, u64::MAX] {
            let mut asked: Vec<_> = (0..5).map(|r| set.proposer(height, r).expect("one").address.0).collect();
            asked.sort_unstable();
            assert_eq!(asked, (1..=5).map(key).collect::<Vec<_>>());
        }
        assert!(ValidatorSet::new(Vec::new()).proposer(1, 0).is_none());
    }
}
