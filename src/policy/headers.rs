//! A route's edits of request and response headers.
//!
//! Pingora keeps the spelling of header names beside the headers, so edits go through its own
//! methods; `HeaderTarget` is what requests and responses have in common. Called by `proxy`.

use http::{HeaderName, HeaderValue};
use pingora_http::{IntoCaseHeaderName, RequestHeader, ResponseHeader};

use crate::config::model::HeaderEdits;

/// A head whose headers may be edited.
pub trait HeaderTarget {
    fn remove(&mut self, name: &HeaderName);
    /// Replaces all lines of this name by one.
    fn set(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue);
    /// Adds a line to those of this name.
    fn add(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue);
}

/// Removes, then sets, then adds.
pub fn apply(edits: &HeaderEdits, headers: &mut impl HeaderTarget) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.set(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.add(name, value.clone());
    }
}

/// Removes every field whose name is meant.
pub fn remove_where(request: &mut RequestHeader, is_meant: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = request.headers.keys().find(|name| is_meant(name)) {
        let name = name.clone();
        request.remove(&name);
    }
}

// === impl HeaderTarget ===

impl HeaderTarget for RequestHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue) {
        expect_valid(self.insert_header(name, value));
    }

    fn add(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue) {
        expect_valid(self.append_header(name, value));
    }
}

impl HeaderTarget for ResponseHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue) {
        expect_valid(self.insert_header(name, value));
    }

    fn add(&mut self, name: impl IntoCaseHeaderName, value: HeaderValue) {
        expect_valid(self.append_header(name, value));
    }
}

/// Names and values are valid by their types, which leaves Pingora nothing to refuse; if it did,
/// the request would go on without the header rather than end here.
fn expect_valid<T>(edited: pingora_core::Result<T>) {
    if let Err(error) = edited {
        log::error!("header not written: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn values<'a>(headers: &'a http::HeaderMap, name: &str) -> Vec<&'a str> {
        let lines = headers.get_all(name).iter();
        lines.map(|value| value.to_str().unwrap()).collect()
    }

    fn pair(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    }

    #[test]
    fn edits_remove_then_set_then_add() {
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("x-a")],
            set: vec![pair("x-a", "2"), pair("x-b", "2")],
            add: vec![pair("x-a", "3"), pair("x-c", "3")],
        };
        let mut request = request(&[
            ("X-A", "1"),
            ("X-B", "0"),
            ("X-B", "1"),
            ("X-C", "1"),
            ("X-D", "1"),
        ]);
        apply(&edits, &mut request);
        assert_eq!(values(&request.headers, "x-a"), ["2", "3"]);
        assert_eq!(values(&request.headers, "x-b"), ["2"]);
        assert_eq!(values(&request.headers, "x-c"), ["1", "3"]);
        assert_eq!(values(&request.headers, "x-d"), ["1"]);
    }

    #[test]
    fn every_line_of_a_removed_header_goes_from_the_wire() {
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("x-a")],
            ..HeaderEdits::default()
        };
        let mut request = request(&[("X-A", "1"), ("x-a", "2"), ("X-B", "1")]);
        apply(&edits, &mut request);
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), "X-B: 1\r\n");
    }

    #[test]
    fn a_response_is_edited_like_a_request() {
        let edits = HeaderEdits {
            remove: vec![http::header::SERVER],
            set: vec![pair("x-frame-options", "DENY")],
            add: vec![pair("set-cookie", "b=2")],
        };
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("Server", "origin").unwrap();
        response.append_header("Set-Cookie", "a=1").unwrap();
        apply(&edits, &mut response);
        assert_eq!(values(&response.headers, "server"), [""; 0]);
        assert_eq!(values(&response.headers, "x-frame-options"), ["DENY"]);
        assert_eq!(values(&response.headers, "set-cookie"), ["a=1", "b=2"]);
    }
}
