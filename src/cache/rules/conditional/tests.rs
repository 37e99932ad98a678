//! Tags and dates compared: with those of clients, and of origins.

use http::HeaderName;

use super::*;

const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn map(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn tagged(tag: &str) -> HeaderMap {
    map(&[(ETAG, tag)])
}

/// Of a GET, against a 200.
fn is_304(request: &[(HeaderName, &str)], stored: &[(HeaderName, &str)]) -> bool {
    is_not_modified(&Method::GET, &map(request), StatusCode::OK, &map(stored))
}

#[test]
fn a_tag_is_read_with_its_strength() {
    for (text, is_weak, opaque) in [
        ("\"abc\"", false, "abc"),
        ("W/\"abc\"", true, "abc"),
        ("\"\"", false, ""),
        (" \"a,b\" ", false, "a,b"),
        ("\"a\\\"", false, "a\\"),
        ("\"é\"", false, "é"),
    ] {
        let expected = EntityTag {
            is_weak,
            opaque: opaque.as_bytes(),
        };
        assert_eq!(EntityTag::parse(text.as_bytes()), Some(expected), "{text}");
    }
    for text in [
        "",
        "abc",
        "\"abc",
        "abc\"",
        "w/\"abc\"",
        "W/ \"a\"",
        "\"a b\"",
        "\"a\" x",
        "*",
        "W/",
    ] {
        assert_eq!(EntityTag::parse(text.as_bytes()), None, "{text}");
    }
    let twice = map(&[(ETAG, "\"a\""), (ETAG, "\"a\"")]);
    assert_eq!(EntityTag::of(&twice), None);
}

#[test]
fn tags_compare_as_the_table_of_rfc_9110_says() {
    for (one, two, strongly, weakly) in [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
        ("\"1\"", "\"2\"", false, false),
    ] {
        let (a, b) = (
            EntityTag::parse(one.as_bytes()),
            EntityTag::parse(two.as_bytes()),
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.matches_strongly(&b), strongly, "{one} {two}");
        assert_eq!(a.matches_weakly(&b), weakly, "{one} {two}");
        assert_eq!(b.matches_weakly(&a), weakly, "{one} {two}");
    }
}

#[test]
fn a_client_that_has_it_is_told_so() {
    for (condition, stored, expected) in [
        ("\"a\"", "\"a\"", true),
        ("W/\"a\"", "\"a\"", true),
        ("\"a\"", "W/\"a\"", true),
        ("\"x\", W/\"a\" , \"y\"", "\"a\"", true),
        ("\"x\",\"a\"", "\"a\"", true),
        (",, \"a\"", "\"a\"", true),
        ("\"x,a\"", "\"a\"", false),
        ("\"b\"", "\"a\"", false),
        ("a", "\"a\"", false),
        ("\"a", "\"a\"", false),
        ("\"x\" \"a\"", "\"a\"", false),
        ("*", "\"a\"", true),
        ("\"*\"", "\"a\"", false),
    ] {
        let is_304 = is_304(&[(IF_NONE_MATCH, condition)], &[(ETAG, stored)]);
        assert_eq!(is_304, expected, "{condition} {stored}");
    }
    let lines = [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"a\"")];
    assert!(is_304(&lines, &[(ETAG, "\"a\"")]));
    assert!(!is_304(&[(IF_NONE_MATCH, "\"a\"")], &[]));
    assert!(is_304(&[(IF_NONE_MATCH, "*")], &[]));
}

#[test]
fn the_date_is_not_looked_at_where_there_is_a_tag() {
    let request = [(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, LATER)];
    assert!(!is_304(
        &request,
        &[(ETAG, "\"a\""), (LAST_MODIFIED, MODIFIED)]
    ));
    let request = [(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, EARLIER)];
    assert!(is_304(
        &request,
        &[(ETAG, "\"a\""), (LAST_MODIFIED, MODIFIED)]
    ));
}

