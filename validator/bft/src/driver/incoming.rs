//! What other validators send: parts of blocks, gossip, and where they are.

use assay_proto::{BlockHash, Height as ChainHeight, PublicKey};
use malachitebft_app_channel::app::streaming::{StreamContent, StreamMessage};
use malachitebft_app_channel::app::types::ProposedValue;
use malachitebft_app_channel::app::types::core::Validity;
use tokio::time::Instant;

use super::{Driver, Held, Reply, echo};
use crate::application::Verdict;
use crate::context::{Context, Part, Start};
use crate::engine::PeerLog;
use crate::error::Error;
use crate::parts::{Nonsense, Whole};

/// Blocks of one peer that wait for their height.
const EARLY: usize = 2;

impl Driver {
    pub(super) async fn take_part(
        &mut self,
        from: PublicKey,
        message: StreamMessage<Part>,
    ) -> Result<Option<ProposedValue<Context>>, Error> {
        let StreamContent::Data(part) = message.content else { return Ok(None) };
        let now = Instant::now();
        // The height that it tells is needed of whoever is banned and stays.
        let is_needed = matches!(part, Part::Head { .. }) && self.bans.is_banned(&from, now);
        if !is_needed && !self.bans.admits(from, part.bytes(), now) {
            return Ok(None);
        }
        let whole = match part {
            Part::Head { head, earliest, votes } => {
                if let Some(told) = echo::of_key(&votes, &self.own, &self.verifier).filter(|_| !self.deaf) {
                    self.heed(&told)?;
                }
                self.heads.insert(from, PeerLog { head: head.into(), earliest: earliest.into() });
                self.connections.heard(from, Instant::now());
                self.consider();
                return Ok(None);
            }
            Part::Gossip(message) => {
                self.application.hear(from, message);
                return Ok(None);
            }
            part @ (Part::Start(_) | Part::Chunk { .. }) => {
                let taken = self.streams.take(from, &message.stream_id.to_bytes(), part, self.head);
                taken.unwrap_or_else(|Nonsense| {
                    self.bans.blame(from, "a piece that no block has", now);
                    None
                })
            }
        };
        let Some(whole) = whole else { return Ok(None) };
        let height = ChainHeight::from(whole.start.height);
        if self.started == Some(height) && height == self.head.next() {
            return self.judge(from, whole).await;
        }
        if height > self.head {
            let waiting = self.early.entry(from).or_default();
            if waiting.len() >= EARLY {
                waiting.remove(0);
            }
            waiting.push(whole);
            if !matches!(self.held, Some(Held { reply: Reply::First(..), .. })) {
                self.consider();
            }
        }
        Ok(None)
    }

    pub(super) async fn judge_early(&mut self) -> Result<Vec<ProposedValue<Context>>, Error> {
        let next = self.head.next();
        let mut ripe = Vec::new();
        for (from, blocks) in &mut self.early {
            let (now, later): (Vec<Whole>, _) =
                std::mem::take(blocks).into_iter().partition(|whole| whole.start.height == next.into());
            ripe.extend(now.into_iter().map(|whole| (*from, whole)));
            *blocks = later;
        }
        let mut values = Vec::new();
        for (from, whole) in ripe {
            values.extend(self.judge(from, whole).await?);
        }
        Ok(values)
    }

    /// What the application says about a block that a peer sent; nothing if its bytes are not those of the hash that came with
    /// it, since anybody may have sent them.
    async fn judge(
        &mut self,
        from: PublicKey,
        whole: Whole,
    ) -> Result<Option<ProposedValue<Context>>, Error> {
        let Whole { start, bytes } = whole;
        let claimed = start.value.0;
        let verdict = self.blocking(move |app| app.validate(&bytes, true)).await?;
        let (hash, valid): (BlockHash, bool) = match verdict {
            Verdict::Valid(hash) => (hash, true),
            Verdict::Invalid(hash) => (hash, false),
            Verdict::NoBlock => {
                self.bans.blame(from, "what it calls a block is none", Instant::now());
                return Ok(None);
            }
        };
        if hash != claimed {
            tracing::warn!(%claimed, %hash, "the parts of a block are of another one");
            self.bans.blame(from, "a block that is not the one announced", Instant::now());
            return Ok(None);
        }
        let Start { height, round, valid_round, proposer, value, length: _ } = start;
        let validity = Validity::from_bool(valid);
        Ok(Some(ProposedValue { height, round, valid_round, proposer, value, validity }))
    }
}
