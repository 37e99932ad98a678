//! Which route a request takes: `Table::find`, and the path it is asked with, `normalize`.
//!
//! The most specific rule wins: host exact > longest wildcard > none; then path exact > longest
//! prefix > regex > everything (no path, or `/*`); then the order of the file. Methods and headers
//! do not rank: they filter, and a rule they refuse gives way to the next best one, if need be of a
//! less specific path or host. `reference` (tests only) says the same as one `Ord`.
//!
//! The table is an index over hosts (`host`) that leads to an index over paths (`path`), so 10,000
//! routes cost a lookup the hash probes that ten do. Looking up never allocates, unless it has to
//! ask several regexes at once. Built by `snapshot`, asked by `proxy` once per request.

use std::cell::RefCell;
use std::collections::HashMap;

use http::{HeaderMap, Method};

use crate::config::model;

mod host;
pub mod normalize;
mod path;
mod rule;

#[cfg(test)]
mod reference;

use host::HostIndex;
use path::PathIndex;
use rule::Filter;

/// Keys come from the configuration, never from a request, so nobody can craft collisions and the
/// hasher need not resist them. A lookup in 10,000 routes takes 100 ns with it, 150 ns with std's.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

pub struct Table {
    /// Leads from a host to indices into `paths`.
    hosts: HostIndex,
    /// One per set of routes: hosts with the same routes share it.
    paths: Vec<PathIndex>,
    /// By route; `None`: its rule asks for no method and no header.
    filters: Vec<Option<Box<Filter>>>,
}

impl Table {
    /// The position of a rule in `rules` is the route's index that `find` answers.
    pub fn build<'a>(rules: impl IntoIterator<Item = &'a model::Rule>) -> Table {
        let rules: Vec<&model::Rule> = rules.into_iter().collect();
        let mut paths = Vec::new();
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let hosts = HostIndex::build(&rules, |routes| {
            *known.entry(routes).or_insert_with_key(|routes| {
                paths.push(PathIndex::build(&rules, routes));
                paths.len() - 1
            })
        });
        let filters = rules.iter().map(|rule| Filter::build(rule)).collect();
        Table {
            hosts,
            paths,
            filters,
        }
    }

    /// The index of the route a request takes; `None`: no rule matches.
    ///
    /// `host` is the authority as it was received: case, port and trailing dot are ignored; empty
    /// if the request has none. `path` is normalised (`normalize`) and has no query.
    pub fn find(
        &self,
        host: &[u8],
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<usize> {
        let accepts = |route: usize| match &self.filters[route] {
            None => true,
            Some(filter) => filter.accepts(method, headers),
        };
        self.hosts
            .find_map(host, |index| self.paths[index].find(path, accepts))
    }

    /// The indices of all routes that a request for this host and path may take, best first, whatever
    /// its method and headers.
    pub fn candidates(&self, host: &[u8], path: &str) -> Vec<usize> {
        let found = RefCell::new(Vec::new());
        let note = |route: usize| {
            found.borrow_mut().push(route);
            self.filters[route].is_none()
        };
        self.hosts
            .find_map(host, |index| self.paths[index].find(path, note));
        found.into_inner()
    }
}

#[cfg(test)]
mod tests;
