//! What peers send that no honest node sends, and what becomes of them.
//!
//! ```text
//! volume    BURST bytes at once and RATE a second in all; what is beyond it is dropped, and counts
//! nonsense  a piece that no block has, a block that is not the one announced, gossip that no validator passes on: counts
//! banned    whoever counts LIMIT times within WINDOW: nothing that it sends is looked at for BAN but votes and the height that it
//!           tells, and it is disconnected, unless those that are left could decide nothing
//! ```
//!
//! All that counts costs its author a message each, and cannot be made in the name of another: peers are who they say.

use std::collections::BTreeMap;
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
pub(super) struct Conduct(BTreeMap<PublicKey, Record>);

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

impl Conduct {
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
        let (mut conduct, began) = (Conduct::default(), Instant::now());
        for _ in 1..LIMIT {
            conduct.blame(A, "nonsense", began);
        }
        assert!(conduct.admits(A, 1, began));
        // A minute later the count begins again.
        conduct.blame(A, "nonsense", began + WINDOW);
        assert!(conduct.admits(A, 1, began + WINDOW));
        for _ in 1..LIMIT {
            assert_eq!(conduct.banned(began + WINDOW).count(), 0);
            conduct.blame(A, "nonsense", began + WINDOW);
        }
        let ends = began + WINDOW + BAN;
        assert!(!conduct.admits(A, 1, began + WINDOW) && !conduct.admits(A, 1, ends - SECOND));
        assert_eq!(conduct.banned(ends - SECOND).collect::<Vec<_>>(), [A]);
        assert!(conduct.admits(B, 1, began + WINDOW), "another one is not");
        assert!(conduct.admits(A, 1, ends) && conduct.banned(ends).count() == 0);
        // What came meanwhile did not count.
        conduct.blame(A, "nonsense", ends);
        assert!(conduct.admits(A, 1, ends));
    }

    #[test]
    fn more_than_the_volume_is_dropped_and_counts() {
        let (mut conduct, began) = (Conduct::default(), Instant::now());
        let half = (BURST / 2) as usize;
        assert!(conduct.admits(A, half, began) && conduct.admits(A, half, began));
        assert!(!conduct.admits(A, 1, began));
        // A second later there is room again for what a second brings, and no more.
        let (later, second) = (began + SECOND, (RATE / 1000 * 1000) as usize);
        assert!(conduct.admits(A, second, later));
        assert!(!conduct.admits(A, 1, later));
        for _ in 2..LIMIT {
            assert_eq!(conduct.banned(later).count(), 0);
            conduct.admits(A, 1, later);
        }
        assert_eq!(conduct.banned(later).collect::<Vec<_>>(), [A]);
        // The allowance does not grow beyond the burst.
        let much_later = later + BAN + WINDOW;
        assert!(conduct.admits(A, 2 * half, much_later) && !conduct.admits(A, 1, much_later));
    }

    #[test]
    fn who_may_not_connect_is_forgotten() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        (0..LIMIT).for_each(|_| conduct.blame(A, "nonsense", now));
        conduct.retain(|key| *key != A);
        assert_eq!(conduct.banned(now).count(), 0);
    }
}
