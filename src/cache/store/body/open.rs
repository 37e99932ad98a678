//! A body that is being written, or was when its readers came.
//!
//! It is *kept* (it becomes an object when it is complete) or *passing* (it did not fit: bytes leave as
//! soon as every reader has had them). It ends complete or failed, once. A reader registers for the
//! wake-up before it looks, so none is lost.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::account::Charge;
use super::Read;
use super::whole::Whole;
use super::writing::{End, Place, Writing};

/// What it costs before its first byte.
pub const OPEN_BYTES: usize = size_of::<Open>() + size_of::<Writing>() + 32;

pub struct Open {
    whole: OnceLock<Arc<Whole>>,
    /// `None` once the body is whole.
    pub(super) writing: Mutex<Option<Box<Writing>>>,
    wake: Notify,
    /// A reader of a passing body has moved, or gone.
    moved: Notify,
}

impl Open {
    /// `charge` may be more than nothing: room taken in advance.
    pub fn new(charge: Charge) -> Arc<Self> {
        let writing = Writing::new(charge);
        Arc::new(Open {
            whole: OnceLock::new(),
            writing: Mutex::new(Some(Box::new(writing))),
            wake: Notify::new(),
            moved: Notify::new(),
        })
    }

    /// The body, once it is complete.
    pub fn whole(&self) -> Option<&Arc<Whole>> {
        self.whole.get()
    }

    /// Bytes of the account this body holds.
    pub fn charged(&self) -> usize {
        let writing = self.writing.lock();
        let of_writing = writing.as_ref().map(|writing| writing.charge.bytes());
        let of_whole = || self.whole.get().map_or(0, |whole| whole.charged());
        of_writing.unwrap_or_else(of_whole)
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        let of_whole = || self.whole.get().map_or(0, |whole| whole.len());
        self.with(|writing| writing.len).unwrap_or_else(of_whole)
    }

    /// How many bytes of the account are missing before `bytes` more can be written.
    pub fn missing_for(&self, bytes: usize) -> usize {
        self.with(|writing| {
            let needed = writing.needed_for(bytes);
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

    /// All but the end of [`Open::complete`]: to be called first. False, and nothing is done, if the caller has
    /// not granted what is missing for no more bytes.
    pub fn settle(&self) -> bool {
        self.with(Writing::settle).unwrap_or(true)
    }

    /// How far the foremost reader is behind what is written; `None`: there is none.
    pub fn lag(&self) -> Option<usize> {
        self.with(|writing| writing.lag()).flatten()
    }

    /// What it may hold without asking for more.
    pub fn room(&self) -> usize {
        self.with(|writing| writing.charge.bytes()).unwrap_or(0)
    }

    /// Waits until a reader of a passing body has moved since this was last called.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// The writer has written everything.
    pub fn complete(&self) {
        let mut guard = self.writing.lock();
        match guard.take() {
            Some(writing) if !writing.passing && writing.end.is_none() => {
                // Only here, under the lock, so it is empty.
                let _ = self.whole.set(Arc::new(Whole::of(*writing)));
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
        self.moved.notify_one();
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
        let of_writing = self.with(|writing| {
            if writing.passing {
                self.moved.notify_one();
            }
            writing.read(ticket, at, end)
        });
        let of_whole = || self.whole.get().map(|whole| whole.read(at, end));
        of_writing.or_else(of_whole).unwrap_or(Read::Failed)
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Writing) -> R) -> Option<R> {
        self.writing.lock().as_deref_mut().map(act)
    }
}
