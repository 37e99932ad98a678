//! All variants of a URL, and their coded forms, are a family: a list through their entries, from the newest to the oldest, and
//! one place in a table that leads to the newest. Most families are of one, which so takes 14 bytes.

use std::hash::BuildHasher;
use std::iter;

use hashbrown::hash_table::Entry::{Occupied, Vacant};
use pingora_cache::key::HashBinary;
use slab::Slab;

use super::{Entry, Filling, Shard};

/// What an entry takes in its family beside its link: its place in the table, at half its load.
pub(super) const FAMILY_BYTES: usize = 2 * (size_of::<u32>() + 1);

/// The link of the oldest.
pub(super) const OLDEST: u32 = u32::MAX;

impl Shard {
    /// The variants of a URL, newest first.
    pub fn family(&self, primary: &HashBinary) -> impl Iterator<Item = u32> + '_ {
        iter::successors(self.newest(primary), |slot| self.older(*slot))
    }

    /// The coded forms of an entry.
    pub(super) fn forms(&self, slot: u32) -> Vec<u32> {
        let Some(original) = self.get(slot) else {
            return Vec::new();
        };
        let is_of_it = |slot: &u32| {
            self.get(*slot)
                .is_some_and(|entry| entry.meta.original() == Some(original.id))
        };
        self.family(&original.primary).filter(is_of_it).collect()
    }

    /// Whether what it was made of is stored, if it was made of anything.
    pub fn has_original(&self, fill: &Filling) -> bool {
        let is_it = |original: u64| {
            let mut family = self.family(&fill.key.primary);
            family.any(|slot| self.get(slot).is_some_and(|entry| entry.id == original))
        };
        fill.meta.original().is_none_or(is_it)
    }

    fn newest(&self, primary: &HashBinary) -> Option<u32> {
        let is_meant = |slot: &u32| is_of(&self.entries, *slot, primary);
        let hash = self.hasher.hash_one(primary);
        self.newest.find(hash, is_meant).copied()
    }

    fn older(&self, slot: u32) -> Option<u32> {
        self.get(slot)
            .map(|entry| entry.older)
            .filter(|slot| *slot != OLDEST)
    }

    /// An entry that is in its slot becomes the newest of its family.
    pub(super) fn join_family(&mut self, slot: u32) {
        let Some(primary) = self.get(slot).map(|entry| entry.primary) else {
            return;
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = hasher.hash_one(primary);
        let hash_of = |slot: &u32| {
            entries
                .get(*slot as usize)
                .map_or(0, |entry| hasher.hash_one(entry.primary))
        };
        let place = self
            .newest
            .entry(hash, |other| is_of(entries, *other, &primary), hash_of);
        let older = match place {
            Occupied(mut newest) => std::mem::replace(newest.get_mut(), slot),
            Vacant(place) => {
                place.insert(slot);
                OLDEST
            }
        };
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.older = older;
        }
    }

    /// Before an entry leaves its slot.
    pub(super) fn leave_family(&mut self, slot: u32) {
        let Some((primary, older)) = self.get(slot).map(|entry| (entry.primary, entry.older))
        else {
            return;
        };
        let newer = self
            .family(&primary)
            .find(|member| self.older(*member) == Some(slot));
        if let Some(newer) = newer.and_then(|newer| self.entries.get_mut(newer as usize)) {
            newer.older = older;
            return;
        }
        let hash = self.hasher.hash_one(primary);
        let Ok(mut newest) = self.newest.find_entry(hash, |newest| *newest == slot) else {
            return;
        };
        match older {
            OLDEST => drop(newest.remove()),
            older => *newest.get_mut() = older,
        }
    }
}

fn is_of(entries: &Slab<Entry>, slot: u32, primary: &HashBinary) -> bool {
    let entry = entries.get(slot as usize);
    entry.is_some_and(|entry| entry.primary == *primary)
}
