//! The `pools` map.

use std::collections::BTreeMap;

use super::super::model::Pool;
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::Duration;
use super::super::report::Report;
use super::keys::{Keys, hours, millis, minutes, seconds};
use super::{balance, endpoint, health, outlier, queue, resources, respond, retry, sticky, tls};

const NAME_BYTES_MAX: usize = 64;

/// In the order of their names, which is the order of the map: `route` counts on it.
pub(super) fn pools(
    raw: Option<&BTreeMap<String, raw::Pool>>,
    report: &mut Report<'_>,
) -> Vec<Pool> {
    let at = At::ROOT.key("pools");
    raw.into_iter()
        .flatten()
        .map(|(name, raw)| pool(name, raw, &at.key(name), report))
        .collect()
}

fn pool(name: &str, raw: &raw::Pool, at: &At<'_>, report: &mut Report<'_>) -> Pool {
    check_name(name, at, report);
    let resources = resources::resources(raw, at, report);
    let endpoints = endpoint::endpoints(
        raw.endpoints.as_ref(),
        &resources.dimensions,
        &at.key("endpoints"),
        report,
    );
    let health = raw.health.as_ref();
    let health = health.and_then(|raw| health::health(raw, &at.key("health"), report));
    let retry_budget = retry::budget(raw.retry_budget.as_ref(), &at.key("retry_budget"), report);
    let adaptive_limit = queue::adaptive_limit(raw, at, report);
    let queue = queue::queue(raw, &endpoints, at, report);
    let outlier = outlier::outlier(raw.outlier.as_ref(), &at.key("outlier"), report);
    let fallback = raw.fallback.as_ref();
    let fallback = fallback.map(|raw| respond::fallback(raw, &at.key("fallback"), report));
    let sticky = raw.sticky.as_ref();
    let sticky = sticky.and_then(|raw| sticky::sticky(raw, &at.key("sticky"), report));
    let tls = tls::tls(raw.tls.as_ref(), &endpoints, &at.key("tls"), report);
    let balance = balance::balance(raw.balance.as_ref(), &at.key("balance"), report);
    let mut keys = Keys::of(at, report);
    let max_in_flight = keys.number("max_in_flight", raw.max_in_flight, queue::IN_FLIGHT);
    let panic_threshold = keys.number("panic_threshold", raw.panic_threshold, 0..=100);
    let mut time = |key, seen: &Option<Duration>, allowed, default| {
        let given = keys.duration(key, seen.as_ref(), allowed);
        given.unwrap_or(default)
    };
    let day = millis(1)..=hours(24);
    let upto_an_hour = seconds(0)..=hours(1);
    Pool {
        name: name.to_string(),
        balance,
        resources,
        sticky,
        endpoints,
        max_in_flight,
        adaptive_limit,
        queue,
        retry_budget,
        health,
        outlier,
        panic_threshold: panic_threshold.unwrap_or(50),
        slow_start: time(
            "slow_start",
            &raw.slow_start,
            upto_an_hour.clone(),
            seconds(30),
        ),
        fallback,
        connect_timeout: time(
            "connect_timeout",
            &raw.connect_timeout,
            millis(1)..=minutes(5),
            seconds(2),
        ),
        read_timeout: time("read_timeout", &raw.read_timeout, day.clone(), seconds(60)),
        write_timeout: time(
            "write_timeout",
            &raw.write_timeout,
            day.clone(),
            seconds(60),
        ),
        idle_timeout: time("idle_timeout", &raw.idle_timeout, upto_an_hour, seconds(60)),
        tunnel_timeout: time("tunnel_timeout", &raw.tunnel_timeout, day, hours(1)),
        tls,
    }
}

fn check_name(name: &str, at: &At<'_>, report: &mut Report<'_>) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
        let what = format!(
            "{} is not a pool name, expected 1 to {NAME_BYTES_MAX} letters, digits, \"_\", \".\" or \"-\"",
            quoted(name)
        );
        report.problem_at_key(at, what, None);
    }
}
