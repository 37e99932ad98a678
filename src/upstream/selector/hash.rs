//! `hash`: equal keys go to the same endpoint, and no endpoint gets too many.
//!
//! Definition: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018). The
//! key's digest finds an endpoint in a [`Table`] over all endpoints, [`ring`] or [`maglev`]. It is
//! taken if it is eligible and holds less than ceil(bound * (attempts of the pool + 1) * its share of
//! the weights) attempts. Else the next digest of the key is looked up: a random jump, not the next
//! on the ring, so that a full or dead endpoint's keys spread over all others (arXiv 1908.08762).
//! After eight jumps the best of all eligible ones by rendezvous hashing is taken: the same one for
//! the same key again.
//!
//! The table knows endpoints by their address as text, in no order but that of their hashes, and
//! nothing of health: it is built when the membership or a weight changes, and every weir builds the
//! same. A request without the key (no such header, cookie or argument) goes anywhere by weight.
//!
//! Bound: no endpoint holds more than `bounded_load` times its share of the ready endpoints' load,
//! rounded up, while some other may take more. Cost: a lookup for each jump; a pass over the
//! slots to sum up the ready weights in pools of up to 64 (in larger ones unready endpoints count
//! into the share, so the bound is tighter), and one for rendezvous.

use fastrand::Rng;
use parking_lot::Mutex;

use super::digest::{digest, nth};
use super::{Algorithm, Facts, Slot, Slots, Tried};
use crate::config::model::HASH_BOUND_DEFAULT;

pub mod maglev;
pub mod ring;

const JUMPS: u64 = 8;
/// Pools of so many slots have their ready weights summed up at each pick.
const EXACT_SLOTS_MAX: usize = 64;

/// From digests to places, each place in proportion to its weight.
pub trait Table: Send + Sync {
    fn new(slots: &Slots) -> Self;

    /// `None` without slots.
    fn at(&self, digest: u64) -> Option<usize>;
}

pub struct Hash<T> {
    table: T,
    /// In hundredths; `None`: no bound.
    bound: Option<u32>,
    weight: u64,
    /// For requests without a key.
    rng: Mutex<Rng>,
}

impl<T: Table> Hash<T> {
    /// `bound` in hundredths, above 100.
    pub fn with_bound(slots: &Slots, seed: u64, bound: Option<u32>) -> Self {
        Hash {
            table: T::new(slots),
            bound,
            weight: slots.weights().map(u64::from).sum(),
            rng: Mutex::new(Rng::with_seed(seed)),
        }
    }

    fn cap(&self, slots: &Slots, weight: u64) -> Cap {
        match self.bound {
            Some(bound) => Cap {
                load: u64::from(bound) * (u64::from(slots.in_flight()) + 1),
                weight: 100 * weight.max(1),
            },
            None => Cap::NONE,
        }
    }
}

impl<T: Table> Algorithm for Hash<T> {
    fn new(slots: &Slots, seed: u64) -> Self {
        Hash::with_bound(slots, seed, Some(HASH_BOUND_DEFAULT))
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let key = facts.key.unwrap_or_else(|| self.rng.lock().u64(..));
        let weight = match slots.len() {
            0..=EXACT_SLOTS_MAX => ready_weight(slots),
            _ => self.weight,
        };
        let cap = self.cap(slots, weight);
        let is_free = |&place: &usize| {
            let slot = slots.eligible(place, tried);
            slot.is_some_and(|slot| cap.allows(slot))
        };
        (0..JUMPS)
            .map_while(|jump| self.table.at(nth(key, jump)))
            .find(is_free)
            .or_else(|| {
                let cap = self.cap(slots, ready_weight(slots));
                rendezvous(slots, tried, key, cap)
            })
            .or_else(|| rendezvous(slots, tried, key, Cap::NONE))
    }
}

fn ready_weight(slots: &Slots) -> u64 {
    let ready = slots.iter().filter(|slot| slot.endpoint.is_ready());
    ready.map(|slot| u64::from(slot.weight)).sum()
}

/// The eligible place with the highest digest of key and endpoint among those that may take more.
fn rendezvous(slots: &Slots, tried: &Tried, key: u64, cap: Cap) -> Option<usize> {
    let score = |slot: &Slot| nth(key, digest(slot.endpoint.name().as_bytes()));
    let free = (0..slots.len()).filter_map(|place| {
        let slot = slots.eligible(place, tried)?;
        cap.allows(slot).then(|| (score(slot), place))
    });
    free.max().map(|(_, place)| place)
}

/// How much of the pool's load a unit of weight may hold, as a fraction.
#[derive(Clone, Copy)]
struct Cap {
    load: u64,
    weight: u64,
}

impl Cap {
    const NONE: Cap = Cap { load: 0, weight: 0 };

    /// A thousandfold of 2^32 attempts and of a weight of 1000: no overflow.
    #[inline]
    fn allows(self, slot: &Slot) -> bool {
        let most = |cap: Cap| (cap.load * u64::from(slot.weight)).div_ceil(cap.weight);
        self.weight == 0 || u64::from(slot.endpoint.in_flight()) < most(self)
    }
}

#[cfg(test)]
mod tests;
