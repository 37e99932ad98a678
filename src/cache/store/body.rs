//! One body: written by one fill, read by any number of readers while it is written and after.
//!
//! A body is *kept* (it becomes an object when it is complete) or *passing* (it did not fit: bytes
//! leave as soon as every reader has had them). It ends complete or failed, once. Always:
//!
//! - A reader sees the end of the body only if the writer said that it is complete; a body that
//!   failed is an error for every reader that has not had its last byte and its end.
//! - Each byte is copied once, into a chunk of its own size, when it is written: no chunk is a slice
//!   of somebody else's buffer. Reading copies nothing (but see [`Writing::read`] for passing).
//! - A reader registers for the wake-up before it looks, so none is lost.
//! - Its charge covers all its chunks, and lives as long as the last reader.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::account::{Charge, allocated};

/// Chunks grow to this many bytes before the next one begins, so that a body that arrives in crumbs
/// is not kept in crumbs. What arrives in larger pieces is kept in them.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a chunk costs beside its bytes: its place in the list (which grows by doubling), and the
/// counter its clones share.
const CHUNK_OVERHEAD: usize = 2 * size_of::<Chunk>() + 32;

/// What a body costs before its first byte.
pub const BODY_OVERHEAD: usize = size_of::<Body>() + size_of::<Writing>() + 32;

pub struct Body {
    whole: OnceLock<Whole>,
    /// `None` once the body is whole.
    writing: Mutex<Option<Box<Writing>>>,
    wake: Notify,
}

/// A complete body: read without a lock.
struct Whole {
    chunks: Box<[Chunk]>,
    charge: Charge,
}

#[derive(Debug)]
struct Chunk {
    /// Offset in the body just behind it.
    end: usize,
    bytes: Bytes,
}

struct Writing {
    chunks: VecDeque<Chunk>,
    /// What the chunks cost now; never more than the charge.
    cost: usize,
    charge: Charge,
    /// Offset behind the last byte written.
    len: usize,
    passing: bool,
    end: Option<End>,
    readers: Slab<Place>,
}

/// Where a reader is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The start of the piece it was given last, which may not have left yet.
    held: usize,
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Of a passing body; a kept one is [`Whole`] then.
    Complete,
    Failed,
}

/// What there is for a reader.
pub enum Read {
    Piece(Bytes),
    End,
    /// Nothing yet.
    Wait,
    /// The fill failed, or the body passes through and this reader fell too far behind.
    Failed,
}

impl Body {
    /// `charge` may be more than nothing: room taken in advance.
    pub fn new(charge: Charge) -> Arc<Self> {
        let writing = Writing {
            chunks: VecDeque::new(),
            cost: 0,
            charge,
            len: 0,
            passing: false,
            end: None,
            readers: Slab::new(),
        };
        Arc::new(Body {
            whole: OnceLock::new(),
            writing: Mutex::new(Some(Box::new(writing))),
            wake: Notify::new(),
        })
    }

    /// Length in bytes, if it is whole.
    pub fn whole_len(&self) -> Option<usize> {
        self.whole.get().map(Whole::len)
    }

