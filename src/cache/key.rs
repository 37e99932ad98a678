//! What a stored response is found under: the resource a request names, spelled in one way.
//!
//! Scheme, host, port, path and query, each framed by its length, so that no two resources share a
//! key however their parts are cut. The same for HTTP/1 and HTTP/2, whichever form the target had;
//! the same for GET and HEAD, for the method is no part of it. What else tells responses of one
//! resource apart is no part of it either but a variant (`rules::vary`), so that one key is enough to
//! make all of them void. Storing, finding and purging all ask [`Resource`].
//!
//! Called by `proxy` once per request, and by `rules::invalidation`.

use std::borrow::Cow;
use std::fmt;

use pingora_cache::key::{HashBinary, hash_key};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// Which arguments of a query tell resources apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryRule {
    #[default]
    All,
    /// Such as `utm_*`, which only tell the origin where a visitor came from.
    Except(Vec<ArgumentName>),
    Only(Vec<ArgumentName>),
}

/// The name of a query argument, as it is spelled on the wire; `utm_*` is every name that starts so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgumentName {
    Exact(String),
    Prefix(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    scheme: Scheme,
    /// Lower case, without a trailing dot; an IPv6 address in brackets.
    host: Cow<'a, str>,
    port: u16,
    path: Cow<'a, str>,
    query: Option<Cow<'a, str>>,
}

// === impl Resource ===

impl<'a> Resource<'a> {
    /// `authority` is `Host` or `:authority`; `target` is normalised (`routing::normalize`), path and
    /// query. `None`: there is no host, or none that can be told from others.
    pub fn new(
        scheme: Scheme,
        authority: &'a str,
        target: &'a str,
        rule: &QueryRule,
    ) -> Option<Resource<'a>> {
        let (host, port) = split_authority(authority)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, rule.keep(query)),
            None => (target, None),
        };
        let is_path = path.starts_with('/');
        is_path.then_some(Resource {
            scheme,
            host: lower(host),
            port: port.unwrap_or(scheme.port()),
            path: Cow::Borrowed(path),
            query,
        })
    }

    /// A frame for each part: four bytes of length, lowest first, then the part.
    pub fn key(&self) -> Vec<u8> {
        let query = self.query.as_deref();
        let bytes = self.host.len() + self.path.len() + query.map_or(0, str::len);
        let mut key = Vec::with_capacity(bytes + 32);
        push_frame(&mut key, self.scheme.name().as_bytes());
        push_frame(&mut key, self.host.as_bytes());
        push_frame(&mut key, &self.port.to_le_bytes());
        push_frame(&mut key, self.path.as_bytes());
        // An empty query is another resource than none (RFC 3986 §6.2.3): it has a frame.
        if let Some(query) = query {
            push_frame(&mut key, query.as_bytes());
        }
        key
    }

    /// Its key as the store knows it: a hash that nobody can find a second resource for.
    pub fn primary(&self) -> HashBinary {
        hash_key(self.key())
    }

    /// Path and query.
    pub fn target(&self) -> Cow<'_, str> {
        match &self.query {
            Some(query) => Cow::Owned(format!("{}?{query}", self.path)),
            None => Cow::Borrowed(&self.path),
        }
    }

    /// RFC 6454 §4: scheme, host and port.
    pub fn is_same_origin(&self, other: &Resource<'_>) -> bool {
        self.scheme == other.scheme && self.host == other.host && self.port == other.port
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The authority in its one spelling, without the port its scheme implies.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub fn into_owned(self) -> Resource<'static> {
        Resource {
            scheme: self.scheme,
            host: Cow::Owned(self.host.into_owned()),
            port: self.port,
            path: Cow::Owned(self.path.into_owned()),
            query: self.query.map(|query| Cow::Owned(query.into_owned())),
        }
    }
}

/// As a URI.
impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.scheme.name(), self.authority());
        write!(f, "{scheme}://{authority}{}", self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

// === impl Scheme ===

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that an authority without one means.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// In any case; `None`: a scheme this cache has no responses of.
    pub fn parse(name: &str) -> Option<Scheme> {
        let mut known = [Scheme::Http, Scheme::Https].into_iter();
        known.find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

// === impl QueryRule ===

impl QueryRule {
    /// The arguments that count, in the order they came. A query of which none is left is none.
    fn keep<'a>(&self, query: &'a str) -> Option<Cow<'a, str>> {
        if *self == QueryRule::All || query.split('&').all(|argument| self.keeps(argument)) {
            return Some(Cow::Borrowed(query));
        }
        let kept = query.split('&').filter(|argument| self.keeps(argument));
        let kept: Vec<&str> = kept.collect();
        (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
    }

    fn keeps(&self, argument: &str) -> bool {
        let name = argument.split_once('=').map_or(argument, |(name, _)| name);
        let is_named = |names: &[ArgumentName]| names.iter().any(|known| known.matches(name));
        match self {
            QueryRule::All => true,
            QueryRule::Except(names) => !is_named(names),
            QueryRule::Only(names) => is_named(names),
        }
    }
}

// === impl ArgumentName ===

impl ArgumentName {
    /// `utm_*` or `id`.
    pub fn parse(text: &str) -> ArgumentName {
        match text.strip_suffix('*') {
            Some(prefix) => ArgumentName::Prefix(prefix.to_owned()),
            None => ArgumentName::Exact(text.to_owned()),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            ArgumentName::Exact(exact) => name == exact,
            ArgumentName::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// Adds `part` so that no other sequence of parts gives the same bytes.
pub(super) fn push_frame(key: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(part);
}

/// The host, without its trailing dot, and the port, if there is one (RFC 3986 §3.2).
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let port_from = match authority.rfind(']') {
        Some(end) if authority.starts_with('[') => end + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(port_from);
    let port = match port.strip_prefix(':') {
        None if !port.is_empty() => return None,
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_host =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'?' | b'#' | b'\\');
    // A second dot at the end would be a label without a name.
    let is_name = !host.is_empty() && !host.ends_with('.') && host.bytes().all(is_host);
    is_name.then_some((host, port))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests;
