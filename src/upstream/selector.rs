//! The contract of selectors: Pingora's `BackendSelection` and `BackendIter`, over our endpoints.
//!
//! A [`Selector`] joins one [`Algorithm`] with the slots it chooses from. Its iterator is best
//! first and lives as long as a request: it yields each ready endpoint at most once, reading
//! readiness and load anew at each step, so an endpoint that was tried is excluded by construction.
//! Weight 0 is drained and has no slot. Pingora's own `LoadBalancer` is not used: it hashes,
//! allocates and copies the backend for every pick.
//!
//! Picks are exact when the caller makes pick and lease one step, as [`Candidates`] does.
//!
//! [`Candidates`]: super::members::Candidates

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::endpoint::Endpoint;
use super::member::{EndpointTable, Member};
use super::pick_context::{PickContext, Wanted};
use super::room::Room;
use super::warmth::WARM;
use crate::config::model::AdaptiveLimit;

pub mod digest;
pub mod draw;
pub mod ewma;
pub mod field;
pub mod hash;
pub mod least_conn;
pub mod p2c;
pub mod prequal;
pub mod random;
pub mod resource;
pub mod rotation;
pub mod round_robin;
pub mod shares;

#[cfg(test)]
mod tests;

pub use ewma::Ewma;
pub use hash::Hash;
pub use hash::maglev::Maglev;
pub use hash::ring::Ring;
pub use least_conn::LeastConn;
pub use p2c::P2c;
pub use prequal::Prequal;
pub use random::Random;
pub use resource::Resource;
pub use round_robin::RoundRobin;

/// How to choose among slots. One algorithm, one file.
pub trait Algorithm: Send + Sync {
    /// `seed` decides where it starts; the same seed gives the same picks.
    fn new(slots: &Slots, seed: u64) -> Self;

    /// The place of the best slot that is eligible; `None` when none is.
    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize>;
}

/// A selector, whatever its algorithm.
pub trait Select: Send + Sync {
    /// The best endpoint that may be picked now and is not yet `tried`, which it is then.
    fn next(&self, tried: &mut Tried, facts: &Facts) -> Option<&Arc<Member>>;

    /// What `next` would find.
    fn outlook(&self, tried: &Tried, facts: &Facts) -> Outlook;

    /// As if those had been tried.
    fn mark(&self, tried: &mut Tried, is_meant: &dyn Fn(&Member) -> bool);
}

/// One algorithm over one set of endpoints.
pub struct Selector<A> {
    slots: Slots,
    /// What the iterator yields, by place.
    backends: Box<[Backend]>,
    /// Whose they are. Apart from the slots, which are read at each pick.
    members: Box<[Arc<Member>]>,
    algorithm: A,
}

/// The endpoints with weight, in the table's order.
pub struct Slots(Box<[Slot]>);

pub struct Slot {
    pub endpoint: Arc<Endpoint>,
    /// 1..=1000.
    pub weight: u32,
    /// 1 / weight: a pick multiplies rather than divides.
    pub per_weight: f32,
    /// Attempts the endpoint gets at once.
    pub max_in_flight: u32,
    /// Bounds of the endpoint's adaptive limit; `None`: it does not count.
    pub adaptive_limit: Option<AdaptiveLimit>,
    pub room: Room,
}

/// The places one iterator has yielded, and how warm an endpoint must be for the pick under way.
/// The first 64 places cost no allocation.
#[derive(Clone, Default)]
pub struct Tried {
    /// Below 100. An endpoint is eligible when its percentage is above it.
    chill: u8,
    low: u64,
    high: Vec<u64>,
}

/// What a request would find, were its endpoint picked now; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    Open,
    /// What is ready has as much as it may have; waiting helps.
    AtLimit,
    /// What the request takes fits into none that is ready, and it is not to wait for that.
    NoRoom,
    NoneReady,
}

