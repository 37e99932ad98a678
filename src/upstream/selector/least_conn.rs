//! `least_conn`: the endpoint with the fewest attempts running for its weight. The default.
//!
//! Definition: an idle endpoint comes first (HAProxy's `leastconn`); else the least
//! (in-flight + 1) / weight, which is the load the endpoint would have. Fractions are compared by
//! cross multiplication, so nothing is rounded. Ties go to the first from a starting point that
//! moves at each pick and visits slots in proportion to their weight: without load the shares are
//! those of the weights, exactly over each round of the summed weights.
//!
//! Bound: of n attempts held by k endpoints each has its exact share, give or take one. In a pool of
//! more than 256 endpoints the least of 16 drawn by weight is picked, so that a pick does not grow
//! with the pool; its highest load is above the mean by a small constant (Azar, Broder et al., 1999).
//! Cost: one pass over the slots, which ends at the first idle one, or 16 draws.

use super::field::{self, Field, Size};
use super::{Algorithm, Facts, Slot, Slots, Tried};

const SIZE: Size = Size {
    scan: 256,
    sample: 16,
};

pub struct LeastConn {
    field: Field,
}

impl Algorithm for LeastConn {
    fn new(slots: &Slots, seed: u64) -> Self {
        LeastConn {
            field: Field::new(slots, seed, SIZE),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, _: &Facts) -> Option<usize> {
        self.field.least(slots, tried, Cost::of)
    }
}

/// (in-flight + 1) / weight, as a fraction.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    load: u64,
    weight: u64,
}

impl Cost {
    #[inline]
    pub(super) fn of(slot: &Slot) -> Self {
        Cost {
            load: u64::from(slot.endpoint.in_flight()) + 1,
            weight: u64::from(slot.weight),
        }
    }
}

impl field::Cost for Cost {
    /// At most 2^32 times 1000: no overflow.
    #[inline]
    fn is_below(self, other: Cost) -> bool {
        self.load * other.weight < other.load * self.weight
    }

    /// Idle.
    #[inline]
    fn is_least(self) -> bool {
        self.load == 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    #[test]
    fn held_leases_spread_evenly() {
        let bench = Bench::new(&[1, 1, 1, 1]);
        let selector = bench.selector::<LeastConn>(7);
        let leases = bench.hold(&selector, 64);
        assert_eq!(bench.in_flight(), [16, 16, 16, 16]);
        drop(leases);
        assert_eq!(bench.in_flight(), [0; 4]);
    }

    #[test]
    fn held_leases_follow_the_weights() {
        let bench = Bench::new(&[3, 1]);
        let selector = bench.selector::<LeastConn>(7);
        let _leases = bench.hold(&selector, 64);
        assert_eq!(bench.in_flight(), [48, 16]);
    }

    #[test]
    fn an_idle_endpoint_comes_before_a_busy_one_of_any_weight() {
        let bench = Bench::new(&[1000, 1]);
        let selector = bench.selector::<LeastConn>(0);
        let _busy = bench.endpoints()[0].lease();
        assert_eq!(bench.picks(&selector, 3), [1, 1, 1]);
    }

    #[test]
    fn the_less_loaded_is_picked_whatever_the_start() {
        let bench = Bench::new(&[1, 1, 1]);
        let _held: Vec<_> = [0, 0, 1, 2, 2]
            .map(|place| bench.endpoints()[place].lease())
            .into();
        for seed in 0..3 {
            let selector = bench.selector::<LeastConn>(seed);
            assert_eq!(bench.picks(&selector, 3), [1, 1, 1]);
        }
    }

    #[test]
    fn without_load_the_shares_are_those_of_the_weights() {
        let bench = Bench::new(&[5, 2, 1]);
        let selector = bench.selector::<LeastConn>(3);
        for _ in 0..4 {
            assert_eq!(bench.counts(&bench.picks(&selector, 8)), [5, 2, 1]);
        }
    }

    #[test]
    fn a_pool_too_large_to_scan_stays_level() {
        let bench = Bench::new(&[1; 1000]);
        let selector = bench.selector::<LeastConn>(5);
        let _leases = bench.hold(&selector, 10_000);
        assert!(bench.in_flight().into_iter().all(|held| held <= 12));
    }
}
