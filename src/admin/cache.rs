//! The cache from outside: what is in it, and how to get it out.
//!
//! `POST /-/cache/purge` takes an [`Order`] as JSON, `GET /-/cache/lookup?url=…` shows what is stored
//! for a URL, `GET /-/cache/stats` the counts. URLs are spelled here as a request's is: normalised by
//! the same functions, and reduced to the arguments that its route lets count.

use std::time::SystemTime;

use http::StatusCode;
use pingora_cache::storage::PurgeAction;
use serde::{Deserialize, Serialize};

use crate::admin::reply::{self, Refusal, Reply};
use crate::cache::key::QueryRule;
use crate::cache::store::{Purge, Store};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::CacheMetrics;

mod place;
mod stats;
mod stored;

use place::Place;
use stats::Stats;
use stored::Stored;

/// What to purge: exactly one of `url`, `prefix`, `host`, `tag` and `all`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// All variants of `http://host/path?query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Everything whose URL begins so, whether a segment ends there or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// As clients name it, with its port if that is not the scheme's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// One of `Surrogate-Key` or `Cache-Tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub all: bool,
    /// Mark stale instead: to be revalidated, or served while that is not possible.
    pub soft: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Objects that were purged, those that were being written included.
    pub purged: usize,
}

#[derive(Serialize)]
struct Found {
    objects: Vec<Stored>,
}

enum Target<'a> {
    Url(&'a str),
    Prefix(&'a str),
    Host(&'a str),
    Tag(&'a str),
    All,
}

// === impl Order ===

impl Order {
    fn target(&self) -> Result<Target<'_>, Refusal> {
        let mut named = [
            self.url.as_deref().map(Target::Url),
            self.prefix.as_deref().map(Target::Prefix),
            self.host.as_deref().map(Target::Host),
            self.tag.as_deref().map(Target::Tag),
            self.all.then_some(Target::All),
        ]
        .into_iter()
        .flatten();
        let message = "an order has exactly one of url, prefix, host, tag and \"all\": true";
        match (named.next(), named.next()) {
            (Some(target), None) => Ok(target),
            _ => Err(Refusal::invalid(message)),
        }
    }
}

/// 200 with the count, also where there is nothing to purge.
pub(super) fn purge(store: &Store, snapshot: &Snapshot, body: &[u8]) -> Reply {
    let order = serde_json::from_slice::<Order>(body);
    let order = order.map_err(|error| Refusal::invalid(format!("the order: {error}")));
    match order.and_then(|order| carry_out(store, snapshot, &order)) {
        Ok(purged) => reply::json(StatusCode::OK, &Purged { purged }),
        Err(refusal) => refusal.reply(),
    }
}

fn carry_out(store: &Store, snapshot: &Snapshot, order: &Order) -> Result<usize, Refusal> {
    let action = match order.soft {
        true => PurgeAction::Expire,
        false => PurgeAction::Delete,
    };
    let now = SystemTime::now();
    let purge = |purge: Purge<'_>| store.invalidate(purge, action, now);
    Ok(match order.target()? {
        Target::Url(url) => {
            let places = Place::of_requests(url, snapshot)?;
            places.iter().map(|place| purge(place.url())).sum()
        }
        Target::Prefix(prefix) => purge(Place::parse(prefix, &QueryRule::All)?.prefix()),
        Target::Host(host) => purge(Purge::Host(&place::host(host)?)),
        Target::Tag("") => return Err(Refusal::invalid("an empty text is no tag")),
        Target::Tag(tag) => purge(Purge::Tag(tag)),
        Target::All => purge(Purge::All),
    })
}

pub(super) fn lookup(store: &Store, snapshot: &Snapshot, query: Option<&str>) -> Reply {
    match find(store, snapshot, query.unwrap_or_default()) {
        Ok(found) => reply::json(StatusCode::OK, &found),
        Err(refusal) => refusal.reply(),
    }
}

fn find(store: &Store, snapshot: &Snapshot, query: &str) -> Result<Found, Refusal> {
    let message = "ask with ?url=, its URL percent-encoded where it has & or %";
    let url = query
        .strip_prefix("url=")
        .ok_or_else(|| Refusal::invalid(message))?;
    let url = place::decode(url)?;
    let now = SystemTime::now();
    let places = Place::of_requests(&url, snapshot)?;
    let stored = places
        .iter()
        .flat_map(|place| store.stored_at(&place.host, &place.path));
    Ok(Found {
        objects: stored.map(|stored| Stored::of(&stored, now)).collect(),
    })
}

pub(super) fn stats(store: &Store, metrics: &CacheMetrics) -> Reply {
    reply::json(StatusCode::OK, &Stats::of(store, metrics))
}

#[cfg(test)]
mod tests;
