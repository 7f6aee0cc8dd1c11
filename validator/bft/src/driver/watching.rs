//! When a node may sign again that does not know all that its key signed.
//!
//! ```text
//! G        greatest height that the others say is decided, once more than half of their power has said
//! former   G + 2: the last height that this node may have signed at before it was started
//! watch    until former + LISTEN is decided, and LISTEN more after each later block that bears a signature of this key, and
//!          each later vote of this key that a peer heard: those are another process's
//! ends     when more than half of the others' power is there too, and told with it what they heard of this key; not before
//!          LISTEN_TIME, in which a machine that was cut off, by this one with its name even, is back
//! ```
//!
//! A node that signs heeds the same: a vote of its key that its record does not know of makes it watch.

use std::time::Duration;

use assay_proto::{Height, PublicKey};
use tokio::time::Instant;

use super::Driver;
use crate::context::SignedVote;
use crate::engine::{Mode, PeerLog};
use crate::error::Error;

/// Heights in which a node listens for its own key before it signs.
const LISTEN: u64 = 4;
/// Time in which it does at least: what mends a silent connection, and some more.
const LISTEN_TIME: Duration = Duration::from_secs(15);

impl Driver {
    /// Holds a vote of this key that a peer heard against what this node knows.
    pub(super) fn heed(&mut self, told: &SignedVote) -> Result<(), Error> {
        let Some(vote) = told.vote.message() else { return Ok(()) };
        if self.signing_state().knows(&vote) {
            return Ok(());
        }
        match self.mode {
            Mode::Sign => {
                tracing::error!(height = %vote.height, round = vote.round, "another process signed with this node's key");
                self.signing_state().concede(vote.height)?;
                self.unaware = true;
                Ok(())
            }
            Mode::Watch(_) => self.recognise(vote.height),
        }
    }

    /// Holds a signature of this key in the log against what this node knows.
    pub(super) fn recognise(&mut self, height: Height) -> Result<(), Error> {
        match (self.mode, self.former) {
            (Mode::Sign, _) => {
                let mut state = self.signing_state();
                let known = state.height();
                if known >= height {
                    return Ok(());
                }
                tracing::error!(%height, %known, "this key signed what this node does not know of");
                state.concede(height)?;
                drop(state);
                self.unaware = true;
            }
            (Mode::Watch(_), Some(former)) if height > former => {
                let until = Height(height.0.saturating_add(LISTEN));
                if !matches!(self.mode, Mode::Watch(Some(known)) if known >= until) {
                    tracing::error!(%height, "another process signs with this node's key: this one goes on watching");
                    self.signing_state().concede(height)?;
                    self.mode = Mode::Watch(Some(until));
                    self.listens_until = Some(Instant::now() + LISTEN_TIME);
                }
            }
            (Mode::Watch(_), _) => {}
        }
        Ok(())
    }

    /// Whether a node that watches knows that everything its key may have signed is decided.
    pub(super) fn has_watched(&mut self) -> Result<bool, Error> {
        match self.mode {
            Mode::Sign => Ok(false),
            Mode::Watch(Some(until)) => {
                let late = self.listens_until.is_none_or(|moment| moment <= Instant::now());
                Ok(late && self.head >= until && self.most_others(|log| log.head >= until))
            }
            Mode::Watch(None) => {
                if !self.most_others(|_| true) {
                    return Ok(false);
                }
                let greatest =
                    self.heads.values().map(|log| log.head).max().unwrap_or_default().max(self.head);
                if greatest == Height(0) {
                    return Ok(true);
                }
                // The height in progress may be the one after the greatest, or by now the one after that.
                let former = greatest.next().next();
                self.signing_state().concede(former)?;
                let until = Height(former.0.saturating_add(LISTEN));
                tracing::warn!(%until, "watches until this height is decided");
                (self.mode, self.former) = (Mode::Watch(Some(until)), Some(former));
                self.listens_until = Some(Instant::now() + LISTEN_TIME);
                Ok(false)
            }
        }
    }

    /// Whether of what the others hold together more than half told a log like this, so that no few of them can lie about it
    /// alone.
    fn most_others(&self, log: impl Fn(&PeerLog) -> bool) -> bool {
        let others = self.set.power(|key| *key != self.own);
        let told = |key: &PublicKey| *key != self.own && self.heads.get(key).is_some_and(&log);
        self.set.power(told).saturating_mul(2) > others
    }
}

#[cfg(test)]
mod tests;
