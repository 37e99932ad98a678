//! What writes make void, and how references are resolved.

use super::*;

fn base() -> Resource<'static> {
    let rule = QueryRule::All;
    Resource::new(Scheme::Https, "a.example:8443", "/x/y?q", &rule).unwrap()
}

fn voided_by(method: &str, status: u16, lines: &[(HeaderName, &str)]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    let voided = voided(&method, status, &base(), &headers, &QueryRule::All);
    voided.iter().map(Resource::to_string).collect()
}

#[test]
fn a_write_makes_its_resource_void() {
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "MKCOL", "M-SEARCH", "BREW",
    ] {
        for status in [200, 201, 204, 299, 301, 303, 304, 399] {
            let expected = ["https://a.example:8443/x/y?q"];
            assert_eq!(
                voided_by(method, status, &[]),
                expected,
                "{method} {status}"
            );
        }
    }
}

#[test]
fn reads_and_errors_make_nothing_void() {
    for method in [
        "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH",
    ] {
        assert_eq!(
            voided_by(method, 200, &[(LOCATION, "/z")]),
            [""; 0],
            "{method}"
        );
    }
    for status in [101, 400, 404, 409, 500, 503] {
        assert_eq!(
            voided_by("POST", status, &[(LOCATION, "/z")]),
            [""; 0],
            "{status}"
        );
    }
}

#[test]
fn what_the_answer_names_is_void_too() {
    let lines = [(LOCATION, "/new"), (CONTENT_LOCATION, "z?r")];
    let expected = [
        "https://a.example:8443/x/y?q",
        "https://a.example:8443/new",
        "https://a.example:8443/x/z?r",
    ];
    assert_eq!(voided_by("POST", 201, &lines), expected);
    let itself = [(LOCATION, "y?q"), (CONTENT_LOCATION, "")];
    assert_eq!(
        voided_by("PUT", 200, &itself),
        ["https://a.example:8443/x/y?q"]
    );
}

#[test]
fn nobody_makes_anothers_responses_void() {
    for reference in [
        "https://b.example:8443/z",
        "https://a.example/z",
        "http://a.example:8443/z",
        "//b.example/z",
        "//a.example/z",
        "https://user@a.example:8443/z",
        "ftp://a.example:8443/z",
        "https:/z",
        "urn:x:y",
    ] {
        assert_eq!(
            voided_by("POST", 201, &[(LOCATION, reference)]).len(),
            1,
            "{reference}"
        );
    }
}

#[test]
fn references_are_resolved_and_spelled_as_keys_are() {
    for (reference, resolved) in [
        ("", "/x/y?q"),
        ("#top", "/x/y?q"),
        ("?r", "/x/y?r"),
        ("z", "/x/z"),
        ("./z#f", "/x/z"),
        ("../z?a#b", "/z?a"),
        ("/a//b/%7Ec", "/a/b/~c"),
        ("z/a:b", "/x/z/a:b"),
        ("//A.example:8443/z", "/z"),
        ("HTTPS://a.EXAMPLE.:8443", "/"),
        ("https://a.example:8443?r", "/?r"),
    ] {
        let found = resolve(&base(), reference, &QueryRule::All).unwrap();
        let expected = format!("https://a.example:8443{resolved}");
        assert_eq!(found.to_string(), expected, "{reference}");
    }
    for reference in ["../../..", "/%zz", "mailto:x@y", "/a b"] {
        assert_eq!(
            resolve(&base(), reference, &QueryRule::All),
            None,
            "{reference}"
        );
    }
}
