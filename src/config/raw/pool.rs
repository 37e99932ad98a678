//! `pools` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::outlier::Outlier;
use super::shapes::{Duration, Factor, List, OneOrMany, StatusRange, TextOr, Toggle, WordOr};

/// A named group of endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Pool {
    /// How an endpoint is picked. Default: `least_conn`.
    pub(crate) balance: Option<WordOr<Balance, BalanceMap>>,
    /// At least one: an address as text, or a map.
    #[schemars(required, length(min = 1))]
    pub(crate) endpoints: Option<List<TextOr<Endpoint>>>,
    /// Attempts on all endpoints together, 1 to 1000000; further requests wait in the queue. Default: no bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_in_flight: Option<i64>,
    /// Bounds each endpoint's attempts by how fast it responds (Gradient2): `on`, or a map. Default: off.
    pub(crate) adaptive_limit: Option<Toggle<AdaptiveLimit>>,
    /// Where requests wait while the pool, or each of its endpoints, is at its limit.
    pub(crate) queue: Option<Queue>,
    /// How many retries the pool affords, counted over ten seconds.
    pub(crate) retry_budget: Option<RetryBudget>,
    /// With `balance: resource`: where demands are told, and what happens when they fit nowhere.
    pub(crate) resources: Option<Resources>,
    /// A cookie brings clients back to the endpoint that answered them. Default: none.
    pub(crate) sticky: Option<Sticky>,
    /// Active probes: exactly one of `http` and `tcp`. Default: none, every endpoint counts as healthy.
    pub(crate) health: Option<Health>,
    /// When an endpoint that fails requests is left out for a while: `off`, or a map. Default: on, as its keys say.
    pub(crate) outlier: Option<Toggle<Outlier>>,
    /// Percent of the endpoints: with fewer ready, all get requests, whatever probes and failures say, 0 to 100;
    /// 0: never. Default: 50.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) panic_threshold: Option<i64>,
    /// What clients get when no endpoint is ready or can be reached. Default: weir's own 502, 503 or 504.
    pub(crate) fallback: Option<Fallback>,
    /// Time over which an endpoint that is new or back comes to its full share, 0s to 1h; 0s: at once. Default: 30s.
    pub(crate) slow_start: Option<Duration>,
    /// Time to connect, and again for a TLS handshake, 1ms to 5m. Default: 2s.
    pub(crate) connect_timeout: Option<Duration>,
    /// Wait for the first byte of a response and between two reads of it, 1ms to 24h. Default: 60s.
    pub(crate) read_timeout: Option<Duration>,
    /// Time one write to an endpoint may take, 1ms to 24h. Default: 60s.
    pub(crate) write_timeout: Option<Duration>,
    /// How long an unused connection is kept, 0s to 1h; 0s: not kept. Default: 60s.
    pub(crate) idle_timeout: Option<Duration>,
    /// Idle time of an upgraded (WebSocket) connection, 1ms to 24h. Default: 1h.
    pub(crate) tunnel_timeout: Option<Duration>,
    /// TLS towards the endpoints: `true`, or a map. Default: plain text.
    pub(crate) tls: Option<Toggle<Tls>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The fewest requests in flight for its weight.
    LeastConn,
    /// At random, by weight.
    Random,
    /// The fewer requests in flight of two endpoints at random; of all in a pool of up to 16.
    P2c,
    /// The least time to the first byte times requests in flight, of two endpoints at random; of all in a pool of up
    /// to 16.
    Ewma,
    /// The fastest endpoint among those that are not too busy; for eight endpoints or more.
    Prequal,
    /// Where what the request takes fits best.
    Resource,
    /// The same endpoint for the same client address.
    Hash,
}

/// An algorithm with its settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { hash: { key: path } }"
)]
pub(crate) struct BalanceMap {
    /// The same endpoint for the same key, as long as that one is ready and not too busy.
    pub(crate) hash: Option<Hash>,
    /// The fastest endpoint among those that are not too busy.
    pub(crate) prequal: Option<Prequal>,
}

/// Prequal: by what weir sees, and by what endpoints say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { probe: { path: /load } }"
)]
pub(crate) struct Prequal {
    /// Where endpoints say how busy they are. Default: they are not asked.
    pub(crate) probe: Option<LoadProbe>,
}

/// Where endpoints say how busy they are: by `X-Weir-Load`, ORCA's header, or a body such as
/// `{"in_flight": 12, "latency_ms": 35}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { path: /load }")]
pub(crate) struct LoadProbe {
    /// Path and query, begins with `/`.
    #[schemars(required)]
    pub(crate) path: Option<String>,
    /// Ask this port instead of the endpoint's own, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<i64>,
    /// Probes for each request of the pool, 0.01 to 10; an endpoint gets at most 200 in a second. Default: 3.
    #[schemars(range(min = 0.01, max = 10.0))]
    pub(crate) per_request: Option<f64>,
    /// Time for an answer, 1ms to 1s. Default: 100ms.
    pub(crate) timeout: Option<Duration>,
}

