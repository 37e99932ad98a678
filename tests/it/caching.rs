//! The cache: what is kept, for whom, and what a request finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::*;

mod compression;
mod connections;
mod detached;
mod faults;
mod hostile;
mod invalidation;
mod sharing;
mod slow_readers;
mod stale;
mod validation;

/// A weir whose one route uses the cache so, in front of an origin.
pub(crate) async fn cached(cache: &str, origin: &Origin) -> Weir {
    with_cache(cache, "memory: 16MiB", origin).await
}

async fn with_cache(route: &str, memory: &str, origin: &Origin) -> Weir {
    weir(&yaml(route, memory)).with("a", origin).start().await
}

fn yaml(route: &str, memory: &str) -> String {
    format!(
        "
        pools: {{ web: {{ endpoints: [$a], outlier: off }} }}
        routes: [{{ pool: web, name: site, cache: {route} }}]
        cache: {{ {memory} }}
    "
    )
}

/// An origin that answers each request with its number, fresh for a minute.
pub(crate) fn counting() -> Origin {
    answering(|number| Reply::ok(number.to_string()).header("Cache-Control", "max-age=60"))
}

/// An origin that answers by the number of the request, from 1.
pub(crate) fn answering(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |_| reply(1 + count.fetch_add(1, Ordering::SeqCst)))
}

/// `Cache-Status` of a response.
pub(crate) fn status(response: &Response) -> &str {
    response.header("cache-status").unwrap_or("none")
}

