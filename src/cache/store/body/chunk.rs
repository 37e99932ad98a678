//! A piece of a body, in memory of its own size.

use bytes::Bytes;

use super::super::account::allocated;

/// Bodies are kept in pieces of this size, and a last one of what is left: memory of one size is used
/// again by the next body, whatever its own size, where pieces as they came would leave gaps.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Until there is enough for a piece, chunks grow to this many bytes before the next one begins, so that a
/// body that arrives in crumbs is not held in crumbs.
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

/// What a body of `bytes` costs when it has been written.
pub(super) fn cost_of_pieces(bytes: usize) -> usize {
    let full = bytes / PIECE_BYTES;
    full * Chunk::cost(PIECE_BYTES) + Chunk::cost(bytes % PIECE_BYTES)
}
