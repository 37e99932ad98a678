//! When the endpoints of one pool are ejected.

use super::super::model::Outlier;
use super::super::path::At;
use super::super::raw::outlier as raw;
use super::super::raw::shapes::Toggle;
use super::super::report::Report;
use super::keys::{Keys, hours, millis, minutes, seconds};

/// `None`: never.
pub(super) fn outlier(
    raw: Option<&Toggle<raw::Outlier>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Outlier> {
    match raw {
        None | Some(Toggle::Flag(true)) => Some(rules(&raw::Outlier::default(), at, report)),
        Some(Toggle::Flag(false)) => None,
        Some(Toggle::Map(raw)) => Some(rules(raw, at, report)),
    }
}

fn rules(raw: &raw::Outlier, at: &At<'_>, report: &mut Report<'_>) -> Outlier {
    if raw.slow_factor == Some(1) {
        let what = "1 is not allowed, expected 2 to 100, or 0 for off";
        report.problem(&at.key("slow_factor"), what);
    }
    let mut keys = Keys::of(at, report);
    let base_time = keys
        .duration("base_time", raw.base_time.as_ref(), millis(10)..=hours(1))
        .unwrap_or(seconds(30));
    let max_time = keys.duration("max_time", raw.max_time.as_ref(), base_time..=hours(24));
    let failures = keys.number("consecutive_failures", raw.consecutive_failures, 0..=1000);
    let slow_factor = keys.number("slow_factor", raw.slow_factor, 0..=100);
    Outlier {
        consecutive_failures: Some(failures.unwrap_or(5)).filter(|&failures| failures > 0),
        success_rate: raw.success_rate.unwrap_or(true),
        slow_factor: slow_factor.filter(|&factor| factor > 0),
        interval: keys
            .duration("interval", raw.interval.as_ref(), millis(100)..=hours(1))
            .unwrap_or(seconds(10)),
        min_endpoints: keys
            .number("min_endpoints", raw.min_endpoints, 3..=1000)
            .unwrap_or(5),
        min_requests: keys
            .number("min_requests", raw.min_requests, 1..=1_000_000)
            .unwrap_or(100),
        base_time,
        max_time: max_time.unwrap_or_else(|| base_time.max(minutes(5))),
        max_percent: keys
            .number("max_percent", raw.max_percent, 0..=100)
            .unwrap_or(33),
    }
}
