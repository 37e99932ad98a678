//! Strict reading of an HTTP/1 request head, before Pingora parses it.
//!
//! Two readers that disagree about where a message ends are a request-smuggling hole, so whatever
//! could be read in two ways is refused here (RFC 9112 §2.2, §3.2, §5.1, §6.1 and §6.3 say "MUST
//! reject", or allow it): what passes has one reading. Pure: bytes and limits in, a verdict out.
//! Called by `server::connection` for every request of a connection.

use std::ops::Range;

use memchr::memchr;

use crate::config::model::Limits;
use crate::proxy::downstream::Body;
use crate::proxy::reject::Rejection;

/// Finds the end of a head in a growing buffer; no byte is looked at twice, so a client that sends
/// its head byte by byte costs no more than one that sends it whole.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    line_start: usize,
    scanned: usize,
}

impl Boundary {
    /// `Some(n)`: the head is the first `n` bytes. `None`: more bytes are needed.
    pub(super) fn find(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Rejection> {
        while let Some(offset) = memchr(b'\n', &buffer[self.scanned..]) {
            let line = &buffer[self.line_start..self.scanned + offset];
            self.scanned += offset + 1;
            self.line_start = self.scanned;
            if line.is_empty() || line == b"\r" {
                return within(self.scanned, limits).map(|()| Some(self.scanned));
            }
        }
        self.scanned = buffer.len();
        let request_line_is_open = self.line_start == 0;
        // A method, two spaces and the version stand around the target.
        if request_line_is_open && buffer.len() > limits.uri_bytes + METHOD_BYTES_MAX + 11 {
            return Err(Rejection::UriTooLong);
        }
        within(buffer.len(), limits).map(|()| None)
    }
}

fn within(bytes: usize, limits: &Limits) -> Result<(), Rejection> {
    if bytes > limits.header_bytes {
        return Err(Rejection::HeadersTooLarge);
    }
    Ok(())
}

/// No registered method is longer than 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// What `connection` needs to know of a head that may be forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body: Body,
    /// Some field name has an underscore, which CGI-like endpoints cannot tell from a dash.
    pub(super) underscores: bool,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
}

/// Checks a whole head, its final empty line included.
pub(super) fn check(head: &[u8], limits: &Limits) -> Result<Head, Rejection> {
    let mut lines = Lines { rest: head };
    let request_line = lines.next_line()?;
    let target = RequestLine::parse(request_line, limits)?;
    let mut fields = Fields::default();
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            return fields.conclude(&target);
        }
        fields.add(line)?;
        if fields.count > limits.header_count {
            return Err(Rejection::HeadersTooLarge);
        }
    }
}

/// The parts of a request line that can be shown in the log, of a head that may be bad.
pub(super) fn request_line(head: &[u8]) -> (&[u8], &[u8]) {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    (method, target.trim_ascii_end())
}

/// Lines that end in CRLF; a bare LF or CR is refused.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<&'a [u8], Rejection> {
        let end = memchr(b'\n', self.rest).ok_or(Rejection::BadRequest("unfinished head"))?;
        let line = self.rest[..end]
            .strip_suffix(b"\r")
            .ok_or(Rejection::BadRequest("bare LF"))?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
}

struct RequestLine {
    http_10: bool,
    /// The authority of an absolute-form target.
    authority: Option<Vec<u8>>,
}

impl RequestLine {
    fn parse(line: &[u8], limits: &Limits) -> Result<RequestLine, Rejection> {
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Rejection::BadRequest("malformed request line"));
        };
        let http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Rejection::BadRequest("unsupported HTTP version")),
        };
        if method.is_empty()
            || method.len() > METHOD_BYTES_MAX
            || !method.iter().all(|&byte| is_token(byte))
        {
            return Err(Rejection::BadRequest("malformed method"));
        }
        if method == b"CONNECT" {
            return Err(Rejection::MethodNotAllowed);
        }
        if target.len() > limits.uri_bytes {
            return Err(Rejection::UriTooLong);
        }
        let authority = target_authority(method, target)?.map(|range| target[range].to_vec());
        Ok(RequestLine { http_10, authority })
    }
}

