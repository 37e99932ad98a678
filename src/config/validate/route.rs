//! The `routes` list.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::amounts::Amounts;
use super::super::model::{self, Action, Priority, Route, Rule};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool::Pool;
use super::super::raw::route as raw;
use super::super::raw::shapes::{List, Toggle};
use super::super::report::Report;
use super::super::similar;
use super::keys::{Keys, hours, millis};
use super::{cache, headers, hedge, redirect, resources, respond, retry, rule, server};

const NAME_BYTES_MAX: usize = 128;
/// Pool names that are compared with an unknown one: more would make a file of nothing but typos slow.
const SUGGESTED_FROM_MAX: usize = 1000;
const BODY_LIMIT_MAX: u64 = 1 << 40;

/// Pool names to indices, in the order in which `pool::pools` builds them.
type PoolIndex<'a> = BTreeMap<&'a str, usize>;

pub(super) fn routes(
    raw: Option<&List<raw::Route>>,
    pools: Option<&BTreeMap<String, Pool>>,
    built: &[model::Pool],
    report: &mut Report<'_>,
) -> Vec<Route> {
    let at = At::ROOT.key("routes");
    let pools = pools
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, (name, _))| (name.as_str(), index))
        .collect();
    let mut names = HashSet::new();
    let mut known = HashMap::new();
    let mut routes = Vec::new();
    for (index, raw) in raw.into_iter().flatten().enumerate() {
        let (Some(raw), at) = (raw, at.index(index)) else {
            continue;
        };
        let name = given_name(raw, &mut names, &at, report);
        let mut route = route(raw, name, &pools, &at, report);
        route.demand = demand(raw, &route.action, built, &at, report);
        warn_if_unreachable(&route.rule, index, &mut known, &at, report);
        routes.push(route);
    }
    if routes.is_empty() {
        report.missing(&at, "missing, expected at least one, such as { pool: web }");
    }
    derive_names(&mut routes, names);
    routes
}

fn route(
    raw: &raw::Route,
    name: String,
    pools: &PoolIndex<'_>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Route {
    let rule = rule::rule(raw, at, report);
    let [allow, deny] = [("allow", &raw.allow), ("deny", &raw.deny)]
        .map(|(key, raw)| rule::many(raw.as_ref(), &at.key(key), report, server::network));
    let action = action(raw, &rule, pools, at, report);
    warn_of_no_effect(raw, at, report);
    let request_headers = headers::edits(
        raw.request_headers.as_ref(),
        &at.key("request_headers"),
        report,
    );
    let response_headers = headers::edits(
        raw.response_headers.as_ref(),
        &at.key("response_headers"),
        report,
    );
    let retry = retry::retry(raw.retry.as_ref(), &at.key("retry"), report);
    let hedge = hedge::hedge(raw.hedge.as_ref(), &rule, &at.key("hedge"), report);
    let cache = cache::route(raw.cache.as_ref(), &at.key("cache"), report);
    let mut keys = Keys::of(at, report);
    Route {
        name,
        rule,
        allow,
        deny,
        action,
        timeout: keys.duration("timeout", raw.timeout.as_ref(), millis(1)..=hours(24)),
        retry,
        hedge,
        measure: raw.measure.unwrap_or(true),
        priority: priority(raw.priority),
        demand: None,
        cache,
        body_limit: keys.size("body_limit", raw.body_limit.as_ref(), 0..=BODY_LIMIT_MAX),
        request_headers,
        response_headers,
    }
}

fn priority(raw: Option<raw::Priority>) -> Priority {
    match raw {
        Some(raw::Priority::High) => Priority::High,
        None | Some(raw::Priority::Normal) => Priority::Normal,
    }
}

