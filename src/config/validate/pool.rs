//! The `pools` map.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::model::Pool;
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::report::Report;
use super::keys::{Keys, hours, millis, minutes, seconds};
use super::{balance, endpoint, health, queue, resources, sticky, tls};

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
    let health = raw
        .health
        .as_ref()
        .and_then(|raw| health::health(raw, &at.key("health"), report));
    let queue = queue::queue(raw, &endpoints, at, report);
    let sticky = raw
        .sticky
        .as_ref()
        .and_then(|raw| sticky::sticky(raw, &at.key("sticky"), report));
    let tls = tls::tls(raw.tls.as_ref(), &endpoints, &at.key("tls"), report);
    let balance = balance::balance(raw.balance.as_ref(), &at.key("balance"), report);
    let mut keys = Keys::of(at, report);
    let max_in_flight = keys.number("max_in_flight", raw.max_in_flight, queue::IN_FLIGHT);
    let day = millis(1)..=hours(24);
    Pool {
        name: name.to_string(),
        balance,
        resources,
        sticky,
        endpoints,
        max_in_flight,
        queue,
        health,
        connect_timeout: keys
            .duration(
                "connect_timeout",
                raw.connect_timeout.as_ref(),
                millis(1)..=minutes(5),
            )
            .unwrap_or(seconds(2)),
        read_timeout: keys
            .duration("read_timeout", raw.read_timeout.as_ref(), day.clone())
            .unwrap_or(seconds(60)),
        write_timeout: keys
            .duration("write_timeout", raw.write_timeout.as_ref(), day.clone())
            .unwrap_or(seconds(60)),
        idle_timeout: keys
            .duration(
                "idle_timeout",
                raw.idle_timeout.as_ref(),
                Duration::ZERO..=hours(1),
            )
            .unwrap_or(seconds(60)),
        tunnel_timeout: keys
            .duration("tunnel_timeout", raw.tunnel_timeout.as_ref(), day)
            .unwrap_or(hours(1)),
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
