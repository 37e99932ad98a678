//! S3-FIFO (Yang et al., SOSP 2023), on bytes in place of objects.
//!
//! A small queue takes what is new, a main queue what has been used again, and a ghost queue
//! remembers (by fingerprint, without bodies) what the small queue gave up. When room is needed and
//! the small queue holds more than a tenth of the bytes, its oldest goes: into main if it was used
//! more than once ([`PROMOTED`]), else out, leaving a ghost. Otherwise main's oldest goes round
//! again as long as it has uses left (each round costs one, at most three are counted), else out. A
//! new object whose ghost is there starts in main. So a scan passes through the small queue and
//! never touches main.
//!
//! Bounds: the ghost holds at most as many fingerprints as there are objects, so their memory is
//! part of each object's overhead ([`super::shard::ENTRY_OVERHEAD`]). A use costs O(1) and moves
//! nothing; a choice is amortised O(1), as each step takes a use away or moves an object once.

use std::collections::VecDeque;

use super::Fingerprints;
use super::list::List;

/// The share of the small queue, in percent of the bytes.
const SMALL_PERCENT: usize = 10;
/// Uses after which an object of the small queue belongs into main.
const PROMOTED: u8 = 2;
/// Uses beyond this are not counted.
const USES_MAX: u8 = 3;

#[derive(Default)]
pub struct S3Fifo {
    small: List,
    main: List,
    /// By slot.
    residents: Vec<Resident>,
    small_bytes: usize,
    bytes: usize,
    objects: usize,
    ghosts: Ghosts,
}

#[derive(Clone, Copy, Default)]
struct Resident {
    fingerprint: u64,
    bytes: usize,
    uses: u8,
    in_main: bool,
}

/// The last fingerprints that left the small queue, oldest first.
#[derive(Default)]
struct Ghosts {
    queue: VecDeque<u64>,
    /// How often each is in the queue.
    known: Fingerprints,
}

impl S3Fifo {
    pub fn admit(&mut self, slot: u32, fingerprint: u64, bytes: usize) {
        if self.residents.len() <= slot as usize {
            let empty = Resident::default();
            self.residents.resize(slot as usize + 1, empty);
        }
        self.residents[slot as usize] = Resident {
            fingerprint,
            bytes,
            uses: 0,
            in_main: self.ghosts.contains(fingerprint),
        };
        self.objects += 1;
        self.bytes += bytes;
        self.enqueue(slot);
    }

    pub fn touch(&mut self, slot: u32) {
        let resident = &mut self.residents[slot as usize];
        resident.uses = USES_MAX.min(resident.uses + 1);
    }

    pub fn remove(&mut self, slot: u32) {
        self.dequeue(slot);
        self.objects -= 1;
        self.bytes -= self.residents[slot as usize].bytes;
        self.ghosts.shrink_to(self.objects);
    }

    /// Takes the victim out for good, and remembers it.
    pub fn evict(&mut self, slot: u32) {
        let resident = self.residents[slot as usize];
        self.remove(slot);
        if !resident.in_main {
            self.ghosts.push(resident.fingerprint);
            self.ghosts.shrink_to(self.objects);
        }
    }

    /// The next to go; moves the others on.
    pub fn victim(&mut self) -> Option<u32> {
        loop {
            let is_small_full = self.small_bytes > self.bytes / 100 * SMALL_PERCENT;
            let from_small = self.small.back().filter(|_| is_small_full);
            let slot = from_small.or(self.main.back()).or(self.small.back())?;
            let resident = &mut self.residents[slot as usize];
            let needed = if resident.in_main { 1 } else { PROMOTED };
            if resident.uses < needed {
                return Some(slot);
            }
            self.go_round(slot);
        }
    }

    /// It cannot go now: round again, in main.
    pub fn spare(&mut self, slot: u32) {
        let resident = &mut self.residents[slot as usize];
        resident.uses = resident.uses.max(1);
        self.go_round(slot);
    }

    /// What it has earned: main before small, then by uses.
    pub fn standing(&self, slot: u32) -> u64 {
        let resident = &self.residents[slot as usize];
        u64::from(resident.uses)
            + if resident.in_main {
                1 + u64::from(USES_MAX)
            } else {
                0
            }
    }

    /// The bytes; the shard that holds most evicts first.
    pub fn bytes(&self) -> Option<usize> {
        (self.objects > 0).then_some(self.bytes)
    }

    /// To main's front: from the small queue with a clean slate, from main at the price of one use.
    fn go_round(&mut self, slot: u32) {
        self.dequeue(slot);
        let resident = &mut self.residents[slot as usize];
        resident.uses = if resident.in_main {
            resident.uses - 1
        } else {
            0
        };
        resident.in_main = true;
        self.enqueue(slot);
    }

    fn enqueue(&mut self, slot: u32) {
        let resident = self.residents[slot as usize];
        if resident.in_main {
            self.main.push_front(slot, ());
        } else {
            self.small_bytes += resident.bytes;
            self.small.push_front(slot, ());
        }
    }

    fn dequeue(&mut self, slot: u32) {
        let resident = self.residents[slot as usize];
        if resident.in_main {
            self.main.remove(slot);
        } else {
            self.small_bytes -= resident.bytes;
            self.small.remove(slot);
        }
    }
}

impl Ghosts {
    fn contains(&self, fingerprint: u64) -> bool {
        self.known.contains_key(&fingerprint)
    }

    fn push(&mut self, fingerprint: u64) {
        self.queue.push_back(fingerprint);
        *self.known.entry(fingerprint).or_default() += 1;
    }

    fn shrink_to(&mut self, len: usize) {
        while self.queue.len() > len
            && let Some(oldest) = self.queue.pop_front()
        {
            if let Some(count) = self.known.get_mut(&oldest) {
                *count -= 1;
                if *count == 0 {
                    self.known.remove(&oldest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
