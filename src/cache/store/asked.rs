//! Fetches whose answers have not come yet: what is purged meanwhile is purged for them too.
//!
//! The answer to what was asked before a purge may be as old as what was purged. Until its head has
//! come, it is not among those that are being written, and nobody knows its tags. So a fetch stands
//! here from before it asks, and a purge leaves word with each that it may mean. The word is heard
//! after the response has got its place in the store: a purge has left word before, or finds it there.
//! Nothing is kept that no fetch is to hear, so this is bounded by the requests under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary};

use super::counts::{Left, Refused};
use super::index::Label;
use super::purge::Target;
use super::{Fill, SHARDS, Store, shard_of};

/// With so many tags purged during one fetch, it is taken for one that has them.
const TAGS_MAX: usize = 64;

/// What a purge leaves of an answer; of two, the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Void {
    /// It may be stored, as one that became stale then.
    Stale(SystemTime),
    /// It is not to be stored.
    Gone,
}

/// All fetches under way.
#[derive(Default)]
pub(super) struct Asking([Mutex<Asks>; SHARDS]);

type Asks = HashMap<HashBinary, Vec<Arc<Ask>>, RandomState>;

struct Ask {
    primary: HashBinary,
    /// Without tags.
    label: Label,
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    of_place: Option<Void>,
    of_tags: Vec<(Box<str>, Void)>,
}

/// A fetch under way, until this is dropped.
pub struct Asked {
    store: Store,
    ask: Arc<Ask>,
}

// === impl Asking ===

impl Asking {
    fn add(&self, ask: &Arc<Ask>) {
        let mut asks = self.0[shard_of(&ask.primary)].lock();
        asks.entry(ask.primary).or_default().push(Arc::clone(ask));
    }

    fn remove(&self, ask: &Arc<Ask>) {
        let mut asks = self.0[shard_of(&ask.primary)].lock();
        let Some(same) = asks.get_mut(&ask.primary) else {
            return;
        };
        same.retain(|other| !Arc::ptr_eq(other, ask));
        if same.is_empty() {
            asks.remove(&ask.primary);
        }
    }

    /// Leaves word of a purge.
    pub(super) fn tell(&self, target: &Target<'_>, void: Void) {
        match target {
            Target::Family(primary) => {
                let asks = self.0[shard_of(primary)].lock();
                let meant = asks.get(*primary).into_iter().flatten();
                meant.for_each(|ask| ask.hear(void));
            }
            Target::Tagged(tag) => self.each(|ask| ask.words.lock().hear_of(tag, void)),
            Target::At(_) | Target::Below(_) | Target::All => self.each(|ask| {
                if target.covers(ask.label.place().as_bytes()) {
                    ask.hear(void);
                }
            }),
        }
    }

    fn each(&self, tell: impl Fn(&Ask)) {
        for shard in &self.0 {
            shard.lock().values().flatten().for_each(|ask| tell(ask));
        }
    }
}

// === impl Ask ===

impl Ask {
    fn hear(&self, void: Void) {
        let of_place = &mut self.words.lock().of_place;
        *of_place = (*of_place).max(Some(void));
    }
}

// === impl Words ===

impl Words {
    fn hear_of(&mut self, tag: &str, void: Void) {
        if let Some((_, known)) = self.of_tags.iter_mut().find(|(known, _)| **known == *tag) {
            *known = void.max(*known);
        } else if self.of_tags.len() < TAGS_MAX {
            self.of_tags.push((tag.into(), void));
        } else {
            self.of_place = self.of_place.max(Some(void));
        }
    }

    fn has_any(&self) -> bool {
        self.of_place.is_some() || !self.of_tags.is_empty()
    }

    /// What is left of an answer with this label.
    fn void(&self, label: &Label) -> Option<Void> {
        let tags = self
            .of_tags
            .iter()
            .filter(|(tag, _)| label.tags().any(|of_it| of_it == &**tag));
        tags.map(|(_, void)| *void).max().max(self.of_place)
    }
}

impl Store {
    /// An endpoint is to be asked for what belongs there; to be called before.
    pub fn ask(&self, primary: &HashBinary, label: Label) -> Asked {
        let ask = Arc::new(Ask {
            primary: *primary,
            label,
            words: Mutex::default(),
        });
        self.0.asking.add(&ask);
        Asked {
            store: self.clone(),
            ask,
        }
    }
}

// === impl Asked ===

