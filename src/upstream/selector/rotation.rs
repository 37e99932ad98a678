//! A walk along the weights' line: every slot in proportion to its weight, well mixed.
//!
//! Definition: strides of about the golden ratio of the line's length. The stride has no divisor in
//! common with the length, so each round meets every position once. Used where an algorithm needs a
//! weighted place to start from. Cost: a binary search.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Slots;
use super::shares::{Shares, gcd};

pub struct Rotation {
    shares: Shares,
    stride: u64,
    picks: AtomicU64,
}

impl Rotation {
    pub fn new(slots: &Slots, seed: u64) -> Self {
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

    /// The next place; `None` without slots.
    pub fn next(&self) -> Option<usize> {
        let picks = self.picks.fetch_add(1, Relaxed);
        let position = picks
            .wrapping_mul(self.stride)
            .checked_rem(self.shares.total())?;
        Some(self.shares.at(position))
    }

    /// The places of so many slots, each once, from the next one on; `None` without slots.
    pub fn round(&self, slots: usize) -> Option<impl Iterator<Item = usize> + Clone> {
        let start = self.next()?;
        // One run of known length, not two: where it wraps is then no branch to be mispredicted.
        let wrapped = move |at| if at < slots { at } else { at - slots };
        Some((start..start + slots).map(wrapped))
    }
}
