//! The ring: 256 points for each unit of weight, on a circle of 2^32.
//!
//! Definition: Karger et al. 1997, with the points of ketama. A key belongs to the first point from
//! its digest on, upwards and around. A point depends on its endpoint alone.
//!
//! Bound: when an endpoint leaves, its keys move and no other; when one joins, only those that it
//! gets. Shares are off by about 6 % of themselves at weight 1, less at more. Above a total weight of
//! 4,096 an endpoint has fewer points, so that the ring has about a million at most; when the total
//! then crosses a power of two more keys move. Cost: a binary search; 8 bytes a point; a sort to
//! build.

use super::super::digest::{digest, nth};
use super::{Slots, Table};

const POINTS: u64 = 256;
const POINTS_MAX: u64 = 1 << 20;

/// Points in order: position in the upper half, place in the lower.
pub struct Ring(Box<[u64]>);

impl Table for Ring {
    fn new(slots: &Slots) -> Self {
        let total: u64 = slots.weights().map(u64::from).sum();
        let affordable = (POINTS_MAX / total.max(1)).clamp(1, POINTS);
        let each = 1 << affordable.ilog2();
        let mut points = Vec::with_capacity((total * each) as usize);
        for (place, slot) in slots.iter().enumerate() {
            let name = digest(slot.endpoint.name().as_bytes());
            let numbers = 1..=u64::from(slot.weight) * each;
            points.extend(numbers.map(|n| position(nth(name, n)) | place as u64));
        }
        points.sort_unstable();
        Ring(points.into())
    }

    fn at(&self, digest: u64) -> Option<usize> {
        let position = position(digest);
        let after = self.0.partition_point(|&point| point < position);
        let point = self.0.get(after).or(self.0.first())?;
        Some((point & u64::from(u32::MAX)) as usize)
    }
}

fn position(digest: u64) -> u64 {
    digest & !u64::from(u32::MAX)
}
