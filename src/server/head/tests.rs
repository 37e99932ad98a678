//! What the strict head reader lets pass and what it refuses.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Small enough to reach; `caps` tests with its own counts.
pub(in crate::server) fn limits() -> Limits {
    Limits {
        connections: 1,
        connections_per_address: 1,
        header_timeout: Duration::from_secs(1),
        header_bytes: 1024,
        header_count: 4,
        uri_bytes: 64,
        keepalive_timeout: Duration::from_secs(1),
        keepalive_requests: 1,
        body_timeout: Duration::from_secs(1),
        send_timeout: Duration::from_secs(1),
    }
}

fn verdict(head: &str) -> Result<Head, Rejection> {
    check(head.as_bytes(), &limits())
}

fn refused(head: &str) -> &'static str {
    match verdict(head) {
        Err(Rejection::BadRequest(reason)) => reason,
        other => panic!("{head:?} gave {other:?}"),
    }
}

fn passes(head: &str) -> Head {
    verdict(head).unwrap_or_else(|rejection| panic!("{head:?} was refused: {rejection:?}"))
}

#[test]
fn ordinary_heads_pass_with_their_framing() {
    let plain = passes("GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n");
    assert_eq!(plain.body, Body::Sized(0));
    let sized = passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n");
    assert_eq!(sized.body, Body::Sized(12));
    let chunked = passes("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
    assert_eq!(chunked.body, Body::Chunked);
    let empty = passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(empty.body, Body::Sized(0));
}

#[test]
fn other_target_forms_pass() {
    passes("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    passes("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    passes("GET / HTTP/1.0\r\n\r\n");
    passes("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n");
    passes("GET / HTTP/1.1\r\nHost:\r\n\r\n");
}

#[test]
fn targets_that_pingora_would_refuse_or_cut_short_are_refused_here() {
    let with = |target: &str| refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    for target in ["/a#b", "/?a#b", "/<a>", "/?<a>", "/`", "/?\"", "http://a/`"] {
        assert_eq!(with(target), "malformed request target", "{target}");
    }
    passes("GET /\"{a}|^[\\]?`{b}|^[\\]' HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn underscores_are_noticed() {
    assert!(passes("GET / HTTP/1.1\r\nHost: a\r\nX_Real: 1\r\n\r\n").underscores);
    assert!(!passes("GET / HTTP/1.1\r\nHost: a\r\nX-Real: _\r\n\r\n").underscores);
}

#[test]
fn ambiguous_framing_is_refused() {
    let with = |fields: &str| refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    assert_eq!(
        with("Content-Length: 1\r\nTransfer-Encoding: chunked"),
        "Content-Length with Transfer-Encoding"
    );
    assert_eq!(
        with("Content-Length: 1\r\nContent-Length: 1"),
        "more than one Content-Length"
    );
    for value in [
        "+5",
        "0x5",
        "-1",
        "5,5",
        "5 5",
        "",
        "1e3",
        "99999999999999999999",
    ] {
        assert_eq!(
            with(&format!("Content-Length: {value}")),
            "malformed Content-Length"
        );
    }
    for value in [
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "chunked;q=1",
        "",
    ] {
        assert_eq!(
            with(&format!("Transfer-Encoding: {value}")),
            "unsupported Transfer-Encoding"
        );
    }
    assert_eq!(
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        "unsupported Transfer-Encoding"
    );
    assert_eq!(
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "Transfer-Encoding in HTTP/1.0"
    );
}

#[test]
fn malformed_lines_are_refused() {
    let with = |field: &str| refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
    assert_eq!(with("X-A: 1\r\n folded"), "header without a colon");
    assert_eq!(with("X-A: 1\r\n folded: yes"), "malformed header name");
    assert_eq!(with("X-A : 1"), "malformed header name");
    assert_eq!(with(": 1"), "malformed header name");
    assert_eq!(with("X\u{e9}: 1"), "malformed header name");
    assert_eq!(with("X-A: a\0b"), "control character in a header");
    assert_eq!(with("X-A: a\rb"), "control character in a header");
    for value in ["\r a", "a\r", "\x0ca", "a\x0c"] {
        assert_eq!(
            with(&format!("X-A:{value}")),
            "control character in a header"
        );
    }
    assert_eq!(with("X-A: 1\nX-B: 2"), "bare LF");
    assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), "bare LF");
    assert_eq!(refused("GET /\r\n\r\n"), "malformed request line");
    assert_eq!(refused("GET  / HTTP/1.1\r\n\r\n"), "malformed request line");
    assert_eq!(
        refused("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        "malformed method"
    );
    assert_eq!(
        refused("GET / HTTP/2.0\r\n\r\n"),
        "unsupported HTTP version"
    );
    assert_eq!(
        refused("GET /\u{e9} HTTP/1.1\r\n\r\n"),
        "malformed request target"
    );
    assert_eq!(
        refused("GET x HTTP/1.1\r\n\r\n"),
        "malformed request target"
    );
    assert_eq!(
        refused("GET * HTTP/1.1\r\n\r\n"),
        "malformed request target"
    );
}

#[test]
fn a_host_that_is_missing_doubled_or_ambiguous_is_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), "missing Host");
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
        "more than one Host"
    );
    for host in [
        "a@b", "a/b", "a b", "a,b", "a:x", "a:1:2", "[::1", "[]", ":80", "a\\b", "a:123456",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(&head), "malformed Host", "{host}");
    }
    assert_eq!(
        refused("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        "Host differs from the target"
    );
    assert_eq!(
        refused("GET http://u@b/ HTTP/1.0\r\n\r\n"),
        "malformed request target"
    );
}

