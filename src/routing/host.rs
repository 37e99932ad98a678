//! The hosts of a table: from the authority of a request to what its routes are kept under.
//!
//! A name is looked up exactly, then by its suffixes from the longest, then as any host. Only
//! suffixes as long as some wildcard are hashed, so a name of a thousand labels costs no more than
//! the configuration has lengths of wildcards. Used by `Table` only.

use std::collections::HashMap;

use super::Map;
use crate::config::model::{HostPattern, Rule};

/// The longest name DNS can hold, as text (RFC 1035 §2.3.4). A longer one has no exact rule.
const NAME_BYTES_MAX: usize = 253;

pub(super) struct HostIndex {
    exact: Map<Box<[u8]>, usize>,
    /// Without `*.`.
    wildcards: Map<Box<[u8]>, usize>,
    /// The distinct lengths of `wildcards`, longest first.
    wildcard_bytes: Vec<usize>,
    /// Routes without a host.
    any: Option<usize>,
}

/// The routes of each host, in file order.
#[derive(Default)]
struct Hosts {
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    wildcards: HashMap<Box<[u8]>, Vec<usize>>,
    any: Vec<usize>,
}

// === impl HostIndex ===

impl HostIndex {
    /// `keep` is given the routes of a host, in file order, and answers what they are kept under.
    pub(super) fn build(rules: &[&Rule], mut keep: impl FnMut(Vec<usize>) -> usize) -> HostIndex {
        let hosts = Hosts::gather(rules);
        let any = (!hosts.any.is_empty()).then(|| keep(hosts.any));
        let mut index = |routes: HashMap<Box<[u8]>, Vec<usize>>| -> Map<Box<[u8]>, usize> {
            let entries = routes.into_iter();
            entries.map(|(name, routes)| (name, keep(routes))).collect()
        };
        let exact = index(hosts.exact);
        let wildcards = index(hosts.wildcards);
        let wildcard_bytes = lengths(wildcards.keys().map(|name| name.len()));
        HostIndex {
            exact,
            wildcards,
            wildcard_bytes,
            any,
        }
    }

    /// Visits what matches `host`, most specific first, until `visit` finds something.
    pub(super) fn find_map<T>(
        &self,
        host: &[u8],
        mut visit: impl FnMut(usize) -> Option<T>,
    ) -> Option<T> {
        let mut buffer;
        let mut name = bare_name(host);
        if name.len() > NAME_BYTES_MAX {
            return visit(self.any?);
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            buffer = [0; NAME_BYTES_MAX];
            let lower = &mut buffer[..name.len()];
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            name = lower;
        }
        if let Some(&index) = self.exact.get(name)
            && let Some(found) = visit(index)
        {
            return Some(found);
        }
        for &bytes in &self.wildcard_bytes {
            if let Some(suffix) = parent_of_length(name, bytes)
                && let Some(&index) = self.wildcards.get(suffix)
                && let Some(found) = visit(index)
            {
                return Some(found);
            }
        }
        visit(self.any?)
    }
}

// === impl Hosts ===

impl Hosts {
    fn gather(rules: &[&Rule]) -> Hosts {
        let mut hosts = Hosts::default();
        for (route, rule) in rules.iter().enumerate() {
            if rule.hosts.is_empty() {
                hosts.any.push(route);
            }
            for pattern in &rule.hosts {
                let (map, name) = match pattern {
                    HostPattern::Exact(name) => (&mut hosts.exact, name),
                    HostPattern::Wildcard(name) => (&mut hosts.wildcards, name),
                };
                let routes = map.entry(without_brackets(name).into()).or_default();
                // A list may name a host twice.
                if routes.last() != Some(&route) {
                    routes.push(route);
                }
            }
        }
        hosts
    }
}

/// Distinct, longest first.
pub(super) fn lengths(each: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut lengths: Vec<usize> = each.collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.dedup();
    lengths
}

/// An authority without its port, its trailing dot and, for IPv6, its brackets (RFC 3986 §3.2.2).
fn bare_name(host: &[u8]) -> &[u8] {
    if let Some(literal) = host.strip_prefix(b"[") {
        let end = memchr::memchr(b']', literal).unwrap_or(literal.len());
        return &literal[..end];
    }
    let end = memchr::memchr(b':', host).unwrap_or(host.len());
    let name = &host[..end];
    name.strip_suffix(b".").unwrap_or(name)
}

/// A rule may name an IPv6 address with or without its brackets.
fn without_brackets(name: &str) -> &[u8] {
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    inner.unwrap_or(name).as_bytes()
}

/// The last `bytes` of a name, if they start at a label and leave at least one label before them.
fn parent_of_length(name: &[u8], bytes: usize) -> Option<&[u8]> {
    let dot = name.len().checked_sub(bytes + 1)?;
    (dot > 0 && name[dot] == b'.').then(|| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_reduced_to_its_name() {
        for (host, name) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1", "2001:db8::1"),
            ("[", ""),
            (":80", ""),
            (".", ""),
            ("", ""),
        ] {
            assert_eq!(bare_name(host.as_bytes()), name.as_bytes(), "{host:?}");
        }
    }

    #[test]
    fn a_parent_starts_at_a_label_and_leaves_one() {
        let parent = |name: &'static str, bytes| parent_of_length(name.as_bytes(), bytes);
        assert_eq!(parent("a.b.com", 5), Some(&b"b.com"[..]));
        assert_eq!(parent("a.b.com", 3), Some(&b"com"[..]));
        assert_eq!(parent("ab.com", 5), None, "not at a label");
        assert_eq!(parent("b.com", 5), None, "the name itself");
        assert_eq!(parent(".b.com", 5), None, "an empty label before it");
        assert_eq!(parent("com", 5), None, "shorter than the parent");
        assert_eq!(parent("", 0), None);
    }

    #[test]
    fn lengths_are_distinct_and_longest_first() {
        assert_eq!(lengths([3, 7, 3, 11].into_iter()), [11, 7, 3]);
    }
}
