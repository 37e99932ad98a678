//! Who the client is: the connection's peer or, where the peer is a trusted proxy, whom it names.
//!
//! A header is believed only as far as trusted hands wrote it. Each proxy adds on the right, so the
//! chain is read from the right, over trusted addresses, to the first other one (nginx's
//! `real_ip_recursive on`); what is left of it, the client may have made up. Nothing of an untrusted
//! peer is believed. Called by `proxy` once per request, before the policies that ask for the
//! client's address; `forwarded` writes what this file reads.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Port 0 where a proxy named none.
    pub address: SocketAddr,
    /// What the client itself used, as far as trusted proxies say.
    pub scheme: Scheme,
    pub peer: Peer,
}

/// The other end of the downstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub scheme: Scheme,
    pub is_trusted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// `scheme` is that of the connection from `peer`.
pub fn identify(
    peer: SocketAddr,
    scheme: Scheme,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Client {
    let peer = Peer {
        address: canonical(peer),
        scheme,
        is_trusted: is_trusted(peer.ip().to_canonical(), trusted),
    };
    if !peer.is_trusted {
        return Client {
            address: peer.address,
            scheme,
            peer,
        };
    }
    Client {
        address: named_client(headers, trusted).unwrap_or(peer.address),
        scheme: named_scheme(headers).unwrap_or(scheme),
        peer,
    }
}

/// `X-Forwarded-For` if there is one, else `Forwarded` (RFC 7239).
fn named_client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<SocketAddr> {
    if headers.contains_key("x-forwarded-for") {
        first_untrusted(from_right(headers, "x-forwarded-for").map(address), trusted)
    } else {
        let hops = from_right(headers, "forwarded").map(|element| parameter(element, "for"));
        first_untrusted(hops.map(|hop| address(hop?)), trusted)
    }
}

/// The last address before the walk ends: the first untrusted one, the one before what is no
/// address, or the leftmost. `None`: the rightmost is no address.
fn first_untrusted(
    from_right: impl Iterator<Item = Option<SocketAddr>>,
    trusted: &[IpNet],
) -> Option<SocketAddr> {
    let mut client = None;
    for hop in from_right {
        let Some(address) = hop else { break };
        client = Some(address);
        if !is_trusted(address.ip(), trusted) {
            break;
        }
    }
    client
}

/// What the trusted peer itself wrote: the rightmost entry. `None`: nothing, or no scheme.
///
/// A peer that writes `X-Forwarded-For` does not write `Forwarded`: one it sends is the client's.
fn named_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let named = if let Some(scheme) = from_right(headers, "x-forwarded-proto").next() {
        scheme
    } else if headers.contains_key("x-forwarded-for") {
        return None;
    } else {
        parameter(from_right(headers, "forwarded").next()?, "proto")?
    };
    Scheme::parse(named)
}

/// The entries of a list header over all its lines, the last first, empty ones left out (RFC 9110
/// §5.6.1). Quotes are not heeded: an open one, sent by the client, would hide what proxies added.
fn from_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter().rev();
    lines
        .map(HeaderValue::as_bytes)
        .flat_map(|line| line.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

/// The value of a parameter of a `Forwarded` element, without its quotes.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut pairs = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let value = pairs.find_map(|pair| {
        let (key, value) = pair.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        key.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })?;
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// An address with or without port; an IPv6 one with or without brackets, with a port only within.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let parsed = match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => text.parse().ok()?,
    };
    Some(canonical(parsed))
}

/// An IPv4 address that came as IPv6 (`::ffff:192.0.2.1`) is itself again.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

