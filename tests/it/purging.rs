//! The cache from outside: purges, lookups and counts over the admin listener.

use serde_json::{Value, json};

use crate::caching::{answering, cached, counting, status};
use crate::support::*;

const NOTHING: &str = "routes: [{ respond: {} }]";
const PURGE: &str = "/-/cache/purge";

fn order(weir: &Weir, body: impl AsRef<[u8]>) -> RequestBuilder {
    let request = weir.admin().request("POST", PURGE).body(body);
    request.header("Content-Type", "application/json")
}

fn json_of(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

// --- the admin listener

#[tokio::test]
async fn a_purge_of_nothing_is_no_error() {
    let weir = weir(NOTHING).start().await;
    for soft in [false, true] {
        let body = json!({"all": true, "soft": soft}).to_string();
        let response = order(&weir, body).send().await;
        assert_eq!(response.status, 200);
        assert_eq!(json_of(&response), json!({"purged": 0}));
    }
    let stats = json_of(&weir.admin().get("/-/cache/stats").await);
    assert_eq!((&stats["objects"], &stats["bytes"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn only_an_order_in_json_is_one() {
    let weir = weir(NOTHING).start().await;
    let admin = weir.admin();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PURGE"] {
        let response = admin.request(method, PURGE).send().await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
    }
    for path in ["/-/cache/stats", "/-/cache/lookup?url=http://a/"] {
        let response = admin.post(path, "{}").await;
        assert_eq!(response.status, 405, "{path}");
    }
    let all = json!({"all": true}).to_string();
    // What a page of somebody else could make an operator's browser send.
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/jsonp",
    ] {
        let request = admin.request("POST", PURGE).header("Content-Type", kind);
        let response = request.body(&all).send().await;
        assert_eq!(
            (response.status, &json_of(&response)["code"]),
            (415, &json!("not_json"))
        );
    }
    assert_eq!(admin.post(PURGE, &all).await.status, 415);
    let response = order(&weir, "{").send().await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (400, &json!("invalid"))
    );
    let response = order(&weir, vec![b' '; 65 * 1024]).send().await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (413, &json!("too_large"))
    );
    // A body in chunks is as good, and one connection takes many orders.
    let mut connection = admin.connect().await;
    for _ in 0..2 {
        let request = connection
            .request("POST", PURGE)
            .header("Content-Type", "application/json; charset=utf-8")
            .chunked(all.as_bytes().chunks(3));
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_lookup_of_what_is_not_there_finds_nothing() {
    let weir = weir(NOTHING).start().await;
    let admin = weir.admin();
    let response = admin.get("/-/cache/lookup?url=http://a.test/%3Fx").await;
    assert_eq!(json_of(&response), json!({"objects": []}));
    let response = admin.get("/-/cache/lookup").await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (400, &json!("invalid"))
    );
}

/// Orders a purge; how much it did.
async fn purged(weir: &Weir, body: Value) -> u64 {
    let response = order(weir, body.to_string()).send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    json_of(&response)["purged"].as_u64().unwrap()
}

async fn stats(weir: &Weir) -> Value {
    json_of(&weir.admin().get("/-/cache/stats").await)
}

async fn lookup(weir: &Weir, url: &str) -> Vec<Value> {
    let target = format!("/-/cache/lookup?url={url}");
    let found = json_of(&weir.admin().get(&target).await);
    found["objects"].as_array().unwrap().clone()
}

/// The number of the response that a client of `shop.test` gets.
async fn number(weir: &Weir, target: &str) -> String {
    weir.client().host("shop.test").get(target).await.text()
}

#[tokio::test]
async fn what_is_purged_is_asked_for_again() {
    let origin = answering(|number| {
        let reply = Reply::ok(number.to_string()).header("Cache-Control", "max-age=60");
        reply.header("Surrogate-Key", "all page")
    });
    let weir = cached("on", &origin).await;
    let mut asked = 0;
    for what in [
        json!({"url": "http://Shop.test:80/x/../page?a"}),
        json!({"prefix": "https://shop.test/pa"}),
        json!({"host": "SHOP.test"}),
        json!({"tag": "page"}),
        json!({"all": true}),
    ] {
        asked += 1;
        for _ in 0..2 {
            assert_eq!(number(&weir, "/page?a").await, asked.to_string(), "{what}");
        }
        assert_eq!(purged(&weir, what.clone()).await, 1, "{what}");
        assert_eq!(purged(&weir, what.clone()).await, 0, "{what}");
    }
    assert_eq!(stats(&weir).await["left"]["purged"], 5);
}

#[tokio::test]
async fn a_purge_of_a_url_takes_all_its_variants_and_no_other() {
    let origin = answering(|number| {
        let reply = Reply::ok(number.to_string()).header("Cache-Control", "max-age=60");
        reply.header("Vary", "Accept-Language")
    });
    let weir = cached("on", &origin).await;
    let client = weir.client().host("shop.test");
    for language in ["de", "fr"] {
        let request = client.request("GET", "/page");
        request.header("Accept-Language", language).send().await;
    }
    assert_eq!(number(&weir, "/pages").await, "3");
    assert_eq!(number(&weir, "/page?").await, "4");
    assert_eq!(lookup(&weir, "http://shop.test/page").await.len(), 2);
    assert_eq!(
        purged(&weir, json!({"url": "http://shop.test/page"})).await,
        2
    );
    assert!(lookup(&weir, "http://shop.test/page").await.is_empty());
    assert_eq!(number(&weir, "/pages").await, "3");
}

#[tokio::test]
async fn a_purge_by_url_hits_what_a_route_with_ignored_arguments_stored() {
    let origin = counting();
    let weir = cached("{ key: { ignore_query: [utm_*] } }", &origin).await;
    assert_eq!(number(&weir, "/page?utm_source=mail&id=1").await, "1");
    assert_eq!(number(&weir, "/page?id=1&utm_medium=x").await, "1");
    for spelled in ["id=1", "utm_source=other&id=1"] {
        let url = format!("http://shop.test/page?{spelled}");
        let found = lookup(&weir, &url.replace('&', "%26")).await;
        assert_eq!(
            (found.len(), &found[0]["status"]),
            (1, &json!(200)),
            "{url}"
        );
        assert_eq!(purged(&weir, json!({ "url": url })).await, 1, "{url}");
        assert_eq!(purged(&weir, json!({ "url": url })).await, 0, "{url}");
        number(&weir, "/page?id=1").await;
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale_and_a_304_makes_fresh_again() {
    let origin = Origin::start(|request| {
        let reply = match request.headers.get("if-none-match") {
            Some("\"one\"") => Reply::status(304),
            _ => Reply::ok("one"),
        };
        let reply = reply.header("ETag", "\"one\"");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    assert_eq!(number(&weir, "/").await, "one");
    let url = json!({"url": "http://shop.test/", "soft": true});
    assert_eq!(purged(&weir, url).await, 1);
    assert_eq!(lookup(&weir, "http://shop.test/").await[0]["fresh"], false);
    assert_eq!(number(&weir, "/").await, "one");
    assert_eq!(origin.last().headers.get("if-none-match"), Some("\"one\""));
    assert_eq!(lookup(&weir, "http://shop.test/").await[0]["fresh"], true);
    assert_eq!(number(&weir, "/").await, "one");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn stats_count_every_request_once() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    assert_eq!(stats(&weir).await["hit_ratio"], json!(null));
    for _ in 0..4 {
        number(&weir, "/").await;
    }
    weir.client().post("/", "x").await;
    eventually("all are counted", async || {
        let stats = stats(&weir).await;
        let requests = &stats["requests"];
        requests["hit"] == 3 && requests["miss"] == 1 && requests["bypass"] == 1
    })
    .await;
    let stats = stats(&weir).await;
    assert_eq!(
        (&stats["objects"], &stats["hit_ratio"]),
        (&json!(1), &json!(0.75))
    );
}

// --- the method

#[tokio::test]
async fn purge_is_for_those_whom_the_route_names() {
    let origin = counting();
    let route = "{ purge: { allow: 127.0.0.2 } }";
    let weir = cached(route, &origin).await;
    assert_eq!(number(&weir, "/page").await, "1");
    let purge = |from: &str| {
        let client = weir.client().host("shop.test").from(from);
        client.request("PURGE", "/x/../page").send()
    };
    let refused = purge("127.0.0.1").await;
    assert_eq!(refused.status, 403);
    assert_eq!(number(&weir, "/page").await, "1");
    for count in [1, 0] {
        let response = purge("127.0.0.2").await;
        assert_eq!(response.status, 200);
        assert_eq!(json_of(&response), json!({"purged": count}));
    }
    assert_eq!(number(&weir, "/page").await, "2");
    assert_eq!(origin.hits(), 2, "PURGE is not forwarded");
}

#[tokio::test]
async fn without_a_word_of_the_route_purge_is_no_method() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    assert_eq!(number(&weir, "/page").await, "1");
    let client = weir.client().host("shop.test");
    let response = client.request("PURGE", "/page").send().await;
    assert_eq!(response.status, 405);
    assert_eq!(number(&weir, "/page").await, "1");
    assert_eq!(origin.hits(), 1);
    let hit = client.get("/page").await;
    assert!(status(&hit).contains("hit"), "{}", status(&hit));
}

// --- the command

#[tokio::test]
async fn weir_purge_says_how_much_it_did() {
    let weir = weir(NOTHING).start().await;
    for (arguments, said) in [
        (&["--all"][..], "0 objects purged\n"),
        (
            &["--url", "http://a.test/", "--soft"],
            "0 objects marked stale\n",
        ),
        (&["--prefix", "http://a.test/img/"], "0 objects purged\n"),
        (&["--host", "a.test"], "0 objects purged\n"),
        (&["--tag", "a \"b\""], "0 objects purged\n"),
    ] {
        let end = weir.command(&[&["purge"], arguments].concat()).await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(0), said), "{end:?}");
    }
    let end = weir.command(&["purge", "--url", "a.test"]).await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(1), ""), "{end:?}");
    assert!(end.stderr.contains("\"a.test\" is no URL"), "{end:?}");

    weir.signal(Signal::SIGTERM);
    weir.exit_status().await;
    let end = weir.command(&["purge", "--all"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("cannot ask"), "{end:?}");
}

#[tokio::test]
async fn weir_purge_wants_one_thing_to_purge() {
    for arguments in [
        &["purge"][..],
        &["purge", "--all", "--tag", "x"],
        &["purge", "--soft"],
    ] {
        let end = Program::run(arguments).await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(2), ""), "{end:?}");
    }
}
