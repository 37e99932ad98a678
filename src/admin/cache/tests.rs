//! Orders against a store that holds something.

use std::sync::Arc;
use std::time::Duration;

use pingora_cache::CacheMeta;
use pingora_cache::key::CacheKey;
use pingora_http::ResponseHeader;
use serde_json::{Value, json};

use super::*;
use crate::cache::store::{Eviction, Label, Settings};
use crate::config;
use crate::telemetry::metrics::Metrics;
use crate::upstream::registry::Registry;

/// Two variants of a page, and three other responses.
fn filled() -> Store {
    let store = Store::new(Settings {
        memory: 1 << 20,
        max_object: 1 << 16,
        eviction: Eviction::Lru,
    });
    keep(&store, "a.test", "/img/1?x", None, &["img", "all"]);
    keep(&store, "a.test", "/page", Some(1), &["all"]);
    keep(&store, "a.test", "/page", Some(2), &["all"]);
    keep(&store, "a.test:8080", "/page", None, &[]);
    keep(&store, "b.test", "/page", None, &["all"]);
    store
}

fn keep(store: &Store, host: &str, path: &str, variant: Option<u8>, tags: &[&str]) {
    let mut key = CacheKey::new(format!("{host}{path}"), "");
    if let Some(variant) = variant {
        key.set_variance_key([variant; 16]);
    }
    let now = SystemTime::now();
    let mut head = ResponseHeader::build(200, None).unwrap();
    head.insert_header("ETag", "\"one\"").unwrap();
    let until = now + Duration::from_secs(60);
    let mut meta = CacheMeta::new(until, now - Duration::from_secs(5), 0, 0, head);
    let tags = tags.iter().copied();
    meta.extensions_mut().insert(Label::new(host, path, tags));
    let mut fill = store.begin(key.to_compact(), &meta);
    fill.write(b"body").unwrap();
    assert!(fill.commit() > 0);
}

/// One route, which ignores some arguments.
fn snapshot() -> Snapshot {
    let yaml = "
listeners: [{ bind: 127.0.0.1:8080 }]
pools: { web: { endpoints: [127.0.0.1:9001] } }
routes: [{ pool: web, cache: { key: { ignore_query: [utm_*] } } }]
";
    let (config, _) = config::parse("weir.yaml", yaml).unwrap();
    let metrics = Metrics::new();
    let registry = Arc::new(Registry::new(metrics.clone()));
    Snapshot::build(config.live, 1, &registry, &metrics).unwrap()
}

fn answer(reply: &Reply) -> (u16, Value) {
    let body = serde_json::from_slice(reply.body()).unwrap();
    (reply.status().as_u16(), body)
}

fn purged(store: &Store, order: Value) -> (u16, Value) {
    answer(&purge(store, &snapshot(), order.to_string().as_bytes()))
}

fn found(store: &Store, url: &str) -> Vec<Value> {
    let reply = lookup(store, &snapshot(), Some(&format!("url={url}")));
    let (status, body) = answer(&reply);
    assert_eq!(status, 200, "{body}");
    body["objects"].as_array().unwrap().clone()
}

#[test]
fn an_order_takes_out_what_it_names_and_says_how_much() {
    for (order, count) in [
        (json!({"url": "http://A.test:80/x/../page"}), 2),
        (json!({"url": "https://a.test/page"}), 2),
        (json!({"url": "http://a.test:8080/page"}), 1),
        (json!({"url": "http://a.test/page?utm_source=mail"}), 2),
        (json!({"url": "http://a.test/img/1"}), 0),
        (json!({"prefix": "http://a.test/im"}), 1),
        (json!({"prefix": "http://a.test"}), 3),
        (json!({"host": "A.TEST."}), 3),
        (json!({"tag": "all"}), 4),
        (json!({"tag": "al"}), 0),
        (json!({"all": true}), 5),
    ] {
        let store = filled();
        assert_eq!(
            purged(&store, order.clone()),
            (200, json!({"purged": count})),
            "{order}"
        );
        assert_eq!(store.holding().objects, 5 - count, "{order}");
        assert_eq!(
            purged(&store, order.clone()),
            (200, json!({"purged": 0})),
            "{order}"
        );
    }
}

