//! What `balance: prequal` looks at: an endpoint's latency at its load, its failures, its reports.
//!
//! Definition (Wydrowski et al., NSDI 2024, §4): the latency estimate is the median of recent
//! responses that met about as many requests in flight as there are now. Loads are banded by powers
//! of two (1, 2–3, 4–7 …); a band keeps its last eight waits. Without responses in a band the next
//! lower one stands in, then the next higher. An endpoint that never answered is the next to be tried,
//! by one request; while that runs it counts as 30 ms. As a latency average does, an estimate decays
//! towards zero while nothing comes, so that a slow endpoint is tried again.
//!
//! The guard against fast failures (the paper's sinkholing): an endpoint that failed is avoided for
//! its penalty's time. What the endpoint reports holds for one second, the paper's age limit of a
//! probe: of its load counts what exceeds weir's own attempts, of its latency what exceeds weir's
//! own estimate.
//!
//! Kept for endpoints of pools that ask for it only; survives reloads with its endpoint. Cost: a short
//! lock and a median of eight for each response; reads are of atomic words. Pure but for those: `now`
//! comes from outside.

use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::latency::{COLD, FLOOR, Reading, WAIT_MAX};
use super::stamp::{Stamp, hundredths};

const BANDS: usize = 12;
const RECENT: usize = 8;
/// How long a report counts.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Signals {
    /// A [`Stamp`].
    avoided_until: AtomicU64,
    /// A [`Reading`] of requests instead of seconds; 0: none yet.
    others: AtomicU64,
    /// A [`Reading`]; 0: none yet.
    told: AtomicU64,
    bands: Mutex<[Band; BANDS]>,
    /// The bands' medians, as [`Reading`]s.
    medians: [AtomicU64; BANDS],
    /// A bit for each band that has one.
    known: AtomicU32,
}

/// The last waits at about one load.
#[derive(Clone, Copy, Default)]
struct Band {
    waits: [f32; RECENT],
    count: usize,
}

impl Signals {
    /// A response began after `wait`; the attempt was one of `in_flight`, itself included.
    pub fn answered(&self, wait: Duration, in_flight: u32, now: Instant) {
        let wait = wait.min(WAIT_MAX).as_secs_f32().max(FLOOR);
        let band = band(in_flight);
        let mut bands = self.bands.lock();
        let median = Reading {
            seconds: bands[band].add(wait),
            at: Stamp::of(now).low(),
        };
        self.medians[band].store(median.packed(), Relaxed);
        self.known.fetch_or(1 << band, Release);
    }

    /// An attempt was given up after `wait`, which says something only if that is longer than expected.
    pub fn outwaited(&self, wait: Duration, in_flight: u32, now: Instant) {
        if wait.as_secs_f32() > self.seen_seconds(in_flight, Stamp::of(now)) {
            self.answered(wait, in_flight, now);
        }
    }

    /// An attempt failed: the endpoint is avoided for the time of its penalty.
    pub fn failed(&self, penalty: Duration, now: Instant) {
        let until = Stamp::of(now).after(penalty.min(WAIT_MAX));
        self.avoided_until.fetch_max(until.number(), Relaxed);
    }

    /// The endpoint says it has `total` requests in flight, of which `own` are ours.
    pub fn reported(&self, total: f64, own: u32, now: Instant) {
        self.keep(&self.others, (total - f64::from(own)).max(0.0) as f32, now);
    }

    /// The endpoint says how long a response takes it.
    pub fn reported_latency(&self, wait: Duration, now: Instant) {
        self.keep(&self.told, wait.min(WAIT_MAX).as_secs_f32(), now);
    }

    #[inline]
    pub fn is_avoided(&self, now: Stamp) -> bool {
        self.avoided_until.load(Relaxed) > now.number()
    }

    /// Requests in flight that are not ours, as far as the endpoint said so lately.
    #[inline]
    pub fn others(&self, now: Stamp) -> f32 {
        lately(&self.others, now)
    }

    /// How many seconds a response takes when so many attempts run, itself included: as weir has
    /// seen, or as the endpoint says if that is longer.
    #[inline]
    pub fn seconds(&self, in_flight: u32, now: Stamp) -> f32 {
        self.seen_seconds(in_flight, now)
            .max(lately(&self.told, now))
    }

    #[inline]
    fn seen_seconds(&self, in_flight: u32, now: Stamp) -> f32 {
        match nearest(self.known.load(Acquire), band(in_flight)) {
            Some(band) => {
                let median = Reading::unpacked(self.medians[band].load(Relaxed));
                median.decayed(now.low()).seconds.max(FLOOR)
            }
            None if in_flight <= 1 => FLOOR,
            None => COLD.as_secs_f32(),
        }
    }

    fn keep(&self, report: &AtomicU64, seconds: f32, now: Instant) {
        let at = Stamp::of(now).low();
        report.store(Reading { seconds, at }.packed(), Relaxed);
    }
}

/// What was reported, 0 if that is too old.
#[inline]
fn lately(report: &AtomicU64, now: Stamp) -> f32 {
    match report.load(Relaxed) {
        0 => 0.0,
        last => unless_old(Reading::unpacked(last), now),
    }
}

