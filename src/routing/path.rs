//! The paths of one set of routes: exact, then prefixes from the longest, then regexes, then the
//! routes that take every path.
//!
//! Only prefixes as long as some rule's are hashed, and only where the request's path has a segment
//! boundary: a path of a thousand segments costs no more than the configuration has lengths of
//! prefixes. Patterns are normalised as requests are, so a rule may spell a path as it likes. Used
//! by `Table` only.

use std::borrow::Cow;

use regex::{Regex, RegexSet, RegexSetBuilder};

use super::{Map, host::lengths, normalize::normalize};
use crate::config::model::{PathPattern, Rule};

#[derive(Default)]
pub(super) struct PathIndex {
    exact: Map<Box<str>, Candidates>,
    prefixes: Map<Box<str>, Candidates>,
    /// The distinct lengths of `prefixes`, longest first.
    prefix_bytes: Vec<usize>,
    regexes: Regexes,
    /// No path, or `/*`: what says nothing about the path ranks below a regex, which does.
    every: Option<Candidates>,
}

/// Routes of one host and path, at least one, in file order. The first is in place because it is
/// nearly always the only one, and following a pointer costs more than the lookup.
struct Candidates {
    first: usize,
    others: Vec<usize>,
}

/// In file order.
enum Regexes {
    /// None, or a single one, for which a set is slower; or too many for a set.
    Each(Vec<(Regex, usize)>),
    Set(RegexSet, Vec<usize>),
}

// === impl PathIndex ===

impl PathIndex {
    /// `routes` are indices into `rules`, in file order.
    pub(super) fn build(rules: &[&Rule], routes: &[usize]) -> PathIndex {
        let mut index = PathIndex::default();
        let mut regexes = Vec::new();
        for &route in routes {
            match &rules[route].path {
                PathPattern::Any => Candidates::push(&mut index.every, route),
                PathPattern::Exact(path) => add(&mut index.exact, path, route),
                PathPattern::Prefix(path) if path.is_empty() => {
                    Candidates::push(&mut index.every, route);
                }
                PathPattern::Prefix(path) => add(&mut index.prefixes, path, route),
                PathPattern::Regex(regex) => regexes.push((regex.clone(), route)),
            }
        }
        index.prefix_bytes = lengths(index.prefixes.keys().map(|path| path.len()));
        index.regexes = Regexes::build(regexes);
        index
    }

    /// The most specific route for `path` that `accepts`.
    pub(super) fn find(&self, path: &str, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        let first = |candidates: Option<&Candidates>| candidates?.find(&accepts);
        first(self.exact.get(path))
            .or_else(|| {
                let prefixes = self.prefix_bytes.iter();
                prefixes
                    .filter_map(|&bytes| segments_of_length(path, bytes))
                    .find_map(|prefix| first(self.prefixes.get(prefix)))
            })
            .or_else(|| self.regexes.find(path, &accepts))
            .or_else(|| first(self.every.as_ref()))
    }
}

/// `path` is normalised unless it is no path a request could have, which then never matches.
fn add(map: &mut Map<Box<str>, Candidates>, path: &str, route: usize) {
    let path = normalize(path).unwrap_or(Cow::Borrowed(path));
    match map.get_mut(&*path) {
        Some(candidates) => candidates.others.push(route),
        None => {
            map.insert(path.into(), Candidates::of(route));
        }
    }
}

/// The first `bytes` of a path, if a segment ends there.
fn segments_of_length(path: &str, bytes: usize) -> Option<&str> {
    let ends = bytes == path.len() || path.as_bytes().get(bytes) == Some(&b'/');
    // `get` and not an index: a path has no business with other than ASCII, but must not panic.
    if ends { path.get(..bytes) } else { None }
}

// === impl Candidates ===

impl Candidates {
    fn of(route: usize) -> Candidates {
        Candidates {
            first: route,
            others: Vec::new(),
        }
    }

    fn push(slot: &mut Option<Candidates>, route: usize) {
        match slot {
            Some(candidates) => candidates.others.push(route),
            None => *slot = Some(Candidates::of(route)),
        }
    }

    fn find(&self, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        if accepts(self.first) {
            return Some(self.first);
        }
        self.others.iter().copied().find(|&route| accepts(route))
    }
}

// === impl Regexes ===

impl Regexes {
    fn build(regexes: Vec<(Regex, usize)>) -> Regexes {
        if regexes.len() < 2 {
            return Regexes::Each(regexes);
        }
        let patterns = regexes.iter().map(|(regex, _)| regex.as_str());
        // Each regex was within the limit on its own, and their sum is the operator's choice.
        match RegexSetBuilder::new(patterns)
            .size_limit(usize::MAX)
            .build()
        {
            Ok(set) => Regexes::Set(set, regexes.into_iter().map(|(_, route)| route).collect()),
            Err(_) => Regexes::Each(regexes),
        }
    }

    fn find(&self, path: &str, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Regexes::Each(regexes) => {
                let mut regexes = regexes.iter();
                let found = regexes.find(|(regex, route)| accepts(*route) && regex.is_match(path));
                found.map(|(_, route)| *route)
            }
            Regexes::Set(set, routes) => {
                let matches = set.matches(path);
                let mut matching = matches.iter().map(|pattern| routes[pattern]);
                matching.find(|&route| accepts(route))
            }
        }
    }
}

impl Default for Regexes {
    fn default() -> Regexes {
        Regexes::Each(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        assert_eq!(segments_of_length("/api/x", 4), Some("/api"));
        assert_eq!(segments_of_length("/api", 4), Some("/api"));
        assert_eq!(segments_of_length("/api/", 4), Some("/api"));
        assert_eq!(segments_of_length("/apix", 4), None);
        assert_eq!(segments_of_length("/ap", 4), None);
        assert_eq!(segments_of_length("/é/x", 2), None, "inside a character");
    }

    #[test]
    fn a_set_is_made_of_two_regexes_and_more() {
        let regexes = |count: usize| {
            let regex = || Regex::new("^/v[0-9]+/").unwrap();
            Regexes::build((0..count).map(|route| (regex(), route)).collect())
        };
        assert!(matches!(regexes(1), Regexes::Each(_)));
        assert!(matches!(regexes(2), Regexes::Set(..)));
    }
}