#[test]
fn not_modified_since_is_up_to_that_second() {
    let stored = [(LAST_MODIFIED, MODIFIED), (DATE, LATER)];
    for (since, expected) in [
        (EARLIER, false),
        (MODIFIED, true),
        (LATER, true),
        ("soon", false),
    ] {
        assert_eq!(
            is_304(&[(IF_MODIFIED_SINCE, since)], &stored),
            expected,
            "{since}"
        );
    }
    let two = [(IF_MODIFIED_SINCE, LATER), (IF_MODIFIED_SINCE, MODIFIED)];
    assert!(!is_304(&two, &stored));
}

#[test]
fn without_last_modified_the_date_of_the_response_counts() {
    assert!(is_304(
        &[(IF_MODIFIED_SINCE, MODIFIED)],
        &[(DATE, MODIFIED)]
    ));
    assert!(!is_304(
        &[(IF_MODIFIED_SINCE, EARLIER)],
        &[(DATE, MODIFIED)]
    ));
    assert!(!is_304(&[(IF_MODIFIED_SINCE, LATER)], &[]));
}

#[test]
fn only_a_get_or_head_that_would_be_answered_200_is_answered_304() {
    let (request, stored) = (map(&[(IF_NONE_MATCH, "*")]), tagged("\"a\""));
    let answer = |method, status| is_not_modified(&method, &request, status, &stored);
    assert!(answer(Method::GET, StatusCode::OK));
    assert!(answer(Method::HEAD, StatusCode::OK));
    assert!(!answer(Method::POST, StatusCode::OK));
    assert!(!answer(Method::GET, StatusCode::NOT_FOUND));
    assert!(!is_304(&[], &[(ETAG, "\"a\"")]));
}

#[test]
fn a_stored_response_is_validated_with_both_its_validators() {
    let stored = map(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, MODIFIED)]);
    let validators = Validators::of([&stored]);
    assert_eq!(validators.if_none_match.unwrap(), "W/\"a\"");
    assert_eq!(validators.if_modified_since.unwrap(), MODIFIED);
    let none = map(&[(ETAG, "malformed"), (LAST_MODIFIED, "soon")]);
    assert!(Validators::of([&none]).is_empty());
}

#[test]
fn several_variants_are_validated_with_all_their_tags() {
    let stored = [
        tagged("\"a\""),
        tagged("\"b\""),
        tagged("\"a\""),
        map(&[(LAST_MODIFIED, MODIFIED)]),
    ];
    let validators = Validators::of(&stored);
    assert_eq!(validators.if_none_match.unwrap(), "\"a\", \"b\"");
    assert_eq!(validators.if_modified_since, None);
    let many: Vec<HeaderMap> = (0..40).map(|n| tagged(&format!("\"{n}\""))).collect();
    let list = Validators::of(&many).if_none_match.unwrap();
    assert_eq!(tags(list.as_bytes()).count(), TAGS_MAX);
}

#[test]
fn a_304_chooses_by_its_own_validator() {
    let stored = [
        tagged("\"a\""),
        tagged("W/\"b\""),
        tagged("\"b\""),
        map(&[(LAST_MODIFIED, MODIFIED)]),
    ];
    for (name, value, expected) in [
        (ETAG, "\"a\"", Some(0)),
        (ETAG, "W/\"a\"", Some(0)),
        (ETAG, "W/\"b\"", Some(1)),
        (ETAG, "\"b\"", Some(2)),
        (ETAG, "\"c\"", None),
        (LAST_MODIFIED, MODIFIED, Some(3)),
        (LAST_MODIFIED, LATER, None),
    ] {
        let not_modified = map(&[(name, value)]);
        assert_eq!(selected(&not_modified, &stored), expected, "{value}");
    }
    let nothing = HeaderMap::new();
    assert_eq!(selected(&nothing, &stored), None);
    assert_eq!(selected(&nothing, &stored[..1]), Some(0));
    assert_eq!(selected(&nothing, []), None);
}
