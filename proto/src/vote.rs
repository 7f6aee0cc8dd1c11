//! What validators sign to agree on a block, and the proof that one of them signed what it may not.
//!
//! In a round of a height a validator signs at most one prevote, one precommit and, where it is the proposer, one
//! proposal. Two different ones of the same kind, height and round are an equivocation, whatever else they say.

use crate::codec::{Canonical, required};
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, Height, PublicKey};
use crate::signing::{Envelope, Payload, Signed};
use crate::{limits, wire};

/// The two votes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VoteKind {
    /// The block is valid, or there is none.
    Prevote,
    /// More than two thirds of the power prevoted it.
    Precommit,
}

/// A vote of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Which of the two.
    pub kind: VoteKind,
    /// Height of the block.
    pub height: Height,
    /// Round of the height.
    pub round: u32,
    /// Hash of the block's header; none votes for no block.
    pub block_hash: Option<BlockHash>,
}

/// The proposal of a round. Its block travels apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height of the block.
    pub height: Height,
    /// Round of the height.
    pub round: u32,
    /// Hash of the block's header.
    pub block_hash: BlockHash,
    /// An earlier round in which more than two thirds of the power prevoted this block.
    pub valid_round: Option<u32>,
}

/// Two messages of which one validator may have signed one only. Nothing about them is checked but that they differ and
/// are in ascending order of their payloads, so that two messages make one evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    first: Envelope,
    second: Envelope,
}

/// Where an equivocation happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// The validator.
    pub validator: PublicKey,
    /// The height.
    pub height: Height,
    /// The round.
    pub round: u32,
}

impl Equivocation {
    /// The evidence of two messages, in any order.
    pub fn new(one: Envelope, other: Envelope) -> Result<Self, ProtoError> {
        let (first, second) = if one.payload < other.payload { (one, other) } else { (other, one) };
        Self { first, second }.ordered()
    }

    /// Checks that both messages hold, are of one validator, kind, height and round, and differ.
    pub fn open(&self, chain: &ChainId) -> Result<Offence, ProtoError> {
        let votes =
            self.first.open::<Vote>(chain).and_then(|one| Ok((one, self.second.open::<Vote>(chain)?)));
        if let Ok((one, other)) = votes {
            let (a, b) = (one.value(), other.value());
            let same = (a.kind, a.height, a.round) == (b.kind, b.height, b.round);
            return offence(&one, &other, same, a.height, a.round);
        }
        let (one, other) = (self.first.open::<Proposal>(chain)?, self.second.open::<Proposal>(chain)?);
        let (a, b) = (one.value(), other.value());
        offence(&one, &other, (a.height, a.round) == (b.height, b.round), a.height, a.round)
    }

    fn ordered(self) -> Result<Self, ProtoError> {
        if self.first.payload < self.second.payload { Ok(self) } else { Err(ProtoError::NoEquivocation) }
    }
}

fn offence<T>(
    one: &Signed<T>,
    other: &Signed<T>,
    same: bool,
    height: Height,
    round: u32,
) -> Result<Offence, ProtoError> {
    if same && one.signer() == other.signer() {
        return Ok(Offence { validator: one.signer(), height, round });
    }
    Err(ProtoError::NoEquivocation)
}

impl Canonical for Vote {
    type Wire = wire::Vote;
    const NAME: &'static str = "vote";
    const MAX_BYTES: usize = limits::VOTE_BYTES;
}

impl Payload for Vote {
    const KIND: &'static str = "Vote";
}

impl TryFrom<wire::Vote> for Vote {
    type Error = ProtoError;

    fn try_from(wire: wire::Vote) -> Result<Self, ProtoError> {
        let kind = match wire.kind() {
            wire::VoteKind::Prevote => VoteKind::Prevote,
            wire::VoteKind::Precommit => VoteKind::Precommit,
            wire::VoteKind::Unspecified => {
                return Err(ProtoError::UnknownValue { what: "kind of a vote", got: wire.kind });
            }
        };
        let hash = wire.block_hash.as_slice();
        let block_hash = if hash.is_empty() { None } else { Some(hash.try_into()?) };
        Ok(Self { kind, height: Height(wire.height), round: wire.round, block_hash })
    }
}

impl From<&Vote> for wire::Vote {
    fn from(vote: &Vote) -> Self {
        let kind = match vote.kind {
            VoteKind::Prevote => wire::VoteKind::Prevote,
            VoteKind::Precommit => wire::VoteKind::Precommit,
        };
        let block_hash = vote.block_hash.map(|hash| hash.to_vec()).unwrap_or_default();
        Self { kind: kind.into(), height: vote.height.0, round: vote.round, block_hash }
    }
}

impl Canonical for Proposal {
    type Wire = wire::Proposal;
    const NAME: &'static str = "proposal";
    const MAX_BYTES: usize = limits::PROPOSAL_BYTES;
}

impl Payload for Proposal {
    const KIND: &'static str = "Proposal";
}

impl TryFrom<wire::Proposal> for Proposal {
    type Error = ProtoError;

