//! The one place that reads the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static WRONG_BY_MS: AtomicI64 = AtomicI64::new(0);

/// Unix time in milliseconds; 0 on a machine whose clock is before 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    now.saturating_add_signed(WRONG_BY_MS.load(Ordering::Relaxed))
}

/// Makes this process's clock wrong by so much, for tests of networks whose clocks differ. No program calls it.
pub fn set_wrong_by_ms(shift: i64) {
    WRONG_BY_MS.store(shift, Ordering::Relaxed);
}
