//! Exchanges that are kept unless one thing about them is different.

use std::time::{Duration, SystemTime};

use super::super::freshness::{Defaults, Exchange};
use super::*;

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

fn map(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

/// An exchange that is stored unless something is said otherwise.
struct Case<'a> {
    method: Method,
    request: &'a [(HeaderName, &'a str)],
    status: u16,
    response: &'a [(HeaderName, &'a str)],
    defaults: Defaults,
    keep_set_cookie: bool,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case {
            method: Method::GET,
            request: &[],
            status: 200,
            response: &[(CACHE_CONTROL, "max-age=60")],
            defaults: Defaults::default(),
            keep_set_cookie: false,
        }
    }
}

impl Case<'_> {
    fn verdict(&self) -> Result<(), Refusal> {
        let (request, response) = (map(self.request), map(self.response));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let exchange = Exchange {
            requested: now,
            answered: now,
        };
        let status = StatusCode::from_u16(self.status).unwrap();
        let control = Control::of_response(&response, &[CDN]);
        let terms = Terms::new(status, &response, &control, &self.defaults, &exchange);
        let asked = Asked {
            method: &self.method,
            headers: &request,
            directives: &RequestDirectives::parse(&request),
            keep_set_cookie: self.keep_set_cookie,
        };
        may_store(&asked, status, &response, &control, &terms)
    }
}

fn response(lines: &[(HeaderName, &str)]) -> Result<(), Refusal> {
    Case {
        response: lines,
        ..Case::default()
    }
    .verdict()
}

fn control(line: &str) -> Result<(), Refusal> {
    response(&[(CACHE_CONTROL, line)])
}

#[test]
fn only_answers_to_get_are_kept() {
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let case = Case {
            method,
            ..Case::default()
        };
        assert_eq!(case.verdict(), Err(Refusal::Method), "{}", case.method);
    }
    assert_eq!(Case::default().verdict(), Ok(()));
}

#[test]
fn with_an_explicit_lifetime_any_final_status_is_kept_but_some() {
    let never = [
        206, 304, 407, 408, 412, 416, 421, 425, 426, 428, 429, 431, 511,
    ];
    for status in 100..1000 {
        let verdict = Case {
            status,
            ..Case::default()
        }
        .verdict();
        let may = status >= 200 && !never.contains(&status);
        assert_eq!(verdict.is_ok(), may, "{status}");
    }
}

#[test]
fn without_a_lifetime_only_statuses_that_allow_a_guess_are_kept() {
    let response = &[(ETAG, "\"x\"")];
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 451, 501] {
        assert_eq!(
            Case {
                status,
                response,
                ..Case::default()
            }
            .verdict(),
            Ok(()),
            "{status}"
        );
    }
    for status in [
        201, 202, 299, 302, 303, 307, 400, 401, 403, 500, 502, 503, 599,
    ] {
        let verdict = Case {
            status,
            response,
            ..Case::default()
        }
        .verdict();
        assert_eq!(verdict, Err(Refusal::NoLifetime), "{status}");
        let public = &[(ETAG, "\"x\""), (CACHE_CONTROL, "public")];
        let case = Case {
            status,
            response: public,
            ..Case::default()
        };
        assert_eq!(case.verdict(), Ok(()), "{status}");
    }
    let no_cache = &[(ETAG, "\"x\""), (CACHE_CONTROL, "no-cache")];
    let case = Case {
        status: 302,
        response: no_cache,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Err(Refusal::NoLifetime));
}

#[test]
fn no_store_and_private_are_obeyed_whatever_stands_beside_them() {
    for line in [
        "no-store",
        "max-age=60, no-store",
        "NO-STORE, public",
        "no-store, s-maxage=9",
    ] {
        assert_eq!(control(line), Err(Refusal::NoStore), "{line}");
    }
    for line in [
        "private",
        "private, max-age=60",
        "public, private",
        "s-maxage=9, private",
    ] {
        assert_eq!(control(line), Err(Refusal::Private), "{line}");
    }
    assert_eq!(control("private=\"x\", max-age=9"), Ok(()));
    let both = [(CDN, "max-age=9"), (CACHE_CONTROL, "no-store, private")];
    assert_eq!(response(&both), Ok(()));
    let both = [(CDN, "no-store"), (CACHE_CONTROL, "max-age=9")];
    assert_eq!(response(&both), Err(Refusal::NoStore));
}

#[test]
fn no_cache_is_kept_if_it_can_be_validated() {
    let no_cache = (CACHE_CONTROL, "no-cache");
    assert_eq!(response(&[no_cache.clone(), (ETAG, "\"x\"")]), Ok(()));
    assert_eq!(response(&[no_cache]), Err(Refusal::NoUse));
    assert_eq!(control("no-cache=\"x\", max-age=9"), Ok(()));
}

#[test]
fn a_request_may_forbid_keeping_its_answer() {
    let request = &[(CACHE_CONTROL, "no-store")];
    let case = Case {
        request,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Err(Refusal::RequestNoStore));
}