    fn try_from(wire: wire::Proposal) -> Result<Self, ProtoError> {
        Ok(Self {
            height: Height(wire.height),
            round: wire.round,
            block_hash: wire.block_hash.as_slice().try_into()?,
            valid_round: wire.valid_round,
        })
    }
}

impl From<&Proposal> for wire::Proposal {
    fn from(proposal: &Proposal) -> Self {
        Self {
            height: proposal.height.0,
            round: proposal.round,
            block_hash: proposal.block_hash.to_vec(),
            valid_round: proposal.valid_round,
        }
    }
}

impl TryFrom<wire::Equivocation> for Equivocation {
    type Error = ProtoError;

    fn try_from(wire: wire::Equivocation) -> Result<Self, ProtoError> {
        let first: Envelope = required(wire.first, "first message of an equivocation")?;
        let second: Envelope = required(wire.second, "second message of an equivocation")?;
        for envelope in [&first, &second] {
            let (limit, got) = (limits::VOTE_BYTES.max(limits::PROPOSAL_BYTES), envelope.payload.len());
            if got > limit {
                return Err(ProtoError::TooLong { what: "message of an equivocation", limit, got });
            }
        }
        Self { first, second }.ordered()
    }
}

impl From<&Equivocation> for wire::Equivocation {
    fn from(equivocation: &Equivocation) -> Self {
        Self { first: Some((&equivocation.first).into()), second: Some((&equivocation.second).into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    fn chain() -> ChainId {
        ChainId::new("test-votes").expect("chain id")
    }

    fn vote(kind: VoteKind, height: u64, round: u32, block: Option<u8>) -> Vote {
        Vote { kind, height: Height(height), round, block_hash: block.map(|byte| BlockHash([byte; 32])) }
    }

    fn signed<T: Payload>(seed: u8, value: T) -> Envelope {
        SecretKey::from_bytes(&[seed; 32]).sign(&chain(), value).into_envelope()
    }

    fn proposal(round: u32, block: u8) -> Proposal {
        Proposal { height: Height(5), round, block_hash: BlockHash([block; 32]), valid_round: None }
    }

    #[test]
    fn two_votes_of_one_kind_height_and_round_are_an_equivocation_in_either_order() {
        for (a, b) in [(Some(1), Some(2)), (None, Some(1))] {
            for kind in [VoteKind::Prevote, VoteKind::Precommit] {
                let (one, other) = (signed(1, vote(kind, 5, 2, a)), signed(1, vote(kind, 5, 2, b)));
                let evidence = Equivocation::new(one.clone(), other.clone()).expect("they differ");
                assert_eq!(Ok(&evidence), Equivocation::new(other, one).as_ref());
                let validator = SecretKey::from_bytes(&[1; 32]).public_key();
                let offence = Offence { validator, height: Height(5), round: 2 };
                assert_eq!(evidence.open(&chain()), Ok(offence));
            }
        }
    }

    #[test]
    fn two_proposals_of_one_round_are_an_equivocation() {
        let evidence =
            Equivocation::new(signed(1, proposal(2, 1)), signed(1, proposal(2, 9))).expect("differ");
        assert!(evidence.open(&chain()).is_ok());
        let evidence =
            Equivocation::new(signed(1, proposal(2, 1)), signed(1, proposal(3, 9))).expect("differ");
        assert_eq!(evidence.open(&chain()), Err(ProtoError::NoEquivocation));
    }

    #[test]
    fn messages_that_an_honest_validator_signs_are_no_equivocation() {
        use VoteKind::{Precommit, Prevote};
        let first = vote(Prevote, 5, 2, Some(1));
        for second in
            [vote(Precommit, 5, 2, Some(2)), vote(Prevote, 6, 2, Some(2)), vote(Prevote, 5, 3, Some(2))]
        {
            let evidence = Equivocation::new(signed(1, first), signed(1, second)).expect("they differ");
            assert_eq!(evidence.open(&chain()), Err(ProtoError::NoEquivocation));
        }
        assert_eq!(Equivocation::new(signed(1, first), signed(1, first)), Err(ProtoError::NoEquivocation));
    }

    #[test]
    fn nobody_is_blamed_for_what_another_signed() {
        let (one, other) = (vote(VoteKind::Prevote, 5, 2, Some(1)), vote(VoteKind::Prevote, 5, 2, None));
        let two_signers = Equivocation::new(signed(1, one), signed(2, other)).expect("they differ");
        assert_eq!(two_signers.open(&chain()), Err(ProtoError::NoEquivocation));
        let mut forged = signed(2, other);
        forged.signer = SecretKey::from_bytes(&[1; 32]).public_key();
        let forged = Equivocation::new(signed(1, one), forged).expect("they differ");
        assert!(forged.open(&chain()).is_err());
        let elsewhere = ChainId::new("test-elsewhere").expect("chain id");
        let evidence = Equivocation::new(signed(1, one), signed(1, other)).expect("they differ");
        assert!(evidence.open(&elsewhere).is_err());
    }
}
