//! How warm an endpoint is: the share of its picks that it gets while it begins to serve.
//!
//! Values only: `health::slow_start` makes the transitions, the endpoint keeps them (so they survive
//! a reload), selectors read the percentage that follows.

use std::time::Instant;

/// Percent of an endpoint that is warm.
pub const WARM: u8 = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Warmth {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// It does not serve, and will have to warm up when it does.
    Cold,
    /// It serves since then.
    Warming(Instant),
    Warm,
}
