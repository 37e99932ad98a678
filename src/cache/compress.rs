//! Coding what came uncoded, once: the coded response is stored as a variant of its own.
//!
//! [`CompressRule`] says which responses are offered coded, [`coded_head`] what that changes in their
//! heads, `encoder` turns their bytes into coded ones. `coded` is what is stored of it, `coders` does
//! the work. Which coding a client gets is chosen by `rules::encoding`.

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use super::rules::directives::ResponseDirectives;
use super::rules::encoding::{self, Coding};
use super::rules::list;

pub mod coded;
pub mod coders;
pub mod encoder;

/// What describes the bytes as they were before: their length and digests (RFC 9530 §2 and §3, and what went
/// before it).
pub const OF_THE_UNCODED: [HeaderName; 5] = [
    CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Which responses a route codes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressRule {
    /// At least one; of equally welcome ones the first is taken.
    pub codings: Vec<Coding>,
    /// Bytes a body has at least.
    pub min_bytes: usize,
    /// `text/html`, or `text/*`, in lower case; empty: what is known to gain by it.
    pub types: Vec<String>,
}

impl CompressRule {
    /// Whether a whole response with this head and so many bytes is offered coded.
    pub fn covers(&self, status: StatusCode, headers: &HeaderMap, bytes: usize) -> bool {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let no_transform = ResponseDirectives::parse(headers).no_transform;
        self.is_for(content_type, bytes) && encoding::may_code(status, headers, no_transform)
    }

    /// Whether it is about responses of this type and so many bytes at all.
    pub fn is_for(&self, content_type: Option<&[u8]>, bytes: usize) -> bool {
        bytes >= self.min_bytes && self.is_of_its_types(content_type.unwrap_or_default())
    }

    fn is_of_its_types(&self, content_type: &[u8]) -> bool {
        if self.types.is_empty() {
            return encoding::is_compressible(content_type);
        }
        let kind = content_type.split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let is_meant = |wanted: &String| match wanted.strip_suffix('*') {
            Some(family) => kind.starts_with(family.as_bytes()),
            None => kind == wanted.as_bytes(),
        };
        self.types.iter().any(is_meant)
    }
}

/// The head of the coded form of a response. Its length is not known yet.
pub fn coded_head(head: &ResponseHeader, coding: Coding) -> Result<ResponseHeader> {
    let mut coded = head.clone();
    for name in &OF_THE_UNCODED {
        coded.remove_header(name);
    }
    coded.insert_header(CONTENT_ENCODING, coding.name())?;
    if let Some(tag) = head.headers.get(ETAG) {
        coded.insert_header(ETAG, weak(tag.as_bytes()).into_owned())?;
    }
    Ok(coded)
}

/// The entity tag of a coded form is weak, for it now stands for more than one sequence of bytes (RFC 9110
/// §8.8.1).
pub fn weak(tag: &[u8]) -> Cow<'_, [u8]> {
    match tag.starts_with(b"W/") {
        true => Cow::Borrowed(tag),
        false => Cow::Owned([b"W/", tag].concat()),
    }
}

/// Names `Accept-Encoding` among what responses differ by, if that is not said yet.
pub fn vary_on_coding(head: &mut ResponseHeader) {
    let says_so = list::members(&head.headers, &VARY)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes()));
    if !says_so {
        // A name that is known cannot be refused.
        let _ = head.append_header(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(200, None).unwrap();
        for (name, value) in lines {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn rule(types: &[&str]) -> CompressRule {
        CompressRule {
            codings: vec![Coding::Gzip],
            min_bytes: 100,
            types: types.iter().map(|kind| kind.to_string()).collect(),
        }
    }

    #[test]
    fn what_gains_by_it_is_covered() {
        let covers = |rule: &CompressRule, lines: &[(&'static str, &str)], bytes| {
            rule.covers(StatusCode::OK, &response(lines).headers, bytes)
        };
        let html = [("Content-Type", "Text/HTML; charset=utf-8")];
        let usual = rule(&[]);
        assert!(covers(&usual, &html, 100));
        assert!(!covers(&usual, &html, 99));
        assert!(!covers(&usual, &[], 100));
        assert!(!covers(&usual, &[("Content-Type", "image/png")], 100));
        assert!(covers(
            &rule(&["image/*"]),
            &[("Content-Type", "image/png")],
            100
        ));
        assert!(covers(&rule(&["a/b", "text/html"]), &html, 100));
        assert!(!covers(&rule(&["text/css", "image/*"]), &html, 100));
        for forbidden in [
            ("Content-Encoding", "gzip"),
            ("Cache-Control", "no-transform"),
        ] {
            assert!(!covers(&usual, &[html[0], forbidden], 100), "{forbidden:?}");
        }
        assert!(!usual.covers(StatusCode::NO_CONTENT, &response(&html).headers, 100));
    }

    #[test]
    fn what_may_be_coded_varies_on_it_once() {
        for (before, after) in [
            (&[][..], &["Accept-Encoding"][..]),
            (&["Cookie"], &["Cookie", "Accept-Encoding"]),
            (&["Cookie, accept-encoding"], &["Cookie, accept-encoding"]),
            (&["*"], &["*"]),
        ] {
            let lines: Vec<_> = before.iter().map(|line| ("Vary", *line)).collect();
            let mut head = response(&lines);
            vary_on_coding(&mut head);
            let lines: Vec<_> = head.headers.get_all(VARY).iter().collect();
            assert_eq!(lines, after);
        }
    }

    #[test]
    fn a_coded_head_tells_its_coding_and_nothing_of_the_bytes_before() {
        let plain = response(&[
            ("Content-Type", "text/html"),
            ("Content-Length", "1000"),
            ("Content-Digest", "sha-256=:AA==:"),
            ("Repr-Digest", "sha-256=:AA==:"),
            ("ETag", "\"one\""),
        ]);
        let coded = coded_head(&plain, Coding::Brotli).unwrap();
        let text = |name: &str| coded.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(text("content-type"), Some("text/html"));
        assert_eq!(text("content-encoding"), Some("br"));
        assert_eq!(text("etag"), Some("W/\"one\""));
        for gone in ["content-length", "content-digest", "repr-digest"] {
            assert_eq!(text(gone), None, "{gone}");
        }
        let weak = coded_head(&response(&[("ETag", "W/\"two\"")]), Coding::Gzip).unwrap();
        assert_eq!(weak.headers.get("etag").unwrap(), "W/\"two\"");
    }
}
