//! How many calls a caller may make: a token bucket for every address.
//!
//! ```text
//! tokens grow by `rate` a second up to `2 rate`; a call takes one; without one it is refused
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::Error;

/// Addresses that are remembered. Beyond it those that have made no call for two seconds are forgotten, since their
/// buckets are full again; while all of them are busy, a new one is refused.
const CALLERS: usize = 1 << 16;

/// Buckets of the callers.
#[derive(Debug)]
pub(super) struct Rates {
    rate: u32,
    callers: Mutex<BTreeMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a call.
    tokens: u64,
    at: Instant,
}

impl Rates {
    pub fn new(rate: u32) -> Self {
        Self { rate, callers: Mutex::default() }
    }

    /// Takes a token of this caller.
    pub fn enter(&self, caller: IpAddr, now: Instant) -> Result<(), Error> {
        let limit = usize::try_from(self.rate).unwrap_or(usize::MAX);
        let refused = Error::Busy { what: "calls a second of one caller", limit };
        let full = u64::from(self.rate).saturating_mul(2_000);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS && !callers.contains_key(&caller) {
            callers.retain(|_, bucket| bucket.filled(self.rate, now) < full);
            if callers.len() >= CALLERS {
                return Err(refused);
            }
        }
        let bucket = callers.entry(caller).or_insert(Bucket { tokens: full, at: now });
        let tokens = bucket.filled(self.rate, now);
        let left = tokens.checked_sub(1_000).ok_or(refused)?;
        *bucket = Bucket { tokens: left, at: now };
        Ok(())
    }
}

impl Bucket {
    /// Its tokens now.
    fn filled(&self, rate: u32, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let grown = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(rate.into());
        self.tokens.saturating_add(grown).min(u64::from(rate).saturating_mul(2_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_caller_has_two_seconds_of_calls_at_once_and_then_its_rate() {
        let (rates, now) = (Rates::new(10), Instant::now());
        assert_eq!((0..50).filter(|_| rates.enter(A, now).is_ok()).count(), 20);
        let later = now + Duration::from_millis(500);
        assert_eq!((0..50).filter(|_| rates.enter(A, later).is_ok()).count(), 5);
        assert!(matches!(rates.enter(A, later), Err(Error::Busy { limit: 10, .. })));
    }

    #[test]
    fn callers_do_not_take_each_others_calls() {
        let (rates, now) = (Rates::new(1), Instant::now());
        while rates.enter(A, now).is_ok() {}
        assert!(rates.enter(B, now).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_freed_of_those_that_are_quiet() {
        let (rates, now) = (Rates::new(1), Instant::now());
        let caller = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from(n));
        for n in 0..u32::try_from(CALLERS).expect("small") {
            rates.enter(caller(n), now).expect("room");
        }
        assert!(rates.enter(B, now).is_err());
        assert!(rates.enter(caller(5), now).is_ok(), "a known one goes on");
        assert!(rates.enter(B, now + Duration::from_secs(2)).is_ok());
    }
}
