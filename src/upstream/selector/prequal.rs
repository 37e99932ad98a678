//! `prequal`: the fastest endpoint among those that are not too busy.
//!
//! Definition (Wydrowski et al., "Load is not what you should balance", NSDI 2024): an endpoint is
//! hot when it has more requests in flight for its weight than the 0.84 quantile of those lately
//! seen, or when it says that it is saturated. Among cold ones the least latency wins, among hot ones
//! alone the fewest in flight, and an endpoint that lately failed comes after all of them (see
//! [`signals`](crate::upstream::signals)). Requests in flight are weir's own attempts, and what the
//! endpoint reports beyond them ([`load_report`](crate::upstream::load_report)).
//!
//! Without a probe endpoint: up to 16 endpoints are all compared. Of more, a pick draws three by weight
//! into a [pool of 16](probes) and chooses from the pool. A probe then is a look at what weir knows,
//! not a message, so it is never out of date and may be used for ever. With fewer than two of the pool
//! eligible, the pick is that of `p2c`.
//!
//! With one ([`load_probes`](crate::upstream::load_probes)) a pick chooses among the endpoints that
//! answered within the last second, each answer as often as the paper's budget of reuse says (for
//! 100 endpoints 1.3 times; three times in pools so small that its formula has no value). Every answer
//! counts alike, whatever it says or does not say: a report adds load or time, and so repels. With
//! fewer than two answers the pick is the one above.
//!
//! Bound: as many cold endpoints as the quantile leaves share the load, so the fastest is used up to
//! the load where it is no longer ahead. Not meant for pools of fewer than eight endpoints: there the
//! quantile has too little to go by, and `ewma` is better. Cost: 16 looks at most; a quantile of 128
//! in every 64th pick.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;

use super::field::{self, Field};
use super::p2c::SIZE;
use super::{Algorithm, Facts, Slot, Slots, Tried, least_conn};
use crate::upstream::load_probes::LoadProbes;
use crate::upstream::load_report::IN_FLIGHT_MAX;
use crate::upstream::signals::REPORT_AGE_MAX;
use crate::upstream::stamp::Stamp;

mod probes;

use probes::{Probe, Probes};

const PROBES: usize = 3;
const QUANTILE: f32 = 0.84;
const SEEN: usize = 128;
const PICKS_A_QUANTILE: u32 = 64;
/// How often an answer is used where the paper's formula has no value.
const USES_MAX: f32 = 3.0;
/// Reported attempts; weir's own do not come near it.
const SATURATED: f32 = IN_FLIGHT_MAX as f32 / 2.0;

pub struct Prequal {
    field: Field,
    /// Where the endpoints are asked for their load; `None`: they are not.
    asked: Option<Asked>,
    state: Mutex<State>,
}

struct Asked {
    probes: Arc<LoadProbes>,
    places: HashMap<SocketAddr, usize>,
    /// How often an answer may decide, on the average.
    uses: f32,
}

struct State {
    seen: Seen,
    looks: Probes,
    answers: Probes,
    /// Answers heard so far.
    heard: u64,
    rng: Rng,
}

impl Algorithm for Prequal {
    fn new(slots: &Slots, seed: u64) -> Self {
        slots.iter().for_each(|slot| slot.endpoint.watch_signals());
        Prequal {
            field: Field::new(slots, seed, SIZE),
            asked: None,
            state: Mutex::new(State {
                seen: Seen::default(),
                looks: Probes::default(),
                answers: Probes::default(),
                heard: 0,
                rng: Rng::with_seed(seed),
            }),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let now = Stamp::of(facts.now);
        let mut state = self.state.lock();
        state.seen.look(slots, now);
        let hot_above = state.seen.hot_above;
        let rank = |slot: &Slot| Rank::of(slot, hot_above, now);
        if let Some(asked) = &self.asked {
            asked.hear(&mut state);
            let best = state.answers.take_best(slots, tried, facts.now, rank);
            if best.is_some() {
                return best;
            }
        }
        if slots.len() <= probes::SIZE {
            // Not `rank`: a closure with one use is inlined.
            let rank = |slot: &Slot| Rank::of(slot, hot_above, now);
            return self.field.least_of_all(slots, tried, rank);
        }
        for _ in 0..PROBES {
            state
                .looks
                .push(Probe::look(self.field.draw(slots, tried)?));
        }
        let best = state.looks.take_best(slots, tried, facts.now, rank);
        best.or_else(|| self.field.least(slots, tried, least_conn::Cost::of))
    }
}

impl Prequal {
    /// Goes by what the endpoints answer to `probes`.
    pub fn with_probes(slots: &Slots, seed: u64, probes: Option<Arc<LoadProbes>>) -> Self {
        Prequal {
            asked: probes.map(|probes| Asked::new(slots, probes)),
            ..Prequal::new(slots, seed)
        }
    }
}

// === impl Asked ===

impl Asked {
    fn new(slots: &Slots, probes: Arc<LoadProbes>) -> Asked {
        let addresses = slots.iter().map(|slot| slot.endpoint.address());
        let per_request = probes.config().per_request as f32 / 100.0;
        Asked {
            places: addresses.zip(0..).collect(),
            uses: uses(slots.len(), per_request),
            probes,
        }
    }

