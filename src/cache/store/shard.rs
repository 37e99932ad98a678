//! One shard: all variants of the keys that fall into it, and everything that is known of them,
//! under one lock.
//!
//! Slots of `entries`, their families, the order of eviction, the index of expiry and the index of
//! places and tags always hold the same entries. What was made of an entry, its coded forms, leaves with
//! it. Nothing here waits, evicts for room or drops a
//! body: what is taken out is handed to the caller, who drops it without the lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use pingora_cache::key::{CompactCacheKey, HashBinary};
use slab::Slab;

use super::account::Charge;
use super::body::{Body, OPEN_BYTES, Open, WHOLE_BYTES, Whole};
use super::index::{self, Index};
use super::meta::Meta;
use super::order::{ORDER_BYTES, Order};
use crate::config::model::Eviction;

mod family;

use family::{FAMILY_BYTES, OLDEST};

/// Variants kept of one URL, each with its coded forms; one more replaces the oldest. A `Vary` on something that each request has of its
/// own must not fill the memory with one URL.
const VARIANTS_MAX: usize = 16;

/// How many entries that are being read are passed over before a shard gives up.
const SPARED_MAX: usize = 32;

/// What an entry takes beside meta, index and the bytes of its body: its slot in a list that grows by
/// doubling, and its places in its family, the order of eviction and the index of expiry (a B-tree
/// that is filled in rising order is half full).
const ENTRY_OVERHEAD: usize = size_of::<Entry>() * 3 / 2
    + WHOLE_BYTES
    + FAMILY_BYTES
    + ORDER_BYTES
    + size_of::<(u32, u32)>() * 2
    + 12;

/// An object.
pub struct Entry {
    primary: HashBinary,
    variance: Option<Box<HashBinary>>,
    /// The generation: no two entries of a store have the same.
    pub id: u64,
    pub meta: Meta,
    pub body: Arc<Whole>,
    /// For all but the body.
    pub charge: Charge,
    /// As it stands in the index of expiry.
    until: u32,
    /// The next older one of its family.
    older: u32,
}

impl Entry {
    /// `None`: the body is not whole.
    pub fn new(fill: Filling, mut charge: Charge) -> Option<Self> {
        charge.shrink_to(entry_cost(&fill.meta));
        Some(Entry {
            primary: fill.key.primary,
            variance: fill.key.variance,
            id: fill.id,
            body: Arc::clone(fill.body.whole()?),
            charge,
            until: last_second(&fill.meta),
            older: OLDEST,
            meta: fill.meta,
        })
    }

    pub fn key(&self) -> CompactCacheKey {
        CompactCacheKey {
            primary: self.primary,
            variance: self.variance.clone(),
            user_tag: Box::default(),
        }
    }

    /// Which variant of its URL it is.
    pub fn variance(&self) -> Option<HashBinary> {
        self.variance.as_deref().copied()
    }

    /// Whether it counts among the variants of its URL: not what varies by nothing, nor what was made of
    /// another.
    fn is_variant(&self) -> bool {
        self.variance.is_some() && !self.meta.is_coded()
    }

    fn found(&self) -> Found {
        Found {
            meta: self.meta.clone(),
            body: Body::Whole(Arc::clone(&self.body)),
            id: self.id,
            variance: self.variance(),
        }
    }

    /// Bytes of the account it holds.
    pub fn charged(&self) -> usize {
        self.charge.bytes() + self.body.charged()
    }
}

/// What an entry takes beside the bytes of its body.
pub fn entry_cost(meta: &Meta) -> usize {
    ENTRY_OVERHEAD + meta.cost() + index::cost(meta)
}

/// What an entry takes until it is one, beside the bytes of its body.
pub fn fill_cost(meta: &Meta) -> usize {
    entry_cost(meta) + OPEN_BYTES
}

/// The second, since 1970, after which an object is of no use.
fn last_second(meta: &Meta) -> u32 {
    let rounded_up = Duration::from_nanos(999_999_999);
    seconds(meta.useful_until() + rounded_up)
}

fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u32::try_from(since.unwrap_or_default().as_secs()).unwrap_or(u32::MAX)
}

/// An object that is being written. Readers find it unless its body passes through.
pub struct Filling {
    pub key: CompactCacheKey,
    pub id: u64,
    pub meta: Meta,
    pub body: Arc<Open>,
}

/// What a lookup finds.
#[derive(Clone)]
pub struct Found {
    pub meta: Meta,
    pub body: Body,
    pub id: u64,
    /// Which variant it is.
    pub variance: Option<HashBinary>,
}

pub struct Shard {
    entries: Slab<Entry>,
    /// The newest of each family.
    newest: HashTable<u32>,
    hasher: RandomState,
    fills: HashMap<HashBinary, Vec<Filling>, RandomState>,
    order: Order,
    /// By the second after which it is of no use.
    expiry: BTreeSet<(u32, u32)>,
    pub index: Index,
}

