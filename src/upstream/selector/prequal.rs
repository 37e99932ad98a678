//! `prequal`: the fastest endpoint among those that are not too busy.
//!
//! Definition (Wydrowski et al., "Load is not what you should balance", NSDI 2024): an endpoint is
//! hot when it has more requests in flight for its weight than the 0.84 quantile of those lately
//! seen. Among cold ones the least latency wins, among hot ones alone the fewest in flight, and an
//! endpoint that lately failed comes after all of them (see
//! [`signals`](crate::upstream::signals)). Requests in flight are weir's own attempts, and what the
//! endpoint reports beyond them ([`load_report`](crate::upstream::load_report)).
//!
//! The pool of probes: up to 16 endpoints are all compared. Of more, a pick draws three by weight
//! into a pool of 16, replacing the oldest, chooses from the pool, and takes one out, in turn the
//! oldest and the worst. A probe here is a look at what weir knows, not a message, so it is never out
//! of date, and the paper's limits on age and reuse of a probe have nothing to limit. With fewer than
//! two of the pool eligible, the pick is that of `p2c`.
//!
//! Bound: as many cold endpoints as the quantile leaves share the load, so the fastest is used up to
//! the load where it is no longer ahead. Not meant for pools of fewer than eight endpoints: there the
//! quantile has too little to go by, and `ewma` is better. Cost: 16 looks at most; a quantile of 128
//! in every 64th pick.

use std::time::Instant;

use parking_lot::Mutex;

use super::field::{self, Field};
use super::p2c::SIZE;
use super::{Algorithm, Facts, Slot, Slots, Tried, least_conn};

const POOL: usize = 16;
const PROBES: usize = 3;
const QUANTILE: f32 = 0.84;
const SEEN: usize = 128;
const PICKS_A_QUANTILE: u32 = 64;

pub struct Prequal {
    field: Field,
    state: Mutex<State>,
}

struct State {
    seen: Seen,
    probes: Probes,
}

impl Algorithm for Prequal {
    fn new(slots: &Slots, seed: u64) -> Self {
        slots.iter().for_each(|slot| slot.endpoint.watch_signals());
        Prequal {
            field: Field::new(slots, seed, SIZE),
            state: Mutex::new(State {
                seen: Seen::default(),
                probes: Probes::default(),
            }),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let mut state = self.state.lock();
        state.seen.look(slots, facts.now);
        let hot_above = state.seen.hot_above;
        let rank = |slot: &Slot| Rank::of(slot, hot_above, facts.now);
        if slots.len() <= POOL {
            return self.field.least(slots, tried, rank);
        }
        for _ in 0..PROBES {
            state.probes.push(self.field.draw(slots, tried)?);
        }
        let best = state.probes.take_best(slots, tried, rank);
        best.or_else(|| self.field.least(slots, tried, least_conn::Cost::of))
    }
}

/// Attempts for a unit of weight, reported ones included.
fn load(slot: &Slot, now: Instant) -> f32 {
    let own = slot.endpoint.in_flight() as f32;
    let others = slot
        .endpoint
        .signals()
        .map_or(0.0, |signals| signals.others(now));
    (own + others) / slot.weight as f32
}

// === Rank ===

/// The order of endpoints, best first.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Rank {
    Cold { seconds: f32 },
    Hot { load: f32 },
    Avoided { load: f32 },
}

impl Rank {
    fn of(slot: &Slot, hot_above: f32, now: Instant) -> Self {
        let load = load(slot, now);
        let endpoint = &slot.endpoint;
        match endpoint.signals() {
            Some(signals) if signals.is_avoided(now) => Rank::Avoided { load },
            Some(signals) if load <= hot_above => Rank::Cold {
                seconds: signals.seconds(endpoint.in_flight() + 1, now),
            },
            _ => Rank::Hot { load },
        }
    }
}

impl field::Cost for Rank {
    #[inline]
    fn is_below(self, other: Rank) -> bool {
        self < other
    }
}

// === Seen ===

/// The loads lately seen, and the quantile above which an endpoint is hot.
struct Seen {
    loads: [f32; SEEN],
    count: usize,
    hot_above: f32,
    picks: u32,
    next_place: usize,
}

impl Default for Seen {
    /// Nothing seen: what is not idle is hot.
    fn default() -> Self {
        Seen {
            loads: [0.0; SEEN],
            count: 0,
            hot_above: 0.0,
            picks: 0,
            next_place: 0,
        }
    }
}

impl Seen {
    /// Looks at a few slots, all in turn.
    fn look(&mut self, slots: &Slots, now: Instant) {
        for _ in 0..PROBES {
            self.next_place = (self.next_place + 1) % slots.len().max(1);
            if let Some(slot) = slots.get(self.next_place) {
                self.loads[self.count % SEEN] = load(slot, now);
                self.count += 1;
            }
        }
        self.picks += 1;
        if self.picks >= PICKS_A_QUANTILE {
            self.picks = 0;
            self.hot_above = self.quantile();
        }
    }

    fn quantile(&self) -> f32 {
        let mut loads = self.loads;
        let known = &mut loads[..self.count.min(SEEN)];
        let rank = (known.len() as f32 * QUANTILE) as usize;
        match known.get(rank) {
            Some(_) => *known.select_nth_unstable_by(rank, f32::total_cmp).1,
            None => 0.0,
        }
    }
}

// === Probes ===

/// The pool of probes: places, oldest first.
#[derive(Default)]
struct Probes {
    places: Vec<usize>,
    /// Whether the next one to be taken out is the worst, not the oldest.
    worst_is_next: bool,
}

impl Probes {
    /// A place that is there already becomes the newest.
    fn push(&mut self, place: usize) {
        self.places.retain(|&other| other != place);
        if self.places.len() >= POOL {
            self.places.remove(0);
        }
        self.places.push(place);
    }

    /// The best eligible one, the newest of equals; `None` with fewer than two. Takes one out.
    fn take_best(
        &mut self,
        slots: &Slots,
        tried: &Tried,
        rank: impl Fn(&Slot) -> Rank,
    ) -> Option<usize> {
        self.places
            .retain(|&place| slots.eligible(place, tried).is_some());
        if self.places.len() < 2 {
            return None;
        }
        let mut best: Option<(Rank, usize)> = None;
        let mut worst: Option<(Rank, usize)> = None;
        for (index, &place) in self.places.iter().enumerate().rev() {
            let rank = rank(slots.get(place)?);
            if best.is_none_or(|(best, _)| rank < best) {
                best = Some((rank, place));
            }
            if worst.is_none_or(|(worst, _)| rank >= worst) {
                worst = Some((rank, index));
            }
        }
        let (_, worst) = worst?;
        let out = if self.worst_is_next { worst } else { 0 };
        self.worst_is_next = !self.worst_is_next;
        self.places.remove(out);
        best.map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests;