    /// The chunks of a whole body; none while it is written.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        let chunks = self.whole.get().map(|whole| &*whole.chunks);
        chunks.unwrap_or_default().iter().map(|chunk| &chunk.bytes)
    }

    /// Bytes of the account this body holds.
    pub fn charged(&self) -> usize {
        let writing = self.writing.lock();
        let of_writing = writing.as_ref().map(|writing| writing.charge.bytes());
        let of_whole = || self.whole.get().map_or(0, |whole| whole.charge.bytes());
        of_writing.unwrap_or_else(of_whole)
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        let whole = || self.whole_len().unwrap_or(0);
        self.with(|writing| writing.len).unwrap_or_else(whole)
    }

    /// How many bytes of the account are missing before `bytes` more can be written.
    pub fn missing_for(&self, bytes: usize) -> usize {
        self.with(|writing| {
            let needed = writing.cost_with(bytes);
            needed.saturating_sub(writing.charge.bytes())
        })
        .unwrap_or(0)
    }

    pub fn grant(&self, more: Charge) {
        self.with(|writing| writing.charge.absorb(more));
    }

    /// Writes on; false, and nothing is done, if the caller has not granted what was missing.
    pub fn push(&self, data: &[u8]) -> bool {
        let done = self.with(|writing| writing.push(data)).unwrap_or(true);
        self.wake.notify_waiters();
        done
    }

    pub fn is_passing(&self) -> bool {
        self.with(|writing| writing.passing).unwrap_or(false)
    }

    /// From now on only its readers keep it: nothing that all have had stays.
    pub fn pass(&self) {
        self.with(|writing| {
            writing.passing = true;
            writing.trim();
        });
    }

    /// Makes a passing body give up its oldest bytes until `bytes` more make at most `window`.
    /// False when no reader is left that could have the rest.
    pub fn slide(&self, bytes: usize, window: usize) -> bool {
        self.with(|writing| writing.slide(bytes, window))
            .unwrap_or(false)
    }

    /// The writer has written everything.
    pub fn complete(&self) {
        let mut guard = self.writing.lock();
        match guard.take() {
            Some(writing) if !writing.passing && writing.end.is_none() => {
                // Only here, under the lock, so it is empty.
                let _ = self.whole.set(writing.into_whole());
            }
            Some(mut writing) => {
                writing.end.get_or_insert(End::Complete);
                *guard = Some(writing);
            }
            None => {}
        }
        drop(guard);
        self.wake.notify_waiters();
    }

    /// The rest will not come.
    pub fn fail(&self) {
        self.with(|writing| {
            if writing.end.is_none() {
                writing.end = Some(End::Failed);
                writing.chunks.clear();
                writing.cost = 0;
                writing.charge.shrink_to(0);
            }
        });
        self.wake.notify_waiters();
    }

    /// A place among the readers that a passing body waits for; none when it is whole.
    pub fn register(&self) -> Option<usize> {
        if self.whole.get().is_some() {
            return None;
        }
        self.with(|writing| writing.readers.insert(Place::default()))
    }

    pub fn unregister(&self, ticket: usize) {
        self.with(|writing| {
            writing.readers.try_remove(ticket);
            writing.trim();
        });
    }

    /// Resolves at the next change after the future has been enabled.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.wake.notified()
    }

    /// The bytes from `at` on, as many as lie in one chunk and before `end`.
    pub fn read(&self, ticket: Option<usize>, at: usize, end: usize) -> Read {
        if let Some(whole) = self.whole.get() {
            return whole.read(at, end);
        }
        let of_writing = self.with(|writing| writing.read(ticket, at, end));
        let of_whole = || self.whole.get().map(|whole| whole.read(at, end));
        of_writing.or_else(of_whole).unwrap_or(Read::Failed)
    }

    fn with<R>(&self, act: impl FnOnce(&mut Writing) -> R) -> Option<R> {
        self.writing.lock().as_deref_mut().map(act)
    }
}

impl Whole {
    fn len(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.end)
    }

    fn read(&self, at: usize, end: usize) -> Read {
        let index = self.chunks.partition_point(|chunk| chunk.end <= at);
        match self.chunks.get(index) {
            Some(chunk) if at < end => Read::Piece(chunk.slice(at, end)),
            _ if at > self.len() => Read::Failed,
            _ => Read::End,
        }
    }
}

impl Chunk {
    fn start(&self) -> usize {
        self.end - self.bytes.len()
    }

    fn slice(&self, at: usize, end: usize) -> Bytes {
        let start = self.start();
        self.bytes.slice(at - start..end.min(self.end) - start)
    }

    fn cost(bytes: usize) -> usize {
        allocated(bytes) + CHUNK_OVERHEAD
    }
}

impl Writing {
    /// The offset of the first byte that is still here.
    fn base(&self) -> usize {
        self.chunks.front().map_or(self.len, Chunk::start)
    }

    /// The length of the last chunk, if `bytes` more are put into it.
    fn joined(&self, bytes: usize) -> Option<usize> {
        let last = self.chunks.back()?.bytes.len();
        (last + bytes <= CHUNK_BYTES).then_some(last)
    }

    fn cost_with(&self, bytes: usize) -> usize {
        let joined = self.joined(bytes);
        let instead = joined.map_or(0, Chunk::cost);
        self.cost - instead + Chunk::cost(joined.unwrap_or(0) + bytes)
    }

