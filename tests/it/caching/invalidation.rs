//! What was asked for before a write or a purge is not kept after it.

use serde_json::json;

use super::*;

/// Answers GETs with their number, the first one when the gate opens; writes at once.
fn slow_once(gate: &Gate) -> Origin {
    let (gate, count) = (gate.clone(), AtomicUsize::new(0));
    Origin::start(move |request| {
        if request.method != "GET" {
            return Reply::status(204);
        }
        let number = 1 + count.fetch_add(1, Ordering::SeqCst);
        let reply = Reply::ok(number.to_string()).header("Cache-Control", "max-age=60");
        let reply = reply
            .header("ETag", format!("\"{number}\""))
            .header("Cache-Tag", "red");
        if number == 1 {
            reply.after(&gate)
        } else {
            reply
        }
    })
}

async fn purge(weir: &Weir, order: serde_json::Value) -> Response {
    let request = weir.admin().request("POST", "/-/cache/purge");
    let request = request.header("Content-Type", "application/json");
    request.body(order.to_string()).send().await
}

#[tokio::test]
async fn an_answer_older_than_a_write_is_given_but_not_kept() {
    let gate = Gate::new();
    let origin = slow_once(&gate);
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let early = tokio::spawn(weir.client().get("/"));
    eventually("it is asked for", async || gate.waiting() == 1).await;
    let mut late = weir.client().connect().await;
    assert_eq!(weir.client().post("/", "x").await.status, 204);
    let request = late.request("GET", "/");
    late.write(request.bytes()).await;
    weir.metric_becomes("weir_requests_in_flight", 2.0).await;
    gate.open();
    let early = early.await.unwrap();
    assert_eq!(early.text(), "1");
    assert_eq!(status(&early), "weir; fwd=uri-miss; detail=purged");
    assert_eq!(
        late.response().await.unwrap().text(),
        "2",
        "asked for after the write"
    );
    let hit = weir.client().get("/").await;
    assert_eq!(hit.text(), "2");
    assert!(status(&hit).contains("hit"), "{}", status(&hit));
    let refused = r#"weir_cache_refused_total{reason="purged"}"#;
    assert_eq!(weir.metric(refused).await, 1.0);
}

#[tokio::test]
async fn an_answer_older_than_a_purge_is_not_kept_either_or_is_stale() {
    for what in [
        json!({"url": "http://shop.test/page"}),
        json!({"prefix": "http://shop.test/pa"}),
        json!({"host": "shop.test"}),
        json!({"tag": "red"}),
        json!({"all": true}),
    ] {
        for soft in [false, true] {
            let gate = Gate::new();
            let origin = slow_once(&gate);
            let weir = cached("on", &origin).await;
            let client = weir.client().host("shop.test");
            let early = tokio::spawn(client.get("/page"));
            eventually("it is asked for", async || gate.waiting() == 1).await;
            let mut order = what.clone();
            order["soft"] = soft.into();
            assert_eq!(purge(&weir, order).await.status, 200);
            gate.open();
            assert_eq!(early.await.unwrap().text(), "1");
            assert_eq!(client.get("/page").await.text(), "2", "{what}");
            let condition = soft.then_some("\"1\"");
            assert_eq!(origin.last().header("if-none-match"), condition, "{what}");
            assert!(status(&client.get("/page").await).contains("hit"));
        }
    }
}

#[tokio::test]
async fn an_answer_is_kept_after_purges_of_others_and_those_before_it_was_asked_for() {
    let gate = Gate::new();
    let origin = slow_once(&gate);
    let weir = cached("on", &origin).await;
    let client = weir.client().host("shop.test");
    purge(&weir, json!({"all": true})).await;
    let early = tokio::spawn(client.get("/page"));
    eventually("it is asked for", async || gate.waiting() == 1).await;
    for other in [
        json!({"url": "http://shop.test/pag"}),
        json!({"prefix": "http://shop.test/page?"}),
        json!({"host": "other.test"}),
        json!({"tag": "blue"}),
    ] {
        purge(&weir, other).await;
    }
    client.post("/other", "x").await;
    gate.open();
    assert_eq!(early.await.unwrap().text(), "1");
    assert_eq!(client.get("/page").await.text(), "1");
}

