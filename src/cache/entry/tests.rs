//! What requests find of what was stored, through a real store.

use bytes::Bytes;
use pingora_cache::storage::PurgeAction;

use super::*;
use crate::cache::key::{QueryRule, Scheme};
use crate::cache::store::{Eviction, Purge, Settings};

fn store() -> Store {
    Store::new(Settings {
        memory: 1 << 20,
        max_object: 1 << 19,
        eviction: Eviction::Lru,
    })
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn resource(target: &'static str) -> Resource<'static> {
    Resource::new(Scheme::Http, "a.test", target, &QueryRule::All).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn terms_at(now: SystemTime) -> Terms {
    let exchange = Exchange {
        requested: now,
        answered: now,
    };
    let response = headers(&[("cache-control", "max-age=60, stale-while-revalidate=30")]);
    let control = Control::of_response(&response, &[]);
    let status = http::StatusCode::OK;
    Terms::new(status, &response, &control, &Defaults::default(), &exchange)
}

/// Stores a body as the answer to `request`.
fn put(store: &Store, request: &HeaderMap, response: &HeaderMap, rule: &VaryRule, body: &str) {
    let (resource, primary) = (resource("/x"), resource("/x").primary());
    let wanted = Wanted {
        primary: &primary,
        request,
        rule,
    };
    let mut head = ResponseHeader::build(200, None).unwrap();
    for (name, value) in response {
        head.append_header(name, value).unwrap();
    }
    let key = wanted.key(response);
    let variance = key.variance.as_deref().copied();
    let label = label(&resource, response);
    let meta = meta(head, terms_at(now()), now(), variance, label);
    let mut fill = store.begin(key, &meta);
    fill.write(body.as_bytes()).unwrap();
    assert!(fill.commit() > 0);
}

fn find(store: &Store, request: &HeaderMap, rule: &VaryRule) -> Option<String> {
    let primary = resource("/x").primary();
    let wanted = Wanted {
        primary: &primary,
        request,
        rule,
    };
    let stored = wanted.find(store)?;
    let body: Vec<Bytes> = stored.found.body.whole().unwrap().shared().collect();
    Some(String::from_utf8(body.concat()).unwrap())
}

#[test]
fn a_request_finds_the_variant_it_leads_to() {
    let store = store();
    let rule = VaryRule::default();
    let german = headers(&[("accept-language", "de"), ("x", "1")]);
    let french = headers(&[("accept-language", "FR"), ("x", "2")]);
    let vary = headers(&[("vary", "Accept-Language")]);
    put(&store, &german, &vary, &rule, "hallo");
    put(&store, &french, &vary, &rule, "salut");
    assert_eq!(find(&store, &german, &rule).as_deref(), Some("hallo"));
    let lower = headers(&[("accept-language", "fr")]);
    assert_eq!(find(&store, &lower, &rule).as_deref(), Some("salut"));
    assert_eq!(find(&store, &headers(&[]), &rule), None);

    // A newer response may vary by something else.
    let vary = headers(&[("vary", "X")]);
    put(&store, &headers(&[("x", "2")]), &vary, &rule, "two");
    assert_eq!(find(&store, &french, &rule).as_deref(), Some("two"));
    assert_eq!(find(&store, &german, &rule).as_deref(), Some("hallo"));
}

#[test]
fn a_route_may_tell_responses_apart_that_do_not_say_so() {
    let store = store();
    let rule = VaryRule {
        headers: vec![HeaderName::from_static("x-country")],
        cookies: vec!["plan".to_owned()],
        route: None,
        codes: false,
    };
    let paid = headers(&[("x-country", "no"), ("cookie", "a=b; plan=paid")]);
    put(&store, &paid, &headers(&[]), &rule, "paid");
    let same = headers(&[("x-country", "no"), ("cookie", "plan=paid; id=7")]);
    assert_eq!(find(&store, &same, &rule).as_deref(), Some("paid"));
    for other in ["plan=free", "a=b"] {
        let other = headers(&[("x-country", "no"), ("cookie", other)]);
        assert_eq!(find(&store, &other, &rule), None);
    }
}

#[test]
fn what_is_purged_softly_is_stale_from_then_on() {
    let store = store();
    let (request, rule) = (headers(&[]), VaryRule::default());
    put(
        &store,
        &request,
        &headers(&[("surrogate-key", "a b")]),
        &rule,
        "x",
    );
    let primary = resource("/x").primary();
    let wanted = Wanted {
        primary: &primary,
        request: &request,
        rule: &rule,
    };
    let at = now() + Duration::from_secs(10);
    assert!(wanted.find(&store).unwrap().terms.is_fresh(at));
    assert_eq!(
        store.invalidate(Purge::Tag("b"), PurgeAction::Expire, at),
        1
    );
    let terms = wanted.find(&store).unwrap().terms;
    assert!(!terms.is_fresh(at + Duration::from_millis(1)));
    assert_eq!(terms.born, now());
    let window = Duration::from_secs(30);
    assert_eq!(terms.staleness(at + window).as_millis(), 29_999);
}

#[test]
fn a_response_belongs_to_its_url_and_its_tags() {
    let response = headers(&[
        ("surrogate-key", "red  blue"),
        ("cache-tag", "green, red"),
        ("x-tag", "no"),
    ]);
    let label = label(&resource("/x?y=1"), &response);
    assert_eq!(label.place(), "a.test/x?y=1");
    assert_eq!(label.tags().collect::<Vec<_>>(), ["blue", "green", "red"]);
}

#[test]
fn terms_come_back_from_what_another_process_hands_on() {
    let terms = terms_at(now());
    let head = ResponseHeader::build(200, None).unwrap();
    let meta = meta(head, terms, now(), None, Label::default());
    let restored = restored(&meta);
    assert_eq!(restored.born, terms.born);
    assert_eq!(restored.lifetime, terms.lifetime);
    assert_eq!(restored.stale_while_revalidate, Duration::from_secs(30));
    assert!(!restored.may_be_stale);
}
