//! What of a request `balance: hash` hashes.
//!
//! Pure: the head and the client in, bytes out; nothing is decoded, so equal bytes mean equal keys
//! and nothing else does. The path is the normalised one. No bytes means that the request has no such
//! thing. Called by `exchange` for each attempt.

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::config::model::HashKey;
use crate::policy::client::Client;

/// An address is 16 bytes (IPv4 mapped).
pub(super) fn hash_key(
    key: &HashKey,
    uri: &Uri,
    headers: &HeaderMap,
    client: Option<&Client>,
) -> Vec<u8> {
    let text: &[u8] = match key {
        HashKey::Address => match client {
            Some(client) => return address(client).to_vec(),
            None => b"",
        },
        HashKey::Path => uri.path().as_bytes(),
        HashKey::Uri => uri
            .path_and_query()
            .map_or(b"", |both| both.as_str().as_bytes()),
        HashKey::Header(name) => headers.get(name).map_or(b"", HeaderValue::as_bytes),
        HashKey::Cookie(name) => cookie(headers, name.as_bytes()).unwrap_or_default(),
        HashKey::Argument(name) => argument(uri.query().unwrap_or_default(), name),
    };
    text.to_vec()
}

fn address(client: &Client) -> [u8; 16] {
    match client.address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    }
}

/// The first cookie of that name (RFC 6265 §4.2.1).
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs
        .filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
        .next()
}

/// The first argument of that name.
fn argument<'a>(query: &'a str, name: &str) -> &'a [u8] {
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::policy::client::{Scheme, identify};

    fn key_of(key: HashKey, uri: &str, cookies: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("ada"));
        headers.append("x-user", HeaderValue::from_static("bob"));
        for line in cookies {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        let uri: Uri = uri.parse().unwrap();
        let key = hash_key(&key, &uri, &headers, None);
        String::from_utf8(key).unwrap()
    }

    #[test]
    fn path_uri_and_header() {
        assert_eq!(key_of(HashKey::Path, "/a/b?c=d", &[]), "/a/b");
        assert_eq!(key_of(HashKey::Uri, "/a/b?c=d", &[]), "/a/b?c=d");
        let header = |name| HashKey::Header(HeaderName::from_static(name));
        assert_eq!(key_of(header("x-user"), "/", &[]), "ada");
        assert_eq!(key_of(header("x-none"), "/", &[]), "");
    }

    #[test]
    fn a_cookie_is_found_among_others_and_only_by_its_whole_name() {
        let key = |cookies: &[&'static str]| key_of(HashKey::Cookie("id".into()), "/", cookies);
        assert_eq!(key(&["id=7"]), "7");
        assert_eq!(key(&["grid=1; id=2;x=3"]), "2");
        assert_eq!(key(&["a=1", "b=2;id=a=b "]), "a=b");
        assert_eq!(key(&["ID=1; id2=2; idid", "id"]), "");
        assert_eq!(key(&[]), "");
    }

    #[test]
    fn an_argument_is_found_among_others_and_only_by_its_whole_name() {
        let key = |uri| key_of(HashKey::Argument("id".into()), uri, &[]);
        assert_eq!(key("/?id=7"), "7");
        assert_eq!(key("/?grid=1&id=2&id=3"), "2");
        assert_eq!(key("/?id=%41"), "%41");
        assert_eq!(key("/?ID=1&id&id2=2"), "");
        assert_eq!(key("/id=1"), "");
    }

    #[test]
    fn an_address_is_hashed_without_its_port() {
        let client =
            |peer: &str| identify(peer.parse().unwrap(), Scheme::Http, &HeaderMap::new(), &[]);
        fn key(client: Option<&Client>) -> Vec<u8> {
            let (uri, headers) = (Uri::from_static("/"), HeaderMap::new());
            hash_key(&HashKey::Address, &uri, &headers, client)
        }
        let one = key(Some(&client("192.0.2.1:1000")));
        assert_eq!(one, key(Some(&client("192.0.2.1:2000"))));
        assert_ne!(one, key(Some(&client("192.0.2.2:1000"))));
        assert_eq!(one.len(), 16);
        assert_eq!(key(None), b"");
    }
}
