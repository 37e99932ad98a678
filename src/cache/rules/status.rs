//! `Cache-Status` (RFC 9211): what the cache did with a request, for who debugs it.
//!
//! One member for this cache, appended to those of caches behind it. A Structured Field, written by
//! hand: names are tokens, and the only text, a key, is quoted.

use std::fmt;

use http::StatusCode;

use super::reuse::Why;

/// What a response is told of the cache. `Display` gives the member of the list.
#[derive(Clone, Copy, Debug)]
pub struct CacheStatus<'a> {
    /// A token: the name of this cache.
    pub cache: &'a str,
    pub handling: Handling,
    /// Seconds it is still fresh; negative: seconds it has been stale (§2.4).
    pub ttl: Option<i64>,
    /// Only told on request: it may say more than clients should know (§2.7).
    pub key: Option<&'a str>,
    /// A token: what only this cache knows, such as why a response is not kept (§2.8).
    pub detail: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    Hit,
    /// Neither found nor asked for.
    Refused,
    Forwarded {
        because: Forward,
        /// What the origin answered, if that is not what the client is sent (§2.3).
        status: Option<StatusCode>,
        stored: bool,
        /// Whether it waited for the answer to another's request (§2.6).
        collapsed: bool,
    },
}

/// §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The route or the request keeps the cache out of it.
    Bypass,
    /// The method is none that a cache answers.
    Method,
    UriMiss,
    VaryMiss,
    /// Absent, and it is not known which of the two.
    Miss,
    /// Fresh, but not as the client wants it.
    Request,
    Stale,
    /// Only a part of what is asked for is stored.
    Partial,
}

// === impl CacheStatus ===

impl fmt::Display for CacheStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cache)?;
        match self.handling {
            Handling::Hit => f.write_str("; hit")?,
            Handling::Refused => {}
            Handling::Forwarded {
                because,
                status,
                stored,
                collapsed,
            } => {
                write!(f, "; fwd={}", because.name())?;
                if let Some(status) = status {
                    write!(f, "; fwd-status={}", status.as_u16())?;
                }
                f.write_str(if stored { "; stored" } else { "" })?;
                f.write_str(if collapsed { "; collapsed" } else { "" })?;
            }
        }
        if let Some(ttl) = self.ttl {
            // The widest integer of Structured Fields has 15 digits.
            const INTEGER_MAX: i64 = 999_999_999_999_999;
            write!(f, "; ttl={}", ttl.clamp(-INTEGER_MAX, INTEGER_MAX))?;
        }
        if let Some(key) = self.key {
            write!(f, "; key={}", Quoted(key))?;
        }
        match self.detail {
            Some(detail) => write!(f, "; detail={detail}"),
            None => Ok(()),
        }
    }
}

/// An `sf-string`: printable ASCII in quotes; what is not is left out.
struct Quoted<'a>(&'a str);

// === impl Quoted ===

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

// === impl Forward ===

impl Forward {
    pub fn name(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Miss => "miss",
            Forward::Request => "request",
            Forward::Stale => "stale",
            Forward::Partial => "partial",
        }
    }
}

impl From<Why> for Forward {
    fn from(why: Why) -> Forward {
        match why {
            Why::Absent => Forward::UriMiss,
            Why::Stale => Forward::Stale,
            Why::RequestNoCache | Why::RequestMaxAge | Why::RequestMinFresh => Forward::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use sfv::{BareItem, ListEntry, Parser};

    use super::*;

    fn status(handling: Handling) -> CacheStatus<'static> {
        CacheStatus {
            cache: "weir",
            handling,
            ttl: None,
            key: None,
            detail: None,
        }
    }

    fn forwarded(because: Forward) -> Handling {
        Handling::Forwarded {
            because,
            status: None,
            stored: false,
            collapsed: false,
        }
    }

    #[test]
    fn a_hit_tells_how_long_it_is_fresh() {
        let hit = CacheStatus {
            ttl: Some(376),
            ..status(Handling::Hit)
        };
        assert_eq!(hit.to_string(), "weir; hit; ttl=376");
        let stale = CacheStatus {
            ttl: Some(-412),
            ..status(Handling::Hit)
        };
        assert_eq!(stale.to_string(), "weir; hit; ttl=-412");
    }

    #[test]
    fn a_miss_tells_why_and_what_came_of_it() {
        let miss = status(forwarded(Forward::UriMiss));
        assert_eq!(miss.to_string(), "weir; fwd=uri-miss");
        let handling = Handling::Forwarded {
            because: Forward::Stale,
            status: Some(StatusCode::NOT_MODIFIED),
            stored: true,
            collapsed: true,
        };
        let all = CacheStatus {
            ttl: Some(60),
            key: Some("http://a/?x=\"\\"),
            detail: Some("set_cookie"),
            ..status(handling)
        };
        let expected = "weir; fwd=stale; fwd-status=304; stored; collapsed; ttl=60; \
            key=\"http://a/?x=\\\"\\\\\"; detail=set_cookie";
        assert_eq!(all.to_string(), expected);
    }

    #[test]
    fn what_is_neither_found_nor_asked_for_tells_only_why() {
        let refused = CacheStatus {
            detail: Some("not_cached"),
            ..status(Handling::Refused)
        };
        assert_eq!(refused.to_string(), "weir; detail=not_cached");
    }

    #[test]
    fn it_is_a_structured_list() {
        let all = CacheStatus {
            ttl: Some(i64::MAX),
            key: Some("a\u{e9}\"\n\\b"),
            detail: Some("no_store"),
            ..status(forwarded(Forward::Request))
        };
        let list = Parser::parse_list(all.to_string().as_bytes()).unwrap();
        let [ListEntry::Item(item)] = &list[..] else {
            panic!("one item: {list:?}");
        };
        assert_eq!(item.bare_item, BareItem::Token("weir".to_owned()));
        assert_eq!(item.params["key"], BareItem::String("a\"\\b".to_owned()));
        assert_eq!(item.params["fwd"], BareItem::Token("request".to_owned()));
    }

    #[test]
    fn each_reason_to_ask_the_origin_has_its_word() {
        for (why, word) in [
            (Why::Absent, "uri-miss"),
            (Why::Stale, "stale"),
            (Why::RequestNoCache, "request"),
            (Why::RequestMaxAge, "request"),
            (Why::RequestMinFresh, "request"),
        ] {
            assert_eq!(Forward::from(why).name(), word);
        }
    }
}
