//! What all requests share and what outlives every snapshot.
//!
//! One value per process, made by `server` and held by everything that serves: the snapshot in force,
//! the endpoints known, the metrics, the access log, and whether the process is on its way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::cache::compress::coders::Coders;
use crate::cache::flights::Flights;
use crate::cache::store::Store;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream::kept::Kept;
use crate::upstream::registry::Registry;

/// Each takes a connection of an endpoint for what nobody waits for, and lasts as long as one body takes: a
/// busy site has a handful at a time.
const UNREAD_FILLS: usize = 64;

pub struct Process {
    pub started: Instant,
    pub snapshot: ArcSwap<Snapshot>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
    /// Where responses are kept; a reload may change its size, an upgrade hands its contents on.
    pub cache: Store,
    /// Who makes coded forms of what is stored.
    pub coders: Coders,
    /// Requests whose answers others wait for.
    pub flights: Flights,
    /// Places of fills of the cache that go on though their clients have left.
    pub unread_fills: Arc<Semaphore>,
    /// Connections to endpoints, between two requests.
    pub kept: Kept,
    /// All listeners accept.
    serving: AtomicBool,
    /// Told to stop: readiness fails, connections close after their running request.
    draining: AtomicBool,
}

impl Process {
    pub fn new(
        snapshot: Snapshot,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        cache: Store,
    ) -> Arc<Process> {
        Arc::new(Process {
            started: Instant::now(),
            snapshot: ArcSwap::from_pointee(snapshot),
            registry,
            metrics,
            access_log,
            cache,
            flights: Flights::default(),
            unread_fills: Arc::new(Semaphore::new(UNREAD_FILLS)),
            coders: Coders::default(),
            kept: Kept::default(),
            serving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        })
    }

    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes out of the cache what is of no use at `now`, and tells how full it is.
    pub fn sweep_cache(&self, now: SystemTime) {
        self.cache.sweep(now);
        let holding = self.cache.holding();
        let metrics = &self.metrics.cache;
        metrics.bytes.set(holding.bytes as i64);
        metrics.objects.set(holding.objects as i64);
        metrics.memory.set(self.cache.memory() as i64);
    }

    /// What `/-/ready` answers: new traffic is welcome. A pool without a ready endpoint does not make
    /// the process unready, or one application's outage would take the edge away from all others.
    pub fn is_ready(&self) -> bool {
        self.serving.load(Ordering::Acquire) && !self.is_draining()
    }
}
