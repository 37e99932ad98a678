//! Whether a stored response answers a request (RFC 9111 §4), now or when the origin fails (§4.2.4,
//! RFC 5861).
//!
//! The client's wishes go first, for they only make the cache stricter; only `max-stale` widens, and
//! never beyond what the origin allows. What is fresh is sent; what is stale is sent while it is
//! fetched anew, if its terms give it a window; else the origin is asked.

use std::time::SystemTime;

use http::StatusCode;

use super::date::between;
use super::directives::RequestDirectives;
use super::freshness::Terms;

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Fresh,
    /// Stale, and the client takes it so (`max-stale`).
    StaleAsAsked,
    /// Stale; fetched anew at the same time (`stale-while-revalidate`).
    StaleWhileRevalidated,
    /// The origin is asked.
    Fetch(Why),
    /// 504: the client wants no answer but a stored one (`only-if-cached`), and none will do.
    NotCached,
}

/// Why what is stored does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Absent,
    Stale,
    RequestNoCache,
    RequestMaxAge,
    RequestMinFresh,
}

/// How the origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Status(StatusCode),
    /// It did not answer.
    Down,
}

/// Why a failure is not hidden behind a stale response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposed {
    /// An answer like any other.
    NoFailure,
    /// Its terms allow none, or not for so long.
    TooStale,
    /// It asked to be told (`no-cache`, or `max-age` or `min-fresh` without `max-stale`).
    ClientWantsFresh,
}

/// Whether what is `stored`, if anything is, answers a request with these directives.
pub fn judge(stored: Option<&Terms>, request: &RequestDirectives, now: SystemTime) -> Reuse {
    let answer = match stored {
        Some(terms) => judge_stored(terms, request, now),
        None => Reuse::Fetch(Why::Absent),
    };
    match answer {
        Reuse::Fetch(_) if request.only_if_cached => Reuse::NotCached,
        answer => answer,
    }
}

fn judge_stored(terms: &Terms, request: &RequestDirectives, now: SystemTime) -> Reuse {
    if request.no_cache {
        return Reuse::Fetch(Why::RequestNoCache);
    }
    let is_fresh = terms.is_fresh(now);
    if request
        .max_age
        .is_some_and(|limit| between(terms.born, now) > limit)
    {
        // RFC 8246 §2: only `no-cache` asks to check what does not change.
        if !(terms.immutable && is_fresh) {
            return Reuse::Fetch(Why::RequestMaxAge);
        }
    }
    if request
        .min_fresh
        .is_some_and(|least| terms.remaining(now) < least)
    {
        return Reuse::Fetch(Why::RequestMinFresh);
    }
    if is_fresh {
        return Reuse::Fresh;
    }
    let staleness = terms.staleness(now);
    if terms.may_be_stale && request.max_stale.is_some_and(|limit| staleness <= limit) {
        return Reuse::StaleAsAsked;
    }
    if takes_stale(request) && staleness < terms.stale_while_revalidate {
        return Reuse::StaleWhileRevalidated;
    }
    Reuse::Fetch(Why::Stale)
}

/// Whether the stored response may stand in for a failed answer.
pub fn stand_in(
    terms: &Terms,
    request: &RequestDirectives,
    failure: Failure,
    now: SystemTime,
) -> Result<(), Exposed> {
    let window = match failure {
        Failure::Down => terms.stale_if_down,
        Failure::Status(status) if is_failure(status) => terms.stale_if_error,
        Failure::Status(_) => return Err(Exposed::NoFailure),
    };
    if !takes_stale(request) {
        return Err(Exposed::ClientWantsFresh);
    }
    if terms.staleness(now) >= window {
        return Err(Exposed::TooStale);
    }
    Ok(())
}

/// RFC 9111 §5.2.1.1: who sets a limit and no `max-stale` wants nothing stale.
fn takes_stale(request: &RequestDirectives) -> bool {
    let has_limit = request.max_age.is_some() || request.min_fresh.is_some();
    !request.no_cache && (!has_limit || request.max_stale.is_some())
}

/// RFC 5861 §4.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests;
