//! What a pool does with requests that are over its limits.

use std::ops::RangeInclusive;

use super::super::model::{Endpoint, Queue};
use super::super::path::At;
use super::super::raw::pool as raw;
use super::super::report::Report;
use super::keys::{Keys, millis, minutes};
use super::resources;

/// Of `max_in_flight`, here and at an endpoint.
pub(super) const IN_FLIGHT: RangeInclusive<i64> = 1..=1_000_000;

pub(super) fn queue(
    pool: &raw::Pool,
    endpoints: &[Endpoint],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Queue {
    let at = at.key("queue");
    if pool.queue.is_some() && !is_limited(pool, endpoints) {
        report.warn(
            &at,
            "has no effect without max_in_flight or balance: resource",
        );
    }
    let default = Queue::default();
    let Some(raw) = &pool.queue else {
        return default;
    };
    let mut keys = Keys::of(&at, report);
    Queue {
        length: keys
            .number("length", raw.length, 0..=100_000)
            .unwrap_or(default.length),
        timeout: keys
            .duration("timeout", raw.timeout.as_ref(), millis(1)..=minutes(5))
            .unwrap_or(default.timeout),
    }
}

/// A limit that is wrong counts: it has been reported.
fn is_limited(pool: &raw::Pool, endpoints: &[Endpoint]) -> bool {
    let when_full = pool.resources.as_ref().and_then(|given| given.when_full);
    let waits_for_room =
        resources::is_by_resource(pool) && matches!(when_full, None | Some(raw::WhenFull::Queue));
    let mut endpoints = endpoints.iter();
    waits_for_room
        || pool.max_in_flight.is_some()
        || endpoints.any(|endpoint| endpoint.max_in_flight.is_some())
}