/// Consistent hashing: few keys move when an endpoint comes or goes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { key: path }")]
pub(crate) struct Hash {
    /// `address` (the client's), `path`, `uri` (with the query), or a map with one of `header`, `cookie` and
    /// `argument`. A request without it goes anywhere by weight. Default: `address`.
    pub(crate) key: Option<WordOr<HashKey, HashField>>,
    /// `ring` moves fewest keys, `maglev` shares out most evenly. Default: `ring`.
    pub(crate) table: Option<HashTable>,
    /// The most an endpoint may hold, as a multiple of its fair share of what is in flight: 1.05 to 10, or `off`.
    /// Default: 1.25.
    pub(crate) bounded_load: Option<Factor>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HashKey {
    /// The client's address.
    Address,
    /// The path without query.
    Path,
    /// Path and query.
    Uri,
}

/// A named part of a request: exactly one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { header: X-User }")]
pub(crate) struct HashField {
    /// The first header of that name.
    pub(crate) header: Option<String>,
    /// The cookie of that name.
    pub(crate) cookie: Option<String>,
    /// The query argument of that name, as it is sent.
    pub(crate) argument: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HashTable {
    /// 256 points on a circle for each unit of weight.
    Ring,
    /// A table of 65,537 entries.
    Maglev,
}

/// Retries beyond it are not made. One that follows a failure to connect (before TLS) costs nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { percent: 20 }")]
pub(crate) struct RetryBudget {
    /// Of the pool's requests, 0 to 1000. Default: 20.
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) percent: Option<i64>,
    /// Besides, for each second, 0 to 1000000. Default: 10.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) per_second: Option<i64>,
}

/// With `balance: resource`: where demands are told, and what happens when they fit nowhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { when_full: reject }"
)]
pub(crate) struct Resources {
    /// Request header in which clients of `trusted_proxies` say what the request takes, such as `compute=8, storage=2`.
    /// Default: none.
    pub(crate) request_header: Option<String>,
    /// Response header in which endpoints say, likewise, what it took; later requests of the route take the average.
    /// Default: none.
    pub(crate) response_header: Option<String>,
    /// What becomes of a request that fits nowhere now. Default: `queue`.
    pub(crate) when_full: Option<WhenFull>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhenFull {
    /// It waits in the pool's `queue`, and those who came later wait behind it.
    Queue,
    /// It goes where the largest share taken is the lowest.
    LeastShare,
    /// It is refused with 503.
    Reject,
}

/// A cookie brings clients back to the endpoint that answered them: exactly one of `secrets` and `secret_file`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { secret_file: /etc/weir/sticky.secret }"
)]
pub(crate) struct Sticky {
    /// Name of the cookie, 1 to 64 letters, digits, `_` or `-`. Default: `weir_sticky`.
    pub(crate) cookie: Option<String>,
    /// At least 16 bytes, one or a list of up to 8: the first signs, all verify.
    pub(crate) secrets: Option<OneOrMany<String>>,
    /// A file with such secrets, one in each line.
    pub(crate) secret_file: Option<String>,
    /// How long the cookie is kept from when it was set, 1s to 365d. Default: until the browser is closed.
    pub(crate) ttl: Option<Duration>,
    /// Refuse a client whose endpoint cannot serve it, with 503. Default: false, it gets another endpoint.
    pub(crate) strict: Option<bool>,
    /// Whether the cookie goes over HTTPS only. Default: true.
    pub(crate) secure: Option<bool>,
    /// Whether the cookie goes with requests from other sites. Default: `lax`.
    pub(crate) same_site: Option<SameSite>,
    /// Path the cookie is for, begins with `/`. Default: `/`.
    pub(crate) path: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SameSite {
    /// Never.
    Strict,
    /// Only with links that are followed.
    Lax,
    /// Always; needs `secure`.
    None,
}

/// One upstream address.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { address: \"10.0.0.1:9001\" }"
)]
pub(crate) struct Endpoint {
    /// `ip:port`, `[ipv6]:port` or `name:port`.
    #[schemars(required)]
    pub(crate) address: Option<String>,
    /// Share of traffic, 0 to 1000; 0: gets nothing new. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) weight: Option<i64>,
    /// Serves only when no other endpoint of the pool is ready. Default: false.
    pub(crate) backup: Option<bool>,
    /// Attempts it gets at once, 1 to 1000000; a name: each of its addresses. Default: no bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_in_flight: Option<i64>,
    /// With `balance: resource`: units it has of each dimension, by name, 0.000001 to 1000000; the same dimensions for
    /// all endpoints of a pool, at most 8. Default: none.
    pub(crate) capacity: Option<BTreeMap<String, f64>>,
}

