//! Reads the head of an endpoint's response, and what it says of the body behind it.
//!
//! Pure: bytes in, a head out. Where a head could be read
//! in two ways it is refused (RFC 9112 §6.3); obsolete line folding and spaces before the colon, which
//! old servers send, are understood as nginx does.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use httparse::{Header, ParserConfig, Status};
use memchr::memmem;
use pingora_core::Result;
use pingora_http::ResponseHeader;

use super::malformed;

/// As many fields as Pingora reads from a client.
const FIELDS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Head {
    pub(super) fields: ResponseHeader,
    /// `None`: an interim response, which another one follows.
    pub(super) body: Option<Body>,
    /// Whether the connection may serve another request after the body.
    pub(super) keeps: bool,
}

/// How the body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Sized(u64),
    Chunked,
    UntilClose,
}

/// Whether the empty line that ends a head may be among the bytes behind the first `seen`.
pub(super) fn may_end(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(3)..];
    memmem::find(fresh, b"\n\r\n").is_some() || memmem::find(fresh, b"\n\n").is_some()
}

/// Takes a head from the front of `buffer`, once it is there whole.
pub(super) fn parse(buffer: &mut BytesMut, is_head_request: bool) -> Result<Option<Head>> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, buffer, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed("no HTTP response")),
    };
    // Copied, so that a small head does not hold on to a large buffer.
    let bytes = Bytes::copy_from_slice(&buffer[..length]);
    let code = response.code.unwrap_or_default();
    let mut head = ResponseHeader::build(code, Some(response.headers.len()))
        .map_err(|_| malformed("a status that is none"))?;
    head.set_version(match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    });
    head.set_reason_phrase(response.reason)?;
    let copy_of = |part: &[u8]| {
        let at = part.as_ptr() as usize - buffer.as_ptr() as usize;
        bytes.slice(at..at + part.len())
    };
    let connection = add_fields(&mut head, response.headers, copy_of)?;
    buffer.advance(length);
    conclude(head, connection, is_head_request).map(Some)
}

/// What the endpoint says of its connection.
#[derive(Clone, Copy, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

/// A `Connection` line that only says whether the connection is kept ends here: it is of no use to the
/// client. One that names other fields is kept, for these have to go with it.
fn add_fields(
    head: &mut ResponseHeader,
    fields: &[Header<'_>],
    copy_of: impl Fn(&[u8]) -> Bytes,
) -> Result<Connection> {
    let mut connection = Connection::default();
    for field in fields.iter().filter(|field| !field.name.is_empty()) {
        let is_connection = field.name.eq_ignore_ascii_case("connection");
        if is_connection && connection.says_all(field.value) {
            continue;
        }
        let value = pingora_http::header_value_from_raw(copy_of(field.value));
        head.append_header(copy_of(field.name.as_bytes()), value)
            .map_err(|_| malformed("a field that cannot be read"))?;
    }
    Ok(connection)
}

impl Connection {
    /// Takes note of a line; false: it says something else besides.
    fn says_all(&mut self, line: &[u8]) -> bool {
        let mut all = true;
        for word in line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if word.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if word.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                all &= word.is_empty();
            }
        }
        all
    }

    /// RFC 9112 §9.3.
    fn keeps(self, version: Version) -> bool {
        !self.close && (version != Version::HTTP_10 || self.keep_alive)
    }
}

fn conclude(
    mut fields: ResponseHeader,
    connection: Connection,
    is_head_request: bool,
) -> Result<Head> {
    let status = fields.status;
    if status.is_informational() {
        let body = None;
        let keeps = status != StatusCode::SWITCHING_PROTOCOLS;
        return Ok(Head {
            fields,
            body,
            keeps,
        });
    }
    let length = content_length(&fields.headers)?;
    let has_coding = fields.headers.contains_key(header::TRANSFER_ENCODING);
    if has_coding && length.is_some() {
        fields.remove_header(&header::CONTENT_LENGTH);
    }
    let body = match length {
        _ if is_head_request => Body::Sized(0),
        _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Body::Sized(0),
        _ if is_chunked(&fields.headers) => Body::Chunked,
        Some(length) if !has_coding => Body::Sized(length),
        _ => Body::UntilClose,
    };
    // Two framings at once may be somebody's attempt to smuggle, and HTTP/1.0 knows no codings: such
    // a connection is not used again (RFC 9112 §6.1).
    let doubtful = has_coding && (length.is_some() || fields.version == Version::HTTP_10);
    let keeps = connection.keeps(fields.version) && !doubtful && body != Body::UntilClose;
    Ok(Head {
        fields,
        body: Some(body),
        keeps,
    })
}

/// The one length that all lines and all their values agree on (RFC 9110 §8.6).
fn content_length(fields: &HeaderMap) -> Result<Option<u64>> {
    let mut agreed = None;
    let lines = fields.get_all(header::CONTENT_LENGTH).iter();
    for value in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        let length = number(value.trim_ascii());
        if length.is_none() || agreed.is_some() && agreed != length {
            return Err(malformed("a length that cannot be read"));
        }
        agreed = length;
    }
    Ok(agreed)
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // `parse` would let a plus sign pass.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Whether `chunked` is the last coding.
fn is_chunked(fields: &HeaderMap) -> bool {
    let last = fields.get_all(header::TRANSFER_ENCODING).iter().next_back();
    let coding = last.map(HeaderValue::as_bytes).unwrap_or_default();
    let coding = coding
        .rsplit(|&byte| byte == b',')
        .next()
        .unwrap_or_default();
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests;
