//! The background work of the snapshot in force: resolving names, probing endpoints and asking
//! them for their load.
//!
//! Loops belong to a snapshot; when a reload publishes the next one they are dropped and started
//! anew, while what they learned stays with the endpoints. Runs as one Pingora background service.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::health::{self, probe::Prober};
use crate::proxy::process::Process;
use crate::snapshot::Snapshot;
use crate::upstream::discovery::Discovery;

/// How long an endpoint's series may outlive its last request, a kept connection its end, and what is
/// in the cache its use.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Upkeep {
    process: Arc<Process>,
    published: watch::Receiver<u64>,
    prober: Arc<Prober>,
}

impl Upkeep {
    pub(super) fn new(process: Arc<Process>, published: watch::Receiver<u64>) -> Upkeep {
        Upkeep {
            process,
            published,
            prober: Prober::new(),
        }
    }

    /// Forgets, for ever, what the configuration has no more and no request holds any longer, and
    /// looks after those who wait.
    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.process.registry.sweep();
            self.process.kept.sweep(Instant::now());
            self.process.registry.look_again();
            self.process.sweep_cache(SystemTime::now());
        }
    }

    fn spawn_loops(&self) -> JoinSet<()> {
        let snapshot = self.process.snapshot.load_full();
        let mut loops = JoinSet::new();
        for pool in &snapshot.pools {
            let discovery = Discovery::new(pool.clone(), &snapshot.config.resolvers);
            loops.spawn(discovery.run());
            loops.spawn(health::passive::run(pool.clone()));
            loops.spawn(health::active::run(pool.clone(), self.prober.clone()));
            loops.spawn(health::load::run(pool.clone(), self.prober.clone()));
        }
        loops
    }
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut published = self.published.clone();
        loop {
            let mut loops = self.spawn_loops();
            tokio::select! {
                changed = published.changed() => if changed.is_err() {
                    return;
                },
                () = self.sweep() => {}
                // While the process drains, its requests still need endpoints that are looked after.
                _ = shutdown.changed() => return std::future::pending().await,
            }
            // Two generations of loops must not both set the states of the same endpoints.
            loops.shutdown().await;
        }
    }
}

/// Resolves the named endpoints of a snapshot before it is published, all at once.
pub(super) async fn resolve_names(snapshot: &Snapshot) {
    let mut lookups = JoinSet::new();
    for pool in &snapshot.pools {
        let discovery = Discovery::new(pool.clone(), &snapshot.config.resolvers);
        if !pool.targets().names().is_empty() {
            lookups.spawn(async move { discovery.update().await });
        }
    }
    lookups.join_all().await;
}
