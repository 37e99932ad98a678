//! What an endpoint is told of the client and of the way here: `X-Forwarded-*` and `X-Real-IP`, or
//! `Forwarded` (RFC 7239), or both; and `Via`.
//!
//! Of these headers none reaches an endpoint that neither weir nor a trusted peer wrote. A trusted
//! peer's chain is continued. Where it is not in the family of headers we write, the chain starts with
//! the client it named; `X-Forwarded-For` is believed before `Forwarded`, as in `client`. Called by `proxy` on the head of each attempt.

use std::io::Write;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora_http::RequestHeader;

use super::client::{Client, Scheme};
use super::headers::{self, HeaderTarget};
use crate::config::model;

const X_FORWARDED: &str = "x-forwarded-";
const X_REAL_IP: &str = "x-real-ip";

/// The longest text of an address (RFC 4291 §2.2, with an IPv4 tail), in bytes.
const ADDRESS_BYTES_MAX: usize = 45;

/// Room for what is nearly always added to a chain, so that it grows once.
const ENTRY_BYTES: usize = 96;

/// What the endpoint is told, and what of the client's own fields it replaces.
pub struct Told {
    is_trusted: bool,
    x_forwarded: Option<XForwarded>,
    /// `Some(None)`: the family is ours, with nothing to say.
    rfc7239: Option<Option<HeaderValue>>,
}

impl Told {
    /// `host` is the authority as it was received; `None`: the request has none (HTTP/1.0). `sent`
    /// are the fields as they were received.
    pub fn of(
        form: model::Forwarded,
        client: &Client,
        host: Option<&HeaderValue>,
        sent: &HeaderMap,
    ) -> Told {
        let (x_forwarded, rfc7239) = match form {
            model::Forwarded::XForwarded => (true, false),
            model::Forwarded::Rfc7239 => (false, true),
            model::Forwarded::Both => (true, true),
        };
        Told {
            is_trusted: client.peer.is_trusted,
            x_forwarded: x_forwarded.then(|| XForwarded::of(client, host, sent)),
            rfc7239: rfc7239.then(|| forwarded(client, host, sent)),
        }
    }

    /// Whether a field of this name that the client sent must not reach the endpoint.
    pub fn replaces(&self, name: &HeaderName) -> bool {
        if *name == header::FORWARDED {
            let is_kept = self.is_trusted && matches!(self.rfc7239, Some(None));
            return !is_kept;
        }
        let name = name.as_str();
        if !name.starts_with(X_FORWARDED) && name != X_REAL_IP {
            return false;
        }
        match &self.x_forwarded {
            Some(fields) if self.is_trusted => fields.has(name),
            _ => true,
        }
    }

    /// The fields to write.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        let x_forwarded = self.x_forwarded.iter().flat_map(XForwarded::fields);
        let rfc7239 = self.rfc7239.iter().flatten();
        x_forwarded.chain(rfc7239.map(|value| ("Forwarded", value)))
    }
}

/// Replaces what `request` says of the client by what is true as far as trusted peers are.
pub fn write(told: &Told, request: &mut RequestHeader) {
    headers::remove_where(request, |name| told.replaces(name));
    for (name, value) in told.fields() {
        request.set(name, value.clone());
    }
}

/// What adds us to the proxies a request has passed, with the version it came in (RFC 9110 §7.6.3),
/// which is not the one it goes on in.
pub fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 weir",
        Version::HTTP_2 => "2.0 weir",
        _ => "1.1 weir",
    })
}

