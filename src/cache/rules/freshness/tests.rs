//! Lifetimes, ages and windows of responses that came at one fixed second.

use http::HeaderName;
use http::header::CACHE_CONTROL;

use super::*;

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
const NOW_SECONDS: u64 = 1_700_000_000;

fn now() -> SystemTime {
    at(0)
}

/// Seconds after (or before) the moment at which the response came.
fn at(seconds: i64) -> SystemTime {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    if seconds < 0 {
        now - offset
    } else {
        now + offset
    }
}

fn date(seconds: i64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn terms_of(status: u16, lines: &[(HeaderName, &str)], defaults: &Defaults) -> Terms {
    let headers = headers(lines);
    let control = Control::of_response(&headers, &[CDN]);
    let exchange = Exchange {
        requested: now(),
        answered: now(),
    };
    let status = StatusCode::from_u16(status).unwrap();
    Terms::new(status, &headers, &control, defaults, &exchange)
}

fn terms(lines: &[(HeaderName, &str)]) -> Terms {
    terms_of(200, lines, &Defaults::default())
}

fn lifetime_of(lines: &[(HeaderName, &str)]) -> (Source, u64) {
    let terms = terms(lines);
    (terms.source, terms.lifetime.as_secs())
}

#[test]
fn the_most_specific_word_on_the_lifetime_counts() {
    let expires = date(40);
    let (date, modified) = (date(0), date(-1000));
    let all = [
        (CDN, "max-age=10"),
        (CACHE_CONTROL, "s-maxage=20, max-age=30"),
        (EXPIRES, &expires),
        (LAST_MODIFIED, &modified),
        (DATE, &date),
    ];
    assert_eq!(lifetime_of(&all), (Source::MaxAge, 10));
    assert_eq!(lifetime_of(&all[1..]), (Source::SMaxage, 20));
    let without_s_maxage = [&[(CACHE_CONTROL, "max-age=30")], &all[2..]].concat();
    assert_eq!(lifetime_of(&without_s_maxage), (Source::MaxAge, 30));
    assert_eq!(lifetime_of(&all[2..]), (Source::Expires, 40));
    assert_eq!(lifetime_of(&all[3..]), (Source::Heuristic, 100));
    assert_eq!(lifetime_of(&all[4..]), (Source::Nobody, 0));
}

#[test]
fn a_targeted_field_silences_expires() {
    let expires = date(40);
    assert_eq!(
        lifetime_of(&[(CDN, "must-revalidate"), (EXPIRES, &expires)]),
        (Source::Nobody, 0)
    );
    assert_eq!(
        lifetime_of(&[(CDN, "bad,"), (EXPIRES, &expires)]),
        (Source::Expires, 40)
    );
}

#[test]
fn expires_counts_from_date() {
    let (expires, date) = (date(-50), date(-100));
    let lines = [(EXPIRES, expires.as_str()), (DATE, date.as_str())];
    let terms = terms(&lines);
    assert_eq!((terms.source, terms.lifetime), (Source::Expires, secs(50)));
    assert!(!terms.is_fresh(now()));
}

#[test]
fn an_expires_that_is_no_date_has_passed() {
    let later = date(99);
    for value in ["0", "-1", "", "soon", "Thu, 32 Dec 2050 00:00:00 GMT"] {
        assert_eq!(
            lifetime_of(&[(EXPIRES, value)]),
            (Source::Expires, 0),
            "{value:?}"
        );
    }
    assert_eq!(
        lifetime_of(&[(EXPIRES, &later), (EXPIRES, "0")]),
        (Source::Expires, 0)
    );
}

#[test]
fn expires_without_a_date_counts_from_arrival() {
    let expires = date(40);
    assert_eq!(lifetime_of(&[(EXPIRES, &expires)]).1, 40);
    assert_eq!(lifetime_of(&[(EXPIRES, &expires), (DATE, "today")]).1, 40);
}

#[test]
fn no_cache_is_never_fresh_unless_it_names_fields() {
    assert_eq!(
        lifetime_of(&[(CACHE_CONTROL, "no-cache, max-age=9")]),
        (Source::NoCache, 0)
    );
    assert_eq!(
        lifetime_of(&[(CACHE_CONTROL, "no-cache=\"x\", max-age=9")]),
        (Source::MaxAge, 9)
    );
    assert_eq!(
        lifetime_of(&[(http::header::PRAGMA, "no-cache")]),
        (Source::NoCache, 0)
    );
    let both = [
        (http::header::PRAGMA, "no-cache"),
        (CACHE_CONTROL, "max-age=9"),
    ];
    assert_eq!(lifetime_of(&both), (Source::MaxAge, 9));
}

#[test]
fn a_guess_is_a_tenth_and_a_day_at_most() {
    let (date, year) = (date(0), date(-365 * 86_400));
    let guess = lifetime_of(&[(DATE, &date), (LAST_MODIFIED, &year)]);
    assert_eq!(guess, (Source::Heuristic, 86_400));
    let future = self::date(60);
    assert_eq!(
        lifetime_of(&[(LAST_MODIFIED, &future)]),
        (Source::Nobody, 0)
    );
}

#[test]
fn only_some_statuses_are_guessed_at() {
    let modified = date(-1000);
    for status in 200..600 {
        let guess = terms_of(status, &[(LAST_MODIFIED, &modified)], &Defaults::default());
        let may = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 451, 501].contains(&status);
        assert_eq!(guess.source == Source::Heuristic, may, "{status}");
        let public = [
            (LAST_MODIFIED, modified.as_str()),
            (CACHE_CONTROL, "public"),
        ];
        let guess = terms_of(status, &public, &Defaults::default());
        assert_eq!(guess.source, Source::Heuristic, "{status}");
    }
}

