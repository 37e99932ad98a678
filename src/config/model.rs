//! The validated configuration: a value of these types is a proof that it is valid.
//!
//! Built only by `validate`; every default is filled in, every name is resolved to an index, every
//! either/or is an enum. Nobody downstream re-checks. Read by `snapshot` (compiles it), `server`
//! (the part that is fixed at start) and `cli`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use regex::Regex;

use super::amounts::Amounts;
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
    /// Attempts after the first one. 0..=10.
    pub retry_attempts: u32,
    /// Whether its responses tell selectors how fast an endpoint is.
    pub measure: bool,
    /// What a request takes of its endpoint, by the pool's dimensions; `None`: one of each.
    pub demand: Option<Amounts>,
    /// Largest request body; `None`: no bound.
    pub body_limit: Option<u64>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
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
    pub fn replaces(&self, name: &str) -> bool {
        let mut replaced = self
            .remove
            .iter()
            .chain(self.set.iter().map(|(name, _)| name));
        replaced.any(|replaced| replaced.as_str().eq_ignore_ascii_case(name))
    }
}

#[derive(Clone, Debug)]
pub struct Pool {
    /// Unique; the `pool` label of log and metrics.
    pub name: String,
    pub balance: Balance,
    pub resources: Resources,
    /// `None`: clients are not brought back to their endpoint.
    pub sticky: Option<Sticky>,
    /// May hold names; at least one entry.
    pub endpoints: Vec<Endpoint>,
    /// Attempts on all endpoints together, 1..=1000000; `None`: no bound.
    pub max_in_flight: Option<u32>,
    /// Where requests wait while the pool is at its limit.
    pub queue: Queue,
    pub health: Option<Health>,
    /// TCP connect, and again for a TLS handshake.
    pub connect_timeout: Duration,
    /// Wait for the first byte of a response, and between two reads of it.
    pub read_timeout: Duration,
    /// Time one write to an endpoint may take.
    pub write_timeout: Duration,
    /// How long an unused connection to an endpoint is kept; zero: not kept.
    pub idle_timeout: Duration,
    /// Idle time of an upgraded (WebSocket) connection, either way.
    pub tunnel_timeout: Duration,
    pub tls: Option<Tls>,
}

/// Where requests wait while their pool, or each of its endpoints, is at `max_in_flight`.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Requests that may wait. 0..=100000; 0: none, all are refused at the limit.
    pub length: usize,
    /// How long one may wait.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            length: 1024,
            timeout: Duration::from_secs(1),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    LeastConn,
    Random,
    P2c,
    Ewma,
    Prequal,
    Resource,
    Hash(Hash),
}

impl Balance {
    /// The word in the configuration and in `weir status`.
    pub fn name(&self) -> &'static str {
        match self {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConn => "least_conn",
            Balance::Random => "random",
            Balance::P2c => "p2c",
            Balance::Ewma => "ewma",
            Balance::Prequal => "prequal",
            Balance::Resource => "resource",
            Balance::Hash(_) => "hash",
        }
    }
}

/// A bound of 1.25, in hundredths: the choice of Google and Vimeo.
pub const HASH_BOUND_DEFAULT: u32 = 125;

/// Consistent hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    pub key: HashKey,
    pub table: HashTable,
    /// Of an endpoint's fair share of the load, in hundredths, 105..=1000; `None`: no bound.
    pub bounded_load: Option<u32>,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without port.
    Address,
    /// Without query.
    Path,
    /// Path and query.
    Uri,
    Header(HeaderName),
    /// The cookie of that name.
    Cookie(String),
    /// The query argument of that name, as it is sent.
    Argument(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    Ring,
    Maglev,
}

/// How a pool balanced by `resource` learns of demands, and what it does where they do not fit.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Names, sorted; amounts know them by their place. Empty: not balanced by `resource`.
    pub dimensions: Vec<String>,
    /// Where trusted clients say what a request takes.
    pub request_header: Option<HeaderName>,
    /// Where endpoints say what a request took.
    pub response_header: Option<HeaderName>,
    pub when_full: WhenFull,
}

/// What becomes of a request that fits into no endpoint now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    #[default]
    Queue,
    LeastShare,
    Reject,
}

/// The cookie that brings clients back to their endpoint.
#[derive(Clone, Debug)]
pub struct Sticky {
    /// Its name: a token.
    pub cookie: String,
    pub secrets: Secrets,
    /// From when it is set; `None`: until the browser is closed.
    pub ttl: Option<Duration>,
    /// A client whose endpoint cannot serve is refused.
    pub strict: bool,
    pub secure: bool,
    pub same_site: SameSite,
    /// Begins with `/`; printable, without `;`.
    pub path: String,
}

/// What signs cookies: the first. All verify.
#[derive(Clone, Debug)]
pub enum Secrets {
    /// 1..=8.
    Given(Vec<Secret>),
    /// One in each line.
    File(PathBuf),
}

/// Shorter ones could be guessed.
pub const SECRET_BYTES_MIN: usize = 16;

/// At least `SECRET_BYTES_MIN` bytes. Not shown where people debug.
#[derive(Clone)]
pub struct Secret(pub String);

impl Secret {
    /// The lines of a file that are long enough to be one.
    pub fn in_lines(text: &str) -> Vec<Secret> {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| line.len() >= SECRET_BYTES_MIN)
            .map(|line| Secret(line.to_owned()))
            .collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    /// The word in `Set-Cookie`.
    pub fn name(self) -> &'static str {
        match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub target: Target,
    /// Share of traffic, 0..=1000; 0: drained, gets nothing new.
    pub weight: u32,
    /// Serves only when no other endpoint of the pool is ready.
    pub backup: bool,
    /// Attempts it gets at once (a name: each of its addresses), 1..=1000000; `None`: no bound.
    pub max_in_flight: Option<u32>,
    /// What it has of the pool's resources, by dimension.
    pub capacity: Amounts,
}

impl Pool {
    /// Whether a request may have to wait for its turn.
    pub fn is_limited(&self) -> bool {
        let mut endpoints = self.endpoints.iter();
        self.max_in_flight.is_some()
            || endpoints.any(|endpoint| endpoint.max_in_flight.is_some())
            || self.balance == Balance::Resource && self.resources.when_full == WhenFull::Queue
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

#[derive(Clone, Debug)]
pub struct Health {
    pub probe: Probe,
    /// Probe this port instead of the endpoint's own.
    pub port: Option<u16>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Interval while some, but not enough, probes in a row contradict the current state.
    pub fast_interval: Duration,
    /// Passes in a row that make an endpoint healthy. 1..=100.
    pub rise: u32,
    /// Failures in a row that make it unhealthy. 1..=100.
    pub fall: u32,
    pub initial: Initial,
}

/// What an endpoint is taken for at process start, before its first probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    Healthy,
    Pending,
}

#[derive(Clone, Debug)]
pub enum Probe {
    Tcp,
    Http(HttpProbe),
}

#[derive(Clone, Debug)]
pub struct HttpProbe {
    pub method: Method,
    pub path: String,
    /// `Host` header; `None`: the endpoint's name or address.
    pub host: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Inclusive ranges of accepted statuses.
    pub statuses: Vec<(u16, u16)>,
    /// Must match within the first 64 KiB of the body.
    pub body: Option<Regex>,
}

/// TLS towards the endpoints of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Name sent and verified; `None`: each endpoint's own host name.
    pub sni: Option<String>,
    pub verify: bool,
    /// PEM bundle that replaces the system's roots.
    pub ca: Option<PathBuf>,
    /// Client certificate chain and key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}
