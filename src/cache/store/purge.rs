//! What operators and origins take out: exactly, at once, and what is being written too.
//!
//! A purge looks at the objects it affects and no others, apart from the few that are being written.
//! A large one keeps nobody waiting: it takes a few at a time, of those that were there when it began.
//! An object whose response began before a hard purge is never stored, and one that began before a
//! soft purge is stale from its start: the response may be as old as what was purged. So may be the
//! answer to what was asked before, which [`asked`](super::asked) is told for.

use std::time::SystemTime;

use pingora_cache::key::{CompactCacheKey, HashBinary};
use pingora_cache::storage::PurgeAction;

use super::asked::Void;
use super::counts::{Left, Refused};
use super::index::place;
use super::shard::{Entry, Filling, Shard};
use super::{Store, shard_of};

/// How many entries are purged under a shard's lock before requests may have it.
const BATCH: usize = 32;

#[derive(Clone, Copy, Debug)]
pub enum Purge<'a> {
    /// All variants of the key.
    Key(&'a CompactCacheKey),
    /// All variants of a URL, of whatever scheme; the path with its query.
    Url {
        host: &'a str,
        path: &'a str,
    },
    /// Everything on the host whose path (with query) begins so.
    Prefix {
        host: &'a str,
        path: &'a str,
    },
    Host(&'a str),
    Tag(&'a str),
    All,
}

/// A purge with its texts put together, once for all shards.
pub(super) enum Target<'a> {
    Family(&'a HashBinary),
    At(String),
    Below(String),
    Tagged(&'a str),
    All,
}

/// An entry that a purge found when it began.
struct Meant {
    slot: u32,
    id: u64,
}

impl Meant {
    /// Where it is, unless it has gone, or another has come in its place.
    fn slot(&self, shard: &Shard) -> Option<u32> {
        let is_same = |entry: &Entry| entry.id == self.id;
        shard
            .get(self.slot)
            .is_some_and(is_same)
            .then_some(self.slot)
    }
}

impl Target<'_> {
    fn entries(&self, shard: &Shard) -> Vec<Meant> {
        let meant = |slot| {
            let id = shard.get(slot)?.id;
            Some(Meant { slot, id })
        };
        self.slots(shard).into_iter().filter_map(meant).collect()
    }

    fn slots(&self, shard: &Shard) -> Vec<u32> {
        match self {
            Target::Family(primary) => shard.family(primary).collect(),
            Target::At(place) => shard.index.at(place),
            Target::Below(prefix) => shard.index.below(prefix),
            Target::Tagged(tag) => shard.index.tagged(tag),
            Target::All => shard.slots(),
        }
    }

    fn means(&self, fill: &Filling) -> bool {
        let is_meant = match self {
            Target::Family(primary) => fill.key.primary == **primary,
            Target::Tagged(tag) => fill.meta.tags().any(|known| known == *tag),
            Target::At(_) | Target::Below(_) | Target::All => self.covers(fill.meta.place()),
        };
        is_meant && !fill.body.is_passing()
    }

    /// Whether it means what belongs to a place, by the place alone.
    pub(super) fn covers(&self, place: &[u8]) -> bool {
        match self {
            Target::At(meant) => place == meant.as_bytes(),
            Target::Below(prefix) => place.starts_with(prefix.as_bytes()),
            Target::All => true,
            Target::Family(_) | Target::Tagged(_) => false,
        }
    }
}

impl Store {
    /// Deletes or marks stale; returns how many objects, those being written included.
    pub fn invalidate(&self, purge: Purge<'_>, action: PurgeAction, now: SystemTime) -> usize {
        let target = match purge {
            Purge::Key(key) => Target::Family(&key.primary),
            Purge::Url { host, path } => Target::At(place(host, path)),
            Purge::Prefix { host, path } => Target::Below(place(host, path)),
            Purge::Host(host) => Target::Below(place(host, "/")),
            Purge::Tag(tag) => Target::Tagged(tag),
            Purge::All => Target::All,
        };
        // First: what is asked for, and then begun, is told or found.
        let void = match action {
            PurgeAction::Delete => Void::Gone,
            PurgeAction::Expire => Void::Stale(now),
        };
        self.0.asking.tell(&target, void);
        let affected = |index| match action {
            PurgeAction::Delete => self.delete(index, &target),
            PurgeAction::Expire => self.expire(index, &target, now),
        };
        match target {
            Target::Family(primary) => affected(shard_of(primary)),
            _ => (0..self.shards()).map(affected).sum(),
        }
    }

    fn delete(&self, index: usize, target: &Target<'_>) -> usize {
        let (meant, refused) = self.with_shard(index, |shard| {
            let fills = shard.fills().filter(|fill| target.means(fill));
            let refused = fills.map(|fill| fill.body.pass()).count();
            (target.entries(shard), refused)
        });
        (0..refused).for_each(|_| self.counts().refuse(Refused::Purged));
        let delete = |batch: &[Meant]| {
            let gone: Vec<Entry> = self.with_shard(index, |shard| {
                let slots = batch.iter().filter_map(|meant| meant.slot(shard));
                let slots: Vec<u32> = slots.collect();
                slots.iter().flat_map(|slot| shard.remove(*slot)).collect()
            });
            self.count_left(&gone, Left::Purged);
            gone.len()
        };
        refused + meant.chunks(BATCH).map(delete).sum::<usize>()
    }

    fn expire(&self, index: usize, target: &Target<'_>, now: SystemTime) -> usize {
        let (meant, filling) = self.with_shard(index, |shard| {
            let fills = shard.fills_mut().filter(|fill| target.means(fill));
            let filling = fills.map(|fill| fill.expire(now)).count();
            (target.entries(shard), filling)
        });
        let expire = |batch: &[Meant]| {
            self.with_shard(index, |shard| {
                let slots = batch.iter().filter_map(|meant| meant.slot(shard));
                let slots: Vec<u32> = slots.collect();
                slots.iter().for_each(|slot| shard.expire(*slot, now));
                slots.len()
            })
        };
        filling + meant.chunks(BATCH).map(expire).sum::<usize>()
    }
}
