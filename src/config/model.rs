//! The validated configuration: a value of these types is a proof that it is valid.
//!
//! Built only by `validate`; every default is filled in, every name is resolved to an index, every
//! either/or is an enum. Nobody downstream re-checks. Read by `snapshot` (compiles it), `server`
//! (the part that is fixed at start) and `cli`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use regex::Regex;

use super::amounts::Amounts;

mod cache;
mod pool;

pub use cache::*;
pub use pool::*;

pub use crate::telemetry::access_log::{Format as LogFormat, Target as LogTarget};

#[derive(Clone, Debug)]
pub struct Config {
    /// What is fixed when the process starts; a reload that changes it is refused by key.
    pub fixed: Fixed,
    pub live: Live,
}

/// Settings that need a restart (or an upgrade) to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// Worker threads that serve all listeners. 1..=1024.
    pub threads: usize,
    pub pid_file: Option<PathBuf>,
    pub upgrade_socket: Option<PathBuf>,
    /// At least one; at most 31, which with the admin listener is what one hand-over can carry.
    pub listeners: Vec<Listener>,
    /// `None`: the admin listener is off.
    pub admin: Option<SocketAddr>,
    pub access_log: AccessLog,
    pub eviction: Eviction,
}

/// Settings that a reload replaces, whole or not at all.
#[derive(Clone, Debug)]
pub struct Live {
    pub drain_timeout: Duration,
    pub trusted_proxies: Vec<IpNet>,
    pub forwarded: Forwarded,
    /// Name servers for endpoints given by name; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    pub limits: Limits,
    pub routes: Vec<Route>,
    pub pools: Vec<Pool>,
    pub cache: Cache,
    pub log_level: log::LevelFilter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    pub bind: SocketAddr,
}

/// Where the access log goes. Its path is fixed: SIGUSR1 reopens it, a reload does not move it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub target: LogTarget,
    pub format: LogFormat,
}

/// How the client's address and scheme are told to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `X-Real-IP`.
    XForwarded,
    /// `Forwarded` (RFC 7239) only.
    Rfc7239,
    Both,
}

/// What one connection or request head may cost us. Each maps to a rejection or a close.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections over all listeners.
    pub connections: usize,
    /// Connections from one client address (IPv6: one /64).
    pub connections_per_address: usize,
    /// Time for a whole request head, from its first byte.
    pub header_timeout: Duration,
    /// Bytes of a whole request head.
    pub header_bytes: usize,
    /// Number of request header fields.
    pub header_count: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
    /// Idle time between requests on one connection.
    pub keepalive_timeout: Duration,
    /// Requests on one connection before it is closed.
    pub keepalive_requests: u32,
    /// Time between two reads of a request body.
    pub body_timeout: Duration,
    /// Time one write to the client may take.
    pub send_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Route {
    /// Unique; the `route` label of log and metrics. Given, or made from host and path.
    pub name: String,
    pub rule: Rule,
    /// Clients that are served; empty: all that `deny` does not hold.
    pub allow: Vec<IpNet>,
    /// Clients that are refused.
    pub deny: Vec<IpNet>,
    pub action: Action,
    /// The whole request, from its head to the last byte of the response; `None`: no bound.
    pub timeout: Option<Duration>,
    pub retry: Retry,
    /// `None`: no request asks two endpoints at once.
    pub hedge: Option<Hedge>,
    /// Whether its responses tell selectors how fast an endpoint is.
    pub measure: bool,
    /// Where its requests stand in a pool's queue.
    pub priority: Priority,
    /// What a request takes of its endpoint, by the pool's dimensions; `None`: one of each.
    pub demand: Option<Amounts>,
    /// `None`: nothing is kept, and nothing served from the cache.
    pub cache: Option<RouteCache>,
    /// Largest request body; `None`: no bound.
    pub body_limit: Option<u64>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
}

/// When a request is tried again at another endpoint.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts after the first one. 0..=10.
    pub attempts: u32,
    /// Statuses that count as failures, first and last of each range.
    pub on: Vec<(u16, u16)>,
    /// From the pick to the response's head; `None`: only the pool's timeouts count.
    pub per_try_timeout: Option<Duration>,
    /// Before the first retry at most this, doubling for each to ten times as much. Zero: none.
    pub backoff: Duration,
    /// Also requests that may not be repeated safely.
    pub non_idempotent: bool,
}

impl Retry {
    pub fn is_on(&self, status: u16) -> bool {
        let mut ranges = self.on.iter();
        ranges.any(|&(first, last)| (first..=last).contains(&status))
    }
}

/// When a request asks a second endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    pub after: HedgeAfter,
    /// Of the pool's requests, 1..=100.
    pub percent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// What so many percent of requests took at most lately; 50..=99.
    Percentile(u32),
    Time(Duration),
}

/// What a request must look like for a route. Empty lists match everything.
#[derive(Clone, Debug)]
pub struct Rule {
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderMatch>,
}

/// Lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.example.com` is stored as `example.com`: any name with at least one more label.
    Wildcard(String),
}

#[derive(Clone, Debug)]
pub enum PathPattern {
    /// No `path` key: every path.
    Any,
    Exact(String),
    /// `/api/*` is stored as `/api`: `/api` itself and everything under `/api/`. `/*` is `""`.
    Prefix(String),
    Regex(Regex),
}

#[derive(Clone, Debug)]
pub struct HeaderMatch {
    pub name: HeaderName,
    pub value: HeaderValueMatch,
}

#[derive(Clone, Debug)]
pub enum HeaderValueMatch {
    Present,
    Exact(String),
    Regex(Regex),
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Index into `Live::pools`.
    Pool(usize),
    Redirect(Redirect),
    Respond(Respond),
}

#[derive(Clone, Debug)]
pub struct Redirect {
    /// The `Location`; `{scheme}`, `{host}`, `{path}`, `{rest}` (the path after the route's prefix,
    /// without its slash) and `{query}` (with its `?`) are filled in.
    pub to: String,
    pub status: StatusCode,
}

#[derive(Clone, Debug)]
pub struct Respond {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: String,
}

/// Applied in this order: remove, set, add.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// Whether a field of this name does not stay as it is.
    pub fn replaces(&self, name: impl AsRef<[u8]>) -> bool {
        let mut replaced = self
            .remove
            .iter()
            .chain(self.set.iter().map(|(name, _)| name));
        let name = name.as_ref();
        replaced.any(|replaced| replaced.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}
