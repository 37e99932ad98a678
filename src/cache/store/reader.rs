//! A reader of one body: Pingora's `HandleHit`, for whole bodies and those being written alike.
//!
//! It can seek at any time, also ahead of the writer: it waits for the bytes to come.

use std::any::Any;
use std::pin::pin;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::eviction::CacheEntryId;
use pingora_cache::key::CacheKey;
use pingora_cache::storage::{HandleHit, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_core::{Error, ErrorType, Result};

pub use super::body::Read;

use super::body::Body;
use super::shard::Found;

pub struct Reader {
    body: Body,
    id: u64,
    /// Of the next byte.
    at: usize,
    /// Where to stop.
    end: usize,
    /// While the body is written.
    ticket: Option<usize>,
}

impl Reader {
    /// `id` is the generation of the body's entry.
    pub fn new(body: Body, id: u64) -> Self {
        Reader {
            ticket: body.register(),
            body,
            id,
            at: 0,
            end: usize::MAX,
        }
    }

    pub fn of(found: &Found) -> Reader {
        Reader::new(found.body.clone(), found.id)
    }

    /// The next piece; `None` at the end of the body or of the range. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Body::Open(open) = self.body.clone() {
            let mut changed = pin!(open.changed());
            changed.as_mut().enable();
            match self.read() {
                Read::Wait => changed.await,
                read => return outcome(read),
            }
        }
        outcome(self.read())
    }

    #[cfg(test)]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What there is now.
    pub fn read(&mut self) -> Read {
        let read = self.body.read(self.ticket, self.at, self.end);
        if let Read::Piece(bytes) = &read {
            self.at += bytes.len();
        }
        read
    }
}

fn outcome(read: Read) -> Result<Option<Bytes>> {
    match read {
        Read::Piece(bytes) => Ok(Some(bytes)),
        Read::End => Ok(None),
        Read::Wait | Read::Failed => Err(failed()),
    }
}

fn failed() -> Box<Error> {
    let why = "the response that fills the cache broke off, or this client fell too far behind";
    Error::explain(ErrorType::InternalError, why)
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.body.unregister(ticket);
        }
    }
}

#[async_trait]
impl HandleHit for Reader {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match self.read() {
            Read::Wait => self.next().await,
            read => outcome(read),
        }
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        if self.body.whole_len().is_some_and(|len| start >= len) {
            let why = "the range begins behind the end of the stored body";
            return Error::e_explain(ErrorType::InternalError, why);
        }
        self.at = start;
        self.end = end.unwrap_or(usize::MAX);
        Ok(())
    }

    /// What it weighs is counted by the store itself.
    fn should_count_access(&self) -> bool {
        false
    }

    fn entry_id(&self) -> Option<CacheEntryId> {
        Some(CacheEntryId::new(self.id))
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}