impl Asked {
    /// As [`Store::begin`], and what a purge has left of the answer.
    pub fn begin(&self, key: CompactCacheKey, meta: &CacheMeta) -> (Fill, Option<Void>) {
        let fill = self.store.begin(key, meta);
        let has_heard = self.ask.words.lock().has_any();
        let Some(found) = has_heard.then(|| fill.found()).flatten() else {
            return (fill, None);
        };
        let void = self.store.with(&self.ask.primary, |shard| {
            let mut fills = shard.fills_mut();
            let filling = fills.find(|filling| filling.id == found.id)?;
            let void = self.void(&filling.meta.label())?;
            match void {
                Void::Stale(at) => filling.expire(at),
                Void::Gone => filling.body.pass(),
            }
            Some(void)
        });
        if void == Some(Void::Gone) {
            self.store.counts().refuse(Refused::Purged);
        }
        (fill, void)
    }

    /// As [`Store::update`], of the entry of generation `id`; false as well where a purge has left
    /// nothing to renew.
    pub fn update(&self, key: &CompactCacheKey, id: u64, meta: &CacheMeta) -> bool {
        let label = meta.extensions().get().cloned().unwrap_or_default();
        let mut void = self.void(&label);
        if void.is_none() {
            if !self.store.update(key, meta) {
                return false;
            }
            void = self.void(&label);
        }
        match void {
            None => return true,
            Some(Void::Gone) => drop(self.store.remove(key, Some(id), Left::Purged)),
            Some(Void::Stale(at)) => self.expire(key, id, at),
        }
        false
    }

    fn expire(&self, key: &CompactCacheKey, id: u64, at: SystemTime) {
        self.store.with(&key.primary, |shard| {
            if let Some(slot) = shard.slot_of(key, Some(id)) {
                shard.expire(slot, at);
            }
        });
    }

    fn void(&self, label: &Label) -> Option<Void> {
        self.ask.words.lock().void(label)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.store.0.asking.remove(&self.ask);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const THEN: SystemTime = SystemTime::UNIX_EPOCH;

    fn ask(asking: &Asking, name: u8, path: &str) -> Arc<Ask> {
        let ask = Arc::new(Ask {
            primary: [name; 16],
            label: Label::new("a.test", path, []),
            words: Mutex::default(),
        });
        asking.add(&ask);
        ask
    }

    fn heard(ask: &Ask, tags: &[&str]) -> Option<Void> {
        let label = Label::new("a.test", "/", tags.iter().copied());
        ask.words.lock().void(&label)
    }

    #[test]
    fn each_purge_is_heard_by_those_it_means() {
        for (target, meant) in [
            (Target::Family(&[1; 16]), [true, false]),
            (Target::At("a.test/x".to_owned()), [true, false]),
            (Target::Below("a.test/".to_owned()), [true, true]),
            (Target::All, [true, true]),
            (Target::Below("b.test/".to_owned()), [false, false]),
            (Target::Tagged("red"), [false, false]),
        ] {
            let asking = Asking::default();
            let asks = [ask(&asking, 1, "/x"), ask(&asking, 2, "/xy")];
            asking.tell(&target, Void::Gone);
            assert_eq!(asks.each_ref().map(|ask| heard(ask, &[]).is_some()), meant);
            let late = ask(&asking, 1, "/x");
            assert_eq!(heard(&late, &["red"]), None, "asked afterwards");
        }
    }

    #[test]
    fn tags_count_once_the_answer_has_them_and_the_harder_purge_counts() {
        let asking = Asking::default();
        let ask = ask(&asking, 1, "/x");
        let later = THEN + Duration::from_secs(1);
        asking.tell(&Target::Tagged("red"), Void::Stale(later));
        asking.tell(&Target::Tagged("red"), Void::Stale(THEN));
        asking.tell(&Target::Tagged("blue"), Void::Gone);
        asking.tell(&Target::Tagged("blue"), Void::Stale(later));
        assert_eq!(heard(&ask, &["green"]), None);
        assert_eq!(heard(&ask, &["red"]), Some(Void::Stale(later)));
        assert_eq!(heard(&ask, &["red", "blue"]), Some(Void::Gone));
        for number in 0..TAGS_MAX {
            asking.tell(&Target::Tagged(&number.to_string()), Void::Gone);
        }
        assert_eq!(heard(&ask, &["green"]), Some(Void::Gone), "too many");
        asking.remove(&ask);
        assert!(asking.0.iter().all(|shard| shard.lock().is_empty()));
    }
}
