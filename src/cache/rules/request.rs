//! What of a request reaches the cache: whether it may be used at all, and which of the client's
//! directives count (RFC 9111 §5.2.1).
//!
//! Clients can make a cache work with their directives, so a route may leave out any of them; as HTTP
//! has it, all count.

use http::header::{
    CONNECTION, CONTENT_LENGTH, IF_MATCH, IF_UNMODIFIED_SINCE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method};

use super::directives::RequestDirectives;
use super::list;

/// Why a request goes past the cache; [`Bypass::name`] is the word of logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Neither GET nor HEAD.
    Method,
    /// The answer may depend on it, and it is no part of the key.
    Body,
    /// `If-Match` and `If-Unmodified-Since` ask about the state at the origin (RFC 9111 §4.3.2).
    Precondition,
    Upgrade,
    /// `Connection` names a field that it has: the origin does not see it, and what came of that would
    /// be kept for all who send the field.
    Connection,
}

/// The directives of requests that a route honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honoured {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: bool,
    pub max_stale: bool,
    pub min_fresh: bool,
}

/// Whether the cache may answer a request, and keep the answer.
pub fn may_use(method: &Method, headers: &HeaderMap) -> Result<(), Bypass> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Bypass::Method);
    }
    if has_body(headers) {
        return Err(Bypass::Body);
    }
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(Bypass::Precondition);
    }
    if headers.contains_key(UPGRADE) {
        return Err(Bypass::Upgrade);
    }
    if hides_fields(headers) {
        return Err(Bypass::Connection);
    }
    Ok(())
}

fn hides_fields(headers: &HeaderMap) -> bool {
    let named = list::members(headers, &CONNECTION);
    let mut named = named.filter_map(|name| HeaderName::from_bytes(name).ok());
    named.any(|name| is_shown_else(&name) && headers.contains_key(name))
}

/// Whether the origin sees the field in other requests.
fn is_shown_else(name: &HeaderName) -> bool {
    *name != TE && !matches!(name.as_str(), "keep-alive" | "close" | "proxy-connection")
}

fn has_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || lengths.iter().any(|length| length != "0")
}

// === impl Bypass ===

impl Bypass {
    pub fn name(self) -> &'static str {
        match self {
            Bypass::Method => "method",
            Bypass::Body => "body",
            Bypass::Precondition => "precondition",
            Bypass::Upgrade => "upgrade",
            Bypass::Connection => "connection",
        }
    }
}

// === impl Honoured ===

impl Honoured {
    pub fn filter(&self, sent: &RequestDirectives) -> RequestDirectives {
        RequestDirectives {
            no_cache: sent.no_cache && self.no_cache,
            no_store: sent.no_store && self.no_store,
            only_if_cached: sent.only_if_cached && self.only_if_cached,
            max_age: sent.max_age.filter(|_| self.max_age),
            max_stale: sent.max_stale.filter(|_| self.max_stale),
            min_fresh: sent.min_fresh.filter(|_| self.min_fresh),
        }
    }
}

/// All, as RFC 9111 has it.
impl Default for Honoured {
    fn default() -> Honoured {
        Honoured {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: true,
            max_stale: true,
            min_fresh: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;

    fn verdict(method: Method, lines: &[(HeaderName, &str)]) -> Result<(), Bypass> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        may_use(&method, &headers)
    }

    #[test]
    fn get_and_head_without_body_or_condition_on_the_origin_use_the_cache() {
        assert_eq!(verdict(Method::GET, &[]), Ok(()));
        assert_eq!(verdict(Method::HEAD, &[(CONTENT_LENGTH, "0")]), Ok(()));
        let conditions = [
            (http::header::IF_NONE_MATCH, "\"a\""),
            (http::header::RANGE, "bytes=0-1"),
        ];
        assert_eq!(verdict(Method::GET, &conditions), Ok(()));
    }

    #[test]
    fn others_go_past_it_and_say_why() {
        for method in [Method::POST, Method::OPTIONS, Method::DELETE, Method::TRACE] {
            assert_eq!(verdict(method, &[]), Err(Bypass::Method));
        }
        for (name, value, expected) in [
            (CONTENT_LENGTH, "5", Bypass::Body),
            (CONTENT_LENGTH, "00", Bypass::Body),
            (TRANSFER_ENCODING, "chunked", Bypass::Body),
            (IF_MATCH, "*", Bypass::Precondition),
            (IF_UNMODIFIED_SINCE, "x", Bypass::Precondition),
            (UPGRADE, "websocket", Bypass::Upgrade),
        ] {
            assert_eq!(verdict(Method::GET, &[(name, value)]), Err(expected));
        }
    }

    #[test]
    fn a_route_leaves_out_what_it_does_not_honour() {
        let second = Some(Duration::from_secs(1));
        let sent = RequestDirectives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: second,
            max_stale: second,
            min_fresh: second,
        };
        assert_eq!(Honoured::default().filter(&sent), sent);
        let none = Honoured {
            no_cache: false,
            no_store: false,
            only_if_cached: false,
            max_age: false,
            max_stale: false,
            min_fresh: false,
        };
        assert_eq!(none.filter(&sent), RequestDirectives::default());
        assert_eq!(
            Honoured::default().filter(&RequestDirectives::default()),
            RequestDirectives::default()
        );
    }
}
