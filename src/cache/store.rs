//! The memory of the cache: Pingora's `Storage`, bounded in bytes.
//!
//! ```text
//! request ─ find ── Reader (a body, whole or being written)
//!        └ ask ── begin ── Fill ── write … commit ── Entry
//! ```
//!
//! Always:
//!
//! - Everything counts: keys, headers, labels, bookkeeping, bodies, bodies in flight, and bodies of
//!   entries that have gone but are still read ([`account`]). The sum never exceeds `memory`, but
//!   for 2 % while bodies pass through a full store, and right after `memory` was lowered.
//! - Room is taken before bytes are written. Who finds none is not refused service, only storage.
//! - Evictions follow the order over all shards: with LRU it is the exact one. Entries being read
//!   are passed over.
//! - No lock is held while another is taken, but for a body's, or a fetch's words' ([`asked`]), within a
//!   shard's; none over an await.
//!
//! A store is made once and lives as long as the process; [`Store::resize`] follows a reload.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary};

pub mod account;
pub mod asked;
pub mod body;
pub mod counts;
pub mod fill;
pub mod index;
pub mod inspect;
pub mod list;
pub mod lru;
pub mod meta;
pub mod order;
pub mod purge;
pub mod reader;
pub mod s3fifo;
pub mod shard;
pub mod storage;
pub mod transfer;

#[cfg(test)]
mod tests;

pub use crate::config::model::Eviction;
pub use asked::{Asked, Void};
pub use counts::{Counts, Left, Refused};
pub use index::Label;
pub use purge::Purge;
pub use reader::{Read, Reader};
pub use transfer::Object;

pub use fill::Fill;
pub use meta::{Coded, Meta};
pub use shard::Found;

use account::{Account, Charge};
use asked::Asking;
use body::Open;
use shard::{Entry, Filling, Shard, fill_cost};

type Fingerprints = HashMap<u64, u32, foldhash::fast::RandomState>;

const SHARDS: usize = 16;

/// How many shards one search for a victim looks into before it reports that all is in use.
const SEARCHED_MAX: usize = 2 * SHARDS;

/// A handle; clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    account: Arc<Account>,
    max_object: AtomicUsize,
    shards: Box<[Cell]>,
    asking: Asking,
    counts: Counts,
    /// The last generation given to an entry.
    ids: AtomicU64,
    /// The number of the last use of an entry.
    ticks: AtomicU64,
}

struct Cell {
    shard: Mutex<Shard>,
    /// As the shard said when it was last unlocked; the least evicts first.
    urgency: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes the store may hold, of every kind.
    pub memory: usize,
    /// Bytes one body may have.
    pub max_object: usize,
    pub eviction: Eviction,
}

/// How full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub objects: usize,
    /// Responses being written or passing through.
    pub fills: usize,
    /// Of the account, everything included.
    pub bytes: usize,
}

impl Store {
    pub fn new(settings: Settings) -> Self {
        let cell = |_| Cell {
            shard: Mutex::new(Shard::new(settings.eviction)),
            urgency: AtomicU64::new(u64::MAX),
        };
        Store(Arc::new(Inner {
            account: Account::new(settings.memory),
            max_object: AtomicUsize::new(settings.max_object),
            shards: (0..SHARDS).map(cell).collect(),
            asking: Asking::default(),
            counts: Counts::default(),
            ids: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
        }))
    }

    /// Follows a changed configuration: shrinking evicts until the rest fits, or all of it is read.
    pub fn resize(&self, memory: usize, max_object: usize) {
        self.0.max_object.store(max_object, Ordering::Relaxed);
        self.account().set_limit(memory);
        while self.account().used() > memory && self.evict_one() {}
    }

    /// What a key leads to; counts as a use.
    pub fn find(&self, key: &CompactCacheKey) -> Option<Found> {
        let tick = self.tick();
        self.with(&key.primary, |shard| shard.find(key, tick))
    }

    /// The newest object of a URL that `is_meant` means, by its head and its variance; those being
    /// written are the newest. Counts as a use.
    pub fn choose(
        &self,
        primary: &HashBinary,
        is_meant: impl FnMut(&Meta, Option<&HashBinary>) -> bool,
    ) -> Option<Found> {
        let tick = self.tick();
        self.with(primary, |shard| shard.choose(primary, tick, is_meant))
    }

    /// All variants of a URL, newest first.
    pub fn variants(&self, primary: &HashBinary) -> Vec<Found> {
        self.with(primary, |shard| shard.variants(primary))
    }

    /// Begins to store a response. Never fails: a response that is not to be kept passes through.
    pub fn begin(&self, key: CompactCacheKey, meta: &CacheMeta) -> Fill {
        let meta = Meta::keep(meta);
        let length = meta.content_length();
        let granted = self.admit(fill_cost(&meta), length);
        let is_kept = granted.is_some();
        let (charge, room) = granted.unzip();
        let body = Open::new(room.unwrap_or_else(|| self.account().nothing()));
        if !is_kept {
            body.pass();
        }
        let id = 1 + self.0.ids.fetch_add(1, Ordering::Relaxed);
        let filling = Filling {
            key: key.clone(),
            id,
            meta,
            body: Arc::clone(&body),
        };
        self.with(&key.primary, |shard| shard.begin(filling));
        Fill::new(self.clone(), key, id, body, charge, length)
    }

