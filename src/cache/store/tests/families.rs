//! Families, places and tags against plain lists.

use super::*;

const HOST: &str = "a.test";
const TAGS: [&str; 3] = ["red", "green", "blue"];

/// One stored response, as its family has it.
struct Member {
    variance: Option<u8>,
    /// Which variant it was made of.
    of: Option<Option<u8>>,
    tag: &'static str,
}

/// What is stored of each name, newest first.
#[derive(Default)]
struct Model(BTreeMap<u32, Vec<Member>>);

impl Model {
    fn family(&mut self, name: u32) -> &mut Vec<Member> {
        self.0.entry(name).or_default()
    }

    fn put(&mut self, name: u32, member: Member) {
        let family = self.family(name);
        let is_variant = |m: &Member| m.variance.is_some() && m.of.is_none();
        let is_full = family.iter().filter(|m| is_variant(m)).count() == 16;
        let oldest = family.iter().rfind(|m| is_variant(m)).map(|m| m.variance);
        let surplus = oldest.filter(|_| is_full && is_variant(&member));
        let is_known = family.iter().any(|m| m.variance == member.variance);
        match is_known {
            true => self.remove(name, member.variance),
            false => surplus.into_iter().for_each(|old| self.remove(name, old)),
        }
        self.family(name).insert(0, member);
    }

    /// What was made of it leaves with it.
    fn remove(&mut self, name: u32, variance: Option<u8>) {
        let stays = |m: &Member| m.variance != variance && m.of != Some(variance);
        self.family(name).retain(stays);
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.0.values().flatten()
    }
}

fn key_of(name: u32, variance: Option<u8>) -> CompactCacheKey {
    variance.map_or_else(|| key(name), |variance| variant(name, variance))
}

/// Codes a variant, if it is stored.
fn code(store: &Store, model: &mut Model, name: u32, of: Option<u8>, tag: &'static str) {
    let Some(original) = store.find(&key_of(name, of)) else {
        return;
    };
    let variance = Some(100 + of.unwrap_or(99));
    let mut meta = meta(name, tag);
    meta.extensions_mut().insert(Coded { of: original.id });
    assert!(put(store, key_of(name, variance), &meta, b"coded") > 0);
    let of = Some(of);
    model.put(name, Member { variance, of, tag });
}

fn meta(name: u32, tag: &str) -> CacheMeta {
    labelled(HOST, &format!("/{name}"), &[tag])
}

fn step(random: &mut fastrand::Rng, store: &Store, model: &mut Model) {
    let name = random.u32(0..4);
    let variance = random.bool().then(|| random.u8(0..20));
    let tag = TAGS[random.usize(0..TAGS.len())];
    let key = key_of(name, variance);
    let family = model.family(name);
    let known = family.iter().position(|m| m.variance == variance);
    match random.u32(0..12) {
        0..6 => {
            assert!(put(store, key, &meta(name, tag), b"body") > 0);
            let of = None;
            model.put(name, Member { variance, of, tag });
        }
        10.. => code(store, model, name, variance, tag),
        6..8 => {
            let gone = store.remove(&key, None, Left::Purged);
            assert_eq!(gone.is_some(), known.is_some());
            model.remove(name, variance);
        }
        8 => {
            assert_eq!(store.update(&key, &meta(name, tag)), known.is_some());
            known.into_iter().for_each(|place| family[place].tag = tag);
        }
        _ => {
            let expired = store.invalidate(Purge::Tag(tag), PurgeAction::Expire, epoch());
            assert_eq!(expired, model.members().filter(|m| m.tag == tag).count());
        }
    }
}

fn compare(store: &Store, model: &Model) {
    for (name, family) in &model.0 {
        let stored = store.variants(&key(*name).primary).into_iter();
        let stored = stored.map(|found| found.variance.map(|variance| variance[0]));
        assert!(stored.eq(family.iter().map(|member| member.variance)));
        let placed = store.stored_at(HOST, &format!("/{name}"));
        assert_eq!(placed.len(), family.len());
        for member in family {
            let found = store.find(&key_of(*name, member.variance));
            assert!(found.is_some_and(|found| found.meta.tags().eq([member.tag])));
        }
    }
    assert_eq!(store.holding().objects, model.members().count());
}

#[test]
fn families_places_and_tags_are_those_of_plain_lists() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (store, mut model) = (store(4 * MIB, Eviction::S3Fifo), Model::default());
        for _ in 0..40 {
            (0..5).for_each(|_| step(&mut random, &store, &mut model));
            compare(&store, &model);
        }
        let all = store.invalidate(Purge::Host(HOST), PurgeAction::Delete, epoch());
        assert_eq!(all, model.members().count());
        assert_eq!(store.account().used(), 0);
    }
}
