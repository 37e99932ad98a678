//! Weights laid end to end: a position on the line belongs to a slot in proportion to its weight.
//!
//! Used by the algorithms that need a weighted starting point without looking at every slot.

use super::Slots;

/// Prefix sums of the weights, divided by their greatest common divisor.
pub struct Shares {
    /// `ends[i]` is where slot i's stretch ends.
    ends: Box<[u64]>,
}

impl Shares {
    pub fn new(slots: &Slots) -> Self {
        let divisor = slots.weights().map(u64::from).fold(0, gcd).max(1);
        let mut end = 0;
        let stretch = |weight: u32| {
            end += u64::from(weight) / divisor;
            end
        };
        Shares {
            ends: slots.weights().map(stretch).collect(),
        }
    }

    /// Length of the line; 0 without slots.
    pub fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The slot that owns `position`, which must be below the total.
    #[inline]
    pub fn at(&self, position: u64) -> usize {
        let weights_are_equal = self.total() == self.ends.len() as u64;
        if weights_are_equal {
            return position as usize;
        }
        self.ends.partition_point(|&end| end <= position)
    }
}

pub fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
