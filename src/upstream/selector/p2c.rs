//! `p2c`: the less loaded of two endpoints drawn at random (the power of two choices).
//!
//! Definition: of two different eligible endpoints, drawn by weight, the one with the least load as
//! `least_conn` counts it: an idle one, else the least (in-flight + 1) / weight. Up to 16 endpoints
//! are all compared (see `field`). Sources: Mitzenmacher 1996; HAProxy's `random(2)`.
//!
//! Bound: of n attempts held by n endpoints the busiest has about ln ln n / ln 2 more than the mean.
//! Where many proxies share the endpoints, each blind to the others, the random draw keeps them from
//! all choosing the same one. Cost: two draws, or one pass over 16.

use super::field::{Field, Size};
use super::least_conn::Cost;
use super::{Algorithm, Facts, Slots, Tried};

/// Also that of `ewma`.
pub(super) const SIZE: Size = Size {
    scan: 16,
    sample: 2,
};

pub struct P2c {
    field: Field,
}

impl Algorithm for P2c {
    fn new(slots: &Slots, seed: u64) -> Self {
        P2c {
            field: Field::new(slots, seed, SIZE),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, _: &Facts) -> Option<usize> {
        self.field.least(slots, tried, Cost::of)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    #[test]
    fn up_to_16_endpoints_are_all_compared() {
        let bench = Bench::new(&[1; 16]);
        let selector = bench.selector::<P2c>(3);
        let _busy: Vec<_> = bench.endpoints()[1..].iter().map(|e| e.lease()).collect();
        assert_eq!(bench.picks(&selector, 20), [0; 20]);
    }

    #[test]
    fn the_busiest_of_many_is_near_the_mean_and_far_below_a_random_choice() {
        let bench = Bench::new(&[1; 200]);
        let _leases = bench.hold(&bench.selector::<P2c>(3), 2000);
        let busiest = bench.in_flight().into_iter().max();
        // Random draws would leave one with about 20.
        assert!(busiest <= Some(13), "{busiest:?} for a mean of 10");
    }

    #[test]
    fn held_leases_of_many_follow_the_weights() {
        let weights: Vec<u32> = (0..100).map(|place| 1 + place % 4).collect();
        let bench = Bench::new(&weights);
        let _leases = bench.hold(&bench.selector::<P2c>(3), 5000);
        for (held, weight) in bench.in_flight().into_iter().zip(weights) {
            let expected = 20 * weight;
            assert!(
                held.abs_diff(expected) <= 4 + 2 * weight,
                "{held} for {expected}"
            );
        }
    }

    #[test]
    fn of_two_left_the_less_loaded_is_picked() {
        let bench = Bench::new(&[1; 40]);
        (2..40).for_each(|place| bench.fail(place));
        let _busy = bench.endpoints()[0].lease();
        assert_eq!(bench.picks(&bench.selector::<P2c>(3), 20), [1; 20]);
    }
}
