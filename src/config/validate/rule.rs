//! What a request must look like for one route: hosts, path, methods, headers.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::net::Ipv6Addr;

use http::Method;

use super::super::model::{HeaderMatch, HeaderValueMatch, HostPattern, PathPattern, Rule};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::route as raw;
use super::super::raw::shapes::OneOrMany;
use super::super::report::Report;
use super::{headers, name, pattern};

const METHOD_BYTES_MAX: usize = 32;

pub(super) fn rule(raw: &raw::Route, at: &At<'_>, report: &mut Report<'_>) -> Rule {
    let path = raw
        .path
        .as_deref()
        .and_then(|text| path(text, &at.key("path"), report));
    Rule {
        hosts: many(raw.host.as_ref(), &at.key("host"), report, host),
        path: path.unwrap_or(PathPattern::Any),
        methods: many(raw.methods.as_ref(), &at.key("methods"), report, method),
        headers: header_matches(raw.headers.as_ref(), &at.key("headers"), report),
    }
}

/// One value or a list, each read by the same function; an empty list and equal values are refused.
pub(super) fn many<T: Clone + Eq + Hash>(
    raw: Option<&OneOrMany<String>>,
    at: &At<'_>,
    report: &mut Report<'_>,
    read: fn(&str, &At<'_>, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(raw) = raw else {
        return Vec::new();
    };
    let items = raw.items();
    if items.is_empty() {
        report.missing(at, "an empty list, expected at least one value, or no key");
    }
    let mut seen = HashSet::new();
    let mut values = Vec::with_capacity(items.len());
    for (index, text) in items {
        let at = index.map_or_else(|| at.clone(), |index| at.index(index));
        let Some(value) = read(text, &at, report) else {
            continue;
        };
        if !seen.insert(value.clone()) {
            report.problem(&at, format!("{} is given twice", quoted(text)));
        }
        values.push(value);
    }
    values
}

fn host(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HostPattern> {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        if let Ok(address) = address.parse::<Ipv6Addr>() {
            return Some(HostPattern::Exact(format!("[{address}]")));
        }
        report.problem(at, format!("{} is not an IPv6 address", quoted(text)));
        return None;
    }
    let read = match text.strip_prefix("*.") {
        Some(parent) => name::host(parent).map(HostPattern::Wildcard),
        None => name::host(text).map(HostPattern::Exact),
    };
    match read {
        Ok(pattern) => Some(pattern),
        Err(what) => {
            report.problem_with(at, what, host_hint(text));
            None
        }
    }
}

fn host_hint(text: &str) -> Option<String> {
    if text == "*" {
        return Some("leave host out to match every host".to_string());
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("write \"[{text}]\""));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Some(format!("leave out the port: \"{host}\""));
    }
    text.contains('*')
        .then(|| "a wildcard is \"*.\" and a name, such as \"*.example.com\"".to_string())
}

