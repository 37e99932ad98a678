//! Any head, packed and unpacked.

use fastrand::Rng;
use http::HeaderValue;

use super::*;

const TOKEN: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const USUAL: [&str; 6] = [
    "Vary",
    "content-encoding",
    "ETag",
    "AGE",
    "Content-Length",
    "X-A",
];

/// Mostly short; else around what a byte of a length holds, or long.
fn length(random: &mut Rng) -> usize {
    match random.u32(0..200) {
        0 => random.usize(16_380..16_390),
        1 => random.usize(0..70_000),
        2..20 => random.usize(126..130),
        _ => random.usize(0..40),
    }
}

fn name(random: &mut Rng) -> String {
    if random.bool() {
        return USUAL[random.usize(..USUAL.len())].to_owned();
    }
    let length = length(random).clamp(1, 60_000);
    let letter = |_| char::from(TOKEN[random.usize(..TOKEN.len())]);
    (0..length).map(letter).collect()
}

/// Of all that a value may have in it.
fn value(random: &mut Rng) -> HeaderValue {
    let byte = |random: &mut Rng| match random.u8(..) {
        0x7f => b'\t',
        byte => byte.max(b' '),
    };
    let bytes: Vec<u8> = (0..length(random)).map(|_| byte(random)).collect();
    HeaderValue::from_bytes(&bytes).expect("legal bytes")
}

fn head(random: &mut Rng) -> ResponseHeader {
    let status = random.u16(100..=599);
    let mut head = match random.bool() {
        true => ResponseHeader::build(status, None).expect("a status"),
        false => ResponseHeader::build_no_case(status, None).expect("a status"),
    };
    let versions = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
    head.set_version(versions[random.usize(..versions.len())]);
    if random.bool() {
        let reason: String = (0..length(random))
            .map(|_| random.char(' '..='\u{ff}'))
            .collect();
        head.set_reason_phrase(Some(&reason)).expect("any text");
    }
    for _ in 0..random.usize(0..=200) {
        head.append_header(name(random), value(random))
            .expect("a name and a value");
    }
    head
}

/// Of those that are kept to the nanosecond, with the first and the last.
fn moment(random: &mut Rng) -> SystemTime {
    let nanos = match random.u32(0..4) {
        0 => i64::MAX,
        1 => 1,
        _ => random.i64(1..),
    };
    let span = Duration::from_nanos(nanos.unsigned_abs());
    match random.bool() {
        true => SystemTime::UNIX_EPOCH + span,
        false => SystemTime::UNIX_EPOCH - span,
    }
}

fn seconds(random: &mut Rng) -> u32 {
    [0, 1, (1 << 31) - 1, random.u32(..1 << 31)][random.usize(..4)]
}

fn span(random: &mut Rng) -> Duration {
    match random.bool() {
        true => Duration::from_millis(random.u64(..1 << 31)),
        false => Duration::from_secs(seconds(random).into()),
    }
}

fn random_terms(random: &mut Rng) -> Terms {
    let sources = [
        Source::NoCache,
        Source::Expires,
        Source::Default,
        Source::Nobody,
    ];
    Terms {
        source: sources[random.usize(..sources.len())],
        lifetime: Duration::from_nanos(random.u64(2..1 << 60)),
        born: at(random.u64(1..1 << 32)),
        may_be_stale: random.bool(),
        immutable: random.bool(),
        stale_while_revalidate: span(random),
        stale_if_error: span(random),
        stale_if_down: span(random),
    }
}

fn random_meta(random: &mut Rng) -> CacheMeta {
    let terms = random.bool().then(|| random_terms(random));
    let fresh_until = terms.map(|terms| terms.born + terms.lifetime - TICK);
    let fresh_until = fresh_until.unwrap_or_else(|| moment(random));
    let windows = terms.map(|terms| {
        let error = terms.stale_if_error.max(terms.stale_if_down);
        [terms.stale_while_revalidate, error].map(|window| window.as_secs() as u32)
    });
    let [revalidate, error] = windows.unwrap_or_else(|| [seconds(random), seconds(random)]);
    let created = moment(random);
    let mut meta = CacheMeta::new(fresh_until, created, revalidate, error, head(random));
    if let Some(terms) = terms {
        meta.set_epoch_override(terms.born);
        meta.extensions_mut().insert(terms);
    } else if random.bool() {
        meta.set_epoch_override(moment(random));
    }
    if random.bool() {
        meta.set_variance(std::array::from_fn(|_| random.u8(..)));
    }
    if random.bool() {
        meta.extensions_mut().insert(Coded { of: random.u64(..) });
    }
    meta
}

fn label(random: &mut Rng) -> Label {
    let mut word = |least| {
        let letter = |random: &mut Rng| random.char('!'..);
        let count = length(random).max(least);
        (0..count).map(|_| letter(random)).collect::<String>()
    };
    let (host, path) = (word(0), word(0));
    let tags: Vec<String> = (0..host.len() % 5).map(|_| word(1)).collect();
    Label::new(&host, &path, tags.iter().map(String::as_str))
}

/// Field by field, as a hit reads it.
fn compare_fields(kept: &Meta, head: &ResponseHeader) {
    assert_eq!(kept.fields().count(), head.headers.len());
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        assert!(kept.values(name).eq(values.map(HeaderValue::as_bytes)));
    }
    let selecting = kept.selecting();
    for name in &SELECTING {
        assert!(
            selecting
                .get_all(name)
                .iter()
                .eq(head.headers.get_all(name))
        );
    }
}

#[test]
fn any_head_comes_back_as_it_was() {
    for seed in 0..200 {
        eprintln!("seed {seed}");
        let random = &mut Rng::with_seed(seed);
        let (meta, label) = (random_meta(random), label(random));
        let kept = Meta::labelled(&meta, &label);
        let copy = kept.copy();
        assert_eq!(parts(&copy), parts(&meta));
        assert_eq!(copy.headers(), meta.headers());
        assert_eq!(
            copy.response_header().has_case(),
            meta.response_header().has_case()
        );
        assert_eq!(
            copy.extensions().get::<Terms>(),
            meta.extensions().get::<Terms>()
        );
        assert_eq!(
            copy.extensions().get::<Coded>(),
            meta.extensions().get::<Coded>()
        );
        assert_eq!(kept.place(), label.place().as_bytes());
        assert!(kept.tags().eq(label.tags()));
        compare_fields(&kept, meta.response_header());

        let purge = moment(random);
        let purged = kept.expired(purge);
        assert_eq!(purged.fresh_until(), meta.fresh_until().min(purge));
        assert_eq!(purged.copy().headers(), meta.headers());
        assert!(kept.useful_until() >= kept.fresh_until());
    }
}
