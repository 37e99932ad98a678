//! What is stored with a response, and how a request finds it.
//!
//! A response is kept with its [`Terms`], which a hit reads and never computes, and with its place and
//! tags for purges. A request finds the newest variant that its own header fields lead to. What has
//! been purged softly is stale from then on. Called by `proxy::cached`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary, hash_key};
use pingora_http::ResponseHeader;

use super::key::Resource;
use super::rules::date::between;
use super::rules::freshness::{Defaults, Exchange, Terms};
use super::rules::list;
use super::rules::targeted::Control;
use super::rules::vary::{VaryRule, variant};
use super::store::meta::TICK;
use super::store::{Found, Label, Store};

/// Fields in which origins name tags; a name in several counts once.
const TAG_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
];
/// Each costs memory and an entry in the index.
const TAGS_MAX: usize = 64;

/// A stored response, or one on its way into the store.
#[derive(Clone)]
pub struct Stored {
    pub found: Found,
    /// As they count now.
    pub terms: Terms,
    /// Made when it is asked for: most hits need no map of it.
    head: OnceLock<Box<ResponseHeader>>,
}

/// What a request looks for.
pub struct Wanted<'a> {
    pub primary: &'a HashBinary,
    pub request: &'a HeaderMap,
    pub rule: &'a VaryRule,
}

// === impl Stored ===

impl Stored {
    pub fn of(found: Found, terms: Terms) -> Stored {
        let head = OnceLock::new();
        Stored { found, terms, head }
    }

    /// `None`: it was not stored by weir.
    pub fn new(found: Found) -> Option<Stored> {
        let terms = found.meta.terms()?;
        Some(Stored::of(found, terms))
    }

    pub fn head(&self) -> &ResponseHeader {
        self.head.get_or_init(|| Box::new(self.found.meta.header()))
    }

    /// The length of its body, if it is known by now.
    pub fn length(&self) -> Option<u64> {
        let length = self.found.body.whole_len();
        let length = length.or_else(|| self.found.meta.content_length())?;
        u64::try_from(length).ok()
    }
}

// === impl Wanted ===

impl Wanted<'_> {
    /// The newest stored variant that the request leads to.
    pub fn find(&self, store: &Store) -> Option<Stored> {
        // Variants mostly vary by the same fields, so their values are only hashed once.
        let mut last: Option<(HeaderMap, Option<HashBinary>)> = None;
        let found = store.choose(self.primary, |meta, variance| {
            if meta.is_coded() {
                return false;
            }
            let selecting = meta.selecting();
            let known = last.as_ref().filter(|(known, _)| *known == selecting);
            let wanted = match known {
                Some((_, wanted)) => *wanted,
                None => {
                    let wanted = self.variance(&selecting);
                    last = Some((selecting, wanted));
                    wanted
                }
            };
            wanted.as_ref() == variance
        });
        found.and_then(Stored::new)
    }

    /// All stored variants of the resource, newest first: one of them may be what the origin has.
    pub fn variants(&self, store: &Store) -> Vec<Stored> {
        let variants = store.variants(self.primary).into_iter();
        variants.filter_map(Stored::new).collect()
    }

    /// Where a response with these headers is kept for this request.
    pub fn key(&self, response: &HeaderMap) -> CompactCacheKey {
        CompactCacheKey {
            primary: *self.primary,
            variance: self.variance(response).map(Box::new),
            user_tag: Box::default(),
        }
    }

    fn variance(&self, response: &HeaderMap) -> Option<HashBinary> {
        variant(response, self.request, self.rule).map(hash_key)
    }
}

/// A response as it is stored. `created` tells it from its predecessors, and stays when it is
/// validated.
pub fn meta(
    head: ResponseHeader,
    terms: Terms,
    created: SystemTime,
    variance: Option<HashBinary>,
    label: Label,
) -> CacheMeta {
    let seconds = |window: Duration| u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
    let revalidate = seconds(terms.stale_while_revalidate);
    let error = seconds(terms.stale_if_error.max(terms.stale_if_down));
    let fresh_until = terms.stale_from() - TICK;
    let mut meta = CacheMeta::new(fresh_until, created, revalidate, error, head);
    // Says when: a soft purge before this moment does not count any more.
    meta.update_freshness(fresh_until, revalidate, error);
    meta.set_epoch_override(terms.born);
    if let Some(variance) = variance {
        meta.set_variance(variance);
    }
    meta.extensions_mut().insert(terms);
    meta.extensions_mut().insert(label);
    meta
}

/// The terms of a response that comes from another process, which hands on times but no terms. What they
/// do not tell is taken for the stricter.
pub fn restored(meta: &CacheMeta) -> Terms {
    let (head, created) = (meta.response_header(), meta.created());
    let control = Control::of_response(&head.headers, &[]);
    let exchange = Exchange {
        requested: created,
        answered: created,
    };
    let defaults = Defaults::default();
    let said = Terms::new(head.status, &head.headers, &control, &defaults, &exchange);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let error = seconds(meta.stale_if_error_sec());
    let explicit = control.directives().stale_if_error;
    Terms {
        born: meta.epoch(),
        lifetime: between(meta.epoch(), meta.fresh_until() + TICK),
        may_be_stale: false,
        stale_while_revalidate: seconds(meta.stale_while_revalidate_sec()),
        stale_if_error: explicit.unwrap_or(error).min(error),
        stale_if_down: error,
        ..said
    }
}

/// Where a response belongs, for purges: its URL, and the tags that its origin gave it.
pub fn label(resource: &Resource<'_>, response: &HeaderMap) -> Label {
    let lines = TAG_FIELDS.into_iter();
    let lines = lines.flat_map(|name| list::members(response, &name));
    let words = lines.flat_map(|line| line.split(|byte| byte.is_ascii_whitespace()));
    let tags = words.filter_map(|word| std::str::from_utf8(word).ok());
    let tags = tags.filter(|tag| !tag.is_empty()).take(TAGS_MAX);
    Label::new(&resource.authority(), &resource.target(), tags)
}

#[cfg(test)]
mod tests;
