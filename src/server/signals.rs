//! The signals: what each does stands here.
//!
//! It stands in for Pingora's own signal watch, so that a reload happens in place, a hand-over can
//! fail without ending the process, and readiness falls before the listeners close. Pingora calls it
//! once the services run.

use std::sync::Arc;

use async_trait::async_trait;
use log::info;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::proxy::process::Process;
use crate::server::caps::Caps;
use crate::server::handover::Handover;
use crate::server::reload::Reload;

pub(super) struct Signals {
    pub(super) process: Arc<Process>,
    pub(super) caps: Arc<Caps>,
    pub(super) reload: Reload,
    pub(super) handover: Handover,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = listen(SignalKind::terminate());
        let mut interrupt = listen(SignalKind::interrupt());
        tokio::select! {
            _ = interrupt.recv() => {
                info!("SIGINT: stopping at once");
                self.caps.cut_off().await;
                return ShutdownSignal::FastShutdown;
            }
            _ = terminate.recv() => info!("SIGTERM: draining"),
            () = self.until_handed_over() => {}
        }
        self.process.set_draining();
        // Never Pingora's own upgrade: it ends the process even when nobody took the listeners.
        ShutdownSignal::GracefulTerminate
    }
}

impl Signals {
    /// The signals that let the process go on. A reload or a hand-over takes its time; the signals
    /// that end the process do not wait for it.
    async fn until_handed_over(&self) {
        let mut hangup = listen(SignalKind::hangup());
        let mut quit = listen(SignalKind::quit());
        let mut user1 = listen(SignalKind::user_defined1());
        loop {
            tokio::select! {
                _ = quit.recv() => {
                    if self.handover.hand_over().await {
                        return;
                    }
                }
                _ = hangup.recv() => self.reload.reload().await,
                _ = user1.recv() => self.process.access_log.reopen(),
            }
        }
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("a runtime with signals enabled can listen for any of these signals")
}
