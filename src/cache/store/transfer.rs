//! Objects out of one store and into another.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use pingora_cache::CacheMeta;
use pingora_cache::key::CompactCacheKey;

use super::shard::Entry;
use super::{Label, Meta, Store};

/// An entry with all that makes it, apart from a store.
pub struct Object {
    pub key: CompactCacheKey,
    pub meta: CacheMeta,
    pub label: Label,
    pub body: Vec<Bytes>,
}

impl Store {
    /// The objects to keep longest, in the order in which they should leave, as many as have `bytes`
    /// of bodies together. Each is copied (but not its body) when the iterator comes to it; what has
    /// gone by then is left out.
    pub fn export(&self, bytes: usize) -> impl Iterator<Item = Object> {
        let mut entries = self.ranked();
        entries.sort_unstable_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        let fitting = entries.iter().scan(0, |sum, (_, size, _)| {
            *sum += size;
            Some(*sum)
        });
        let count = fitting.take_while(|sum| *sum <= bytes).count();
        entries.truncate(count);
        let rising = entries.into_iter().rev();
        rising.filter_map(|(_, _, key)| self.object(&key))
    }

    /// Rank, length of the body and key of every entry.
    fn ranked(&self) -> Vec<(u64, usize, CompactCacheKey)> {
        let entries_of = |index| self.with_shard(index, |shard| shard.ranked());
        (0..self.shards()).flat_map(entries_of).collect()
    }

    fn object(&self, key: &CompactCacheKey) -> Option<Object> {
        let parts = |entry: &Entry| {
            let (meta, body) = (entry.meta.clone(), Arc::clone(&entry.body));
            (meta, body)
        };
        let (meta, body) = self.with(&key.primary, |shard| {
            let slot = shard.slot(key)?;
            shard.get(slot).map(parts)
        })?;
        Some(Object {
            key: key.clone(),
            meta: meta.copy(),
            label: meta.label(),
            body: body.shared().collect(),
        })
    }

    /// Stores an object as if it had just been used, unless there is one with its key, or it is of no
    /// use at `now`, or does not fit.
    pub fn import(&self, mut object: Object, now: SystemTime) -> bool {
        let is_known = |key: &CompactCacheKey| {
            let slot = self.with(&key.primary, |shard| shard.slot(key));
            slot.is_some()
        };
        let until = Meta::keep(&object.meta).useful_until();
        if until < now || is_known(&object.key) {
            return false;
        }
        object.meta.extensions_mut().insert(object.label);
        let mut fill = self.begin(object.key, &object.meta);
        let is_written = object.body.iter().all(|piece| fill.write(piece).is_ok());
        is_written && fill.commit() > 0
    }
}
