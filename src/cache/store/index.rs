//! Where objects belong, for purges: by place (host and path) and by tag, in the number of objects
//! found, not in the number stored.
//!
//! A place is host and path-with-query in one string; a host has no `/` and a path begins with one,
//! so all of a host, or of a prefix within it, is one range of the sorted places.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::account::allocated;

/// Where an object belongs. The proxy puts it into the extensions of the `CacheMeta` it stores; an
/// object without one is found only by its key and by [`Purge::All`](super::purge::Purge).
#[derive(Clone, Debug)]
pub struct Label {
    place: Arc<str>,
    tags: Arc<[Box<str>]>,
}

impl Default for Label {
    fn default() -> Self {
        Label {
            place: Arc::from(""),
            tags: Arc::from([]),
        }
    }
}

impl Label {
    /// `host` as in the cache key (lower case; with a port if the key has one), `path` with query.
    pub fn new<'a>(host: &str, path: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        Label::at(&place(host, path), tags)
    }

    /// With host and path in one.
    pub fn at<'a>(place: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tags: Vec<Box<str>> = tags.into_iter().map(Box::from).collect();
        tags.sort_unstable();
        tags.dedup();
        Label {
            place: Arc::from(place),
            tags: tags.into(),
        }
    }

    pub fn is_at(&self, place: &str) -> bool {
        &*self.place == place
    }

    pub fn is_below(&self, prefix: &str) -> bool {
        self.place.starts_with(prefix)
    }

    pub fn has(&self, tag: &str) -> bool {
        self.tags
            .binary_search_by(|known| (**known).cmp(tag))
            .is_ok()
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| &**tag)
    }

    /// Bytes it takes, in the index too: each tag twice, as if no other object had it.
    pub fn cost(&self) -> usize {
        let per_tag = |tag: &str| 2 * allocated(tag.len()) + 128;
        let tags: usize = self.tags().map(per_tag).sum();
        allocated(self.place.len() + 16) + 64 + tags
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
    places: BTreeSet<(Arc<str>, u32)>,
    tags: HashMap<Box<str>, BTreeSet<u32>, foldhash::fast::RandomState>,
}

impl Index {
    pub fn add(&mut self, slot: u32, label: &Label) {
        self.places.insert((Arc::clone(&label.place), slot));
        for tag in &*label.tags {
            match self.tags.get_mut(tag) {
                Some(slots) => slots.insert(slot),
                None => self.tags.entry(tag.clone()).or_default().insert(slot),
            };
        }
    }

    pub fn remove(&mut self, slot: u32, label: &Label) {
        self.places.remove(&(Arc::clone(&label.place), slot));
        for tag in &*label.tags {
            if let Some(slots) = self.tags.get_mut(tag) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
    }

    pub fn at(&self, place: &str) -> Vec<u32> {
        self.from(place, |found| found == place)
    }

    pub fn below(&self, prefix: &str) -> Vec<u32> {
        self.from(prefix, |found| found.starts_with(prefix))
    }

    pub fn tagged(&self, tag: &str) -> Vec<u32> {
        let slots = self.tags.get(tag);
        slots.into_iter().flatten().copied().collect()
    }

    fn from(&self, place: &str, belongs: impl Fn(&str) -> bool) -> Vec<u32> {
        let first = Bound::Included((Arc::from(place), 0));
        let places = self.places.range((first, Bound::Unbounded));
        let found = places.take_while(|(place, _)| belongs(place));
        found.map(|(_, slot)| *slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(host: &str, path: &str, tags: &[&str]) -> Label {
        Label::new(host, path, tags.iter().copied())
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
        assert!(labels[0].has("blue") && !labels[1].has("blue"));
        for (slot, label) in (0..).zip(&labels) {
            index.remove(slot, label);
        }
        assert!(index.places.is_empty() && index.tags.is_empty());
    }
}
