//! Dates of HTTP (RFC 9110 §5.6.7), in all three forms, and seconds counted from them.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

/// A field of one date; `None` if it is absent, malformed, or given twice with two values.
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return None;
    }
    parse(first)
}

pub fn parse(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// From `earlier` to `later`; zero if it is the other way round.
pub fn between(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::header::DATE;

    use super::*;

    fn headers(dates: &[&str]) -> HeaderMap {
        let lines = dates.iter().map(|date| (DATE, date.parse().unwrap()));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn all_three_forms_are_read() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(date(&headers(&[text]), &DATE), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(date(&headers(&[text]), &DATE), None, "{text}");
        }
    }

    #[test]
    fn two_dates_are_none_unless_they_are_the_same() {
        let (a, b) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:38 GMT",
        );
        assert_eq!(date(&headers(&[a, b]), &DATE), None);
        assert!(date(&headers(&[a, a]), &DATE).is_some());
    }
}
