//! The largest request body a route takes (413): refused by its declared length before a byte is
//! read, and counted while it is read, because a chunked body declares none.
//!
//! A body of exactly the limit is within it. Called by `proxy`.

use http::{HeaderMap, header};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// `bytes`: what was declared, or has been read so far.
    TooLarge {
        bytes: u64,
        limit: u64,
    },
}

/// The bytes of one body, as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    read: u64,
    limit: Option<u64>,
}

/// What `Content-Length` says of the body; `limit` is in bytes, `None`: no bound.
///
/// A length that is no number is `Within`: such a head is refused before it comes here (RFC 9112
/// §6.3), and `Meter` would still hold the body to the limit. One beyond 64 bits counts as the
/// largest there is.
pub fn declared(headers: &HeaderMap, limit: Option<u64>) -> Verdict {
    match headers.get(header::CONTENT_LENGTH) {
        Some(length) => judge(digits(length.as_bytes()).unwrap_or(0), limit),
        None => Verdict::Within,
    }
}

fn judge(bytes: u64, limit: Option<u64>) -> Verdict {
    match limit {
        Some(limit) if bytes > limit => Verdict::TooLarge { bytes, limit },
        _ => Verdict::Within,
    }
}

/// `1*DIGIT` (RFC 9110 §8.6): neither sign nor space.
fn digits(text: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(value))
    };
    text.iter().try_fold(0, add)
}

// === impl Meter ===

impl Meter {
    /// `limit` is in bytes, `None`: no bound.
    pub fn new(limit: Option<u64>) -> Meter {
        Meter { read: 0, limit }
    }

    /// Counts `bytes` more. Once too large, a body stays so.
    pub fn add(&mut self, bytes: usize) -> Verdict {
        self.read = self.read.saturating_add(bytes as u64);
        judge(self.read, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn declaring(length: &str) -> HeaderMap {
        let length = HeaderValue::from_str(length).unwrap();
        HeaderMap::from_iter([(header::CONTENT_LENGTH, length)])
    }

    #[test]
    fn a_declared_length_is_held_to_the_limit() {
        let limit = 100;
        for (length, verdict) in [
            ("0", Verdict::Within),
            ("100", Verdict::Within),
            ("101", Verdict::TooLarge { bytes: 101, limit }),
            (
                "99999999999999999999999999",
                Verdict::TooLarge {
                    bytes: u64::MAX,
                    limit,
                },
            ),
            ("", Verdict::Within),
            ("+101", Verdict::Within),
            ("101, 101", Verdict::Within),
        ] {
            assert_eq!(
                declared(&declaring(length), Some(limit)),
                verdict,
                "{length:?}"
            );
        }
    }

    #[test]
    fn a_body_that_declares_nothing_or_has_no_limit_is_within() {
        assert_eq!(declared(&HeaderMap::new(), Some(0)), Verdict::Within);
        assert_eq!(declared(&declaring("5000"), None), Verdict::Within);
    }

    #[test]
    fn a_limit_of_zero_takes_empty_bodies_only() {
        assert_eq!(declared(&declaring("0"), Some(0)), Verdict::Within);
        assert_eq!(
            declared(&declaring("1"), Some(0)),
            Verdict::TooLarge { bytes: 1, limit: 0 }
        );
    }

    #[test]
    fn a_body_is_counted_over_its_chunks() {
        let mut meter = Meter::new(Some(10));
        assert_eq!(meter.add(6), Verdict::Within);
        assert_eq!(meter.add(4), Verdict::Within);
        let too_large = Verdict::TooLarge {
            bytes: 11,
            limit: 10,
        };
        assert_eq!(meter.add(1), too_large);
        assert_eq!(meter.add(0), too_large);
    }

    #[test]
    fn a_meter_without_limit_never_objects() {
        let mut meter = Meter::new(None);
        assert_eq!(meter.add(usize::MAX), Verdict::Within);
        assert_eq!(meter.add(usize::MAX), Verdict::Within);
    }
}
