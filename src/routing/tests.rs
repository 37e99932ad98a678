//! The table against examples, and against `reference`.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use regex::Regex;

use super::model::{HeaderMatch, HeaderValueMatch, HostPattern, PathPattern, Rule};
use super::{Table, reference};

// === rules as the file spells them ===

fn rule(hosts: &[&str], path: &str) -> Rule {
    Rule {
        hosts: hosts.iter().map(|host| host_pattern(host)).collect(),
        path: path_pattern(path),
        methods: Vec::new(),
        headers: Vec::new(),
    }
}

fn host_pattern(host: &str) -> HostPattern {
    match host.strip_prefix("*.") {
        Some(parent) => HostPattern::Wildcard(parent.into()),
        None => HostPattern::Exact(host.into()),
    }
}

fn path_pattern(path: &str) -> PathPattern {
    if path.is_empty() {
        PathPattern::Any
    } else if let Some(regex) = path.strip_prefix("~ ") {
        PathPattern::Regex(Regex::new(regex).unwrap())
    } else if let Some(prefix) = path.strip_suffix("/*") {
        PathPattern::Prefix(prefix.into())
    } else {
        PathPattern::Exact(path.into())
    }
}

fn with_methods(mut rule: Rule, methods: &[Method]) -> Rule {
    rule.methods = methods.to_vec();
    rule
}

fn with_header(mut rule: Rule, value: HeaderValueMatch) -> Rule {
    let name = HeaderName::from_static("x-beta");
    rule.headers.push(HeaderMatch { name, value });
    rule
}

fn find(rules: &[Rule], host: &str, path: &str) -> Option<usize> {
    find_with(rules, host, path, Method::GET, &HeaderMap::new())
}

fn find_with(
    rules: &[Rule],
    host: &str,
    path: &str,
    method: Method,
    headers: &HeaderMap,
) -> Option<usize> {
    Table::build(rules).find(host.as_bytes(), path, &method, headers)
}

#[test]
fn all_routes_that_a_path_may_take_are_found_but_none_behind_one_that_takes_all() {
    let rules = [
        rule(&[], ""),
        rule(&["a.test"], "/x/*"),
        with_methods(rule(&["a.test"], "/x/y"), &[Method::POST]),
        with_methods(rule(&["a.test"], "/x/y"), &[Method::GET]),
        rule(&["a.test"], "/z"),
    ];
    let table = Table::build(&rules);
    assert_eq!(table.candidates(b"A.test:80", "/x/y"), [2, 3, 1]);
    assert_eq!(table.candidates(b"a.test", "/z"), [4]);
    assert_eq!(table.candidates(b"b.test", "/x/y"), [0]);
}

// === hosts ===

#[test]
fn the_most_specific_host_wins_whatever_the_order() {
    let rules = [
        rule(&[], ""),
        rule(&["*.example.com"], ""),
        rule(&["*.b.example.com"], ""),
        rule(&["a.b.example.com"], ""),
    ];
    for (host, route) in [
        ("a.b.example.com", 3),
        ("c.b.example.com", 2),
        ("d.c.b.example.com", 2),
        ("b.example.com", 1),
        ("x.example.com", 1),
        ("example.com", 0),
        ("xexample.com", 0),
        ("", 0),
    ] {
        assert_eq!(find(&rules, host, "/"), Some(route), "{host:?}");
    }
}

#[test]
fn a_wildcard_matches_whole_labels_and_not_its_parent() {
    let rules = [rule(&["*.example.com"], "")];
    assert_eq!(find(&rules, "a.example.com", "/"), Some(0));
    assert_eq!(find(&rules, "a.b.example.com", "/"), Some(0));
    assert_eq!(find(&rules, "example.com", "/"), None);
    assert_eq!(find(&rules, ".example.com", "/"), None);
    assert_eq!(find(&rules, "badexample.com", "/"), None);
}

#[test]
fn case_port_and_trailing_dot_of_a_host_do_not_matter() {
    let rules = [
        rule(&["shop.example.com"], ""),
        rule(&["*.example.org"], ""),
        rule(&["2001:db8::a"], ""),
        rule(&["[2001:db8::b]"], ""),
    ];
    for (host, route) in [
        ("Shop.EXAMPLE.com", 0),
        ("shop.example.com:8443", 0),
        ("shop.example.com.", 0),
        ("SHOP.example.com.:80", 0),
        ("A.Example.Org:1", 1),
        ("[2001:DB8::A]:80", 2),
        ("[2001:db8::b]", 3),
    ] {
        assert_eq!(find(&rules, host, "/"), Some(route), "{host:?}");
    }
}