/// Bounds each endpoint's attempts by how fast it responds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { min: 20, max: 200 }"
)]
pub(crate) struct AdaptiveLimit {
    /// The limit is never lower, 1 to 1000000. Default: 20, or `max` if that is less.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min: Option<i64>,
    /// Nor higher, `min` to 1000000. Default: 200, or `min` if that is more.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max: Option<i64>,
}

/// Where requests wait while the pool, or each of its endpoints, is at its limit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { length: 1024, timeout: 1s }"
)]
pub(crate) struct Queue {
    /// Requests that may wait, 0 to 100000; 0: none. Default: 1024.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) length: Option<i64>,
    /// How long a request may wait, 1ms to 5m. Default: 1s.
    pub(crate) timeout: Option<Duration>,
    /// Drops requests from a queue in which all wait too long: `on`, or a map. Default: off.
    pub(crate) codel: Option<Toggle<Codel>>,
    /// Whose requests they are: tenants get equal parts of the places, with `balance: resource` equal dominant shares
    /// of the pool's resources. Default: all are one tenant's.
    pub(crate) tenant: Option<Tenant>,
}

/// Drops requests from a queue in which all wait too long (RFC 8289).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { target: 5ms, interval: 100ms }"
)]
pub(crate) struct Codel {
    /// A wait that is no sign of a standing queue, 1ms to 1m. Default: 5ms.
    pub(crate) target: Option<Duration>,
    /// For so long all must have waited longer before one is dropped, 1ms to 5m. Default: 100ms.
    pub(crate) interval: Option<Duration>,
}

/// Whose requests they are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { header: X-Tenant }")]
pub(crate) struct Tenant {
    /// The request header that names the tenant; requests without it are one tenant's.
    #[schemars(required)]
    pub(crate) header: Option<String>,
}

/// A fixed response for when no endpoint can serve.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { status: 503, body: \"back soon\" }"
)]
pub(crate) struct Fallback {
    /// 200 to 599. Default: 503.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<i64>,
    /// At most 1MiB; none with status 204, 205 and 304. Default: empty.
    pub(crate) body: Option<String>,
    /// Default: `text/plain; charset=utf-8`.
    pub(crate) content_type: Option<String>,
}

/// Active probes: exactly one of `http` and `tcp`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { http: /healthz } or { tcp: true }"
)]
pub(crate) struct Health {
    /// A path to request, or a map.
    pub(crate) http: Option<TextOr<HttpProbe>>,
    /// Only `true`: a connection is enough.
    pub(crate) tcp: Option<bool>,
    /// Probe this port instead of the endpoint's own, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<i64>,
    /// Time between two probes, 100ms to 1h. Default: 2s.
    pub(crate) interval: Option<Duration>,
    /// Time for one probe, 10ms to 5m. Default: 1s.
    pub(crate) timeout: Option<Duration>,
    /// Interval while probes contradict the current state, 100ms to `interval`. Default: 500ms, or `interval` if that
    /// is less.
    pub(crate) fast_interval: Option<Duration>,
    /// Passes in a row that make an endpoint healthy, 1 to 100. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) rise: Option<i64>,
    /// Failures in a row that make an endpoint unhealthy, 1 to 100. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) fall: Option<i64>,
    /// What an endpoint is taken for before its first probe. Default: `healthy`.
    pub(crate) initial: Option<Initial>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Initial {
    /// It gets traffic at once.
    Healthy,
    /// It gets traffic after its first pass.
    Pending,
}

/// A request that must succeed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { path: /healthz }")]
pub(crate) struct HttpProbe {
    /// Path and query, begins with `/`.
    #[schemars(required)]
    pub(crate) path: Option<String>,
    /// Method in upper case. Default: `GET`.
    pub(crate) method: Option<String>,
    /// `Host` header. Default: the endpoint's name or address.
    pub(crate) host: Option<String>,
    /// Further headers of the request.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// Accepted statuses, one or a list: `204` or `"200-299"`, 100 to 599. Default: 200 to 299.
    pub(crate) status: Option<OneOrMany<StatusRange>>,
    /// A regex that must match within the first 64KiB of the body. Default: the body is not read.
    pub(crate) body: Option<String>,
}

/// TLS towards the endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Tls {
    /// Name that is sent and verified. Default: each endpoint's own host name.
    pub(crate) sni: Option<String>,
    /// Whether the certificate must be valid for the name. Default: true.
    pub(crate) verify: Option<bool>,
    /// PEM bundle that replaces the system's roots.
    pub(crate) ca: Option<String>,
    /// Client certificate chain, PEM; with `key`.
    pub(crate) cert: Option<String>,
    /// Client key, PEM; with `cert`.
    pub(crate) key: Option<String>,
}
