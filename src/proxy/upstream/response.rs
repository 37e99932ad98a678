//! Reads the head of an endpoint's response, and what it says of the body behind it.
//!
//! Pure: bytes in, a head out. Values share the buffer they were read into. Where a head could be read
//! in two ways it is refused (RFC 9112 §6.3); obsolete line folding and spaces before the colon, which
//! old servers send, are understood as nginx does.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
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
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let length = match parser.parse_response(&mut response, buffer) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed("no HTTP response")),
    };
    let places = places(response.headers, buffer);
    let (code, minor) = (response.code, response.version);
    let reason = response.reason.map(str::to_owned);
    let bytes = buffer.split_to(length).freeze();

    let mut head = ResponseHeader::build(code.unwrap_or_default(), Some(places.len()))
        .map_err(|_| malformed("a status that is none"))?;
    head.set_version(if minor == Some(0) {
        Version::HTTP_10
    } else {
        super::VERSION
    });
    head.set_reason_phrase(reason.as_deref())?;
    let connection = add_fields(&mut head, &bytes, &places)?;
    conclude(head, connection, is_head_request).map(Some)
}

/// Where a field's name and value stand in the buffer.
struct Place {
    name: (usize, usize),
    value: (usize, usize),
}

fn places(fields: &[Header<'_>], buffer: &[u8]) -> Vec<Place> {
    let start = buffer.as_ptr() as usize;
    let place = |bytes: &[u8]| {
        let at = bytes.as_ptr() as usize - start;
        (at, at + bytes.len())
    };
    fields
        .iter()
        .filter(|field| !field.name.is_empty())
        .map(|field| Place {
            name: place(field.name.as_bytes()),
            value: place(field.value),
        })
        .collect()
}

/// What the endpoint says of its connection.
#[derive(Clone, Copy, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

/// A `Connection` line that only says whether the connection is kept ends here: it is of no use to the
/// client. One that names other fields is kept, for these have to go with it.
fn add_fields(head: &mut ResponseHeader, bytes: &Bytes, places: &[Place]) -> Result<Connection> {
    let mut connection = Connection::default();
    for Place { name, value } in places {
        let name = bytes.slice(name.0..name.1);
        let value = bytes.slice(value.0..value.1);
        if name.eq_ignore_ascii_case(b"connection") && connection.says_all(&value) {
            continue;
        }
        head.append_header(name, pingora_http::header_value_from_raw(value))
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
