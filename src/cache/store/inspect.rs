//! What is stored for a URL, for people who want to know. Looking counts as no use.

use std::time::SystemTime;

use http::{HeaderName, StatusCode};

use super::index::place;
use super::shard::Entry;
use super::{Store, meta::Meta};

/// One stored response.
pub struct Stored {
    meta: Meta,
    /// Bytes of its body.
    pub body_bytes: usize,
    /// Bytes of the account it takes, its body's included.
    pub bytes: usize,
    /// Which of its URL's variants it is; `None`: the only one, or the first.
    pub variance: Option<[u8; 16]>,
}

impl Stored {
    fn of(entry: &Entry) -> Stored {
        Stored {
            meta: entry.meta.clone(),
            body_bytes: entry.body.len(),
            bytes: entry.charged(),
            variance: entry.variance(),
        }
    }

    pub fn status(&self) -> StatusCode {
        self.meta.status()
    }

    /// The first value of a field.
    pub fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.meta.value(name)
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.meta.tags()
    }

    /// From when its `Age` counts.
    pub fn born(&self) -> SystemTime {
        self.meta.born()
    }

    pub fn fresh_until(&self) -> SystemTime {
        self.meta.fresh_until()
    }
}

impl Store {
    /// All variants stored for a URL, of whatever scheme; the path with its query.
    pub fn stored_at(&self, host: &str, path: &str) -> Vec<Stored> {
        let place = place(host, path);
        let stored_in = |index| {
            self.with_shard(index, |shard| {
                let slots = shard.index.at(&place).into_iter();
                let entries = slots.filter_map(|slot| shard.get(slot));
                entries.map(Stored::of).collect::<Vec<_>>()
            })
        };
        (0..self.shards()).flat_map(stored_in).collect()
    }
}
