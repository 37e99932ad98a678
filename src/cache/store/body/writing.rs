//! A body while it is written: the list of chunks at which one writer and many readers meet.
//!
//! `cost` is what the chunks cost at every moment, and never more than the charge. What a reader holds of a
//! chunk that goes takes its part of the charge along. Of a passing body the front goes as soon as no reader
//! needs it. [`super::Open`] calls it under its lock.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use slab::Slab;

use super::super::account::Charge;
use super::chunk::{CHUNK_BYTES, Chunk, PIECE_BYTES, cost_of_pieces};
use super::{PASSAGE, Read};

pub(super) struct Writing {
    pub(super) chunks: VecDeque<Chunk>,
    /// How many of the first chunks are full pieces.
    sealed: usize,
    /// What the chunks cost now; never more than the charge.
    pub(super) cost: usize,
    pub(super) charge: Charge,
    /// Offset behind the last byte written.
    pub(super) len: usize,
    pub(super) passing: bool,
    pub(super) end: Option<End>,
    pub(super) readers: Slab<Place>,
}

/// Where a reader is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// The start of the piece it was given last, which may not have left yet.
    held: usize,
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Of a passing body; a kept one is whole then.
    Complete,
    Failed,
}

impl Writing {
    pub(super) fn new(charge: Charge) -> Self {
        Writing {
            chunks: VecDeque::new(),
            sealed: 0,
            cost: 0,
            charge,
            len: 0,
            passing: false,
            end: None,
            readers: Slab::new(),
        }
    }

    /// The rest will not come: nobody gets what is there either.
    pub(super) fn fail(&mut self) {
        if self.end.is_none() {
            self.end = Some(End::Failed);
            self.drop_before(self.len);
            self.charge.shrink_to(0);
        }
    }

    /// The offset of the first byte that is still here.
    fn base(&self) -> usize {
        self.chunks.front().map_or(self.len, Chunk::start)
    }

    /// The length of the last chunk, if `bytes` more are put into it.
    fn joined(&self, bytes: usize) -> Option<usize> {
        let last = self.chunks.back()?.len();
        (last + bytes <= CHUNK_BYTES).then_some(last)
    }

    /// What must be charged before `bytes` more are written: what the chunks cost with them, and what the
    /// pieces that are made of them cost, for one piece may be of a larger size class than its parts; and
    /// beside it those parts that readers hold.
    pub(super) fn needed_for(&self, bytes: usize) -> usize {
        let joined = usize::from(self.joined(bytes).is_some());
        let (pieces, first) = match self.passing {
            true => (0, self.chunks.len() - joined),
            false => (cost_of_pieces(self.len + bytes), self.sealed),
        };
        let parts = self.chunks.range(first..);
        let read = parts.filter(|chunk| chunk.block.is_read());
        self.cost_with(bytes).max(pieces) + read.map(Chunk::charged).sum::<usize>()
    }

    fn cost_with(&self, bytes: usize) -> usize {
        if bytes == 0 {
            return self.cost;
        }
        let joined = self.joined(bytes);
        let instead = joined.map_or(0, Chunk::cost);
        self.cost - instead + Chunk::cost(joined.unwrap_or(0) + bytes)
    }

    /// At most [`PIECE_BYTES`] at once.
    pub(super) fn push(&mut self, data: &[u8]) -> bool {
        if data.is_empty() || self.end.is_some() {
            return true;
        }
        if self.needed_for(data.len()) > self.charge.bytes() {
            return false;
        }
        let joined = self.joined(data.len());
        let joined = joined.and_then(|_| self.chunks.pop_back());
        let bytes = match joined {
            Some(last) => {
                let bytes = [&*last.block.data, data].concat();
                self.leave(last);
                bytes
            }
            None => data.to_vec(),
        };
        self.len += data.len();
        self.put(self.chunks.len(), Chunk::new(self.len, bytes));
        if !self.passing {
            self.seal();
        }
        true
    }

