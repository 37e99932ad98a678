//! Variants: responses of one resource that differ by what was asked with (RFC 9111 §4.1).
//!
//! A variant is the values, in the request, of the fields that the stored response's `Vary` and the
//! route name, each reduced to what it means: lines joined, lists sorted where their order means
//! nothing, `Accept-Encoding` to the codings that are known, `Accept-Language` to lower case. An absent
//! field is not an empty one.

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, COOKIE, VARY,
};
use http::{HeaderMap, HeaderName};

use super::encoding::Accepted;
use super::list;
use crate::cache::key::push_frame;

/// What a route lets variants differ by, whatever responses say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryRule {
    pub headers: Vec<HeaderName>,
    /// Names of cookies; the others do not count.
    pub cookies: Vec<String>,
    /// Tells apart what routes answer that share URLs, and that requests take by their headers.
    pub route: Option<String>,
    /// What is stored uncoded serves every `Accept-Encoding`: it is coded here (`cache::compress`).
    pub codes: bool,
}

/// The variant that `request` wants of a resource whose stored responses have these headers; `None`:
/// there is only one.
///
/// Framed, so that two variants are equal only if all their values are.
pub fn variant(stored: &HeaderMap, request: &HeaderMap, rule: &VaryRule) -> Option<Vec<u8>> {
    let is_ruled = !rule.headers.is_empty() || !rule.cookies.is_empty() || rule.route.is_some();
    if !is_ruled && !stored.contains_key(VARY) {
        return None;
    }
    let mut names = list::names(stored, &VARY).unwrap_or_default();
    names.extend_from_slice(&rule.headers);
    if rule.codes && !stored.contains_key(CONTENT_ENCODING) {
        names.retain(|name| *name != ACCEPT_ENCODING);
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    if names.is_empty() && !is_ruled {
        return None;
    }
    let mut variant = Vec::new();
    if let Some(route) = &rule.route {
        // As with cookies, a name that no header has.
        push_field(&mut variant, "route:", Some(route.clone().into_bytes()));
    }
    for name in &names {
        push_field(&mut variant, name.as_str(), normalized(request, name));
    }
    for name in &rule.cookies {
        // A name that no header has: a colon is in none.
        push_field(
            &mut variant,
            &format!("cookie:{name}"),
            cookie(request, name),
        );
    }
    Some(variant)
}

fn push_field(variant: &mut Vec<u8>, name: &str, value: Option<Vec<u8>>) {
    push_frame(variant, name.as_bytes());
    variant.push(value.is_some().into());
    push_frame(variant, &value.unwrap_or_default());
}

/// The value of a request's field as it counts; `None`: absent.
fn normalized(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    if !request.contains_key(name) {
        return None;
    }
    if *name == ACCEPT_ENCODING {
        let accepted = Accepted::parse(request)?;
        return Some(accepted.normalized().as_bytes().to_vec());
    }
    if *name == ACCEPT_LANGUAGE {
        return Some(sorted(request, name).to_ascii_lowercase());
    }
    if [ACCEPT, ACCEPT_CHARSET].contains(name) {
        return Some(sorted(request, name));
    }
    // HTTP/2 may send a cookie on each line (RFC 9113 §8.2.3).
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    let lines = request.get_all(name).iter();
    let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes().trim_ascii()).collect();
    Some(lines.join(separator))
}

/// The members of a list whose order means nothing, by weight or at all, without white space.
fn sorted(request: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let members = list::members(request, name);
    let mut members: Vec<Vec<u8>> = members.map(without_space).collect();
    members.sort_unstable();
    members.join(&b',')
}

/// Outside of quotes.
fn without_space(member: &[u8]) -> Vec<u8> {
    let mut is_quoted = false;
    let keeps = |byte: &&u8| {
        is_quoted ^= **byte == b'"';
        is_quoted || !matches!(byte, b' ' | b'\t')
    };
    member.iter().filter(keeps).copied().collect()
}

/// The first cookie of this name (RFC 6265 §5.4 sends the most specific first).
fn cookie(request: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let lines = request.get_all(COOKIE).iter();
    let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    cookies.find_map(|cookie| {
        let value = cookie.trim_ascii().strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=").map(<[u8]>::to_vec)
    })
}

#[cfg(test)]
mod tests;
