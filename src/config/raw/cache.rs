//! `cache` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shapes::Size;

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