    /// Room for an entry, and for its body: for all of it, if its length is known.
    fn admit(&self, entry: usize, length: Option<usize>) -> Option<(Charge, Charge)> {
        if length.is_some_and(|length| length > self.max_object()) {
            self.counts().refuse(Refused::TooLarge);
            return None;
        }
        let limit = self.account().limit();
        let room = length.map_or_else(body::least, body::estimate);
        let granted = self.charge(entry + room, limit);
        if granted.is_none() {
            self.counts().refuse(Refused::Full);
        }
        granted.map(|mut charge| {
            let room = charge.split(room);
            (charge, room)
        })
    }

    /// Gives a stored response new headers and times, after it has been revalidated. False when it is
    /// gone, or has been replaced by another since.
    pub fn update(&self, key: &CompactCacheKey, meta: &CacheMeta) -> bool {
        let (updated, created) = (meta.updated(), meta.created());
        let slot = |shard: &Shard| {
            let is_same = |entry: &Entry| entry.meta.created() == created;
            let slot = shard.slot(key)?;
            shard.get(slot).is_some_and(is_same).then_some(slot)
        };
        let known = self.with(&key.primary, |shard| {
            let entry = shard.get(slot(shard)?)?;
            Some(entry.meta.clone())
        });
        let Some(known) = known else {
            return false;
        };
        let renewed = match meta.extensions().get::<Label>() {
            Some(label) => Meta::labelled(meta, label),
            None => Meta::labelled(meta, &known.label()),
        };
        // Room for the new head beside the old one; to find it may cost the entry itself.
        let limit = self.account().limit();
        let Some(charge) = self.charge(fill_cost(&renewed), limit) else {
            return false;
        };
        let renew = |shard: &mut Shard| {
            let slot = slot(shard)?;
            let purged = shard.get(slot)?.meta.purged().filter(|at| *at >= updated);
            let renewed = purged.map(|at| renewed.expired(at)).unwrap_or(renewed);
            shard.renew(slot, renewed, charge);
            Some(())
        };
        self.with(&key.primary, renew).is_some()
    }

    /// Takes one entry out with its coded forms, of that generation if one is given; returns the
    /// generation it had.
    pub fn remove(&self, key: &CompactCacheKey, id: Option<u64>, why: Left) -> Option<u64> {
        let gone = self.with(&key.primary, |shard| {
            let slot = shard.slot_of(key, id)?;
            Some(shard.remove(slot))
        })?;
        self.count_left(&gone, why);
        gone.first().map(|entry| entry.id)
    }

    /// Takes out what is of no use any more; returns how many.
    pub fn sweep(&self, now: SystemTime) -> usize {
        let sweep_shard = |index| {
            let next = || self.with_shard(index, |shard| shard.take_expired(now));
            std::iter::from_fn(next)
                .map(|gone| self.count_left(&gone, Left::Expired))
                .sum::<usize>()
        };
        (0..SHARDS).map(sweep_shard).sum()
    }

    pub fn holding(&self) -> Holding {
        let mut holding = Holding {
            objects: 0,
            fills: 0,
            bytes: self.account().used(),
        };
        for index in 0..SHARDS {
            self.with_shard(index, |shard| {
                holding.objects += shard.count();
                holding.fills += shard.fills().count();
            });
        }
        holding
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Bytes it may hold.
    pub fn memory(&self) -> usize {
        self.account().limit()
    }

    pub fn max_object(&self) -> usize {
        self.0.max_object.load(Ordering::Relaxed)
    }

    fn count_left(&self, gone: &[Entry], why: Left) -> usize {
        gone.iter().for_each(|_| self.counts().leave(why));
        gone.len()
    }

    fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    fn tick(&self) -> u64 {
        self.0.ticks.fetch_add(1, Ordering::Relaxed)
    }

    fn shards(&self) -> usize {
        SHARDS
    }

    /// Bytes of the account, evicting for them what must go; `None` if that is not enough.
    fn charge(&self, bytes: usize, ceiling: usize) -> Option<Charge> {
        if bytes > ceiling {
            return None;
        }
        loop {
            if let Some(charge) = self.account().charge(bytes, ceiling) {
                return Some(charge);
            }
            if !self.evict_one() {
                return None;
            }
        }
    }

    /// False when there is nothing that could go.
    fn evict_one(&self) -> bool {
        for _ in 0..SEARCHED_MAX {
            let urgency = |cell: &Cell| cell.urgency.load(Ordering::Relaxed);
            let cells = self.0.shards.iter().map(urgency).enumerate();
            let most = cells.min_by_key(|(_, urgency)| *urgency);
            let Some((index, _)) = most.filter(|(_, urgency)| *urgency < u64::MAX) else {
                return false;
            };
            let tick = self.tick();
            let gone = self.with_shard(index, |shard| shard.evict(tick));
            if self.count_left(&gone, Left::Size) > 0 {
                return true;
            }
        }
        false
    }

    /// What is dropped in `act` is dropped under the lock; hand it out instead.
    fn with<R>(&self, primary: &HashBinary, act: impl FnOnce(&mut Shard) -> R) -> R {
        self.with_shard(shard_of(primary), act)
    }

    fn with_shard<R>(&self, index: usize, act: impl FnOnce(&mut Shard) -> R) -> R {
        let cell = &self.0.shards[index];
        let mut shard = cell.shard.lock();
        let result = act(&mut shard);
        cell.urgency.store(shard.urgency(), Ordering::Relaxed);
        result
    }
}

/// All variants of a URL fall into one shard.
fn shard_of(primary: &HashBinary) -> usize {
    usize::from(primary[15]) % SHARDS
}
