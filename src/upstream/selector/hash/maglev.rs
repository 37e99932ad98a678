//! Maglev's table: each endpoint fills its share of 65,537 entries in an order of its own.
//!
//! Definition: Eisenbud et al., NSDI 2016, §3.4. An endpoint prefers the entries offset, offset +
//! skip, offset + 2 skip … modulo the table's prime size, both from its hash; the endpoints take
//! turns, by weight, in claiming the first entry of their order that is still free.
//!
//! Bound: shares are exact to one entry of 65,537 (655,373 above 655 endpoints, so that an endpoint
//! has a hundred at least). When one of n endpoints leaves, its 1/n of the keys move and about 1 %
//! more. Cost: one lookup; 4 bytes an entry; some milliseconds to build.

use super::super::digest::{digest, nth};
use super::{Slots, Table};

/// Primes.
const SIZES: [usize; 2] = [65_537, 655_373];
const FREE: u32 = u32::MAX;

pub struct Maglev(Box<[u32]>);

impl Table for Maglev {
    fn new(slots: &Slots) -> Self {
        if slots.is_empty() {
            return Maglev(Box::default());
        }
        let [small, large] = SIZES;
        let size = if slots.len() * 100 <= small {
            small
        } else {
            large
        };
        Maglev(fill(claimants(slots, size), size))
    }

    fn at(&self, digest: u64) -> Option<usize> {
        let entries = self.0.len() as u64;
        let entry = self.0.get(digest.checked_rem(entries)? as usize)?;
        Some(*entry as usize)
    }
}

/// An endpoint's order of preference, and its claim to a turn.
struct Claimant {
    place: u32,
    weight: u32,
    /// Grows by the weight in each round; a turn costs the largest weight.
    credit: u32,
    next: usize,
    skip: usize,
}

/// In the order of their hashes, so that the order of the configuration has no part.
fn claimants(slots: &Slots, size: usize) -> Vec<Claimant> {
    let mut claimants: Vec<(u64, Claimant)> = Vec::with_capacity(slots.len());
    for (place, slot) in slots.iter().enumerate() {
        let name = digest(slot.endpoint.name().as_bytes());
        let claimant = Claimant {
            place: place as u32,
            weight: slot.weight,
            credit: 0,
            next: (nth(name, 1) % size as u64) as usize,
            skip: (nth(name, 2) % (size as u64 - 1)) as usize + 1,
        };
        claimants.push((name, claimant));
    }
    claimants.sort_by_key(|(name, _)| *name);
    claimants
        .into_iter()
        .map(|(_, claimant)| claimant)
        .collect()
}

fn fill(mut claimants: Vec<Claimant>, size: usize) -> Box<[u32]> {
    let turn = claimants.iter().map(|claimant| claimant.weight).max();
    let turn = turn.unwrap_or(1).max(1);
    let mut entries = vec![FREE; size].into_boxed_slice();
    let mut free = size;
    while free > 0 {
        for claimant in &mut claimants {
            claimant.credit += claimant.weight;
            if claimant.credit < turn || free == 0 {
                continue;
            }
            claimant.credit -= turn;
            claimant.claim(&mut entries);
            free -= 1;
        }
    }
    entries
}

impl Claimant {
    /// Takes the first free entry of its order; there is one.
    fn claim(&mut self, entries: &mut [u32]) {
        while entries[self.next] != FREE {
            self.next = (self.next + self.skip) % entries.len();
        }
        entries[self.next] = self.place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_primes() {
        for size in SIZES {
            let root = (2..).take_while(|d| d * d <= size);
            assert!(root.into_iter().all(|divisor| size % divisor > 0), "{size}");
        }
    }
}