impl Shard {
    pub fn new(eviction: Eviction) -> Self {
        Shard {
            entries: Slab::new(),
            newest: HashTable::new(),
            hasher: RandomState::default(),
            fills: HashMap::default(),
            order: Order::new(eviction),
            expiry: BTreeSet::new(),
            index: Index::default(),
        }
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    pub fn fills(&self) -> impl Iterator<Item = &Filling> {
        self.fills.values().flatten()
    }

    pub fn fills_mut(&mut self) -> impl Iterator<Item = &mut Filling> {
        self.fills.values_mut().flatten()
    }

    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)
    }

    pub fn slots(&self) -> Vec<u32> {
        self.entries.iter().map(|(slot, _)| slot as u32).collect()
    }

    /// Rank in the order, length of the body and key of each.
    pub fn ranked(&self) -> Vec<(u64, usize, CompactCacheKey)> {
        let ranked = |(slot, entry): (usize, &Entry)| {
            let rank = self.order.rank(slot as u32);
            (rank, entry.body.len(), entry.key())
        };
        self.entries.iter().map(ranked).collect()
    }

    pub fn slot(&self, key: &CompactCacheKey) -> Option<u32> {
        let is_meant = |slot: &u32| {
            self.get(*slot)
                .is_some_and(|entry| entry.variance == key.variance)
        };
        self.family(&key.primary).find(is_meant)
    }

    /// Where an entry is, of that generation if one is given.
    pub fn slot_of(&self, key: &CompactCacheKey, id: Option<u64>) -> Option<u32> {
        let slot = self.slot(key)?;
        let found = self.get(slot)?.id;
        id.is_none_or(|id| id == found).then_some(slot)
    }

    /// The newest object that is being written, else the stored one, which counts as used.
    pub fn find(&mut self, key: &CompactCacheKey, tick: u64) -> Option<Found> {
        if let Some(found) = self.find_filling(key) {
            return Some(found);
        }
        let slot = self.slot(key)?;
        self.order.touch(slot, tick);
        self.get(slot).map(Entry::found)
    }

    /// The newest of a URL that is meant; it counts as used.
    pub fn choose(
        &mut self,
        primary: &HashBinary,
        tick: u64,
        mut is_meant: impl FnMut(&Meta, Option<&HashBinary>) -> bool,
    ) -> Option<Found> {
        let fills = self.open_fills(primary);
        let mut meant = fills.filter(|fill| is_meant(&fill.meta, fill.key.variance.as_deref()));
        if let Some(fill) = meant.next() {
            return Some(fill.found());
        }
        drop(meant);
        let slot = self.family(primary).find(|slot| {
            let entry = self.get(*slot);
            entry.is_some_and(|entry| is_meant(&entry.meta, entry.variance.as_deref()))
        })?;
        self.order.touch(slot, tick);
        self.get(slot).map(Entry::found)
    }

    /// All of a URL, newest first.
    pub fn variants(&self, primary: &HashBinary) -> Vec<Found> {
        let slots = self.family(primary);
        let stored = slots.filter_map(|slot| self.get(slot).map(Entry::found));
        let fills = self.open_fills(primary).map(Filling::found);
        fills.chain(stored).collect()
    }

    /// The fills of a URL that are to be stored, newest first.
    fn open_fills(&self, primary: &HashBinary) -> impl Iterator<Item = &Filling> {
        // Mostly nothing is being written at all, and then no key is hashed.
        let fills = match self.fills.is_empty() {
            true => None,
            false => self.fills.get(primary),
        };
        let newest_first = fills.into_iter().flatten().rev();
        newest_first.filter(|fill| !fill.body.is_passing())
    }

    fn find_filling(&self, key: &CompactCacheKey) -> Option<Found> {
        let mut fills = self.open_fills(&key.primary);
        fills.find(|fill| fill.key == *key).map(Filling::found)
    }

    /// The object that one fill writes, passing or not.
    pub fn filling(&self, key: &CompactCacheKey, id: u64) -> Option<Found> {
        let fills = self.fills.get(&key.primary)?;
        fills.iter().find(|fill| fill.id == id).map(Filling::found)
    }

    pub fn begin(&mut self, fill: Filling) {
        let fills = self.fills.entry(fill.key.primary).or_default();
        fills.push(fill);
    }

    /// Takes a fill out, at its end.
    pub fn end(&mut self, primary: &HashBinary, id: u64) -> Option<Filling> {
        let fills = self.fills.get_mut(primary)?;
        let at = fills.iter().position(|fill| fill.id == id)?;
        let fill = fills.remove(at);
        if fills.is_empty() {
            self.fills.remove(primary);
        }
        Some(fill)
    }

    /// Puts an entry in the place of the one with its key; hands back what had to go for it.
    pub fn insert(&mut self, entry: Entry, tick: u64) -> Vec<Entry> {
        let key = entry.key();
        let replaced = self.slot(&key).or_else(|| self.surplus(&entry));
        let replaced = replaced.map_or_else(Vec::new, |slot| self.remove(slot));
        let (fingerprint, bytes, until) = (fingerprint(&key), entry.charged(), entry.until);
        let vacant = self.entries.vacant_entry();
        let slot = vacant.key() as u32;
        self.index.add(slot, &entry.meta);
        vacant.insert(entry);
        self.join_family(slot);
        self.expiry.insert((until, slot));
        self.order.admit(slot, tick, fingerprint, bytes);
        replaced
    }

    /// The oldest variant, if there is no place for one more.
    fn surplus(&self, entry: &Entry) -> Option<u32> {
        if !entry.is_variant() {
            return None;
        }
        let is_variant = |slot: &u32| self.get(*slot).is_some_and(Entry::is_variant);
        let variants = self.family(&entry.primary).filter(is_variant);
        variants.skip(VARIANTS_MAX - 1).last()
    }

    /// Takes it out, and with it what was made of it.
    pub fn remove(&mut self, slot: u32) -> Vec<Entry> {
        let gone = self.take_all(slot);
        if !gone.is_empty() {
            self.order.remove(slot);
        }
        gone
    }

    /// Takes it out of everything but the order, and what was made of it out of that too.
    fn take_all(&mut self, slot: u32) -> Vec<Entry> {
        let forms = self.forms(slot);
        let mut gone: Vec<Entry> = self.take(slot).into_iter().collect();
        for form in forms {
            gone.extend(self.take(form));
            self.order.remove(form);
        }
        gone
    }

    /// Takes it out of everything but the order.
    fn take(&mut self, slot: u32) -> Option<Entry> {
        self.leave_family(slot);
        let entry = self.entries.try_remove(slot as usize)?;
        self.index.remove(slot, &entry.meta);
        self.expiry.remove(&(entry.until, slot));
        Some(entry)
    }

    /// Takes out the entry that is to go first. Evicting one that is being read would give no room,
    /// so it is passed over.
    pub fn evict(&mut self, tick: u64) -> Vec<Entry> {
        for _ in 0..SPARED_MAX {
            let victim = self.order.victim();
            let Some((slot, entry)) = victim.and_then(|slot| Some((slot, self.get(slot)?))) else {
                break;
            };
            if Arc::strong_count(&entry.body) > 1 {
                self.order.spare(slot, tick);
                continue;
            }
            self.order.evict(slot);
            return self.take_all(slot);
        }
        Vec::new()
    }

    /// Takes out one entry that is of no use any more.
    pub fn take_expired(&mut self, now: SystemTime) -> Option<Vec<Entry>> {
        let (until, slot) = *self.expiry.first()?;
        (until < seconds(now)).then(|| self.remove(slot))
    }

    /// Gives an entry a new head and times, and a new label, at a new charge.
    pub fn renew(&mut self, slot: u32, meta: Meta, charge: Charge) {
        self.set_meta(slot, meta);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.charge = charge;
            entry.charge.shrink_to(entry_cost(&entry.meta));
        }
    }

    fn set_meta(&mut self, slot: u32, meta: Meta) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            let until = last_second(&meta);
            self.expiry.remove(&(entry.until, slot));
            self.expiry.insert((until, slot));
            entry.until = until;
            self.index.remove(slot, &entry.meta);
            self.index.add(slot, &meta);
            entry.meta = meta;
        }
    }

    /// Marks an entry stale.
    pub fn expire(&mut self, slot: u32, now: SystemTime) {
        if let Some(meta) = self.get(slot).map(|entry| entry.meta.expired(now)) {
            self.set_meta(slot, meta);
        }
    }

    pub fn urgency(&self) -> u64 {
        self.order.urgency()
    }
}

impl Filling {
    fn found(&self) -> Found {
        Found {
            meta: self.meta.clone(),
            body: Body::Open(Arc::clone(&self.body)),
            id: self.id,
            variance: self.key.variance.as_deref().copied(),
        }
    }

    /// Marks it stale from its start.
    pub fn expire(&mut self, now: SystemTime) {
        self.meta = self.meta.expired(now);
    }
}

/// What a ghost remembers of a key, which is a hash already.
fn fingerprint(key: &CompactCacheKey) -> u64 {
    let half = |hash: &HashBinary| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        u64::from_le_bytes(bytes)
    };
    let variance = key.variance.as_deref().map_or(0, half);
    half(&key.primary) ^ variance.rotate_left(1)
}
