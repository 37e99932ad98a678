//! What a 304 changes in the response it says is still good (RFC 9111 §3.2).

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName};

use super::directives::ResponseDirectives;
use super::list;
use super::storable::dropped_fields;

/// The fields of the stored response to replace, all their lines, by those of `not_modified`.
///
/// Every field it has, but not those that are never kept, and not those that say how the stored bytes
/// are to be read: these have not changed. `keep_set_cookie` as in `storable`. The stored response
/// has no `Age`: its age starts anew.
pub fn fields_to_replace(not_modified: &HeaderMap, keep_set_cookie: bool) -> Vec<HeaderName> {
    let dropped = dropped_fields(not_modified, &ResponseDirectives::parse(not_modified));
    let is_kept = |name: &&HeaderName| {
        let is_refused = **name == SET_COOKIE && !keep_set_cookie;
        !is_refused && !describes_bytes(name) && !dropped.contains(name)
    };
    not_modified.keys().filter(is_kept).cloned().collect()
}

/// Whether the field says how the bytes of a body are to be read.
pub fn describes_bytes(name: &HeaderName) -> bool {
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE].contains(name)
}

/// Whether a 304 says that variants are told apart by other fields than before: then what is stored
/// stands in the wrong place, and is not to be found there again.
pub fn changes_vary(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    not_modified.contains_key(VARY) && sorted_vary(stored) != sorted_vary(not_modified)
}

fn sorted_vary(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let names = list::members(headers, &VARY).map(<[u8]>::to_ascii_lowercase);
    let mut names: Vec<Vec<u8>> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_304_replaces_all_it_names_but_what_describes_the_bytes() {
        let not_modified = map(&[
            ("cache-control", "max-age=9, private=\"x-secret\""),
            ("date", "now"),
            ("expires", "soon"),
            ("etag", "\"b\""),
            ("last-modified", "then"),
            ("content-type", "text/plain"),
            ("content-location", "/b"),
            ("x-any", "1"),
            ("x-any", "2"),
            ("content-length", "0"),
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/2"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-secret", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("age", "5"),
            ("set-cookie", "id=1"),
        ]);
        let mut names = fields_to_replace(&not_modified, false);
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let expected = [
            "cache-control",
            "content-location",
            "content-type",
            "date",
            "etag",
            "expires",
            "last-modified",
            "x-any",
        ];
        assert_eq!(names, expected);
        assert!(fields_to_replace(&not_modified, true).contains(&SET_COOKIE));
    }

    #[test]
    fn vary_is_changed_by_other_names_only() {
        let stored = map(&[("vary", "Accept, Cookie")]);
        for (line, changes) in [
            ("cookie,accept", false),
            ("Accept, accept, Cookie", false),
            ("Accept", true),
            ("Accept, Cookie, X", true),
            ("*", true),
            ("", true),
        ] {
            assert_eq!(
                changes_vary(&stored, &map(&[("vary", line)])),
                changes,
                "{line}"
            );
        }
        assert!(!changes_vary(&stored, &HeaderMap::new()));
        assert!(changes_vary(&HeaderMap::new(), &stored));
    }
}
