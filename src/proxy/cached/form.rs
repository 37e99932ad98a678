//! In which form a client gets what is stored: whole, in part, or as the word that its own copy is good.
//!
//! Pure. The head that is sent is a copy of the stored one, changed as the form needs.

use std::ops::Range;

use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    RANGE, TRANSFER_ENCODING,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::cache::rules::conditional::is_not_modified;
use crate::cache::rules::ranges::{self, Parts};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    NotModified,
    /// Of so many bytes.
    Part(Range<u64>, u64),
    Parts(Multipart),
    /// 416: of so many bytes, none that is asked for.
    Unsatisfiable(u64),
}

/// `multipart/byteranges` (RFC 9110 §14.6).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Multipart {
    boundary: String,
    /// What goes before each part, and the part.
    pub(super) parts: Vec<(Vec<u8>, Range<u64>)>,
    /// What goes behind the last one.
    pub(super) end: Vec<u8>,
}

// === impl Form ===

impl Form {
    /// Whether a request asks for nothing but the whole, whatever is stored.
    pub(super) fn is_whole_for(request: &RequestHeader) -> bool {
        let in_part = [IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE];
        !in_part
            .iter()
            .any(|name| request.headers.contains_key(name))
    }

    /// `length`: of the stored body, if it is known; without it, it is not cut.
    pub(super) fn of(
        request: &RequestHeader,
        stored: &ResponseHeader,
        length: Option<u64>,
    ) -> Form {
        let (asked, headers) = (&request.headers, &stored.headers);
        if is_not_modified(&request.method, asked, stored.status, headers) {
            return Form::NotModified;
        }
        let Some(length) = length else {
            return Form::Whole;
        };
        match ranges::parts(&request.method, asked, stored.status, headers, length) {
            Parts::Whole => Form::Whole,
            Parts::One(range) => Form::Part(range, length),
            Parts::Many(ranges) => {
                Form::Parts(Multipart::new(ranges, headers.get(CONTENT_TYPE), length))
            }
            Parts::None => Form::Unsatisfiable(length),
        }
    }

    /// Makes the stored head the one that is sent.
    pub(super) fn apply(&self, head: &mut ResponseHeader, length: Option<u64>) -> Result<()> {
        match self {
            Form::Whole => frame(head, length)?,
            Form::NotModified => {
                head.set_status(StatusCode::NOT_MODIFIED)?;
                remove(head, &OF_THE_BODY);
                remove(head, &OF_ALL_BYTES);
            }
            Form::Part(range, length) => {
                head.set_status(StatusCode::PARTIAL_CONTENT)?;
                remove(head, &OF_ALL_BYTES);
                head.insert_header(CONTENT_RANGE, content_range(range, *length))?;
                head.insert_header(CONTENT_LENGTH, range.end - range.start)?;
            }
            Form::Parts(multipart) => {
                head.set_status(StatusCode::PARTIAL_CONTENT)?;
                remove(head, &OF_ALL_BYTES);
                let boundary = &multipart.boundary;
                let kind = format!("multipart/byteranges; boundary={boundary}");
                head.insert_header(CONTENT_TYPE, kind)?;
                head.insert_header(CONTENT_LENGTH, multipart.length())?;
            }
            Form::Unsatisfiable(length) => {
                head.set_status(StatusCode::RANGE_NOT_SATISFIABLE)?;
                remove(head, &OF_THE_BODY);
                remove(head, &OF_ALL_BYTES);
                head.insert_header(CONTENT_RANGE, format!("bytes */{length}"))?;
                head.insert_header(CONTENT_LENGTH, 0)?;
            }
        }
        Ok(())
    }
}

/// What describes bytes that are not sent.
const OF_THE_BODY: [HeaderName; 5] = [
    ACCEPT_RANGES,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    http::header::CONTENT_ENCODING,
    http::header::CONTENT_LANGUAGE,
];

/// Digests of the content of a message, which in these forms is not the whole (RFC 9530 §2). `Repr-Digest` is
/// of the whole whatever is sent.
const OF_ALL_BYTES: [HeaderName; 2] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
];

fn remove(head: &mut ResponseHeader, names: &[HeaderName]) {
    for name in names {
        head.remove_header(name);
    }
}