// === impl Scheme ===

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn parse(text: &[u8]) -> Option<Scheme> {
        let schemes = [Scheme::Http, Scheme::Https];
        schemes
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const PROXY: &str = "10.0.0.1:1000";
    const STRANGER: &str = "203.0.113.9:1000";

    fn identify_from(peer: &str, lines: &[(&'static str, &str)]) -> Client {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        identify(peer.parse().unwrap(), Scheme::Http, &headers, &trusted)
    }

    fn client_of(peer: &str, lines: &[(&'static str, &str)]) -> String {
        identify_from(peer, lines).address.to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let client = identify_from(
            STRANGER,
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("forwarded", "for=192.0.2.1;proto=https"),
                ("x-forwarded-proto", "https"),
            ],
        );
        assert_eq!(client.address, STRANGER.parse().unwrap());
        assert_eq!(client.scheme, Scheme::Http);
        assert!(!client.peer.is_trusted);
    }

    #[test]
    fn a_trusted_peer_that_names_nobody_is_the_client() {
        let client = identify_from(PROXY, &[]);
        assert_eq!(client.address, PROXY.parse().unwrap());
        assert!(client.peer.is_trusted);
    }

    #[test]
    fn the_chain_is_walked_from_the_right_to_the_first_untrusted_address() {
        for (chain, client) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("198.51.100.7, 192.0.2.1", "192.0.2.1:0"),
            ("198.51.100.7, 192.0.2.1, 10.2.3.4", "192.0.2.1:0"),
            ("192.0.2.1,10.2.3.4,10.5.6.7", "192.0.2.1:0"),
            ("10.2.3.4, 10.5.6.7", "10.2.3.4:0"),
            ("192.0.2.1, , 10.2.3.4,", "192.0.2.1:0"),
        ] {
            assert_eq!(
                client_of(PROXY, &[("x-forwarded-for", chain)]),
                client,
                "{chain:?}"
            );
        }
    }

    #[test]
    fn what_is_no_address_stops_the_walk_at_the_last_good_one() {
        for (chain, client) in [
            ("192.0.2.1, unknown, 10.2.3.4", "10.2.3.4:0"),
            ("192.0.2.1, unknown", PROXY),
            ("1.2.3.4.5", PROXY),
            ("192.0.2.1:99999", PROXY),
            ("", PROXY),
            ("\u{e9}", PROXY),
        ] {
            assert_eq!(
                client_of(PROXY, &[("x-forwarded-for", chain)]),
                client,
                "{chain:?}"
            );
        }
    }

    #[test]
    fn lines_of_the_chain_are_read_as_one() {
        let lines = [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "192.0.2.1, 10.1.1.1"),
            ("x-forwarded-for", "10.2.2.2"),
        ];
        assert_eq!(client_of(PROXY, &lines), "192.0.2.1:0");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for (entry, client) in [
            ("192.0.2.1:4711", "192.0.2.1:4711"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1, fd00::1", "192.0.2.1:0"),
            ("192.0.2.1, ::ffff:10.1.1.1", "192.0.2.1:0"),
        ] {
            assert_eq!(
                client_of(PROXY, &[("x-forwarded-for", entry)]),
                client,
                "{entry:?}"
            );
        }
        let mapped = "[::ffff:10.0.0.1]:1000";
        let chain = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client_of(mapped, &chain), "192.0.2.1:0");
        assert_eq!(client_of(mapped, &[]), PROXY);
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_x_forwarded_for() {
        for (chain, client) in [
            ("for=192.0.2.1", "192.0.2.1:0"),
            (
                "For=\"192.0.2.1:4711\";proto=https;by=10.0.0.1",
                "192.0.2.1:4711",
            ),
            ("proto=http; for=\"[2001:db8::1]:80\"", "[2001:db8::1]:80"),
            (
                "for=198.51.100.7, for=192.0.2.1;by=x, for=10.1.1.1",
                "192.0.2.1:0",
            ),
            ("for=192.0.2.1, for=_hidden", PROXY),
            ("for=192.0.2.1, by=10.1.1.1", PROXY),
            ("for=\"x, for=192.0.2.1", "192.0.2.1:0"),
            ("fort=192.0.2.1", PROXY),
        ] {
            assert_eq!(
                client_of(PROXY, &[("forwarded", chain)]),
                client,
                "{chain:?}"
            );
        }
        let both = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.2"),
        ];
        assert_eq!(client_of(PROXY, &both), "192.0.2.1:0");
    }

    #[test]
    fn the_scheme_is_what_the_trusted_peer_wrote() {
        let scheme = |lines| identify_from(PROXY, lines).scheme;
        assert_eq!(scheme(&[("x-forwarded-proto", "https")]), Scheme::Https);
        assert_eq!(scheme(&[("x-forwarded-proto", "HTTPS")]), Scheme::Https);
        assert_eq!(
            scheme(&[("x-forwarded-proto", "http, https")]),
            Scheme::Https
        );
        assert_eq!(scheme(&[("x-forwarded-proto", "gopher")]), Scheme::Http);
        assert_eq!(scheme(&[("forwarded", "for=a;proto=https")]), Scheme::Https);
        assert_eq!(scheme(&[]), Scheme::Http);
        let made_up = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "proto=https"),
        ];
        assert_eq!(scheme(&made_up), Scheme::Http);
    }
}
