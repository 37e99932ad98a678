//! The moment the process serves: every listener accepts.
//!
//! Then, and only then, readiness rises, the pid file names this process, the service manager and, in
//! an upgrade, the old process are told. Runs as one Pingora service, because only a service is given
//! the table of listening sockets.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::config::model::Fixed;
use crate::proxy::process::Process;
use crate::server::{addresses, handover, pid_file};

/// Binding is a matter of milliseconds; looked at this often, the wait is not noticed.
const POLL: Duration = Duration::from_millis(5);

pub(super) struct Serving {
    process: Arc<Process>,
    addresses: Vec<String>,
    pid_file: Option<PathBuf>,
    /// Set in an upgrade: where the old process waits to hear from this one.
    old_process: Option<PathBuf>,
    /// Filled in for `Handover`, which will need the sockets when this process is the old one.
    listeners: Arc<OnceLock<ListenFds>>,
}

impl Serving {
    pub(super) fn new(
        fixed: &Fixed,
        process: Arc<Process>,
        listeners: Arc<OnceLock<ListenFds>>,
        upgrade: bool,
    ) -> Serving {
        Serving {
            process,
            addresses: addresses(fixed)
                .map(|address| address.to_string())
                .collect(),
            pid_file: fixed.pid_file.clone(),
            old_process: fixed.upgrade_socket.clone().filter(|_| upgrade),
            listeners,
        }
    }

    async fn all_bound(&self, listeners: &ListenFds) {
        let is_bound = |address: &String| listeners.lock().get(address).is_some();
        while !self.addresses.iter().all(is_bound) {
            tokio::time::sleep(POLL).await;
        }
    }

    async fn announce(&self) {
        self.process.set_serving();
        if let Some(path) = &self.pid_file
            && let Err(error) = pid_file::write_own(path)
        {
            error!("cannot write the pid file {}: {error}", path.display());
        }
        if let Some(socket) = &self.old_process
            && let Err(error) = handover::confirm(socket).await
        {
            warn!("the old process cannot be told that this one serves: {error}");
        }
        let _ = sd_notify::notify(&[
            sd_notify::NotifyState::MainPid(std::process::id()),
            sd_notify::NotifyState::Ready,
        ]);
        info!("serving on {}", self.addresses.join(", "));
    }
}

#[async_trait]
impl ServiceWithDependents for Serving {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let Some(listeners) = fds {
            self.all_bound(&listeners).await;
            let _ = self.listeners.set(listeners);
        }
        self.announce().await;
        ready.notify_ready();
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }

    fn name(&self) -> &str {
        "serving"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    /// None of its own: so that Pingora closes inherited sockets that no listener of this
    /// configuration claims, instead of letting clients wait in them.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
