//! What the cache counts, as JSON: exact, since the process started.

use serde::Serialize;

use crate::cache::store::{Counts, Left, Refused, Store};

#[derive(Debug, Serialize)]
pub(super) struct Stats {
    objects: usize,
    /// Responses being written or passing through.
    fills: usize,
    /// Of `memory`: everything, bookkeeping included.
    bytes: usize,
    memory: usize,
    /// Objects that have left, by reason.
    left: LeftBy,
    /// Responses that were to be stored and could not, by reason.
    refused: RefusedFor,
}

#[derive(Debug, Serialize)]
struct LeftBy {
    size: u64,
    expired: u64,
    purged: u64,
    replaced: u64,
}

#[derive(Debug, Serialize)]
struct RefusedFor {
    too_large: u64,
    full: u64,
    purged: u64,
    incomplete: u64,
}

impl Stats {
    pub(super) fn of(store: &Store) -> Stats {
        let (holding, counts) = (store.holding(), store.counts());
        Stats {
            objects: holding.objects,
            fills: holding.fills,
            bytes: holding.bytes,
            memory: store.memory(),
            left: LeftBy::of(counts),
            refused: RefusedFor::of(counts),
        }
    }
}

impl LeftBy {
    fn of(counts: &Counts) -> LeftBy {
        LeftBy {
            size: counts.left(Left::Size),
            expired: counts.left(Left::Expired),
            purged: counts.left(Left::Purged),
            replaced: counts.left(Left::Replaced),
        }
    }
}

impl RefusedFor {
    fn of(counts: &Counts) -> RefusedFor {
        RefusedFor {
            too_large: counts.refused(Refused::TooLarge),
            full: counts.refused(Refused::Full),
            purged: counts.refused(Refused::Purged),
            incomplete: counts.refused(Refused::Incomplete),
        }
    }
}
