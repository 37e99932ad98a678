//! Where objects belong, for purges: by place (host and path) and by tag, in the number of objects
//! found, not in the number stored.
//!
//! A place is host and path-with-query in one string; a host has no `/` and a path begins with one,
//! so all of a host, or of a prefix within it, is one range of the sorted places.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use super::account::allocated;
use super::meta::Meta;

/// Where an object belongs. The proxy puts it into the extensions of the `CacheMeta` it stores; an
/// object without one is found only by its key and by [`Purge::All`](super::purge::Purge).
#[derive(Clone, Debug, Default)]
pub struct Label {
    place: String,
    tags: Vec<String>,
}

impl Label {
    /// `host` as in the cache key (lower case; with a port if the key has one), `path` with query.
    pub fn new<'a>(host: &str, path: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        Label::at(&place(host, path), tags)
    }

    /// With host and path in one. No tag has a line break in it: no field of HTTP has one.
    pub fn at<'a>(place: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
        tags.sort_unstable();
        tags.dedup();
        Label {
            place: place.to_owned(),
            tags,
        }
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }
}

/// The place of a path on a host.
pub fn place(host: &str, path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    [host, slash, path].concat()
}

/// Slots by place and by tag. Holds each slot that was added and not removed, once.
#[derive(Default)]
pub struct Index {
    places: BTreeSet<Placed>,
    tags: HashMap<Box<str>, BTreeSet<u32>, foldhash::fast::RandomState>,
}

/// What a place in a B-tree takes, at two thirds of its load.
const PLACE_BYTES: usize = size_of::<Placed>() * 3 / 2 + 12;

/// What an object takes in the index: of tags, as if no other object had them.
pub fn cost(meta: &Meta) -> usize {
    let per_tag = |tag: &str| allocated(tag.len()) + 128;
    PLACE_BYTES + meta.tags().map(per_tag).sum::<usize>()
}

/// A slot by its place, which lies with what it leads to.
struct Placed {
    meta: Meta,
    slot: u32,
}

impl Index {
    pub fn add(&mut self, slot: u32, meta: &Meta) {
        self.places.insert(Placed::new(meta, slot));
        for tag in meta.tags() {
            match self.tags.get_mut(tag) {
                Some(slots) => slots.insert(slot),
                None => self.tags.entry(tag.into()).or_default().insert(slot),
            };
        }
    }

    pub fn remove(&mut self, slot: u32, meta: &Meta) {
        self.places.remove(&Placed::new(meta, slot));
        for tag in meta.tags() {
            if let Some(slots) = self.tags.get_mut(tag) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
    }

    pub fn at(&self, place: &str) -> Vec<u32> {
        self.from(place, |found| found == place.as_bytes())
    }

    pub fn below(&self, prefix: &str) -> Vec<u32> {
        self.from(prefix, |found| found.starts_with(prefix.as_bytes()))
    }

    pub fn tagged(&self, tag: &str) -> Vec<u32> {
        let slots = self.tags.get(tag);
        slots.into_iter().flatten().copied().collect()
    }

    fn from(&self, place: &str, belongs: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        let first = Placed::new(&Meta::bare(&Label::at(place, [])), 0);
        let found = self.places.range(first..);
        let found = found.take_while(|placed| belongs(placed.meta.place()));
        found.map(|placed| placed.slot).collect()
    }
}

// === impl Placed ===

impl Placed {
    fn new(meta: &Meta, slot: u32) -> Placed {
        let meta = meta.clone();
        Placed { meta, slot }
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Placed) -> Ordering {
        let by_place = self.meta.place().cmp(other.meta.place());
        by_place.then(self.slot.cmp(&other.slot))
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Placed) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Placed) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Placed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(host: &str, path: &str, tags: &[&str]) -> Meta {
        Meta::bare(&Label::new(host, path, tags.iter().copied()))
    }

    #[test]
    fn slots_are_found_by_place_prefix_and_tag_until_they_are_removed() {
        let labels = [
            label("a.test", "/x", &["red", "blue", "red"]),
            label("a.test", "/x?q", &["red"]),
            label("a.test", "/y/1", &[]),
            label("a.test.evil", "/x", &["blue"]),
            label("a.test", "/x", &[]),
        ];
        let mut index = Index::default();
        for (slot, label) in (0..).zip(&labels) {
            index.add(slot, label);
        }
        assert_eq!(index.at(&place("a.test", "/x")), [0, 4]);
        assert_eq!(index.below("a.test/"), [0, 4, 1, 2]);
        assert_eq!(index.below(&place("a.test", "/y")), [2]);
        assert_eq!(index.tagged("red"), [0, 1]);
        assert_eq!(index.tagged("blue"), [0, 3]);
        assert!(index.tagged("re").is_empty());
        for (slot, label) in (0..).zip(&labels) {
            index.remove(slot, label);
        }
        assert!(index.places.is_empty() && index.tags.is_empty());
    }
}
