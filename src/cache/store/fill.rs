//! One response on its way into the store: Pingora's `HandleMiss`.
//!
//! A fill takes room before it writes. What does not fit is not an error: the body turns to passing,
//! is found by nobody any more, and its bytes go to those who read it already, at the pace of the foremost.
//! It needs no more than what it took at its beginning: where there is none left it waits, a second for
//! all who read it, then for the foremost alone. It becomes an object when it is finished, whole and still
//! wanted (of a coded form: while what it was made of is stored); dropped before that, its readers get an
//! error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::eviction::CacheEntryId;
use pingora_cache::key::CompactCacheKey;
use pingora_cache::storage::{HandleMiss, MissFinishType};
use pingora_core::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::account::Charge;
use super::body::{CHUNK_BYTES, Open, PIECE_BYTES};
use super::counts::Refused;
use super::shard::{Entry, Found};
use super::{Left, Store};

/// What a passing body may always hold for readers that lag, where there is memory.
const WINDOW_MIN: usize = 1 << 20;
/// How far the foremost reader of a passing body may be behind.
const LAG_MAX: usize = 64 * 1024;
/// For so long those who lag are waited for where no memory is left; and after so long it is looked whether
/// there is some again.
const WAIT: Duration = Duration::from_secs(1);

/// Who is not to be cut off where no memory is left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spared {
    All,
    Foremost,
    /// The writer cannot wait.
    Nobody,
}

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

    /// Whether its bytes leave with their readers: it will not be stored.
    pub fn is_passing(&self) -> bool {
        self.body.is_passing()
    }

    /// Bytes of the account it holds beside its body.
    #[cfg(test)]
    pub fn charged(&self) -> usize {
        self.charge.as_ref().map_or(0, Charge::bytes)
    }

    /// Takes in some of `data`, and says how much; waits for who reads it, if it passes. An error if nobody
    /// does. May be dropped while it waits.
    pub async fn take(&mut self, data: &[u8]) -> Result<usize> {
        let taken = self.offer(data, Spared::All)?;
        if taken > 0 || data.is_empty() {
            return Ok(taken);
        }
        let mut spared = Spared::All;
        loop {
            if let Ok(taken) = timeout(WAIT, self.take_when_moved(data, spared)).await {
                return taken;
            }
            spared = Spared::Foremost;
        }
    }

    async fn take_when_moved(&mut self, data: &[u8], spared: Spared) -> Result<usize> {
        loop {
            let taken = self.offer(data, spared)?;
            if taken > 0 {
                return Ok(taken);
            }
            self.body.moved().await;
        }
    }

    /// Takes all of it in at once; an error if it passes through and nobody is left to read it. Those who
    /// lag are cut off where no memory is left.
    pub fn write(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            match self.offer(data, Spared::Nobody)? {
                0 => return self.give_up("all memory of the cache is in flight"),
                taken => data = &data[taken..],
            }
        }
        Ok(())
    }

    /// Takes in what there is room for; 0 where that is to be waited for.
    pub(super) fn offer(&mut self, data: &[u8], spared: Spared) -> Result<usize> {
        let bytes = data.len().min(PIECE_BYTES);
        loop {
            if !self.body.is_passing()
                && let Err(why) = self.make_room(bytes)
            {
                self.pass(why);
            }
            let taken = match self.body.is_passing() {
                true => self.make_way(bytes, spared)?,
                false => bytes,
            };
            if self.body.push(&data[..taken]) {
                return Ok(taken);
            }
            // A purge came in between, or a reader.
        }
    }

    fn make_room(&self, bytes: usize) -> Result<(), Refused> {
        if self.body.written() + bytes > self.store.max_object() {
            return Err(Refused::TooLarge);
        }
        let limit = self.store.account().limit();
        let has_room = self.has_room(bytes, limit);
        has_room.then_some(()).ok_or(Refused::Full)
    }

    /// Whether so many can be written, beside what is there.
    fn has_room(&self, bytes: usize, ceiling: usize) -> bool {
        let missing = self.body.missing_for(bytes);
        if missing == 0 {
            return true;
        }
        let more = self.store.charge(missing, ceiling);
        more.map(|more| self.body.grant(more)).is_some()
    }

    /// From now on it is not kept.
    fn pass(&mut self, why: Refused) {
        self.store.counts().refuse(why);
        self.charge = None;
        self.body.pass();
    }

    /// Room for bytes that pass through, as many as it says.
    fn make_way(&mut self, bytes: usize, spared: Spared) -> Result<usize> {
        self.charge = None;
        let lag = self.body.lag().unwrap_or(0);
        if lag > LAG_MAX && spared != Spared::Nobody {
            return Ok(0);
        }
        self.cut_off(bytes, self.store.max_object().max(WINDOW_MIN))?;
        let ceiling = self.store.account().ceiling();
        let few = bytes.min(CHUNK_BYTES);
        if let Some(bytes) = [bytes, few]
            .into_iter()
            .find(|b| self.has_room(*b, ceiling))
        {
            return Ok(bytes);
        }
        let own = self.body.room() / 2;
        let windows = match spared {
            Spared::All => vec![],
            Spared::Foremost => vec![own.max(lag + few)],
            Spared::Nobody => vec![own.max(few), few],
        };
        for window in windows {
            self.cut_off(few, window)?;
            if self.has_room(few, ceiling) {
                return Ok(few);
            }
        }
        Ok(0)
    }

    /// Ends readers that would be further behind with `bytes` more.
    fn cut_off(&mut self, bytes: usize, window: usize) -> Result<()> {
        match self.body.slide(bytes, window) {
            true => Ok(()),
            false => self.give_up("nobody reads it any more"),
        }
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
        self.settle();
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

    /// Puts together what came last, or gives up to keep it where there is no room for that beside what is
    /// being read of it.
    fn settle(&mut self) {
        while !self.body.settle() {
            if let Err(why) = self.make_room(0) {
                self.pass(why);
            }
        }
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
        let mut taken = 0;
        while taken < data.len() {
            taken += self.take(&data[taken..]).await?;
        }
        Ok(())
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
