//! The last vote of every validator, as each node heard it, told to all: so that a node learns of what its own key signs
//! elsewhere. Nobody else tells it, since votes go from their author to the others and an author does not talk to itself.
//!
//! ```text
//! kept     of each validator of the set, the vote that is last in the order of `signing_state`, its signature checked
//! told     with the head, once a second
//! heeded   a vote of the own key that this node's record does not know of, its signature checked: nobody can make one up
//! ```

use std::collections::BTreeMap;

use assay_proto::PublicKey;
use assay_proto::limits::VALIDATORS;
use malachitebft_app_channel::app::types::SignedConsensusMsg;
use malachitebft_core_types::Vote as _;

use crate::context::{Context, Key, SignedVote, ValidatorSet};
use crate::signer::Verifier;

/// The votes that are kept.
#[derive(Debug, Default)]
pub(super) struct Echo(BTreeMap<PublicKey, SignedVote>);

impl Echo {
    /// Keeps a vote that came, if it is a later one of a validator other than this one.
    pub fn note(
        &mut self,
        message: &SignedConsensusMsg<Context>,
        set: &ValidatorSet,
        own: &PublicKey,
        verifier: &Verifier,
    ) {
        let SignedConsensusMsg::Vote(vote) = message else { return };
        let (author, came) = (vote.message.validator_address().0, SignedVote::from(vote));
        let place = came.vote.place();
        let known = self.0.get(&author).is_some_and(|kept| kept.vote.place() >= place);
        if known || author == *own || !set.contains(&author) || !verifier.holds(&came, &Key(author)) {
            return;
        }
        self.0.insert(author, came);
    }

    /// Forgets who is no validator.
    pub fn retain(&mut self, set: &ValidatorSet) {
        self.0.retain(|key, _| set.contains(key));
    }

    /// What is told.
    pub fn votes(&self) -> Vec<SignedVote> {
        self.0.values().take(VALIDATORS).cloned().collect()
    }
}

/// The vote of a key among those that a peer tells, if its signature holds.
pub(super) fn of_key(votes: &[SignedVote], own: &PublicKey, verifier: &Verifier) -> Option<SignedVote> {
    let told = votes.iter().take(VALIDATORS).find(|told| told.vote.validator_address().0 == *own)?;
    verifier.holds(told, &Key(*own)).then(|| told.clone())
}
