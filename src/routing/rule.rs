//! What a rule asks of a request besides host and path: its method and its headers.
//!
//! A filter says yes or no; it does not rank. Used by `Table` only.

use http::{HeaderMap, HeaderValue, Method};

use crate::config::model::{HeaderMatch, HeaderValueMatch, Rule};

pub(super) struct Filter {
    /// Empty: any.
    methods: Vec<Method>,
    /// All must match.
    headers: Vec<HeaderMatch>,
}

impl Filter {
    /// `None`: the rule takes any method and any headers.
    pub(super) fn build(rule: &Rule) -> Option<Box<Filter>> {
        if rule.methods.is_empty() && rule.headers.is_empty() {
            return None;
        }
        Some(Box::new(Filter {
            methods: rule.methods.clone(),
            headers: rule.headers.clone(),
        }))
    }

    pub(super) fn accepts(&self, method: &Method, headers: &HeaderMap) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && self.headers.iter().all(|rule| is_met(rule, headers))
    }
}

/// A header sent on several lines is met by any of them.
fn is_met(rule: &HeaderMatch, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(&rule.name).iter();
    match &rule.value {
        HeaderValueMatch::Present => values.next().is_some(),
        HeaderValueMatch::Exact(expected) => values.any(|value| value == expected.as_str()),
        HeaderValueMatch::Regex(regex) => values
            .filter_map(as_text)
            .any(|value| regex.is_match(value)),
    }
}

/// `None`: not UTF-8, which no regex matches.
fn as_text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use regex::Regex;

    use super::*;

    fn met(value: HeaderValueMatch, lines: &[&str]) -> bool {
        let name = HeaderName::from_static("x-version");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        is_met(&HeaderMatch { name, value }, &headers)
    }

    #[test]
    fn present_wants_a_line_and_no_value() {
        assert!(met(HeaderValueMatch::Present, &[""]));
        assert!(!met(HeaderValueMatch::Present, &[]));
    }

    #[test]
    fn exact_wants_the_whole_value_of_one_line() {
        let exact = || HeaderValueMatch::Exact("2".into());
        assert!(met(exact(), &["2"]));
        assert!(met(exact(), &["1", "2"]));
        assert!(!met(exact(), &["22"]));
        assert!(!met(exact(), &["1, 2"]));
        assert!(!met(exact(), &[]));
    }

    #[test]
    fn a_regex_finds_its_match_anywhere_in_one_line() {
        let regex = || HeaderValueMatch::Regex(Regex::new("^v[0-9]+").unwrap());
        assert!(met(regex(), &["v10-beta"]));
        assert!(met(regex(), &["x", "v1"]));
        assert!(!met(regex(), &["xv1"]));
        assert!(met(
            HeaderValueMatch::Regex(Regex::new("é").unwrap()),
            &["café"]
        ));
    }
}