    fn push(&mut self, data: &[u8]) -> bool {
        if data.is_empty() || self.end.is_some() {
            return true;
        }
        let cost = self.cost_with(data.len());
        if cost > self.charge.bytes() {
            return false;
        }
        self.cost = cost;
        let joined = self.joined(data.len());
        let joined = joined.and_then(|_| self.chunks.pop_back());
        let bytes = match joined {
            Some(last) => Bytes::from([&*last.bytes, data].concat()),
            None => Bytes::copy_from_slice(data),
        };
        self.len += data.len();
        let end = self.len;
        self.chunks.push_back(Chunk { end, bytes });
        true
    }

    /// Drops what every reader of a passing body has had.
    fn trim(&mut self) {
        if self.passing {
            let least = self.readers.iter().map(|(_, place)| place.held).min();
            self.drop_before(least.unwrap_or(self.len));
        }
    }

    fn drop_before(&mut self, offset: usize) {
        while self.chunks.front().is_some_and(|c| c.end <= offset) {
            let bytes = self.chunks.pop_front().map_or(0, |c| c.bytes.len());
            self.cost -= Chunk::cost(bytes);
        }
        self.charge.shrink_to(self.cost);
    }

    fn slide(&mut self, bytes: usize, window: usize) -> bool {
        self.trim();
        let base = (self.len + bytes).saturating_sub(window);
        if base > self.base() {
            self.drop_before(base);
        }
        let base = self.base();
        self.readers.iter().any(|(_, place)| place.next >= base)
    }

    /// A reader of a passing body gets all that is there in one piece: readers and writer may take
    /// turns in one task, and a reader that takes one chunk for every few written would fall behind.
    fn read(&mut self, ticket: Option<usize>, at: usize, end: usize) -> Read {
        if self.end == Some(End::Failed) || at < self.base() {
            return Read::Failed;
        }
        self.move_to(ticket, Place { held: at, next: at });
        if self.passing {
            self.trim();
            self.join_from(at);
        }
        let index = self.chunks.partition_point(|chunk| chunk.end <= at);
        let piece = self.chunks.get(index).filter(|_| at < end);
        if let Some(piece) = piece.map(|chunk| chunk.slice(at, end)) {
            let next = at + piece.len();
            self.move_to(ticket, Place { held: at, next });
            return Read::Piece(piece);
        }
        match self.end {
            Some(_) if at > self.len => Read::Failed,
            Some(_) => Read::End,
            None if at >= end => Read::End,
            None => Read::Wait,
        }
    }

    fn move_to(&mut self, ticket: Option<usize>, place: Place) {
        if let Some(reader) = ticket.and_then(|ticket| self.readers.get_mut(ticket)) {
            *reader = place;
        }
    }

    /// Makes one chunk of those that hold bytes behind `at`: of all, unless the size class of one so
    /// large costs more than they do.
    fn join_from(&mut self, at: usize) {
        let first = self.chunks.partition_point(|chunk| chunk.end <= at);
        let spare = self.charge.bytes() - self.cost;
        let (mut len, mut cost, mut last) = (0, 0, first);
        for (index, chunk) in self.chunks.iter().enumerate().skip(first) {
            len += chunk.bytes.len();
            cost += Chunk::cost(chunk.bytes.len());
            if Chunk::cost(len) <= cost + spare {
                last = index;
            }
        }
        if last > first {
            self.join(first..=last);
        }
    }

    fn join(&mut self, range: RangeInclusive<usize>) {
        let (first, end) = (*range.start(), self.chunks[*range.end()].end);
        let mut joined = Vec::new();
        for chunk in self.chunks.drain(range) {
            joined.extend_from_slice(&chunk.bytes);
            self.cost -= Chunk::cost(chunk.bytes.len());
        }
        self.cost += Chunk::cost(joined.len());
        joined.shrink_to_fit();
        let bytes = Bytes::from(joined);
        self.chunks.insert(first, Chunk { end, bytes });
    }

    fn into_whole(self) -> Whole {
        let mut charge = self.charge;
        charge.shrink_to(self.cost);
        Whole {
            chunks: Vec::from(self.chunks).into_boxed_slice(),
            charge,
        }
    }
}

/// What a body of `bytes` costs at most when it arrives in pieces: what a fill takes in advance when
/// it knows the length.
pub fn estimate(bytes: usize) -> usize {
    let full = bytes / CHUNK_BYTES;
    full * Chunk::cost(CHUNK_BYTES) + Chunk::cost(bytes % CHUNK_BYTES)
}

#[cfg(test)]
mod tests;
