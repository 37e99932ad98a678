//! What the cache counts, as JSON: exact, since the process started.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cache::store::{Counts, Left, Refused, Store};
use crate::cache::verdict::Verdict;
use crate::telemetry::metrics::CacheMetrics;

#[derive(Debug, Serialize)]
pub(super) struct Stats {
    objects: usize,
    /// Responses being written or passing through.
    fills: usize,
    /// Of `memory`: everything, bookkeeping included.
    bytes: usize,
    memory: usize,
    /// Requests of routes with a cache, by what it did.
    requests: BTreeMap<&'static str, u64>,
    /// What was served from the cache of what it may have served; `null` where that is nothing.
    hit_ratio: Option<f64>,
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
    pub(super) fn of(store: &Store, metrics: &CacheMetrics) -> Stats {
        let (holding, counts) = (store.holding(), store.counts());
        let requests = Verdict::ALL.map(|verdict| (verdict, metrics.count(verdict as usize)));
        Stats {
            objects: holding.objects,
            fills: holding.fills,
            bytes: holding.bytes,
            memory: store.memory(),
            hit_ratio: hit_ratio(&requests),
            requests: requests
                .into_iter()
                .map(|(verdict, count)| (verdict.name(), count))
                .collect(),
            left: LeftBy::of(counts),
            refused: RefusedFor::of(counts),
        }
    }
}

fn hit_ratio(requests: &[(Verdict, u64)]) -> Option<f64> {
    let sum = |is_meant: fn(Verdict) -> bool| {
        let meant = requests.iter().filter(|(verdict, _)| is_meant(*verdict));
        meant.map(|(_, count)| *count).sum::<u64>()
    };
    let all = sum(|verdict| verdict != Verdict::Bypass);
    let hits = sum(Verdict::is_hit);
    (all > 0).then(|| hits as f64 / all as f64)
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
