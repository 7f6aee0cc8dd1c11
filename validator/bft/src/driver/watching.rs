//! When a node may sign again that does not know all that its key signed.
//!
//! ```text
//! G        greatest height that the others say is decided, once more than half of their power has said
//! former   G + 2: the last height that this node may have signed at before it was started
//! watch    until former + LISTEN is decided, and LISTEN more after each later block that bears a signature of this key:
//!          that is another process's
//! ```

use assay_proto::Height;

use super::Driver;
use crate::engine::Mode;
use crate::error::Error;

/// Heights in which a node listens for its own key before it signs.
const LISTEN: u64 = 4;

impl Driver {
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
                tracing::error!(%height, "another process signs with this node's key: this one goes on watching");
                self.mode = Mode::Watch(Some(Height(height.0.saturating_add(LISTEN))));
            }
            (Mode::Watch(_), _) => {}
        }
        Ok(())
    }

    /// Whether a node that watches knows that everything its key may have signed is decided.
    pub(super) fn has_watched(&mut self) -> Result<bool, Error> {
        match self.mode {
            Mode::Sign => Ok(false),
            Mode::Watch(Some(until)) => Ok(self.head >= until),
            Mode::Watch(None) => {
                // More than half of what the others hold together, so that no few of them can lie about it alone.
                let others = self.set.power(|key| *key != self.own);
                let known = self.set.power(|key| *key != self.own && self.heads.contains_key(key));
                if known.saturating_mul(2) <= others {
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
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
