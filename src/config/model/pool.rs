//! What a pool is: its endpoints, how they are chosen, probed, limited and reached.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use regex::Regex;

use super::Respond;
use crate::config::amounts::Amounts;

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
    /// Bounds each endpoint's attempts by how fast it responds; `None`: off.
    pub adaptive_limit: Option<AdaptiveLimit>,
    /// Where requests wait while the pool is at its limit.
    pub queue: Queue,
    pub retry_budget: RetryBudget,
    pub health: Option<Health>,
    /// `None`: no endpoint is ever ejected.
    pub outlier: Option<Outlier>,
    /// Percent of the endpoints that must be ready for readiness to matter. 0..=100; 0: it always does.
    pub panic_threshold: u32,
    /// What clients get when no endpoint is ready or can be reached.
    pub fallback: Option<Respond>,
    /// Over which an endpoint that is new or back comes to its full share; zero: at once.
    pub slow_start: Duration,
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

/// How many retries the pool affords, over ten seconds.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    /// Of its requests. 0..=1000.
    pub percent: u32,
    /// Besides. 0..=1000000.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget {
            percent: 20,
            per_second: 10,
        }
    }
}

/// Where requests wait while their pool, or each of its endpoints, is at `max_in_flight`.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Requests that may wait. 0..=100000; 0: none, all are refused at the limit.
    pub length: usize,
    /// How long one may wait.
    pub timeout: Duration,
    /// `None`: nobody is dropped before that.
    pub codel: Option<Codel>,
    /// The request header that names the tenant: tenants get equal parts of the places, or of the
    /// pool's resources. `None`: all requests are one tenant's.
    pub tenant: Option<HeaderName>,
}

/// What an endpoint's adaptive limit may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveLimit {
    /// 1..=`max`.
    pub min: u32,
    /// At most 1000000.
    pub max: u32,
}

impl Default for AdaptiveLimit {
    fn default() -> Self {
        AdaptiveLimit { min: 20, max: 200 }
    }
}

/// Drops from a queue in which everybody waits at least `target` for a whole `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codel {
    pub target: Duration,
    pub interval: Duration,
}

/// Which requests go first in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    High,
    #[default]
    Normal,
}

impl Default for Codel {
    /// RFC 8289 §4.3.
    fn default() -> Self {
        Codel {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            length: 1024,
            timeout: Duration::from_secs(1),
            codel: None,
            tenant: None,
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
    /// `None`: endpoints are not asked for their load.
    Prequal(Option<LoadProbe>),
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
            Balance::Prequal(_) => "prequal",
            Balance::Resource => "resource",
            Balance::Hash(_) => "hash",
        }
    }
}

/// How endpoints are asked for their load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProbe {
    /// Path and query, begins with `/`.
    pub path: String,
    /// `None`: the endpoint's own.
    pub port: Option<u16>,
    /// Probes that each request pays for, in hundredths. 1..=1000.
    pub per_request: u32,
    /// What an answer may take.
    pub timeout: Duration,
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
        let has_adaptive = self.adaptive_limit.is_some();
        self.max_in_flight.is_some()
            || has_adaptive
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

/// When an endpoint is ejected, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Failures in a row that eject; at least 1. `None`: they do not.
    pub consecutive_failures: Option<u32>,
    /// Whether a success rate far below the pool's ejects.
    pub success_rate: bool,
    /// An endpoint that takes so many times the pool's median is ejected. 2..=100; `None`: it is not.
    pub slow_factor: Option<u32>,
    /// Over which success rate and latency are measured.
    pub interval: Duration,
    /// Endpoints that must have had `min_requests` for them to be compared. 3..=1000.
    pub min_endpoints: usize,
    pub min_requests: u32,
    /// The nth ejection lasts n times as long.
    pub base_time: Duration,
    /// At least `base_time`.
    pub max_time: Duration,
    /// Percent of the pool, counted after the ejection. 0..=100.
    pub max_percent: u32,
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
