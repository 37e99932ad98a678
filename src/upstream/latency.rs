//! How long an endpoint takes to its first byte: a peak-sensitive moving average.
//!
//! Definition (Finagle's and linkerd's peak EWMA): a wait above the average becomes the average at
//! once; a shorter one pulls it down, the more the longer ago the last one was: with
//! w = exp(-elapsed / 10 s) the average becomes `average * w + wait * (1 - w)`. A reading decays
//! towards zero by the same w, so an endpoint that gets nothing becomes worth a try again. A new
//! endpoint counts as 30 ms (linkerd). A failure is a peak of its penalty's length.
//!
//! Bound: a reading lies between zero and the longest wait ever learned (an hour at most), and just
//! after a wait it is not below it. Cost: one atomic word, so picks read without a lock; time is kept
//! in [`Stamp`]s, whose step is 0.1 % of the decay. Pure but for that word: `now` comes from outside,
//! and a `now` that lies before the last one counts as that one. Written by `Endpoint::observe`, read
//! by selectors.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::stamp::Stamp;

const DECAY: f32 = 10.0;
pub(super) const COLD: Duration = Duration::from_millis(30);
pub(super) const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Below it, endpoints are equally fast; above zero, so that load still counts.
pub(super) const FLOOR: f32 = 1e-6;

pub struct Latency {
    /// A [`Reading`], packed.
    last: AtomicU64,
}

/// The average as it was at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) seconds: f32,
    /// A [`Stamp`]'s low word.
    pub(super) at: u32,
}

// === impl Latency ===

impl Latency {
    pub fn new(now: Instant) -> Self {
        let cold = Reading {
            seconds: COLD.as_secs_f32(),
            at: Stamp::of(now).low(),
        };
        Latency {
            last: AtomicU64::new(cold.packed()),
        }
    }

    /// The expected wait in seconds, above zero.
    #[inline]
    pub fn seconds(&self, now: Stamp) -> f32 {
        let last = Reading::unpacked(self.last.load(Relaxed));
        last.decayed(now.low()).seconds.max(FLOOR)
    }

    /// A response began after `wait`.
    pub fn learn(&self, wait: Duration, now: Instant) {
        let (wait, at) = (wait.min(WAIT_MAX).as_secs_f32(), Stamp::of(now).low());
        self.update(|last| last.learned(wait, at));
    }

    /// An attempt failed, which counts as a wait of `penalty`, or of the average if that is longer.
    pub fn punish(&self, penalty: Duration, now: Instant) {
        let (penalty, at) = (penalty.min(WAIT_MAX).as_secs_f32(), Stamp::of(now).low());
        self.update(|last| last.peaked(penalty, at));
    }

    fn update(&self, next: impl Fn(Reading) -> Reading) {
        let packed = |last| Some(next(Reading::unpacked(last)).packed());
        // It never declines.
        let _ = self.last.fetch_update(Relaxed, Relaxed, packed);
    }
}

// === impl Reading ===

impl Reading {
    #[inline]
    pub(super) fn packed(self) -> u64 {
        u64::from(self.seconds.to_bits()) << 32 | u64::from(self.at)
    }

    #[inline]
    pub(super) fn unpacked(packed: u64) -> Reading {
        Reading {
            seconds: f32::from_bits((packed >> 32) as u32),
            at: packed as u32,
        }
    }

    /// Hundredths of a second from then to `at`; 0 if that was before.
    #[inline]
    pub(super) fn elapsed(self, at: u32) -> u32 {
        let elapsed = at.wrapping_sub(self.at);
        // More than half of the range is a time before.
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }

    /// What is left of an average after the time up to `at`: w.
    #[inline]
    fn left(self, at: u32) -> f32 {
        match self.elapsed(at) {
            0 => 1.0,
            elapsed => (-0.01 / DECAY * elapsed as f32).exp(),
        }
    }

    #[inline]
    pub(super) fn decayed(self, at: u32) -> Reading {
        Reading {
            seconds: self.seconds * self.left(at),
            at: self.later(at),
        }
    }

    fn learned(self, wait: f32, at: u32) -> Reading {
        let left = self.left(at);
        let average = if wait > self.seconds {
            wait
        } else {
            self.seconds * left + wait * (1.0 - left)
        };
        Reading {
            seconds: average,
            at: self.later(at),
        }
    }

    fn peaked(self, wait: f32, at: u32) -> Reading {
        let decayed = self.decayed(at);
        Reading {
            seconds: decayed.seconds.max(wait),
            ..decayed
        }
    }

    #[inline]
    fn later(self, at: u32) -> u32 {
        self.at.wrapping_add(self.elapsed(at))
    }
}

#[cfg(test)]
mod tests;
