//! The precedence of rules as one `Ord`, and the slowest table that obeys it: tests compare the
//! real one with it.

use http::{HeaderMap, Method};

use super::rule::Filter;
use crate::config::model::{HostPattern, PathPattern, Rule};

/// How closely a rule describes a request: a greater rank wins, of equal ones the first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    host: HostRank,
    path: PathRank,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Any,
    Wildcard { bytes: usize },
    Exact,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Every,
    Regex,
    Prefix { bytes: usize },
    Exact,
}

/// `host` is lower case and bare.
pub(super) fn find(
    rules: &[Rule],
    host: &str,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Option<usize> {
    let mut best: Option<(Rank, usize)> = None;
    for (route, rule) in rules.iter().enumerate() {
        let filter = Filter::build(rule);
        if filter.is_some_and(|filter| !filter.accepts(method, headers)) {
            continue;
        }
        if let Some(rank) = rank(rule, host, path)
            && best.as_ref().is_none_or(|(best, _)| rank > *best)
        {
            best = Some((rank, route));
        }
    }
    best.map(|(_, route)| route)
}

fn rank(rule: &Rule, host: &str, path: &str) -> Option<Rank> {
    let host = if rule.hosts.is_empty() {
        HostRank::Any
    } else {
        let ranks = rule.hosts.iter().filter_map(|p| host_rank(p, host));
        ranks.max()?
    };
    let path = path_rank(&rule.path, path)?;
    Some(Rank { host, path })
}

fn host_rank(pattern: &HostPattern, host: &str) -> Option<HostRank> {
    match pattern {
        HostPattern::Exact(name) => (name == host).then_some(HostRank::Exact),
        HostPattern::Wildcard(parent) => host
            .strip_suffix(parent.as_str())
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            .then_some(HostRank::Wildcard {
                bytes: parent.len(),
            }),
    }
}

fn path_rank(pattern: &PathPattern, path: &str) -> Option<PathRank> {
    match pattern {
        PathPattern::Any => Some(PathRank::Every),
        PathPattern::Exact(exact) => (exact == path).then_some(PathRank::Exact),
        PathPattern::Prefix(prefix) if prefix.is_empty() => Some(PathRank::Every),
        PathPattern::Prefix(prefix) => (path == prefix || path.starts_with(&format!("{prefix}/")))
            .then_some(PathRank::Prefix {
                bytes: prefix.len(),
            }),
        PathPattern::Regex(regex) => regex.is_match(path).then_some(PathRank::Regex),
    }
}
