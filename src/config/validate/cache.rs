//! `cache`: the memory, and how a route uses it.

use std::hash::Hash;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::super::model::{Cache, Eviction, Honour, QueryArguments, RouteCache};
use super::super::path::At;
use super::super::raw::cache as raw;
use super::super::raw::shapes::{OneOrMany, Toggle};
use super::super::report::Report;
use super::balance::plain_name;
use super::keys::{Keys, hours, minutes};
use super::{compress, headers, rule, server};

const MEMORY_MIN: u64 = 1 << 20;
const MEMORY_MAX: u64 = 64 << 40;
const MEMORY: u64 = 256 << 20;
const OBJECT_MIN: u64 = 1 << 10;
const OBJECT: u64 = 8 << 20;
const TARGETED_MAX: usize = 8;
/// Of headers and of cookies: each is part of every key.
const KEY_PARTS_MAX: usize = 16;
const ARGUMENTS_MAX: usize = 64;
const YEAR: RangeInclusive<Duration> = Duration::ZERO..=hours(365 * 24);

pub(super) fn cache(raw: &raw::Cache, at: &At<'_>, report: &mut Report<'_>) -> Cache {
    let mut keys = Keys::of(at, report);
    let memory = keys
        .size("memory", raw.memory.as_ref(), MEMORY_MIN..=MEMORY_MAX)
        .unwrap_or(MEMORY);
    let max_object = keys
        .size("max_object", raw.max_object.as_ref(), OBJECT_MIN..=memory)
        .unwrap_or(OBJECT.min(memory));
    let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
    Cache {
        memory: bytes(memory),
        max_object: bytes(max_object),
    }
}

pub(super) fn eviction(raw: &raw::Cache) -> Eviction {
    match raw.eviction {
        None | Some(raw::Eviction::Lru) => Eviction::Lru,
        Some(raw::Eviction::S3fifo) => Eviction::S3Fifo,
    }
}

/// `None`: off.
pub(super) fn route(
    raw: Option<&Toggle<raw::RouteCache>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<RouteCache> {
    let raw = match raw? {
        Toggle::Flag(false) => return None,
        Toggle::Flag(true) => return Some(RouteCache::default()),
        Toggle::Map(raw) => raw,
    };
    let default = RouteCache::default();
    let no_key = raw::Key::default();
    let key = key(raw.key.as_ref().unwrap_or(&no_key), &at.key("key"), report);
    let targeted = targeted(raw.targeted.as_ref(), &at.key("targeted"), report);
    let compress = compress::compress(raw.compress.as_ref(), &at.key("compress"), report);
    let purge = purge(raw.purge.as_ref(), &at.key("purge"), report);
    let mut keys = Keys::of(at, report);
    let swr = raw.stale_while_revalidate.as_ref();
    let lock = Duration::ZERO..=minutes(5);
    Some(RouteCache {
        default_ttl: keys.duration("default_ttl", raw.default_ttl.as_ref(), YEAR),
        stale_while_revalidate: keys
            .duration("stale_while_revalidate", swr, YEAR)
            .unwrap_or(default.stale_while_revalidate),
        grace: keys
            .duration("grace", raw.grace.as_ref(), YEAR)
            .unwrap_or(default.grace),
        query: key.query,
        headers: key.headers,
        cookies: key.cookies,
        honour: raw.honour.as_ref().map_or(Honour::ALL, honour),
        targeted: targeted.unwrap_or(default.targeted),
        set_cookie: raw.set_cookie.unwrap_or(default.set_cookie),
        passes_ranges: matches!(raw.range, Some(raw::Range::Pass)),
        lock_timeout: keys
            .duration("lock_timeout", raw.lock_timeout.as_ref(), lock)
            .unwrap_or(default.lock_timeout),
        compress,
        purge,
        status_key: raw.status_key.unwrap_or(default.status_key),
        x_cache: raw.x_cache.unwrap_or(default.x_cache),
    })
}

/// Empty: nobody.
fn purge(raw: Option<&raw::Purge>, at: &At<'_>, report: &mut Report<'_>) -> Vec<IpNet> {
    let Some(raw) = raw else {
        return Vec::new();
    };
    let at = at.key("allow");
    if raw.allow.is_none() {
        report.missing(&at, "missing, expected addresses or networks");
    }
    rule::many(raw.allow.as_ref(), &at, report, server::network)
}

struct Key {
    query: QueryArguments,
    headers: Vec<HeaderName>,
    cookies: Vec<String>,
}

fn key(raw: &raw::Key, at: &At<'_>, report: &mut Report<'_>) -> Key {
    let [ignored, only] = [
        ("ignore_query", &raw.ignore_query),
        ("only_query", &raw.only_query),
    ]
    .map(|(key, raw)| {
        several(
            raw.as_ref(),
            ARGUMENTS_MAX,
            &at.key(key),
            report,
            plain_name,
        )
    });
    if raw.ignore_query.is_some() && raw.only_query.is_some() {
        report.problem(at, "has ignore_query and only_query, expected one of them");
    }
    let query = match (raw.ignore_query.is_some(), raw.only_query.is_some()) {
        (true, _) => QueryArguments::Except(ignored),
        (false, true) => QueryArguments::Only(only),
        (false, false) => QueryArguments::All,
    };
    let (headers, cookies) = (raw.headers.as_ref(), raw.cookies.as_ref());
    Key {
        query,
        headers: several(
            headers,
            KEY_PARTS_MAX,
            &at.key("headers"),
            report,
            headers::name,
        ),
        cookies: several(
            cookies,
            KEY_PARTS_MAX,
            &at.key("cookies"),
            report,
            plain_name,
        ),
    }
}

/// An empty list: no field goes before `Cache-Control`.
fn targeted(
    raw: Option<&OneOrMany<String>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<HeaderName>> {
    let given = raw?;
    if given.items().is_empty() {
        return Some(Vec::new());
    }
    Some(several(raw, TARGETED_MAX, at, report, headers::name))
}

fn several<T: Clone + Eq + Hash>(
    raw: Option<&OneOrMany<String>>,
    most: usize,
    at: &At<'_>,
    report: &mut Report<'_>,
    read: fn(&str, &At<'_>, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    let count = raw.map_or(0, |raw| raw.items().len());
    if count > most {
        report.problem(at, format!("has {count} names, expected at most {most}"));
    }
    rule::many(raw, at, report, read)
}

fn honour(raw: &OneOrMany<raw::Directive>) -> Honour {
    let mut honour = Honour::NONE;
    for (_, directive) in raw.items() {
        match directive {
            raw::Directive::NoCache => honour.no_cache = true,
            raw::Directive::NoStore => honour.no_store = true,
            raw::Directive::OnlyIfCached => honour.only_if_cached = true,
            raw::Directive::MaxAge => honour.max_age = true,
            raw::Directive::MaxStale => honour.max_stale = true,
            raw::Directive::MinFresh => honour.min_fresh = true,
        }
    }
    honour
}