fn path(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<PathPattern> {
    if let Some(regex) = pattern::after_tilde(text) {
        return pattern::regex(regex, at, report).map(PathPattern::Regex);
    }
    let (literal, is_prefix) = match text.strip_suffix("/*") {
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    if let Some((what, hint)) = literal_mistake(text, literal, is_prefix) {
        report.problem_with(at, format!("{} {what}", quoted(text)), hint);
        return None;
    }
    Some(match is_prefix {
        true => PathPattern::Prefix(literal.to_string()),
        false => PathPattern::Exact(literal.to_string()),
    })
}

/// What no normalised request path could ever match.
fn literal_mistake(
    text: &str,
    literal: &str,
    is_prefix: bool,
) -> Option<(&'static str, Option<String>)> {
    if let Some(rest) = text.strip_prefix('~') {
        return Some((
            "is not a path",
            Some(format!("write \"~ {rest}\" for a regex")),
        ));
    }
    if !text.starts_with('/') {
        return Some(("does not begin with \"/\"", None));
    }
    if literal.contains('*') {
        let hint = "\"/*\" at the end is a prefix, \"~ \" in front a regex".to_string();
        return Some(("has \"*\" where it is not a wildcard", Some(hint)));
    }
    if literal.contains(['?', '#']) {
        return Some(("has \"?\" or \"#\", expected a path only", None));
    }
    if literal.contains("//") || (is_prefix && literal.ends_with('/')) {
        return Some(("has an empty segment (\"//\")", None));
    }
    let is_dots = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if literal.split('/').any(is_dots) {
        return Some(("has a dot segment", None));
    }
    if !literal.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(("has characters that a request must percent-encode", None));
    }
    None
}

/// A method token in upper case. Also used for probes.
pub(super) fn method(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<Method> {
    let upper = text.to_ascii_uppercase();
    let method = Method::from_bytes(text.as_bytes()).ok();
    match method.filter(|_| upper == text && text.len() <= METHOD_BYTES_MAX) {
        Some(method) => Some(method),
        None => {
            let hint = (upper != text).then(|| format!("write \"{}\"", upper.escape_default()));
            report.problem_with(
                at,
                format!("{} is not a method in upper case", quoted(text)),
                hint,
            );
            None
        }
    }
}

fn header_matches(
    raw: Option<&BTreeMap<String, String>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<HeaderMatch> {
    let mut seen = HashSet::new();
    let mut matches = Vec::new();
    for (name, text) in raw.into_iter().flatten() {
        let at = at.key(name);
        let name = headers::name(name, &at, report);
        let value = header_value(text, &at, report);
        headers::check_once(name.as_ref(), &mut seen, &at, report);
        matches.extend(
            name.zip(value)
                .map(|(name, value)| HeaderMatch { name, value }),
        );
    }
    matches
}

fn header_value(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderValueMatch> {
    if text == "*" {
        return Some(HeaderValueMatch::Present);
    }
    match pattern::after_tilde(text) {
        Some(regex) => pattern::regex(regex, at, report).map(HeaderValueMatch::Regex),
        None => {
            headers::value(text, at, report)?;
            Some(HeaderValueMatch::Exact(text.to_string()))
        }
    }
}

// === A rule as text ===

/// Host and path as the file would say them, for a route's name.
pub(super) fn summary(rule: &Rule) -> String {
    let host = rule.hosts.first().map(host_text).unwrap_or_default();
    match (host.is_empty(), path_text(&rule.path)) {
        (true, None) => "*".to_string(),
        (_, path) => host + &path.unwrap_or_default(),
    }
}

/// One key per host: equal keys match the same requests.
pub(super) fn match_keys(rule: &Rule) -> Vec<String> {
    let mut methods: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
    methods.sort_unstable();
    let mut headers: Vec<String> = rule.headers.iter().map(|m| format!("{m:?}")).collect();
    headers.sort_unstable();
    let rest = format!("{:?} {methods:?} {headers:?}", rule.path);
    match rule.hosts.as_slice() {
        [] => vec![rest],
        hosts => hosts
            .iter()
            .map(|host| format!("{} {rest}", host_text(host)))
            .collect(),
    }
}

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    }
}

fn path_text(path: &PathPattern) -> Option<String> {
    match path {
        PathPattern::Any => None,
        PathPattern::Exact(path) => Some(path.clone()),
        PathPattern::Prefix(prefix) => Some(format!("{prefix}/*")),
        PathPattern::Regex(regex) => Some(format!("~{regex}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> Option<&'static str> {
        let prefix = text.strip_suffix("/*");
        literal_mistake(text, prefix.unwrap_or(text), prefix.is_some()).map(|(what, _)| what)
    }

    #[test]
    fn a_path_that_can_match_is_accepted() {
        for text in [
            "/", "/*", "/api", "/api/", "/api/*", "/a.b/..c", "/%C3%A4", "/{x}",
        ] {
            assert_eq!(mistake(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_that_can_never_match_is_refused() {
        for text in [
            "",
            "api",
            "*",
            "/a*",
            "/a/*/b",
            "/a/**",
            "//",
            "/a//b",
            "/a//*",
            "/./a",
            "/a/..",
            "/%2e%2E/a",
            "/a?b",
            "/a#b",
            "/ä",
            "/a b",
            "~^/x",
            "/\u{7f}",
        ] {
            assert!(mistake(text).is_some(), "{text}");
        }
    }
}