#[test]
fn the_route_speaks_last() {
    let defaults = Defaults {
        ttl: Some(secs(60)),
        ..Defaults::default()
    };
    let lifetime = |status, lines: &[(HeaderName, &str)]| {
        let terms = terms_of(status, lines, &defaults);
        (terms.source, terms.lifetime.as_secs())
    };
    let modified = date(-1000);
    assert_eq!(lifetime(200, &[]), (Source::Default, 60));
    assert_eq!(lifetime(404, &[]), (Source::Default, 60));
    assert_eq!(lifetime(302, &[]), (Source::Nobody, 0));
    assert_eq!(lifetime(500, &[]), (Source::Nobody, 0));
    assert_eq!(
        lifetime(200, &[(LAST_MODIFIED, &modified)]),
        (Source::Heuristic, 100)
    );
    assert_eq!(
        lifetime(200, &[(CACHE_CONTROL, "max-age=0")]),
        (Source::MaxAge, 0)
    );
    assert_eq!(
        lifetime(200, &[(CACHE_CONTROL, "no-cache")]),
        (Source::NoCache, 0)
    );
}

#[test]
fn the_age_is_the_larger_of_what_date_and_age_say() {
    let age = |date_seconds: i64, age: &str, delay: i64| {
        let date = date(date_seconds);
        let headers = headers(&[(DATE, &date), (AGE, age)]);
        let exchange = Exchange {
            requested: at(-delay),
            answered: now(),
        };
        initial_age(&headers, &exchange).as_secs()
    };
    assert_eq!(age(0, "0", 0), 0);
    assert_eq!(age(-30, "10", 0), 30);
    assert_eq!(age(-30, "40", 0), 40);
    assert_eq!(age(-30, "40", 2), 42);
    assert_eq!(age(-30, "0", 2), 30);
    assert_eq!(age(500, "7", 0), 7);
}

