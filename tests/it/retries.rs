//! Retries: another endpoint is asked where that can do no harm, and only there.

use std::time::Duration;

use crate::support::*;

/// Round robin over both, with more keys for the route, each with a leading comma.
async fn in_front_of(origins: [&Origin; 2], route: &str) -> Weir {
    let yaml = format!(
        "
        pools:
          web: {{ balance: round_robin, endpoints: [$a, $b], read_timeout: 500ms }}
        routes: [{{ pool: web{route} }}]
    "
    );
    let weir = weir(&yaml).with("a", origins[0]).with("b", origins[1]);
    weir.start().await
}

fn resetting() -> Origin {
    Origin::start(|_| Reply::nothing().reset())
}

fn outcomes(line: &serde_json::Value) -> Vec<&str> {
    let attempts = line["attempts"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| attempt["outcome"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_refused_connection_is_made_up_for_whatever_the_method() {
    let origins = Origin::several(2);
    origins[0].stop().await;
    let weir = in_front_of([&origins[0], &origins[1]], "").await;
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        for _ in 0..2 {
            let request = weir.client().request(method, "/").body("given");
            assert_eq!(request.send().await.text(), "b", "{method}");
            assert_eq!(origins[1].last().text(), "given");
        }
    }
    assert_eq!(origins[1].hits(), 8);
    let retried = weir.metric(r#"weir_retries_total{reason="connect_refused"}"#);
    assert_eq!(retried.await, 4.0);
    let lines = weir.logged(8).await;
    let made_up = |line: &&serde_json::Value| outcomes(line) == ["connect_refused", "ok"];
    assert_eq!(lines.iter().filter(made_up).count(), 4);
    assert!(lines.iter().all(|line| line["termination"] == "ok"));
    assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_made_up_for() {
    let (hole, origin) = (BlackHole::new().await, Origin::serving("b"));
    let weir = weir(
        "
        pools:
          web: { balance: round_robin, endpoints: [$hole, $b], connect_timeout: 100ms }
        routes: [{ pool: web }]
    ",
    )
    .with("hole", &hole)
    .with("b", &origin)
    .start()
    .await;
    for _ in 0..4 {
        assert_eq!(weir.client().post("/", "given").await.text(), "b");
    }
    let retried = weir.metric(r#"weir_retries_total{reason="connect_timeout"}"#);
    assert_eq!(retried.await, 2.0);
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_when_its_method_allows_it() {
    for (method, repeatable) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
    ] {
        let (bad, good) = (resetting(), Origin::serving("b"));
        let weir = in_front_of([&bad, &good], "").await;
        let mut failed = 0;
        for _ in 0..6 {
            let response = weir
                .client()
                .request(method, "/")
                .body("given")
                .send()
                .await;
            match response.status {
                502 => failed += 1,
                status => assert_eq!(status, 200, "{method}"),
            }
        }
        assert_eq!(failed, if repeatable { 0 } else { 3 }, "{method}");
        assert_eq!(bad.hits(), 3, "{method}");
        // No copy of what must not be repeated: one for each request, over both.
        assert_eq!(good.hits(), if repeatable { 6 } else { 3 }, "{method}");
        let retried = weir.metric(r#"weir_retries_total{reason="reset"}"#).await;
        assert_eq!(retried, if repeatable { 3.0 } else { 0.0 }, "{method}");
    }
}

#[tokio::test]
async fn a_close_without_an_answer_and_garbage_are_made_up_for() {
    for (reply, outcome) in [
        (Reply::nothing(), "reset"),
        (Reply::raw("garbage\r\n\r\n"), "malformed"),
        (Reply::raw("HTTP/1.1 200 OK\r\nX"), "reset"),
    ] {
        let bad = Origin::start(move |_| reply.clone());
        let good = Origin::serving("b");
        let weir = in_front_of([&bad, &good], "").await;
        for _ in 0..2 {
            assert_eq!(weir.client().get("/").await.text(), "b");
        }
        let lines = weir.logged(2).await;
        let made_up = |line: &&serde_json::Value| outcomes(line) == [outcome, "ok"];
        assert_eq!(lines.iter().filter(made_up).count(), 1, "{lines:?}");
    }
}

#[tokio::test]
async fn a_response_that_has_begun_is_never_repeated() {
    let bad = Origin::start(|_| Reply::ok("some").short_by(6));
    let good = Origin::serving("b");
    let weir = in_front_of([&bad, &good], "").await;
    let mut broken = 0;
    for _ in 0..4 {
        broken += usize::from(!weir.client().get("/").await.complete);
    }
    assert_eq!((broken, bad.hits(), good.hits()), (2, 2, 2));
    assert_eq!(weir.metric("weir_retries_total").await, 0.0);
}

#[tokio::test]
async fn an_error_status_is_an_answer_and_not_repeated() {
    let bad = Origin::start(|_| Reply::status(503).body("busy"));
    let good = Origin::serving("b");
    let weir = in_front_of([&bad, &good], "").await;
    let report = weir.client().get_many("/", 10, 1).await;
    assert_eq!((report.body("busy"), report.body("b")), (5, 5));
    assert_eq!(weir.metric("weir_retries_total").await, 0.0);
}

#[tokio::test]
async fn a_body_is_repeated_only_as_long_as_it_is_at_hand() {
    for (size, repeated) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let (bad, good) = (resetting(), Origin::serving("b"));
        let weir = in_front_of([&bad, &good], "").await;
        let body = vec![b'x'; size];
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let request = weir.client().request("PUT", "/").body(&body);
            statuses.push(request.send().await.status);
        }
        statuses.sort();
        let expected = if repeated { [200, 200] } else { [200, 502] };
        assert_eq!(statuses, expected, "{size}");
        assert!(good.requests().iter().all(|request| request.body == body));
    }
}

#[tokio::test]
async fn with_no_attempts_nothing_is_repeated() {
    let origins = Origin::several(2);
    origins[0].stop().await;
    let weir = in_front_of([&origins[0], &origins[1]], ", retry: { attempts: 0 }").await;
    let report = weir.client().get_many("/", 10, 1).await;
    assert_eq!((report.status(502), report.body("b")), (5, 5));
    assert_eq!(weir.metric("weir_retries_total").await, 0.0);
    let rejected = weir.metric(r#"weir_rejections_total{reason="connect_failed"}"#);
    assert_eq!(rejected.await, 5.0);
}

#[tokio::test]
async fn no_endpoint_is_tried_twice_for_one_request() {
    let origins = [resetting(), resetting(), resetting()];
    let weir = weir(
        "
        pools: { web: { endpoints: [$a, $b, $c] } }
        routes: [{ pool: web, retry: { attempts: 10 } }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .with("c", &origins[2])
    .start()
    .await;
    assert_eq!(weir.client().get("/").await.status, 502);
    assert!(origins.iter().all(|origin| origin.hits() == 1));
    let line = &weir.logged(1).await[0];
    assert_eq!(outcomes(line), ["reset"; 3]);
    assert_eq!(line["termination"], "upstream_closed", "{line}");
    assert_eq!(weir.metric("weir_retries_total").await, 2.0);
    assert_eq!(weir.metric("weir_picks_total").await, 3.0);
}

#[tokio::test]
async fn a_timeout_is_not_tried_again() {
    let never = Gate::new();
    let stuck = Origin::start(move |_| Reply::ok("late").after(&never));
    let good = Origin::serving("b");
    let weir = in_front_of([&stuck, &good], "").await;
    let report = weir.client().get_many("/", 4, 1).await;
    assert_eq!((report.status(504), report.body("b")), (2, 2));
    assert_eq!(weir.metric("weir_retries_total").await, 0.0);
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test]
async fn the_whole_timeout_bounds_all_attempts_together() {
    let (hole, second) = (BlackHole::new().await, BlackHole::new().await);
    let weir = weir(
        "
        pools: { web: { endpoints: [$a, $b], connect_timeout: 10s } }
        routes: [{ pool: web, timeout: 300ms }]
    ",
    )
    .with("a", &hole)
    .with("b", &second)
    .start()
    .await;
    let began = std::time::Instant::now();
    assert_eq!(weir.client().get("/").await.status, 504);
    assert!(began.elapsed() < Duration::from_secs(5));
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "request_timeout", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_backends_are_killed_and_restarted() {
    let origins = Origin::several(3);
    let weir = weir(
        "
        pools:
          web: { balance: round_robin, endpoints: [$a, $b, $c], outlier: { base_time: 100ms } }
        routes: [{ pool: web }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .with("c", &origins[2])
    .start()
    .await;
    let load = Load::start(&weir.client(), "/", 16);
    for round in 0..12 {
        let victim = &origins[round % 3];
        let (before, done) = (victim.hits(), load.done());
        eventually("it serves", async || victim.hits() > before + 20).await;
        victim.stop().await;
        eventually("the others serve", async || load.done() > done + 200).await;
        let down = victim.hits();
        victim.restart();
        eventually("it is no longer ejected", async || victim.hits() > down).await;
    }
    let report = load.stop().await;
    report.expect_lossless();
    assert_eq!(report.retried_on_stale, 0);
    assert!(weir.metric("weir_retries_total").await > 0.0);
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_that_close_idle_connections_unannounced_cost_no_request() {
    let origins = [
        Origin::start(|_| Reply::ok("a").hang_up()),
        Origin::start(|_| Reply::ok("b").hang_up()),
    ];
    let weir = in_front_of([&origins[0], &origins[1]], "").await;
    let report = weir.client().get_many("/", 2000, 8).await;
    report.expect_lossless();
}

fn answering(status: u16) -> Origin {
    Origin::start(move |_| Reply::status(status).body("bad"))
}

#[tokio::test]
async fn a_status_that_a_route_names_is_tried_elsewhere() {
    let (bad, good) = (answering(503), Origin::serving("b"));
    let weir = in_front_of([&bad, &good], r#", retry: { on: [500, "502-504"] }"#).await;
    for _ in 0..4 {
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
    // Whether something may be done twice is not for weir to say.
    let posted = [
        weir.client().post("/", "given").await.status,
        weir.client().post("/", "given").await.status,
    ];
    assert!(posted.contains(&503), "{posted:?}");
    let lines = weir.logged(6).await;
    let tried_again = lines
        .iter()
        .filter(|line| outcomes(line) == ["bad_status", "ok"])
        .count();
    assert!(tried_again > 0);
    let retried = weir
        .metric(r#"weir_retries_total{reason="bad_status"}"#)
        .await;
    assert_eq!(retried, tried_again as f64);
}

#[tokio::test]
async fn a_status_of_the_last_endpoint_reaches_the_client() {
    let origins = [answering(503), answering(503)];
    let weir = in_front_of([&origins[0], &origins[1]], ", retry: { on: [503] }").await;
    let response = weir.client().get("/").await;
    assert_eq!((response.status, response.text()), (503, "bad".to_owned()));
    assert_eq!(origins.iter().map(Origin::hits).sum::<usize>(), 2);
    // One that no route names is an answer like any other.
    let other = answering(500);
    let weir = in_front_of([&other, &origins[1]], ", retry: { on: [503] }").await;
    while other.hits() == 0 {
        weir.client().get("/").await;
    }
    assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
}

/// Three at random, none of which is ejected.
async fn in_front_of_three(origins: [&Origin; 3]) -> Weir {
    weir(
        "
        pools: { web: { balance: random, endpoints: [$a, $b, $c], outlier: off } }
        routes: [{ pool: web, retry: { attempts: 1, on: [503] } }]
    ",
    )
    .with("a", origins[0])
    .with("b", origins[1])
    .with("c", origins[2])
    .start()
    .await
}

fn pausing() -> Origin {
    Origin::start(|_| Reply::status(503).header("Retry-After", 300))
}

#[tokio::test]
async fn who_asks_for_a_pause_gets_no_retries_while_there_is_another() {
    let (bad, pausing, good) = (answering(503), pausing(), Origin::serving("good"));
    let weir = in_front_of_three([&bad, &pausing, &good]).await;
    let mut known = 0;
    while pausing.hits() == 0 {
        weir.client().get("/").await;
        known += 1;
        weir.logged(known).await;
    }
    for _ in 0..60 {
        weir.client().get("/").await;
    }
    let lines = weir.logged(known + 60).await;
    let mut retried = 0;
    for attempts in lines[known..].iter().map(|line| &line["attempts"]) {
        if attempts[0]["endpoint"] == bad.to_string() {
            assert_eq!(attempts[1]["endpoint"], good.to_string(), "{attempts}");
            retried += 1;
        }
    }
    assert!(retried > 0);
}

#[tokio::test]
async fn where_all_ask_for_a_pause_their_answer_is_passed_on() {
    let origins = [pausing(), pausing(), pausing()];
    let weir = in_front_of_three([&origins[0], &origins[1], &origins[2]]).await;
    let hits = || origins.iter().map(Origin::hits).sum::<usize>();
    while origins.iter().any(|origin| origin.hits() == 0) {
        weir.client().get("/").await;
    }
    let before = hits();
    for _ in 0..6 {
        let response = weir.client().get("/").await;
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some("300"));
    }
    assert_eq!(hits(), before + 6);
    // Who cannot be reached at all is made up for all the same.
    origins[0].stop().await;
    for _ in 0..6 {
        let response = weir.client().get("/").await;
        assert_eq!(response.header("retry-after"), Some("300"));
    }
    assert_eq!(hits(), before + 12);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_gives_way_to_the_next() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::start(move |_| Reply::ok("a").after(&held));
    let good = Origin::serving("b");
    let weir = in_front_of([&slow, &good], ", retry: { per_try_timeout: 100ms }").await;
    for _ in 0..4 {
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
    let lines = weir.logged(4).await;
    let gave_way = |line: &&serde_json::Value| outcomes(line) == ["try_timeout", "ok"];
    assert_eq!(lines.iter().filter(gave_way).count(), 2);
    gate.open();
}

#[tokio::test]
async fn a_route_may_say_that_every_request_can_be_repeated() {
    let (bad, good) = (resetting(), Origin::serving("b"));
    let weir = in_front_of([&bad, &good], ", retry: { non_idempotent: true }").await;
    for _ in 0..4 {
        assert_eq!(weir.client().post("/", "given").await.text(), "b");
        assert_eq!(good.last().text(), "given");
    }
    assert_eq!(bad.hits(), 2);
}

#[tokio::test]
async fn those_who_failed_together_do_not_come_back_together() {
    let (bad, good) = (resetting(), Origin::serving("b"));
    let weir = in_front_of([&bad, &good], ", retry: { backoff: 200ms }").await;
    for _ in 0..20 {
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
    let lines = weir.logged(20).await;
    let waited = |line: &serde_json::Value| line["total_ms"].as_f64().unwrap_or_default();
    let slowest = lines.iter().map(waited).fold(0.0, f64::max);
    // Of ten pauses up to 200 ms, not one above 50 would come once in a million times.
    assert!(slowest > 50.0, "{lines:?}");
}

#[tokio::test]
async fn a_full_outage_is_amplified_by_no_more_than_the_budget() {
    let origins = [resetting(), resetting()];
    let weir = weir(
        "
        pools:
          web: { endpoints: [$a, $b], retry_budget: { percent: 20, per_second: 0 } }
        routes: [{ pool: web, retry: { backoff: 0s } }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .start()
    .await;
    for _ in 0..200 {
        assert_eq!(weir.client().get("/").await.status, 502);
    }
    let hits: usize = origins.iter().map(Origin::hits).sum();
    assert!((230..=240).contains(&hits), "{hits}");
    assert!(weir.metric("weir_retry_budget_exhausted_total").await > 100.0);
}

#[tokio::test]
async fn a_pool_affords_so_many_retries_and_no_more() {
    let (bad, good) = (resetting(), Origin::serving("b"));
    let budget = "retry_budget: { percent: 0, per_second: 1 }";
    let weir = weir(&format!(
        "
        pools:
          web: {{ balance: round_robin, endpoints: [$a, $b], {budget} }}
        routes: [{{ pool: web, retry: {{ backoff: 0s }} }}]
    "
    ))
    .with("a", &bad)
    .with("b", &good)
    .start()
    .await;
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(weir.client().get("/").await.status == 502);
    }
    // Ten for ten seconds; a slow machine may see a second pass, and no more than the rest.
    assert!((1..=10).contains(&refused), "{refused}");
    // Who could not be reached has not worked for it.
    bad.stop().await;
    for _ in 0..40 {
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
}