    fn put(&mut self, place: usize, chunk: Chunk) {
        self.cost += chunk.charged();
        self.chunks.insert(place, chunk);
    }

    /// It is no part of the body any more.
    fn leave(&mut self, chunk: Chunk) {
        let cost = chunk.charged();
        self.cost -= cost;
        chunk.block.leave(cost, &mut self.charge);
    }

    /// Makes a piece of what is not part of one yet, once that is enough.
    fn seal(&mut self) {
        let end = (self.sealed + 1) * PIECE_BYTES;
        if self.len < end {
            return;
        }
        let last = self.chunks.partition_point(|chunk| chunk.end < end);
        let is_piece = last == self.sealed && self.chunks[last].end == end;
        if !is_piece {
            let chunk = &self.chunks[last];
            let beyond = chunk.block.data[end - chunk.start()..].to_vec();
            self.join(self.sealed..=last, PIECE_BYTES);
            if !beyond.is_empty() {
                let beyond = Chunk::new(end + beyond.len(), beyond);
                self.put(self.sealed + 1, beyond);
            }
        }
        self.sealed += 1;
    }

    /// Does what is left to do before it is whole; false, and nothing is done, if the caller has not granted
    /// what is missing for no more bytes.
    pub(super) fn settle(&mut self) -> bool {
        if self.passing || self.end.is_some() {
            return true;
        }
        let may = self.needed_for(0) <= self.charge.bytes();
        if may {
            self.seal_rest();
        }
        may
    }

    /// Makes one piece of what is left, at the end.
    pub(super) fn seal_rest(&mut self) {
        let rest = self.len - self.sealed * PIECE_BYTES;
        if self.chunks.len() > self.sealed + 1 {
            self.join(self.sealed..=self.chunks.len() - 1, rest);
        }
    }

    /// Drops what every reader of a passing body has had.
    pub(super) fn trim(&mut self) {
        if self.passing {
            let least = self.readers.iter().map(|(_, place)| place.held).min();
            self.drop_before(least.unwrap_or(self.len));
        }
    }

    fn drop_before(&mut self, offset: usize) {
        while self.chunks.front().is_some_and(|c| c.end <= offset)
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.leave(chunk);
        }
        let kept = self.end.map_or(PASSAGE, |_| 0);
        self.charge.shrink_to(self.cost.max(kept));
    }

    /// How far the foremost reader is behind what is written; `None`: there is none.
    pub(super) fn lag(&self) -> Option<usize> {
        let foremost = self.readers.iter().map(|(_, place)| place.held).max();
        foremost.map(|at| self.len.saturating_sub(at))
    }

    pub(super) fn slide(&mut self, bytes: usize, window: usize) -> bool {
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
    pub(super) fn read(&mut self, ticket: Option<usize>, at: usize, end: usize) -> Read {
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
        if let Some(piece) = piece.map(|chunk| chunk.view(at, end)) {
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
            len += chunk.len();
            if !chunk.block.is_read() {
                cost += chunk.charged();
            }
            if Chunk::cost(len) <= cost + spare {
                last = index;
            }
        }
        if last > first {
            let bytes = self.chunks[last].end - self.chunks[first].start();
            self.join(first..=last, bytes);
        }
    }

    /// Makes one chunk of the first `bytes` bytes of several; the rest of them goes.
    fn join(&mut self, range: RangeInclusive<usize>, bytes: usize) {
        let (first, start) = (*range.start(), self.chunks[*range.start()].start());
        let mut joined = Vec::with_capacity(bytes);
        let parts: Vec<Chunk> = self.chunks.drain(range).collect();
        for chunk in parts {
            let part = chunk.len().min(bytes - joined.len());
            joined.extend_from_slice(&chunk.block.data[..part]);
            self.leave(chunk);
        }
        self.put(first, Chunk::new(start + joined.len(), joined));
    }
}
