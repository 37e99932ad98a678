//! One response on its way into the store: Pingora's `HandleMiss`.
//!
//! A fill takes room before it writes. What does not fit is not an error: the body turns to passing,
//! is found by nobody any more, and its bytes go to those who read it already. It becomes an object
//! when it is finished, whole and still wanted (of a coded form: while what it was made of is stored);
//! dropped before that, its readers get an error.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::eviction::CacheEntryId;
use pingora_cache::key::CompactCacheKey;
use pingora_cache::storage::{HandleMiss, MissFinishType};
use pingora_core::{Error, ErrorType, Result};

use super::account::Charge;
use super::body::{Open, PASSAGE, PIECE_BYTES};
use super::counts::Refused;
use super::shard::{Entry, Found};
use super::{Left, Store};

/// What a passing body may always hold for readers that lag.
const WINDOW_MIN: usize = 1 << 20;
/// What it holds for them where no more memory is left: less than [`PASSAGE`], as chunks cost more than
/// their bytes.
const WINDOW_OWN: usize = PASSAGE * 3 / 4;

/// Who holds a body that nobody reads: its fill, and the store.
const HOLDERS_OF_UNREAD: usize = 2;

pub struct Fill {
    store: Store,
    key: CompactCacheKey,
    id: u64,
    tag: [u8; 8],
    body: Arc<Open>,
    /// For the entry it is to become; `None` once it is refused.
    charge: Option<Charge>,
    /// What the response announces.
    length: Option<usize>,
    ended: bool,
}

impl Fill {
    /// Passing from the start if `charge` is `None`.
    pub(super) fn new(
        store: Store,
        key: CompactCacheKey,
        id: u64,
        body: Arc<Open>,
        charge: Option<Charge>,
        length: Option<usize>,
    ) -> Self {
        Fill {
            store,
            key,
            id,
            tag: id.to_be_bytes(),
            body,
            charge,
            length,
            ended: false,
        }
    }

    #[cfg(test)]
    pub fn body(&self) -> &Arc<Open> {
        &self.body
    }

    /// As a lookup finds it; `None`: it has ended.
    pub fn found(&self) -> Option<Found> {
        let primary = &self.key.primary;
        self.store
            .with(primary, |shard| shard.filling(&self.key, self.id))
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        self.body.written()
    }

    /// Whether its bytes leave with their readers: it will not be stored.
    pub fn is_passing(&self) -> bool {
        self.body.is_passing()
    }

    /// Bytes of the account it holds beside its body.
    #[cfg(test)]
    pub fn charged(&self) -> usize {
        self.charge.as_ref().map_or(0, Charge::bytes)
    }

    /// Takes bytes in; an error if the body passes through and nobody is left to read it.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        data.chunks(PIECE_BYTES)
            .try_for_each(|part| self.write_part(part))
    }

    fn write_part(&mut self, data: &[u8]) -> Result<()> {
        loop {
            if !self.body.is_passing()
                && let Err(why) = self.make_room(data.len())
            {
                self.pass(why);
            }
            if self.body.is_passing() {
                self.make_way(data.len())?;
            }
            if self.body.push(data) {
                return Ok(());
            }
            // A purge came in between.
        }
    }

    fn make_room(&self, bytes: usize) -> Result<(), Refused> {
        if self.body.written() + bytes > self.store.max_object() {
            return Err(Refused::TooLarge);
        }
        let missing = self.body.missing_for(bytes);
        let limit = self.store.account().limit();
        let charge = self.store.charge(missing, limit).ok_or(Refused::Full)?;
        self.body.grant(charge);
        Ok(())
    }

    /// From now on it is not kept.
    fn pass(&mut self, why: Refused) {
        self.store.counts().refuse(why);
        self.charge = None;
        self.body.pass();
    }

    /// Room for bytes that pass through; at the expense of readers that lag too far behind.
    fn make_way(&mut self, bytes: usize) -> Result<()> {
        self.charge = None;
        let windows = [self.store.max_object().max(WINDOW_MIN), WINDOW_OWN, bytes];
        for window in windows {
            if !self.body.slide(bytes, window) {
                return self.give_up("nobody reads it any more");
            }
            let missing = self.body.missing_for(bytes);
            let ceiling = self.store.account().ceiling();
            if let Some(charge) = self.store.charge(missing, ceiling) {
                self.body.grant(charge);
                return Ok(());
            }
        }
        self.give_up("all memory of the cache is in flight")
    }

    fn give_up(&mut self, why: &'static str) -> Result<()> {
        self.body.fail();
        let why = format!("a response that passes by the cache cannot go on: {why}");
        Error::e_explain(ErrorType::InternalError, why)
    }

    /// The end of the body. Returns how many bytes are stored.
    pub fn commit(mut self) -> usize {
        self.ended = true;
        let written = self.body.written();
        if self.length.is_some_and(|length| length != written) {
            self.abandon();
            return 0;
        }
        self.body.settle();
        let tick = self.store.tick();
        let charge = self.charge.take();
        let (stored, replaced) = self.store.with(&self.key.primary, |shard| {
            let fill = shard.end(&self.key.primary, self.id);
            let fill = fill.filter(|fill| shard.has_original(fill));
            self.body.complete();
            let (Some(fill), Some(charge)) = (fill, charge) else {
                return (0, Vec::new());
            };
            let Some(entry) = Entry::new(fill, charge) else {
                return (0, Vec::new());
            };
            (entry.charged(), shard.insert(entry, tick))
        });
        self.store.count_left(&replaced, Left::Replaced);
        stored
    }

    /// Ends it where it is, if nobody reads it or has just found it; false where somebody does.
    pub fn end_unread(&mut self) -> bool {
        let primary = &self.key.primary;
        let fill = self.store.with(primary, |shard| {
            // Who finds it does so under this lock, so nobody comes in between.
            let is_unread = Arc::strong_count(&self.body) <= HOLDERS_OF_UNREAD;
            is_unread.then(|| shard.end(primary, self.id)).flatten()
        });
        let has_ended = fill.is_some();
        drop(fill);
        if has_ended {
            self.ended = true;
            self.fail();
        }
        has_ended
    }

    fn abandon(&mut self) {
        let primary = &self.key.primary;
        let fill = self
            .store
            .with(primary, |shard| shard.end(primary, self.id));
        drop(fill);
        self.fail();
    }

    fn fail(&mut self) {
        if !self.body.is_passing() {
            self.store.counts().refuse(Refused::Incomplete);
        }
        self.body.fail();
        self.charge = None;
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.ended {
            self.abandon();
        }
    }
}

#[async_trait]
impl HandleMiss for Fill {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        self.write(&data)
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        Ok(MissFinishType::Created(self.commit()))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(&self.tag)
    }

    fn entry_id(&self) -> Option<CacheEntryId> {
        Some(CacheEntryId::new(self.id))
    }
}
