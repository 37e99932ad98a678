//! Writes the head that goes to an endpoint.
//!
//! The client's fields go out one by one, without those that belong to its connection (RFC 9110
//! §7.6.1) and those we replace; ours follow, then the route's edits. No map of headers is copied or
//! changed on the way. Called by `forward` for each attempt.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_http::{IntoCaseHeaderName, RequestHeader};

use super::RequestFraming;
use crate::config::model::HeaderEdits;
use crate::policy::forwarded::{self, Told};
use crate::policy::request_id;
use crate::proxy::cached::fetch::Fetch;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::reject::Rejection;

/// Most heads fit.
const HEAD_BYTES: usize = 1024;

/// The head as it goes on the wire, and how the body goes out after it. `underscores`: fields with
/// one in their name are left out.
pub(in crate::proxy) fn head(
    request: &RequestHeader,
    underscores: bool,
    ctx: &RequestCtx,
) -> Result<(Vec<u8>, RequestFraming), Rejection> {
    let fields = &request.headers;
    let told = ctx.client.as_ref().map(|client| {
        let form = ctx.snapshot.config.forwarded;
        Told::of(form, client, fields.get(header::HOST), fields)
    });
    let nominated = nominated(fields)?;
    let none = HeaderEdits::default();
    let edits = ctx
        .route()
        .map_or(&none, |route| &route.config.request_headers);
    let id = ctx.request_id.as_ref();
    let fetch = ctx.fetch.as_deref();
    let method = fetch.map_or(&request.method, |_| &Method::GET);

    let mut wire = Wire::begin(method, request);
    wire.copy(request, |name| {
        is_hop_by_hop(name)
            || nominated.contains(name)
            || fetch.is_some_and(|fetch| fetch.replaces(name))
            || told.as_ref().is_some_and(|told| told.replaces(name))
            || underscores && name.as_str().contains('_')
            || id.is_some() && name.as_str().eq_ignore_ascii_case(request_id::NAME)
            || edits.replaces(name.as_str())
    });
    let framing = wire.frame(fields);
    let told = told.iter().flat_map(Told::fields);
    let via = forwarded::via(request.version);
    let id = id.map(|id| (request_id::NAME, id));
    for (name, value) in told.chain([("Via", &via)]).chain(id) {
        if !edits.replaces(name) {
            wire.field(name.as_bytes(), value);
        }
    }
    for (name, value) in fetch.into_iter().flat_map(Fetch::fields) {
        wire.field(name.as_bytes(), value);
    }
    for (name, value) in edits.set.iter().chain(&edits.add) {
        wire.field(name.into_case_header_name().as_slice(), value);
    }
    Ok((wire.end(), framing))
}

/// The head so far.
struct Wire(Vec<u8>);

impl Wire {
    fn begin(method: &Method, request: &RequestHeader) -> Wire {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(request.raw_path());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        Wire(bytes)
    }

    /// Copies the client's fields as it spelled them.
    fn copy(&mut self, request: &RequestHeader, is_left_out: impl Fn(&HeaderName) -> bool) {
        let mut spelled = request.case_header_iter();
        for (name, value) in &request.headers {
            let spelled = spelled.next().map(|(spelled, _)| spelled.as_slice());
            if !is_left_out(name) {
                self.field(spelled.unwrap_or(name.as_str().as_bytes()), value);
            }
        }
    }

    /// The length was copied; a body without one goes out in chunks, as it came.
    fn frame(&mut self, fields: &HeaderMap) -> RequestFraming {
        if !fields.contains_key(header::TRANSFER_ENCODING) {
            return RequestFraming::Sized;
        }
        self.0.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        RequestFraming::Chunked
    }

    fn field(&mut self, name: &[u8], value: &HeaderValue) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
}

/// The fields that the client's `Connection` ties to its connection. Who ties those that routing or
/// trust depends on means to have them dropped on the way, and is refused, as Envoy and Pingora do.
fn nominated(fields: &HeaderMap) -> Result<Vec<HeaderName>, Rejection> {
    const MALFORMED: Rejection = Rejection::BadRequest("malformed Connection field");
    let mut names = Vec::new();
    for line in fields.get_all(header::CONNECTION) {
        for word in line
            .as_bytes()
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            // The usual words name no field.
            let usual: [&[u8]; 3] = [b"", b"keep-alive", b"close"];
            if usual.iter().any(|usual| word.eq_ignore_ascii_case(usual)) {
                continue;
            }
            let name = HeaderName::from_bytes(word).map_err(|_| MALFORMED)?;
            if PROTECTED.contains(&name.as_str()) || names.len() == NOMINATED_MAX {
                return Err(MALFORMED);
            }
            names.push(name);
        }
    }
    Ok(names)
}

const PROTECTED: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Nobody has a use for more, and each is compared with each field.
const NOMINATED_MAX: usize = 16;

#[cfg(test)]
mod tests;