    /// Takes over what was answered meanwhile.
    fn hear(&self, state: &mut State) {
        let State {
            answers,
            heard,
            rng,
            ..
        } = state;
        self.probes.hear(heard, |answer| {
            if let Some(&place) = self.places.get(&answer.address) {
                answers.push(Probe {
                    place,
                    expires: Some(answer.at + REPORT_AGE_MAX),
                    // Rounded at random, so that the average is right.
                    uses: (self.uses + rng.f32()) as u32,
                });
            }
        });
    }
}

/// The paper's budget of reuse, with its delta of 1 and one probe taken out by each pick.
fn uses(slots: usize, per_request: f32) -> f32 {
    let pooled = probes::SIZE.min(slots) as f32 / slots.max(1) as f32;
    let spare = (1.0 - pooled) * per_request - 1.0;
    match spare > 0.0 {
        true => (2.0 / spare).clamp(1.0, USES_MAX),
        false => USES_MAX,
    }
}

/// It says that it has more to do than it can, however busy the others are.
#[inline]
fn is_saturated(slot: &Slot, now: Stamp) -> bool {
    let signals = slot.endpoint.signals();
    signals.is_some_and(|signals| signals.others(now) >= SATURATED)
}

/// Attempts for a unit of weight, reported ones included.
fn load(slot: &Slot, now: Stamp) -> f32 {
    let own = slot.endpoint.in_flight() as f32;
    let others = slot
        .endpoint
        .signals()
        .map_or(0.0, |signals| signals.others(now));
    (own + others) * slot.per_weight
}

// === Rank ===

/// The order of endpoints, best first: what it is, and within that its seconds or its load. Both
/// in one number, since numbers that are not negative have the order of their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

impl Rank {
    #[inline(always)]
    fn of(slot: &Slot, hot_above: f32, now: Stamp) -> Rank {
        let own = slot.endpoint.in_flight();
        let Some(signals) = slot.endpoint.signals() else {
            return Rank::hot(own as f32 * slot.per_weight);
        };
        let others = signals.others(now);
        let load = (own as f32 + others) * slot.per_weight;
        if signals.is_avoided(now) {
            Rank::avoided(load)
        } else if load <= hot_above && others < SATURATED {
            Rank::cold(signals.seconds(own + 1, now))
        } else {
            Rank::hot(load)
        }
    }

    #[inline]
    fn cold(seconds: f32) -> Rank {
        Rank(u64::from(seconds.to_bits()))
    }

    #[inline]
    fn hot(load: f32) -> Rank {
        Rank(1 << 32 | u64::from(load.to_bits()))
    }

    #[inline]
    fn avoided(load: f32) -> Rank {
        Rank(2 << 32 | u64::from(load.to_bits()))
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
    fn look(&mut self, slots: &Slots, now: Stamp) {
        for _ in 0..PROBES {
            self.next_place += 1;
            if self.next_place >= slots.len() {
                self.next_place = 0;
            }
            let slot = slots.get(self.next_place);
            // Where many are saturated, the quantile would be theirs, and none hot.
            if let Some(slot) = slot.filter(|slot| !is_saturated(slot, now)) {
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

#[cfg(test)]
mod tests;
