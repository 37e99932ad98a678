//! Reload: the file is read again and takes effect whole, or nothing changes.
//!
//! Connections, endpoints and what is known of them stay; requests that run keep their snapshot.
//! Called by `server::signals` on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};
use pingora_cache::storage::PurgeAction;
use thiserror::Error;
use tokio::sync::watch;

use crate::cache::store::Purge;
use crate::config::model::{Config, Fixed};
use crate::config::{self, LoadError};
use crate::proxy::process::Process;
use crate::server::upkeep;
use crate::snapshot::Snapshot;
use crate::telemetry::logging;
use crate::upstream::peer::PeerError;

pub(super) struct Reload {
    pub(super) path: PathBuf,
    /// What this process was started with.
    pub(super) fixed: Fixed,
    pub(super) process: Arc<Process>,
    /// Tells the upkeep of the generation in force.
    pub(super) published: watch::Sender<u64>,
}

#[derive(Debug, Error)]
enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{} changed, which needs a restart or `weir upgrade`", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    #[error(transparent)]
    Build(#[from] PeerError),
    #[error("reading the configuration was interrupted")]
    Interrupted,
}

impl Reload {
    pub(super) async fn reload(&self) {
        let result = self.try_reload().await;
        let is_good = result.is_ok();
        match result {
            Ok(generation) => info!("reloaded: generation {generation} is in force"),
            Err(error) => error!("reload refused, nothing changed: {error}"),
        }
        // Last: who sees it counted finds it told.
        self.process.metrics.reloaded(is_good);
    }

    async fn try_reload(&self) -> Result<u64, ReloadError> {
        let config = self.load().await?;
        let changed = config::restart_keys_changed(&self.fixed, &config.fixed);
        if !changed.is_empty() {
            return Err(ReloadError::NeedsRestart(changed));
        }
        let current = self.process.snapshot.load_full();
        let generation = current.generation + 1;
        let log_level = config.live.log_level;
        let process = &self.process;
        let mut next =
            Snapshot::build(config.live, generation, &process.registry, &process.metrics)?;
        upkeep::resolve_names(&next).await;
        let hears_of_writes = next.inherit_query_rules(&current);
        let next = Arc::new(next);
        process.snapshot.store(next.clone());
        if !hears_of_writes {
            let now = SystemTime::now();
            process
                .cache
                .invalidate(Purge::All, PurgeAction::Expire, now);
        }
        let cache = next.config.cache;
        process.cache.resize(cache.memory, cache.max_object);
        logging::set_level(log_level);
        current.forget_routes_absent_from(&next, &process.metrics);
        process
            .metrics
            .config_generation
            .set(generation.cast_signed());
        self.published.send_replace(generation);
        Ok(generation)
    }

    async fn load(&self) -> Result<Config, ReloadError> {
        let path = self.path.clone();
        let loading = tokio::task::spawn_blocking(move || config::load(&path));
        let (config, warnings) = loading.await.map_err(|_| ReloadError::Interrupted)??;
        if !warnings.list.is_empty() {
            warn!("{warnings}");
        }
        Ok(config)
    }
}
