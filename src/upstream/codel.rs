//! CoDel: drops from a queue in which everybody waits too long, and only from such a queue.
//!
//! Definition (RFC 8289 §5, Nichols and Jacobson): a queue is bad when what leaves it has waited at
//! least `target` for a whole `interval`. Then the one that would leave next is dropped, and so one
//! after `interval / √n` each for the nth, until one leaves that has waited less than `target`. A
//! burst that drains within `interval` loses nobody; the last one is never dropped. A relapse within
//! 16 intervals goes on near the rate that helped before.
//!
//! Pure: asked by [`queue`](super::queue) for each waiter that is about to be served.

use std::time::{Duration, Instant};

use crate::config::model::Codel as Law;

#[derive(Debug, Default)]
pub struct Codel {
    /// When waits will have been too long for an interval; `None`: the last was short.
    bad_from: Option<Instant>,
    is_dropping: bool,
    /// The time of the next drop; after dropping, of the one that was not needed.
    next_drop: Option<Instant>,
    /// Drops of this spell, and how many there were when it began.
    count: u32,
    count_before: u32,
}

impl Codel {
    /// Whether one that has waited so long is dropped rather than served. `is_last`: nobody waits
    /// behind it.
    pub fn drops(&mut self, law: Law, waited: Duration, is_last: bool, now: Instant) -> bool {
        let is_bad = self.is_bad(law, waited, is_last, now);
        match (self.is_dropping, is_bad) {
            (_, false) => {
                self.is_dropping = false;
                false
            }
            (true, true) => self.drop_if_due(law, now),
            (false, true) => {
                self.begin_dropping(law, now);
                true
            }
        }
    }

    fn is_bad(&mut self, law: Law, waited: Duration, is_last: bool, now: Instant) -> bool {
        if waited < law.target || is_last {
            self.bad_from = None;
            return false;
        }
        now >= *self.bad_from.get_or_insert(now + law.interval)
    }

    fn drop_if_due(&mut self, law: Law, now: Instant) -> bool {
        let due = self.next_drop.unwrap_or(now);
        if now < due {
            return false;
        }
        self.count += 1;
        self.next_drop = Some(due + self.pause(law));
        true
    }

    fn begin_dropping(&mut self, law: Law, now: Instant) {
        self.is_dropping = true;
        let drops = self.count - self.count_before;
        let relapsed = self.next_drop.is_some_and(|next| now < next + 16 * law.interval);
        self.count = if relapsed && drops > 1 { drops } else { 1 };
        self.count_before = self.count;
        self.next_drop = Some(now + self.pause(law));
    }

    /// The control law.
    fn pause(&self, law: Law) -> Duration {
        law.interval.div_f64(f64::from(self.count.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Law = Law {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };
    const LONG: Duration = Duration::from_millis(50);
    const SHORT: Duration = Duration::from_millis(4);

    /// The milliseconds, up to `end`, at which one of those that leave each millisecond is dropped.
    fn drops(codel: &mut Codel, start: Instant, end: u64, waited: impl Fn(u64) -> Duration) -> Vec<u64> {
        let at = |ms| start + Duration::from_millis(ms);
        (0..end)
            .filter(|&ms| codel.drops(LAW, waited(ms), false, at(ms)))
            .collect()
    }

    #[test]
    fn drops_follow_the_control_law() {
        let dropped = drops(&mut Codel::default(), Instant::now(), 500, |_| LONG);
        // From 100 ms on, with pauses of 100, 100/√2, 100/√3 … milliseconds.
        let mut due = 100.0;
        let mut expected = vec![100];
        for count in 1..dropped.len() {
            due += 100.0 / f64::sqrt(count as f64);
            expected.push(f64::ceil(due) as u64);
        }
        assert_eq!(dropped, expected);
        assert!(dropped.len() > 8, "{dropped:?}");
    }

    #[test]
    fn a_burst_shorter_than_the_interval_loses_nobody() {
        let waited = |ms| if ms % 100 < 99 { LONG } else { SHORT };
        let dropped = drops(&mut Codel::default(), Instant::now(), 2000, waited);
        assert_eq!(dropped, Vec::<u64>::new());
    }

    #[test]
    fn dropping_ends_with_the_first_short_wait() {
        let waited = |ms| if ms < 300 { LONG } else { SHORT };
        let dropped = drops(&mut Codel::default(), Instant::now(), 2000, waited);
        assert!(dropped.iter().all(|&ms| ms < 300) && dropped.len() == 3, "{dropped:?}");
    }

    #[test]
    fn a_relapse_goes_on_near_the_rate_that_helped() {
        let waited = |ms| if (1000..1010).contains(&ms) { SHORT } else { LONG };
        let dropped = drops(&mut Codel::default(), Instant::now(), 1200, waited);
        let after: Vec<_> = dropped.iter().filter(|&&ms| ms > 1010).collect();
        assert_eq!(after[0], &1110, "an interval after it became bad again");
        assert!(after[1] - after[0] < 50, "{after:?}");
    }

    #[test]
    fn the_last_one_is_never_dropped() {
        let (mut codel, start) = (Codel::default(), Instant::now());
        let is_last = |ms| codel.drops(LAW, LONG, true, start + Duration::from_millis(ms));
        assert!(!(0..1000).map(is_last).any(|dropped| dropped));
    }
}
