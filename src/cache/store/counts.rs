//! What the store counts, exactly, since it was made.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an object left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others needed its room.
    Size,
    /// It was of no use any more: neither fresh, nor to be served stale, nor to be revalidated.
    Expired,
    Purged,
    /// A newer response took its place, or that of the oldest of too many variants.
    Replaced,
}

/// Why a response passes through without being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than one object may be.
    TooLarge,
    /// There is no room, and nothing that could go.
    Full,
    /// It was purged while it was written.
    Purged,
    /// Its length is not the one it announced, or it broke off.
    Incomplete,
}

#[derive(Default)]
pub struct Counts {
    left: [AtomicU64; 4],
    refused: [AtomicU64; 4],
}

impl Counts {
    pub fn leave(&self, why: Left) {
        self.left[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn left(&self, why: Left) -> u64 {
        self.left[why as usize].load(Ordering::Relaxed)
    }

    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }
}