/// What an algorithm may know of the request it picks for.
///
/// In this order `wanted` is copied straight to where it stays. Behind the others' padding it goes by
/// way of the stack and is read at other offsets than it was written, for which every pick waits.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Facts {
    /// What it takes of its endpoint.
    pub wanted: Wanted,
    /// When the request asked.
    pub now: Instant,
    /// The digest of what a hashing selector hashes; `None`: the request has no such thing.
    pub key: Option<u64>,
}

/// The owning iterator of a [`Selector`].
pub struct BestFirst<A> {
    selector: Arc<Selector<A>>,
    tried: Tried,
    facts: Facts,
}

// === impl Selector ===

impl<A: Algorithm> Selector<A> {
    /// A selector whose picks are reproducible.
    pub fn with_seed(backends: &BTreeSet<Backend>, table: &EndpointTable, seed: u64) -> Self {
        Selector::with(backends, table, |slots| A::new(slots, seed))
    }

    /// A selector of an algorithm with settings.
    pub fn with(
        backends: &BTreeSet<Backend>,
        table: &EndpointTable,
        algorithm: impl FnOnce(&Slots) -> A,
    ) -> Self {
        let mut slots = Vec::new();
        let mut slot_backends = Vec::new();
        let mut slot_members = Vec::new();
        for member in table.members().iter().filter(|member| member.weight > 0) {
            let wanted = Backend {
                addr: member.endpoint.address().into(),
                weight: member.weight as usize,
                ext: Default::default(),
            };
            if let Some(backend) = backends.get(&wanted) {
                slots.push(Slot {
                    endpoint: member.endpoint.clone(),
                    weight: member.weight,
                    per_weight: 1.0 / member.weight as f32,
                    max_in_flight: member.max_in_flight.unwrap_or(u32::MAX),
                    adaptive_limit: member.adaptive_limit,
                    room: member.room.clone(),
                });
                slot_backends.push(backend.clone());
                slot_members.push(member.clone());
            }
        }
        let slots = Slots(slots.into());
        Selector {
            algorithm: algorithm(&slots),
            slots,
            backends: slot_backends.into(),
            members: slot_members.into(),
        }
    }

    /// The endpoints one request may try, best first.
    pub fn walk(self: &Arc<Self>, context: &PickContext<'_>) -> BestFirst<A> {
        BestFirst {
            selector: self.clone(),
            tried: Tried::default(),
            facts: Facts::of(context),
        }
    }

    fn pick(&self, tried: &Tried, facts: &Facts) -> Option<usize> {
        self.algorithm.pick(&self.slots, tried, facts)
    }

    fn next_place(&self, tried: &mut Tried, facts: &Facts) -> Option<usize> {
        // An endpoint at 10 percent may be chosen at one pick in ten, and then as its algorithm says;
        // so each algorithm honours slow start and none knows of it.
        tried.chill = facts.chill();
        let warm = self.pick(tried, facts);
        tried.chill = 0;
        // A cold endpoint is better than none.
        let place = warm.or_else(|| self.pick(tried, facts))?;
        tried.insert(place);
        Some(place)
    }
}

impl<A: Algorithm> Select for Selector<A> {
    fn next(&self, tried: &mut Tried, facts: &Facts) -> Option<&Arc<Member>> {
        self.members.get(self.next_place(tried, facts)?)
    }

    fn outlook(&self, tried: &Tried, facts: &Facts) -> Outlook {
        let mut best = Outlook::NoneReady;
        for (place, slot) in self.slots.iter().enumerate() {
            if tried.contains(place) {
                continue;
            }
            best = best.min(slot.outlook(&facts.wanted));
            if best == Outlook::Open {
                break;
            }
        }
        best
    }

    fn mark(&self, tried: &mut Tried, is_meant: &dyn Fn(&Member) -> bool) {
        let places = 0..self.members.len();
        places
            .filter(|place| is_meant(&self.members[*place]))
            .for_each(|place| tried.insert(place));
    }
}

impl<A: Algorithm> BackendSelection for Selector<A> {
    type Iter = BestFirst<A>;
    type Config = Arc<EndpointTable>;

