//! The file as it was written: one type per map, one field per key, nothing filled in and nothing checked but form.
//!
//! Invariants: every field may be absent, every list item may be a null that `read` left behind, and the doc
//! comments are the manual (they become the descriptions of the JSON Schema). Built by `read`, consumed by `validate`.

pub(crate) mod cache;
pub(crate) mod outlier;
pub(crate) mod pool;
pub(crate) mod route;
pub(crate) mod shapes;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use self::shapes::{Duration, List, Size, Toggle, Word};

/// The configuration file of weir.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Root {
    /// The process and what it grants its clients.
    pub(crate) server: Option<Server>,
    /// Addresses that accept connections: at least one, at most 31. A change needs a restart.
    #[schemars(required, length(min = 1, max = 31))]
    pub(crate) listeners: Option<List<Listener>>,
    /// Metrics, readiness and status; or `off`. Default: `{ bind: 127.0.0.1:9494 }`. A change needs a restart.
    pub(crate) admin: Option<Toggle<Admin>>,
    /// What is done with a request, by host, path, method and headers: at least one. The most specific wins: an exact
    /// host before a wildcard before none, an exact path before the longest prefix before a regex, then file order.
    #[schemars(required, length(min = 1))]
    pub(crate) routes: Option<List<route::Route>>,
    /// Named groups of endpoints. A name has letters, digits, `_`, `.` and `-`, at most 64 of them.
    pub(crate) pools: Option<BTreeMap<String, pool::Pool>>,
    /// The memory in which responses are kept, for routes with `cache`.
    pub(crate) cache: Option<cache::Cache>,
    /// Access log and diagnostics.
    pub(crate) log: Option<Log>,
}

/// The process and what it grants its clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Server {
    /// Worker threads, 1 to 1024. Default: one per core. A change needs a restart.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: Option<i64>,
    /// File that holds the process id. Default: none. A change needs a restart.
    pub(crate) pid_file: Option<String>,
    /// Unix socket over which a new process takes the listeners, at most 107 bytes. Default: none, no upgrade.
    /// A change needs a restart.
    pub(crate) upgrade_socket: Option<String>,
    /// How long requests in flight may take at stop or upgrade, 0s to 1h. Default: 30s.
    pub(crate) drain_timeout: Option<Duration>,
    /// Networks or addresses whose forwarding headers are believed. Default: nobody's.
    pub(crate) trusted_proxies: Option<List<String>>,
    /// How endpoints are told the client's address and scheme. Default: `x-forwarded`.
    pub(crate) forwarded: Option<Forwarded>,
    /// Name servers for endpoints given by name, `ip` or `ip:port` (port 53). Default: the system's.
    pub(crate) resolvers: Option<List<String>>,
    /// What one connection or request head may cost.
    pub(crate) limits: Option<Limits>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum Forwarded {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `X-Real-IP`.
    #[serde(rename = "x-forwarded")]
    Customary,
    /// `Forwarded` (RFC 7239) only.
    #[serde(rename = "forwarded")]
    Rfc7239,
    /// All of them.
    #[serde(rename = "both")]
    Both,
}

/// What one connection or request head may cost; whoever goes beyond is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Limits {
    /// Connections over all listeners, 1 to 1000000. Default: 50000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connections: Option<i64>,
    /// Connections from one client address (IPv6: one /64), 1 to 1000000. Default: 1024.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connections_per_address: Option<i64>,
    /// Time for a whole request head, 100ms to 5m. Default: 10s.
    pub(crate) header_timeout: Option<Duration>,
    /// Bytes of a whole request head, 1KiB to 512KiB. Default: 32KiB.
    pub(crate) header_bytes: Option<Size>,
    /// Request header fields, 1 to 256. Default: 100.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) header_count: Option<i64>,
    /// Bytes of a request target, 64B to `header_bytes`. Default: 8KiB, or `header_bytes` if that is less.
    pub(crate) uri_bytes: Option<Size>,
    /// Idle time between requests on one connection, 1s to 1h. Default: 75s.
    pub(crate) keepalive_timeout: Option<Duration>,
    /// Requests on one connection, 1 to 1000000000. Default: 1000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) keepalive_requests: Option<i64>,
    /// Time between two reads of a request body, 100ms to 1h. Default: 30s.
    pub(crate) body_timeout: Option<Duration>,
    /// Time one write to a client may take, 100ms to 1h. Default: 30s.
    pub(crate) send_timeout: Option<Duration>,
}

/// An address that accepts connections.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { bind: \"0.0.0.0:8080\" }"
)]
pub(crate) struct Listener {
    /// `ip:port` or `[ipv6]:port`; `0.0.0.0` and `[::]` mean every address of the machine.
    #[schemars(required)]
    pub(crate) bind: Option<String>,
}

/// The admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Admin {
    /// `ip:port` or `[ipv6]:port`. Default: `127.0.0.1:9494`.
    pub(crate) bind: Option<String>,
}

/// Access log and diagnostics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Log {
    /// One line per request; or `off`. A change needs a restart.
    pub(crate) access: Option<Toggle<Access>>,
    /// What the process says about itself on standard error. Default: `info`.
    pub(crate) level: Option<Level>,
}

/// One line per request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Access {
    /// `stdout`, `stderr`, `off` or a file by its absolute path. Default: `stdout`.
    pub(crate) path: Option<Word>,
    /// Default: `json`.
    pub(crate) format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON object per line.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