/// Waits until so many requests had this verdict. A response is counted when it is over, which its client
/// may see before.
async fn verdicts(weir: &Weir, verdict: &str, count: usize) {
    let selector = format!(r#"weir_cache_requests_total{{route="site",verdict="{verdict}"}}"#);
    weir.metric_becomes(&selector, count as f64).await;
}

/// The verdicts of so many requests in the log, sorted.
async fn logged(weir: &Weir, count: usize) -> Vec<String> {
    let lines = weir.logged(count).await.into_iter();
    let mut words: Vec<String> = lines
        .map(|line| line["cache"].as_str().unwrap().to_owned())
        .collect();
    words.sort_unstable();
    words
}

// --- the memory

#[tokio::test]
async fn a_reload_changes_the_size_of_the_cache_but_not_its_eviction() {
    let origin = counting();
    let weir = with_cache("on", "memory: 2MiB, max_object: 1MiB", &origin).await;
    let limit = "weir_cache_memory_bytes";
    weir.metric_becomes(limit, f64::from(2 << 20)).await;
    assert_eq!(weir.client().get("/").await.text(), "1");
    weir.metric_becomes("weir_cache_objects", 1.0).await;

    assert!(weir.reload_with(&yaml("on", "memory: 1MiB")).await);
    weir.metric_becomes(limit, f64::from(1 << 20)).await;
    assert!(!weir.reload_with(&yaml("on", "eviction: s3fifo")).await);
    assert!(weir.stderr().contains("cache.eviction changed"));
    assert_eq!(
        weir.client().get("/").await.text(),
        "1",
        "kept over reloads"
    );
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn memory_is_never_exceeded_and_the_oldest_leave() {
    let origin =
        Origin::start(|_| Reply::ok(vec![b'x'; 100_000]).header("Cache-Control", "max-age=60"));
    let weir = with_cache("on", "memory: 1MiB", &origin).await;
    for number in 0..30 {
        assert_eq!(
            weir.client().get(&format!("/{number}")).await.body.len(),
            100_000
        );
    }
    let bytes = "weir_cache_bytes";
    eventually("it is counted", async || {
        weir.metric(bytes).await > 500_000.0
    })
    .await;
    assert!(weir.metric(bytes).await <= f64::from(1 << 20));
    assert!(status(&weir.client().get("/29").await).contains("hit"));
    assert!(status(&weir.client().get("/0").await).contains("fwd=uri-miss"));
}

#[tokio::test]
async fn what_is_larger_than_max_object_reaches_its_client_and_is_not_kept() {
    let body = |bytes: usize| vec![b'x'; bytes];
    let origin = Origin::start(move |request| {
        let reply = match request.target.as_str() {
            "/sized" => Reply::ok(body(300_000)),
            "/chunked" => Reply::ok("").chunked((0..300).map(|_| body(1000))),
            _ => Reply::ok(body(200_000)),
        };
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = with_cache("on", "memory: 16MiB, max_object: 256KiB", &origin).await;
    for target in ["/sized", "/chunked"] {
        for _ in 0..2 {
            let response = weir.client().get(target).await;
            assert_eq!((response.status, response.body.len()), (200, 300_000));
            assert!(response.complete && !status(&response).contains("hit"));
        }
    }
    assert_eq!(origin.hits(), 4);
    assert!(status(&weir.client().get("/sized").await).ends_with("detail=too_large"));
    weir.client().get("/small").await;
    assert!(status(&weir.client().get("/small").await).contains("hit"));
}

// --- what is served

#[tokio::test]
async fn a_fresh_response_is_served_without_asking() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    let first = weir.client().get("/a?b").await;
    assert_eq!(first.text(), "1");
    assert!(
        status(&first).starts_with("weir; fwd=uri-miss; stored; ttl="),
        "{}",
        status(&first)
    );
    assert_eq!(first.header("age"), None);
    let second = weir.client().get("/a?b").await;
    assert_eq!((second.status, second.text()), (200, "1".to_owned()));
    assert!(status(&second).starts_with("weir; hit; ttl="));
    assert!(second.header("age").unwrap().parse::<u32>().unwrap() < 30);
    assert!(second.header("date").is_some() && second.header("x-cache").is_none());
    assert_eq!(origin.hits(), 1);

    assert_eq!(logged(&weir, 2).await, ["hit", "miss"]);
    let attempts = |line: &Value| line["attempts"].as_array().unwrap().len();
    assert_eq!(weir.access_log().iter().map(attempts).sum::<usize>(), 1);
    verdicts(&weir, "hit", 1).await;
    verdicts(&weir, "miss", 1).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_route_without_cache_keeps_nothing() {
    let origin = counting();
    for route in ["off", "on"] {
        let weir = cached(route, &origin).await;
        let before = origin.hits();
        let responses = [weir.client().get("/").await, weir.client().get("/").await];
        let has_status = responses[1].header("cache-status").is_some();
        assert_eq!(has_status, route == "on");
        assert_eq!(origin.hits() - before, if route == "on" { 1 } else { 2 });
        let words = if route == "on" {
            ["hit", "miss"]
        } else {
            ["-", "-"]
        };
        assert_eq!(logged(&weir, 2).await, words);
    }
}

#[tokio::test]
async fn head_is_served_from_what_get_has_brought_and_brings_it() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    let head = weir.client().request("HEAD", "/").send().await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1"))
    );
    assert!(head.body.is_empty());
    assert_eq!(origin.last().method, "GET");
    assert_eq!(weir.client().get("/").await.text(), "1");
    let head = weir.client().request("HEAD", "/").send().await;
    assert!(status(&head).contains("hit") && head.body.is_empty());
    assert_eq!(origin.hits(), 1);

    // Over one connection, so that a byte too many would show.
    let mut connection = weir.client().connect().await;
    let request = connection.request("HEAD", "/other");
    assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
    assert_eq!(connection.get("/other").await.text(), "2");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_is_stored() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::ok("").chunked(["one", "two"]).each_after(&held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let request = weir.client().request("GET", "/").version("HTTP/1.0");
    let leader = tokio::spawn(request.clone().send());
    eventually("the origin has it", async || origin.hits() == 1).await;
    gate.open();
    let response = leader.await.unwrap();
    assert_eq!(response.text(), "onetwo");
    assert_eq!(response.header("transfer-encoding"), None);
    let response = request.send().await;
    assert_eq!(
        (response.text().as_str(), response.header("content-length")),
        ("onetwo", Some("6"))
    );
}

#[tokio::test]
async fn what_a_route_changes_is_changed_on_hits_too_and_refused_clients_stay_refused() {
    let origin = counting();
    let weir = weir(
        "
        pools: { web: { endpoints: [$a] } }
        routes:
          - { pool: web, cache: { x_cache: true, status_key: true }, allow: 127.0.0.1, response_headers: { set: { X-Own: mine } } }
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let client = weir.client().host("Shop.example:80");
    let miss = client.get("/x/../a?b=1").await;
    assert_eq!(
        (miss.header("x-own"), miss.header("x-cache")),
        (Some("mine"), Some("MISS"))
    );
    let hit = client.get("/a?b=1").await;
    assert_eq!(
        (hit.header("x-own"), hit.header("x-cache")),
        (Some("mine"), Some("HIT"))
    );
    assert!(
        status(&hit).ends_with(r#"; key="http://shop.example/a?b=1""#),
        "{}",
        status(&hit)
    );
    assert_eq!(
        weir.client().from("127.0.0.2").get("/a?b=1").await.status,
        403
    );
}

#[tokio::test]
async fn what_caches_before_this_one_say_stays() {
    let origin = Origin::start(|_| {
        let reply = Reply::ok("x").header("Cache-Status", "inner; hit; ttl=9");
        reply
            .header("Cache-Control", "max-age=60")
            .header("Age", 10)
    });
    let weir = cached("on", &origin).await;
    let miss = weir.client().get("/").await;
    assert!(miss.header("age").unwrap().parse::<u32>().unwrap() >= 10);
    let hit = weir.client().get("/").await;
    let statuses: Vec<&str> = hit.headers.all("cache-status");
    assert_eq!(statuses[0], "inner; hit; ttl=9");
    assert!(statuses[1].starts_with("weir; hit"));
    assert!(hit.header("age").unwrap().parse::<u32>().unwrap() >= 10);
}

// --- what tells responses apart

#[tokio::test]
async fn nothing_crosses_hosts_and_one_url_has_one_entry_however_it_is_spelled() {
    let origin = Origin::start(|request| {
        let host = request.header("host").unwrap().to_owned();
        Reply::ok(host).header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    for host in [
        "a.test",
        "b.test",
        "a.test:81",
        "a.test.",
        "A.TEST",
        "a.test:80",
    ] {
        let client = weir.client().host(host);
        let first = client.get("/x").await.text();
        assert_eq!(client.get("/y/../x").await.text(), first);
        assert_eq!(client.get("http://ignored/x").await.status, 400);
    }
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn query_arguments_count_as_the_route_says() {
    let origin = counting();
    let weir = cached("{ key: { ignore_query: [utm_*, ref] } }", &origin).await;
    for same in ["/?a=1", "/?a=1&utm_source=x", "/?ref=7&a=1&utm_x"] {
        assert_eq!(weir.client().get(same).await.text(), "1");
    }
    assert_eq!(weir.client().get("/?a=2").await.text(), "2");

    let origin = counting();
    let weir = cached("{ key: { only_query: id } }", &origin).await;
    for same in ["/?id=1", "/?id=1&x=2", "/?x=3&id=1"] {
        assert_eq!(weir.client().get(same).await.text(), "1");
    }
    assert_eq!(weir.client().get("/?id=2").await.text(), "2");
}

#[tokio::test]
async fn headers_and_cookies_of_the_key_tell_users_apart() {
    let origin = counting();
    let weir = cached("{ key: { headers: X-Country, cookies: [plan] } }", &origin).await;
    let get = async |country: &str, cookie: &str| {
        let request = weir
            .client()
            .request("GET", "/")
            .header("X-Country", country);
        request.header("Cookie", cookie).send().await.text()
    };
    assert_eq!(get("no", "plan=free; id=1").await, "1");
    assert_eq!(get("no", "id=2; plan=free").await, "1");
    assert_eq!(get("se", "plan=free").await, "2");
    assert_eq!(get("no", "plan=paid").await, "3");
    assert_eq!(get("no", "id=1").await, "4");
    assert_eq!(get("se", "plan=free; x").await, "2");
}

#[tokio::test]
async fn variants_are_told_apart_by_what_vary_names_as_it_counts() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |request| {
        let number = 1 + count.fetch_add(1, Ordering::SeqCst);
        let coding = request
            .header("accept-encoding")
            .unwrap_or("none")
            .to_owned();
        let reply = Reply::ok(format!("{number} {coding}"));
        let reply = reply.header("Vary", "Accept-Encoding, Accept-Language");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let get = async |coding: &str, language: &str| {
        let request = weir
            .client()
            .request("GET", "/")
            .header("Accept-Encoding", coding);
        request.header("Accept-Language", language).send().await
    };
    assert_eq!(get("gzip, deflate, br", "de").await.text(), "1 br, gzip");
    assert_eq!(get("br;q=0.5,gzip", "DE").await.text(), "1 br, gzip");
    let other = get("br, gzip", "fr").await;
    assert!(
        status(&other).contains("fwd=vary-miss"),
        "{}",
        status(&other)
    );
    assert_eq!(get("gzip", "de").await.text(), "3 gzip");
    assert_eq!(get("br,gzip", "de").await.text(), "1 br, gzip");
    assert_eq!(weir.client().get("/").await.text(), "4 none");
    assert_eq!(origin.hits(), 4);

    // Sixteen are kept, the oldest of more gives way.
    for number in 0..20 {
        get("br", &format!("x-{number}")).await;
    }
    let newest = get("br", "x-19").await;
    assert!(status(&newest).contains("hit"), "{}", status(&newest));
    assert!(!status(&get("br, gzip", "de").await).contains("hit"));
    eventually("they are counted", async || {
        weir.metric("weir_cache_objects").await >= 15.0
    })
    .await;
    assert!(weir.metric("weir_cache_objects").await <= 17.0);
}

#[tokio::test]
async fn a_field_that_a_client_hides_from_the_origin_is_no_key_to_what_came() {
    let origin = Origin::start(|request| {
        let country = request.header("x-country").unwrap_or("none").to_owned();
        let reply = Reply::ok(country).header("Vary", "X-Country");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let get = || weir.client().request("GET", "/").header("X-Country", "no");
    let hidden = get().header("Connection", "X-Country").send().await;
    assert_eq!(hidden.text(), "none");
    assert_eq!(status(&hidden), "weir; fwd=bypass; detail=connection");
    assert_eq!(get().send().await.text(), "no");
    let usual = get()
        .header("Connection", "Keep-Alive, TE")
        .header("TE", "trailers");
    assert!(status(&usual.send().await).contains("hit"));
}

#[tokio::test]
async fn routes_that_requests_take_by_their_headers_share_nothing() {
    let (beta, main) = (
        counting(),
        answering(|_| Reply::ok("main").header("Cache-Control", "max-age=60")),
    );
    let weir = weir(
        "
        pools: { beta: { endpoints: [$beta] }, main: { endpoints: [$main] } }
        routes:
          - { pool: beta, headers: { X-Beta: 'yes' }, cache: on }
          - { pool: main, cache: on }
    ",
    )
    .with("beta", &beta)
    .with("main", &main)
    .start()
    .await;
    for _ in 0..2 {
        let request = weir.client().request("GET", "/").header("X-Beta", "yes");
        assert_eq!(request.send().await.text(), "1");
        assert_eq!(weir.client().get("/").await.text(), "main");
    }
    assert_eq!((beta.hits(), main.hits()), (1, 1));
}

#[tokio::test]
async fn routes_that_part_get_from_head_share_nothing_and_others_do() {
    let (gets, heads) = (
        answering(|_| Reply::ok("gets").header("Cache-Control", "max-age=60")),
        answering(|_| Reply::ok("heads").header("Cache-Control", "max-age=60")),
    );
    for (methods, length, asked) in [("GET", "5", (1, 1)), ("[GET, HEAD]", "4", (1, 0))] {
        let weir = weir(&format!(
            "
            pools: {{ gets: {{ endpoints: [$gets] }}, heads: {{ endpoints: [$heads] }} }}
            routes:
              - {{ pool: gets, methods: {methods}, cache: on }}
              - {{ pool: heads, cache: on }}
        "
        ))
        .with("gets", &gets)
        .with("heads", &heads)
        .start()
        .await;
        let before = (gets.hits(), heads.hits());
        for _ in 0..2 {
            let head = weir.client().request("HEAD", "/").send().await;
            assert_eq!(head.header("content-length"), Some(length), "{methods}");
            assert_eq!(weir.client().get("/").await.text(), "gets", "{methods}");
        }
        assert_eq!((gets.hits() - before.0, heads.hits() - before.1), asked);
    }
}

// --- what is kept

#[tokio::test]
async fn what_belongs_to_one_user_is_served_to_nobody_else() {
    let origin = Origin::start(|request| {
        let user = request
            .header("authorization")
            .unwrap_or("nobody")
            .to_owned();
        let reply = Reply::ok(user);
        match request.target.as_str() {
            "/cookie" => reply
                .header("Set-Cookie", "id=1")
                .header("Cache-Control", "max-age=60"),
            "/private" => reply.header("Cache-Control", "private, max-age=60"),
            "/no-store" => reply.header("Cache-Control", "no-store, max-age=60"),
            "/address" => reply
                .header("Vary", "X-Forwarded-For")
                .header("Cache-Control", "max-age=60"),
            "/star" => reply
                .header("Vary", "*")
                .header("Cache-Control", "max-age=60"),
            "/public" => reply.header("Cache-Control", "public, max-age=60"),
            "/silent" => reply,
            _ => reply.header("Cache-Control", "max-age=60"),
        }
    });
    let weir = cached("on", &origin).await;
    let get = async |target: &str, user: &str| {
        let request = weir.client().request("GET", target);
        request.header("Authorization", user).send().await
    };
    for (target, why) in [
        ("/cookie", "set_cookie"),
        ("/private", "private"),
        ("/no-store", "no_store"),
        ("/star", "vary_star"),
        ("/address", "vary_star"),
        ("/silent", "no_use"),
    ] {
        let before = origin.hits();
        weir.client().get(target).await;
        let second = weir.client().get(target).await;
        assert!(
            status(&second).ends_with(&format!("detail={why}")),
            "{}",
            status(&second)
        );
        assert_eq!(origin.hits() - before, 2, "{target}");
        let selector = format!(r#"weir_cache_refused_total{{reason="{why}"}}"#);
        assert!(weir.metric(&selector).await >= 2.0);
    }
    assert_eq!(get("/theirs", "ann").await.text(), "ann");
    assert_eq!(get("/theirs", "bob").await.text(), "bob");
    assert_eq!(get("/public", "ann").await.text(), "ann");
    assert_eq!(
        get("/public", "bob").await.text(),
        "ann",
        "it said that it is for all"
    );
}

#[tokio::test]
async fn a_route_may_keep_responses_with_cookies() {
    let origin = answering(|number| {
        let reply = Reply::ok(number.to_string()).header("Set-Cookie", "a=b");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("{ set_cookie: true }", &origin).await;
    weir.client().get("/").await;
    let hit = weir.client().get("/").await;
    assert_eq!(
        (hit.text().as_str(), hit.header("set-cookie")),
        ("1", Some("a=b"))
    );
}

#[tokio::test]
async fn a_default_ttl_is_for_responses_that_say_nothing() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/says" => Reply::ok("x").header("Cache-Control", "max-age=0"),
        _ => Reply::ok("x"),
    });
    let weir = cached("{ default_ttl: 60s }", &origin).await;
    for target in ["/", "/", "/says", "/says"] {
        weir.client().get(target).await;
    }
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn targeted_fields_speak_in_place_of_cache_control() {
    let origin = Origin::start(|_| {
        let reply = Reply::ok("x").header("Cache-Control", "no-store");
        reply
            .header("CDN-Cache-Control", "max-age=60")
            .header("X-Cache-Control", "max-age=0")
    });
    for (route, hits) in [
        ("on", 1),
        ("{ targeted: [] }", 2),
        ("{ targeted: X-Cache-Control }", 2),
    ] {
        let weir = cached(route, &origin).await;
        let before = origin.hits();
        weir.client().get("/").await;
        let second = weir.client().get("/").await;
        assert_eq!(second.header("cdn-cache-control"), Some("max-age=60"));
        assert_eq!(origin.hits() - before, hits, "{route}");
    }
}

// --- what clients ask of it

#[tokio::test]
async fn directives_of_requests_count_where_the_route_honours_them() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    let get = async |weir: &Weir, target: &str, directive: &str| {
        let request = weir.client().request("GET", target);
        request.header("Cache-Control", directive).send().await
    };
    let absent = get(&weir, "/", "only-if-cached").await;
    assert_eq!(absent.status, 504);
    assert!(absent.text().contains("nothing is stored"));
    assert_eq!(
        weir.metric(r#"weir_rejections_total{reason="not_cached"}"#)
            .await,
        1.0
    );
    assert_eq!(origin.hits(), 0);
    assert_eq!(get(&weir, "/", "no-store").await.text(), "1");
    assert_eq!(get(&weir, "/", "max-age=9").await.text(), "2");
    assert_eq!(get(&weir, "/", "only-if-cached").await.text(), "2");
    let anew = get(&weir, "/", "no-cache").await;
    assert_eq!(anew.text(), "3");
    assert!(
        status(&anew).contains("fwd=request; stored"),
        "{}",
        status(&anew)
    );
    assert_eq!(get(&weir, "/", "min-fresh=100").await.text(), "4");
    assert_eq!(get(&weir, "/", "max-age=5").await.text(), "4");

    let deaf = cached("{ honour: only-if-cached }", &origin).await;
    assert_eq!(get(&deaf, "/", "only-if-cached").await.status, 504);
    assert_eq!(
        get(&deaf, "/", "no-cache, no-store, min-fresh=100")
            .await
            .text(),
        "5"
    );
    assert_eq!(get(&deaf, "/", "no-cache").await.text(), "5");
}

#[tokio::test]
async fn what_the_cache_has_no_part_in_goes_past_it() {
    let origin = counting();
    let weir = cached("on", &origin).await;
    let client = weir.client();
    let post = client.post("/", "x").await;
    assert_eq!(status(&post), "weir; fwd=method; detail=method");
    let body = client.request("GET", "/").body("x").send().await;
    assert_eq!(status(&body), "weir; fwd=bypass; detail=body");
    let condition = client
        .request("GET", "/")
        .header("If-Match", "\"a\"")
        .send()
        .await;
    assert_eq!(status(&condition), "weir; fwd=bypass; detail=precondition");
    assert_eq!(origin.last().header("if-match"), Some("\"a\""));
    verdicts(&weir, "bypass", 3).await;
    assert_eq!(client.get("/").await.text(), "4");
}

#[tokio::test]
async fn a_write_makes_void_what_it_names_unless_it_failed() {
    let origin = Origin::start(|request| {
        let reply = match (request.method.as_str(), request.header("x-answer")) {
            ("POST" | "FOO", Some(status)) => Reply::status(status.parse().unwrap()),
            _ => Reply::ok("x").header("Cache-Control", "max-age=60"),
        };
        reply
            .header("Location", "/b")
            .header("Content-Location", "http://other.test/c")
    });
    let weir = cached("on", &origin).await;
    let client = weir.client().host("a.test");
    let is_kept = async |target: &str| {
        let before = origin.hits();
        client.get(target).await;
        origin.hits() == before
    };
    for target in ["/a", "/b", "/c", "/d"] {
        assert!(!is_kept(target).await && is_kept(target).await);
    }
    let write = async |method: &str, status: &str| {
        let request = client.request(method, "/a").header("X-Answer", status);
        request.body("x").send().await;
    };
    write("POST", "500").await;
    assert!(is_kept("/a").await && is_kept("/b").await);
    write("POST", "201").await;
    assert!(!is_kept("/a").await && !is_kept("/b").await);
    assert!(
        is_kept("/c").await && is_kept("/d").await,
        "another origin, another path"
    );
    write("FOO", "303").await;
    assert!(!is_kept("/a").await);
}

#[tokio::test]
async fn a_hit_has_the_head_that_was_stored() {
    const DATE: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    let origin = Origin::start(|_| {
        Reply::ok("a")
            .header("Date", DATE)
            .header("X-CuStOm", "1")
            .header("X-Remove", "1")
            .header("Cache-Status", "far; hit")
            .header("Set-Out", "stored")
            .header("Cache-Control", "max-age=2000000000")
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - pool: web
            cache: { x_cache: true }
            response_headers: { remove: [X-Remove], set: { Set-Out: sent, Date: never }, add: { X-Add: b } }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let miss = weir.client().get("/").await;
    let hit = weir.client().get("/").await;
    let part = weir
        .client()
        .request("GET", "/")
        .header("Range", "bytes=0-0");
    for response in [&miss, &hit, &part.send().await] {
        assert_eq!(response.text(), "a");
        assert_eq!(response.headers.all("date"), [DATE]);
        assert_eq!(response.headers.all("set-out"), ["sent"]);
        assert_eq!(response.headers.all("x-add"), ["b"]);
        assert_eq!(response.header("x-remove"), None);
        assert_eq!(response.headers.all("content-length"), ["1"]);
        assert!(response.headers.names().contains(&"X-CuStOm"));
        assert_eq!(response.headers.all("cache-status").len(), 2);
    }
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_failure_says_what_the_cache_had_to_do_with_it() {
    let dead = free_address();
    let weir = weir(
        "
        pools:
          web: { endpoints: [$dead], outlier: off }
          kind: { endpoints: [$dead], outlier: off, fallback: { status: 503, body: later } }
        routes:
          - { pool: web, path: /cached, cache: { x_cache: true, status_key: true } }
          - { pool: kind, path: /kind, cache: on }
          - { pool: web, path: /plain }
    ",
    )
    .with("dead", dead)
    .start()
    .await;
    let client = weir.client().host("a.test");
    let miss = client.get("/cached").await;
    assert_eq!((miss.status, miss.header("x-cache")), (502, Some("MISS")));
    let key = r#"key="http://a.test/cached""#;
    let told = format!("weir; fwd=uri-miss; {key}; detail=connect_failed");
    assert_eq!(status(&miss), told);
    let post = client.post("/cached", "x").await;
    let told = format!("weir; fwd=method; {key}; detail=connect_failed");
    assert_eq!((post.status, status(&post)), (502, &*told));
    let only = client.request("GET", "/cached");
    let only = only.header("Cache-Control", "only-if-cached").send().await;
    let told = format!("weir; {key}; detail=not_cached");
    assert_eq!((only.status, status(&only)), (504, &*told));
    let fallback = client.get("/kind").await;
    assert_eq!((fallback.status, fallback.text().as_str()), (503, "later"));
    assert_eq!(
        status(&fallback),
        "weir; fwd=uri-miss; detail=connect_failed"
    );
    assert_eq!(status(&client.get("/plain").await), "none");
}
