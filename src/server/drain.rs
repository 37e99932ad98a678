//! The end of the process: leave as soon as the last connection is closed.
//!
//! Pingora would sleep its whole grace period, with or without work. This service waits for the
//! connections instead, at most the configured drain timeout, then ends the process; SIGINT ends the
//! wait at once. What is cut off is still recorded. Runs as one Pingora background service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::proxy::process::Process;
use crate::server::caps::Caps;
use crate::server::pid_file;

/// What was accepted just before the listeners closed has entered the caps after this time.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) struct Drain {
    pub(super) process: Arc<Process>,
    pub(super) caps: Arc<Caps>,
    pub(super) pid_file: Option<PathBuf>,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Listened for from now on, so that one right behind a SIGTERM is not missed.
        let Ok(interrupt) = signal(SignalKind::interrupt()) else {
            return;
        };
        if shutdown.wait_for(|stopping| *stopping).await.is_err() {
            return;
        }
        self.wait(interrupt).await;
        self.process.access_log.flush();
        if let Some(path) = &self.pid_file {
            pid_file::remove_own(path);
        }
        // Pingora's main thread is asleep for its grace period and cannot be told to wake up.
        std::process::exit(0);
    }
}

impl Drain {
    async fn wait(&self, mut interrupt: Signal) {
        tokio::time::sleep(SETTLE).await;
        let drain_timeout = self.process.snapshot.load().config.drain_timeout;
        let why = tokio::select! {
            drained = timeout(drain_timeout, self.caps.empty()) => match drained {
                Ok(()) => return info!("drained"),
                Err(_) => "drain timeout",
            },
            _ = interrupt.recv() => "SIGINT",
        };
        warn!("{why}: {} connections cut off", self.caps.open());
        self.caps.cut_off().await;
    }
}
