//! What endpoints are told, for each form and each kind of peer.

use http::HeaderValue;
use pingora_http::RequestHeader;

use super::super::client::{Scheme, identify};
use super::*;
use crate::config::model::Forwarded::{Both, Rfc7239, XForwarded};

const PROXY: &str = "10.0.0.1:1000";
const STRANGER: &str = "203.0.113.9:1000";

/// The head an endpoint gets for a plain request to shop.example.com that came with `lines`.
fn told(
    form: model::Forwarded,
    peer: &str,
    lines: &[(&'static str, &'static str)],
) -> RequestHeader {
    told_for_host(form, peer, Some("shop.example.com"), lines)
}

fn told_for_host(
    form: model::Forwarded,
    peer: &str,
    host: Option<&'static str>,
    lines: &[(&'static str, &'static str)],
) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in lines {
        request.append_header(*name, *value).unwrap();
    }
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let peer = peer.parse().unwrap();
    let client = identify(peer, Scheme::Http, &request.headers, &trusted);
    let host = host.map(HeaderValue::from_static);
    let told = Told::of(form, &client, host.as_ref(), &request.headers);
    write(&told, &mut request);
    request
}

/// Every line of the head, sorted, as it goes on the wire.
fn wire(request: &RequestHeader) -> Vec<String> {
    let mut bytes = Vec::new();
    request.header_to_h1_wire(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    lines.sort();
    lines
}

#[test]
fn a_stranger_is_told_of_as_it_is() {
    assert_eq!(
        wire(&told(XForwarded, STRANGER, &[])),
        [
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-Host: shop.example.com",
            "X-Forwarded-Proto: http",
            "X-Real-IP: 203.0.113.9",
        ]
    );
    assert_eq!(
        wire(&told(Rfc7239, STRANGER, &[])),
        ["Forwarded: for=203.0.113.9;host=shop.example.com;proto=http"]
    );
    assert_eq!(wire(&told(Both, STRANGER, &[])).len(), 5);
}

#[test]
fn nothing_a_stranger_claims_reaches_an_endpoint() {
    let claims = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "admin.internal"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/admin"),
        ("X-Real-IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1;proto=https"),
    ];
    for form in [XForwarded, Rfc7239, Both] {
        assert_eq!(
            wire(&told(form, STRANGER, &claims)),
            wire(&told(form, STRANGER, &[])),
            "{form:?}"
        );
    }
}

#[test]
fn a_trusted_peers_chain_is_continued_and_its_words_are_kept() {
    let lines = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "10.5.5.5"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "www.example.com"),
        ("X-Forwarded-Port", "443"),
        ("X-Real-IP", "10.5.5.5"),
    ];
    assert_eq!(
        wire(&told(XForwarded, PROXY, &lines)),
        [
            "X-Forwarded-For: 192.0.2.1, 10.5.5.5, 10.0.0.1",
            "X-Forwarded-Host: www.example.com",
            "X-Forwarded-Port: 443",
            "X-Forwarded-Proto: https",
            "X-Real-IP: 192.0.2.1",
        ]
    );
}

#[test]
fn a_trusted_peers_forwarded_is_continued() {
    let lines = [("Forwarded", "for=192.0.2.1;proto=https;host=www")];
    assert_eq!(
        wire(&told(Rfc7239, PROXY, &lines)),
        ["Forwarded: for=192.0.2.1;proto=https;host=www, \
             for=10.0.0.1;host=shop.example.com;proto=http"]
    );
}

#[test]
fn a_client_named_in_one_family_is_told_in_the_other() {
    let x = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "www.example.com"),
    ];
    assert_eq!(
        wire(&told(Rfc7239, PROXY, &x)),
        [
            "Forwarded: for=192.0.2.1;host=www.example.com;proto=https, \
             for=10.0.0.1;host=shop.example.com;proto=http"
        ]
    );
    let rfc7239 = [("Forwarded", "for=192.0.2.1;proto=https")];
    assert_eq!(
        wire(&told(XForwarded, PROXY, &rfc7239)),
        [
            "X-Forwarded-For: 192.0.2.1, 10.0.0.1",
            "X-Forwarded-Host: shop.example.com",
            "X-Forwarded-Proto: https",
            "X-Real-IP: 192.0.2.1",
        ]
    );
}

#[test]
fn a_forwarded_beside_x_forwarded_for_is_not_continued() {
    let lines = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=127.0.0.1;proto=https"),
    ];
    assert_eq!(
        wire(&told(Rfc7239, PROXY, &lines)),
        [
            "Forwarded: for=192.0.2.1;host=shop.example.com;proto=http, \
             for=10.0.0.1;host=shop.example.com;proto=http"
        ]
    );
}

#[test]
fn a_trusted_peer_that_names_nobody_is_the_client() {
    assert_eq!(
        wire(&told(Both, PROXY, &[])),
        [
            "Forwarded: for=10.0.0.1;host=shop.example.com;proto=http",
            "X-Forwarded-For: 10.0.0.1",
            "X-Forwarded-Host: shop.example.com",
            "X-Forwarded-Proto: http",
            "X-Real-IP: 10.0.0.1",
        ]
    );
}

#[test]
fn ipv6_is_bare_in_x_forwarded_for_and_quoted_in_forwarded() {
    assert_eq!(
        wire(&told(Both, "[2001:db8::1]:1000", &[]))[..2],
        [
            "Forwarded: for=\"[2001:db8::1]\";host=shop.example.com;proto=http",
            "X-Forwarded-For: 2001:db8::1",
        ]
    );
}

#[test]
fn a_host_that_is_no_token_is_quoted() {
    for (host, parameter) in [
        ("example.com:8080", "\"example.com:8080\""),
        ("[::1]", "\"[::1]\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ("a,b;c", "\"a,b;c\""),
        ("", "\"\""),
    ] {
        let told = told_for_host(Rfc7239, STRANGER, Some(host), &[]);
        let expected = format!("Forwarded: for=203.0.113.9;host={parameter};proto=http");
        assert_eq!(wire(&told), [expected]);
    }
}

#[test]
fn a_request_without_host_says_nothing_of_it() {
    let lines = [("X-Forwarded-Host", "made.up")];
    assert_eq!(
        wire(&told_for_host(Both, STRANGER, None, &lines)),
        [
            "Forwarded: for=203.0.113.9;proto=http",
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-Proto: http",
            "X-Real-IP: 203.0.113.9",
        ]
    );
}

#[test]
fn the_longest_address_fits() {
    let longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:1";
    let told = told(XForwarded, longest, &[]);
    let told = told.headers.get("x-real-ip").unwrap();
    assert_eq!(told, "1111:2222:3333:4444:5555:6666:7777:8888");
}

#[test]
fn via_names_the_version_a_request_came_in() {
    for (version, via) in [
        (Version::HTTP_10, "1.0 weir"),
        (Version::HTTP_11, "1.1 weir"),
        (Version::HTTP_2, "2.0 weir"),
    ] {
        assert_eq!(super::via(version), via);
    }
}