/// How its end is told: a body that is still coming may have no length yet.
fn frame(head: &mut ResponseHeader, length: Option<u64>) -> Result<()> {
    if head.status == StatusCode::NO_CONTENT || head.headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    match length {
        Some(length) => head.insert_header(CONTENT_LENGTH, length),
        None => head.insert_header(TRANSFER_ENCODING, "chunked"),
    }
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end - 1)
}

// === impl Multipart ===

impl Multipart {
    fn new(ranges: Vec<Range<u64>>, kind: Option<&HeaderValue>, length: u64) -> Multipart {
        // Nobody can guess it, so no stored body can have been made to contain it.
        let boundary = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let before = |range: Range<u64>| {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = kind {
                head.extend_from_slice(b"Content-Type: ");
                head.extend_from_slice(kind.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
            let place = content_range(&range, length);
            head.extend_from_slice(format!("Content-Range: {place}\r\n\r\n").as_bytes());
            (head, range)
        };
        Multipart {
            parts: ranges.into_iter().map(before).collect(),
            end: format!("\r\n--{boundary}--\r\n").into_bytes(),
            boundary,
        }
    }

    fn length(&self) -> u64 {
        let part =
            |(head, range): &(Vec<u8>, Range<u64>)| head.len() as u64 + range.end - range.start;
        self.parts.iter().map(part).sum::<u64>() + self.end.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn stored() -> ResponseHeader {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header("etag", "\"a\"").unwrap();
        head.insert_header("content-type", "text/plain").unwrap();
        head.insert_header("content-length", "10").unwrap();
        head
    }

    /// Status, `Content-Length` and `Content-Range`.
    fn sent(lines: &[(&'static str, &str)]) -> (u16, Option<String>, Option<String>) {
        let mut head = stored();
        Form::of(&request(lines), &head, Some(10))
            .apply(&mut head, Some(10))
            .unwrap();
        let text = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
        (
            head.status.as_u16(),
            text("content-length"),
            text("content-range"),
        )
    }

    #[test]
    fn each_form_has_its_head() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(sent(&[]), (200, some("10"), None));
        assert_eq!(sent(&[("if-none-match", "\"a\"")]), (304, None, None));
        let part = (206, some("3"), some("bytes 2-4/10"));
        assert_eq!(sent(&[("range", "bytes=2-4")]), part);
        let none = (416, some("0"), some("bytes */10"));
        assert_eq!(sent(&[("range", "bytes=10-")]), none);
    }

    #[test]
    fn a_digest_of_the_whole_content_goes_with_the_whole_alone() {
        for (line, kept) in [
            (None, true),
            (Some(("range", "bytes=2-4")), false),
            (Some(("range", "bytes=0-1,8-")), false),
            (Some(("range", "bytes=10-")), false),
            (Some(("if-none-match", "\"a\"")), false),
        ] {
            let mut head = stored();
            for name in ["Content-Digest", "Content-MD5", "Repr-Digest"] {
                head.insert_header(name, "x").unwrap();
            }
            let form = Form::of(&request(line.as_slice()), &head, Some(10));
            form.apply(&mut head, Some(10)).unwrap();
            let has = |name: &str| head.headers.contains_key(name);
            let is_kept = [
                has("content-digest"),
                has("content-md5"),
                has("repr-digest"),
            ];
            assert_eq!(is_kept, [kept, kept, true], "{line:?}");
        }
    }

    #[test]
    fn several_parts_are_as_long_as_they_say() {
        let form = Form::of(&request(&[("range", "bytes=0-1,8-")]), &stored(), Some(10));
        let mut head = stored();
        form.apply(&mut head, Some(10)).unwrap();
        let Form::Parts(multipart) = form else {
            panic!("{form:?}");
        };
        let texts = multipart
            .parts
            .iter()
            .map(|(head, _)| head.len())
            .sum::<usize>();
        let length = texts + 2 + 2 + multipart.end.len();
        assert_eq!(head.headers["content-length"], length.to_string());
        let first = String::from_utf8(multipart.parts[0].0.clone()).unwrap();
        assert!(first.contains("Content-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n"));
        let kind = head.headers["content-type"].to_str().unwrap();
        assert!(kind.ends_with(&multipart.boundary));
    }

    #[test]
    fn a_body_without_a_length_yet_goes_out_in_chunks() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        let form = Form::of(&request(&[("range", "bytes=0-1")]), &head, None);
        assert_eq!(form, Form::Whole);
        form.apply(&mut head, None).unwrap();
        assert_eq!(head.headers["transfer-encoding"], "chunked");
    }
}
