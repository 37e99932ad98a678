//! The store as its users see it, a model of its order, and the account against a recount.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pingora_cache::eviction::{CacheEntryId, CacheEntryKey};
use pingora_cache::key::CacheKey;
use pingora_cache::storage::{
    HandleHit, PurgeAction, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
use pingora_cache::trace::Span;
use pingora_http::ResponseHeader;
use proptest::prelude::*;

mod families;

use super::body::Body;
use super::fill::Spared;
use super::reader::{Read, Reader};
use super::shard::entry_cost;
use super::*;

const MIB: usize = 1 << 20;
const TTL: Duration = Duration::from_secs(60);

fn store(memory: usize, eviction: Eviction) -> Store {
    Store::new(Settings {
        memory,
        max_object: memory / 2,
        eviction,
    })
}

fn key(name: u32) -> CompactCacheKey {
    CacheKey::new(format!("/{name}"), "").to_compact()
}

fn variant(name: u32, variance: u8) -> CompactCacheKey {
    let mut key = CacheKey::new(format!("/{name}"), "");
    key.set_variance_key([variance; 16]);
    key.to_compact()
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn response(length: Option<usize>) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("Content-Type", "text/plain").unwrap();
    if let Some(length) = length {
        header.insert_header("Content-Length", length).unwrap();
    }
    CacheMeta::new(epoch() + TTL, epoch(), 0, 0, header)
}

fn labelled(host: &str, path: &str, tags: &[&str]) -> CacheMeta {
    let mut meta = response(None);
    let label = Label::new(host, path, tags.iter().copied());
    meta.extensions_mut().insert(label);
    meta
}

fn put(store: &Store, key: CompactCacheKey, meta: &CacheMeta, body: &[u8]) -> usize {
    let mut fill = store.begin(key, meta);
    // Nobody reads it, so what does not fit cannot pass through either.
    if fill.write(body).is_err() {
        return 0;
    }
    fill.commit()
}

fn reader(store: &Store, key: &CompactCacheKey) -> Option<Reader> {
    let found = store.find(key)?;
    Some(Reader::new(found.body, found.id))
}

/// Objects of 300,000 bytes that are being read.
fn held(store: &Store, names: std::ops::Range<u32>) -> Vec<Reader> {
    names
        .map(|name| {
            put(store, key(name), &response(None), &[0; 300_000]);
            reader(store, &key(name)).unwrap()
        })
        .collect()
}

async fn rest(reader: &mut Reader) -> Result<Vec<u8>, ()> {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await.map_err(|_| ())? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn what_is_stored_is_found_until_it_is_removed() {
    let store = store(MIB, Eviction::Lru);
    assert!(store.find(&key(1)).is_none());
    assert!(put(&store, key(1), &response(Some(5)), b"hello") > 5);
    let mut hit = reader(&store, &key(1)).unwrap();
    assert_eq!(rest(&mut hit).await.unwrap(), b"hello");
    let found = store.find(&key(1)).unwrap();
    let copy = found.meta.copy();
    assert_eq!(copy.headers()["content-type"], "text/plain");
    assert_eq!(copy.fresh_until(), epoch() + TTL);
    assert_eq!(
        store.remove(&key(1), Some(found.id + 1), Left::Purged),
        None
    );
    assert_eq!(
        store.remove(&key(1), Some(found.id), Left::Purged),
        Some(found.id)
    );
    assert!(store.find(&key(1)).is_none());
    drop((hit, found));
    assert_eq!(store.account().used(), 0);
}

#[tokio::test]
async fn a_body_that_is_still_read_stays_counted_after_its_entry_has_gone() {
    let store = store(MIB, Eviction::Lru);
    put(&store, key(1), &response(None), &[7; 100_000]);
    let mut hit = reader(&store, &key(1)).unwrap();
    store.remove(&key(1), None, Left::Purged);
    assert!(store.account().used() > 100_000);
    assert_eq!(rest(&mut hit).await.unwrap().len(), 100_000);
    drop(hit);
    assert_eq!(store.account().used(), 0);
}

#[test]
fn an_entry_that_is_read_is_passed_over_and_what_finds_no_room_passes_through() {
    let store = store(MIB, Eviction::Lru);
    let held = held(&store, 0..3);
    put(&store, key(9), &response(Some(10_000)), &[0; 10_000]);
    assert_eq!(
        put(&store, key(4), &response(Some(300_000)), &[0; 300_000]),
        0
    );
    assert_eq!(store.counts().refused(Refused::Full), 1);
    assert_eq!(store.counts().left(Left::Size), 1);
    assert!((0..3).all(|name| store.find(&key(name)).is_some()));
    drop(held);
    assert!(put(&store, key(4), &response(Some(300_000)), &[0; 300_000]) > 0);
}

#[test]
fn what_is_larger_than_an_object_may_be_passes_through() {
    let store = store(MIB, Eviction::Lru);
    put(&store, key(1), &response(None), b"small");
    let large = vec![0; MIB / 2 + 1];
    let mut fill = store.begin(key(2), &response(Some(large.len())));
    assert!(store.find(&key(2)).is_none());
    // Without a reader there is nobody to pass it to.
    assert!(fill.write(&large).is_err());
    drop(fill);
    assert_eq!(store.counts().refused(Refused::TooLarge), 1);
    assert!(store.find(&key(1)).is_some(), "nothing was evicted for it");
}

#[tokio::test]
async fn a_body_of_unknown_length_that_grows_too_large_reaches_its_reader_whole() {
    let store = store(MIB, Eviction::Lru);
    let mut fill = store.begin(key(1), &response(None));
    let mut own = reader(&store, &key(1)).unwrap();
    let mut sum = 0;
    for round in 0..200_u32 {
        for _ in 0..4 {
            fill.write(&[round as u8; 65_536]).unwrap();
        }
        let piece = own.next().await.unwrap().unwrap();
        sum += piece.len();
        assert!(store.account().used() <= store.account().ceiling());
    }
    assert!(store.find(&key(1)).is_none());
    assert_eq!(fill.commit(), 0);
    sum += rest(&mut own).await.unwrap().len();
    assert_eq!(sum, 200 * 4 * 65_536);
    drop(own);
    assert_eq!(store.account().used(), 0);
}

#[test]
fn bodies_that_outgrow_a_full_cache_all_reach_their_readers_however_slow() {
    const BODY: usize = 50 * 65_536;
    let store = store(MIB, Eviction::Lru);
    let mut flows = Vec::new();
    for name in 0..20 {
        let fill = store.begin(key(name), &response(None));
        let own = reader(&store, &key(name)).unwrap();
        flows.push((fill, own, 0, 0));
    }
    let piece = [2; 65_536];
    while flows.iter().any(|(_, _, _, read)| *read < BODY) {
        for (fill, own, written, read) in &mut flows {
            while *written < BODY {
                let rest = &piece[..piece.len().min(BODY - *written)];
                match fill.offer(rest, Spared::Foremost).unwrap() {
                    0 => break,
                    taken => *written += taken,
                }
            }
            match own.read() {
                Read::Piece(piece) => *read += piece.len(),
                Read::Wait => {}
                Read::End | Read::Failed => panic!("{read} of {written}"),
            }
        }
        assert!(store.account().used() <= store.account().ceiling());
    }
    assert!(flows.iter().all(|(fill, ..)| fill.is_passing()));
    drop(flows);
    assert_eq!(store.account().used(), 0);
}

/// A body that passes through a full store: its fill, and one who has read all there is and one who has
/// read nothing.
fn two_behind(store: &Store) -> (Fill, Reader, Reader) {
    let mut fill = store.begin(key(1), &response(None));
    let mut fast = reader(store, &key(1)).unwrap();
    let slow = reader(store, &key(1)).unwrap();
    loop {
        while matches!(fast.read(), Read::Piece(_)) {}
        if fill.offer(&[1; 65_536], Spared::All).unwrap() == 0 {
            assert!(fill.is_passing());
            return (fill, fast, slow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_lags_behind_what_passes_through_a_full_cache_is_waited_for_but_not_for_long() {
    let store = store(MIB, Eviction::Lru);
    let _held = held(&store, 10..13);
    let (mut fill, mut fast, mut slow) = two_behind(&store);
    while matches!(slow.read(), Read::Piece(_)) {}
    assert!(fill.take(&[1; 65_536]).await.unwrap() > 0);
    while matches!(fast.read(), Read::Piece(_)) {}
    while matches!(slow.read(), Read::Piece(_)) {}
    drop(fill);

    let (mut fill, mut fast, mut slow) = two_behind(&store);
    assert_eq!(fill.offer(&[1; 65_536], Spared::All).unwrap(), 0);
    assert!(fill.take(&[1; 65_536]).await.unwrap() > 0);
    assert!(matches!(slow.read(), Read::Failed));
    assert!(matches!(fast.read(), Read::Piece(_)));
    assert!(store.account().used() <= store.account().ceiling());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_read_nothing_when_its_body_grows_too_large_gets_it_whole() {
    let store = store(4 * MIB, Eviction::Lru);
    let mut fill = store.begin(key(1), &response(None));
    let mut own = reader(&store, &key(1)).unwrap();
    let body = vec![1; 3 * MIB];
    let mut written = 0;
    while !fill.is_passing() {
        let piece = &body[written..written + 65_536];
        written += fill.offer(piece, Spared::All).unwrap();
    }
    let write = async {
        while written < body.len() {
            let end = body.len().min(written + 65_536);
            written += fill.take(&body[written..end]).await.unwrap();
        }
        fill.commit()
    };
    let (stored, read) = tokio::join!(write, rest(&mut own));
    assert_eq!((stored, read.unwrap().len()), (0, body.len()));
}

#[test]
fn a_small_body_of_unknown_length_takes_little_of_others() {
    let store = store(MIB, Eviction::Lru);
    for name in 0..60 {
        put(&store, key(name), &response(Some(20_000)), &[0; 20_000]);
    }
    let evicted = store.counts().left(Left::Size);
    for name in 100..110 {
        assert!(put(&store, key(name), &response(None), &[0; 1000]) > 0);
    }
    assert!(store.counts().left(Left::Size) <= evicted + 3);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_an_error_and_not_kept() {
    let store = store(MIB, Eviction::Lru);
    let mut fill = store.begin(key(1), &response(Some(10)));
    let mut hit = reader(&store, &key(1)).unwrap();
    fill.write(b"short").unwrap();
    assert_eq!(fill.commit(), 0);
    assert!(rest(&mut hit).await.is_err());
    assert!(store.find(&key(1)).is_none());
    assert_eq!(store.counts().refused(Refused::Incomplete), 1);
}

#[tokio::test]
async fn a_stale_entry_stays_when_its_successor_breaks_off() {
    let store = store(MIB, Eviction::Lru);
    put(&store, key(1), &response(None), b"old");
    let mut fill = store.begin(key(1), &response(None));
    fill.write(b"ne").unwrap();
    let mut partial = reader(&store, &key(1)).unwrap();
    drop(fill);
    assert!(rest(&mut partial).await.is_err());
    let mut hit = reader(&store, &key(1)).unwrap();
    assert_eq!(rest(&mut hit).await.unwrap(), b"old");
}

#[test]
fn a_fill_that_nobody_reads_can_be_ended_and_one_that_somebody_has_found_cannot() {
    let store = store(MIB, Eviction::Lru);
    let mut fill = store.begin(key(1), &response(None));
    fill.write(b"half").unwrap();
    let found = store.find(&key(1)).unwrap();
    assert!(!fill.end_unread());
    let follower = Reader::of(&found);
    drop(found);
    assert!(!fill.end_unread());
    drop(follower);
    assert!(fill.end_unread());
    assert!(store.find(&key(1)).is_none());
    assert_eq!(store.account().used(), 0);
    drop(fill);
    assert_eq!(store.counts().refused(Refused::Incomplete), 1);
    assert_eq!(store.holding().fills, 0);
}

#[test]
fn variants_of_a_url_are_bounded_and_the_first_found_stays() {
    let store = store(MIB, Eviction::Lru);
    put(&store, key(1), &response(None), b"first");
    for variance in 0..40 {
        put(&store, variant(1, variance), &response(None), b"variant");
    }
    assert!(store.find(&key(1)).is_some());
    assert!(store.find(&variant(1, 23)).is_none());
    assert!((24..40).all(|variance| store.find(&variant(1, variance)).is_some()));
    assert_eq!(store.holding().objects, 17);
    assert_eq!(store.counts().left(Left::Replaced), 24);
    for variance in 0..40 {
        put(&store, variant(2, variance), &response(None), b"variant");
    }
    assert_eq!(store.holding().objects, 17 + 16);
    let now = epoch();
    assert_eq!(
        store.invalidate(Purge::Key(&variant(1, 0)), PurgeAction::Delete, now),
        17
    );
}

/// A response that was made of the one stored under a key.
fn made_of(store: &Store, original: &CompactCacheKey) -> CacheMeta {
    let mut meta = response(None);
    let of = store.find(original).unwrap().id;
    meta.extensions_mut().insert(Coded { of });
    meta
}

#[test]
fn coded_forms_count_with_their_variant_and_leave_with_it() {
    let store = store(MIB, Eviction::Lru);
    let forms_of = |variance: u8| [100 + variance, 200 + variance].map(|form| variant(1, form));
    let put_with_forms = |variance| {
        put(&store, variant(1, variance), &response(None), b"variant");
        let meta = made_of(&store, &variant(1, variance));
        for form in forms_of(variance) {
            assert!(put(&store, form, &meta, b"coded") > 0);
        }
    };
    (0..16).for_each(put_with_forms);
    assert_eq!(store.holding().objects, 3 * 16);
    assert_eq!(store.counts().left(Left::Replaced), 0);
    put_with_forms(16);
    assert!(store.find(&variant(1, 0)).is_none());
    assert!(forms_of(0).iter().all(|form| store.find(form).is_none()));
    assert!(forms_of(1).iter().all(|form| store.find(form).is_some()));
    assert_eq!(store.counts().left(Left::Replaced), 3);

    assert!(store.remove(&forms_of(2)[0], None, Left::Purged).is_some());
    assert!(store.find(&variant(1, 2)).is_some());
    assert!(store.remove(&variant(1, 2), None, Left::Purged).is_some());
    assert!(store.find(&forms_of(2)[1]).is_none());
    assert_eq!(store.counts().left(Left::Purged), 3);
    while store.evict_one() {}
    assert_eq!(store.counts().left(Left::Size), 3 * 15);
    assert_eq!((store.holding().objects, store.account().used()), (0, 0));
}

#[test]
fn a_coded_form_is_not_stored_once_its_original_has_gone() {
    for is_replaced in [true, false] {
        let store = store(MIB, Eviction::Lru);
        put(&store, key(1), &response(None), b"original");
        let meta = made_of(&store, &key(1));
        let mut form = store.begin(variant(1, 9), &meta);
        form.write(b"coded").unwrap();
        store.remove(&key(1), None, Left::Purged);
        if is_replaced {
            put(&store, key(1), &response(None), b"another");
        }
        assert_eq!(form.commit(), 0);
        assert_eq!(put(&store, variant(1, 9), &meta, b"coded"), 0);
        assert_eq!(store.holding().objects, usize::from(is_replaced));
        store.remove(&key(1), None, Left::Purged);
        assert_eq!(store.account().used(), 0);
    }
}

#[test]
fn purges_find_exactly_what_they_name() {
    let now = epoch();
    let filled = || {
        let store = store(MIB, Eviction::Lru);
        let places = [
            ("a.test", "/", &["all"][..]),
            ("a.test", "/img/1?x=1", &["all", "img"]),
            ("a.test", "/img/2", &["all", "img"]),
            ("a.test.b", "/img/2", &["all"]),
            ("b.test", "/img", &[]),
        ];
        for (name, (host, path, tags)) in (0..).zip(places) {
            put(&store, key(name), &labelled(host, path, tags), b"x");
        }
        store
    };
    let (host, path) = ("a.test", "/img/");
    let cases = [
        (Purge::Key(&key(0)), 1),
        (Purge::Key(&key(77)), 0),
        (
            Purge::Url {
                host,
                path: "/img/1?x=1",
            },
            1,
        ),
        (
            Purge::Url {
                host,
                path: "/img/1",
            },
            0,
        ),
        (Purge::Prefix { host, path }, 2),
        (
            Purge::Prefix {
                host,
                path: "/nothing",
            },
            0,
        ),
        (Purge::Host("a.test"), 3),
        (Purge::Host("a.tes"), 0),
        (Purge::Tag("all"), 4),
        (Purge::Tag("img"), 2),
        (Purge::Tag("im"), 0),
        (Purge::All, 5),
    ];
    for (purge, count) in cases {
        let store = filled();
        assert_eq!(
            store.invalidate(purge, PurgeAction::Expire, now),
            count,
            "{purge:?}"
        );
        let is_stale = |name| {
            !store
                .find(&key(name))
                .unwrap()
                .meta
                .copy()
                .is_fresh(now + TTL / 2)
        };
        assert_eq!(
            (0..5).filter(|name| is_stale(*name)).count(),
            count,
            "{purge:?}"
        );
        assert_eq!(
            store.invalidate(purge, PurgeAction::Delete, now),
            count,
            "{purge:?}"
        );
        assert_eq!(store.holding().objects, 5 - count);
        assert_eq!(store.counts().left(Left::Purged), count as u64);
        assert_eq!(store.invalidate(purge, PurgeAction::Delete, now), 0);
    }
}

#[test]
fn a_large_purge_takes_everything_that_was_there() {
    let store = store(8 * MIB, Eviction::S3Fifo);
    let now = epoch();
    for name in 0..2_000 {
        put(&store, key(name), &labelled("a.test", "/", &[]), b"x");
    }
    let purge = |action| store.invalidate(Purge::All, action, now);
    assert_eq!(purge(PurgeAction::Expire), 2_000);
    assert_eq!(purge(PurgeAction::Delete), 2_000);
    assert_eq!((store.holding().objects, store.holding().bytes), (0, 0));
}

#[tokio::test]
async fn what_is_being_written_when_it_is_purged_is_never_stored() {
    let store = store(MIB, Eviction::Lru);
    let mut fill = store.begin(key(1), &labelled("a.test", "/x", &["t"]));
    fill.write(b"half").unwrap();
    let mut own = reader(&store, &key(1)).unwrap();
    assert_eq!(
        store.invalidate(Purge::Tag("t"), PurgeAction::Delete, epoch()),
        1
    );
    assert!(store.find(&key(1)).is_none());
    fill.write(b" and half").unwrap();
    assert_eq!(fill.commit(), 0);
    assert_eq!(rest(&mut own).await.unwrap(), b"half and half");
    assert_eq!(store.holding().objects, 0);

    let mut fill = store.begin(key(1), &labelled("a.test", "/x", &["t"]));
    assert_eq!(
        store.invalidate(Purge::Host("a.test"), PurgeAction::Expire, epoch()),
        1
    );
    fill.write(b"stale").unwrap();
    assert!(fill.commit() > 0);
    let meta = store.find(&key(1)).unwrap().meta.copy();
    assert_eq!(meta.fresh_until(), epoch());
}

#[test]
fn a_revalidation_renews_the_entry_it_was_made_for_and_no_other() {
    let store = store(MIB, Eviction::Lru);
    let later = epoch() + 2 * TTL;
    let refreshed = |created| {
        let mut meta = response(None);
        meta = CacheMeta::new(later, created, 0, 0, meta.response_header_copy());
        meta.response_header_mut()
            .insert_header("ETag", "\"2\"")
            .unwrap();
        meta
    };
    assert!(
        !store.update(&key(1), &refreshed(epoch())),
        "it was evicted meanwhile"
    );
    put(&store, key(1), &labelled("a.test", "/x", &["t"]), b"x");
    assert!(
        !store.update(&key(1), &refreshed(epoch() + TTL)),
        "it is another one"
    );
    assert!(store.update(&key(1), &refreshed(epoch())));
    let meta = store.find(&key(1)).unwrap().meta.copy();
    assert_eq!(meta.fresh_until(), later);
    assert_eq!(meta.headers()["etag"], "\"2\"");
    recount(&store, &[], &[]);
    // The label stays, and a soft purge is not undone by an answer that is older.
    assert_eq!(
        store.invalidate(Purge::Tag("t"), PurgeAction::Expire, epoch() + TTL),
        1
    );
    assert!(store.update(&key(1), &refreshed(epoch())));
    let meta = store.find(&key(1)).unwrap().meta.copy();
    assert_eq!(meta.fresh_until(), epoch() + TTL);
    // Nor kept from being replaced: a new label takes the place of the old one.
    let mut relabelled = refreshed(epoch());
    relabelled
        .extensions_mut()
        .insert(Label::new("a.test", "/x", ["u"]));
    assert!(store.update(&key(1), &relabelled));
    assert_eq!(
        store.invalidate(Purge::Tag("t"), PurgeAction::Delete, epoch()),
        0
    );
    assert_eq!(
        store.invalidate(Purge::Tag("u"), PurgeAction::Delete, epoch()),
        1
    );
}

#[test]
fn the_sweep_takes_what_is_of_no_use_any_more_and_nothing_else() {
    let store = store(MIB, Eviction::Lru);
    let with = |ttl, stale, validator: bool| {
        let mut header = ResponseHeader::build(200, None).unwrap();
        if validator {
            header.insert_header("ETag", "\"1\"").unwrap();
        }
        CacheMeta::new(epoch() + ttl, epoch(), stale, stale / 2, header)
    };
    put(&store, key(1), &with(TTL, 0, false), b"x");
    put(&store, key(2), &with(TTL, 60, false), b"x");
    put(&store, key(3), &with(TTL, 0, true), b"x");
    let left = |now| (store.sweep(now), store.holding().objects);
    assert_eq!(left(epoch() + TTL), (0, 3));
    assert_eq!(left(epoch() + TTL + Duration::from_secs(1)), (1, 2));
    assert_eq!(left(epoch() + 2 * TTL + Duration::from_secs(1)), (1, 1));
    assert_eq!(left(epoch() + Duration::from_secs(3700)), (1, 0));
    assert_eq!(store.counts().left(Left::Expired), 3);
    assert_eq!(store.account().used(), 0);
}

#[test]
fn shrinking_evicts_at_once_and_growing_makes_room() {
    let store = store(MIB, Eviction::Lru);
    for name in 0..20 {
        put(&store, key(name), &response(None), &[0; 40_000]);
    }
    assert_eq!(store.holding().objects, 20);
    store.resize(MIB / 4, MIB / 8);
    assert!(store.account().used() <= MIB / 4);
    let kept = store.holding().objects as u32;
    assert!((20 - kept..20).all(|name| store.find(&key(name)).is_some()));
    assert_eq!(store.counts().left(Left::Size), u64::from(20 - kept));
    assert_eq!(put(&store, key(30), &response(Some(MIB / 4)), &[]), 0);
    store.resize(MIB, MIB / 2);
    assert!(put(&store, key(30), &response(Some(MIB / 4)), &[0; MIB / 4]) > 0);
    assert_eq!(store.holding().objects as u32, kept + 1);
}

#[tokio::test]
async fn pingora_sees_one_store() {
    let store: &'static Store = Box::leak(Box::new(store(MIB, Eviction::Lru)));
    let trace = &Span::inactive().handle();
    let key = CacheKey::new("/1", "");
    let mut fill = store
        .get_miss_handler(&key, &response(None), trace)
        .await
        .unwrap();
    let tag = fill.streaming_write_tag().map(<[u8]>::to_vec);
    let found = store
        .lookup_streaming_write(&key, tag.as_deref(), trace)
        .await
        .unwrap();
    let (_, mut own) = found.unwrap();
    fill.write_body(Bytes::from_static(b"hello"), true)
        .await
        .unwrap();
    assert_eq!(own.read_body().await.unwrap().unwrap(), "hello");
    let id = fill.entry_id();
    assert_eq!(own.entry_id(), id);
    fill.finish().await.unwrap();
    assert!(own.read_body().await.unwrap().is_none());

    let exact = |id| CacheEntryKey::from_entry_id(key.to_compact(), id);
    let key_only = exact(None);
    let other = exact(id.map(|id| CacheEntryId::new(id.get() + 1)));
    let active = key.to_compact();
    let purge = |target| Storage::purge(store, target, PurgeType::Invalidation, trace);
    let none = PurgeOutcome::NotFound;
    assert_eq!(purge(PurgeTarget::Exact(&other)).await.unwrap(), none);
    assert_eq!(purge(PurgeTarget::Exact(&key_only)).await.unwrap(), none);
    let expired = store
        .expire(PurgeTarget::Active(&active), trace)
        .await
        .unwrap();
    assert_eq!(expired, PurgeOutcome::Expired);
    let gone = purge(PurgeTarget::Active(&active)).await.unwrap();
    assert_eq!(gone, PurgeOutcome::Purged(id));
    assert!(store.lookup(&key, trace).await.unwrap().is_none());
    assert!(
        !store
            .update_meta(&key, &response(None), trace)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn ranges_are_read_from_whole_bodies_in_any_order() {
    let store = store(MIB, Eviction::Lru);
    let body: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let mut fill = store.begin(key(1), &response(None));
    for piece in body.chunks(30_011) {
        fill.write(piece).unwrap();
    }
    fill.commit();
    let mut hit = reader(&store, &key(1)).unwrap();
    for (start, end) in [
        (0, 1),
        (199_999, 200_000),
        (30_010, 30_012),
        (5, 199_000),
        (7, 7),
    ] {
        hit.seek(start, Some(end)).unwrap();
        assert_eq!(
            rest(&mut hit).await.unwrap(),
            body[start..end],
            "{start}..{end}"
        );
    }
    hit.seek(100_000, Some(900_000)).unwrap();
    assert_eq!(rest(&mut hit).await.unwrap(), body[100_000..]);
    hit.seek_multipart(199_990, None).unwrap();
    assert_eq!(rest(&mut hit).await.unwrap(), body[199_990..]);
    assert!(hit.seek(200_000, None).is_err());
}

/// The account against a count of everything that is alive: entries, fills, and bodies of either or
/// of readers, each once; and each of their charges against what it is for.
fn recount(store: &Store, fills: &[Fill], readers: &[Reader]) {
    let (mut open, mut whole) = (BTreeMap::new(), BTreeMap::new());
    let mut sum = 0;
    for cell in &store.0.shards {
        let shard = cell.shard.lock();
        for entry in shard.entries() {
            assert_eq!(entry.charge.bytes(), entry_cost(&entry.meta));
            sum += entry.charge.bytes();
            whole.insert(Arc::as_ptr(&entry.body), Arc::clone(&entry.body));
        }
    }
    sum += fills.iter().map(Fill::charged).sum::<usize>();
    let of_fills = fills.iter().map(|fill| Body::Open(Arc::clone(fill.body())));
    for body in of_fills.chain(readers.iter().map(|reader| reader.body().clone())) {
        match &body {
            Body::Open(body) if body.whole().is_none() => {
                open.insert(Arc::as_ptr(body), Arc::clone(body));
            }
            body => {
                let body = body.whole().unwrap();
                whole.insert(Arc::as_ptr(body), Arc::clone(body));
            }
        }
    }
    for body in open.values() {
        body.check();
        sum += body.charged();
    }
    for body in whole.values() {
        body.check();
        sum += body.charged();
    }
    assert_eq!(store.account().used(), sum);
}

/// Runs one random schedule of everything that can happen, with a recount after each step.
fn schedule(seed: u64, eviction: Eviction) {
    let mut random = fastrand::Rng::with_seed(seed);
    // In the larger one bodies of unknown length are kept too.
    let memory = [64 * 1024, MIB][usize::from(seed % 8 < 2)];
    let store = store(memory, eviction);
    let (mut fills, mut readers): (Vec<Fill>, Vec<Reader>) = (Vec::new(), Vec::new());
    let mut now = epoch();
    for _ in 0..30 {
        let name = key(random.u32(0..6));
        let pick = random.usize(0..100);
        match random.u32(0..12) {
            0..=2 => {
                let length = random.bool().then(|| random.usize(0..memory / 2));
                let fill = store.begin(name, &response(length));
                readers.push(Reader::new(Body::Open(Arc::clone(fill.body())), 0));
                fills.push(fill);
            }
            3..=5 if !fills.is_empty() => {
                let data = vec![0; random.usize(0..memory / 7)];
                let at = pick % fills.len();
                let _ = fills[at].write(&data);
            }
            6 if !fills.is_empty() => {
                fills.swap_remove(pick % fills.len()).commit();
            }
            7 if !fills.is_empty() && random.bool() => drop(fills.swap_remove(pick % fills.len())),
            8 => readers.extend(reader(&store, &name)),
            9 if !readers.is_empty() => {
                let at = pick % readers.len();
                let _ = readers[at].read();
                if random.bool() {
                    readers.swap_remove(at);
                }
            }
            10 if random.bool() => {
                let action = *random
                    .choice(&[PurgeAction::Delete, PurgeAction::Expire])
                    .unwrap();
                store.invalidate(Purge::Key(&name), action, now);
            }
            11 => {
                now += Duration::from_secs(random.u64(0..30));
                store.sweep(now);
                store.update(&name, &response(None));
            }
            _ => {}
        }
        recount(&store, &fills, &readers);
        assert!(store.account().used() <= store.account().ceiling());
    }
    drop((fills, readers));
    store.invalidate(Purge::All, PurgeAction::Delete, now);
    assert_eq!((store.account().used(), store.holding().fills), (0, 0));
}

#[test]
fn the_account_equals_a_recount_at_every_step_of_10_000_schedules() {
    for seed in 0..10_000 {
        let eviction = if seed % 2 == 0 {
            Eviction::Lru
        } else {
            Eviction::S3Fifo
        };
        let run = std::panic::catch_unwind(|| schedule(seed, eviction));
        assert!(run.is_ok(), "the schedule with seed {seed} fails");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, usize),
    Find(u32),
    Remove(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..24_u32;
    let step = prop_oneof![
        3 => (name.clone(), 0..12_000_usize).prop_map(|(name, size)| Step::Put(name, size)),
        3 => name.clone().prop_map(Step::Find),
        1 => name.prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..120)
}

/// Least recently used first, as a list: newest last.
#[derive(Default)]
struct Model(Vec<(u32, usize)>);

impl Model {
    fn take(&mut self, name: u32) -> Option<(u32, usize)> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at))
    }

    fn find(&mut self, name: u32) -> bool {
        let found = self.take(name);
        self.0.extend(found);
        found.is_some()
    }

    /// `needed` is taken while the old object is still there, `cost` is what stays.
    fn put(&mut self, name: u32, needed: usize, cost: usize, limit: usize) {
        while self.0.iter().map(|(_, cost)| cost).sum::<usize>() + needed > limit {
            self.0.remove(0);
        }
        self.take(name);
        self.0.push((name, cost));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_is_that_of_a_list_of_uses(steps in steps()) {
        let limit = 64 * 1024;
        let store = store(limit, Eviction::Lru);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Put(name, size) => {
                    let meta = response(Some(size));
                    let needed = fill_cost(&Meta::keep(&meta)) + body::estimate(size);
                    let cost = put(&store, key(name), &meta, &vec![0; size]);
                    model.put(name, needed, cost, limit);
                }
                Step::Find(name) => {
                    prop_assert_eq!(store.find(&key(name)).is_some(), model.find(name));
                }
                Step::Remove(name) => {
                    let gone = store.remove(&key(name), None, Left::Purged).is_some();
                    prop_assert_eq!(gone, model.take(name).is_some());
                }
            }
            prop_assert_eq!(store.holding().objects, model.0.len());
            let cost: usize = model.0.iter().map(|(_, cost)| cost).sum();
            prop_assert_eq!(store.account().used(), cost);
        }
    }
}

/// Threads that do everything at once; at the end nothing is lost and nothing is counted twice.
#[test]
fn threads_share_a_store() {
    for eviction in [Eviction::Lru, Eviction::S3Fifo] {
        let store = store(MIB, eviction);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let store = store.clone();
                scope.spawn(move || hammer(&store, seed));
            }
        });
        let holding = store.holding();
        assert_eq!(holding.fills, 0);
        assert!(holding.bytes <= store.account().limit());
        recount(&store, &[], &[]);
        let purged = store.invalidate(Purge::All, PurgeAction::Delete, epoch());
        assert_eq!(purged, holding.objects);
        assert_eq!(store.account().used(), 0);
    }
}

fn hammer(store: &Store, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..3_000 {
        let name = random.u32(0..200);
        match random.u32(0..20) {
            0..=7 => {
                let size = random.usize(0..20_000);
                let body = vec![name as u8; size];
                put(
                    store,
                    key(name),
                    &response(random.bool().then_some(size)),
                    &body,
                );
            }
            8..=17 => {
                let Some(mut hit) = reader(store, &key(name)) else {
                    continue;
                };
                while let body::Read::Piece(piece) = hit.read() {
                    assert!(piece.iter().all(|byte| *byte == name as u8));
                }
            }
            18 => drop(store.invalidate(Purge::Key(&key(name)), PurgeAction::Delete, epoch())),
            _ => drop(store.begin(key(name), &response(None))),
        }
        assert!(store.account().used() <= store.account().ceiling());
    }
}
