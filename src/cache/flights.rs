//! Those who miss the same thing at the same time: one of them asks the origin, the others wait.
//!
//! A flight is one such request under way. Whoever comes first leads it; when the leader knows what
//! comes of it, it lands, and all who wait are told at once. A leader that is dropped before hands the
//! flight to the one who waits longest, so no waiter is forgotten. Where no endpoint answers, those who
//! wait are told so together. That a response cannot be shared is remembered for [`MEMORY`], so that
//! requests for it never wait for one another again. Bounded: waiters hold connections, which are
//! capped; what is remembered is [`REMEMBERED_MAX`]. Called by `proxy::cached`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use pingora_cache::key::CompactCacheKey;
use tokio::sync::oneshot;

use super::rules::reuse::Failure;

/// As Varnish remembers what it may not keep (`uncacheable_ttl`).
pub const MEMORY: Duration = Duration::from_secs(120);
/// Of one shard.
const REMEMBERED_MAX: usize = 1024;
const SHARDS: usize = 16;

/// All flights. A handle; clones are the same.
#[derive(Clone, Default)]
pub struct Flights(Arc<[Mutex<Shard>; SHARDS]>);

#[derive(Default)]
struct Shard {
    running: HashMap<CompactCacheKey, Flight, RandomState>,
    /// Until when each is known not to be shared.
    alone: HashMap<CompactCacheKey, Instant, RandomState>,
}

#[derive(Default)]
struct Flight {
    waiters: VecDeque<oneshot::Sender<Turn>>,
    /// One leader got no answer, where another endpoint might have given one.
    is_doubtful: bool,
}

/// What a request that misses does.
pub enum Joined {
    /// Asks, and lands the flight.
    Leads(Leader),
    /// Waits for its turn.
    Waits(oneshot::Receiver<Turn>),
    /// Asks for itself: what comes is known not to be shared.
    Alone,
}

/// What a waiter is told.
pub enum Turn {
    /// What came is in the store.
    Look,
    /// What came was purged before it came: look, and join those who ask anew.
    Again,
    /// What came is nobody else's: ask.
    Alone,
    /// The endpoint failed, and what is stored stands in for it.
    StandIn(Failure),
    /// No endpoint answered.
    Down(Silence),
    /// The leader has gone: lead.
    Lead(Leader),
}

/// What became of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    Stored,
    /// Not to be shared, for as long as [`MEMORY`].
    Uncacheable,
    /// Not to be shared this time.
    NotShared,
    /// Purged before it came: good for who asked before the purge, and for nobody who came after it.
    Voided,
    /// The endpoint failed, and what is stored stood in for it.
    StoodIn(Failure),
    /// No endpoint answered: those who wait are spared to find out one after another. Who comes
    /// later tries again.
    Down(Silence),
}

/// How no endpoint answered, whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    NoEndpoint,
    ConnectFailed,
    ConnectTimeout,
    Timeout,
}

/// The right to ask for all. Dropped without landing, it passes to the next waiter.
pub struct Leader {
    flights: Flights,
    /// `None`: landed.
    key: Option<CompactCacheKey>,
}

// === impl Flights ===

impl Flights {
    pub fn join(&self, key: &CompactCacheKey, now: Instant) -> Joined {
        let mut shard = self.shard(key).lock();
        if shard.is_alone(key, now) {
            return Joined::Alone;
        }
        if let Some(flight) = shard.running.get_mut(key) {
            let (turn, waiter) = oneshot::channel();
            flight.waiters.push_back(turn);
            return Joined::Waits(waiter);
        }
        Joined::Leads(self.lead(&mut shard, key))
    }

    /// The lead, if nobody has it: for who would not wait.
    pub fn try_lead(&self, key: &CompactCacheKey) -> Option<Leader> {
        let mut shard = self.shard(key).lock();
        let is_free = !shard.running.contains_key(key);
        is_free.then(|| self.lead(&mut shard, key))
    }

