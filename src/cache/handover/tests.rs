//! Stores through a file, and files that are not right.

use bytes::Bytes;
use pingora_cache::CacheMeta;
use pingora_cache::key::CacheKey;
use pingora_cache::storage::PurgeAction;
use pingora_http::ResponseHeader;
use proptest::prelude::*;

use super::*;
use crate::cache::store::{Eviction, Label, Object, Purge, Settings};

fn store(memory: usize, eviction: Eviction) -> Store {
    Store::new(Settings {
        memory,
        max_object: memory / 2,
        eviction,
    })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn object(name: u32, ttl: u64, size: usize) -> Object {
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("X-Name", name.to_string()).unwrap();
    let now = SystemTime::now();
    Object {
        key: CacheKey::new(format!("/{name}"), "").to_compact(),
        meta: CacheMeta::new(now + Duration::from_secs(ttl), now, 0, 0, header),
        label: Label::new("a.test", &format!("/{name}"), ["t"]),
        body: vec![Bytes::from(vec![name as u8; size])],
    }
}

fn names(store: &Store) -> Vec<u32> {
    let name = |object: Object| {
        let body = object.body.concat();
        let name = object.meta.headers()["x-name"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(body.iter().all(|byte| *byte == name as u8));
        name
    };
    store.export(usize::MAX).map(name).collect()
}

#[test]
fn what_one_process_saves_the_next_one_loads_in_the_same_order_once() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let old = store(1 << 20, Eviction::Lru);
    for name in 0..8 {
        assert!(old.import(object(name, 60, 10_000), now));
    }
    old.find(&object(2, 0, 0).key).unwrap();
    assert_eq!(names(&old), [0, 1, 3, 4, 5, 6, 7, 2]);
    assert_eq!(save(&old, directory.path(), 50_000, soon()).unwrap(), 5);

    let new = store(1 << 20, Eviction::Lru);
    assert!(new.import(object(5, 60, 1), now));
    let (count, read) = load(&new, directory.path(), now, soon());
    read.unwrap();
    assert_eq!(count, 4, "what is there already is newer");
    assert_eq!(names(&new), [5, 4, 6, 7, 2]);
    assert_eq!(new.invalidate(Purge::Tag("t"), PurgeAction::Delete, now), 5);
    let (count, read) = load(&new, directory.path(), now, soon());
    assert_eq!((count, read.is_ok()), (0, true), "the file is gone");
}

#[test]
fn what_has_expired_meanwhile_is_left_out_and_what_does_not_fit_too() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let old = store(1 << 20, Eviction::S3Fifo);
    old.import(object(1, 5, 10), now);
    old.import(object(2, 60, 10), now);
    old.import(object(3, 60, 200_000), now);
    assert_eq!(save(&old, directory.path(), usize::MAX, soon()).unwrap(), 3);
    let new = store(256 << 10, Eviction::S3Fifo);
    let (count, read) = load(
        &new,
        directory.path(),
        now + Duration::from_secs(10),
        soon(),
    );
    read.unwrap();
    assert_eq!((count, names(&new)), (1, vec![2]));
}

#[test]
fn any_trouble_ends_the_reading_and_removes_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (now, path) = (SystemTime::now(), path(directory.path()));
    let old = store(1 << 20, Eviction::Lru);
    for name in 0..3 {
        old.import(object(name, 60, 100), now);
    }
    save(&old, directory.path(), usize::MAX, soon()).unwrap();
    let good = fs::read(&path).unwrap();
    let load_changed = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let new = store(1 << 20, Eviction::Lru);
        let (count, read) = load(&new, directory.path(), now, soon());
        assert!(!path.exists());
        assert_eq!(names(&new).len(), count);
        (count, read.is_ok())
    };
    assert_eq!(load_changed(&good), (3, true));
    assert_eq!(load_changed(b""), (0, false));
    assert_eq!(load_changed(b"weir cache 2\n\0\0\0\0"), (0, false));
    for length in [
        good.len() - 1,
        good.len() - 5,
        good.len() / 2,
        MAGIC.len() + 2,
    ] {
        assert!(!load_changed(&good[..length]).1, "cut at {length}");
    }
    for place in MAGIC.len()..good.len() - 4 {
        let mut damaged = good.clone();
        damaged[place] ^= 0x40;
        assert!(!load_changed(&damaged).1, "bit changed at {place}");
    }
    let mut long = MAGIC.to_vec();
    long.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(load_changed(&long), (0, false));
}

#[test]
fn files_of_others_and_of_earlier_days_are_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (now, path) = (SystemTime::now(), path(directory.path()));
    let old = store(1 << 20, Eviction::Lru);
    old.import(object(1, 6_000, 100), now);
    let load_new = |now| {
        load(
            &store(1 << 20, Eviction::Lru),
            directory.path(),
            now,
            soon(),
        )
    };
    let save_old = || save(&old, directory.path(), usize::MAX, soon()).unwrap();
    save_old();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(load_new(now + 2 * AGE_MAX).1.is_err());
    save_old();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(load_new(now).1.is_err());
    save_old();
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(load_new(now).1.is_err());
    assert!(elsewhere.exists());
    save_old();
    let opened = fs::Permissions::from_mode(0o777);
    fs::set_permissions(directory.path(), opened).unwrap();
    assert!(load_new(now).1.is_err());
}

#[test]
fn what_takes_too_long_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (now, past) = (SystemTime::now(), Instant::now());
    let old = store(1 << 20, Eviction::Lru);
    old.import(object(1, 60, 100), now);
    assert!(save(&old, directory.path(), usize::MAX, past).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    save(&old, directory.path(), usize::MAX, soon()).unwrap();
    let new = store(1 << 20, Eviction::Lru);
    let (count, read) = load(&new, directory.path(), now, past);
    assert_eq!((count, read.is_err()), (0, true));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_nobody_took_over_can_be_discarded() {
    let directory = tempfile::tempdir().unwrap();
    discard(directory.path()).unwrap();
    let path = path(directory.path());
    fs::write(&path, "half").unwrap();
    fs::write(path.with_extension("unfinished"), "half").unwrap();
    discard(directory.path()).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

fn records() -> impl Strategy<Value = Record> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50);
    let tags = prop::collection::vec(".{0,5}", 0..4);
    let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..30), 0..4);
    let key = (any::<[u8; 16]>(), any::<Option<[u8; 16]>>(), ".{0,5}");
    (key, bytes(), bytes(), ".{0,9}", tags, body).prop_map(
        |((primary, variance, user_tag), times, header, place, tags, body)| Record {
            primary,
            variance,
            user_tag,
            times,
            header,
            place,
            tags,
            body: body.into_iter().map(Bytes::from).collect(),
        },
    )
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded_and_nothing_shorter(record in records()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        let decoded = Record::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.body.concat(), record.body.concat());
        let body = decoded.body.clone();
        prop_assert_eq!(decoded, Record { body, ..record });
        for length in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..length]).is_none());
        }
        bytes.push(0);
        prop_assert!(Record::decode(&bytes).is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }
}