#[test]
fn a_soft_purge_keeps_what_it_makes_stale() {
    let store = filled();
    let order = json!({"url": "http://a.test/page", "soft": true});
    for _ in 0..2 {
        assert_eq!(purged(&store, order.clone()), (200, json!({"purged": 2})));
    }
    assert_eq!(store.holding().objects, 5);
    let stale = found(&store, "http://a.test/page");
    assert!(
        stale.iter().all(|object| object["fresh"] == false),
        "{stale:?}"
    );
    assert_eq!(found(&store, "http://b.test/page")[0]["fresh"], true);
}

#[test]
fn a_lookup_shows_each_variant() {
    let store = filled();
    let objects = found(&store, "http%3A%2F%2Fa.test%2Fimg%2F..%2Fpage");
    assert_eq!(objects.len(), 2);
    let object = &objects[0];
    for (field, value) in [
        ("status", json!(200)),
        ("fresh", json!(true)),
        ("age_seconds", json!(5)),
        ("body_bytes", json!(4)),
        ("tags", json!(["all"])),
        ("etag", json!("\"one\"")),
        ("vary", json!(null)),
    ] {
        assert_eq!(object[field], value, "{field}");
    }
    let left = object["fresh_seconds"].as_i64().unwrap();
    assert!((55..=60).contains(&left), "{left}");
    assert!(object["bytes"].as_u64().unwrap() > 500);
    assert!(objects[0]["variant"] != objects[1]["variant"]);
    assert_eq!(
        found(&store, "http://b.test/page")[0]["variant"],
        json!(null)
    );
    assert!(found(&store, "http://b.test/other").is_empty());
}

#[test]
fn an_order_that_is_none_says_what_is_wrong() {
    let store = filled();
    for (order, said) in [
        ("", "EOF"),
        ("[]", "exactly one"),
        ("7", "invalid type"),
        ("{}", "exactly one"),
        (r#"{"all": false}"#, "exactly one"),
        (r#"{"tag": "all", "all": true}"#, "exactly one"),
        (r#"{"uri": "http://a.test/"}"#, "unknown field `uri`"),
        (r#"{"url": "/page"}"#, "is no URL"),
        (
            r#"{"url": "http://a.test/a b"}"#,
            "control character or space",
        ),
        (r#"{"prefix": "a.test"}"#, "is no URL"),
        (r#"{"host": "http://a.test"}"#, "is no host"),
        (r#"{"tag": ""}"#, "no tag"),
    ] {
        let (status, body) = answer(&purge(&store, &snapshot(), order.as_bytes()));
        let message = body["message"].as_str().unwrap();
        assert_eq!((status, &body["code"]), (400, &json!("invalid")), "{order}");
        assert!(message.contains(said), "{order}: {message}");
    }
    for query in [
        None,
        Some(""),
        Some("uri=x"),
        Some("url=page"),
        Some("url=%zz"),
    ] {
        assert_eq!(
            answer(&lookup(&store, &snapshot(), query)).0,
            400,
            "{query:?}"
        );
    }
    assert_eq!(store.holding().objects, 5);
}

#[test]
fn stats_count_what_is_there_and_what_has_left() {
    let store = filled();
    purged(&store, json!({"host": "a.test"}));
    let (_, stats) = answer(&stats(&store, &Metrics::new().cache));
    assert_eq!(stats["objects"], 2);
    assert_eq!(stats["left"]["purged"], 3);
    assert_eq!(stats["memory"], 1 << 20);
    assert_eq!(
        (&stats["requests"]["hit"], &stats["hit_ratio"]),
        (&json!(0), &json!(null))
    );
    assert!(stats["bytes"].as_u64().unwrap() > 1000);
}
