//! What one probe does: Pingora's `HealthCheck` for a pool's `health` configuration.
//!
//! A check never reuses a connection: an established one hides a firewall or a full backlog. It
//! takes the pool's TLS settings and timeouts; `active` bounds the whole of it by the probe's own
//! timeout. TCP is Pingora's `TcpHealthCheck`. HTTP is ours, because Pingora's has one `Host` and
//! SNI for all endpoints, drains bodies without bound and cannot look into them.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CONNECTION, HOST, USER_AGENT};
use pingora_core::connectors::http::v1::Connector;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};
use tokio::sync::Semaphore;

use crate::config::model::{Health, HttpProbe, Probe};
use crate::upstream::Pool;
use crate::upstream::member::member_of;

#[cfg(test)]
mod tests;

/// Probes that may run at the same time, over all pools.
pub const PROBES_MAX: usize = 256;
/// How much of a body is looked into.
const BODY_MAX: usize = 64 * 1024;

const UNEXPECTED_STATUS: &str = "status";
const UNMATCHED_BODY: &str = "the body does not match";

/// A check as the loops hold it.
pub type Check = Arc<dyn HealthCheck + Send + Sync>;

/// What all probes of the process share. One for the process: a connector reads the system's
/// certificates when it is made.
pub struct Prober {
    tcp: TcpHealthCheck,
    http: Connector,
    /// For load probes, which keep their connections.
    pub(super) kept: Connector,
    pub(super) permits: Semaphore,
}

impl Prober {
    pub fn new() -> Arc<Prober> {
        let mut tcp = TcpHealthCheck::default();
        // The timeout around the whole probe is the only one.
        tcp.peer_template.options.connection_timeout = None;
        Arc::new(Prober {
            tcp,
            http: Connector::new(None),
            kept: Connector::new(None),
            permits: Semaphore::new(PROBES_MAX),
        })
    }

    /// The check that `health` asks for, of the endpoints of `pool`.
    pub fn check(self: &Arc<Self>, pool: &Arc<Pool>, health: &Health) -> Check {
        let prober = self.clone();
        let health = health.clone();
        match &health.probe {
            Probe::Tcp => Arc::new(TcpCheck { prober, health }),
            Probe::Http(probe) => Arc::new(HttpCheck {
                pool: pool.clone(),
                probe: probe.clone(),
                prober,
                health,
            }),
        }
    }
}

/// A connection can be made.
struct TcpCheck {
    prober: Arc<Prober>,
    health: Health,
}

/// A request is answered as expected.
struct HttpCheck {
    prober: Arc<Prober>,
    pool: Arc<Pool>,
    health: Health,
    probe: HttpProbe,
}

// === impl TcpCheck ===

#[async_trait]
impl HealthCheck for TcpCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut target = target.clone();
        if let Some(port) = self.health.port {
            target.addr.set_port(port);
        }
        self.prober.tcp.check(&target).await
    }

    fn health_threshold(&self, success: bool) -> usize {
        threshold(&self.health, success)
    }
}

// === impl HttpCheck ===

#[async_trait]
impl HealthCheck for HttpCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut session = self.connect(target).await?;
        session.write_request_header(self.request(target)?).await?;
        session.finish_body().await?;
        self.expect_status(&mut session).await?;
        self.expect_body(&mut session).await
        // The session is dropped, and its connection closed with it.
    }

    fn health_threshold(&self, success: bool) -> usize {
        threshold(&self.health, success)
    }
}

impl HttpCheck {
    async fn connect(&self, target: &Backend) -> Result<HttpSession> {
        let Some(mut address) = target.addr.as_inet().copied() else {
            return Error::e_explain(ErrorType::InternalError, "an endpoint has an IP address");
        };
        if let Some(port) = self.health.port {
            address.set_port(port);
        }
        let peer = self.pool.peers().peer(address, host(target));
        let (session, _reused) = self.prober.http.get_http_session(&peer).await?;
        Ok(session)
    }

    fn request(&self, target: &Backend) -> Result<Box<RequestHeader>> {
        let probe = &self.probe;
        let mut request = RequestHeader::build(probe.method.clone(), probe.path.as_bytes(), None)?;
        let host_header = match (&probe.host, target.addr.as_inet()) {
            (Some(given), _) => given.clone(),
            (None, Some(address)) => authority(&self.pool, *address, host(target)),
            (None, None) => target.addr.to_string(),
        };
        request.insert_header(HOST, host_header)?;
        request.insert_header(USER_AGENT, "weir")?;
        for (name, value) in &probe.headers {
            request.insert_header(name, value)?;
        }
        request.insert_header(CONNECTION, "close")?;
        Ok(Box::new(request))
    }

    async fn expect_status(&self, session: &mut HttpSession) -> Result<()> {
        let status = final_status(session).await?;
        let accepted = |&(low, high): &(u16, u16)| (low..=high).contains(&status);
        if self.probe.statuses.iter().any(accepted) {
            return Ok(());
        }
        Err(Error::new(ErrorType::CustomCode(UNEXPECTED_STATUS, status)))
    }

    async fn expect_body(&self, session: &mut HttpSession) -> Result<()> {
        let Some(pattern) = &self.probe.body else {
            return Ok(());
        };
        let mut body = Vec::new();
        while body.len() < BODY_MAX
            && let Some(chunk) = session.read_body_bytes().await?
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(BODY_MAX);
        if pattern.is_match(&String::from_utf8_lossy(&body)) {
            return Ok(());
        }
        Err(Error::new(ErrorType::Custom(UNMATCHED_BODY)))
    }
}

/// The `Host` of a probe: the endpoint's name with its port, else its address.
pub(super) fn authority(pool: &Pool, address: SocketAddr, host: Option<&str>) -> String {
    let standard = if pool.peers().is_tls() { 443 } else { 80 };
    let port = address.port();
    match host {
        Some(host) if port == standard => host.to_owned(),
        Some(host) => format!("{host}:{port}"),
        None => address.to_string(),
    }
}

/// Reads up to the final response's head.
pub(super) async fn final_status(session: &mut HttpSession) -> Result<u16> {
    loop {
        session.read_response().await?;
        match session.get_status().map_or(0, |status| status.as_u16()) {
            // An interim response; switching protocols is a final one.
            100 | 102..=199 => {}
            status => return Ok(status),
        }
    }
}

/// The name the endpoint was resolved from.
fn host(target: &Backend) -> Option<&str> {
    member_of(target)?.host.as_deref()
}

fn threshold(health: &Health, success: bool) -> usize {
    let threshold = if success { health.rise } else { health.fall };
    threshold as usize
}

/// Why a check failed, in a few words for the log.
pub fn describe(error: &Error) -> String {
    match error.root_etype() {
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        ErrorType::ConnectTimedout => "connect timed out".to_owned(),
        ErrorType::ConnectNoRoute => "no route to host".to_owned(),
        ErrorType::ConnectionClosed => "connection closed".to_owned(),
        ErrorType::InvalidHTTPHeader => "invalid response".to_owned(),
        ErrorType::CustomCode(UNEXPECTED_STATUS, status) => format!("status {status}"),
        ErrorType::Custom(text) => (*text).to_owned(),
        other => match &error.context {
            Some(context) => context.as_str().to_owned(),
            None => other.as_str().to_owned(),
        },
    }
}
