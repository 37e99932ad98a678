//! How fast a pool finishes what it is given, and so when a refused client should come again.
//!
//! Definition: completions in the last ten whole or begun seconds, by the time they span. A queue of
//! n that drains at r a second is empty after n / r seconds. Pure; used by [`turns`](super::turns).

use std::time::{Duration, Instant};

const SECONDS: usize = 10;
/// Bounds of `Retry-After`, in seconds.
const RETRY_AFTER_MIN: u32 = 1;
const RETRY_AFTER_MAX: u32 = 300;

/// Completions of each of the last ten seconds.
#[derive(Debug, Default)]
pub struct DrainRate {
    began: Option<Instant>,
    /// The second, since `began`, that was counted last.
    last: u64,
    by_second: [u32; SECONDS],
}

impl DrainRate {
    /// Counts one completion.
    pub fn completed(&mut self, now: Instant) {
        let second = self.turn_to(now);
        self.by_second[second] = self.by_second[second].saturating_add(1);
    }

    /// Seconds until `ahead` requests will be through, 1..=300; `None`: nothing completed lately, so
    /// nobody knows.
    pub fn retry_after(&mut self, ahead: usize, now: Instant) -> Option<u32> {
        self.turn_to(now);
        let completed: u32 = self.by_second.iter().sum();
        if completed == 0 {
            return None;
        }
        let seconds = ahead as f64 / (f64::from(completed) / self.spanned(now).as_secs_f64());
        // Beyond what fits, the conversion saturates.
        Some((seconds.ceil() as u32).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
    }

    /// The time that the counts stand for: at most ten seconds, at least one.
    fn spanned(&self, now: Instant) -> Duration {
        let age = now.saturating_duration_since(self.began.unwrap_or(now));
        let last_begun = Duration::from_nanos(u64::from(age.subsec_nanos()));
        let full = Duration::from_secs(SECONDS as u64 - 1) + last_begun;
        age.min(full).max(Duration::from_secs(1))
    }

    /// Forgets the seconds that are too old by `now`; the place of the present one.
    fn turn_to(&mut self, now: Instant) -> usize {
        let began = *self.began.get_or_insert(now);
        let present = now.saturating_duration_since(began).as_secs();
        let passed = present.saturating_sub(self.last).min(SECONDS as u64);
        for second in 1..=passed {
            self.by_second[place(self.last + second)] = 0;
        }
        self.last = self.last.max(present);
        place(self.last)
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many completions, evenly spread over so many seconds from `start`.
    fn complete(rate: &mut DrainRate, start: Instant, count: u32, seconds: u32) -> Instant {
        let time = Duration::from_secs(seconds.into());
        for number in 0..count {
            rate.completed(start + time * number / count);
        }
        start + time
    }

    #[test]
    fn a_queue_is_empty_after_its_length_by_the_rate() {
        let (mut rate, start) = (DrainRate::default(), Instant::now());
        let now = complete(&mut rate, start, 100, 5);
        assert_eq!(rate.retry_after(20, now), Some(1));
        assert_eq!(rate.retry_after(21, now), Some(2));
        assert_eq!(rate.retry_after(1000, now), Some(50));
    }

    #[test]
    fn the_wait_is_bounded() {
        let (mut rate, start) = (DrainRate::default(), Instant::now());
        rate.completed(start);
        assert_eq!(rate.retry_after(0, start), Some(1));
        assert_eq!(rate.retry_after(100_000, start), Some(300));
    }

    #[test]
    fn only_the_last_ten_seconds_count() {
        let (mut rate, start) = (DrainRate::default(), Instant::now());
        let now = complete(&mut rate, start, 1000, 10);
        let now = complete(&mut rate, now, 10, 10);
        let soon = rate.retry_after(10, now).unwrap();
        assert!((9..=11).contains(&soon), "{soon}");
        assert_eq!(rate.retry_after(10, now + Duration::from_secs(20)), None);
    }

    #[test]
    fn without_completions_nobody_knows() {
        let mut rate = DrainRate::default();
        assert_eq!(rate.retry_after(1, Instant::now()), None);
    }
}
