//! What peers send that no honest node sends, and what becomes of them.
//!
//! ```text
//! volume    BURST bytes at once and RATE a second in all; what is beyond it is dropped, and counts
//! nonsense  a piece that no block has, a block that is not the one announced, gossip that no validator passes on: counts
//! banned    whoever counts LIMIT times within WINDOW, for BAN: no block and no gossip of it is looked at, and it is disconnected,
//!           unless those that are left could decide nothing: then its votes count, and the height that it tells
//! ```
//!
//! All that counts costs its author a message each, and cannot be made in the name of another: peers are who they say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use assay_proto::PublicKey;
use tokio::time::Instant;

/// Bytes of a peer at once, and a second: several times what the largest blocks are, one after another.
const BURST: u64 = 256 << 20;
const RATE: u64 = 64 << 20;
/// What is too much, and in which time.
const LIMIT: u32 = 64;
const WINDOW: Duration = Duration::from_secs(60);
/// Time that a ban lasts.
pub(super) const BAN: Duration = Duration::from_secs(600);

/// The peers that sent anything.
#[derive(Debug, Default)]
pub(super) struct Bans(BTreeMap<PublicKey, Record>);

#[derive(Debug)]
struct Record {
    /// Bytes that it may still send, as of a moment.
    allowance: u64,
    at: Instant,
    /// What counts against it, and since when.
    faults: u32,
    since: Instant,
    banned: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self { allowance: BURST, at: now, faults: 0, since: now, banned: None }
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned.is_some_and(|until| now < until)
    }

    fn fault(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.faults, self.since) = (0, now);
        }
        self.faults = self.faults.saturating_add(1);
        let is_new = self.faults >= LIMIT && !self.is_banned(now);
        if is_new {
            (self.faults, self.banned) = (0, now.checked_add(BAN));
        }
        is_new
    }
}

impl Bans {
    /// Whether a message of this many bytes is to be looked at.
    pub fn admits(&mut self, from: PublicKey, bytes: usize, now: Instant) -> bool {
        let record = self.0.entry(from).or_insert_with(|| Record::new(now));
        if record.is_banned(now) {
            return false;
        }
        let passed = now.saturating_duration_since(record.at).as_millis();
        let earned = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(RATE / 1000);
        let allowance = record.allowance.saturating_add(earned).min(BURST);
        record.at = now;
        let left = allowance.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        record.allowance = left.unwrap_or(allowance);
        if left.is_none() {
            self.blame(from, "it sends more than it may", now);
        }
        left.is_some()
    }

    /// Counts what no honest node sends.
    pub fn blame(&mut self, key: PublicKey, what: &'static str, now: Instant) {
        tracing::debug!(%key, what, "counts against a peer");
        if self.0.entry(key).or_insert_with(|| Record::new(now)).fault(now) {
            tracing::error!(%key, what, seconds = BAN.as_secs(), "a peer is banned");
        }
    }

    /// Those of the banned without whom enough are left to decide, which is asked of a set of keys that are gone.
    pub fn dispensable(
        &self,
        now: Instant,
        decides_without: impl Fn(&BTreeSet<PublicKey>) -> bool,
    ) -> BTreeSet<PublicKey> {
        let mut gone = BTreeSet::new();
        for key in self.banned(now) {
            gone.insert(key);
            if !decides_without(&gone) {
                gone.remove(&key);
            }
        }
        gone
    }

    /// Whether a peer is.
    pub fn is_banned(&self, key: &PublicKey, now: Instant) -> bool {
        self.0.get(key).is_some_and(|record| record.is_banned(now))
    }

    /// Who is banned.
    pub fn banned(&self, now: Instant) -> impl Iterator<Item = PublicKey> + '_ {
        self.0.iter().filter(move |(_, record)| record.is_banned(now)).map(|(key, _)| *key)
    }

    /// Forgets those that may not connect any more.
    pub fn retain(&mut self, known: impl Fn(&PublicKey) -> bool) {
        self.0.retain(|key, _| known(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_is_banned_for_a_while_after_too_many_faults_within_a_minute() {
        let (mut bans, began) = (Bans::default(), Instant::now());
        for _ in 1..LIMIT {
            bans.blame(A, "nonsense", began);
        }
        assert!(bans.admits(A, 1, began));
        // A minute later the count begins again.
        bans.blame(A, "nonsense", began + WINDOW);
        assert!(bans.admits(A, 1, began + WINDOW));
        for _ in 1..LIMIT {
            assert_eq!(bans.banned(began + WINDOW).count(), 0);
            bans.blame(A, "nonsense", began + WINDOW);
        }
        let ends = began + WINDOW + BAN;
        assert!(!bans.admits(A, 1, began + WINDOW) && !bans.admits(A, 1, ends - SECOND));
        assert_eq!(bans.banned(ends - SECOND).collect::<Vec<_>>(), [A]);
        assert!(bans.admits(B, 1, began + WINDOW), "another one is not");
        assert!(bans.admits(A, 1, ends) && bans.banned(ends).count() == 0);
        // What came meanwhile did not count.
        bans.blame(A, "nonsense", ends);
        assert!(bans.admits(A, 1, ends));
    }

    #[test]
    fn more_than_the_volume_is_dropped_and_counts() {
        let (mut bans, began) = (Bans::default(), Instant::now());
        let half = (BURST / 2) as usize;
        assert!(bans.admits(A, half, began) && bans.admits(A, half, began));
        assert!(!bans.admits(A, 1, began));
        // A second later there is room again for what a second brings, and no more.
        let (later, second) = (began + SECOND, (RATE / 1000 * 1000) as usize);
        assert!(bans.admits(A, second, later));
        assert!(!bans.admits(A, 1, later));
        for _ in 2..LIMIT {
            assert_eq!(bans.banned(later).count(), 0);
            bans.admits(A, 1, later);
        }
        assert_eq!(bans.banned(later).collect::<Vec<_>>(), [A]);
        // The allowance does not grow beyond the burst.
        let much_later = later + BAN + WINDOW;
        assert!(bans.admits(A, 2 * half, much_later) && !bans.admits(A, 1, much_later));
    }

    #[test]
    fn of_the_banned_those_stay_whose_votes_are_needed() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        for key in [A, B] {
            (0..LIMIT).for_each(|_| bans.blame(key, "nonsense", now));
        }
        assert_eq!(bans.dispensable(now, |_| true), [A, B].into());
        assert_eq!(bans.dispensable(now, |gone| gone.len() < 2), [A].into());
        assert_eq!(bans.dispensable(now, |gone| !gone.contains(&A)), [B].into());
        assert_eq!(bans.dispensable(now, |_| false), [].into());
        assert_eq!(bans.dispensable(now + BAN, |_| true), [].into());
    }

    #[test]
    fn who_may_not_connect_is_forgotten() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        (0..LIMIT).for_each(|_| bans.blame(A, "nonsense", now));
        bans.retain(|key| *key != A);
        assert_eq!(bans.banned(now).count(), 0);
    }
}
