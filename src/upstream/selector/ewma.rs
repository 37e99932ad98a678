//! `ewma`: the endpoint that is expected to answer first.
//!
//! Definition (Finagle's and linkerd's peak EWMA): the least latency * (in-flight + 1) / weight,
//! where latency is the peak-sensitive average of the time to the first byte (see
//! [`latency`](crate::upstream::latency)). An idle endpoint costs its latency alone, as if it had the
//! pool's largest weight: weights share out load, and without load the fastest is right whatever its
//! weight. Up to 16 endpoints are all compared, of more two drawn by weight (see `field`).
//!
//! An endpoint that fails fast looks slow, not fast (see [`penalty`](crate::upstream::penalty)). What
//! streams for long does no harm, since only the first byte is timed; where the first byte itself is
//! late by intention (long polls), the route says `measure: false`.
//!
//! Bound: an endpoint that says nothing for a while is tried again when its average has decayed; one
//! failure a try is what an endpoint that fails always gets. Cost: one pass over 16 with an
//! exponential each, or two draws.

use super::field::Field;
use super::p2c::SIZE;
use super::{Algorithm, Facts, Slot, Slots, Tried};
use crate::upstream::stamp::Stamp;

pub struct Ewma {
    field: Field,
    largest_weight: f32,
}

impl Algorithm for Ewma {
    fn new(slots: &Slots, seed: u64) -> Self {
        Ewma {
            field: Field::new(slots, seed, SIZE),
            largest_weight: slots.weights().max().unwrap_or(1) as f32,
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let now = Stamp::of(facts.now);
        let cost = |slot: &Slot| {
            let latency = slot.endpoint.latency().seconds(now);
            match slot.endpoint.in_flight() {
                0 => latency / self.largest_weight,
                running => latency * (running as f32 + 1.0) / slot.weight as f32,
            }
        };
        self.field.least(slots, tried, cost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tests::Bench;
    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// One request every 10 ms for so long, each answered before the next; `wait` is what an endpoint
    /// takes, `None` fails at once. How many each got.
    fn sequential(
        bench: &Bench,
        start: Instant,
        seconds: u64,
        wait: impl Fn(usize) -> Option<Duration>,
    ) -> Vec<usize> {
        let selector = bench.selector::<Ewma>(1);
        let picks: Vec<usize> = (0..seconds * 100)
            .map(|step| {
                let now = start + millis(step * 10);
                let place = bench.pick_at(&selector, now);
                bench.observe(place, wait(place), now);
                place
            })
            .collect();
        bench.counts(&picks)
    }

    #[test]
    fn a_slow_endpoint_gets_little_and_is_tried_again_now_and_then() {
        let bench = Bench::new(&[1, 1, 1]);
        let counts = sequential(&bench, Instant::now(), 60, |place| {
            Some(millis([20, 22, 500][place]))
        });
        assert!((2..60).contains(&counts[2]), "{counts:?} of 6000");
    }

    #[test]
    fn an_endpoint_that_fails_fast_repels() {
        let bench = Bench::new(&[1, 1, 1]);
        let counts = sequential(&bench, Instant::now(), 60, |place| {
            [Some(millis(80)), Some(millis(90)), None][place]
        });
        assert!((1..10).contains(&counts[2]), "{counts:?} of 6000");
    }

    #[test]
    fn an_endpoint_that_recovers_gets_traffic_again() {
        let bench = Bench::new(&[1, 1]);
        let start = Instant::now();
        sequential(&bench, start, 10, |place| [Some(millis(10)), None][place]);
        let counts = sequential(&bench, start + millis(10_000), 120, |_| Some(millis(10)));
        // Its first minute goes by until 5 s have become 10 ms.
        assert!(counts[1] > 300, "{counts:?} of 12000");
    }

    #[test]
    fn load_counts_as_latency_does() {
        let bench = Bench::new(&[1, 1]);
        let now = Instant::now();
        bench.observe(0, Some(millis(100)), now);
        bench.observe(1, Some(millis(40)), now);
        let selector = bench.selector::<Ewma>(1);
        // 40, 80 and (as soon as both have one) 120 against 100.
        let mut leases = Vec::new();
        let picks = [(); 4].map(|()| {
            let place = bench.pick_at(&selector, now);
            leases.push(bench.endpoints()[place].lease());
            place
        });
        assert_eq!(picks, [1, 1, 0, 1]);
    }

    #[test]
    fn held_leases_follow_the_weights_while_nothing_is_known() {
        let bench = Bench::new(&[3, 1]);
        let selector = bench.selector::<Ewma>(1);
        let now = Instant::now();
        let _leases: Vec<_> = (0..64)
            .map(|_| bench.endpoints()[bench.pick_at(&selector, now)].lease())
            .collect();
        for (held, expected) in bench.in_flight().into_iter().zip([48_u32, 16]) {
            assert!(held.abs_diff(expected) <= 1, "{held} for {expected}");
        }
    }

    #[test]
    fn two_of_many_are_compared() {
        let bench = Bench::new(&[1; 40]);
        let now = Instant::now();
        (1..40).for_each(|place| bench.observe(place, Some(millis(900)), now));
        let selector = bench.selector::<Ewma>(1);
        let picks: Vec<usize> = (0..4000).map(|_| bench.pick_at(&selector, now)).collect();
        let best = bench.counts(&picks)[0];
        // Among two of forty it is in one sample of twenty.
        assert!((140..260).contains(&best), "{best} of 4000");
    }
}
