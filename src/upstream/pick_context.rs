//! What selectors may know of the request they pick an endpoint for (Envoy's load balancer context).

use std::time::Instant;

use super::sticky::Brought;
use crate::config::amounts::Amounts;

/// Made by the proxy for a request's first attempt; the default suits every selector that looks at
/// endpoints only.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// What a hashing selector hashes.
    pub hash_key: &'a [u8],
    /// When the request asks.
    pub now: Instant,
    /// What the request takes of its endpoint's room.
    pub wanted: Wanted,
    /// Cookies of a sticky pool.
    pub brought: Brought,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub demand: Amounts,
    /// Where it fits nowhere it may go to the endpoint with the lowest dominant share.
    pub may_exceed: bool,
    /// Where it fits nowhere now it may wait for room.
    pub may_wait: bool,
}

impl Default for PickContext<'_> {
    fn default() -> Self {
        PickContext {
            hash_key: b"",
            now: Instant::now(),
            wanted: Wanted::default(),
            brought: Brought::default(),
        }
    }
}
