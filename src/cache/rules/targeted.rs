//! Targeted cache control (RFC 9213): a field such as `CDN-Cache-Control` that speaks to caches of
//! one kind, and to them replaces `Cache-Control` and `Expires`.
//!
//! It is a Structured Field (RFC 9651): a dictionary that is malformed anywhere is no dictionary, and
//! then the next field of the list speaks, in the end `Cache-Control`.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directives::{Argument, ResponseDirectives};

/// What speaks to this cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Targeted(ResponseDirectives),
    /// `Cache-Control`; `Expires` and `Pragma` count as well.
    General(ResponseDirectives),
}

impl Control {
    /// The first of the fields `targets` that is valid and not empty, else `Cache-Control`.
    pub fn of_response(headers: &HeaderMap, targets: &[HeaderName]) -> Control {
        let mut targeted = targets.iter().filter_map(|name| parse(headers, name));
        match targeted.next() {
            Some(directives) => Control::Targeted(directives),
            None => Control::General(ResponseDirectives::parse(headers)),
        }
    }

    pub fn directives(&self) -> &ResponseDirectives {
        match self {
            Control::Targeted(directives) | Control::General(directives) => directives,
        }
    }
}

/// `None`: absent, empty or malformed (RFC 9213 §2.1).
fn parse(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
    let dictionary = Parser::parse_dictionary(&lines.join(&b", "[..])).ok()?;
    (!dictionary.is_empty()).then(|| directives(&dictionary))
}

fn directives(dictionary: &Dictionary) -> ResponseDirectives {
    let mut directives = ResponseDirectives::default();
    for (name, entry) in dictionary {
        let ListEntry::Item(item) = entry else {
            directives.add(name.as_bytes(), Argument::Invalid);
            continue;
        };
        match &item.bare_item {
            BareItem::Boolean(false) => {}
            BareItem::Boolean(true) => directives.add(name.as_bytes(), Argument::None),
            BareItem::Integer(number) => {
                let text = number.to_string();
                directives.add(name.as_bytes(), Argument::Text(text.as_bytes()));
            }
            BareItem::String(text) | BareItem::Token(text) if takes_fields(name) => {
                directives.add(name.as_bytes(), Argument::Text(text.as_bytes()));
            }
            _ => directives.add(name.as_bytes(), Argument::Invalid),
        }
    }
    directives
}

/// The other directives' arguments are integers, and a string is none (RFC 9213 §2.1).
fn takes_fields(name: &str) -> bool {
    matches!(name, "private" | "no-cache")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::CACHE_CONTROL;

    use super::super::directives::Scope;
    use super::*;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const OWN: HeaderName = HeaderName::from_static("weir-cache-control");

    fn control(lines: &[(HeaderName, &str)]) -> Control {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        Control::of_response(&headers, &[OWN, CDN])
    }

    fn max_age(control: &Control) -> Option<u64> {
        control.directives().max_age.map(|age| age.as_secs())
    }

    #[test]
    fn a_targeted_field_replaces_cache_control() {
        let found = control(&[(CACHE_CONTROL, "no-store, s-maxage=1"), (CDN, "max-age=60")]);
        let expected = ResponseDirectives {
            max_age: Some(Duration::from_secs(60)),
            ..ResponseDirectives::default()
        };
        assert_eq!(found, Control::Targeted(expected));
    }

    #[test]
    fn the_first_valid_field_of_the_list_speaks() {
        let found = control(&[(CDN, "max-age=60"), (OWN, "max-age=5")]);
        assert_eq!(max_age(&found), Some(5));
        let found = control(&[(CDN, "max-age=60"), (OWN, "max-age=5,")]);
        assert_eq!(max_age(&found), Some(60));
    }

    #[test]
    fn a_field_that_is_empty_or_malformed_is_not_there() {
        for value in [
            "",
            "  ",
            "max-age=60,",
            "max-age=60; private, =",
            "MAX-AGE=60",
            "max-age=60, \"x",
            "max-age=60 no-store",
            "max-age=",
            "max-age=1.2345",
            "max-age=99999999999999999999",
            "max-age=6\u{e9}",
        ] {
            let found = control(&[(CDN, value), (CACHE_CONTROL, "max-age=7")]);
            assert!(matches!(found, Control::General(_)), "{value:?}");
            assert_eq!(max_age(&found), Some(7), "{value:?}");
        }
        assert!(matches!(control(&[]), Control::General(_)));
    }

    #[test]
    fn a_value_of_the_wrong_type_makes_a_lifetime_zero() {
        for value in ["-1", "\"60\"", "60.5", "sixty", "?1", "(60)", ":AA==:"] {
            let found = control(&[(CDN, &format!("max-age={value}"))]);
            assert_eq!(max_age(&found), Some(0), "{value}");
        }
    }

    #[test]
    fn directives_of_all_types_are_read() {
        let line =
            "s-maxage=9;x=1, private=\"a, b\", no-cache=c, no-store=?0, must-revalidate, ext=(a b)";
        let found = control(&[(CDN, line), (CDN, "stale-if-error=3")]);
        let directives = found.directives();
        assert_eq!(directives.s_maxage, Some(Duration::from_secs(9)));
        assert_eq!(directives.private.fields(), ["a", "b"]);
        assert_eq!(directives.no_cache.fields(), ["c"]);
        assert!(!directives.no_store && directives.must_revalidate);
        assert_eq!(directives.stale_if_error, Some(Duration::from_secs(3)));
        assert_eq!(
            control(&[(CDN, "private=(a)")]).directives().private,
            Scope::Response
        );
    }

    #[test]
    fn of_a_directive_given_twice_the_last_counts() {
        let found = control(&[(CDN, "max-age=5, max-age=9")]);
        assert_eq!(max_age(&found), Some(9));
    }
}
