//! `pools.x.outlier` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shapes::Duration;

/// When an endpoint that fails requests is ejected, and for how long.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map, such as { consecutive_failures: 5 }"
)]
pub(crate) struct Outlier {
    /// Failures in a row that eject: not connected, reset, timed out, malformed, 502, 503 or 504; 0 to 1000; 0: off.
    /// Default: 5.
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) consecutive_failures: Option<i64>,
    /// Whether a success rate far below the pool's ejects. Default: true.
    pub(crate) success_rate: Option<bool>,
    /// Ejects an endpoint this many times as slow as the pool's median, 2 to 100; 0: off. Default: 0.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) slow_factor: Option<i64>,
    /// Time over which success rate and latency are measured, 100ms to 1h. Default: 10s.
    pub(crate) interval: Option<Duration>,
    /// Endpoints that must have answered enough requests for them to be compared, 3 to 1000. Default: 5.
    #[schemars(range(min = 3, max = 1000))]
    pub(crate) min_endpoints: Option<i64>,
    /// Requests in an interval that are enough, 1 to 1000000. Default: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min_requests: Option<i64>,
    /// How long the first ejection lasts; the nth lasts n times as long, 10ms to 1h. Default: 30s.
    pub(crate) base_time: Option<Duration>,
    /// The longest ejection, `base_time` to 24h. Default: 5m, or `base_time` if that is more.
    pub(crate) max_time: Option<Duration>,
    /// Percent of the pool that may be ejected at once, 0 to 100; of three, one is 33. Default: 33.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) max_percent: Option<i64>,
}
