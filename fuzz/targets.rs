//! What is fuzzed: the readers of what strangers send to the cache, each with what must hold of
//! whatever they read. Used by the targets of cargo-fuzz and by `tests/fuzz.rs`.
#![allow(dead_code, reason = "each target of cargo-fuzz uses one")]

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, COOKIE, EXPIRES, RANGE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use weir::cache::key::{ArgumentName, QueryRule, Resource, Scheme};
use weir::cache::rules::directives::{RequestDirectives, ResponseDirectives};
use weir::cache::rules::encoding::Accepted;
use weir::cache::rules::freshness::{Defaults, Exchange, Terms};
use weir::cache::rules::ranges::{Parts, parts};
use weir::cache::rules::reuse::{Reuse, judge};
use weir::cache::rules::status::{CacheStatus, Handling};
use weir::cache::rules::storable::{Asked, Refusal, may_store};
use weir::cache::rules::targeted::Control;
use weir::cache::rules::vary::{VaryRule, variant};

/// `Cache-Control` and the other fields of a lifetime, a line each.
pub(crate) fn cache_control(input: &[u8]) {
    let mut headers = lines(input, &CACHE_CONTROL);
    if let Some(last) = input.rsplit(|byte| *byte == b'\n').next() {
        append(&mut headers, &EXPIRES, last);
    }
    let request = RequestDirectives::parse(&headers);
    let control = Control::of_response(&headers, &[]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let exchange = Exchange {
        requested: now,
        answered: now,
    };
    let terms = Terms::new(
        StatusCode::OK,
        &headers,
        &control,
        &Defaults::default(),
        &exchange,
    );
    if judge(Some(&terms), &request, now) == Reuse::Fresh {
        assert!(!terms.lifetime.is_zero() && !request.no_cache);
    }
    // Whatever is said, `no-store` beside it wins.
    append(&mut headers, &CACHE_CONTROL, b"No-Store");
    let control = Control::of_response(&headers, &[]);
    let nothing = RequestDirectives::default();
    let asked = Asked {
        method: &Method::GET,
        headers: &HeaderMap::new(),
        directives: &nothing,
        keep_set_cookie: false,
    };
    if !control.directives().must_understand {
        let verdict = may_store(&asked, StatusCode::OK, &headers, &control, &terms);
        assert_eq!(verdict, Err(Refusal::NoStore));
    }
    // The order of lines means nothing.
    let mut reversed = HeaderMap::new();
    let backwards: Vec<&HeaderValue> = headers.get_all(CACHE_CONTROL).iter().rev().collect();
    backwards.iter().for_each(|line| {
        reversed.append(CACHE_CONTROL, (*line).clone());
    });
    let (one, two) = (
        ResponseDirectives::parse(&headers),
        ResponseDirectives::parse(&reversed),
    );
    assert_eq!((one.max_age, one.s_maxage), (two.max_age, two.s_maxage));
    assert_eq!(
        (one.no_store, one.must_revalidate),
        (two.no_store, two.must_revalidate)
    );
}

/// `Range`, of a response as long as the first two bytes say.
pub(crate) fn range(input: &[u8]) {
    let Some((length, line)) = input.split_first_chunk::<2>() else {
        return;
    };
    let length = u64::from(u16::from_le_bytes(*length));
    let mut request = HeaderMap::new();
    append(&mut request, &RANGE, line);
    let ranges = match parts(
        &Method::GET,
        &request,
        StatusCode::OK,
        &HeaderMap::new(),
        length,
    ) {
        Parts::Whole | Parts::None => return,
        Parts::One(range) => vec![range],
        Parts::Many(ranges) => {
            assert!(ranges.len() > 1);
            ranges
        }
    };
    let mut end = 0;
    for range in ranges {
        assert!(end <= range.start && range.start < range.end && range.end <= length);
        end = range.end;
    }
}

/// A line of `Vary`, then lines of `Accept-Encoding` and `Cookie` in turn.
pub(crate) fn vary(input: &[u8]) {
    let (mut stored, mut request) = (HeaderMap::new(), HeaderMap::new());
    for (at, line) in input.split(|byte| *byte == b'\n').enumerate() {
        match at {
            0 => append(&mut stored, &VARY, line),
            at if at % 2 == 1 => append(&mut request, &ACCEPT_ENCODING, line),
            _ => append(&mut request, &COOKIE, line),
        }
    }
    let rule = VaryRule {
        headers: vec![],
        cookies: vec!["id".to_owned()],
        route: None,
        codes: false,
    };
    let first = variant(&stored, &request, &rule);
    assert!(first.is_some());
    // What is asked of the origin is the same variant as what came.
    if let Some(accepted) = Accepted::parse(&request) {
        request.insert(ACCEPT_ENCODING, accepted.normalized());
        assert_eq!(variant(&stored, &request, &rule), first);
    }
}

/// An authority and a target, a line each.
pub(crate) fn key(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (authority, target) = text.split_once('\n').unwrap_or((text, "/"));
    let rule = QueryRule::Except(vec![ArgumentName::parse("utm_*")]);
    let Some(resource) = Resource::new(Scheme::Http, authority, target, &rule) else {
        return;
    };
    // Its one spelling is the same resource, and another scheme another.
    let spelled = resource.to_string();
    let spelled_target = &spelled["http://".len() + resource.authority().len()..];
    let authority = resource.authority();
    let again = Resource::new(Scheme::Http, &authority, spelled_target, &rule);
    assert_eq!(again.map(|again| again.key()), Some(resource.key()));
    let secure = Resource::new(Scheme::Https, &authority, spelled_target, &rule);
    assert_ne!(secure.map(|secure| secure.key()), Some(resource.key()));
}

/// A targeted field, a line each; and `Cache-Status` with the input as its key.
pub(crate) fn structured_fields(input: &[u8]) {
    let name = HeaderName::from_static("cdn-cache-control");
    let headers = lines(input, &name);
    let control = Control::of_response(&headers, std::slice::from_ref(&name));
    let limit = Some(Duration::from_secs(1 << 31));
    assert!(control.directives().max_age <= limit);
    let status = CacheStatus {
        cache: "weir",
        handling: Handling::Hit,
        ttl: Some(0),
        key: Some(&String::from_utf8_lossy(input)),
        detail: None,
    };
    let list = sfv::Parser::parse_list(status.to_string().as_bytes());
    assert_eq!(list.map(|list| list.len()), Ok(1));
}

fn lines(input: &[u8], name: &HeaderName) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let lines = input.split(|byte| *byte == b'\n');
    lines
        .take(1000)
        .for_each(|line| append(&mut headers, name, line));
    headers
}

/// What cannot be a field's value never gets so far.
fn append(headers: &mut HeaderMap, name: &HeaderName, line: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(line) {
        headers.append(name, value);
    }
}
