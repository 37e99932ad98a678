//! A complete body: read without a lock, and held in as little as its bytes take.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::super::account::{Charge, allocated};
use super::Read;
use super::chunk::{BLOCK_BYTES, Block, Chunk, PIECE_BYTES};
use super::writing::Writing;

/// What a body of one piece takes beside its bytes.
pub const WHOLE_BYTES: usize = size_of::<Whole>() + 2 * size_of::<usize>();

pub struct Whole {
    pieces: Pieces,
    charge: Charge,
}

/// A small body is one piece, and a list of one would take more than its place. Of many, all but the last
/// have [`PIECE_BYTES`]; those who read it while it came may hold some.
enum Pieces {
    One(Box<[u8]>),
    Many(Box<[Arc<Block>]>),
}

/// A part of one piece on its way to a reader.
struct View {
    whole: Arc<Whole>,
    piece: usize,
    start: usize,
    end: usize,
}

// === impl Whole ===

impl Whole {
    pub(super) fn of(mut writing: Writing) -> Whole {
        writing.seal_rest();
        let (chunks, mut charge) = (writing.chunks, writing.charge);
        let pieces = Pieces::of(chunks);
        charge.shrink_to(pieces.cost());
        Whole { pieces, charge }
    }

    pub fn len(&self) -> usize {
        let last = self.pieces.count() - 1;
        last * PIECE_BYTES + self.pieces.at(last).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the account it holds.
    pub fn charged(&self) -> usize {
        self.charge.bytes()
    }

    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.pieces.count()).map(|index| self.pieces.at(index))
    }

    /// All of it, without a copy.
    pub fn shared(self: &Arc<Self>) -> impl Iterator<Item = Bytes> {
        (0..self.pieces.count()).map(|index| self.view(index, 0, self.pieces.at(index).len()))
    }

    /// The bytes from `at` on, as many as lie in one piece and before `end`.
    pub(super) fn read(self: &Arc<Self>, at: usize, end: usize) -> Read {
        if at >= end || at >= self.len() {
            return if at > self.len() {
                Read::Failed
            } else {
                Read::End
            };
        }
        let (index, start) = (at / PIECE_BYTES, at % PIECE_BYTES);
        let end = (end - (at - start)).min(self.pieces.at(index).len());
        Read::Piece(self.view(index, start, end))
    }

    fn view(self: &Arc<Self>, piece: usize, start: usize, end: usize) -> Bytes {
        let whole = Arc::clone(self);
        Bytes::from_owner(View {
            whole,
            piece,
            start,
            end,
        })
    }

    /// What it holds is what its pieces cost.
    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.charge.bytes(), self.pieces.cost());
        assert_eq!(self.len(), self.pieces().map(<[u8]>::len).sum::<usize>());
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Pieces::Many(blocks) = &self.pieces {
            for block in blocks {
                block.leave(Pieces::cost_of(block), &mut self.charge);
            }
        }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.whole.pieces.at(self.piece)[self.start..self.end]
    }
}

// === impl Pieces ===

impl Pieces {
    fn of(mut chunks: VecDeque<Chunk>) -> Pieces {
        let only = match chunks.len() {
            0 => return Pieces::One(Box::default()),
            1 => chunks.pop_back(),
            _ => None,
        };
        let blocks = chunks.into_iter().map(|chunk| chunk.block);
        match only.map(|chunk| Arc::try_unwrap(chunk.block)) {
            Some(Ok(block)) => Pieces::One(block.data),
            Some(Err(read)) => Pieces::Many([read].into()),
            None => Pieces::Many(blocks.collect()),
        }
    }

    fn count(&self) -> usize {
        match self {
            Pieces::One(_) => 1,
            Pieces::Many(blocks) => blocks.len(),
        }
    }

    fn at(&self, index: usize) -> &[u8] {
        match self {
            Pieces::One(bytes) => bytes,
            Pieces::Many(blocks) => &blocks[index].data,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Pieces::One(bytes) => allocated(bytes.len()),
            Pieces::Many(blocks) => {
                let of_blocks = blocks.iter().map(Pieces::cost_of);
                allocated(size_of_val(&**blocks)) + of_blocks.sum::<usize>()
            }
        }
    }

    fn cost_of(block: &Arc<Block>) -> usize {
        allocated(block.data.len()) + BLOCK_BYTES
    }
}
