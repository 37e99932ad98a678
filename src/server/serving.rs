//! The moment the process serves: every listener accepts.
//!
//! Then, and only then, readiness rises, the pid file names this process, the service manager and, in
//! an upgrade, the old process are told. Runs as one Pingora service, because only a service is given
//! the table of listening sockets.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::config::model::Fixed;
use crate::proxy::process::Process;
use crate::server::handover::Confirmation;
use crate::server::{addresses, inheritance, pid_file};

/// Binding is a matter of milliseconds; looked at this often, the wait is not noticed.
const POLL: Duration = Duration::from_millis(5);
/// Pingora goes on trying an address that somebody else has, for longer than anybody should wait.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Waits until every listener accepts; an address that cannot be had ends the process, which in
    /// an upgrade leaves the old one serving.
    async fn all_bound(&self, listeners: &ListenFds) {
        let is_missing = |address: &&String| listeners.lock().get(address.as_str()).is_none();
        let deadline = Instant::now() + BIND_TIMEOUT;
        while let Some(address) = self.addresses.iter().find(is_missing) {
            if Instant::now() > deadline {
                error!("cannot listen on {address}");
                self.process.access_log.flush();
                std::process::exit(1);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// In an upgrade: the connection over which the old process will hear that this one serves.
    async fn meet_old_process(&self) -> Option<Confirmation> {
        let met = Confirmation::begin(self.old_process.as_deref()?).await;
        met.inspect_err(|error| warn!("the old process does not wait to hear of this one: {error}"))
            .ok()
    }

    /// Takes over the old process's cache when it has been left, beside everything else.
    fn inherit(&self, socket: PathBuf, old_process: Confirmation) {
        let cache = self.process.cache.clone();
        tokio::spawn(async move {
            match old_process.cache_is_left().await {
                true => inheritance::take_over(cache, &socket).await,
                false => inheritance::discard(&socket),
            }
        });
    }

    async fn announce(&self, old_process: Option<&mut Confirmation>) {
        self.process.set_serving();
        if let Some(path) = &self.pid_file
            && let Err(error) = pid_file::write_own(path)
        {
            error!("cannot write the pid file {}: {error}", path.display());
        }
        if let Some(old_process) = old_process
            && let Err(error) = old_process.serving().await
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
        let mut old_process = self.meet_old_process().await;
        if let Some(listeners) = fds {
            self.all_bound(&listeners).await;
            let _ = self.listeners.set(listeners);
        }
        self.announce(old_process.as_mut()).await;
        ready.notify_ready();
        if let (Some(socket), Some(old_process)) = (self.old_process.clone(), old_process) {
            self.inherit(socket, old_process);
        }
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
