//! `cache.compress` of a route.

use std::collections::HashSet;

use super::super::model::{Algorithm, Compress};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::cache as raw;
use super::super::raw::shapes::{OneOrMany, Toggle};
use super::super::report::Report;
use super::keys::Keys;
use super::rule;

const MIN_SIZE: u64 = 1 << 10;
const MIN_SIZE_MAX: u64 = 1 << 30;
const TYPES_MAX: usize = 64;
/// Of equal size mostly in this order.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Brotli, Algorithm::Zstd, Algorithm::Gzip];

/// `None`: off.
pub(super) fn compress(
    raw: Option<&Toggle<raw::Compress>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Compress> {
    let nothing = raw::Compress::default();
    let raw = match raw? {
        Toggle::Flag(false) => return None,
        Toggle::Flag(true) => &nothing,
        Toggle::Map(raw) => raw,
    };
    let algorithms = algorithms(raw.algorithms.as_ref(), &at.key("algorithms"), report);
    let types = types(raw.types.as_ref(), &at.key("types"), report);
    let mut keys = Keys::of(at, report);
    let min_size = keys.size("min_size", raw.min_size.as_ref(), 1..=MIN_SIZE_MAX);
    Some(Compress {
        algorithms,
        min_size: usize::try_from(min_size.unwrap_or(MIN_SIZE)).unwrap_or(usize::MAX),
        types,
    })
}

fn algorithms(
    raw: Option<&OneOrMany<raw::Algorithm>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<Algorithm> {
    let Some(raw) = raw else {
        return ALGORITHMS.to_vec();
    };
    let items = raw.items();
    if items.is_empty() {
        report.missing(at, "an empty list, expected br, zstd or gzip, or no key");
    }
    let read = |(_, algorithm): (_, &raw::Algorithm)| match algorithm {
        raw::Algorithm::Br => Algorithm::Brotli,
        raw::Algorithm::Zstd => Algorithm::Zstd,
        raw::Algorithm::Gzip => Algorithm::Gzip,
    };
    let algorithms: Vec<Algorithm> = items.into_iter().map(read).collect();
    let distinct: HashSet<&Algorithm> = algorithms.iter().collect();
    if distinct.len() < algorithms.len() {
        report.problem(at, "names an algorithm twice");
    }
    algorithms
}

fn types(raw: Option<&OneOrMany<String>>, at: &At<'_>, report: &mut Report<'_>) -> Vec<String> {
    let count = raw.map_or(0, |raw| raw.items().len());
    if count > TYPES_MAX {
        let what = format!("has {count} types, expected at most {TYPES_MAX}");
        report.problem(at, what);
    }
    rule::many(raw, at, report, media_type)
}

/// `type/subtype` or `type/*` (RFC 9110 §8.3.1), in lower case.
fn media_type(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let is_token = |part: &str| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.bytes().all(is_token)
    };
    match text.split_once('/') {
        Some((family, kind)) if is_token(family) && (kind == "*" || is_token(kind)) => {
            Some(text.to_ascii_lowercase())
        }
        _ => {
            let what = format!(
                "{} is no media type such as text/html or text/*",
                quoted(text)
            );
            report.problem(at, what);
            None
        }
    }
}
