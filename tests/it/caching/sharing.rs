//! Requests for the same thing at the same time: one asks, and what comes is for all.

use tokio::task::JoinSet;

use super::*;

/// Sends so many requests at once, and waits until weir serves them all.
async fn crowd(weir: &Weir, target: &'static str, count: usize) -> JoinSet<Response> {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        crowd.spawn(weir.client().get(target));
    }
    weir.metric_becomes("weir_requests_in_flight", count as f64)
        .await;
    crowd
}

fn held(reply: impl Fn() -> Reply + Send + Sync + 'static, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| reply().after(&gate))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_misses_make_one_request() {
    let gate = Gate::new();
    let origin = held(
        || Reply::ok("x").header("Cache-Control", "max-age=60"),
        &gate,
    );
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let crowd = crowd(&weir, "/", 1000).await;
    gate.open();
    let responses = crowd.join_all().await;
    assert!(responses.iter().all(|response| response.text() == "x"));
    assert_eq!(origin.hits(), 1);
    let of = |word: &str| {
        responses
            .iter()
            .filter(|r| status(r).contains(word))
            .count()
    };
    // One that was late found what the others had waited for.
    let shared = of("collapsed") + of("weir; hit");
    assert_eq!((of("fwd=uri-miss; stored"), shared), (1, 999));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nobody_elses_frees_all_who_wait_at_once_and_is_remembered() {
    let gate = Gate::new();
    let origin = held(|| Reply::ok("x").header("Cache-Control", "private"), &gate);
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let first = crowd(&weir, "/", 50).await;
    eventually("one asks", async || gate.waiting() == 1).await;
    gate.admit(1);
    eventually("all others ask at once", async || gate.waiting() == 49).await;
    gate.admit(49);
    assert!(
        first
            .join_all()
            .await
            .iter()
            .all(|response| response.status == 200)
    );

    let second = crowd(&weir, "/", 50).await;
    eventually("nobody waits for another", async || gate.waiting() == 50).await;
    gate.open();
    assert!(
        second
            .join_all()
            .await
            .iter()
            .all(|response| response.status == 200)
    );
    assert_eq!(origin.hits(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_goes_hands_over() {
    let gate = Gate::new();
    let origin = held(
        || Reply::ok("x").header("Cache-Control", "max-age=60"),
        &gate,
    );
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let mut leader = weir.client().connect().await;
    let request = leader.request("GET", "/");
    leader.write(request.bytes()).await;
    eventually("it leads", async || origin.in_flight() == 1).await;
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        waiting.spawn(weir.client().get("/"));
    }
    weir.metric_becomes("weir_requests_in_flight", 11.0).await;
    leader.reset();
    eventually("another one asks", async || origin.hits() == 2).await;
    gate.open();
    assert!(
        waiting
            .join_all()
            .await
            .iter()
            .all(|response| response.text() == "x")
    );
    assert_eq!(origin.hits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_the_lock_timeout() {
    let gate = Gate::new();
    let origin = held(
        || Reply::ok("x").header("Cache-Control", "max-age=60"),
        &gate,
    );
    let weir = cached("{ lock_timeout: 200ms }", &origin).await;
    let crowd = crowd(&weir, "/", 5).await;
    eventually("each asks for itself", async || gate.waiting() == 5).await;
    gate.open();
    assert!(
        crowd
            .join_all()
            .await
            .iter()
            .all(|response| response.status == 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_read_the_body_while_it_comes() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::ok("")
            .chunked(["one ", "two ", "three"])
            .each_after(&held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = weir.client().connect().await;
        let request = client.request("GET", "/");
        client.write(request.bytes()).await;
        clients.push(client);
    }
    gate.admit(1);
    for client in &mut clients {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("one ") {
            seen.extend(client.read_some().await);
        }
        assert!(!String::from_utf8_lossy(&seen).contains("two"));
    }
    gate.open();
    assert_eq!(weir.client().get("/").await.text(), "one two three");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaders_client_that_leaves_does_not_end_what_others_read() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::ok(vec![b'x'; 200_000]).stall_at(1000, &held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let mut leader = weir.client().connect().await;
    let request = leader.request("GET", "/");
    leader.write(request.bytes()).await;
    assert!(!leader.read_some().await.is_empty());
    let reader = tokio::spawn(weir.client().get("/"));
    weir.metric_becomes("weir_requests_in_flight", 2.0).await;
    leader.reset();
    gate.open();
    let response = reader.await.unwrap();
    assert!(response.complete && response.body.len() == 200_000);
    assert_eq!(weir.client().get("/").await.body.len(), 200_000);
    assert_eq!(origin.hits(), 1);
    let log = weir.logged(3).await;
    let ended = |word: &str| {
        log.iter()
            .filter(|line| line["termination"] == word)
            .count()
    };
    assert_eq!((ended("ok"), ended("client_closed")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaders_client_that_does_not_read_holds_up_nobody() {
    let body = 4 << 20;
    let origin =
        Origin::start(move |_| Reply::ok(vec![b'x'; body]).header("Cache-Control", "max-age=60"));
    let weir = cached("on", &origin).await;
    let mut leader = weir.client().connect().await;
    let request = leader.request("GET", "/");
    leader.write(request.bytes()).await;
    eventually("it leads", async || origin.hits() == 1).await;
    let response = weir.client().get("/").await;
    assert!(response.complete && response.body.len() == body);
    assert_eq!(origin.hits(), 1);
    let late = leader.response().await.unwrap();
    assert!(late.complete && late.body.len() == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_an_error_for_all_and_is_not_kept() {
    for chunked in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = answering(move |number| {
            let reply = match (number, chunked) {
                (1, false) => Reply::ok("half").short_by(4).stall_at(2, &held),
                (1, true) => Reply::ok("")
                    .chunked(["ha", "lf"])
                    .each_after(&held)
                    .short_by(1),
                _ => Reply::ok("whole"),
            };
            reply.header("Cache-Control", "max-age=60")
        });
        let weir = cached("on", &origin).await;
        let crowd = crowd(&weir, "/", 3).await;
        gate.open();
        for response in crowd.join_all().await {
            assert!(
                !response.complete || response.text() == "whole",
                "{response:?}"
            );
        }
        let whole = weir.client().get("/").await;
        assert!(whole.complete && whole.text() == "whole");
        let is_told = |line: &serde_json::Value| line["termination"] == "upstream_closed";
        eventually("the log tells", async || {
            weir.access_log().iter().any(is_told)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_outgrows_the_cache_goes_at_its_clients_pace() {
    let body = 8 << 20;
    let origin = Origin::start(move |_| {
        let parts = (0..body / 65_536).map(|_| vec![b'x'; 65_536]);
        Reply::ok("")
            .chunked(parts)
            .header("Cache-Control", "max-age=60")
    });
    let weir = with_cache("on", "memory: 2MiB, max_object: 1MiB", &origin).await;
    let mut slow = weir.client().connect().await;
    let request = slow.request("GET", "/");
    slow.write(request.bytes()).await;
    eventually("it begins", async || origin.hits() == 1).await;
    let response = slow.response().await.unwrap();
    assert!(
        response.complete && response.body.len() == body,
        "{}",
        response.body.len()
    );
    weir.metric_becomes("weir_cache_objects", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_get_a_variant_that_turns_out_to_be_theirs_too() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::status(304).after(&held),
            None => Reply::ok("x"),
        };
        let reply = reply.header("ETag", "\"a\"").header("Vary", "X-Kind");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let get = |kind| weir.client().request("GET", "/").header("X-Kind", kind);
    assert_eq!(get("one").send().await.text(), "x");
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        crowd.spawn(get("two").send());
    }
    eventually("one asks", async || gate.waiting() == 1).await;
    weir.metric_becomes("weir_requests_in_flight", 20.0).await;
    gate.open();
    let responses = crowd.join_all().await;
    assert!(responses.iter().all(|response| response.text() == "x"));
    assert_eq!(origin.hits(), 2);
}

/// How many attempts so many requests have made together.
async fn attempts(weir: &Weir, requests: usize) -> usize {
    let lines = weir.logged(requests).await;
    let count = |line: &Value| line["attempts"].as_array().unwrap().len();
    lines.iter().map(count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_endpoint_answers_those_who_wait_are_told_together() {
    let hole = BlackHole::new().await;
    let pool = "{ endpoints: [$hole], connect_timeout: 2s, outlier: off }";
    // With a backup, the next leader might have done better.
    for (pool, made) in [
        (pool.to_owned(), 1),
        (
            pool.replace("$hole", "$hole, { address: $b, backup: true }"),
            2,
        ),
    ] {
        let origin = counting();
        let weir = weir(&format!(
            "
            pools: {{ web: {pool} }}
            routes: [{{ pool: web, retry: {{ attempts: 0 }}, cache: {{ lock_timeout: 1m }} }}]
        "
        ))
        .with("hole", &hole)
        .with("b", &origin)
        .start()
        .await;
        let responses = crowd(&weir, "/", 20).await.join_all().await;
        assert!(responses.iter().all(|response| response.status == 504));
        let told = "weir; fwd=uri-miss; collapsed; detail=connect_timeout";
        let collapsed = responses.iter().filter(|response| status(response) == told);
        assert_eq!(collapsed.count(), 20 - made);
        assert_eq!(attempts(&weir, 20).await, made);
        // Who comes later tries again.
        assert_eq!(weir.client().get("/").await.status, 504);
        assert_eq!(attempts(&weir, 21).await, made + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_breaks_off_for_one_may_answer_the_next() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = answering(move |number| match number {
        1 => Reply::nothing().after(&held),
        _ => Reply::ok("x").header("Cache-Control", "max-age=60"),
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$a], outlier: off } }
        routes: [{ pool: web, retry: { attempts: 0 }, cache: { lock_timeout: 1m } }]
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let crowd = crowd(&weir, "/", 5).await;
    gate.open();
    let responses = crowd.join_all().await;
    let failed = responses.iter().filter(|response| response.status == 502);
    assert_eq!((failed.count(), origin.hits()), (1, 2));
}
