//! `cache` as written, at the top and in a route.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shapes::{Duration, OneOrMany, Size, Toggle};

/// The memory in which responses are kept, for routes with `cache`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Cache {
    /// Bytes for everything that is kept, headers and bookkeeping included, 1MiB to 64TiB. Default: 256MiB.
    pub(crate) memory: Option<Size>,
    /// Largest body that is kept, 1KiB to `memory`. Default: 8MiB, or `memory` if that is less.
    pub(crate) max_object: Option<Size>,
    /// What leaves when room is needed. Default: `lru`. A change needs a restart.
    pub(crate) eviction: Option<Eviction>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Eviction {
    /// What was not used for longest.
    Lru,
    /// As S3-FIFO: what was asked for once gives way to what is asked for again.
    S3fifo,
}

/// How a route uses the cache.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { default_ttl: 60s }")]
pub(crate) struct RouteCache {
    /// How long a response is fresh that says nothing of it and has no `Last-Modified`, 0s to 365d. Default: it is not
    /// kept.
    pub(crate) default_ttl: Option<Duration>,
    /// How long a stale response is still sent while it is fetched anew, 0s to 365d; a response's own
    /// `stale-while-revalidate` goes before it. Default: 0s.
    pub(crate) stale_while_revalidate: Option<Duration>,
    /// How long a stale response is still sent when no endpoint answers, or with 500, 502, 503 or 504, 0s to 365d; a
    /// response's own `stale-if-error` goes before it. Default: 0s.
    pub(crate) grace: Option<Duration>,
    /// What tells responses apart beside scheme, host, port, path and `Vary`.
    pub(crate) key: Option<Key>,
    /// The directives of requests that count, one or a list; `[]` for none. Default: all.
    pub(crate) honour: Option<OneOrMany<Directive>>,
    /// Response headers that speak in place of `Cache-Control` (RFC 9213), one or a list of at most 8, the first one
    /// first. Default: `CDN-Cache-Control`.
    pub(crate) targeted: Option<OneOrMany<String>>,
    /// Whether responses with `Set-Cookie` are kept, and the cookie served to everybody. Default: false.
    pub(crate) set_cookie: Option<bool>,
    /// What is asked for a range of what is not kept. Default: `whole`.
    pub(crate) range: Option<Range>,
    /// How long a request waits for another's answer to the same, 0s to 5m; 0s: each asks for itself. Default: 5s.
    pub(crate) lock_timeout: Option<Duration>,
    /// Coding of what endpoints send uncoded, once: what is coded is kept beside it. Default: off.
    pub(crate) compress: Option<Toggle<Compress>>,
    /// Who may take responses out with the method `PURGE`. Default: nobody, 405.
    pub(crate) purge: Option<Purge>,
    /// Whether `Cache-Status` tells the key. Default: false.
    pub(crate) status_key: Option<bool>,
    /// Whether `X-Cache` is sent: `HIT`, `MISS` … Default: false.
    pub(crate) x_cache: Option<bool>,
}

/// What tells responses apart beside scheme, host, port, path and `Vary`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { ignore_query: [utm_*] }"
)]
pub(crate) struct Key {
    /// Request headers, one or a list of at most 16. Default: none.
    pub(crate) headers: Option<OneOrMany<String>>,
    /// Cookies, one or a list of at most 16. Default: none.
    pub(crate) cookies: Option<OneOrMany<String>>,
    /// Query arguments that do not count, one or a list of at most 64; `utm_*`: all that begin so. Default: none.
    pub(crate) ignore_query: Option<OneOrMany<String>>,
    /// The only query arguments that count, likewise. Default: all.
    pub(crate) only_query: Option<OneOrMany<String>>,
}

/// Coding of what endpoints send uncoded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { min_size: 2KiB }")]
pub(crate) struct Compress {
    /// `br`, `zstd` and `gzip`, one or a list; of those that a client likes best the first one. Default: these, in this
    /// order.
    pub(crate) algorithms: Option<OneOrMany<Algorithm>>,
    /// Shortest body that is coded, 1B to 1GiB. Default: 1KiB.
    pub(crate) min_size: Option<Size>,
    /// Media types, `text/html` or `text/*`, one or a list of at most 64. Default: text, JSON, XML, scripts, fonts and
    /// images without a compression of their own.
    pub(crate) types: Option<OneOrMany<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Algorithm {
    Br,
    Zstd,
    Gzip,
}

/// Who may take responses out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { allow: 10.0.0.0/8 }"
)]
pub(crate) struct Purge {
    /// Client addresses or networks, one or a list; the others get 403.
    #[schemars(required)]
    pub(crate) allow: Option<OneOrMany<String>>,
}

/// A directive of `Cache-Control` in requests (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Directive {
    NoCache,
    NoStore,
    OnlyIfCached,
    MaxAge,
    MaxStale,
    MinFresh,
}

/// What is asked for a range of what is not kept.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Range {
    /// The whole, which is kept and cut.
    Whole,
    /// The range, which is not kept.
    Pass,
}