#[test]
fn an_answer_to_credentials_is_kept_only_where_it_is_meant_for_all() {
    for (line, expected) in [
        ("max-age=60", Err(Refusal::Authorization)),
        ("max-age=60, proxy-revalidate", Err(Refusal::Authorization)),
        ("max-age=60, immutable", Err(Refusal::Authorization)),
        ("max-age=60, public", Ok(())),
        ("max-age=60, must-revalidate", Ok(())),
        ("s-maxage=60", Ok(())),
        ("s-maxage=60, private", Err(Refusal::Private)),
    ] {
        let request = &[(AUTHORIZATION, "Basic eDp5")];
        let response = &[(CACHE_CONTROL, line)];
        let case = Case {
            request,
            response,
            ..Case::default()
        };
        assert_eq!(case.verdict(), expected, "{line}");
    }
    let request = &[(AUTHORIZATION, "Basic eDp5")];
    let response = &[(CDN, "max-age=60"), (CACHE_CONTROL, "public")];
    let case = Case {
        request,
        response,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Err(Refusal::Authorization));
    let defaults = Defaults {
        ttl: Some(Duration::from_secs(60)),
        ..Defaults::default()
    };
    let case = Case {
        request,
        response: &[],
        defaults,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Err(Refusal::Authorization));
}

#[test]
fn cookies_are_not_handed_to_others_unless_the_route_wants_it() {
    let response = &[(CACHE_CONTROL, "public, max-age=60"), (SET_COOKIE, "id=1")];
    let case = Case {
        response,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Err(Refusal::SetCookie));
    let case = Case {
        response,
        keep_set_cookie: true,
        ..Case::default()
    };
    assert_eq!(case.verdict(), Ok(()));
    for line in [
        "max-age=60, private=\"Set-Cookie\"",
        "max-age=60, no-cache=set-cookie",
    ] {
        let response = &[(CACHE_CONTROL, line), (SET_COOKIE, "id=1")];
        assert_eq!(
            Case {
                response,
                ..Case::default()
            }
            .verdict(),
            Ok(()),
            "{line}"
        );
    }
}

#[test]
fn vary_must_be_a_list_of_names() {
    let vary = |line: &str| response(&[(CACHE_CONTROL, "max-age=9"), (VARY, line)]);
    assert_eq!(vary("Accept-Encoding, Cookie"), Ok(()));
    assert_eq!(vary(""), Ok(()));
    for line in ["*", "Accept, *", "*, Accept", " * "] {
        assert_eq!(vary(line), Err(Refusal::VaryStar), "{line}");
    }
    for line in ["a b", "x;y", "\"x\""] {
        assert_eq!(vary(line), Err(Refusal::VaryMalformed), "{line}");
    }
    let lines = [(CACHE_CONTROL, "max-age=9"), (VARY, "Accept"), (VARY, "*")];
    assert_eq!(response(&lines), Err(Refusal::VaryStar));
}

#[test]
fn must_understand_asks_for_a_known_status_and_then_outdoes_no_store() {
    let verdict = |status, line: &'static str| {
        let response = &[(CACHE_CONTROL, line)];
        Case {
            status,
            response,
            ..Case::default()
        }
        .verdict()
    };
    assert_eq!(verdict(200, "max-age=9, must-understand"), Ok(()));
    assert_eq!(verdict(200, "max-age=9, must-understand, no-store"), Ok(()));
    for status in [299, 499, 599, 226] {
        let refused = Err(Refusal::NotUnderstood);
        assert_eq!(
            verdict(status, "max-age=9, must-understand"),
            refused,
            "{status}"
        );
        assert_eq!(
            verdict(status, "max-age=9, must-understand, no-store"),
            refused,
            "{status}"
        );
        assert_eq!(verdict(status, "max-age=9"), Ok(()), "{status}");
    }
}

#[test]
fn what_can_never_be_used_again_is_not_kept() {
    assert_eq!(control("max-age=0"), Err(Refusal::NoUse));
    assert_eq!(
        response(&[(CACHE_CONTROL, "max-age=0"), (ETAG, "\"x\"")]),
        Ok(())
    );
    assert_eq!(response(&[(EXPIRES, "0")]), Err(Refusal::NoUse));
    assert_eq!(response(&[]), Err(Refusal::NoUse));
    assert_eq!(control("max-age=0, stale-while-revalidate=9"), Ok(()));
    let grace = Defaults {
        grace: Duration::from_secs(9),
        ..Defaults::default()
    };
    let response = &[(CACHE_CONTROL, "max-age=0")];
    assert_eq!(
        Case {
            response,
            defaults: grace,
            ..Case::default()
        }
        .verdict(),
        Ok(())
    );
}

#[test]
fn fields_of_the_connection_and_fields_kept_from_others_are_dropped() {
    let headers = map(&[
        (CONNECTION, "close, X-Hop, ETag"),
        (HeaderName::from_static("x-hop"), "1"),
        (HeaderName::from_static("keep-alive"), "1"),
        (HeaderName::from_static("x-private"), "1"),
        (HeaderName::from_static("x-kept"), "1"),
        (ETAG, "\"x\""),
        (AGE, "5"),
        (TRAILER, "X-Sum"),
        (TRANSFER_ENCODING, "chunked"),
        (SET_COOKIE, "id=1"),
        (
            CACHE_CONTROL,
            "private=\"x-private\", no-cache=\"set-cookie, x-absent\"",
        ),
    ]);
    let dropped = dropped_fields(&headers, &ResponseDirectives::parse(&headers));
    let mut names: Vec<&str> = dropped.iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "age",
        "connection",
        "keep-alive",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "x-hop",
        "x-private",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_body_that_ended_early_is_not_whole() {
    let length = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| (CONTENT_LENGTH, *line)).collect();
        map(&lines)
    };
    assert!(is_whole(&length(&["5"]), 5, true));
    assert!(is_whole(&length(&[]), 5, true));
    assert!(!is_whole(&length(&["5"]), 4, true));
    assert!(!is_whole(&length(&["5"]), 5, false));
    assert!(!is_whole(&length(&[]), 5, false));
    assert!(!is_whole(&length(&["5", "6"]), 5, true));
    assert!(!is_whole(&length(&["five"]), 5, true));
}