/// `None`: the header stays as the trusted peer sent it, or there is nothing to say.
struct XForwarded {
    chain: Option<HeaderValue>,
    real_ip: Option<HeaderValue>,
    scheme: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

// === impl XForwarded ===

impl XForwarded {
    fn of(client: &Client, host: Option<&HeaderValue>, sent: &HeaderMap) -> XForwarded {
        let keeps = |name: &str| client.peer.is_trusted && sent.contains_key(name);
        let chain = x_forwarded_for(client, sent);
        let real_ip = if client.peer.is_trusted {
            address(client.address.ip())
        } else {
            // The chain is the client alone: the same bytes serve both.
            chain.clone()
        };
        let scheme = HeaderValue::from_static(client.scheme.as_str());
        XForwarded {
            chain,
            real_ip,
            scheme: (!keeps("x-forwarded-proto")).then_some(scheme),
            host: host.filter(|_| !keeps("x-forwarded-host")).cloned(),
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        [
            ("X-Forwarded-For", &self.chain),
            ("X-Real-IP", &self.real_ip),
            ("X-Forwarded-Proto", &self.scheme),
            ("X-Forwarded-Host", &self.host),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    fn has(&self, name: &str) -> bool {
        self.fields()
            .any(|(ours, _)| ours.eq_ignore_ascii_case(name))
    }
}

/// `client, proxy, peer`.
fn x_forwarded_for(client: &Client, sent: &HeaderMap) -> Option<HeaderValue> {
    let mut chain = chain_so_far(client, sent, "x-forwarded-for");
    if chain.is_empty() && client.address != client.peer.address {
        push_address(&mut chain, client.address.ip());
    }
    if chain.is_empty() {
        return address(client.peer.address.ip());
    }
    separate(&mut chain);
    push_address(&mut chain, client.peer.address.ip());
    value(chain)
}

/// `for=client;host=example.com;proto=https, for=peer;host=example.com;proto=http`.
fn forwarded(client: &Client, host: Option<&HeaderValue>, sent: &HeaderMap) -> Option<HeaderValue> {
    // A peer that writes `X-Forwarded-For` most likely passed a `Forwarded` on unread.
    let mut chain = if sent.contains_key("x-forwarded-for") {
        Vec::new()
    } else {
        chain_so_far(client, sent, "forwarded")
    };
    if chain.is_empty() && client.address != client.peer.address {
        let claimed = sent.get("x-forwarded-host").or(host);
        push_element(&mut chain, client.address.ip(), claimed, client.scheme);
    }
    chain.reserve(ENTRY_BYTES);
    separate(&mut chain);
    let peer = &client.peer;
    push_element(&mut chain, peer.address.ip(), host, peer.scheme);
    value(chain)
}

/// The lines a trusted peer sent, as one.
fn chain_so_far(client: &Client, sent: &HeaderMap, name: &str) -> Vec<u8> {
    let mut chain = Vec::new();
    if client.peer.is_trusted {
        for line in sent.get_all(name).iter().filter(|line| !line.is_empty()) {
            chain.reserve(line.len() + ENTRY_BYTES);
            separate(&mut chain);
            chain.extend_from_slice(line.as_bytes());
        }
    }
    chain
}

fn separate(chain: &mut Vec<u8>) {
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
}

/// One element of `Forwarded`; IPv6 is in brackets, and therefore in quotes (RFC 7239 §6).
fn push_element(chain: &mut Vec<u8>, ip: IpAddr, host: Option<&HeaderValue>, scheme: Scheme) {
    chain.extend_from_slice(b"for=");
    match ip {
        IpAddr::V4(_) => push_address(chain, ip),
        IpAddr::V6(_) => {
            chain.extend_from_slice(b"\"[");
            push_address(chain, ip);
            chain.extend_from_slice(b"]\"");
        }
    }
    if let Some(host) = host {
        chain.extend_from_slice(b";host=");
        push_token_or_quoted(chain, host.as_bytes());
    }
    chain.extend_from_slice(b";proto=");
    chain.extend_from_slice(scheme.as_str().as_bytes());
}

/// A host with a port is no token: the colon wants quotes.
fn push_token_or_quoted(chain: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty() && text.iter().copied().all(is_token) {
        chain.extend_from_slice(text);
        return;
    }
    chain.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            chain.push(b'\\');
        }
        chain.push(byte);
    }
    chain.push(b'"');
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn push_address(text: &mut Vec<u8>, ip: IpAddr) {
    // Cannot fail: a Vec takes what it is given.
    let _ = write!(text, "{ip}");
}

/// An address alone: made on the stack and copied once.
fn address(ip: IpAddr) -> Option<HeaderValue> {
    let mut buffer = [0; ADDRESS_BYTES_MAX];
    let mut rest = &mut buffer[..];
    write!(rest, "{ip}").ok()?;
    let bytes = ADDRESS_BYTES_MAX - rest.len();
    HeaderValue::from_bytes(&buffer[..bytes]).ok()
}

/// `None` never happens: what the parts hold is valid in a header.
fn value(text: Vec<u8>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

#[cfg(test)]
mod tests;
