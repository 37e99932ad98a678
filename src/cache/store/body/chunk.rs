//! A piece of a body, in memory of its own size.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::super::account::{Charge, allocated};

/// Bodies are kept in pieces of this size, and a last one of what is left: memory of one size is used
/// again by the next body, whatever its own size, where pieces as they came would leave gaps.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Until there is enough for a piece, chunks grow to this many bytes before the next one begins, so that a
/// body that arrives in crumbs is not held in crumbs.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// What a block takes beside its bytes, with the counter that it shares with its readers.
pub(super) const BLOCK_BYTES: usize =
    (size_of::<Block>() + 2 * size_of::<usize>()).next_multiple_of(16);

/// What a chunk costs beside its bytes: its block, and its place in the list, which grows by doubling.
pub(super) const CHUNK_OVERHEAD: usize = 2 * size_of::<Chunk>() + BLOCK_BYTES;

/// A block and its place in the body.
pub(super) struct Chunk {
    /// Offset in the body just behind it.
    pub(super) end: usize,
    pub(super) block: Arc<Block>,
}

/// Memory that a body shares with its readers. What they hold when the body lets it go stays charged until
/// they let it go too.
pub(super) struct Block {
    pub(super) data: Box<[u8]>,
    left_with: OnceLock<Charge>,
}

/// A part of a block on its way to a reader.
struct View {
    block: Arc<Block>,
    start: usize,
    end: usize,
}

// === impl Chunk ===

impl Chunk {
    pub(super) fn new(end: usize, data: Vec<u8>) -> Chunk {
        let block = Arc::new(Block {
            data: data.into_boxed_slice(),
            left_with: OnceLock::new(),
        });
        Chunk { end, block }
    }

    pub(super) fn len(&self) -> usize {
        self.block.data.len()
    }

    pub(super) fn start(&self) -> usize {
        self.end - self.len()
    }

    /// What of it lies between two offsets in the body.
    pub(super) fn view(&self, at: usize, end: usize) -> Bytes {
        let start = self.start();
        Bytes::from_owner(View {
            block: Arc::clone(&self.block),
            start: at - start,
            end: end.min(self.end) - start,
        })
    }

    /// What it costs.
    pub(super) fn charged(&self) -> usize {
        Chunk::cost(self.len())
    }

    pub(super) fn cost(bytes: usize) -> usize {
        allocated(bytes) + CHUNK_OVERHEAD
    }
}

// === impl Block ===

impl Block {
    /// Whether a reader holds some of it.
    pub(super) fn is_read(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// The body has no more use for it, which costs `cost` of `charge`.
    pub(super) fn leave(self: &Arc<Self>, cost: usize, charge: &mut Charge) {
        if self.is_read() {
            self.left_with.get_or_init(|| charge.split(cost));
        }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.block.data[self.start..self.end]
    }
}

/// What a body of `bytes` costs when it has been written.
pub(super) fn cost_of_pieces(bytes: usize) -> usize {
    let full = bytes / PIECE_BYTES;
    full * Chunk::cost(PIECE_BYTES) + Chunk::cost(bytes % PIECE_BYTES)
}
