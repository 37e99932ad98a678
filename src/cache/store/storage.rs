//! The store as Pingora sees it. Pingora's eviction managers are not used: the store evicts itself.

use std::any::Any;
use std::time::SystemTime;

use async_trait::async_trait;
use pingora_cache::CacheMeta;
use pingora_cache::eviction::{CacheEntryId, CacheEntryKey};
use pingora_cache::key::{CacheKey, CompactCacheKey};
use pingora_cache::storage::{
    HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
use pingora_cache::trace::SpanHandle;
use pingora_core::Result;

use super::Store;
use super::counts::Left;
use super::reader::Reader;
use super::shard::{Found, Shard};

type Hit = (CacheMeta, HitHandler);

fn hit(found: Found) -> Hit {
    let reader = Reader::new(found.body, found.id);
    (found.meta.copy(), Box::new(reader))
}

#[async_trait]
impl Storage for Store {
    async fn lookup(&'static self, key: &CacheKey, _: &SpanHandle) -> Result<Option<Hit>> {
        Ok(self.find(&key.to_compact()).map(hit))
    }

    /// Pingora asks with the tag of the fill it has just begun, and panics if it is not found.
    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        tag: Option<&[u8]>,
        _: &SpanHandle,
    ) -> Result<Option<Hit>> {
        let id = tag.and_then(|tag| tag.try_into().ok());
        let Some(id) = id.map(u64::from_be_bytes) else {
            return Ok(None);
        };
        let key = key.to_compact();
        let found = self.with(&key.primary, |shard| shard.filling(&key, id));
        Ok(found.map(hit))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<MissHandler> {
        Ok(Box::new(self.begin(key.to_compact(), meta)))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        why: PurgeType,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let Some((key, id)) = resolve(target) else {
            return Ok(PurgeOutcome::NotFound);
        };
        let left = match why {
            PurgeType::Eviction => Left::Size,
            PurgeType::Invalidation => Left::Purged,
        };
        let gone = self.remove(key, id, left);
        let outcome = |id| PurgeOutcome::Purged(Some(CacheEntryId::new(id)));
        Ok(gone.map_or(PurgeOutcome::NotFound, outcome))
    }

    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let now = SystemTime::now();
        let expire = |shard: &mut Shard, key: &CompactCacheKey, id: Option<u64>| {
            let slot = shard.slot_of(key, id)?;
            shard.expire(slot, now);
            Some(())
        };
        let expired = resolve(target)
            .and_then(|(key, id)| self.with(&key.primary, |shard| expire(shard, key, id)));
        Ok(expired.map_or(PurgeOutcome::NotFound, |()| PurgeOutcome::Expired))
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<bool> {
        Ok(self.update(&key.to_compact(), meta))
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// Key and generation; `None` if no entry can be meant, as all of ours have a generation.
fn resolve(target: PurgeTarget<'_>) -> Option<(&CompactCacheKey, Option<u64>)> {
    match target {
        PurgeTarget::Active(key) => Some((key, None)),
        PurgeTarget::Exact(CacheEntryKey::Identified { key, id }) => Some((key, Some(id.get()))),
        PurgeTarget::Exact(CacheEntryKey::KeyOnly(_)) => None,
    }
}
