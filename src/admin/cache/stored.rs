//! One stored response as JSON.

use std::time::{Duration, SystemTime};

use http::{HeaderName, header};
use serde::Serialize;

use crate::cache::store::inspect;

#[derive(Debug, Serialize)]
pub(super) struct Stored {
    status: u16,
    fresh: bool,
    /// Until it is stale; below zero since it is.
    fresh_seconds: i64,
    /// As `Age` tells it.
    age_seconds: u64,
    body_bytes: usize,
    /// Of `memory`: everything, bookkeeping included.
    bytes: usize,
    tags: Vec<String>,
    /// Tells variants of a URL apart; `null` where there is only one.
    variant: Option<String>,
    vary: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    etag: Option<String>,
}

impl Stored {
    pub(super) fn of(stored: &inspect::Stored, now: SystemTime) -> Stored {
        let fresh_seconds = seconds_until(stored.fresh_until(), now);
        let text = |name: HeaderName| {
            let value = stored.header(&name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let age = now.duration_since(stored.born()).unwrap_or_default();
        Stored {
            status: stored.status().as_u16(),
            fresh: stored.fresh_until() >= now,
            fresh_seconds,
            age_seconds: age.as_secs(),
            body_bytes: stored.body_bytes,
            bytes: stored.bytes,
            tags: stored.tags().map(str::to_owned).collect(),
            variant: stored.variance.map(hex),
            vary: text(header::VARY),
            content_type: text(header::CONTENT_TYPE),
            content_encoding: text(header::CONTENT_ENCODING),
            etag: text(header::ETAG),
        }
    }
}

fn seconds_until(then: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match then.duration_since(now) {
        Ok(left) => seconds(left),
        Err(past) => -seconds(past.duration()),
    }
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