#[tokio::test]
async fn a_304_older_than_a_purge_neither_brings_back_nor_renews() {
    for soft in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = answering(move |number| {
            let reply = match number {
                1 => Reply::ok("x").header("Age", 100),
                2 => Reply::status(304).after(&held),
                _ => Reply::ok("new"),
            };
            let reply = reply.header("ETag", "\"x\"").header("Cache-Tag", "red");
            reply.header("Cache-Control", "max-age=60")
        });
        let weir = cached("on", &origin).await;
        weir.client().get("/").await;
        let early = tokio::spawn(weir.client().get("/"));
        eventually("it is asked for", async || gate.waiting() == 1).await;
        purge(&weir, json!({"tag": "red", "soft": soft})).await;
        gate.open();
        let early = early.await.unwrap();
        assert_eq!(early.text(), "x");
        assert!(
            status(&early).starts_with("weir; fwd=stale; fwd-status=304; ttl="),
            "{}",
            status(&early)
        );
        assert_eq!(weir.client().get("/").await.text(), "new");
        let condition = soft.then_some("\"x\"");
        assert_eq!(origin.last().header("if-none-match"), condition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_meanwhile_make_one_more_request_together() {
    let gate = Gate::new();
    let origin = slow_once(&gate);
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..20 {
        crowd.spawn(weir.client().get("/"));
    }
    weir.metric_becomes("weir_requests_in_flight", 20.0).await;
    eventually("one asks", async || gate.waiting() == 1).await;
    weir.client().post("/", "x").await;
    gate.open();
    let mut texts: Vec<String> = crowd.join_all().await.iter().map(Response::text).collect();
    texts.sort_unstable();
    assert_eq!((&*texts[0], &*texts[1], &*texts[19]), ("1", "2", "2"));
    assert_eq!(origin.hits(), 3, "two GETs and the write");
}

#[tokio::test]
async fn a_write_through_a_route_without_cache_makes_void_what_others_keep() {
    let (shop, api) = (counting(), Origin::serving("done"));
    let weir = weir(
        "
        pools: { shop: { endpoints: [$shop] }, api: { endpoints: [$api] } }
        routes:
          - pool: shop
            methods: [GET, HEAD]
            cache: { key: { ignore_query: [utm_*], headers: [X-Country] } }
          - { pool: api }
    ",
    )
    .with("shop", &shop)
    .with("api", &api)
    .start()
    .await;
    let get = async |target: &str| weir.client().get(target).await.text();
    for (number, method) in (1..).zip(["POST", "PUT", "DELETE", "PATCH", "BREW"]) {
        let number = number.to_string();
        assert_eq!(get("/a?id=1&utm_source=x").await, number);
        assert_eq!(get("/a?id=1").await, number);
        let request = weir.client().request(method, "/x/../a?utm_medium=y&id=1");
        assert_eq!(request.send().await.text(), "done");
    }
    assert_eq!(get("/a?id=1").await, "6");
    weir.client().request("OPTIONS", "/a?id=1").send().await;
    weir.client().post("/a?id=2", "x").await;
    assert_eq!(get("/a?id=1").await, "6");
    // Through Pingora's own machine.
    let upgrade = weir.client().request("POST", "/a?id=1");
    let upgrade = upgrade
        .header("Upgrade", "h2c")
        .header("Connection", "Upgrade");
    assert_eq!(upgrade.send().await.text(), "done");
    assert_eq!(get("/a?id=1").await, "7");
}

#[tokio::test]
async fn a_write_that_fails_makes_nothing_void_whatever_its_route() {
    let (shop, api) = (
        counting(),
        Origin::start(|_| Reply::status(409).header("Location", "/b")),
    );
    let weir = weir(
        "
        pools: { shop: { endpoints: [$shop] }, api: { endpoints: [$api] } }
        routes: [{ pool: shop, methods: GET, cache: on }, { pool: api }]
    ",
    )
    .with("shop", &shop)
    .with("api", &api)
    .start()
    .await;
    weir.client().get("/b").await;
    weir.client().post("/b", "x").await;
    assert_eq!(weir.client().get("/b").await.text(), "1");
}

#[tokio::test]
async fn writes_count_while_no_route_has_the_cache_that_a_reload_brings_back() {
    let ignoring = "{ key: { ignore_query: [utm_*] } }";
    for (cache, between, target) in [
        ("on", "off", "/written?a"),
        (ignoring, "off", "/written?a&utm_x=1"),
        (ignoring, "on", "/written?a&utm_x=1"),
    ] {
        let origin = Origin::start(|request| match &*request.method {
            "GET" => Reply::ok("page").header("Cache-Control", "max-age=60"),
            _ => Reply::status(204),
        });
        let weir = cached(cache, &origin).await;
        let reload = async |cache: &str| weir.reload_with(&yaml(cache, "memory: 16MiB")).await;
        for page in ["/written?a", "/other?a"] {
            weir.client().get(page).await;
        }
        assert!(reload(between).await, "{}", weir.stderr());
        assert_eq!(weir.client().post(target, "x").await.status, 204);
        assert!(reload(cache).await, "{}", weir.stderr());
        let written = weir.client().get("/written?a").await;
        let told = status(&written);
        assert!(told.starts_with("weir; fwd=uri-miss; stored"), "{told}");
        let other = weir.client().get("/other?a").await;
        assert!(status(&other).contains("hit"), "{}", status(&other));
    }
}
