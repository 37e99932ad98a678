//! A complete body: read without a lock, and held in as little as its bytes take.

use std::sync::Arc;

use bytes::Bytes;

use super::super::account::{Charge, allocated};
use super::Read;
use super::chunk::{Chunk, PIECE_BYTES};
use super::writing::Writing;

/// What a body of one piece takes beside its bytes.
pub const WHOLE_BYTES: usize = size_of::<Whole>() + 2 * size_of::<usize>();

pub struct Whole {
    pieces: Pieces,
    charge: Charge,
}

/// A small body is one piece, and a list of one would take more than its place. Of many, all but the last
/// have [`PIECE_BYTES`].
enum Pieces {
    One(Box<[u8]>),
    Many(Box<[Box<[u8]>]>),
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
        // Where a reader still holds a chunk, this copies it; else it is the same memory.
        let piece = |chunk: Chunk| Vec::from(chunk.bytes).into_boxed_slice();
        let (mut chunks, mut charge) = (writing.chunks, writing.charge);
        let pieces = match chunks.len() {
            0 | 1 => Pieces::One(chunks.pop_back().map(piece).unwrap_or_default()),
            _ => Pieces::Many(chunks.into_iter().map(piece).collect()),
        };
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

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.whole.pieces.at(self.piece)[self.start..self.end]
    }
}

// === impl Pieces ===

impl Pieces {
    fn count(&self) -> usize {
        match self {
            Pieces::One(_) => 1,
            Pieces::Many(pieces) => pieces.len(),
        }
    }

    fn at(&self, index: usize) -> &[u8] {
        match self {
            Pieces::One(bytes) => bytes,
            Pieces::Many(pieces) => &pieces[index],
        }
    }

    fn cost(&self) -> usize {
        let list = match self {
            Pieces::One(_) => 0,
            Pieces::Many(pieces) => allocated(size_of_val(&**pieces)),
        };
        let of_pieces = (0..self.count()).map(|index| allocated(self.at(index).len()));
        list + of_pieces.sum::<usize>()
    }
}
