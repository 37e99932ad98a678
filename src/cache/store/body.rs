//! One body: written by one fill, read by any number of readers while it is written and after.
//!
//! ```text
//! Open ── complete ──▶ Whole
//!   └──── fail
//! ```
//!
//! Always:
//!
//! - A reader sees the end of the body only if the writer said that it is complete; a body that
//!   failed is an error for every reader that has not had its last byte and its end.
//! - Bytes are copied when they are written, and once more where it takes several writes to make a piece:
//!   nothing is a slice of somebody else's buffer. Reading copies nothing (but see
//!   [`Writing::read`](writing) for passing), nor does the end.
//! - What it holds is charged, and stays so until the last reader and the last piece in flight are gone.

use std::sync::Arc;

use bytes::Bytes;

mod chunk;
mod open;
mod whole;
mod writing;

#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_BYTES, PIECE_BYTES};
pub use open::{OPEN_BYTES, Open};
pub use whole::{WHOLE_BYTES, Whole};

/// What a fill takes in advance when it knows the length. A body that arrives in crumbs takes a little
/// more until they are joined.
pub fn estimate(bytes: usize) -> usize {
    chunk::cost_of_pieces(bytes)
}

/// What a fill takes in advance when it does not: the least with which it can pass through, a chunk at a
/// time.
pub fn least() -> usize {
    chunk::Chunk::cost(CHUNK_BYTES)
}

/// What a body that passes through keeps at most of what it had, so that its writer needs nobody's memory:
/// room for what the reader that sets the pace may be behind, and for what is read at once, in chunks of
/// their own.
pub const PASSAGE: usize = 192 * 1024;

/// A body as a lookup finds it; clones are the same one.
#[derive(Clone)]
pub enum Body {
    Whole(Arc<Whole>),
    Open(Arc<Open>),
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
    /// `None` while it is written.
    pub fn whole(&self) -> Option<&Arc<Whole>> {
        match self {
            Body::Whole(whole) => Some(whole),
            Body::Open(open) => open.whole(),
        }
    }

    /// Length in bytes, if it is whole.
    pub fn whole_len(&self) -> Option<usize> {
        self.whole().map(|whole| whole.len())
    }

    /// A place among the readers that a passing body waits for; none when it is whole.
    pub(super) fn register(&self) -> Option<usize> {
        match self {
            Body::Whole(_) => None,
            Body::Open(open) => open.register(),
        }
    }

    pub(super) fn unregister(&self, ticket: usize) {
        if let Body::Open(open) = self {
            open.unregister(ticket);
        }
    }

    /// The bytes from `at` on, as many as lie in one piece and before `end`.
    pub(super) fn read(&self, ticket: Option<usize>, at: usize, end: usize) -> Read {
        match self {
            Body::Whole(whole) => whole.read(at, end),
            Body::Open(open) => open.read(ticket, at, end),
        }
    }
}
