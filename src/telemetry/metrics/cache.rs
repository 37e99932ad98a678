//! What is counted of the cache: as a whole, and for each route that uses it.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::declare::Declare;

/// As many as `cache::verdict` has.
const VERDICTS: usize = 8;

pub struct CacheMetrics {
    pub bytes: IntGauge,
    pub memory: IntGauge,
    pub objects: IntGauge,
    requests: IntCounterVec,
    /// The same over all routes, gone ones too, by the verdict's place.
    verdicts: [AtomicU64; VERDICTS],
    refused: IntCounterVec,
    refreshes: IntCounterVec,
}

impl CacheMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> CacheMetrics {
        CacheMetrics {
            bytes: declare.gauge(
                "weir_cache_bytes",
                "Bytes the cache holds, headers, bookkeeping and bodies under way included.",
            ),
            memory: declare.gauge("weir_cache_memory_bytes", "Bytes the cache may hold."),
            objects: declare.gauge("weir_cache_objects", "Responses kept in the cache."),
            requests: declare.counters(
                "weir_cache_requests_total",
                "Requests that ended on routes with a cache, by what the cache did.",
                &["route", "pool", "verdict"],
            ),
            verdicts: Default::default(),
            refused: declare.counters(
                "weir_cache_refused_total",
                "Responses fetched for the cache that were not kept, by reason.",
                &["reason"],
            ),
            refreshes: declare.counters(
                "weir_cache_refreshes_total",
                "Fetches made while a stale response was served, by result.",
                &["result"],
            ),
        }
    }

    /// The series of a route, in the order of `verdicts`.
    pub fn route(&self, route: &str, pool: &str, verdicts: &[&str]) -> Vec<IntCounter> {
        let series = |verdict: &&str| self.requests.with_label_values(&[route, pool, verdict]);
        verdicts.iter().map(series).collect()
    }

    pub fn forget_route(&self, route: &str, pool: &str, verdicts: &[&str]) {
        for verdict in verdicts {
            let _ = self.requests.remove_label_values(&[route, pool, verdict]);
        }
    }

    /// A request ended with the verdict of this place.
    pub fn note(&self, verdict: usize) {
        if let Some(count) = self.verdicts.get(verdict) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that ended so since the process started.
    pub fn count(&self, verdict: usize) -> u64 {
        let count = self.verdicts.get(verdict);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    pub fn refreshed(&self, result: &'static str) {
        self.refreshes.with_label_values(&[result]).inc();
    }
}
