//! What the cache may hold, and what a route asks of it.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

/// The memory in which responses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of everything that is kept. At least 1 MiB.
    pub memory: usize,
    /// Bytes of the largest body that is kept. 1 KiB to `memory`.
    pub max_object: usize,
}

/// What leaves the cache when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// What was not used for longest.
    Lru,
    /// As S3-FIFO says (SOSP 2023).
    S3Fifo,
}

/// How a route uses the cache.
#[derive(Clone, Debug)]
pub struct RouteCache {
    /// Lifetime of a response that says nothing of it; `None`: it is not kept.
    pub default_ttl: Option<Duration>,
    /// How long after its end a response is sent while it is fetched anew, if it does not say itself.
    pub stale_while_revalidate: Duration,
    /// How long after its end a response is sent when the endpoint fails, if it does not say itself.
    pub grace: Duration,
    pub query: QueryArguments,
    /// Request headers that tell responses apart, whatever `Vary` says.
    pub headers: Vec<HeaderName>,
    /// Cookies that do, by name.
    pub cookies: Vec<String>,
    pub honour: Honour,
    /// Response fields that speak in place of `Cache-Control`, first one first.
    pub targeted: Vec<HeaderName>,
    /// Keep responses with `Set-Cookie`.
    pub set_cookie: bool,
    /// Ask for a range that is not stored as the client did.
    pub passes_ranges: bool,
    /// How long to wait for another request's answer. Zero: not at all.
    pub lock_timeout: Duration,
    /// `None`: responses are kept and sent as they come.
    pub compress: Option<Compress>,
    /// Who may use the method `PURGE`; empty: nobody.
    pub purge: Vec<IpNet>,
    /// Tell the key in `Cache-Status`.
    pub status_key: bool,
    /// Send `X-Cache`.
    pub x_cache: bool,
}

/// What is coded, and how.
#[derive(Clone, Debug)]
pub struct Compress {
    /// Not empty; of those that a client likes best the first.
    pub algorithms: Vec<Algorithm>,
    /// Bytes a body has at least. At least 1.
    pub min_size: usize,
    /// `text/html` or `text/*`, lower case; empty: what is known to gain by it.
    pub types: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Brotli,
    Gzip,
    Zstd,
}

/// Which query arguments tell responses apart; `utm_*` is every name that begins so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryArguments {
    #[default]
    All,
    Except(Vec<String>),
    Only(Vec<String>),
}

/// The directives of requests that count (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honour {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: bool,
    pub max_stale: bool,
    pub min_fresh: bool,
}

impl Default for RouteCache {
    fn default() -> RouteCache {
        RouteCache {
            default_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            grace: Duration::ZERO,
            query: QueryArguments::All,
            headers: Vec::new(),
            cookies: Vec::new(),
            honour: Honour::ALL,
            targeted: vec![HeaderName::from_static("cdn-cache-control")],
            set_cookie: false,
            passes_ranges: false,
            lock_timeout: Duration::from_secs(5),
            compress: None,
            purge: Vec::new(),
            status_key: false,
            x_cache: false,
        }
    }
}

impl Honour {
    pub const ALL: Honour = Honour {
        no_cache: true,
        no_store: true,
        only_if_cached: true,
        max_age: true,
        max_stale: true,
        min_fresh: true,
    };
    pub const NONE: Honour = Honour {
        no_cache: false,
        no_store: false,
        only_if_cached: false,
        max_age: false,
        max_stale: false,
        min_fresh: false,
    };
}
