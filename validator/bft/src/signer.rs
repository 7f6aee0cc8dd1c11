//! Signatures over votes and proposals, and their checks: `assay_proto::signing` with the chain and the kind inside.

use std::sync::{Arc, Mutex, PoisonError};

use assay_proto::{ChainId, Payload, SecretKey, Signature as ChainSignature, signing, vote};
use async_trait::async_trait;
use malachitebft_core_types::{SignedMessage, ValidatorProof, VoteExtensionScope};
use malachitebft_signing::{Error, VerificationResult};

use crate::context::{Context, Key, Proposal, Signature, SignedVote, Vote};
use crate::signing_state::{Refusal, SigningState};

/// Asks the signing state about a message: whether it may be signed, or why the state cannot say.
type Admit<T> = fn(&mut SigningState, &T) -> Result<Result<(), Refusal>, crate::Error>;

/// Signs for this validator what the signing state admits.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub chain: ChainId,
    pub key: SecretKey,
    pub state: Arc<Mutex<SigningState>>,
    /// The first refusal: the engine stops at it.
    pub refused: Arc<Mutex<Option<Refusal>>>,
}

impl Signer {
    /// Records the message, then signs it. The record is synced, so this runs where it may block.
    async fn sign<T: Payload + Copy + Send + 'static>(
        &self,
        message: Option<T>,
        admit: Admit<T>,
    ) -> Result<Signature, Error> {
        let message = message.ok_or_else(Error::new)?;
        let signer = self.clone();
        let signed = tokio::task::spawn_blocking(move || {
            let mut state = signer.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(refusal) = admit(&mut state, &message).map_err(Error::from_source)? {
                tracing::error!(%refusal, "not signed");
                signer.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refusal);
                return Err(Error::from_source(refusal));
            }
            Ok(Signature(signer.key.sign(&signer.chain, message).envelope().signature.0))
        });
        signed.await.map_err(Error::from_source)?
    }
}

#[async_trait]
impl malachitebft_signing::Signer<Context> for Signer {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<Context, Vote>, Error> {
        let signature = self.sign(vote.message(), SigningState::admit_vote).await?;
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(&self, proposal: Proposal) -> Result<SignedMessage<Context, Proposal>, Error> {
        let signature = self.sign(proposal.message(), SigningState::admit_proposal).await?;
        Ok(SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<Context>,
        _extension: Vec<u8>,
    ) -> Result<SignedMessage<Context, Vec<u8>>, Error> {
        Err(Error::new())
    }

    async fn sign_validator_proof(
        &self,
        _public_key: Vec<u8>,
        _peer: Vec<u8>,
    ) -> Result<ValidatorProof<Context>, Error> {
        Err(Error::new())
    }
}

/// Checks signatures of one chain.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    pub chain: ChainId,
}

impl Verifier {
    /// Whether the signature of a vote that is told again is its author's.
    pub fn holds(&self, told: &SignedVote, key: &Key) -> bool {
        self.check::<vote::Vote>(told.vote.message(), &told.signature, key).is_valid()
    }

    fn check<T: Payload>(&self, message: Option<T>, signature: &Signature, key: &Key) -> VerificationResult {
        let signature = ChainSignature(signature.0);
        VerificationResult::from_bool(message.is_some_and(|message| {
            signing::verify(T::KIND, &self.chain, &message.encode(), &key.0, &signature).is_ok()
        }))
    }
}

#[async_trait]
impl malachitebft_signing::Verifier<Context> for Verifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &Key,
    ) -> Result<VerificationResult, Error> {
        Ok(self.check::<vote::Vote>(vote.message(), signature, key))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &Key,
    ) -> Result<VerificationResult, Error> {
        Ok(self.check::<vote::Proposal>(proposal.message(), signature, key))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<Context>,
        _extension: &Vec<u8>,
        _signature: &Signature,
        _key: &Key,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        _proof: &ValidatorProof<Context>,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }
}
