//! The fields of a stored head, in one run of bytes: what a million objects can afford.
//!
//! A field is its name, its value's length and its value. A name of [`NAMES`] in its usual spelling is
//! one byte, like in HPACK's static table (RFC 7541, appendix A); any other is a zero, its length and
//! itself. Lengths are varints: seven bits a byte, the lowest first.

use http::header::{self, HeaderName};

/// What origins send most, as they mostly spell it. Their place here is their byte, from 1 on; nothing
/// outside of this process ever sees it.
static NAMES: [(&str, HeaderName); 42] = [
    ("Accept-Ranges", header::ACCEPT_RANGES),
    (
        "Access-Control-Allow-Credentials",
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ),
    (
        "Access-Control-Allow-Headers",
        header::ACCESS_CONTROL_ALLOW_HEADERS,
    ),
    (
        "Access-Control-Allow-Methods",
        header::ACCESS_CONTROL_ALLOW_METHODS,
    ),
    (
        "Access-Control-Allow-Origin",
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ),
    (
        "Access-Control-Expose-Headers",
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ),
    ("Access-Control-Max-Age", header::ACCESS_CONTROL_MAX_AGE),
    ("Age", header::AGE),
    ("Allow", header::ALLOW),
    ("Alt-Svc", header::ALT_SVC),
    ("Cache-Control", header::CACHE_CONTROL),
    ("Cache-Tag", HeaderName::from_static("cache-tag")),
    (
        "CDN-Cache-Control",
        HeaderName::from_static("cdn-cache-control"),
    ),
    ("Content-Disposition", header::CONTENT_DISPOSITION),
    ("Content-Encoding", header::CONTENT_ENCODING),
    ("Content-Language", header::CONTENT_LANGUAGE),
    ("Content-Length", header::CONTENT_LENGTH),
    ("Content-Location", header::CONTENT_LOCATION),
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY),
    ("Content-Type", header::CONTENT_TYPE),
    ("Date", header::DATE),
    ("ETag", header::ETAG),
    ("Expires", header::EXPIRES),
    ("Last-Modified", header::LAST_MODIFIED),
    ("Link", header::LINK),
    ("Location", header::LOCATION),
    ("Pragma", header::PRAGMA),
    ("Referrer-Policy", header::REFERRER_POLICY),
    ("Server", header::SERVER),
    ("Server-Timing", HeaderName::from_static("server-timing")),
    (
        "Strict-Transport-Security",
        header::STRICT_TRANSPORT_SECURITY,
    ),
    (
        "Surrogate-Control",
        HeaderName::from_static("surrogate-control"),
    ),
    ("Surrogate-Key", HeaderName::from_static("surrogate-key")),
    (
        "Timing-Allow-Origin",
        HeaderName::from_static("timing-allow-origin"),
    ),
    ("Transfer-Encoding", header::TRANSFER_ENCODING),
    ("Vary", header::VARY),
    ("Via", header::VIA),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS),
    ("X-Frame-Options", header::X_FRAME_OPTIONS),
    ("X-Powered-By", HeaderName::from_static("x-powered-by")),
    ("X-Request-Id", HeaderName::from_static("x-request-id")),
    ("X-XSS-Protection", header::X_XSS_PROTECTION),
];

/// A field as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// As it is spelled.
    pub name: &'a [u8],
    pub value: &'a [u8],
}

// === impl Field ===

impl Field<'_> {
    pub fn is(&self, name: &HeaderName) -> bool {
        self.name.eq_ignore_ascii_case(name.as_str().as_bytes())
    }
}

/// Appends a field.
pub(super) fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let known = NAMES.iter().position(|(known, _)| known.as_bytes() == name);
    match known.and_then(|place| u8::try_from(place + 1).ok()) {
        Some(byte) => out.push(byte),
        None => {
            out.push(0);
            push_frame(out, name);
        }
    }
    push_frame(out, value);
}

/// The usual spelling of a name, where a head says none.
pub(super) fn spelled(name: &HeaderName) -> &[u8] {
    let known = NAMES.iter().find(|(_, known)| known == name);
    known
        .map_or(name.as_str(), |(spelled, _)| spelled)
        .as_bytes()
}

/// The fields that [`push`] has appended.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        let name = match usize::from(*byte).checked_sub(1) {
            Some(place) => NAMES[place].0.as_bytes(),
            None => take_frame(&mut self.0),
        };
        let value = take_frame(&mut self.0);
        Some(Field { name, value })
    }
}

/// Appends bytes and before them their length.
pub(super) fn push_frame(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// What [`push_frame`] has appended.
pub(super) fn take_frame<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (mut length, mut shift) = (0, 0);
    while let Some((byte, after)) = rest.split_first() {
        *rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (frame, after) = rest.split_at(length);
    *rest = after;
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were_spelled_whatever_their_length() {
        let long = vec![b'v'; 40_000];
        let fields: [(&[u8], &[u8]); 6] = [
            (b"Content-Type", b"text/plain"),
            (b"content-type", b""),
            (b"X-Of-Ours", b"\xff: \t"),
            (&long, &long[..128]),
            (b"Age", &long),
            (b"ETag", &long[..127]),
        ];
        let mut packed = Vec::new();
        for (name, value) in fields {
            push(&mut packed, name, value);
        }
        let found = Fields(&packed).map(|field| (field.name, field.value));
        assert!(found.eq(fields));
        let first = Fields(&packed).next().unwrap();
        assert!(first.is(&header::CONTENT_TYPE) && !first.is(&header::CONTENT_LENGTH));
    }

    #[test]
    fn a_usual_name_in_its_usual_spelling_takes_one_byte() {
        for (name, known) in &NAMES {
            assert_eq!(name.to_ascii_lowercase(), known.as_str());
            assert_eq!(spelled(known), name.as_bytes());
            let mut packed = Vec::new();
            push(&mut packed, name.as_bytes(), b"1");
            assert_eq!(packed.len(), 3, "{name}");
        }
        assert_eq!(spelled(&HeaderName::from_static("x-mine")), b"x-mine");
    }
}
