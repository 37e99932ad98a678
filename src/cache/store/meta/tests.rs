//! Copies against what was kept.

use std::time::{Duration, SystemTime};

use http::Version;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn header() -> ResponseHeader {
    let mut header = ResponseHeader::build(203, None).unwrap();
    header.append_header("X-Weird-CASE", "1").unwrap();
    header.append_header("x-weird-case", "2").unwrap();
    header.append_header("Content-Length", "12").unwrap();
    header.set_version(Version::HTTP_10);
    header.set_reason_phrase(Some("Not Quite")).unwrap();
    header
}

/// All that Pingora and the rules read of it.
fn parts(meta: &CacheMeta) -> impl PartialEq + std::fmt::Debug {
    let header = meta.response_header();
    let mut wire = Vec::new();
    header.header_to_h1_wire(&mut wire);
    (
        (
            meta.fresh_until(),
            meta.created(),
            meta.epoch(),
            meta.variance(),
        ),
        (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec()),
        (
            header.status,
            header.version,
            header.get_reason_phrase().map(str::to_owned),
        ),
        wire,
    )
}

#[test]
fn a_copy_is_what_was_kept() {
    let mut meta = CacheMeta::new(at(100), at(50), 7, 9, header());
    meta.extensions_mut().insert(77_u8);
    meta.extensions_mut()
        .insert(Label::new("a.test", "/", ["t"]));
    let (kept, label) = Meta::keep(&meta);
    assert_eq!(parts(&kept.copy()), parts(&meta));
    assert_eq!(kept.copy().provenance(), meta.provenance());
    assert_eq!(kept.copy().extensions().get::<u8>(), Some(&77));
    assert!(kept.copy().extensions().get::<Label>().is_none());
    assert_eq!(label.unwrap().place(), "a.test/");
    assert_eq!(kept.content_length(), Some(12));
    assert!(kept.cost() > META_OVERHEAD + 3 * HEADER_OVERHEAD);

    meta.set_variance([3; 16]);
    meta.set_epoch_override(at(40));
    let (kept, label) = Meta::keep(&kept_with(&meta));
    assert_eq!(parts(&kept.copy()), parts(&meta));
    assert!(label.is_none());
}

fn kept_with(meta: &CacheMeta) -> CacheMeta {
    Meta::keep(meta).0.copy()
}

/// Times as Pingora makes them when a variant is refreshed: only its packed form can be built here.
fn refreshed_variant() -> CacheMeta {
    let mut meta = CacheMeta::new(at(100), at(50), 7, 9, header());
    meta.set_variance([3; 16]);
    let (times, packed) = meta.serialize().unwrap();
    // Times are pairs of seconds and nanoseconds; the second one is the creation.
    let creation = [0x92, 50, 0];
    let place = times.windows(3).position(|pair| pair == creation).unwrap();
    let mut changed = times;
    changed[place + 1] = 60;
    CacheMeta::deserialize(&changed, &packed).unwrap()
}

#[test]
fn a_refreshed_variant_keeps_its_provenance() {
    let meta = refreshed_variant();
    assert_ne!(meta.provenance(), meta.created());
    let (kept, _) = Meta::keep(&meta);
    assert!(kept.packed.is_some());
    assert_eq!(kept.copy().provenance(), meta.provenance());
    assert_eq!(parts(&kept.copy()), parts(&meta));
    let expired = kept.expired(at(70));
    assert_eq!(expired.copy().fresh_until(), at(70));
    assert_eq!(expired.copy().provenance(), meta.provenance());
    assert_eq!(expired.cost(), kept.cost());
}

#[test]
fn header_values_do_not_pin_the_buffer_they_came_in() {
    let head = Bytes::from(vec![b'a'; 100_000]);
    let mut header = ResponseHeader::build(200, None).unwrap();
    header
        .append_header("X-A", header_value_from_raw(head.slice(5..10)))
        .unwrap();
    let (kept, _) = Meta::keep(&CacheMeta::new(at(100), at(50), 0, 0, header));
    assert!(head.is_unique());
    assert_eq!(kept.copy().headers()["x-a"], "aaaaa");
}

#[test]
fn it_is_useful_while_fresh_stale_or_to_be_revalidated() {
    let with = |swr, sie, validator: Option<&'static str>| {
        let mut header = header();
        if let Some(name) = validator {
            header.append_header(name, "x").unwrap();
        }
        let meta = CacheMeta::new(at(100), at(50), swr, sie, header);
        Meta::keep(&meta).0.useful_until()
    };
    assert_eq!(with(0, 0, None), at(100));
    assert_eq!(with(5, 9, None), at(109));
    assert_eq!(with(5, 9, Some("ETag")), at(3700));
    assert_eq!(with(0, 9_000, Some("Last-Modified")), at(9100));
}