    /// Whether what comes is known not to be shared.
    pub fn is_alone(&self, key: &CompactCacheKey, now: Instant) -> bool {
        self.shard(key).lock().is_alone(key, now)
    }

    /// Remembers how a response turned out that was fetched for one request only.
    pub fn note(&self, key: &CompactCacheKey, landed: Landed, now: Instant) {
        let mut shard = self.shard(key).lock();
        match landed {
            Landed::Stored => drop(shard.alone.remove(key)),
            Landed::Uncacheable => shard.remember(key, now),
            Landed::NotShared | Landed::Voided | Landed::StoodIn(_) | Landed::Down(_) => {}
        }
    }

    fn lead(&self, shard: &mut Shard, key: &CompactCacheKey) -> Leader {
        shard.running.insert(key.clone(), Flight::default());
        Leader {
            flights: self.clone(),
            key: Some(key.clone()),
        }
    }

    fn shard(&self, key: &CompactCacheKey) -> &Mutex<Shard> {
        &self.0[usize::from(key.primary[0]) % SHARDS]
    }
}

// === impl Shard ===

impl Shard {
    fn is_alone(&self, key: &CompactCacheKey, now: Instant) -> bool {
        // Mostly nothing is remembered, and then no key is hashed.
        !self.alone.is_empty() && self.alone.get(key).is_some_and(|until| now < *until)
    }

    fn remember(&mut self, key: &CompactCacheKey, now: Instant) {
        if self.alone.len() >= REMEMBERED_MAX {
            self.alone.retain(|_, until| now < *until);
        }
        // With all places taken one more is not remembered, which costs a wait and nothing else.
        if self.alone.len() < REMEMBERED_MAX || self.alone.contains_key(key) {
            self.alone.insert(key.clone(), now + MEMORY);
        }
    }
}

// === impl Silence ===

impl Silence {
    pub const ALL: [Silence; 4] = [
        Silence::NoEndpoint,
        Silence::ConnectFailed,
        Silence::ConnectTimeout,
        Silence::Timeout,
    ];
}

// === impl Leader ===

impl Leader {
    /// Tells all who wait.
    pub fn land(mut self, landed: Landed, now: Instant) {
        let Some(key) = self.key.take() else {
            return;
        };
        self.flights.note(&key, landed, now);
        let flight = self.flights.shard(&key).lock().running.remove(&key);
        for waiter in flight.into_iter().flat_map(|flight| flight.waiters) {
            // One that has gone needs no turn.
            let _ = waiter.send(match landed {
                Landed::Stored => Turn::Look,
                Landed::Voided => Turn::Again,
                Landed::StoodIn(failure) => Turn::StandIn(failure),
                Landed::Down(silence) => Turn::Down(silence),
                Landed::Uncacheable | Landed::NotShared => Turn::Alone,
            });
        }
    }

    /// No endpoint answered, though not all were asked: the next leader may do better. The second in
    /// a row speaks for all.
    pub fn doubt(self, silence: Silence, now: Instant) {
        let was_doubtful = self.key.as_ref().is_some_and(|key| {
            let mut shard = self.flights.shard(key).lock();
            let flight = shard.running.get_mut(key);
            flight.is_some_and(|flight| std::mem::replace(&mut flight.is_doubtful, true))
        });
        if was_doubtful {
            self.land(Landed::Down(silence), now);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        while let Some(key) = self.key.take() {
            let mut shard = self.flights.shard(&key).lock();
            let flight = shard.running.get_mut(&key);
            let Some(next) = flight.and_then(|flight| flight.waiters.pop_front()) else {
                shard.running.remove(&key);
                return;
            };
            drop(shard);
            let leader = Leader {
                flights: self.flights.clone(),
                key: Some(key),
            };
            // One that has gone gives the lead back.
            if let Err(Turn::Lead(mut back)) = next.send(Turn::Lead(leader)) {
                self.key = back.key.take();
            }
        }
    }
}

#[cfg(test)]
mod tests;
