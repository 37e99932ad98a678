//! The queue of a pool that is at its limit: who waits, and who is next.
//!
//! Pure: `now` is passed in, and whether there is a place for a waiter is asked of the caller. Used
//! by [`turns`](super::turns), which gives the places.
//!
//! Definition: priority [`Priority::High`] goes before [`Priority::Normal`]; within one of them, first
//! come, first served. A waiter for whom there is no place now keeps its position and lets others
//! pass. Invariants: every waiter leaves once, served or not; the length is the number of waiters.
//! Cost: a logarithm of the length for each step, and one question for each waiter that is passed.

use std::collections::BTreeMap;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// Which waiters go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    High,
    Normal,
}

/// What the caller answers when asked whether there is a place for a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// Not for this one.
    NotForIt,
    /// For nobody who waits.
    None,
}

/// A waiter's position: by it, it is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    priority: Priority,
    number: u64,
}

/// A waiter as it came.
#[derive(Debug)]
pub struct Waiting<T> {
    pub ticket: Ticket,
    pub since: Instant,
    pub what: T,
}

/// Waiters of any kind `T`.
pub struct Queue<T> {
    waiting: BTreeMap<Ticket, Waiting<T>>,
    next_number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            waiting: BTreeMap::new(),
            next_number: 0,
        }
    }
}

impl<T> Queue<T> {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a waiter behind all others of its priority.
    pub fn enter(&mut self, priority: Priority, what: T, now: Instant) -> Ticket {
        let ticket = Ticket {
            priority,
            number: self.next_number,
        };
        self.next_number += 1;
        let since = now;
        let waiting = Waiting {
            ticket,
            since,
            what,
        };
        self.waiting.insert(ticket, waiting);
        ticket
    }

    /// Takes a waiter out; `None`: it has left already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        self.waiting.remove(&ticket)
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let waiting = self.waiting.get_mut(&ticket)?;
        Some(&mut waiting.what)
    }

    /// Takes out the first waiter for whom there is a place.
    pub fn next(&mut self, mut place: impl FnMut(&T) -> Place) -> Option<Waiting<T>> {
        for (&ticket, waiting) in &self.waiting {
            match place(&waiting.what) {
                Place::Free => return self.leave(ticket),
                Place::NotForIt => {}
                Place::None => return None,
            }
        }
        None
    }

    /// Puts a waiter back whom `next` took out, in its old position.
    pub fn put_back(&mut self, waiting: Waiting<T>) {
        self.waiting.insert(waiting.ticket, waiting);
    }
}