    fn build_with_config(backends: &BTreeSet<Backend>, table: &Arc<EndpointTable>) -> Self {
        Selector::with_seed(backends, table, fastrand::u64(..))
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Selector::with_seed(backends, &EndpointTable::of(backends), fastrand::u64(..))
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> BestFirst<A> {
        self.walk(&PickContext {
            hash_key: key,
            ..PickContext::default()
        })
    }
}

// === impl Facts ===

impl Facts {
    #[inline]
    pub(super) fn of(context: &PickContext<'_>) -> Self {
        Facts {
            key: (!context.hash_key.is_empty()).then(|| digest::digest(context.hash_key)),
            now: context.now,
            wanted: context.wanted,
        }
    }

    /// Below 100, each as likely: by chance, or by the key, so that each key moves over to an
    /// endpoint that warms up once and for all.
    fn chill(&self) -> u8 {
        let Some(key) = self.key else {
            return fastrand::u8(0..WARM);
        };
        // Other bits than those that algorithms look at.
        let mixed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        (mixed % u64::from(WARM)) as u8
    }
}

// === impl BestFirst ===

impl<A: Algorithm> BackendIter for BestFirst<A> {
    fn next(&mut self) -> Option<&Backend> {
        let place = self.selector.next_place(&mut self.tried, &self.facts)?;
        self.selector.backends.get(place)
    }
}

// === impl Slots ===

impl Slots {
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    /// Attempts running in the whole pool, on backups and endpoints just removed too.
    pub fn in_flight(&self) -> u32 {
        let first = self.0.first();
        first.map_or(0, |slot| slot.endpoint.pool_in_flight())
    }

    pub fn weights(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(|slot| slot.weight)
    }

    #[inline]
    pub fn get(&self, place: usize) -> Option<&Slot> {
        self.0.get(place)
    }

    /// The slot at `place` if it may be picked now: ready, warm enough, below its limit and not yet
    /// tried.
    #[inline(always)]
    pub fn eligible(&self, place: usize, tried: &Tried) -> Option<&Slot> {
        let slot = self.0.get(place)?;
        let is_open = slot.endpoint.is_ready()
            && slot.endpoint.warm_percent() > tried.chill
            && slot.has_place();
        (is_open && !tried.contains(place)).then_some(slot)
    }
}

// === impl Slot ===

impl Slot {
    #[inline]
    fn limit(&self) -> u32 {
        self.endpoint.limit(self.max_in_flight, self.adaptive_limit)
    }

    #[inline]
    fn has_place(&self) -> bool {
        self.endpoint.in_flight() < self.limit()
    }

    fn outlook(&self, wanted: &Wanted) -> Outlook {
        Outlook::at(&self.endpoint, self.limit(), &self.room, wanted)
    }
}

// === impl Outlook ===

impl Outlook {
    /// What a request finds at one endpoint.
    pub fn at(endpoint: &Endpoint, max_in_flight: u32, room: &Room, wanted: &Wanted) -> Outlook {
        if !endpoint.is_ready() {
            return Outlook::NoneReady;
        }
        let fits = wanted.may_exceed || room.filled(&wanted.demand).fits;
        if fits && endpoint.in_flight() < max_in_flight {
            return Outlook::Open;
        }
        let waiting_helps = fits || wanted.may_wait && room.could_fit(&wanted.demand);
        match waiting_helps {
            true => Outlook::AtLimit,
            false => Outlook::NoRoom,
        }
    }
}

// === impl Tried ===

impl Tried {
    pub fn insert(&mut self, place: usize) {
        let bit = 1 << (place % 64);
        if place < 64 {
            self.low |= bit;
            return;
        }
        let word = place / 64 - 1;
        if self.high.len() <= word {
            self.high.resize(word + 1, 0);
        }
        self.high[word] |= bit;
    }

    #[inline]
    pub fn contains(&self, place: usize) -> bool {
        let word = if place < 64 {
            self.low
        } else {
            self.high.get(place / 64 - 1).copied().unwrap_or(0)
        };
        word & (1 << (place % 64)) != 0
    }
}
