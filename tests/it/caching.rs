//! The cache: what is kept, what answers from it, and who asks the origin.

use crate::support::*;

// --- the memory

#[tokio::test]
async fn a_reload_changes_the_size_of_the_cache_but_not_its_eviction() {
    let yaml = |cache: &str| format!("routes: [{{ respond: {} }}]\ncache: {{ {cache} }}", "{}");
    let weir = weir(&yaml("memory: 2MiB, max_object: 1MiB")).start().await;
    let limit = "weir_cache_memory_bytes";
    weir.metric_becomes(limit, f64::from(2 << 20)).await;
    assert_eq!(weir.metric("weir_cache_bytes").await, 0.0);

    assert!(weir.reload_with(&yaml("memory: 1MiB")).await);
    weir.metric_becomes(limit, f64::from(1 << 20)).await;
    assert!(!weir.reload_with(&yaml("eviction: s3fifo")).await);
    assert!(weir.stderr().contains("cache.eviction changed"));
    weir.metric_becomes(limit, f64::from(1 << 20)).await;
}
