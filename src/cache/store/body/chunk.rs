//! A piece of a body, in memory of its own size.

use bytes::Bytes;

use super::super::account::allocated;

/// Chunks grow to this many bytes before the next one begins, so that a body that arrives in crumbs
/// is not kept in crumbs. What arrives in larger pieces is kept in them.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// What a chunk costs beside its bytes: its place in the list (which grows by doubling), and the
/// counter its clones share.
pub(super) const CHUNK_OVERHEAD: usize = 2 * size_of::<Chunk>() + 32;

#[derive(Debug)]
pub(super) struct Chunk {
    /// Offset in the body just behind it.
    pub(super) end: usize,
    pub(super) bytes: Bytes,
}

impl Chunk {
    pub(super) fn start(&self) -> usize {
        self.end - self.bytes.len()
    }

    pub(super) fn slice(&self, at: usize, end: usize) -> Bytes {
        let start = self.start();
        self.bytes.slice(at - start..end.min(self.end) - start)
    }

    pub(super) fn cost(bytes: usize) -> usize {
        allocated(bytes) + CHUNK_OVERHEAD
    }
}

/// What a body of `bytes` costs at most when it arrives in pieces.
pub(super) fn cost_of_chunks(bytes: usize) -> usize {
    let full = bytes / CHUNK_BYTES;
    full * Chunk::cost(CHUNK_BYTES) + Chunk::cost(bytes % CHUNK_BYTES)
}
