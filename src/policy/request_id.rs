//! The name of one request in the logs of everyone it passes: `X-Request-Id`.
//!
//! Kept from a trusted peer, so that a request has one name from the edge on; else made here. Called
//! by `proxy` once per request, for the endpoint, the access log and every attempt.

use http::{HeaderMap, HeaderValue};

use super::client::Client;

/// As it is spelled towards endpoints.
pub const NAME: &str = "X-Request-Id";

/// What a trusted peer may send, in bytes: a name ends up in every log line.
const BYTES_MAX: usize = 128;

/// The peer's, if it is trusted and sent 1..=128 visible ASCII characters; else 128 random bits in
/// hexadecimal. They tell requests apart and are no secret: the generator is not cryptographic.
pub fn choose(client: &Client, headers: &HeaderMap) -> HeaderValue {
    match headers.get("x-request-id") {
        Some(id) if client.peer.is_trusted && is_usable(id) => id.clone(),
        _ => random(),
    }
}

fn is_usable(id: &HeaderValue) -> bool {
    // Quotes and backslashes would need escaping in each place an id is shown.
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

fn random() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = fastrand::u128(..);
    let digit = |place: usize| DIGITS[(bits >> (4 * place)) as usize & 15];
    let id: [u8; 32] = std::array::from_fn(digit);
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::super::client::{self, Scheme};
    use super::*;

    fn chosen(peer: &str, sent: &str) -> String {
        let sent = HeaderValue::from_bytes(sent.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", sent);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let client = client::identify(peer.parse().unwrap(), Scheme::Http, &headers, &trusted);
        choose(&client, &headers).to_str().unwrap().into()
    }

    #[test]
    fn a_trusted_peer_names_the_request() {
        let longest = "x".repeat(128);
        for sent in ["a", "7f3b-22:{~}", &longest] {
            assert_eq!(chosen("10.0.0.1:1", sent), sent);
        }
    }

    #[test]
    fn an_untrusted_peer_does_not() {
        assert_ne!(chosen("192.0.2.1:1", "abc"), "abc");
    }

    #[test]
    fn a_name_that_is_empty_too_long_or_not_visible_is_replaced() {
        for sent in ["", "a b", "é", "a\tb", &"x".repeat(129)] {
            assert_ne!(chosen("10.0.0.1:1", sent), sent);
        }
    }

    #[test]
    fn a_new_name_is_128_bits_in_hexadecimal_and_never_the_same() {
        let (one, other) = (random(), random());
        assert_eq!(one.len(), 32);
        assert!(one.as_bytes().iter().all(u8::is_ascii_hexdigit));
        assert_ne!(one, other);
    }
}
