//! Which requests are one variant.

use proptest::prelude::*;

use super::*;

fn map(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn vary(line: &str) -> HeaderMap {
    map(&[(VARY, line)])
}

/// Whether two requests are the same variant of a response that varies on one field.
fn are_same(name: &HeaderName, one: &[&str], two: &[&str]) -> bool {
    let request = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| (name.clone(), *line)).collect();
        map(&lines)
    };
    let stored = vary(name.as_str());
    let variant = |lines| variant(&stored, &request(lines), &VaryRule::default());
    variant(one) == variant(two)
}

#[test]
fn without_vary_there_is_one_variant() {
    let request = map(&[(ACCEPT, "x")]);
    assert_eq!(
        variant(&HeaderMap::new(), &request, &VaryRule::default()),
        None
    );
    assert_eq!(variant(&vary(" , "), &request, &VaryRule::default()), None);
}

#[test]
fn what_is_coded_here_serves_every_accept_encoding() {
    let rule = VaryRule {
        codes: true,
        ..VaryRule::default()
    };
    let request = map(&[(ACCEPT_ENCODING, "br")]);
    let of = |stored: &HeaderMap| variant(stored, &request, &rule);
    assert_eq!(of(&vary("Accept-Encoding")), None);
    assert_eq!(of(&vary("Accept, Accept-Encoding")), of(&vary("Accept")));
    let coded = map(&[(VARY, "Accept-Encoding"), (CONTENT_ENCODING, "br")]);
    assert!(of(&coded).is_some());
}

#[test]
fn each_named_field_tells_variants_apart() {
    let stored = vary("Accept, X-A");
    let variant =
        |lines: &[(HeaderName, &str)]| variant(&stored, &map(lines), &VaryRule::default());
    let x_a = HeaderName::from_static("x-a");
    let requests = [
        variant(&[]),
        variant(&[(ACCEPT, "")]),
        variant(&[(ACCEPT, "a")]),
        variant(&[(ACCEPT, "b")]),
        variant(&[(x_a.clone(), "a")]),
        variant(&[(x_a.clone(), "A")]),
        variant(&[(ACCEPT, "a"), (x_a.clone(), "a")]),
    ];
    for (at, request) in requests.iter().enumerate() {
        assert!(
            request.is_some() && !requests[at + 1..].contains(request),
            "{at}"
        );
    }
    let other = HeaderName::from_static("x-b");
    assert_eq!(
        variant(&[(ACCEPT, "a"), (other, "z")]),
        variant(&[(ACCEPT, "a")])
    );
}

#[test]
fn order_and_case_of_vary_mean_nothing() {
    let request = map(&[(ACCEPT, "a"), (ACCEPT_LANGUAGE, "b")]);
    let variant = |stored: &HeaderMap| variant(stored, &request, &VaryRule::default());
    let expected = variant(&vary("Accept, Accept-Language"));
    assert_eq!(variant(&vary("accept-language,ACCEPT,accept")), expected);
    let lines = map(&[(VARY, "Accept-Language"), (VARY, "Accept")]);
    assert_eq!(variant(&lines), expected);
}

#[test]
fn spellings_that_mean_the_same_are_one_variant() {
    assert!(are_same(
        &ACCEPT_ENCODING,
        &["gzip, deflate, br"],
        &["br;q=0.5,GZIP"]
    ));
    assert!(!are_same(&ACCEPT_ENCODING, &["gzip"], &["gzip, br"]));
    assert!(are_same(&ACCEPT_ENCODING, &["identity"], &[""]));
    assert!(!are_same(&ACCEPT_ENCODING, &[], &[""]));
    assert!(are_same(
        &ACCEPT_LANGUAGE,
        &["de, en-GB;q=0.5"],
        &["EN-gb; q=0.5,DE"]
    ));
    assert!(!are_same(
        &ACCEPT_LANGUAGE,
        &["de, en;q=0.5"],
        &["en, de;q=0.5"]
    ));
    assert!(are_same(
        &ACCEPT,
        &["a/b; q=0.1, c/d"],
        &["c/d", "a/b;q=0.1"]
    ));
    assert!(!are_same(&ACCEPT, &["a/b;x=\"1 2\""], &["a/b;x=\"12\""]));
    assert!(are_same(&COOKIE, &["a=1", "b=2"], &["a=1; b=2"]));
    assert!(!are_same(&COOKIE, &["a=1; b=2"], &["b=2; a=1"]));
    let other = HeaderName::from_static("x-a");
    assert!(are_same(&other, &["a", "b"], &["a, b"]));
    assert!(are_same(&other, &[" a "], &["a"]));
    assert!(!are_same(&other, &["a, b"], &["b, a"]));
    assert!(!are_same(&other, &["a  b"], &["a b"]));
}

#[test]
fn a_route_may_name_fields_and_cookies_of_its_own() {
    let rule = VaryRule {
        headers: vec![HeaderName::from_static("x-a")],
        cookies: vec!["theme".to_owned()],
        route: None,
        codes: false,
    };
    let of = |lines: &[(HeaderName, &str)]| variant(&HeaderMap::new(), &map(lines), &rule);
    let dark = of(&[(COOKIE, "id=1; theme=dark")]);
    assert_eq!(of(&[(COOKIE, "theme=dark; id=2")]), dark);
    assert_eq!(of(&[(COOKIE, "id=3"), (COOKIE, "theme=dark")]), dark);
    assert_eq!(of(&[(COOKIE, "theme=dark; theme=light")]), dark);
    for line in [
        "theme=light",
        "id=1",
        "xtheme=dark",
        "themes=dark",
        "theme",
        "theme=",
    ] {
        assert_ne!(of(&[(COOKIE, line)]), dark, "{line}");
    }
    assert_ne!(of(&[(COOKIE, "theme=")]), of(&[]));
    assert_ne!(of(&[(HeaderName::from_static("x-a"), "1")]), of(&[]));
}

proptest! {
    #[test]
    fn a_variant_tells_its_values(one in "[ab, ]{0,5}", two in "[ab, ]{0,5}") {
        let name = HeaderName::from_static("x-a");
        prop_assert_eq!(are_same(&name, &[&one], &[&two]), one.trim() == two.trim());
    }
}