/// Where the authority stands in an absolute-form target; `None` for the other forms (RFC 9112 §3.2).
fn target_authority(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Rejection> {
    let (path, query) = target.split_at(memchr(b'?', target).unwrap_or(target.len()));
    let is_path = |byte: &u8| is_target_byte(*byte) && *byte != b'`';
    let is_query = |byte: &u8| is_target_byte(*byte) && *byte != b'"';
    if !path.iter().all(is_path) || !query.iter().all(is_query) {
        return Err(Rejection::BadRequest("malformed request target"));
    }
    if target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS") {
        return Ok(None);
    }
    let start = target
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case(b"http://"))
        .or_else(|| {
            target
                .get(..8)
                .filter(|scheme| scheme.eq_ignore_ascii_case(b"https://"))
        })
        .map(<[u8]>::len)
        .ok_or(Rejection::BadRequest("malformed request target"))?;
    let length = target[start..]
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(target.len() - start);
    Ok(Some(start..start + length))
}

/// Bytes outside visible ASCII must come percent-encoded (RFC 3986 §2), and a fragment never comes
/// (RFC 9112 §3.2). The other exceptions, here and above, are those of Pingora's parser, which would
/// refuse them without a record; some clients send the rest as they are, so it passes.
fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>')
}

/// What the header fields seen so far say of framing and host.
#[derive(Default)]
struct Fields {
    count: usize,
    host: Option<Vec<u8>>,
    content_length: Option<u64>,
    chunked: bool,
    underscores: bool,
    upgrade: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Rejection> {
        self.count += 1;
        let colon = memchr(b':', line).ok_or(Rejection::BadRequest("header without a colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Catches obs-fold and a space before the colon as well.
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(Rejection::BadRequest("malformed header name"));
        }
        if value
            .iter()
            .any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
        {
            return Err(Rejection::BadRequest("control character in a header"));
        }
        // Only now: what it takes off includes CR and FF, which are no white space here.
        let value = value.trim_ascii();
        self.underscores |= memchr(b'_', name).is_some();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.add_host(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.add_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.add_encoding(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_host(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if self.host.is_some() {
            return Err(Rejection::BadRequest("more than one Host"));
        }
        if !is_authority(value) {
            return Err(Rejection::BadRequest("malformed Host"));
        }
        self.host = Some(value.to_vec());
        Ok(())
    }

    /// Digits only: no sign, no list, not even of equal values (RFC 9110 §8.6 lets us refuse it).
    fn add_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        const MALFORMED: Rejection = Rejection::BadRequest("malformed Content-Length");
        if self.content_length.is_some() {
            return Err(Rejection::BadRequest("more than one Content-Length"));
        }
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(MALFORMED);
        }
        let digits = std::str::from_utf8(value).map_err(|_| MALFORMED)?;
        self.content_length = Some(digits.parse().map_err(|_| MALFORMED)?);
        Ok(())
    }

    fn add_encoding(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Rejection::BadRequest("unsupported Transfer-Encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    fn conclude(self, line: &RequestLine) -> Result<Head, Rejection> {
        if self.chunked && line.http_10 {
            return Err(Rejection::BadRequest("Transfer-Encoding in HTTP/1.0"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(Rejection::BadRequest(
                "Content-Length with Transfer-Encoding",
            ));
        }
        match (&self.host, &line.authority) {
            (None, _) if !line.http_10 => return Err(Rejection::BadRequest("missing Host")),
            (Some(host), Some(authority)) if host != authority => {
                return Err(Rejection::BadRequest("Host differs from the target"));
            }
            (None, Some(authority)) if !is_authority(authority) => {
                return Err(Rejection::BadRequest("malformed request target"));
            }
            _ => {}
        }
        let body = match self.content_length {
            None if self.chunked => Body::Chunked,
            None => Body::Sized(0),
            Some(length) => Body::Sized(length),
        };
        Ok(Head {
            body,
            underscores: self.underscores,
            upgrade: self.upgrade,
        })
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `name`, `name:port` or `[v6]:port`. Stricter than RFC 3986: names in use need no more, and each
/// further character is one that some server reads as a separator.
fn is_authority(value: &[u8]) -> bool {
    let (name, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr(b']', rest) else {
                return false;
            };
            let is_v6 = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if end == 0 || !rest[..end].iter().all(is_v6) {
                return false;
            }
            (&b"v6"[..], &rest[end + 1..])
        }
        None => value.split_at(memchr(b':', value).unwrap_or(value.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    name.iter().all(is_name)
        && port.strip_prefix(b":").map_or(port.is_empty(), is_port)
        && (!name.is_empty() || port.is_empty())
}

#[cfg(test)]
#[path = "head/tests.rs"]
pub(super) mod tests;
