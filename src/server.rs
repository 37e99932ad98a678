//! The wiring: the only place that knows all modules.
//!
//! `run` turns a valid configuration into a running process and returns when it has stopped. Pingora's
//! `Server` owns the listeners and runtimes; what it lacks (reload, a hand-over that can fail, an end
//! as soon as nothing is left) stands in this folder, one file each. Called by `cli::run`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::ServiceWithDependents;
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use thiserror::Error;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::cache::store::{Settings, Store};
use crate::config;
use crate::config::model::{Config, Fixed};
use crate::proxy::Proxy;
use crate::proxy::process::Process;
use crate::server::caps::Caps;
use crate::server::connection::Edge;
use crate::server::drain::Drain;
use crate::server::handover::Handover;
use crate::server::reload::Reload;
use crate::server::serving::Serving;
use crate::server::signals::Signals;
use crate::server::upkeep::Upkeep;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;
use crate::upstream::peer::PeerError;
use crate::upstream::registry::Registry;

mod caps;
mod connection;
mod drain;
pub mod handover;
mod head;
mod idle;
mod inheritance;
pub mod pid_file;
mod reload;
mod serving;
mod signals;
mod upkeep;

/// Why the process could not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("cannot open the access log: {0}")]
    AccessLog(io::Error),
    #[error(transparent)]
    Build(#[from] PeerError),
    #[error("{0}")]
    Roots(String),
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error("--upgrade needs server.upgrade_socket")]
    NoUpgradeSocket,
}

/// Where a process comes from.
pub struct Start {
    pub config: Config,
    /// Read again on SIGHUP.
    pub path: PathBuf,
    /// Take the listeners over from the process that holds them, instead of binding.
    pub upgrade: bool,
    /// Services that run beside the proxy (`weir demo` brings its backends).
    pub companions: Vec<Box<dyn ServiceWithDependents>>,
}

/// Serves until a signal ends the process.
pub fn run(start: Start) -> Result<(), StartError> {
    let Config { fixed, live } = start.config;
    logging::init(live.log_level);
    raise_open_files_limit();
    if start.upgrade && fixed.upgrade_socket.is_none() {
        return Err(StartError::NoUpgradeSocket);
    }
    if !start.upgrade {
        check_bindable(&fixed)?;
        fixed.upgrade_socket.as_deref().map(inheritance::discard);
    }
    // Read by every connector, with or without a pool that needs them.
    config::system_roots().map_err(StartError::Roots)?;
    let metrics = Metrics::new();
    let registry = Arc::new(Registry::new(metrics.clone()));
    let access_log = AccessLog::open(
        &fixed.access_log.target,
        fixed.access_log.format,
        metrics.access_log_dropped.clone(),
    )
    .map_err(StartError::AccessLog)?;
    let snapshot = Snapshot::build(live, 1, &registry, &metrics)?;
    resolve_names(&snapshot)?;
    metrics.config_generation.set(1);
    metrics.last_reload_success.set(1);
    let cache = Store::new(Settings {
        memory: snapshot.config.cache.memory,
        max_object: snapshot.config.cache.max_object,
        eviction: fixed.eviction,
    });
    let process = Process::new(snapshot, registry, metrics, access_log, cache);
    serve(start.path, fixed, &process, start.upgrade, start.companions);
    process.access_log.flush();
    Ok(())
}

fn serve(
    path: PathBuf,
    fixed: Fixed,
    process: &Arc<Process>,
    upgrade: bool,
    companions: Vec<Box<dyn ServiceWithDependents>>,
) {
    let mut server = Server::new_with_opt_and_conf(
        Opt {
            upgrade,
            ..Opt::default()
        },
        server_conf(&fixed),
    );
    let caps = Arc::new(Caps::default());
    let listeners = Arc::new(OnceLock::new());
    let (published, generations) = watch::channel(1);

    server.bootstrap();
    server.add_service(edge_service(&fixed, process, &caps, &server.configuration));
    server.add_services(admin_service(&fixed, process));
    server.add_services(companions);
    server.add_service(Serving::new(
        &fixed,
        process.clone(),
        listeners.clone(),
        upgrade,
    ));
    server.add_service(background_service(
        "upkeep",
        Upkeep::new(process.clone(), generations),
    ));
    server.add_service(background_service(
        "drain",
        Drain {
            process: process.clone(),
            caps: caps.clone(),
            pid_file: fixed.pid_file.clone(),
        },
    ));
    let signals = Signals {
        process: process.clone(),
        caps,
        handover: Handover {
            socket: fixed.upgrade_socket.clone(),
            listeners,
            cache: process.cache.clone(),
        },
        reload: Reload {
            path,
            fixed,
            process: process.clone(),
            published,
        },
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });
}

fn server_conf(fixed: &Fixed) -> ServerConf {
    let upgrade_sock = fixed.upgrade_socket.as_ref();
    ServerConf {
        threads: fixed.threads,
        upgrade_sock: upgrade_sock
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        // `drain` ends the process in time; Pingora's blind sleep must outlast any drain timeout.
        grace_period_seconds: Some(24 * 60 * 60),
        graceful_shutdown_timeout_seconds: Some(0),
        // Above any route's own limit, which is what decides.
        max_retries: 16,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    }
}

/// One service, hence one runtime, for all listeners.
fn edge_service(
    fixed: &Fixed,
    process: &Arc<Process>,
    caps: &Arc<Caps>,
    conf: &Arc<ServerConf>,
) -> Service<Edge> {
    let connector = TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf)));
    let proxy = Proxy::new(process.clone(), connector);
    let pingora = http_proxy(conf, proxy.clone());
    let edge = Edge::new(process.clone(), proxy, pingora, caps.clone());
    let mut service = Service::new("listeners".to_owned(), edge);
    for listener in &fixed.listeners {
        let config = ListenerConfig::tcp(listener.bind.to_string());
        // `proxy::downstream` buffers both ways, only while there is something to hold.
        service.add_listener(config.l4_buffer(L4BufferSettings::new(0, 0)));
    }
    service
}

fn admin_service(fixed: &Fixed, process: &Arc<Process>) -> Vec<Box<dyn ServiceWithDependents>> {
    let Some(address) = fixed.admin else {
        return Vec::new();
    };
    let mut service = Service::new("admin".to_owned(), Admin::new(process.clone()));
    service.threads = Some(1);
    service.add_tcp(&address.to_string());
    vec![Box::new(service)]
}

/// Binds each address once and lets go, because Pingora's own bind panics where it fails.
fn check_bindable(fixed: &Fixed) -> Result<(), StartError> {
    for address in addresses(fixed) {
        TcpListener::bind(address).map_err(|cause| StartError::Listen { address, cause })?;
    }
    Ok(())
}

fn addresses(fixed: &Fixed) -> impl Iterator<Item = SocketAddr> + '_ {
    let listeners = fixed.listeners.iter().map(|listener| listener.bind);
    listeners.chain(fixed.admin)
}

fn resolve_names(snapshot: &Snapshot) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(upkeep::resolve_names(snapshot));
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(())
}

/// As many open files as the system lets this process have: each connection is one.
fn raise_open_files_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("the limit of open files stays as it is: {error}");
    }
}
