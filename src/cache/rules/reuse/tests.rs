//! Tables of a response, a wish and a time, each with its verdict.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::super::freshness::{Defaults, Exchange};
use super::super::targeted::Control;
use super::*;

const DEFAULTS: Defaults = Defaults {
    ttl: None,
    stale_while_revalidate: Duration::ZERO,
    grace: Duration::from_secs(100),
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn headers(line: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !line.is_empty() {
        headers.insert(CACHE_CONTROL, line.parse().unwrap());
    }
    headers
}

/// Of a response that came at `at(0)`.
fn terms(line: &str) -> Terms {
    let headers = headers(line);
    let control = Control::of_response(&headers, &[]);
    let exchange = Exchange {
        requested: at(0),
        answered: at(0),
    };
    Terms::new(StatusCode::OK, &headers, &control, &DEFAULTS, &exchange)
}

fn request(line: &str) -> RequestDirectives {
    RequestDirectives::parse(&headers(line))
}

#[test]
fn each_wish_of_the_client_is_judged() {
    use Reuse::*;
    use Why::*;
    for (response, wish, seconds, expected) in [
        ("max-age=10", "", 9, Fresh),
        ("max-age=10", "", 10, Fetch(Stale)),
        ("max-age=10", "no-cache", 1, Fetch(RequestNoCache)),
        (
            "max-age=10, immutable",
            "no-cache",
            1,
            Fetch(RequestNoCache),
        ),
        ("max-age=10", "no-store", 1, Fresh),
        ("max-age=10", "max-age=5", 5, Fresh),
        ("max-age=10", "max-age=5", 6, Fetch(RequestMaxAge)),
        ("max-age=10", "max-age=0", 1, Fetch(RequestMaxAge)),
        ("max-age=10, immutable", "max-age=0", 1, Fresh),
        (
            "max-age=10, immutable",
            "max-age=0",
            11,
            Fetch(RequestMaxAge),
        ),
        ("max-age=10", "min-fresh=5", 5, Fresh),
        ("max-age=10", "min-fresh=5", 6, Fetch(RequestMinFresh)),
        ("max-age=10", "min-fresh=1", 10, Fetch(RequestMinFresh)),
        (
            "max-age=10",
            "min-fresh=1, max-stale",
            10,
            Fetch(RequestMinFresh),
        ),
        ("max-age=10", "max-stale=5", 15, StaleAsAsked),
        ("max-age=10", "max-stale=5", 16, Fetch(Stale)),
        ("max-age=10", "max-stale", 99_999, StaleAsAsked),
        ("max-age=10", "max-stale=0", 11, Fetch(Stale)),
        ("max-age=10", "max-age=20, max-stale=5", 15, StaleAsAsked),
        (
            "max-age=10",
            "max-age=12, max-stale=5",
            15,
            Fetch(RequestMaxAge),
        ),
        ("max-age=10", "only-if-cached", 9, Fresh),
        ("max-age=10", "only-if-cached", 10, NotCached),
        ("max-age=10", "only-if-cached, max-stale", 99, StaleAsAsked),
        ("max-age=10", "only-if-cached, no-cache", 1, NotCached),
        ("no-cache", "", 0, Fetch(Stale)),
        ("no-cache", "max-stale", 0, Fetch(Stale)),
    ] {
        let answer = judge(Some(&terms(response)), &request(wish), at(seconds));
        assert_eq!(answer, expected, "{response} / {wish} / {seconds}");
    }
}

#[test]
fn without_a_stored_response_the_origin_is_asked_unless_the_client_forbids_it() {
    assert_eq!(judge(None, &request(""), at(0)), Reuse::Fetch(Why::Absent));
    assert_eq!(
        judge(None, &request("only-if-cached"), at(0)),
        Reuse::NotCached
    );
}

#[test]
fn no_client_can_have_stale_what_the_origin_wants_validated() {
    for line in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "s-maxage=10",
        "s-maxage=10, stale-while-revalidate=1",
        "no-cache, max-age=10",
    ] {
        let answer = judge(Some(&terms(line)), &request("max-stale"), at(20));
        assert_eq!(answer, Reuse::Fetch(Why::Stale), "{line}");
    }
}

#[test]
fn a_stale_response_is_sent_while_it_is_fetched_anew() {
    let while_fetched = |line: &str, wish: &str, seconds| {
        let answer = judge(Some(&terms(line)), &request(wish), at(seconds));
        answer == Reuse::StaleWhileRevalidated
    };
    let line = "max-age=10, stale-while-revalidate=5";
    assert!(!while_fetched(line, "", 9));
    assert!(while_fetched(line, "", 10));
    assert!(while_fetched(line, "", 14));
    assert!(!while_fetched(line, "", 15));
    assert!(while_fetched(
        "s-maxage=10, stale-while-revalidate=5",
        "",
        14
    ));
    assert!(while_fetched("max-age=0, stale-while-revalidate=5", "", 0));
    assert!(while_fetched(line, "only-if-cached", 14));
    assert!(while_fetched(line, "max-age=99, max-stale=1", 14));
    for wish in ["no-cache", "max-age=99", "min-fresh=1"] {
        assert!(!while_fetched(line, wish, 14), "{wish}");
    }
    assert!(!while_fetched(
        "max-age=10, must-revalidate, stale-while-revalidate=5",
        "",
        14
    ));
    assert!(!while_fetched("no-cache, stale-while-revalidate=5", "", 1));
}

#[test]
fn a_failure_is_hidden_for_as_long_as_the_terms_say() {
    let hidden =
        |line: &str, failure, seconds| stand_in(&terms(line), &request(""), failure, at(seconds));
    let bad = Failure::Status(StatusCode::BAD_GATEWAY);
    let line = "max-age=10, stale-if-error=5";
    assert_eq!(hidden(line, bad, 14), Ok(()));
    assert_eq!(hidden(line, bad, 15), Err(Exposed::TooStale));
    assert_eq!(hidden(line, Failure::Down, 109), Ok(()));
    assert_eq!(hidden(line, Failure::Down, 110), Err(Exposed::TooStale));
    assert_eq!(hidden("max-age=10", bad, 109), Ok(()));
    assert_eq!(
        hidden("s-maxage=10, stale-if-error=5", Failure::Down, 14),
        Ok(())
    );
    for line in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "s-maxage=10",
        "no-cache",
    ] {
        assert_eq!(
            hidden(line, Failure::Down, 10),
            Err(Exposed::TooStale),
            "{line}"
        );
        assert_eq!(hidden(line, bad, 10), Err(Exposed::TooStale), "{line}");
    }
}

#[test]
fn only_four_statuses_are_failures() {
    for status in 200..600 {
        let failure = Failure::Status(StatusCode::from_u16(status).unwrap());
        let answer = stand_in(&terms("max-age=10"), &request(""), failure, at(11));
        let is_failure = [500, 502, 503, 504].contains(&status);
        assert_eq!(
            answer,
            if is_failure {
                Ok(())
            } else {
                Err(Exposed::NoFailure)
            }
        );
    }
}

#[test]
fn who_wants_it_fresh_is_told_of_the_failure() {
    for (wish, expected) in [
        ("no-cache", Err(Exposed::ClientWantsFresh)),
        ("max-age=99", Err(Exposed::ClientWantsFresh)),
        ("min-fresh=1", Err(Exposed::ClientWantsFresh)),
        ("max-age=99, max-stale", Ok(())),
        ("max-stale=1", Ok(())),
    ] {
        let answer = stand_in(&terms("max-age=10"), &request(wish), Failure::Down, at(15));
        assert_eq!(answer, expected, "{wish}");
    }
}
