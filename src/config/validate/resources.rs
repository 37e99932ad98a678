//! Capacities of endpoints, demands of routes, and what a pool does where they do not fit.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;

use super::super::amounts::{Amounts, DIMENSIONS_MAX, UNITS_MAX, UNITS_MIN, millionths};
use super::super::model::{Balance, Endpoint, Pool, Resources, WhenFull};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::{List, TextOr, WordOr};
use super::super::report::Report;
use super::super::similar;
use super::headers;

const NAME_BYTES_MAX: usize = 64;

/// By name, as written.
type Named = BTreeMap<String, f64>;

/// The dimensions of a pool: those its endpoints have, which is the same for each. `at` is the
/// pool's.
pub(super) fn resources(raw: &raw::Pool, at: &At<'_>, report: &mut Report<'_>) -> Resources {
    let nothing = raw::Resources::default();
    let given = raw.resources.as_ref().unwrap_or(&nothing);
    let by_resource = is_by_resource(raw);
    if raw.resources.is_some() && !by_resource {
        report.warn(
            &at.key("resources"),
            "has no effect without balance: resource",
        );
    }
    let endpoints = raw.endpoints.as_ref();
    let dimensions = if by_resource {
        dimensions(endpoints, at, report)
    } else {
        warn_of_idle_capacities(endpoints, at, report);
        Vec::new()
    };
    let at = at.key("resources");
    Resources {
        dimensions,
        request_header: header(
            given.request_header.as_deref(),
            &at.key("request_header"),
            report,
        ),
        response_header: header(
            given.response_header.as_deref(),
            &at.key("response_header"),
            report,
        ),
        when_full: match given.when_full {
            None | Some(raw::WhenFull::Queue) => WhenFull::Queue,
            Some(raw::WhenFull::LeastShare) => WhenFull::LeastShare,
            Some(raw::WhenFull::Reject) => WhenFull::Reject,
        },
    }
}

pub(super) fn is_by_resource(raw: &raw::Pool) -> bool {
    matches!(raw.balance, Some(WordOr::Word(raw::Balance::Resource)))
}

fn header(text: Option<&str>, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    headers::name(text?, at, report)
}

fn capacities(
    endpoints: Option<&List<TextOr<raw::Endpoint>>>,
) -> impl Iterator<Item = (usize, Option<&Named>)> {
    let listed = endpoints.into_iter().flatten().enumerate();
    listed.filter_map(|(index, item)| match item.as_ref()? {
        TextOr::Text(_) => Some((index, None)),
        TextOr::Map(endpoint) => Some((index, endpoint.capacity.as_ref())),
    })
}

fn dimensions(
    endpoints: Option<&List<TextOr<raw::Endpoint>>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let names = |capacity: Option<&Named>| -> BTreeSet<String> {
        capacity
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    let mut capacities = capacities(endpoints).peekable();
    let Some((_, first)) = capacities.peek() else {
        return Vec::new();
    };
    let all = names(*first);
    let at = at.key("endpoints");
    for (index, capacity) in capacities {
        let at = at.index(index);
        let own = names(capacity);
        if own.is_empty() && !report.was_reported(&at.key("capacity")) {
            let what =
                "has no capacity, expected one such as { compute: 20 } with balance: resource";
            report.problem(&at, what);
        } else if own != all && !all.is_empty() {
            let expected: Vec<&str> = all.iter().map(String::as_str).collect();
            let what = format!(
                "expected the dimensions of the first endpoint, {}",
                expected.join(", ")
            );
            report.problem(&at.key("capacity"), what);
        }
    }
    if all.len() > DIMENSIONS_MAX {
        let what = format!(
            "has {} dimensions, expected at most {DIMENSIONS_MAX}",
            all.len()
        );
        report.problem(&at, what);
    }
    for name in all.iter().filter(|name| !is_name(name)) {
        let what = format!(
            "{} is not a dimension, expected 1 to {NAME_BYTES_MAX} lower-case letters, digits, \"_\" or \"-\"",
            quoted(name)
        );
        report.problem(&at, what);
    }
    all.into_iter().collect()
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn warn_of_idle_capacities(
    endpoints: Option<&List<TextOr<raw::Endpoint>>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) {
    let at = at.key("endpoints");
    for (index, _) in capacities(endpoints).filter(|(_, capacity)| capacity.is_some()) {
        let at = at.index(index);
        report.warn(
            &at.key("capacity"),
            "has no effect without balance: resource",
        );
    }
}

/// Amounts by the pool's dimensions. Numbers that cannot be counted and names it does not have are
/// reported.
pub(super) fn amounts(
    raw: Option<&Named>,
    dimensions: &[String],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, &units) in raw.into_iter().flatten() {
        let at = at.key(name);
        let Some(millionths) = millionths(units) else {
            let what = format!("{units} is not allowed, expected {UNITS_MIN} to {UNITS_MAX}");
            report.problem(&at, what);
            continue;
        };
        match dimensions.iter().position(|known| known == name) {
            Some(dimension) => amounts.set(dimension, millionths),
            None => {
                let known = dimensions.iter().map(String::as_str);
                let what = format!("the pool has no dimension {}", quoted(name));
                report.problem_with(&at, what, similar::did_you_mean(name, known));
            }
        }
    }
    amounts
}

/// A route's demand in its pool; `None`: it has none.
pub(super) fn demand(
    raw: Option<&Named>,
    pool: Option<&Pool>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Amounts> {
    let raw = raw?;
    let pool = pool?;
    if pool.balance != Balance::Resource {
        report.warn(at, "has no effect without balance: resource in the pool");
        return None;
    }
    if raw.is_empty() {
        report.problem(at, "is empty, expected amounts such as { compute: 8 }");
    }
    // Without dimensions the capacities were wrong, and have been reported.
    if pool.resources.dimensions.is_empty() {
        return None;
    }
    let demand = amounts(Some(raw), &pool.resources.dimensions, at, report);
    let fits = |endpoint: &Endpoint| {
        let mut dimensions = 0..DIMENSIONS_MAX;
        dimensions.all(|place| demand.get(place) <= endpoint.capacity.get(place))
    };
    if pool.resources.when_full != WhenFull::LeastShare && !pool.endpoints.iter().any(fits) {
        report.problem(
            at,
            "fits into no endpoint of the pool, not even an idle one",
        );
    }
    Some(demand)
}
