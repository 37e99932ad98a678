//! What is left of a body when the client that asked for it is finished.

use super::*;

const ENDPOINT: &str = "weir_endpoint_in_flight";

/// A body that stops after its first thousand bytes until the gate opens.
fn stalling(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        let reply = Reply::ok(vec![b'x'; 200_000]).stall_at(1000, &gate);
        reply
            .header("ETag", "\"a\"")
            .header("Cache-Control", "max-age=60")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_wanted_less_takes_the_next_request_at_once() {
    for (method, name, value, expected) in [
        ("HEAD", "X-Any", "1", 200),
        ("GET", "If-None-Match", "\"a\"", 304),
        ("GET", "Range", "bytes=0-9", 206),
    ] {
        let gate = Gate::new();
        let origin = stalling(&gate);
        let weir = cached("on", &origin).await;
        let mut connection = weir.client().connect().await;
        let request = connection.request(method, "/").header(name, value);
        let first = connection.exchange(&request).await.unwrap();
        assert_eq!(first.status, expected);
        // It reads what the same client has begun.
        let mut reader = weir.client().connect().await;
        let request = reader.request("GET", "/");
        reader.write(request.bytes()).await;
        let part = connection.request("GET", "/").header("Range", "bytes=0-9");
        let part = connection.exchange(&part).await.unwrap();
        assert_eq!((part.status, part.body.len()), (206, 10));
        assert_eq!(weir.logged(2).await.len(), 2, "both are over");
        weir.metric_becomes(ENDPOINT, 1.0).await;
        // The reader, and what is left of the first.
        weir.metric_becomes("weir_requests_in_flight", 2.0).await;
        gate.open();
        let whole = reader.response().await.unwrap();
        assert!(whole.complete && whole.body.len() == 200_000);
        weir.metric_becomes(ENDPOINT, 0.0).await;
        weir.metric_becomes("weir_requests_in_flight", 0.0).await;
        assert_eq!(weir.client().get("/").await.body.len(), 200_000);
        assert_eq!(origin.hits(), 1);
        assert_eq!((origin.connections(), origin.aborted()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_does_not_drip_for_ever() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let drops = (0..10_000).map(|_| b"x");
        let reply = Reply::ok("").chunked(drops).each_after(&held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$a] } }
        routes: [{ pool: web, timeout: 1s, cache: on }]
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let head = weir.client().request("HEAD", "/").send().await;
    assert_eq!(head.status, 200);
    eventually("it is given up", async || {
        gate.admit(1);
        origin.aborted() == 1
    })
    .await;
    weir.metric_becomes(ENDPOINT, 0.0).await;
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    weir.metric_becomes("weir_cache_objects", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_when_its_client_is_finished_is_not_kept() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = answering(move |number| {
        let reply = match number {
            1 => Reply::ok("half").short_by(4).stall_at(2, &held),
            _ => Reply::ok("whole"),
        };
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let head = weir.client().request("HEAD", "/").send().await;
    assert_eq!(head.status, 200);
    gate.open();
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    let failed = |line: &Value| line["termination"] != "ok";
    assert!(!weir.logged(1).await.iter().any(failed));
    assert_eq!(weir.client().get("/").await.text(), "whole");
}

#[tokio::test]
async fn a_small_body_that_nobody_wants_costs_no_connection() {
    let origin = Origin::start(|_| Reply::ok("x").header("Cache-Control", "no-store"));
    let weir = cached("on", &origin).await;
    let head = weir.client().request("HEAD", "/").send().await;
    assert_eq!(head.header("content-length"), Some("1"));
    assert_eq!(origin.last().method, "GET");
    assert_eq!(weir.client().get("/").await.text(), "x");
    assert_eq!((origin.hits(), origin.connections()), (2, 1));
}

/// As many as go on though nobody reads them.
const UNREAD_FILLS: usize = 64;

async fn fills(weir: &Weir) -> Value {
    let response = weir.admin().get("/-/cache/stats").await;
    let stats: Value = serde_json::from_slice(&response.body).unwrap();
    stats["fills"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_and_go_hold_no_more_than_so_many_connections_of_endpoints() {
    const TOO_MANY: usize = 6;
    let gate = Gate::new();
    let origin = stalling(&gate);
    let weir = cached("on", &origin).await;
    for number in 0..UNREAD_FILLS + TOO_MANY {
        let target = format!("/{number}");
        let head = weir.client().request("HEAD", &target).send().await;
        assert_eq!(head.status, 200);
    }
    eventually("the last ones end with their clients", async || {
        origin.aborted() == TOO_MANY
    })
    .await;
    weir.metric_becomes(ENDPOINT, UNREAD_FILLS as f64).await;
    let in_flight = "weir_requests_in_flight";
    weir.metric_becomes(in_flight, UNREAD_FILLS as f64).await;
    let refused = "weir_cache_refused_total{reason=\"unread\"}";
    weir.metric_becomes(refused, TOO_MANY as f64).await;
    gate.open();
    weir.metric_becomes(in_flight, 0.0).await;
    weir.metric_becomes("weir_cache_objects", UNREAD_FILLS as f64)
        .await;
    // There is room for others again.
    weir.client().request("HEAD", "/another").send().await;
    weir.metric_becomes("weir_cache_objects", 1.0 + UNREAD_FILLS as f64)
        .await;
    assert_eq!(weir.client().get("/another").await.body.len(), 200_000);
    assert_eq!(origin.aborted(), TOO_MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_read_goes_on_however_many_do_until_they_leave_too() {
    let gate = Gate::new();
    let origin = stalling(&gate);
    let weir = cached("on", &origin).await;
    for number in 0..UNREAD_FILLS {
        let target = format!("/{number}");
        weir.client().request("HEAD", &target).send().await;
    }
    // Each has its place before its line.
    weir.logged(UNREAD_FILLS).await;
    let follow = async |target: &str| {
        let mut leader = weir.client().connect().await;
        leader.write(leader.request("GET", target).bytes()).await;
        assert!(!leader.read_some().await.is_empty());
        let mut follower = weir.client().connect().await;
        follower
            .write(follower.request("GET", target).bytes())
            .await;
        assert!(!follower.read_some().await.is_empty());
        leader.reset();
        follower
    };
    let left = follow("/left").await;
    let mut read = follow("/read").await;
    weir.logged(UNREAD_FILLS + 2).await;
    assert_eq!(origin.aborted(), 0);
    left.reset();
    eventually("nobody reads it", async || origin.aborted() == 1).await;
    gate.open();
    let rest = read.read(199_000).await;
    assert!(rest.is_some_and(|rest| rest.ends_with(b"xxx")));
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    weir.metric_becomes("weir_cache_objects", 1.0 + UNREAD_FILLS as f64)
        .await;
    assert_eq!(fills(&weir).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_process_waits_for_no_fill_without_a_client() {
    let gate = Gate::new();
    let origin = stalling(&gate);
    let weir = weir(
        "
        pools: { web: { endpoints: [$a] } }
        routes: [{ pool: web, cache: on }]
        server: { drain_timeout: 10m, $upgradable }
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let head = weir.client().request("HEAD", "/").send().await;
    assert_eq!(head.status, 200);
    weir.logged(1).await;
    weir.metric_becomes("weir_requests_in_flight", 1.0).await;
    weir.signal(Signal::SIGTERM);
    let end = weir.exit_status().await;
    assert!(end.success(), "{end:#?}");
    assert_eq!(weir.access_log().len(), 1, "it has no line of its own");
}
