//! `Cache-Control` of responses and requests (RFC 9111 §5.2), and `Pragma` (§5.4).
//!
//! Conflicts end with the stricter reading (§4.2.1): of two `max-age` the smaller, of two forms of
//! `private` the one without fields. A number that is none makes a response stale at once. Numbers
//! may be quoted (§5.2: recipients accept both forms) and are at most 2³¹ seconds (§1.2.2).

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use super::list;

const SECONDS_MAX: u64 = 1 << 31;

/// What a directive that may name fields applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Nothing,
    Fields(Vec<HeaderName>),
    Response,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub public: bool,
    pub private: Scope,
    pub no_cache: Scope,
    pub no_store: bool,
    pub no_transform: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    /// RFC 8246.
    pub immutable: bool,
    pub max_age: Option<Duration>,
    pub s_maxage: Option<Duration>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: Option<Duration>,
    /// `Duration::MAX`: however stale.
    pub max_stale: Option<Duration>,
    pub min_fresh: Option<Duration>,
}

/// What stands after a directive's `=`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'a> {
    None,
    /// As it stands in `Cache-Control`: a token, or a quoted string with its quotes.
    Text(&'a [u8]),
    /// What no directive takes.
    Invalid,
}

// === impl ResponseDirectives ===

impl ResponseDirectives {
    pub fn parse(headers: &HeaderMap) -> ResponseDirectives {
        let mut directives = ResponseDirectives::default();
        for (name, argument) in each(headers) {
            directives.add(name, argument);
        }
        directives
    }

    /// Unknown directives are ignored (RFC 9111 §5.2.3).
    pub(super) fn add(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("public") {
            self.public = true;
        } else if is("private") {
            self.private.widen(argument);
        } else if is("no-cache") {
            self.no_cache.widen(argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-transform") {
            self.no_transform = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("immutable") {
            self.immutable = true;
        } else if is("max-age") {
            shorten(&mut self.max_age, argument);
        } else if is("s-maxage") {
            shorten(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            shorten(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            shorten(&mut self.stale_if_error, argument);
        }
    }

    /// Whether stale responses are ruled out, save where another directive says how stale they may
    /// be: `s-maxage` means `proxy-revalidate` to a shared cache (RFC 9111 §5.2.2.10).
    pub fn must_revalidate(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate
    }
}

// === impl RequestDirectives ===

impl RequestDirectives {
    /// `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 §5.4).
    pub fn parse(headers: &HeaderMap) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        for (name, argument) in each(headers) {
            directives.add(name, argument);
        }
        if !headers.contains_key(CACHE_CONTROL) && has_pragma_no_cache(headers) {
            directives.no_cache = true;
        }
        directives
    }

    fn add(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            shorten(&mut self.max_age, argument);
        } else if is("max-stale") {
            let limit = match argument {
                Argument::None => Duration::MAX,
                argument => seconds(argument).unwrap_or_default(),
            };
            self.max_stale = Some(self.max_stale.unwrap_or(limit).min(limit));
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.max(seconds(argument));
        }
    }
}

// === impl Scope ===

impl Scope {
    fn widen(&mut self, argument: Argument<'_>) {
        let widened = match (std::mem::take(self), Scope::parse(argument)) {
            (Scope::Fields(mut known), Scope::Fields(more)) => {
                known.extend(more);
                Scope::Fields(known)
            }
            (Scope::Nothing, scope) => scope,
            _ => Scope::Response,
        };
        *self = widened;
    }

    /// Without an argument, or with one that is no list of fields, all of the response is meant.
    fn parse(argument: Argument<'_>) -> Scope {
        let Argument::Text(text) = argument else {
            return Scope::Response;
        };
        let members = list::split(unquoted(text));
        let names = members.map(|member| HeaderName::from_bytes(member).ok());
        match names.collect::<Option<Vec<HeaderName>>>() {
            Some(names) if !names.is_empty() => Scope::Fields(names),
            _ => Scope::Response,
        }
    }

    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Scope::Fields(names) => names,
            Scope::Nothing | Scope::Response => &[],
        }
    }
}

/// Whether `Pragma` asks for no cache. Of a response it means nothing to HTTP (RFC 9111 §5.4), and
/// everything to those who still write it.
pub fn has_pragma_no_cache(headers: &HeaderMap) -> bool {
    list::has_token(headers, &PRAGMA, "no-cache")
}

fn each(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], Argument<'_>)> {
    let members = list::members(headers, &CACHE_CONTROL);
    members.map(|member| match memchr::memchr(b'=', member) {
        Some(at) => (
            member[..at].trim_ascii_end(),
            Argument::Text(&member[at + 1..]),
        ),
        None => (member, Argument::None),
    })
}

fn shorten(current: &mut Option<Duration>, argument: Argument<'_>) {
    let seconds = seconds(argument).unwrap_or_default();
    *current = Some(current.unwrap_or(seconds).min(seconds));
}

/// `delta-seconds` (RFC 9111 §1.2.2).
fn seconds(argument: Argument<'_>) -> Option<Duration> {
    match argument {
        Argument::Text(text) => delta_seconds(unquoted(text)),
        Argument::None | Argument::Invalid => None,
    }
}

/// Digits alone, as at most 2³¹ seconds: more is as good as for ever (RFC 9111 §1.2.2).
pub(super) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits.iter().fold(0_u64, |sum, digit| {
        (sum * 10 + u64::from(digit - b'0')).min(SECONDS_MAX)
    });
    Some(Duration::from_secs(seconds))
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.strip_suffix(b"\"").unwrap_or(text)
}

#[cfg(test)]
mod tests;
