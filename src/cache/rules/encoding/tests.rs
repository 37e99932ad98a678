//! Weights, choices and types.

use http::HeaderName;

use super::*;

fn accepted(lines: &[&str]) -> Option<Accepted> {
    let mut request = HeaderMap::new();
    for line in lines {
        request.append(ACCEPT_ENCODING, line.parse().unwrap());
    }
    Accepted::parse(&request)
}

fn choose(line: &str) -> Choice {
    accepted(&[line])
        .unwrap()
        .choose(&[Coding::Zstd, Coding::Brotli, Coding::Gzip])
}

fn normalized(line: &str) -> String {
    let value = accepted(&[line]).unwrap().normalized();
    value.to_str().unwrap().to_owned()
}

#[test]
fn the_heaviest_coding_is_chosen_and_the_first_offered_of_equal_ones() {
    use Choice::*;
    use Coding::*;
    for (line, expected) in [
        ("gzip, br, zstd", Coded(Zstd)),
        ("gzip, br", Coded(Brotli)),
        ("GZIP", Coded(Gzip)),
        ("x-gzip", Coded(Gzip)),
        ("gzip;q=1, br;q=0.9", Coded(Gzip)),
        ("gzip;q=0.001, br;q=0", Coded(Gzip)),
        ("gzip ; Q=0.5 , br ;q=0.7", Coded(Brotli)),
        ("*", Coded(Zstd)),
        ("*, zstd;q=0", Coded(Brotli)),
        ("*;q=0.1, gzip;q=0.2", Coded(Gzip)),
        ("", Identity),
        ("identity", Identity),
        ("deflate, compress", Identity),
        ("gzip;q=0", Identity),
        ("gzip;q=0.5, identity;q=0.8", Identity),
        ("gzip;q=0.8, identity;q=0.5", Coded(Gzip)),
        ("identity;q=0, gzip;q=0.1", Coded(Gzip)),
        ("identity;q=0", Nothing),
        ("*;q=0", Nothing),
        ("*;q=0, identity;q=0.1", Identity),
        ("gzip;q=0, *;q=0", Nothing),
        ("identity;q=0, *", Coded(Zstd)),
    ] {
        assert_eq!(choose(line), expected, "{line:?}");
    }
    assert_eq!(accepted(&[]), None);
    assert_eq!(accepted(&["gzip", "br"]), accepted(&["br, gzip"]));
    assert_eq!(accepted(&["br"]).unwrap().choose(&[Gzip]), Identity);
}

#[test]
fn what_is_no_weight_is_a_refusal() {
    for (text, weight) in [
        ("1", 1000),
        ("0", 0),
        ("1.000", 1000),
        ("0.5", 500),
        ("0.25", 250),
        ("0.", 0),
        ("1.", 1000),
        ("0.1234", 0),
        ("1.001", 0),
        ("2", 0),
        ("-1", 0),
        ("", 0),
        (".5", 0),
        ("0,5", 0),
        ("0.x", 0),
    ] {
        assert_eq!(qvalue(text.as_bytes()), weight, "{text:?}");
    }
}

#[test]
fn what_can_be_sent_the_same_is_normalized_the_same() {
    for (line, expected) in [
        ("gzip, deflate, br, zstd", "br, gzip, zstd"),
        ("zstd;q=0.1, br ,X-GZIP", "br, gzip, zstd"),
        ("gzip;q=0.5, br;q=0", "gzip"),
        ("*", "br, gzip, zstd"),
        ("*;q=0", "identity;q=0"),
        ("gzip, identity;q=0", "gzip, identity;q=0"),
        ("deflate", ""),
        ("identity", ""),
        ("", ""),
    ] {
        assert_eq!(normalized(line), expected, "{line:?}");
        assert_eq!(normalized(expected), expected, "{line:?}");
    }
}

#[test]
fn text_gains_by_compression() {
    for kind in [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/css ;x",
        "application/json",
        "application/ld+json",
        "image/svg+xml",
        "application/wasm",
        "font/ttf",
    ] {
        assert!(is_compressible(kind.as_bytes()), "{kind}");
    }
    for kind in [
        "",
        "text/",
        "text",
        "image/png",
        "font/woff2",
        "video/mp4",
        "application/zip",
        "application/octet-stream",
        "text/event-stream",
        "json",
    ] {
        assert!(!is_compressible(kind.as_bytes()), "{kind}");
    }
}

#[test]
fn only_whole_uncoded_responses_are_coded() {
    let response = |lines: &[(HeaderName, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    };
    let plain = response(&[]);
    assert!(may_code(StatusCode::OK, &plain, false));
    assert!(may_code(StatusCode::NOT_FOUND, &plain, false));
    assert!(!may_code(StatusCode::OK, &plain, true));
    assert!(!may_code(StatusCode::NO_CONTENT, &plain, false));
    assert!(!may_code(StatusCode::PARTIAL_CONTENT, &plain, false));
    assert!(!may_code(StatusCode::NOT_MODIFIED, &plain, false));
    assert!(!may_code(
        StatusCode::OK,
        &response(&[(CONTENT_ENCODING, "gzip")]),
        false
    ));
    assert!(!may_code(
        StatusCode::OK,
        &response(&[(CONTENT_RANGE, "bytes 0-1/2")]),
        false
    ));
}
