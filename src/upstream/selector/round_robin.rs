//! `round_robin`: smooth weighted round robin.
//!
//! Definition (nginx, `ngx_http_upstream_round_robin.c`): at each pick every eligible endpoint's
//! current value rises by its weight; the highest is picked, ties going to the first, and falls by
//! the sum of the eligible weights. Weights 5, 1, 1 give a a b a c a a: exact shares over each round
//! of the summed weights, and never a burst.
//!
//! In a pool of more than 128 endpoints the round is walked in strides instead (see `rotation`):
//! shares are as exact over each round and as well mixed, without a look at every endpoint. A stride
//! that meets an endpoint that is not eligible goes on to the next, so the others share its place by
//! weight.
//!
//! Bound: over any run of picks with constant readiness each endpoint is less than one round's
//! share from its exact share. Cost: one pass over the slots, under a mutex that the pool's pick
//! lock keeps uncontended; or a binary search for each stride. A rebuilt selector starts at a random
//! point of its round, so that many proxies, or many rebuilds, do not all begin with the first
//! endpoint.

use parking_lot::Mutex;

use super::rotation::Rotation;
use super::{Algorithm, Facts, Slots, Tried};

/// Larger pools are walked in strides.
const SMOOTH_SLOTS_MAX: usize = 128;
/// Strides before all slots are looked at: with half of them ready, one pick in 2^32 gets there.
const STRIDES_MAX: usize = 32;
/// Bounds the time a random start may take at build: slots times picks.
const START_STEPS_MAX: u64 = 1_000_000;

pub enum RoundRobin {
    /// The current values, by place; their sum is 0 between picks.
    Smooth(Mutex<Box<[i64]>>),
    Strides(Rotation),
}

impl Algorithm for RoundRobin {
    fn new(slots: &Slots, seed: u64) -> Self {
        if slots.len() > SMOOTH_SLOTS_MAX {
            return RoundRobin::Strides(Rotation::new(slots, seed));
        }
        let mut current = vec![0; slots.len()].into_boxed_slice();
        let round = slots.weights().map(u64::from).sum::<u64>();
        let affordable = START_STEPS_MAX / (slots.len() as u64).max(1);
        for _ in 0..seed % round.min(affordable).max(1) {
            let mut step = Step::new(&mut current);
            for (place, weight) in slots.weights().enumerate() {
                step.meet(place, weight);
            }
            step.pick();
        }
        RoundRobin::Smooth(Mutex::new(current))
    }

    fn pick(&self, slots: &Slots, tried: &Tried, _: &Facts) -> Option<usize> {
        match self {
            RoundRobin::Smooth(current) => {
                let mut current = current.lock();
                let mut step = Step::new(&mut current);
                for place in 0..slots.len() {
                    if let Some(slot) = slots.eligible(place, tried) {
                        step.meet(place, slot.weight);
                    }
                }
                step.pick()
            }
            RoundRobin::Strides(rotation) => stride(rotation, slots, tried),
        }
    }
}

/// The next eligible place of the rotation, or where nearly none is eligible, the next in order.
fn stride(rotation: &Rotation, slots: &Slots, tried: &Tried) -> Option<usize> {
    let is_eligible = |place: &usize| slots.eligible(*place, tried).is_some();
    let mut last = 0;
    for _ in 0..STRIDES_MAX {
        last = rotation.next()?;
        if is_eligible(&last) {
            return Some(last);
        }
    }
    (last..slots.len()).chain(0..last).find(is_eligible)
}

/// One pick of the definition above, endpoint by endpoint.
struct Step<'a> {
    current: &'a mut [i64],
    total: i64,
    highest: i64,
    best: Option<usize>,
}

impl<'a> Step<'a> {
    fn new(current: &'a mut [i64]) -> Self {
        Step {
            current,
            total: 0,
            highest: i64::MIN,
            best: None,
        }
    }

    #[inline]
    fn meet(&mut self, place: usize, weight: u32) {
        let weight = i64::from(weight);
        let current = &mut self.current[place];
        *current += weight;
        self.total += weight;
        if *current > self.highest {
            self.highest = *current;
            self.best = Some(place);
        }
    }

    fn pick(self) -> Option<usize> {
        self.current[self.best?] -= self.total;
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, names};
    use super::*;

    #[test]
    fn weights_5_1_1_give_a_a_b_a_c_a_a_from_every_start() {
        let expected = ["a", "a", "b", "a", "c", "a", "a"];
        let bench = Bench::new(&[5, 1, 1]);
        for seed in 0..7 {
            let selector = bench.selector::<RoundRobin>(seed as u64);
            let mut rotated = expected;
            rotated.rotate_left(seed);
            assert_eq!(names(&bench.picks(&selector, 7)), rotated, "start {seed}");
            assert_eq!(names(&bench.picks(&selector, 7)), rotated, "and again");
        }
    }

    #[test]
    fn an_unready_endpoint_leaves_its_share_to_the_others_by_weight() {
        let bench = Bench::new(&[5, 2, 1]);
        bench.fail(0);
        let selector = bench.selector::<RoundRobin>(0);
        let counts = bench.counts(&bench.picks(&selector, 300));
        assert_eq!(counts, [0, 200, 100]);
    }

    #[test]
    fn a_start_is_affordable_whatever_the_weights() {
        for endpoints in [128, 2000] {
            let bench = Bench::new(&vec![1000; endpoints]);
            let selector = bench.selector::<RoundRobin>(u64::MAX);
            assert_eq!(bench.picks(&selector, 1).len(), 1);
        }
    }

    #[test]
    fn a_large_pool_has_exact_shares_over_each_round_too() {
        let weights: Vec<u32> = (0..200).map(|place| 1 + place % 3).collect();
        let bench = Bench::new(&weights);
        let selector = bench.selector::<RoundRobin>(7);
        let round = weights.iter().sum::<u32>() as usize;
        for _ in 0..3 {
            let counts = bench.counts(&bench.picks(&selector, round));
            let exact = counts
                .iter()
                .zip(&weights)
                .all(|(got, weight)| *got == *weight as usize);
            assert!(exact, "{counts:?}");
        }
    }

    #[test]
    fn in_a_large_pool_the_others_share_the_place_of_an_unready_endpoint() {
        let bench = Bench::new(&[1; 200]);
        (0..100).for_each(|place| bench.fail(place));
        let selector = bench.selector::<RoundRobin>(7);
        let counts = bench.counts(&bench.picks(&selector, 1000));
        assert!(
            counts[100..].iter().all(|got| (9..=11).contains(got)),
            "{counts:?}"
        );
    }
}
