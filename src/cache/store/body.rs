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

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::account::Charge;

mod chunk;
mod writing;

#[cfg(test)]
mod tests;

use chunk::Chunk;
use writing::{End, Place, Writing};

/// What a body of `bytes` costs at most when it arrives in pieces: what a fill takes in advance when
/// it knows the length.
pub fn estimate(bytes: usize) -> usize {
    chunk::cost_of_chunks(bytes)
}

/// What a body that passes through keeps, so that its writer needs nobody's memory: room for what a
/// client that sets the pace may be behind, and for what is read at once, in chunks of their own.
pub const PASSAGE: usize = 192 * 1024;

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
        let writing = Writing::new(charge);
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
                let _ = self.whole.set(Whole::of(*writing));
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
        self.with(Writing::fail);
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
    fn of(writing: Writing) -> Whole {
        let mut charge = writing.charge;
        charge.shrink_to(writing.cost);
        Whole {
            chunks: Vec::from(writing.chunks).into_boxed_slice(),
            charge,
        }
    }

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
