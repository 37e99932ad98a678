//! How long a stored response is fresh, and how old it is (RFC 9111 §4.2).
//!
//! The lifetime comes from the first that says one: `s-maxage`, `max-age`, `Expires` − `Date`, the
//! heuristic of §4.2.2 (a tenth of the time since `Last-Modified`, a day at most), the route's
//! `default_ttl`. A targeted field (`targeted`) speaks in place of `Cache-Control` and `Expires`. The
//! age counts from the origin: the larger of what `Date` and what `Age` and the transfer say
//! (§4.2.3).
//!
//! [`Terms`] are computed once, when a response comes or is validated, and kept with it: a hit parses
//! nothing. Fresh is what is younger than its lifetime; a lifetime of zero is never fresh.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::date::{self, between};
use super::directives::{ResponseDirectives, Scope, delta_seconds, has_pragma_no_cache};
use super::targeted::Control;

/// RFC 9111 §4.2.2 suggests a tenth.
const HEURISTIC_SHARE: u32 = 10;
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// RFC 9111 §1.2.2: more is as good as for ever.
const SECONDS_MAX: Duration = Duration::from_secs(1 << 31);

/// When an exchange took place.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub requested: SystemTime,
    /// When the response's head had come.
    pub answered: SystemTime,
}

/// What a route says where responses say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Lifetime of a response that names none and has no `Last-Modified` to guess from.
    pub ttl: Option<Duration>,
    /// How long after its end a response may be sent while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// How long after its end a response may be sent when the origin is down or answers 500, 502, 503
    /// or 504.
    pub grace: Duration,
}

/// Who said how long a response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `no-cache`, or `Pragma` alone: to be validated each time.
    NoCache,
    SMaxage,
    MaxAge,
    Expires,
    Heuristic,
    Default,
    /// Nobody: never fresh.
    Nobody,
}

/// For how long a response may be used, and on which conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub source: Source,
    pub lifetime: Duration,
    /// When a response of its age was made; ages are counted from here.
    pub born: SystemTime,
    /// Whether a stale response may be sent where no window below says so, to a client that takes it.
    pub may_be_stale: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// The windows begin at the end of the lifetime. While it is fetched anew:
    pub stale_while_revalidate: Duration,
    /// When the origin answers with an error:
    pub stale_if_error: Duration,
    /// When no origin answers:
    pub stale_if_down: Duration,
}

// === impl Terms ===

impl Terms {
    pub fn new(
        status: StatusCode,
        headers: &HeaderMap,
        control: &Control,
        defaults: &Defaults,
        exchange: &Exchange,
    ) -> Terms {
        let directives = control.directives();
        let (source, lifetime) = lifetime(status, headers, control, defaults, exchange.answered);
        let initial_age = initial_age(headers, exchange);
        let answered = exchange.answered;
        let windows = Windows::new(directives, source, defaults);
        Terms {
            source,
            lifetime,
            born: answered
                .checked_sub(initial_age)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            may_be_stale: may_be_stale(directives, source),
            immutable: directives.immutable,
            stale_while_revalidate: windows.revalidate,
            stale_if_error: windows.error,
            stale_if_down: windows.down,
        }
    }

    /// The same, stale at `at` if it was fresh for longer.
    pub fn until(self, at: SystemTime) -> Terms {
        let lifetime = self.lifetime.min(between(self.born, at));
        Terms { lifetime, ..self }
    }

    /// What `Age` says on a response sent at `now`, in whole seconds.
    pub fn age(&self, now: SystemTime) -> Duration {
        Duration::from_secs(between(self.born, now).as_secs())
    }

    /// The first moment at which it is stale.
    pub fn stale_from(&self) -> SystemTime {
        // Lifetimes are at most 2³¹ seconds, which every clock of today can add.
        self.born.checked_add(self.lifetime).unwrap_or(self.born)
    }

    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now < self.stale_from()
    }

    /// For how much longer it is fresh; zero when it is stale.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        between(now, self.stale_from())
    }

    /// For how long it has been stale; zero while it is fresh.
    pub fn staleness(&self, now: SystemTime) -> Duration {
        between(self.stale_from(), now)
    }

    pub(super) fn is_ever_fresh(&self) -> bool {
        !self.lifetime.is_zero()
    }

    pub(super) fn is_ever_usable_stale(&self) -> bool {
        let longest = self.stale_while_revalidate.max(self.stale_if_error);
        !longest.max(self.stale_if_down).is_zero()
    }
}

struct Windows {
    revalidate: Duration,
    error: Duration,
    down: Duration,
}

// === impl Windows ===