#[test]
fn connect_is_not_allowed() {
    let head = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    assert_eq!(verdict(head), Err(Rejection::MethodNotAllowed));
}

#[test]
fn limits_have_their_own_rejections() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64));
    assert_eq!(verdict(&long), Err(Rejection::UriTooLong));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(4));
    assert_eq!(verdict(&many), Err(Rejection::HeadersTooLarge));
}

/// Feeds `bytes` in pieces of `step` and returns the first verdict that is not "more".
fn found(bytes: &[u8], step: usize) -> Result<Option<usize>, Rejection> {
    let mut boundary = Boundary::default();
    for end in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
        match boundary.find(&bytes[..end], &limits()) {
            Ok(None) => {}
            verdict => return verdict,
        }
    }
    Ok(None)
}

#[test]
fn the_end_is_found_however_the_head_arrives() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for step in 1..=head.len() {
        assert_eq!(
            found(head, step),
            Ok(Some(head.len() - 4)),
            "in steps of {step}"
        );
    }
    assert_eq!(found(b"GET / HTTP/1.1\r\nHost: a\r\n", 1), Ok(None));
    assert_eq!(found(b"GET / HTTP/1.1\n\n", 1), Ok(Some(16)));
}

#[test]
fn an_endless_head_is_cut_off() {
    let uri = format!("GET /{}", "x".repeat(2000));
    assert_eq!(found(uri.as_bytes(), 7), Err(Rejection::UriTooLong));
    let fields = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(2000));
    assert_eq!(found(fields.as_bytes(), 7), Err(Rejection::HeadersTooLarge));
}

#[test]
fn the_request_line_of_a_bad_head_can_be_shown() {
    assert_eq!(
        request_line(b"GET /a HTTP/9\r\nX"),
        (&b"GET"[..], &b"/a"[..])
    );
    assert_eq!(request_line(b"garbage"), (&b"garbage"[..], &b""[..]));
    assert_eq!(request_line(b""), (&b""[..], &b""[..]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..20) {
        let _ = found(&bytes, step);
        let _ = check(&bytes, &limits());
        let _ = request_line(&bytes);
    }

    #[test]
    fn what_passes_has_one_reading(fields in proptest::collection::vec("(?i)(host|content-length|transfer-encoding|x_a): ?[a-z0-9+,:@-]{0,8}", 0..4)) {
        let head = format!("POST / HTTP/1.1\r\n{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
        if let Ok(passed) = check(head.as_bytes(), &limits()) {
            let lower = head.to_ascii_lowercase();
            prop_assert_eq!(lower.matches("\r\nhost:").count(), 1);
            let lengths = lower.matches("\r\ncontent-length:").count();
            let encodings = lower.matches("\r\ntransfer-encoding:").count();
            prop_assert!(lengths + encodings <= 1);
            prop_assert_eq!(passed.body == Body::Chunked, encodings == 1);
        }
    }
}
