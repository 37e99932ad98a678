//! Which spellings are one resource, and that a key tells all its parts.

use proptest::prelude::*;

use super::*;

fn resource<'a>(scheme: Scheme, authority: &'a str, target: &'a str) -> Option<Resource<'a>> {
    Resource::new(scheme, authority, target, &QueryRule::All)
}

fn http(authority: &str, target: &str) -> Vec<u8> {
    resource(Scheme::Http, authority, target).unwrap().key()
}

fn names(names: &[&str]) -> Vec<ArgumentName> {
    names.iter().map(|name| ArgumentName::parse(name)).collect()
}

#[test]
fn spellings_of_one_resource_have_one_key() {
    let key = http("example.com", "/a?b");
    for authority in [
        "EXAMPLE.com",
        "example.com:80",
        "example.com:",
        "example.com.",
        "example.com.:080",
    ] {
        assert_eq!(http(authority, "/a?b"), key, "{authority}");
    }
    assert_eq!(http("[::1]:80", "/"), http("[::1]", "/"));
}

#[test]
fn every_part_tells_resources_apart() {
    let https = resource(Scheme::Https, "a.example", "/x?y").unwrap().key();
    let keys = [
        https,
        http("a.example", "/x?y"),
        http("b.example", "/x?y"),
        http("a.example:8080", "/x?y"),
        http("a.example:443", "/x?y"),
        http("a.example", "/X?y"),
        http("a.example", "/x?z"),
        http("a.example", "/x?"),
        http("a.example", "/x"),
        http("a.example", "/x/"),
        http("a.example", "/x%3Fy"),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(key), "{at}");
    }
}

#[test]
fn what_names_no_host_or_path_has_no_key() {
    for authority in [
        "", ".", "a..", ":80", "a b", "user@a", "a:port", "a:99999", "a:1:2", "[::1", "a/b",
        "[::1]x",
    ] {
        assert_eq!(
            resource(Scheme::Http, authority, "/"),
            None,
            "{authority:?}"
        );
    }
    for target in ["*", "", "a", "?x"] {
        assert_eq!(resource(Scheme::Http, "a", target), None, "{target:?}");
    }
}

#[test]
fn ignored_arguments_do_not_count() {
    let rule = QueryRule::Except(names(&["utm_*", "gclid"]));
    for (target, kept) in [
        ("/?a=1&utm_source=x&b=2", "http://h/?a=1&b=2"),
        ("/?utm_source=x", "http://h/"),
        ("/?gclid", "http://h/"),
        ("/?gclid2=1", "http://h/?gclid2=1"),
        ("/?b=2&a=1", "http://h/?b=2&a=1"),
        ("/?", "http://h/?"),
        ("/?a=gclid&a=2", "http://h/?a=gclid&a=2"),
    ] {
        let resource = Resource::new(Scheme::Http, "h", target, &rule).unwrap();
        assert_eq!(resource.to_string(), kept, "{target}");
    }
}

#[test]
fn only_chosen_arguments_count_where_some_are_chosen() {
    let rule = QueryRule::Only(names(&["id", "page*"]));
    for (target, kept) in [
        ("/?x=1&id=2&pages=3", "http://h/?id=2&pages=3"),
        ("/?x=1", "http://h/"),
        ("/?id", "http://h/?id"),
        ("/", "http://h/"),
    ] {
        let resource = Resource::new(Scheme::Http, "h", target, &rule).unwrap();
        assert_eq!(resource.to_string(), kept, "{target}");
    }
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    let here = resource(Scheme::Https, "a.example", "/x").unwrap();
    for (scheme, authority, is_same) in [
        (Scheme::Https, "A.example.:443", true),
        (Scheme::Http, "a.example:443", false),
        (Scheme::Https, "a.example:8443", false),
        (Scheme::Https, "b.a.example", false),
    ] {
        let there = resource(scheme, authority, "/y").unwrap();
        assert_eq!(
            here.is_same_origin(&there),
            is_same,
            "{scheme:?} {authority}"
        );
    }
}

proptest! {
    #[test]
    fn a_key_tells_its_parts(
        hosts in ("[a-c.]{1,4}", "[a-c.]{1,4}"),
        targets in ("/[a-b/?&=]{0,6}", "/[a-b/?&=]{0,6}"),
        ports in (1_u16..4, 1_u16..4),
    ) {
        let authority = |host: &str, port: u16| format!("{host}:{port}");
        let (one, two) = (authority(&hosts.0, ports.0), authority(&hosts.1, ports.1));
        let one = resource(Scheme::Http, &one, &targets.0);
        let two = resource(Scheme::Http, &two, &targets.1);
        if let (Some(one), Some(two)) = (one, two) {
            prop_assert_eq!(one.key() == two.key(), one == two);
            prop_assert_eq!(one.key() == two.key(), one.to_string() == two.to_string());
        }
    }
}
