//! What the engine finds against a validator, as the ledger takes it.

use assay_proto::vote::Equivocation;
use assay_proto::{Canonical, Envelope, Signature as ChainSignature};
use malachitebft_app_channel::app::types::MisbehaviorEvidence;
use malachitebft_app_channel::app::types::core::SignedMessage;
use malachitebft_core_types::{Proposal as _, Vote as _};

use crate::context::{Context, Proposal, Vote};

/// The engine's findings as the ledger takes them.
pub(crate) fn equivocations(evidence: &MisbehaviorEvidence<Context>) -> Vec<Equivocation> {
    let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs);
    let votes = votes.map(|(one, other)| (vote_envelope(one), vote_envelope(other)));
    let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs);
    let proposals = proposals.map(|(one, other)| (proposal_envelope(one), proposal_envelope(other)));
    votes.chain(proposals).filter_map(|(one, other)| Equivocation::new(one?, other?).ok()).collect()
}

fn vote_envelope(signed: &SignedMessage<Context, Vote>) -> Option<Envelope> {
    let signer = signed.message.validator_address().0;
    let payload = signed.message.message()?.encode();
    Some(Envelope { payload, signer, signature: ChainSignature(signed.signature.0) })
}

fn proposal_envelope(signed: &SignedMessage<Context, Proposal>) -> Option<Envelope> {
    let signer = signed.message.validator_address().0;
    let payload = signed.message.message()?.encode();
    Some(Envelope { payload, signer, signature: ChainSignature(signed.signature.0) })
}
