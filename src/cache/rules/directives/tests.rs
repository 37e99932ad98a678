//! Values as they should be, and as they come.

use http::header::SET_COOKIE;

use super::*;

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CACHE_CONTROL, line.parse().unwrap());
    }
    headers
}

fn response(line: &str) -> ResponseDirectives {
    ResponseDirectives::parse(&headers(&[line]))
}

fn request(line: &str) -> RequestDirectives {
    RequestDirectives::parse(&headers(&[line]))
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn directives_are_found_in_any_case_and_on_any_line() {
    let both = ["PuBlIc,MAX-AGE=10", "No-TransForm ,, must-Revalidate"];
    let directives = ResponseDirectives::parse(&headers(&both));
    let expected = ResponseDirectives {
        public: true,
        no_transform: true,
        must_revalidate: true,
        max_age: secs(10),
        ..ResponseDirectives::default()
    };
    assert_eq!(directives, expected);
}

#[test]
fn a_lifetime_is_whole_seconds_and_anything_else_is_zero() {
    for (value, seconds) in [
        ("3600", 3600),
        ("\"3600\"", 3600),
        ("003600", 3600),
        ("0", 0),
        ("2147483648", 1 << 31),
        ("2147483649", 1 << 31),
        ("99999999999999999999999999999999", 1 << 31),
        ("-3600", 0),
        ("+3600", 0),
        ("3600.0", 0),
        ("1e3", 0),
        ("'3600'", 0),
        ("3600s", 0),
        ("s3600", 0),
        ("36 00", 0),
        (" 3600", 0),
        ("3600; private", 0),
        ("0x10", 0),
        ("", 0),
        ("\"\"", 0),
    ] {
        let parsed = response(&format!("max-age={value}, s-maxage={value}"));
        assert_eq!(parsed.max_age, secs(seconds), "{value:?}");
        assert_eq!(parsed.s_maxage, secs(seconds), "{value:?}");
    }
    assert_eq!(response("max-age").max_age, secs(0));
    assert_eq!(response("max-age =5").max_age, secs(5));
}

#[test]
fn of_several_lifetimes_the_shortest_counts() {
    for line in [
        "max-age=5, max-age=9",
        "max-age=9, max-age=5",
        "max-age=5, max-age=5",
    ] {
        assert_eq!(response(line).max_age, secs(5), "{line}");
    }
    assert_eq!(response("max-age=9, max-age=x").max_age, secs(0));
    let lines = headers(&["max-age=9", "max-age=5"]);
    assert_eq!(ResponseDirectives::parse(&lines).max_age, secs(5));
}

#[test]
fn what_is_quoted_or_unknown_is_no_directive() {
    assert_eq!(
        response(r#"ext="no-store, max-age=1", max-age=9"#).max_age,
        secs(9)
    );
    assert!(!response(r#"ext="no-store""#).no_store);
    for line in [
        "no-storeX",
        "xno-store",
        "\"no-store\"",
        "=no-store",
        "no_store",
    ] {
        assert_eq!(response(line), ResponseDirectives::default(), "{line}");
    }
}

#[test]
fn an_argument_does_not_weaken_a_directive_that_takes_none() {
    let parsed = response("no-store=0, must-revalidate=\"x\", proxy-revalidate=no");
    assert!(parsed.no_store && parsed.must_revalidate && parsed.proxy_revalidate);
}

#[test]
fn private_and_no_cache_may_name_fields() {
    let fields = |names: &[&'static str]| {
        let names = names.iter().map(|name| HeaderName::from_static(name));
        Scope::Fields(names.collect())
    };
    for (argument, expected) in [
        ("=\"Set-Cookie\"", fields(&["set-cookie"])),
        ("=\"Set-Cookie, X-A\"", fields(&["set-cookie", "x-a"])),
        ("=Set-Cookie", fields(&["set-cookie"])),
        ("=\"x-a", fields(&["x-a"])),
        ("", Scope::Response),
        ("=", Scope::Response),
        ("=\"\"", Scope::Response),
        ("=\" , \"", Scope::Response),
        ("=\"not a name\"", Scope::Response),
    ] {
        assert_eq!(
            response(&format!("private{argument}")).private,
            expected,
            "{argument}"
        );
        assert_eq!(
            response(&format!("no-cache{argument}")).no_cache,
            expected,
            "{argument}"
        );
    }
    assert_eq!(
        response("private=\"x-a\", private=x-b").private,
        fields(&["x-a", "x-b"])
    );
    assert_eq!(
        response("private=\"x-a\", private").private,
        Scope::Response
    );
    assert_eq!(
        response("private, private=\"x-a\"").private,
        Scope::Response
    );
    assert_eq!(
        response("private=set-cookie").private.fields(),
        [SET_COOKIE]
    );
}

#[test]
fn stale_windows_and_extensions_are_read() {
    let parsed =
        response("stale-while-revalidate=30, stale-if-error=\"60\", immutable, must-understand");
    assert_eq!(parsed.stale_while_revalidate, secs(30));
    assert_eq!(parsed.stale_if_error, secs(60));
    assert!(parsed.immutable && parsed.must_understand);
    assert_eq!(
        response("stale-while-revalidate").stale_while_revalidate,
        secs(0)
    );
}

#[test]
fn a_request_asks_with_its_own_directives() {
    let expected = RequestDirectives {
        no_cache: true,
        no_store: true,
        only_if_cached: true,
        max_age: secs(1),
        max_stale: secs(2),
        min_fresh: secs(3),
    };
    let line = "no-cache, no-store, only-if-cached, max-age=1, max-stale=2, min-fresh=3";
    assert_eq!(request(line), expected);
}

#[test]
fn max_stale_alone_takes_any_staleness_and_garbage_takes_none() {
    assert_eq!(request("max-stale").max_stale, Some(Duration::MAX));
    assert_eq!(request("max-stale=x").max_stale, secs(0));
    assert_eq!(request("max-stale, max-stale=7").max_stale, secs(7));
    assert_eq!(request("min-fresh=x").min_fresh, None);
    assert_eq!(request("min-fresh=1, min-fresh=7").min_fresh, secs(7));
    assert_eq!(request("max-age=x").max_age, secs(0));
}

#[test]
fn pragma_counts_only_without_cache_control() {
    let mut headers = HeaderMap::new();
    headers.insert(PRAGMA, "x, No-Cache".parse().unwrap());
    assert!(RequestDirectives::parse(&headers).no_cache);
    headers.insert(CACHE_CONTROL, "max-age=9".parse().unwrap());
    assert!(!RequestDirectives::parse(&headers).no_cache);
    headers.remove(CACHE_CONTROL);
    headers.insert(PRAGMA, "no-cache-at-all".parse().unwrap());
    assert!(!RequestDirectives::parse(&headers).no_cache);
}