fn demand(
    raw: &raw::Route,
    action: &Action,
    pools: &[model::Pool],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Amounts> {
    let pool = match action {
        Action::Pool(index) => pools.get(*index),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    resources::demand(raw.demand.as_ref(), pool, &at.key("demand"), report)
}

/// Exactly one of three; what stands in for a wrong one never leaves the pipeline.
fn action(
    raw: &raw::Route,
    rule: &Rule,
    pools: &PoolIndex<'_>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Action {
    const KEYS: [&str; 3] = ["pool", "redirect", "respond"];
    let given = [
        raw.pool.is_some(),
        raw.redirect.is_some(),
        raw.respond.is_some(),
    ];
    let given: Vec<&str> = KEYS
        .into_iter()
        .zip(given)
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
    if given.len() > 1 {
        report.problem(
            at,
            format!("has {}, expected one of them", given.join(" and ")),
        );
    }
    if given.is_empty() && !KEYS.iter().any(|key| report.was_reported(&at.key(key))) {
        report.problem(at, "has no pool, redirect or respond, expected one of them");
    }
    if let Some(pool) = &raw.pool {
        return Action::Pool(pool_index(pool, pools, &at.key("pool"), report));
    }
    if let Some(raw) = &raw.redirect {
        return Action::Redirect(redirect::redirect(
            raw,
            &rule.path,
            &at.key("redirect"),
            report,
        ));
    }
    let nothing = raw::Respond::default();
    let respond = raw.respond.as_ref().unwrap_or(&nothing);
    Action::Respond(respond::respond(respond, &at.key("respond"), report))
}

fn pool_index(name: &str, pools: &PoolIndex<'_>, at: &At<'_>, report: &mut Report<'_>) -> usize {
    if let Some(index) = pools.get(name) {
        return *index;
    }
    // A pool whose whole map was refused is known, only wrong.
    let at_pools = At::ROOT.key("pools");
    if !report.is_exactly_reported(&at_pools) && !report.is_exactly_reported(&at_pools.key(name)) {
        let known = pools.keys().copied().take(SUGGESTED_FROM_MAX);
        report.problem_with(
            at,
            format!("no pool named {}", quoted(name)),
            similar::did_you_mean(name, known),
        );
    }
    0
}

/// Without a pool nothing is forwarded, so what shapes forwarding does nothing.
fn warn_of_no_effect(raw: &raw::Route, at: &At<'_>, report: &mut Report<'_>) {
    if raw.pool.is_some() {
        return;
    }
    let given = [
        ("timeout", raw.timeout.is_some()),
        ("retry", raw.retry.is_some()),
        ("hedge", raw.hedge.is_some()),
        ("measure", raw.measure.is_some()),
        ("priority", raw.priority.is_some()),
        ("demand", raw.demand.is_some()),
        (
            "cache",
            !matches!(raw.cache, None | Some(Toggle::Flag(false))),
        ),
        ("request_headers", raw.request_headers.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        report.warn(&at.key(key), "has no effect without pool");
    }
}

/// Among equal rules the first in the file wins, host by host. Remembers every rule seen.
fn warn_if_unreachable(
    rule: &Rule,
    index: usize,
    known: &mut HashMap<String, usize>,
    at: &At<'_>,
    report: &mut Report<'_>,
) {
    let mut first = None;
    let mut reachable = false;
    for key in rule::match_keys(rule) {
        let earlier = *known.entry(key).or_insert(index);
        reachable |= earlier == index;
        first = first.or(Some(earlier));
    }
    if let (false, Some(first)) = (reachable, first) {
        report.warn(
            at,
            format!("never reached, routes[{first}] matches the same requests"),
        );
    }
}

/// The name as given, checked; empty if there is none.
fn given_name(
    raw: &raw::Route,
    names: &mut HashSet<String>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> String {
    let Some(name) = &raw.name else {
        return String::new();
    };
    let at = at.key("name");
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.chars().all(is_name_char) {
        let what = format!(
            "{} is not a route name, expected 1 to {NAME_BYTES_MAX} printable ASCII characters without spaces and quotes",
            quoted(name)
        );
        report.problem(&at, what);
    } else if !names.insert(name.clone()) {
        report.problem(&at, format!("a second route named {}", quoted(name)));
    }
    name.clone()
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '\\')
}

/// Names for those that have none, from host and path; equal ones are numbered in file order.
fn derive_names(routes: &mut [Route], mut names: HashSet<String>) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        let base = rule::summary(&route.rule);
        let base: String = base
            .chars()
            .map(|c| if is_name_char(c) { c } else { '_' })
            .take(NAME_BYTES_MAX)
            .collect();
        let count = counts.entry(base.clone()).or_insert(1);
        let mut name = base.clone();
        while !names.insert(name.clone()) {
            *count += 1;
            name = format!("{base}#{count}");
        }
        route.name = name;
    }
}
