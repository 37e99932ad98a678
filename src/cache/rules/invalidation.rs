//! What a write makes void (RFC 9111 §4.4): the resource it was sent to, and those of the same origin
//! that its answer names in `Location` and `Content-Location`.
//!
//! Only a non-error answer does, for nothing was written otherwise; and only for the same origin, for
//! nobody may make another's responses void.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::key::{QueryRule, Resource, Scheme};
use crate::routing::normalize::normalize;

/// The resources whose stored responses, all variants, are void after this exchange.
pub fn voided(
    method: &Method,
    status: StatusCode,
    requested: &Resource<'_>,
    response: &HeaderMap,
    rule: &QueryRule,
) -> Vec<Resource<'static>> {
    let is_error = !(status.is_success() || status.is_redirection());
    if is_safe(method) || is_error {
        return Vec::new();
    }
    let mut voided = vec![requested.clone().into_owned()];
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(named) = named(response, &name, requested, rule)
            && named.is_same_origin(requested)
            && !voided.contains(&named)
        {
            voided.push(named);
        }
    }
    voided
}

/// Methods that are known to write nothing (RFC 9110 §9.2.1, RFC 4918, RFC 3253, RFC 5323). Of any
/// other, also an unknown one, it must be assumed that it writes.
pub fn is_safe(method: &Method) -> bool {
    const SAFE: [&str; 7] = [
        "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH",
    ];
    SAFE.contains(&method.as_str())
}

fn named(
    response: &HeaderMap,
    name: &HeaderName,
    base: &Resource<'_>,
    rule: &QueryRule,
) -> Option<Resource<'static>> {
    let reference = response.get(name)?.to_str().ok()?;
    resolve(base, reference.trim(), rule)
}

/// The resource that a reference means (RFC 3986 §5.2); `None`: none of HTTP.
fn resolve(base: &Resource<'_>, reference: &str, rule: &QueryRule) -> Option<Resource<'static>> {
    let reference = reference.split('#').next().unwrap_or(reference);
    let (scheme, hierarchical) = match scheme(reference) {
        Some((name, rest)) => (Scheme::parse(name)?, rest),
        None => (base.scheme(), reference),
    };
    if let Some(rest) = hierarchical.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        return resource(scheme, &rest[..end], &rest[end..], rule);
    }
    if hierarchical.len() < reference.len() {
        // `http:/path` and the like.
        return None;
    }
    resource(scheme, &base.authority(), &target(base, reference), rule)
}

/// The name before the first colon, if it is a scheme's, and what follows the colon.
fn scheme(reference: &str) -> Option<(&str, &str)> {
    let (name, rest) = reference.split_once(':')?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let starts_right = name.starts_with(|first: char| first.is_ascii_alphabetic());
    (starts_right && name.bytes().all(is_scheme)).then_some((name, rest))
}

/// The target of a reference without scheme and authority, not yet normalised.
fn target(base: &Resource<'_>, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    if reference.is_empty() {
        return match base.query() {
            Some(query) => format!("{}?{query}", base.path()),
            None => base.path().to_owned(),
        };
    }
    if reference.starts_with('?') {
        return format!("{}{reference}", base.path());
    }
    let folder = base.path().rfind('/').map_or(0, |slash| slash + 1);
    format!("{}{reference}", &base.path()[..folder])
}

fn resource(
    scheme: Scheme,
    authority: &str,
    target: &str,
    rule: &QueryRule,
) -> Option<Resource<'static>> {
    let target = normalize(target).ok()?;
    Resource::new(scheme, authority, &target, rule).map(Resource::into_owned)
}

#[cfg(test)]
mod tests;