impl Windows {
    /// `must-revalidate`, `proxy-revalidate` and `no-cache` forbid every window; `s-maxage` forbids
    /// those that only the route gives (RFC 9111 §5.2.2.10): who writes `stale-while-revalidate`
    /// beside it means both.
    fn new(directives: &ResponseDirectives, source: Source, defaults: &Defaults) -> Windows {
        let window = |explicit: Option<Duration>, default: Duration| match explicit {
            _ if directives.must_revalidate() || source == Source::NoCache => Duration::ZERO,
            Some(window) => window,
            None if directives.s_maxage.is_some() => Duration::ZERO,
            None => default.min(SECONDS_MAX),
        };
        let error = window(directives.stale_if_error, defaults.grace);
        Windows {
            revalidate: window(
                directives.stale_while_revalidate,
                defaults.stale_while_revalidate,
            ),
            error,
            down: error.max(window(None, defaults.grace)),
        }
    }
}

/// RFC 9111 §4.2.4: what forbids stale responses whatever the client takes.
fn may_be_stale(directives: &ResponseDirectives, source: Source) -> bool {
    !directives.must_revalidate() && directives.s_maxage.is_none() && source != Source::NoCache
}

/// RFC 9111 §4.2.1, and the route's word where nothing else is said.
fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    defaults: &Defaults,
    answered: SystemTime,
) -> (Source, Duration) {
    let directives = control.directives();
    if directives.no_cache == Scope::Response {
        return (Source::NoCache, Duration::ZERO);
    }
    if let Some(s_maxage) = directives.s_maxage {
        return (Source::SMaxage, s_maxage);
    }
    if let Some(max_age) = directives.max_age {
        return (Source::MaxAge, max_age);
    }
    if let Control::General(_) = control {
        if headers.contains_key(EXPIRES) {
            return (Source::Expires, from_expires(headers, answered));
        }
        if !headers.contains_key(http::header::CACHE_CONTROL) && has_pragma_no_cache(headers) {
            return (Source::NoCache, Duration::ZERO);
        }
    }
    if !may_be_guessed(status, directives) {
        return (Source::Nobody, Duration::ZERO);
    }
    match (heuristic(headers, answered), defaults.ttl) {
        (Some(lifetime), _) => (Source::Heuristic, lifetime),
        (None, Some(ttl)) => (Source::Default, ttl.min(SECONDS_MAX)),
        (None, None) => (Source::Nobody, Duration::ZERO),
    }
}

/// An `Expires` that is no date has passed (RFC 9111 §5.3).
fn from_expires(headers: &HeaderMap, answered: SystemTime) -> Duration {
    let expires = date::date(headers, &EXPIRES);
    expires.map_or(Duration::ZERO, |expires| {
        between(made(headers, answered), expires)
    })
}

/// `Date`; without a valid one, a response was made when it came (RFC 9110 §6.6.1).
fn made(headers: &HeaderMap, answered: SystemTime) -> SystemTime {
    date::date(headers, &DATE).unwrap_or(answered)
}

fn heuristic(headers: &HeaderMap, answered: SystemTime) -> Option<Duration> {
    let modified = date::date(headers, &LAST_MODIFIED)?;
    let unchanged = made(headers, answered).duration_since(modified).ok()?;
    Some((unchanged / HEURISTIC_SHARE).min(HEURISTIC_MAX))
}

/// Whether a response that says nothing of its lifetime may have one (RFC 9111 §4.2.2).
pub(super) fn may_be_guessed(status: StatusCode, directives: &ResponseDirectives) -> bool {
    directives.public || is_heuristically_cacheable(status)
}

/// Whether a response says how long it is fresh, be it wrongly.
pub(super) fn is_explicit(headers: &HeaderMap, control: &Control) -> bool {
    let directives = control.directives();
    let has_expires = || matches!(control, Control::General(_)) && headers.contains_key(EXPIRES);
    directives.s_maxage.is_some() || directives.max_age.is_some() || has_expires()
}

/// RFC 9110 §15.1, without 206, and 451 (RFC 7725 §3).
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 451 | 501
    )
}

/// RFC 9111 §4.2.3: `corrected_initial_age`.
fn initial_age(headers: &HeaderMap, exchange: &Exchange) -> Duration {
    let apparent = between(made(headers, exchange.answered), exchange.answered);
    let delay = between(exchange.requested, exchange.answered);
    apparent.max(age_field(headers) + delay)
}

/// The first member of `Age`; nothing where that is no number (RFC 9111 §5.1).
fn age_field(headers: &HeaderMap) -> Duration {
    let line = headers.get(AGE).map_or(&b""[..], |line| line.as_bytes());
    let first = line.split(|byte| *byte == b',').next().unwrap_or(line);
    delta_seconds(first.trim_ascii()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
