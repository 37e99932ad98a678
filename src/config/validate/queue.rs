//! What a pool does with requests that are over its limits.

use std::ops::RangeInclusive;

use http::HeaderName;

use super::super::model::{AdaptiveLimit, Codel, Endpoint, Queue};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::Toggle;
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
            "has no effect without max_in_flight, adaptive_limit or balance: resource",
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
        codel: raw
            .codel
            .as_ref()
            .and_then(|raw| codel(raw, &at.key("codel"), report)),
        tenant: raw
            .tenant
            .as_ref()
            .and_then(|raw| tenant(raw, &at.key("tenant"), report)),
    }
}

fn codel(raw: &Toggle<raw::Codel>, at: &At<'_>, report: &mut Report<'_>) -> Option<Codel> {
    let default = Codel::default();
    let raw = match raw {
        Toggle::Flag(false) => return None,
        Toggle::Flag(true) => return Some(default),
        Toggle::Map(raw) => raw,
    };
    let mut keys = Keys::of(at, report);
    let target = keys.duration("target", raw.target.as_ref(), millis(1)..=minutes(1));
    let interval = keys.duration("interval", raw.interval.as_ref(), millis(1)..=minutes(5));
    Some(Codel {
        target: target.unwrap_or(default.target),
        interval: interval.unwrap_or(default.interval),
    })
}

fn tenant(raw: &raw::Tenant, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let at = at.key("header");
    let Some(header) = &raw.header else {
        report.missing(&at, "missing, expected a header such as X-Tenant");
        return None;
    };
    let name = HeaderName::from_bytes(header.as_bytes()).ok();
    if name.is_none() {
        report.problem(&at, format!("{} is not a header name", quoted(header)));
    }
    name
}

pub(super) fn adaptive_limit(
    pool: &raw::Pool,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<AdaptiveLimit> {
    let default = AdaptiveLimit::default();
    let raw = match pool.adaptive_limit.as_ref()? {
        Toggle::Flag(false) => return None,
        Toggle::Flag(true) => return Some(default),
        Toggle::Map(raw) => raw,
    };
    let at = at.key("adaptive_limit");
    let mut keys = Keys::of(&at, report);
    let min: Option<u32> = keys.number("min", raw.min, IN_FLIGHT);
    let least = min.map_or(*IN_FLIGHT.start(), i64::from);
    let max = keys.number("max", raw.max, least..=*IN_FLIGHT.end());
    Some(AdaptiveLimit {
        min: min.unwrap_or(default.min.min(max.unwrap_or(u32::MAX))),
        max: max.unwrap_or(default.max.max(min.unwrap_or(0))),
    })
}

/// A limit that is wrong counts: it has been reported.
fn is_limited(pool: &raw::Pool, endpoints: &[Endpoint]) -> bool {
    let when_full = pool.resources.as_ref().and_then(|given| given.when_full);
    let waits_for_room =
        resources::is_by_resource(pool) && matches!(when_full, None | Some(raw::WhenFull::Queue));
    let mut endpoints = endpoints.iter();
    let has_adaptive = !matches!(pool.adaptive_limit, None | Some(Toggle::Flag(false)));
    waits_for_room
        || pool.max_in_flight.is_some()
        || has_adaptive
        || endpoints.any(|endpoint| endpoint.max_in_flight.is_some())
}
