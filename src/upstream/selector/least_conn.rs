//! `least_conn`: the endpoint with the fewest attempts running for its weight. The default.
//!
//! Definition: an idle endpoint comes first (HAProxy's `leastconn`); else the least
//! (in-flight + 1) / weight, which is the load the endpoint would have. Fractions are compared by
//! cross multiplication, so nothing is rounded. Ties go to the first from a starting point that
//! moves at each pick and visits slots in proportion to their weight: without load the shares are
//! those of the weights, exactly over each round of the summed weights.
//!
//! Bound: of n attempts held by k endpoints each has its exact share, give or take one. Cost: one
//! pass over the slots, which ends at the first idle one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::shares::{Shares, gcd};
use super::{Algorithm, Slot, Slots, Tried};

pub struct LeastConn {
    start: Rotation,
}

impl Algorithm for LeastConn {
    fn new(slots: &Slots, seed: u64) -> Self {
        LeastConn {
            start: Rotation::new(slots, seed),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried) -> Option<usize> {
        let start = self.start.next()?;
        let mut best = Best::default();
        for place in (start..slots.len()).chain(0..start) {
            let Some(slot) = slots.eligible(place, tried) else {
                continue;
            };
            let cost = Cost::of(slot);
            if cost.is_idle() {
                return Some(place);
            }
            best.meet(place, cost);
        }
        best.place
    }
}

/// The least cost met so far; the first of equals.
struct Best {
    place: Option<usize>,
    cost: Cost,
}

impl Default for Best {
    /// Nothing met: more than any cost.
    fn default() -> Self {
        Best {
            place: None,
            cost: Cost { load: 1, weight: 0 },
        }
    }
}

impl Best {
    #[inline]
    fn meet(&mut self, place: usize, cost: Cost) {
        if cost.is_below(self.cost) {
            *self = Best {
                place: Some(place),
                cost,
            };
        }
    }
}

/// (in-flight + 1) / weight, as a fraction.
#[derive(Clone, Copy)]
struct Cost {
    load: u64,
    weight: u64,
}

impl Cost {
    #[inline]
    fn of(slot: &Slot) -> Self {
        Cost {
            load: u64::from(slot.endpoint.in_flight()) + 1,
            weight: u64::from(slot.weight),
        }
    }

    #[inline]
    fn is_idle(self) -> bool {
        self.load == 1
    }

    /// At most 2^32 times 1000: no overflow.
    #[inline]
    fn is_below(self, other: Cost) -> bool {
        self.load * other.weight < other.load * self.weight
    }
}

/// Walks the weights' line in strides of about the golden ratio of its length. The stride has no
/// divisor in common with the length, so each round meets every position once, well mixed.
struct Rotation {
    shares: Shares,
    stride: u64,
    picks: AtomicU64,
}

impl Rotation {
    fn new(slots: &Slots, seed: u64) -> Self {
        let shares = Shares::new(slots);
        let total = shares.total().max(1);
        let golden = (total * 618 / 1000).max(1);
        Rotation {
            stride: (golden..)
                .find(|&stride| gcd(stride, total) == 1)
                .unwrap_or(1),
            picks: AtomicU64::new(seed % total),
            shares,
        }
    }

    fn next(&self) -> Option<usize> {
        let picks = self.picks.fetch_add(1, Relaxed);
        let position = picks
            .wrapping_mul(self.stride)
            .checked_rem(self.shares.total())?;
        Some(self.shares.at(position))
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
}
