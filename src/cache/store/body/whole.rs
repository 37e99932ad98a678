//! A complete body: read without a lock, and held in as little as its bytes take.

use std::sync::Arc;

use bytes::Bytes;

use super::super::account::{Charge, allocated};
use super::Read;
use super::writing::Writing;

/// What a body of one piece takes beside its bytes.
pub const WHOLE_BYTES: usize = size_of::<Whole>() + 2 * size_of::<usize>();

pub struct Whole {
    pieces: Pieces,
    charge: Charge,
}

/// A small body is one piece, and a list of one would take more than its place.
enum Pieces {
    One(Box<[u8]>),
    Many(Box<[Piece]>),
}

struct Piece {
    /// Offset in the body just behind it.
    end: usize,
    bytes: Box<[u8]>,
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
    pub(super) fn of(writing: Writing) -> Whole {
        let mut charge = writing.charge;
        // Where a reader still holds a chunk, this copies it; else it is the same memory.
        let bytes = |chunk: Bytes| Vec::from(chunk).into_boxed_slice();
        let mut chunks = writing.chunks;
        let pieces = match chunks.len() {
            0 => Pieces::One(Box::default()),
            1 => Pieces::One(
                chunks
                    .pop_back()
                    .map(|chunk| bytes(chunk.bytes))
                    .unwrap_or_default(),
            ),
            _ => {
                let piece = |chunk: super::chunk::Chunk| Piece {
                    end: chunk.end,
                    bytes: bytes(chunk.bytes),
                };
                Pieces::Many(chunks.into_iter().map(piece).collect())
            }
        };
        charge.shrink_to(pieces.cost());
        Whole { pieces, charge }
    }

    pub fn len(&self) -> usize {
        match &self.pieces {
            Pieces::One(bytes) => bytes.len(),
            Pieces::Many(pieces) => pieces.last().map_or(0, |piece| piece.end),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the account it holds.
    pub fn charged(&self) -> usize {
        self.charge.bytes()
    }

    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.pieces.count()).map(|index| self.pieces.at(index).1)
    }

    /// All of it, without a copy.
    pub fn shared(self: &Arc<Self>) -> impl Iterator<Item = Bytes> {
        (0..self.pieces.count()).map(|index| {
            let (_, bytes) = self.pieces.at(index);
            self.view(index, 0, bytes.len())
        })
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
        let index = self.pieces.index_of(at);
        let (start, bytes) = self.pieces.at(index);
        let end = (end - start).min(bytes.len());
        Read::Piece(self.view(index, at - start, end))
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
        let (_, bytes) = self.whole.pieces.at(self.piece);
        &bytes[self.start..self.end]
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

    /// Where in the body the piece begins, and its bytes.
    fn at(&self, index: usize) -> (usize, &[u8]) {
        match self {
            Pieces::One(bytes) => (0, bytes),
            Pieces::Many(pieces) => {
                let piece = &pieces[index];
                (piece.end - piece.bytes.len(), &piece.bytes)
            }
        }
    }

    /// Which piece has the byte at an offset before the end.
    fn index_of(&self, at: usize) -> usize {
        match self {
            Pieces::One(_) => 0,
            Pieces::Many(pieces) => pieces.partition_point(|piece| piece.end <= at),
        }
    }

    fn cost(&self) -> usize {
        match self {
            Pieces::One(bytes) => allocated(bytes.len()),
            Pieces::Many(pieces) => {
                let of_pieces: usize = pieces
                    .iter()
                    .map(|piece| allocated(piece.bytes.len()))
                    .sum();
                of_pieces + allocated(size_of_val(&**pieces))
            }
        }
    }
}