#[test]
fn an_age_that_is_no_number_is_not_there_and_of_several_the_first_counts() {
    for (value, seconds) in [
        ("7200", 7200),
        ("007200", 7200),
        ("7200, 0", 7200),
        ("0, 7200", 0),
        ("7200,", 7200),
        ("-7200", 0),
        ("7200.0", 0),
        ("72x", 0),
        ("", 0),
        ("99999999999999999999", 1 << 31),
    ] {
        assert_eq!(
            age_field(&headers(&[(AGE, value)])),
            secs(seconds),
            "{value:?}"
        );
    }
    assert_eq!(age_field(&headers(&[(AGE, "5"), (AGE, "9")])), secs(5));
    assert_eq!(age_field(&HeaderMap::new()), secs(0));
}

#[test]
fn a_response_is_fresh_while_younger_than_its_lifetime() {
    let terms = terms(&[(CACHE_CONTROL, "max-age=10"), (AGE, "4")]);
    assert_eq!(terms.age(now()), secs(4));
    assert_eq!(terms.age(at(5)), secs(9));
    assert!(terms.is_fresh(at(5)));
    assert_eq!(terms.remaining(at(5)), secs(1));
    assert!(!terms.is_fresh(at(6)));
    assert_eq!(terms.staleness(at(5)), secs(0));
    assert_eq!(terms.staleness(at(8)), secs(2));
}

#[test]
fn a_lifetime_of_zero_is_never_fresh_and_a_huge_one_overflows_nothing() {
    assert!(!terms(&[(CACHE_CONTROL, "max-age=0")]).is_fresh(now()));
    let long = terms(&[(CACHE_CONTROL, "max-age=99999999999"), (AGE, "2000000000")]);
    assert!(long.is_fresh(now()));
    let old = terms(&[(CACHE_CONTROL, "max-age=1"), (AGE, "99999999999")]);
    assert!(!old.is_fresh(now()));
    let ttl = Defaults {
        ttl: Some(Duration::MAX),
        ..Defaults::default()
    };
    assert!(terms_of(200, &[], &ttl).is_fresh(now()));
}

#[test]
fn a_clock_that_goes_back_makes_no_age() {
    let terms = terms(&[(CACHE_CONTROL, "max-age=10")]);
    assert_eq!(terms.age(at(-100)), secs(0));
    assert!(terms.is_fresh(at(-100)));
}

#[test]
fn windows_for_stale_responses_come_from_the_response_then_from_the_route() {
    let defaults = Defaults {
        ttl: None,
        stale_while_revalidate: secs(5),
        grace: secs(60),
    };
    let windows = |line: &str| {
        let terms = terms_of(200, &[(CACHE_CONTROL, line)], &defaults);
        let windows = [
            terms.stale_while_revalidate,
            terms.stale_if_error,
            terms.stale_if_down,
        ];
        (windows.map(|window| window.as_secs()), terms.may_be_stale)
    };
    for (line, expected, may_be_stale) in [
        ("max-age=1", [5, 60, 60], true),
        ("max-age=1, stale-while-revalidate=9", [9, 60, 60], true),
        ("max-age=1, stale-while-revalidate=0", [0, 60, 60], true),
        ("max-age=1, stale-if-error=9", [5, 9, 60], true),
        ("max-age=1, stale-if-error=90", [5, 90, 90], true),
        ("s-maxage=1", [0, 0, 0], false),
        ("s-maxage=1, stale-while-revalidate=9", [9, 0, 0], false),
        ("s-maxage=1, stale-if-error=9", [0, 9, 9], false),
        (
            "max-age=1, must-revalidate, stale-while-revalidate=9",
            [0, 0, 0],
            false,
        ),
        (
            "max-age=1, proxy-revalidate, stale-if-error=9",
            [0, 0, 0],
            false,
        ),
        (
            "no-cache, stale-while-revalidate=9, stale-if-error=9",
            [0, 0, 0],
            false,
        ),
        (
            "no-cache=\"x\", max-age=1, stale-if-error=9",
            [5, 9, 60],
            true,
        ),
    ] {
        assert_eq!(windows(line), (expected, may_be_stale), "{line}");
    }
}
