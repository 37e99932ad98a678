//! Time as selectors read it: whole hundredths of a second, worked out once for a pick.
//!
//! An `Instant` is two numbers, and the time between two of them takes a division; a pick that asks each
//! endpoint how long ago something was would spend more on that than on its choice. Pure: `now` comes
//! from outside. Used by `latency`, `signals` and the selectors that look at them.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Before all that is measured, so that no stamp is 0.
static BEGINNING: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
});

/// Hundredths of a second since a beginning that is the same for all; a time before it counts as the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    pub fn of(now: Instant) -> Stamp {
        Stamp(hundredths(now.saturating_duration_since(*BEGINNING)))
    }

    /// What of it fits beside a value in an atomic word; wraps after 497 days.
    #[inline]
    pub(super) fn low(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn after(self, time: Duration) -> Stamp {
        Stamp(self.0 + hundredths(time))
    }
}

/// Whole hundredths of a second.
pub(super) fn hundredths(time: Duration) -> u64 {
    time.as_secs() * 100 + u64::from(time.subsec_millis() / 10)
}
