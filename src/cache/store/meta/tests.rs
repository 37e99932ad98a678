//! Copies against what was kept.

use std::time::{Duration, SystemTime};

use http::Version;

use super::*;

mod heads;

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
    meta.extensions_mut()
        .insert(Label::new("a.test", "/", ["u", "t"]));
    let kept = Meta::keep(&meta);
    assert_eq!(parts(&kept.copy()), parts(&meta));
    assert!(kept.copy().extensions().get::<Label>().is_none());
    assert_eq!(kept.place(), b"a.test/");
    assert_eq!(kept.tags().collect::<Vec<_>>(), ["t", "u"]);
    assert_eq!(kept.content_length(), Some(12));
    assert!(kept.terms().is_none() && !kept.is_coded() && kept.original().is_none());

    meta.set_variance([3; 16]);
    meta.set_epoch_override(at(40));
    meta.extensions_mut().insert(Coded { of: 1 << 40 });
    let kept = Meta::keep(&Meta::keep(&meta).copy());
    assert_eq!(parts(&kept.copy()), parts(&meta));
    assert!(kept.place().is_empty() && kept.tags().next().is_none());
    assert_eq!((kept.is_coded(), kept.original()), (true, Some(1 << 40)));
}

#[test]
fn a_head_without_spelling_gets_the_usual_one_and_keeps_its_values() {
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    header.append_header("etag", "\"1\"").unwrap();
    header.append_header("x-own", vec![0xff_u8]).unwrap();
    header.append_header("vary", "a").unwrap();
    header.append_header("vary", "b").unwrap();
    let meta = CacheMeta::new(at(100), at(50), 0, 0, header);
    let kept = Meta::keep(&meta);
    assert!(!kept.has_reason());
    assert_eq!(kept.copy().headers(), meta.headers());
    assert!(!kept.header().has_case());
    assert_eq!(kept.fields().next().unwrap().name, b"ETag");
    assert_eq!(kept.value(&ETAG), Some(&b"\"1\""[..]));
    assert_eq!(kept.values(&VARY).collect::<Vec<_>>(), [b"a", b"b"]);
    let selecting = kept.selecting();
    assert_eq!(selecting.len(), 2);
    assert!(selecting.get_all(VARY).iter().eq(["a", "b"]));
    assert!(
        Meta::keep(&CacheMeta::new(at(100), at(50), 0, 0, self::header()))
            .selecting()
            .is_empty()
    );
}

fn terms() -> Terms {
    Terms {
        source: Source::MaxAge,
        lifetime: Duration::from_millis(60_500),
        born: at(40),
        may_be_stale: true,
        immutable: false,
        stale_while_revalidate: Duration::from_millis(7_250),
        stale_if_error: Duration::from_secs(9),
        stale_if_down: Duration::from_secs(90 * 24 * 60 * 60),
    }
}

fn with_terms(terms: Terms) -> CacheMeta {
    let fresh_until = terms.born + terms.lifetime - TICK;
    let mut meta = CacheMeta::new(fresh_until, at(50), 7, 90 * 24 * 60 * 60, header());
    meta.set_epoch_override(terms.born);
    meta.extensions_mut().insert(terms);
    meta
}

#[test]
fn terms_come_back_whole_and_end_with_a_soft_purge() {
    let meta = with_terms(terms());
    let kept = Meta::keep(&meta);
    assert_eq!(kept.terms(), Some(terms()));
    assert_eq!(kept.copy().extensions().get::<Terms>(), Some(&terms()));
    assert_eq!(parts(&kept.copy()), parts(&meta));
    let never_fresh = Terms {
        lifetime: Duration::ZERO,
        ..terms()
    };
    let never_fresh_kept = Meta::keep(&with_terms(never_fresh));
    assert_eq!(never_fresh_kept.terms(), Some(never_fresh));

    let purged = kept.expired(at(70));
    assert_eq!((kept.purged(), purged.purged()), (None, Some(at(70))));
    assert_eq!(purged.terms(), Some(terms().until(at(70) + TICK)));
    assert_eq!(purged.cost(), kept.cost());
    let header = purged.header();
    assert_eq!(header.get_reason_phrase(), Some("Not Quite"));
    assert_eq!(kept.expired(at(500)).fresh_until(), kept.fresh_until());
}

/// What a million objects of a plain origin are to fit into: see the table in the README.
#[test]
fn a_usual_head_takes_a_quarter_of_a_kibibyte() {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in [
        ("Server", "nginx/1.22.1"),
        ("Date", "Sat, 21 Nov 2026 16:00:00 GMT"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", "1024"),
        ("Last-Modified", "Sat, 21 Nov 2026 15:00:00 GMT"),
        ("ETag", "\"69207bb0-400\""),
        ("Cache-Control", "max-age=86400"),
        ("Accept-Ranges", "bytes"),
    ] {
        header.append_header(name, value).unwrap();
    }
    let mut meta = CacheMeta::new(at(100), at(50), 0, 0, header);
    meta.extensions_mut()
        .insert(Label::new("a.test", "/o/123456/1024", []));
    assert!(
        Meta::keep(&meta).cost() <= 256,
        "{}",
        Meta::keep(&meta).cost()
    );
}

#[test]
fn header_values_do_not_pin_the_buffer_they_came_in() {
    let head = Bytes::from(vec![b'a'; 100_000]);
    let mut header = ResponseHeader::build(200, None).unwrap();
    header
        .append_header(
            "X-A",
            pingora_http::header_value_from_raw(head.slice(5..10)),
        )
        .unwrap();
    let kept = Meta::keep(&CacheMeta::new(at(100), at(50), 0, 0, header));
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
        Meta::keep(&meta).useful_until()
    };
    assert_eq!(with(0, 0, None), at(100));
    assert_eq!(with(5, 9, None), at(109));
    assert_eq!(with(5, 9, Some("ETag")), at(3700));
    assert_eq!(with(0, 9_000, Some("Last-Modified")), at(9100));
}
