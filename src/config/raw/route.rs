//! `routes` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::cache::RouteCache;
use super::shapes::{Duration, List, OneOrMany, Size, StatusRange, Toggle};

/// What a request must look like, and what is done with it: exactly one of `pool`, `redirect` and `respond`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map")]
pub(crate) struct Route {
    /// Its name in log and metrics: printable without spaces and quotes, at most 128 characters, unique.
    /// Default: made from host and path.
    pub(crate) name: Option<String>,
    /// A host name, a wildcard such as `*.example.com` (any name with at least one more label), an address, or a list
    /// of them; without port. Default: every host.
    pub(crate) host: Option<OneOrMany<String>>,
    /// `/api/*`: everything from `/api` down; `/api`: exactly that; `~ ^/v[0-9]+/`: a regex; `/*`: everything.
    /// Default: every path.
    pub(crate) path: Option<String>,
    /// Methods in upper case, one or a list. Default: every method.
    pub(crate) methods: Option<OneOrMany<String>>,
    /// Request headers by name: a value, `*` for any value, or `~ ^a` for a regex. All must match.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// Client addresses or networks that are served, one or a list; the others are refused. Default: everybody.
    pub(crate) allow: Option<OneOrMany<String>>,
    /// Client addresses or networks that are refused, one or a list. The most specific network of both lists decides; of
    /// equal ones, that of `deny`. Default: nobody.
    pub(crate) deny: Option<OneOrMany<String>>,
    /// The pool that serves the request.
    pub(crate) pool: Option<String>,
    /// Answer with a redirect.
    pub(crate) redirect: Option<Redirect>,
    /// Answer with a fixed response.
    pub(crate) respond: Option<Respond>,
    /// Time for the whole request, 1ms to 24h. Default: no bound.
    pub(crate) timeout: Option<Duration>,
    /// When an attempt fails.
    pub(crate) retry: Option<Retry>,
    /// A second request to another endpoint when the first one takes long; who answers first serves it. For GET and HEAD
    /// without a body. `on`, or a map. Default: off.
    pub(crate) hedge: Option<Toggle<Hedge>>,
    /// Whether the time to the first byte tells `balance: ewma` and `prequal` how fast an endpoint is; false for long polls.
    /// Default: true.
    pub(crate) measure: Option<bool>,
    /// Where its requests stand in the queue of a pool at its limit. Default: `normal`.
    pub(crate) priority: Option<Priority>,
    /// What a request takes of an endpoint of a pool with `balance: resource`: units by dimension, 0.000001 to 1000000;
    /// a dimension that is left out is not taken. Default: 1 of each.
    pub(crate) demand: Option<BTreeMap<String, f64>>,
    /// Whether responses are kept and served again: `on`, or a map. Default: off.
    pub(crate) cache: Option<Toggle<RouteCache>>,
    /// Largest request body, 0 to 1TiB. Default: no bound.
    pub(crate) body_limit: Option<Size>,
    /// Changes to the request before it goes to an endpoint.
    pub(crate) request_headers: Option<HeaderEdits>,
    /// Changes to the response before it goes to the client.
    pub(crate) response_headers: Option<HeaderEdits>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    /// Before all `normal` ones.
    High,
    Normal,
}

/// Answer with a redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { to: \"/new/{rest}\", status: 308 }"
)]
pub(crate) struct Redirect {
    /// The `Location`: begins with `/`, `http://`, `https://` or `{scheme}`. `{scheme}`, `{host}`, `{path}`, `{rest}`
    /// (the path after the route's prefix) and `{query}` (with its `?`) are filled in.
    #[schemars(required)]
    pub(crate) to: Option<String>,
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub(crate) status: Option<i64>,
}

/// Answer with a fixed response.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { status: 200, body: \"ok\" }"
)]
pub(crate) struct Respond {
    /// 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<i64>,
    /// At most 1MiB; none with status 204, 205 and 304. Default: empty.
    pub(crate) body: Option<String>,
    /// Default: `text/plain; charset=utf-8`.
    pub(crate) content_type: Option<String>,
}

/// When an attempt fails.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map, such as { attempts: 2 }")]
pub(crate) struct Retry {
    /// Attempts after the first one, 0 to 10. Default: 2.
    #[schemars(range(min = 0, max = 10))]
    pub(crate) attempts: Option<i64>,
    /// Statuses that are tried again as well, one or a list: `503` or `"500-504"`, 400 to 599. Default: none.
    pub(crate) on: Option<OneOrMany<StatusRange>>,
    /// Time for one attempt, from its pick to the response's head, 1ms to 24h; then the next one may begin. Default: no
    /// bound but the pool's.
    pub(crate) per_try_timeout: Option<Duration>,
    /// Pause before the first retry, 0s to 10s: a random part of it, doubling for each to ten times as much. Default:
    /// 25ms.
    pub(crate) backoff: Option<Duration>,
    /// Whether a request that is not idempotent may be sent again when it may have reached an endpoint. Default: false.
    pub(crate) non_idempotent: Option<bool>,
}

/// A second request to another endpoint when the first one takes long.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { after: p95, percent: 2 }"
)]
pub(crate) struct Hedge {
    /// How long the first one may take: `p95` is what 95 % of the pool's requests took at most in the last 10 to 20
    /// seconds, p50 to p99; or a time, 1ms to 1h. Default: p95.
    #[schemars(extend("pattern" = "^(p[0-9]{2}|[0-9]+(ms|s|m|h|d))$"))]
    pub(crate) after: Option<String>,
    /// Second requests over ten seconds, 1 to 100 percent of the pool's requests; two fifths of them are kept for requests
    /// that wait a fifth longer, and a twentieth for those that wait twice as long. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) percent: Option<i64>,
}

/// Changes to headers, applied in this order: remove, set, add. Headers that frame a message or belong to one
/// connection cannot be changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with set, add or remove")]
pub(crate) struct HeaderEdits {
    /// Replaces the header.
    pub(crate) set: Option<BTreeMap<String, String>>,
    /// Adds one more.
    pub(crate) add: Option<BTreeMap<String, String>>,
    /// Takes the header out.
    pub(crate) remove: Option<List<String>>,
}
