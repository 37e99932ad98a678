//! The coded form of a stored response: made once, kept beside it as a variant of the same URL.
//!
//! It has the original's label, so whatever purges one purges the other, and says of which generation it
//! was made: it is used for that alone, and the store keeps it no longer than that. It has no terms of its
//! own: no request is led to it, and the next process makes its own. [`Work`] is for a thread that serves
//! nobody; found and begun by `proxy::cached`.

use std::io;
use std::sync::Arc;

use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary, hash_key};

use super::coded_head;
use super::encoder::Encoder;
use crate::cache::key::push_frame;
use crate::cache::rules::encoding::Coding;
use crate::cache::rules::freshness::Terms;
use crate::cache::store::body::Whole;
use crate::cache::store::{Coded, Fill, Found, Store};

/// How much is coded before what came out is written.
const STEP: usize = 64 * 1024;

/// One response to be coded.
pub struct Work {
    key: CompactCacheKey,
    meta: CacheMeta,
    body: Arc<Whole>,
    coding: Coding,
}

/// Where the coded form of a response is kept.
pub fn key_of(primary: &HashBinary, original: &Found, coding: Coding) -> CompactCacheKey {
    let mut variant = Vec::new();
    // A field of a request has no such name.
    push_frame(&mut variant, b"coded:");
    push_frame(&mut variant, coding.name().as_bytes());
    push_frame(
        &mut variant,
        original.variance.as_ref().map_or(&[], |hash| hash),
    );
    CompactCacheKey {
        primary: *primary,
        variance: Some(Box::new(hash_key(variant))),
        user_tag: Box::default(),
    }
}

/// The whole coded form of a response, if there is one.
pub fn find(store: &Store, key: &CompactCacheKey, original: &Found) -> Option<Found> {
    let found = store.find(key)?;
    let is_of_it = found.meta.original() == Some(original.id);
    (is_of_it && found.body.whole_len().is_some()).then_some(found)
}

// === impl Work ===

impl Work {
    /// `None`: the original is still being written.
    pub fn new(key: CompactCacheKey, original: &Found, coding: Coding) -> Option<Work> {
        let body = Arc::clone(original.body.whole()?);
        let mut meta = original.meta.copy();
        *meta.response_header_mut() = coded_head(&original.meta.header(), coding).ok()?;
        if let Some(variance) = key.variance.as_deref() {
            meta.set_variance(*variance);
        }
        let extensions = meta.extensions_mut();
        extensions.remove::<Terms>();
        extensions.insert(Coded { of: original.id });
        extensions.insert(original.meta.label());
        Some(Work {
            key,
            meta,
            body,
            coding,
        })
    }

    pub fn key(&self) -> &CompactCacheKey {
        &self.key
    }

    /// Codes and stores; false when it is not kept, or what it was made of has gone. It blocks for the time that this takes.
    pub fn run(self, store: &Store) -> io::Result<bool> {
        let mut fill = store.begin(self.key, &self.meta);
        if fill.is_passing() {
            return Ok(false);
        }
        let mut encoder = Encoder::new(self.coding)?;
        for piece in self.body.pieces().flat_map(|chunk| chunk.chunks(STEP)) {
            write(&mut fill, &encoder.push(piece)?)?;
        }
        write(&mut fill, &encoder.finish()?)?;
        Ok(fill.commit() > 0)
    }
}

/// An error where it is no longer to be kept.
fn write(fill: &mut Fill, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    fill.write(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, SystemTime};

    use pingora_cache::storage::PurgeAction;
    use pingora_http::ResponseHeader;

    use super::*;
    use crate::cache::store::{Eviction, Label, Purge, Settings};

    fn store() -> Store {
        Store::new(Settings {
            memory: 1 << 22,
            max_object: 1 << 20,
            eviction: Eviction::Lru,
        })
    }

    fn label() -> Label {
        Label::new("a.test", "/page", ["red"])
    }

    /// A stored page of 200,000 bytes.
    fn original(store: &Store, created: SystemTime) -> Found {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header("Content-Type", "text/html").unwrap();
        head.insert_header("ETag", "\"one\"").unwrap();
        let until = created + Duration::from_secs(60);
        let mut meta = CacheMeta::new(until, created, 0, 0, head);
        meta.extensions_mut().insert(label());
        let key = CompactCacheKey {
            primary: [7; 16],
            ..CompactCacheKey::default()
        };
        let mut fill = store.begin(key.clone(), &meta);
        for _ in 0..20 {
            fill.write(&page()[..10_000]).unwrap();
        }
        assert!(fill.commit() > 0);
        store.find(&key).unwrap()
    }

    fn page() -> Vec<u8> {
        b"so much text; ".repeat(1000)
    }

    fn code(store: &Store, original: &Found, coding: Coding) -> CompactCacheKey {
        let key = key_of(&[7; 16], original, coding);
        let work = Work::new(key.clone(), original, coding).unwrap();
        assert!(work.run(store).unwrap());
        key
    }

    #[test]
    fn what_is_coded_is_found_for_its_original_alone() {
        let (store, now) = (store(), SystemTime::now());
        let first = original(&store, now);
        let key = code(&store, &first, Coding::Gzip);
        let coded = find(&store, &key, &first).unwrap();
        let bytes: Vec<u8> = coded
            .body
            .whole()
            .unwrap()
            .pieces()
            .flatten()
            .copied()
            .collect();
        let mut text = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
        decoder.read_to_end(&mut text).unwrap();
        assert!(bytes.len() < 20_000 && text == page()[..10_000].repeat(20));
        assert_eq!(coded.meta.header().headers["content-encoding"], "gzip");
        assert_eq!(coded.meta.header().headers["etag"], "W/\"one\"");

        let other = key_of(&[7; 16], &first, Coding::Brotli);
        assert!(find(&store, &other, &first).is_none());
        let second = original(&store, now + Duration::from_secs(1));
        assert!(find(&store, &key, &second).is_none());
        code(&store, &second, Coding::Gzip);
        assert!(find(&store, &key, &second).is_some());
        assert_eq!(store.holding().objects, 2);
    }

    #[test]
    fn a_purge_takes_it_with_its_original() {
        let (store, now) = (store(), SystemTime::now());
        for purge in [
            Purge::Tag("red"),
            Purge::Url {
                host: "a.test",
                path: "/page",
            },
        ] {
            code(&store, &original(&store, now), Coding::Zstd);
            assert_eq!(store.invalidate(purge, PurgeAction::Delete, now), 2);
        }
    }

    #[test]
    fn what_is_coded_is_dropped_at_the_end_if_a_purge_has_taken_its_original() {
        let (store, now) = (store(), SystemTime::now());
        let page = original(&store, now);
        let key = key_of(&[7; 16], &page, Coding::Gzip);
        let work = || Work::new(key.clone(), &page, Coding::Gzip).unwrap();
        let (before, after) = (work(), work());
        assert!(before.run(&store).unwrap());
        assert_eq!(
            store.invalidate(Purge::Tag("red"), PurgeAction::Delete, now),
            2
        );
        assert!(!after.run(&store).unwrap());
        assert_eq!(store.holding().objects, 0);
        let next = original(&store, now);
        assert!(find(&store, &key, &next).is_none());
    }

    #[test]
    fn the_next_process_makes_its_own() {
        let (store, now) = (store(), SystemTime::now());
        code(&store, &original(&store, now), Coding::Gzip);
        let records = store.export(usize::MAX);
        let records =
            records.filter_map(|object| crate::cache::handover::record::Record::of(&object));
        assert_eq!(records.count(), 1);
    }
}
