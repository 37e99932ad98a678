//! `random`: a weighted draw without replacement.
//!
//! Definition: each eligible endpoint is picked with probability weight / sum of the eligible
//! weights. A draw from the line of all weights that hits an ineligible slot is thrown away and
//! drawn again, which leaves exactly that probability; after a few misses one pass over the
//! eligible slots draws among them alone.
//!
//! Bound: shares deviate as those of n independent draws, by about the square root of n. Cost: a
//! draw and a binary search while most endpoints are ready, else one pass.

use fastrand::Rng;
use parking_lot::Mutex;

use super::shares::Shares;
use super::{Algorithm, Slots, Tried};

/// Draws before the pass: with half of the weight ready, one pick in 256 takes the pass.
const DRAWS_MAX: usize = 8;

pub struct Random {
    shares: Shares,
    rng: Mutex<Rng>,
}

impl Algorithm for Random {
    fn new(slots: &Slots, seed: u64) -> Self {
        Random {
            shares: Shares::new(slots),
            rng: Mutex::new(Rng::with_seed(seed)),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried) -> Option<usize> {
        if slots.is_empty() {
            return None;
        }
        let mut rng = self.rng.lock();
        for _ in 0..DRAWS_MAX {
            let place = self.shares.at(rng.u64(0..self.shares.total()));
            if slots.eligible(place, tried).is_some() {
                return Some(place);
            }
        }
        draw_among_eligible(slots, tried, &mut rng)
    }
}

/// Each slot replaces the one drawn so far with probability weight / weights seen, which in the end
/// is weight / all weights (Chao's reservoir of one). A single pass sees each readiness once.
fn draw_among_eligible(slots: &Slots, tried: &Tried, rng: &mut Rng) -> Option<usize> {
    let mut seen = 0;
    let mut drawn = None;
    for place in 0..slots.len() {
        let Some(slot) = slots.eligible(place, tried) else {
            continue;
        };
        let weight = u64::from(slot.weight);
        seen += weight;
        if rng.u64(0..seen) < weight {
            drawn = Some(place);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    #[test]
    fn both_ways_of_drawing_follow_the_weights() {
        // One ready endpoint in a thousand makes nearly every pick take the pass.
        let mut weights = vec![1; 1000];
        weights[..2].copy_from_slice(&[30, 10]);
        let bench = Bench::new(&weights);
        (2..1000).for_each(|place| bench.fail(place));
        let selector = bench.selector::<Random>(11);
        let counts = bench.counts(&bench.picks(&selector, 4000));
        assert_eq!(counts[2..].iter().sum::<usize>(), 0);
        assert!((2850..3150).contains(&counts[0]), "{counts:?}");
    }
}
