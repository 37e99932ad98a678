//! What is counted of the cache as a whole.

use prometheus::IntGauge;

use super::Declare;

pub struct CacheMetrics {
    pub bytes: IntGauge,
    pub memory: IntGauge,
    pub objects: IntGauge,
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
        }
    }
}