#[test]
fn a_host_longer_than_dns_allows_has_only_the_routes_of_any_host() {
    let host = format!("{}.EXAMPLE.com", "a.".repeat(4096));
    let rules = [rule(&["*.example.com"], ""), rule(&[], "/any")];
    assert_eq!(find(&rules, &host, "/any"), Some(1));
    assert_eq!(find(&rules, &host, "/"), None);
}

#[test]
fn a_route_of_many_hosts_is_found_by_each_and_its_paths_are_kept_once() {
    let hosts: Vec<String> = (0..50).map(|n| format!("h{n}.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let rules = [rule(&hosts, "/a/*"), rule(&hosts, "/b")];
    let table = Table::build(&rules);
    assert_eq!(table.paths.len(), 1);
    for host in &hosts {
        assert_eq!(find(&rules, host, "/a/x"), Some(0));
        assert_eq!(find(&rules, host, "/b"), Some(1));
    }
}

// === paths ===

#[test]
fn the_most_specific_path_wins_whatever_the_order() {
    let rules = [
        rule(&[], ""),
        rule(&[], "~ ^/v[0-9]+/"),
        rule(&[], "/v1/*"),
        rule(&[], "/v1/users/*"),
        rule(&[], "/v1/users/me"),
    ];
    for (path, route) in [
        ("/v1/users/me", 4),
        ("/v1/users/you", 3),
        ("/v1/users", 3),
        ("/v1/users/", 3),
        ("/v1/usersx", 2),
        ("/v1", 2),
        ("/v2/", 1),
        ("/v2", 0),
        ("/", 0),
        ("*", 0),
    ] {
        assert_eq!(find(&rules, "", path), Some(route), "{path:?}");
    }
}

#[test]
fn prefix_does_not_match_half_a_segment() {
    let rules = [rule(&[], "/api/*")];
    assert_eq!(find(&rules, "", "/api"), Some(0));
    assert_eq!(find(&rules, "", "/api/x/y"), Some(0));
    assert_eq!(find(&rules, "", "/apix"), None);
    assert_eq!(find(&rules, "", "/ap"), None);
}

#[test]
fn exact_does_not_match_a_trailing_slash() {
    let rules = [rule(&[], "/api")];
    assert_eq!(find(&rules, "", "/api"), Some(0));
    assert_eq!(find(&rules, "", "/api/"), None);
}

#[test]
fn a_rule_for_every_path_ranks_below_a_regex_however_it_is_spelled() {
    for every in ["", "/*"] {
        let rules = [rule(&[], every), rule(&[], r"~ \.php$")];
        assert_eq!(find(&rules, "", "/a.php"), Some(1), "{every:?}");
        assert_eq!(find(&rules, "", "/a.html"), Some(0), "{every:?}");
    }
    let both = [rule(&[], "/*"), rule(&[], "")];
    assert_eq!(find(&both, "", "/"), Some(0));
}

#[test]
fn equal_rules_and_regexes_go_by_file_order() {
    let rules = [
        rule(&[], "~ ^/a"),
        rule(&[], "~ ^/a/b"),
        rule(&[], "/p/*"),
        rule(&[], "/p/*"),
    ];
    assert_eq!(find(&rules, "", "/a/b"), Some(0));
    assert_eq!(find(&rules, "", "/p/x"), Some(2));
}

#[test]
fn a_pattern_may_spell_its_path_in_any_way() {
    let rules = [rule(&[], "/caf%c3%a9/*"), rule(&[], "/%7euser")];
    assert_eq!(find(&rules, "", "/caf%C3%A9/x"), Some(0));
    assert_eq!(find(&rules, "", "/~user"), Some(1));
}

#[test]
fn a_host_comes_before_a_path() {
    let rules = [rule(&[], "/exact"), rule(&["example.com"], "")];
    assert_eq!(find(&rules, "example.com", "/exact"), Some(1));
    assert_eq!(find(&rules, "other.com", "/exact"), Some(0));
}

// === falling through ===

#[test]
fn a_path_the_exact_host_lacks_falls_to_the_wildcard_and_to_any_host() {
    let rules = [
        rule(&["a.example.com"], "/a"),
        rule(&["*.example.com"], "/b"),
        rule(&[], "/c"),
    ];
    assert_eq!(find(&rules, "a.example.com", "/a"), Some(0));
    assert_eq!(find(&rules, "a.example.com", "/b"), Some(1));
    assert_eq!(find(&rules, "a.example.com", "/c"), Some(2));
    assert_eq!(find(&rules, "a.example.com", "/d"), None);
}

#[test]
fn a_method_no_rule_takes_falls_to_the_next_best_path_and_host() {
    let rules = [
        with_methods(rule(&["example.com"], "/x/y"), &[Method::PUT]),
        with_methods(rule(&["example.com"], "/x/*"), &[Method::POST]),
        with_methods(
            rule(&["example.com"], "~ ^/x"),
            &[Method::PATCH, Method::POST],
        ),
        with_methods(rule(&["example.com"], "~ ^/x/"), &[Method::DELETE]),
        rule(&[], ""),
    ];
    let find = |method| find_with(&rules, "example.com", "/x/y", method, &HeaderMap::new());
    assert_eq!(find(Method::PUT), Some(0));
    assert_eq!(find(Method::POST), Some(1));
    assert_eq!(find(Method::PATCH), Some(2));
    assert_eq!(find(Method::DELETE), Some(3));
    assert_eq!(find(Method::GET), Some(4));
}

#[test]
fn of_equal_rules_the_first_whose_headers_match_wins() {
    let rules = [
        with_header(
            rule(&[], "/x"),
            HeaderValueMatch::Regex(Regex::new("^[0-9]+$").unwrap()),
        ),
        with_header(rule(&[], "/x"), HeaderValueMatch::Exact("on".into())),
        with_header(rule(&[], "/x"), HeaderValueMatch::Present),
        rule(&[], "/x"),
    ];
    let find = |value: Option<&'static str>| {
        let value = value.map(|value| ("x-beta", value));
        let headers = headers(value);
        find_with(&rules, "", "/x", Method::GET, &headers)
    };
    assert_eq!(find(Some("12")), Some(0));
    assert_eq!(find(Some("on")), Some(1));
    assert_eq!(find(Some("off")), Some(2));
    assert_eq!(find(None), Some(3));
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(find(&[], "example.com", "/"), None);
}

// === the same as the reference ===

fn headers(header: Option<(&'static str, &'static str)>) -> HeaderMap {
    header
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

// Few labels and segments, so that rules overlap and most requests match several.

fn any_host() -> impl Strategy<Value = String> {
    "[ab](\\.[ab]){0,3}"
}

fn any_path() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){0,4}/?".prop_map(|path| if path.is_empty() { "/".into() } else { path })
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::POST])
}

fn any_host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        any_host().prop_map(HostPattern::Exact),
        any_host().prop_map(HostPattern::Wildcard),
    ]
}

fn any_path_pattern() -> impl Strategy<Value = PathPattern> {
    let regexes = prop::sample::select(vec!["^/a", "b$", "^/[ab]/b", "aa", "^/b/.*/a"]);
    prop_oneof![
        1 => Just(PathPattern::Any),
        3 => any_path().prop_map(PathPattern::Exact),
        4 => "(/[ab]{1,2}){0,3}".prop_map(PathPattern::Prefix),
        2 => regexes.prop_map(|regex| PathPattern::Regex(Regex::new(regex).unwrap())),
    ]
}

fn any_header_value() -> impl Strategy<Value = HeaderValueMatch> {
    prop_oneof![
        Just(HeaderValueMatch::Present),
        Just(HeaderValueMatch::Exact("1".into())),
        Just(HeaderValueMatch::Regex(Regex::new("2|3").unwrap())),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let hosts = prop::collection::vec(any_host_pattern(), 0..3);
    let methods = prop::collection::vec(any_method(), 0..2);
    let header = prop::option::weighted(0.3, any_header_value());
    (hosts, any_path_pattern(), methods, header).prop_map(|(hosts, path, methods, header)| {
        let rule = Rule {
            hosts,
            path,
            methods,
            headers: Vec::new(),
        };
        match header {
            Some(value) => with_header(rule, value),
            None => rule,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_table_finds_what_the_reference_finds(
        rules in prop::collection::vec(any_rule(), 0..24),
        requests in prop::collection::vec(
            (any_host(), any_path(), any_method(), prop::option::of(prop::sample::select(vec!["1", "2", "4"]))),
            1..24,
        ),
    ) {
        let table = Table::build(&rules);
        for (host, path, method, beta) in requests {
            let headers = headers(beta.map(|value| ("x-beta", value)));
            let raw = format!("{}.:80", host.to_ascii_uppercase());
            prop_assert_eq!(
                table.find(raw.as_bytes(), &path, &method, &headers),
                reference::find(&rules, &host, &path, &method, &headers),
                "{} {}{}", method, host, path
            );
        }
    }
}
