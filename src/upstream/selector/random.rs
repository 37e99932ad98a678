//! `random`: a weighted draw without replacement.
//!
//! Definition: each eligible endpoint is picked with probability weight / sum of the eligible
//! weights.
//!
//! Bound: shares deviate as those of n independent draws, by about the square root of n. Cost: that
//! of a draw.

use super::draw::Draws;
use super::{Algorithm, Facts, Slots, Tried};

pub struct Random {
    draws: Draws,
}

impl Algorithm for Random {
    fn new(slots: &Slots, seed: u64) -> Self {
        Random {
            draws: Draws::new(slots, seed),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, _: &Facts) -> Option<usize> {
        let is_eligible = |place| slots.eligible(place, tried).is_some();
        self.draws.begin().draw(slots, is_eligible)
    }
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
