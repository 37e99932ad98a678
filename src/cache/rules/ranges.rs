//! Parts of a stored response: `Range` and `If-Range` (RFC 9110 §14.2, §13.1.5).
//!
//! Only a whole stored 200 is cut. A `Range` that is malformed, of another unit, or too greedy is not
//! there, and the client gets the whole: parts are a courtesy (§14.2). Too greedy are more parts than
//! [`PARTS_MAX`] and parts that overlap or go backwards.

use std::ops::Range;
use std::time::Duration;

use http::header::{DATE, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::conditional::EntityTag;
use super::date;

/// Enough for every player and download manager; each part costs a head of its own.
pub const PARTS_MAX: usize = 16;

/// What to send of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    Whole,
    /// 206.
    One(Range<u64>),
    /// 206, `multipart/byteranges`; at least two, ascending, apart.
    Many(Vec<Range<u64>>),
    /// 416.
    None,
}

/// A date is as good as a strong tag if the response was made a while after it (RFC 9110 §8.8.2.2).
const STRONG_DATE_AGE: Duration = Duration::from_secs(1);

/// What of a stored response, `length` bytes long, answers `request`.
pub fn parts(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    length: u64,
) -> Parts {
    // §14.2: a range of anything but a GET is ignored.
    if *method != Method::GET || status != StatusCode::OK || !has_condition_met(request, stored) {
        return Parts::Whole;
    }
    let mut lines = request.get_all(RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse(line.as_bytes(), length),
        _ => Parts::Whole,
    }
}

/// A `Range` field's value, for a response of `length` bytes.
pub fn parse(line: &[u8], length: u64) -> Parts {
    let Some(specs) = specs(line) else {
        return Parts::Whole;
    };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for spec in &specs {
        match spec.within(length) {
            Some(range) if ranges.last().is_some_and(|last| range.start < last.end) => {
                return Parts::Whole;
            }
            Some(range) => ranges.push(range),
            None => {}
        }
    }
    match (ranges.len(), ranges.pop()) {
        // There is no range in nothing, and 416 would deny the client that nothing.
        (_, Some(_)) if length == 0 => Parts::Whole,
        (_, None) => Parts::None,
        (1, Some(only)) => Parts::One(only),
        (_, Some(last)) => {
            ranges.push(last);
            Parts::Many(ranges)
        }
    }
}

/// One member of a range set, as sent.
enum Spec {
    From { first: u64, last: Option<u64> },
    Suffix { bytes: u64 },
}

// === impl Spec ===

impl Spec {
    /// `None`: malformed. Numbers beyond 2⁶⁴ are as large as that.
    fn parse(text: &[u8]) -> Option<Spec> {
        let dash = memchr::memchr(b'-', text)?;
        let (first, last) = (&text[..dash], &text[dash + 1..]);
        match (first.is_empty(), last.is_empty()) {
            (true, _) => number(last).map(|bytes| Spec::Suffix { bytes }),
            (false, true) => number(first).map(|first| Spec::From { first, last: None }),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// The bytes that are meant; `None`: there are none of them.
    fn within(&self, length: u64) -> Option<Range<u64>> {
        match *self {
            Spec::Suffix { bytes: 0 } => None,
            Spec::Suffix { bytes } => Some(length.saturating_sub(bytes)..length),
            Spec::From { first, .. } if first >= length => None,
            Spec::From { first, last } => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                Some(first..end)
            }
        }
    }
}

/// The set of a `bytes` range (§14.1.2); `None`: malformed, of another unit, or of too many members.
fn specs(line: &[u8]) -> Option<Vec<Spec>> {
    let equals = memchr::memchr(b'=', line)?;
    if !line[..equals].trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let members = line[equals + 1..].split(|byte| *byte == b',');
    let members = members
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty());
    let specs: Option<Vec<Spec>> = members.take(PARTS_MAX + 1).map(Spec::parse).collect();
    specs.filter(|specs| (1..=PARTS_MAX).contains(&specs.len()))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    Some(digits.iter().fold(0, add))
}

/// `If-Range`: parts are only of use to who has the other parts of the same bytes. Compared strongly;
/// what is neither a tag nor a date is not met.
fn has_condition_met(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    let (condition, others) = (lines.next(), lines.next());
    let Some(condition) = condition else {
        return true;
    };
    if others.is_some() {
        return false;
    }
    if let Some(tag) = EntityTag::parse(condition.as_bytes()) {
        return EntityTag::of(stored).is_some_and(|own| own.matches_strongly(&tag));
    }
    let Some(modified) = date::date(stored, &LAST_MODIFIED) else {
        return false;
    };
    let made = date::date(stored, &DATE);
    let is_strong = made.is_some_and(|made| date::between(modified, made) >= STRONG_DATE_AGE);
    is_strong && date::parse(condition) == Some(modified)
}

#[cfg(test)]
mod tests;