/// Apart, so that a pick passes over endpoints that report nothing, as most do.
#[cold]
fn unless_old(last: Reading, now: Stamp) -> f32 {
    match u64::from(last.elapsed(now.low())) <= hundredths(REPORT_AGE_MAX) {
        true => last.seconds,
        false => 0.0,
    }
}

/// 0 for none or one, 1 for two and three, 2 for four to seven …
#[inline]
fn band(in_flight: u32) -> usize {
    (in_flight.max(1).ilog2() as usize).min(BANDS - 1)
}

/// The highest of the `known` bands up to this one, else the lowest above.
#[inline]
fn nearest(known: u32, band: usize) -> Option<usize> {
    let lower = known & ((2 << band) - 1);
    match (lower, known) {
        (0, 0) => None,
        (0, higher) => Some(higher.trailing_zeros() as usize),
        (lower, _) => Some(lower.ilog2() as usize),
    }
}

impl Band {
    /// The median with this one.
    fn add(&mut self, wait: f32) -> f32 {
        self.waits[self.count % RECENT] = wait;
        self.count += 1;
        let mut waits = self.waits;
        let known = &mut waits[..self.count.min(RECENT)];
        known.sort_unstable_by(f32::total_cmp);
        known[(known.len() - 1) / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn near(value: f32, expected: f32) -> bool {
        (value - expected).abs() <= expected * 0.003
    }

    #[test]
    fn it_is_the_median_of_the_last_eight_at_that_load() {
        let now = Instant::now();
        let signals = Signals::default();
        for wait in [900, 900, 900, 10, 20, 30, 40, 50, 60, 70, 80] {
            signals.answered(millis(wait), 1, now);
        }
        assert!(near(signals.seconds(1, Stamp::of(now)), 0.040));
        signals.answered(millis(500), 5, now);
        assert!(near(signals.seconds(4, Stamp::of(now)), 0.500));
        assert!(near(signals.seconds(7, Stamp::of(now)), 0.500));
        // Nothing is known of 2, more than of 4: the next lower stands in.
        assert!(near(signals.seconds(3, Stamp::of(now)), 0.040));
        assert!(near(signals.seconds(9999, Stamp::of(now)), 0.500));
    }

    #[test]
    fn an_endpoint_that_never_answered_is_tried_once_and_an_idle_one_is_tried_again() {
        let now = Instant::now();
        let signals = Signals::default();
        assert_eq!(signals.seconds(1, Stamp::of(now)), FLOOR);
        assert_eq!(signals.seconds(2, Stamp::of(now)), 0.030);
        signals.answered(millis(2000), 8, now);
        assert!(near(signals.seconds(1, Stamp::of(now)), 2.0));
        let later = signals.seconds(1, Stamp::of(now + millis(10_000)));
        assert!(near(later, 2.0 / std::f32::consts::E), "{later}");
    }

    #[test]
    fn a_wait_that_was_given_up_makes_nothing_look_fast() {
        let now = Instant::now();
        let signals = Signals::default();
        signals.answered(millis(100), 1, now);
        (0..8).for_each(|_| signals.outwaited(millis(1), 1, now));
        assert!(near(signals.seconds(1, Stamp::of(now)), 0.100));
        (0..8).for_each(|_| signals.outwaited(millis(900), 1, now));
        assert!(near(signals.seconds(1, Stamp::of(now)), 0.900));
    }

    #[test]
    fn a_failure_keeps_away_for_its_penalty_and_no_longer() {
        let now = Instant::now();
        let signals = Signals::default();
        assert!(!signals.is_avoided(Stamp::of(now)));
        signals.failed(millis(5000), now);
        signals.failed(millis(1000), now);
        assert!(signals.is_avoided(Stamp::of(now + millis(4990))));
        assert!(!signals.is_avoided(Stamp::of(now + millis(5000))));
    }

    #[test]
    fn a_report_counts_what_is_not_ours_for_a_second() {
        let now = Instant::now() + millis(10);
        let signals = Signals::default();
        assert_eq!(signals.others(Stamp::of(now)), 0.0);
        signals.reported(12.0, 5, now);
        assert_eq!(signals.others(Stamp::of(now + millis(1000))), 7.0);
        assert_eq!(signals.others(Stamp::of(now + millis(1010))), 0.0);
        // Less than what weir itself counts is no merit.
        signals.reported(0.0, 5, now);
        assert_eq!(signals.others(Stamp::of(now)), 0.0);
    }

    #[test]
    fn a_reported_latency_counts_for_a_second_where_it_is_longer_than_the_seen_one() {
        let now = Instant::now() + millis(10);
        let signals = Signals::default();
        signals.answered(millis(50), 1, now);
        signals.reported_latency(millis(1), now);
        assert!(near(signals.seconds(1, Stamp::of(now)), 0.050));
        signals.reported_latency(millis(400), now);
        assert!(near(
            signals.seconds(1, Stamp::of(now + millis(1000))),
            0.400
        ));
        assert!(signals.seconds(1, Stamp::of(now + millis(1010))) < 0.050);
    }
}
