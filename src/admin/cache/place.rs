//! From a URL as people write it to the place under which its responses are stored.

use crate::admin::reply::Refusal;
use crate::cache::key::{QueryRule, Resource, Scheme};
use crate::cache::store::Purge;
use crate::routing::normalize::normalize;
use crate::snapshot::Snapshot;

/// Host and path with query as in a stored response's `Label`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) path: String,
}

impl Place {
    /// Where responses for a URL may be stored: as it stands there, and without the arguments that its
    /// routes ignore.
    pub(super) fn of_requests(url: &str, snapshot: &Snapshot) -> Result<Vec<Place>, Refusal> {
        let whole = Place::parse(url, &QueryRule::All)?;
        let path = whole.path.split('?').next().unwrap_or_default();
        let routes = snapshot.table.candidates(whole.host.as_bytes(), path);
        let caches = routes
            .iter()
            .filter_map(|route| snapshot.routes[*route].cache.as_ref());
        let places = caches.map(|cache| Place::parse(url, &cache.query));
        let mut places = places.collect::<Result<Vec<_>, _>>()?;
        places.push(whole);
        places.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        places.dedup();
        Ok(places)
    }

    /// The place of a URL with these arguments.
    pub(super) fn parse(url: &str, rule: &QueryRule) -> Result<Place, Refusal> {
        let message =
            || Refusal::invalid(format!("{url:?} is no URL such as http://example.com/path"));
        let (scheme, rest) = url.split_once("://").ok_or_else(message)?;
        let scheme = Scheme::parse(scheme).ok_or_else(message)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = normalize(target)
            .map_err(|malformed| Refusal::invalid(format!("{url:?}: {}", malformed.reason())))?;
        let resource = Resource::new(scheme, authority, &target, rule).ok_or_else(message)?;
        Ok(Place::of(&resource))
    }

    fn of(resource: &Resource<'_>) -> Place {
        Place {
            host: resource.authority(),
            path: resource.target().into_owned(),
        }
    }

    pub(super) fn url(&self) -> Purge<'_> {
        Purge::Url {
            host: &self.host,
            path: &self.path,
        }
    }

    pub(super) fn prefix(&self) -> Purge<'_> {
        Purge::Prefix {
            host: &self.host,
            path: &self.path,
        }
    }
}

/// A host as it stands in the place of its responses.
pub(super) fn host(host: &str) -> Result<String, Refusal> {
    let resource = Resource::new(Scheme::Http, host, "/", &QueryRule::All);
    let message = || Refusal::invalid(format!("{host:?} is no host such as example.com"));
    resource
        .map(|resource| resource.authority())
        .ok_or_else(message)
}

/// Takes one level of percent-encoding off a query's value.
pub(super) fn decode(value: &str) -> Result<String, Refusal> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (&[high, low], after) = rest.split_first_chunk().ok_or_else(undecodable)?;
        decoded.push(hex(high, low).ok_or_else(undecodable)?);
        rest = after;
    }
    String::from_utf8(decoded).map_err(|_| undecodable())
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(high)? << 4 | value(low)?).ok()
}

fn undecodable() -> Refusal {
    Refusal::invalid("the value of url is not percent-encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Option<(String, String)> {
        let place = Place::parse(url, &QueryRule::All).ok()?;
        Some((place.host, place.path))
    }

    #[test]
    fn a_url_is_spelled_as_its_requests_are() {
        for (url, host, path) in [
            ("http://Example.com", "example.com", "/"),
            ("http://example.com.:80/a/../b", "example.com", "/b"),
            (
                "HTTPS://example.com:443/%7ea?x=%7e",
                "example.com",
                "/~a?x=%7e",
            ),
            ("http://example.com:8080?q", "example.com:8080", "/?q"),
            ("http://[::1]:81//a", "[::1]:81", "/a"),
        ] {
            assert_eq!(parse(url), Some((host.into(), path.into())), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "/path",
            "example.com/path",
            "ftp://example.com/",
            "http://",
            "http:///a",
            "http://a/../..",
            "http://a/%",
            "http://a/b c",
            "http://a#b",
            "http://u@a/",
            "http://a:x/",
            "http://a/#b",
        ] {
            assert_eq!(parse(url), None, "{url}");
        }
    }

    #[test]
    fn arguments_that_a_route_ignores_are_no_part_of_a_place() {
        let rule = QueryRule::Except(vec![crate::cache::key::ArgumentName::parse("utm_*")]);
        let place = Place::parse("http://a/b?utm_x=1&c=2&utm_y", &rule).unwrap();
        assert_eq!(place.path, "/b?c=2");
    }

    #[test]
    fn a_host_stands_alone() {
        assert_eq!(host("Example.COM."), Ok("example.com".into()));
        assert_eq!(host("example.com:8080"), Ok("example.com:8080".into()));
        for wrong in ["", "http://a", "a/b", "a:b"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_level_of_encoding_is_taken_off() {
        assert_eq!(
            decode("http%3A%2F%2Fa%2Fb%2520c?d=e&f"),
            Ok("http://a/b%20c?d=e&f".into())
        );
        for wrong in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
