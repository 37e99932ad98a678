//! What a failure costs an endpoint with those selectors that look at latency, and how long it asks to be
//! spared retries.
//!
//! A fast failure must not look like a fast endpoint, or all traffic sinks into it. So a failure
//! counts as a long wait (linkerd's `PenaltyPeakEwma`): as long as its `Retry-After` says, 1 s to
//! 300 s, else 5 s. An endpoint has no way to make a failure look good: `0`, a date gone by and what
//! cannot be read are bounded alike. Pure; called by `Endpoint::observe`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::observation::Answer;

pub const DEFAULT: Duration = Duration::from_secs(5);
const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(300);

/// `None`: not a failure. Failures are 5xx, 429 and attempts without a response; `date` is asked for
/// only when `Retry-After` holds one.
pub fn penalty(answer: Answer<'_>, date: impl FnOnce() -> SystemTime) -> Option<Duration> {
    match answer {
        Answer::Failed(_) => Some(DEFAULT),
        Answer::Response(status, headers) if is_failure(status) => {
            Some(retry_after(headers, date).map_or(DEFAULT, |wait| wait.clamp(MIN, MAX)))
        }
        Answer::Response(..) => None,
    }
}

/// How long an endpoint that cannot serve (503) asks to be left alone, up to 300 s (RFC 9110 §10.2.3). A 429 is for
/// one client.
pub fn pause(answer: Answer<'_>, date: impl FnOnce() -> SystemTime) -> Option<Duration> {
    match answer {
        Answer::Response(StatusCode::SERVICE_UNAVAILABLE, headers) => {
            Some(retry_after(headers, date)?.min(MAX))
        }
        _ => None,
    }
}

fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// RFC 9110 §10.2.3: seconds or a date; `None` without a readable one.
fn retry_after(headers: &HeaderMap, date: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long wait all the same.
        return Some(text.parse().map_or(MAX, Duration::from_secs));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(date()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In seconds; the clock stands at 1994-11-06 08:49:37.
    fn penalty_of(status: u16, retry_after: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let clock = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        penalty(Answer::Response(status, &headers), || clock).map(|penalty| penalty.as_secs())
    }

    #[test]
    fn failures_are_5xx_429_and_no_response_at_all() {
        for status in [200, 301, 404, 418] {
            assert_eq!(penalty_of(status, Some("60")), None, "{status}");
        }
        for status in [429, 500, 503, 599] {
            assert_eq!(penalty_of(status, None), Some(5), "{status}");
        }
        let failed = penalty(Answer::Failed("reset"), SystemTime::now);
        assert_eq!(failed, Some(DEFAULT));
    }

    #[test]
    fn retry_after_decides_within_bounds_and_nonsense_does_not() {
        for (value, seconds) in [
            ("60", 60),
            (" 7 ", 7),
            ("0", 1),
            ("301", 300),
            ("99999999999999999999999", 300),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 1),
            ("Fri, 31 Dec 1999 23:59:59 GMT", 300),
            ("-5", 5),
            ("1.5", 5),
            ("NaN", 5),
            ("", 5),
        ] {
            assert_eq!(penalty_of(503, Some(value)), Some(seconds), "{value:?}");
        }
    }

    #[test]
    fn only_a_503_that_says_how_long_asks_for_a_pause() {
        for (status, value, seconds) in [
            (503, Some("60"), Some(60)),
            (503, Some("0"), Some(0)),
            (503, Some("301"), Some(300)),
            (503, Some("soon"), None),
            (503, None, None),
            (429, Some("60"), None),
            (200, Some("60"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::RETRY_AFTER, value.parse().unwrap())));
            let answer = Answer::Response(StatusCode::from_u16(status).unwrap(), &headers);
            let pause = pause(answer, SystemTime::now);
            assert_eq!(
                pause,
                seconds.map(Duration::from_secs),
                "{status} {value:?}"
            );
        }
        assert_eq!(pause(Answer::Failed("reset"), SystemTime::now), None);
    }
}
