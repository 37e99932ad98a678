//! Weighted draws: each slot that may be drawn with probability weight / sum of their weights.
//!
//! A draw from the line of all weights that hits a slot that may not be drawn is thrown away and
//! drawn again, which leaves exactly that probability; after a few misses one pass over the slots
//! draws among the right ones alone. Cost: a binary search while most slots may be drawn, else one
//! pass.

use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};

use super::Slots;
use super::shares::Shares;

/// Draws before the pass: with half of the weight ready, one pick in 256 takes the pass.
const DRAWS_MAX: usize = 8;

pub struct Draws {
    shares: Shares,
    rng: Mutex<Rng>,
}

/// Several draws in a row.
pub struct Drawing<'a> {
    shares: &'a Shares,
    rng: MutexGuard<'a, Rng>,
}

impl Draws {
    pub fn new(slots: &Slots, seed: u64) -> Self {
        Draws {
            shares: Shares::new(slots),
            rng: Mutex::new(Rng::with_seed(seed)),
        }
    }

    pub fn begin(&self) -> Drawing<'_> {
        Drawing {
            shares: &self.shares,
            rng: self.rng.lock(),
        }
    }
}

impl Drawing<'_> {
    /// One of the places that `may` be drawn; `None` when there is none.
    pub fn draw(&mut self, slots: &Slots, may: impl Fn(usize) -> bool) -> Option<usize> {
        if slots.is_empty() {
            return None;
        }
        for _ in 0..DRAWS_MAX {
            let place = self.shares.at(self.rng.u64(0..self.shares.total()));
            if may(place) {
                return Some(place);
            }
        }
        self.pass(slots, may)
    }

    /// Each slot replaces the one drawn so far with probability weight / weights seen, which in the
    /// end is weight / all weights (Chao's reservoir of one). A single pass sees each readiness once.
    fn pass(&mut self, slots: &Slots, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut seen = 0;
        let mut drawn = None;
        for (place, weight) in slots.weights().enumerate().filter(|&(place, _)| may(place)) {
            let weight = u64::from(weight);
            seen += weight;
            if self.rng.u64(0..seen) < weight {
                drawn = Some(place);
            }
        }
        drawn
    }
}
