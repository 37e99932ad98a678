//! Queues: what a pool does with requests that are over its limits.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::*;

const QUEUED: &str = r#"weir_queue_length{pool="web"}"#;

/// An origin that answers with the request's target, each request when the gate lets it through.
fn held_origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| Reply::ok(&request.target).after(&gate))
}

/// A weir with one pool in front of one origin, `$a`, with these keys of the pool.
async fn weir_with(pool: &str, origin: &Origin) -> Weir {
    let yaml = format!("pools: {{ web: {{ {pool} }} }}\nroutes: [{{ pool: web }}]");
    weir(&yaml).with("a", origin).start().await
}

/// Sends a request and waits until it is the `position`th that waits.
async fn queue_up(weir: &Weir, target: &str, position: usize) -> JoinHandle<Response> {
    let request = tokio::spawn(weir.client().get(target));
    weir.metric_becomes(QUEUED, position as f64).await;
    request
}

/// Sends a request and waits until the origin has it.
async fn occupy(weir: &Weir, origin: &Origin) -> JoinHandle<Response> {
    let held = origin.in_flight();
    let request = tokio::spawn(weir.client().get("/occupies"));
    eventually("the origin has it", async || origin.in_flight() > held).await;
    request
}

async fn in_flight_becomes(origin: &Origin, count: u32) {
    let what = format!("the origin has {count}");
    eventually(what, async || origin.in_flight() == count as usize).await;
}

fn targets(origin: &Origin) -> Vec<String> {
    let requests = origin.requests().into_iter();
    requests.map(|request| request.target).collect()
}

/// Nothing is held, nobody waits, and the endpoint takes as many as before.
async fn expect_nothing_left(weir: &Weir) {
    weir.metric_becomes(QUEUED, 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
}

// --- limits

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_never_has_more_than_its_max_in_flight() {
    let origins = Origin::several(2);
    let weir = weir(
        "
        pools:
          web:
            balance: random
            endpoints: [{ address: $a, max_in_flight: 3 }, { address: $b, max_in_flight: 1 }]
            queue: { timeout: 20s }
        routes: [{ pool: web }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .start()
    .await;

    let report = weir.client().get_many("/", 2000, 64).await;

    report.expect_lossless();
    let most = [origins[0].in_flight_max(), origins[1].in_flight_max()];
    assert!(most[0] <= 3 && most[1] <= 1, "{most:?}");
    assert!(origins.iter().all(|origin| origin.hits() > 0));
    assert!(weir.metric("weir_queue_seconds_count").await > 0.0);
    expect_nothing_left(&weir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_never_has_more_than_its_max_in_flight() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 5, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;

    let load = Load::start(&weir.client(), "/", 64);
    weir.metric_becomes(QUEUED, 59.0).await;
    in_flight_becomes(&origin, 5).await;
    gate.open();
    eventually("many are served", async || load.done() > 1000).await;

    load.stop().await.expect_lossless();
    assert_eq!(origin.in_flight_max(), 5);
    expect_nothing_left(&weir).await;
}

// --- the queue

#[tokio::test]
async fn who_waits_is_served_in_the_order_of_arrival_and_the_log_says_how_long() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let mut requests = vec![occupy(&weir, &origin).await];
    for position in 1..=5 {
        requests.push(queue_up(&weir, &format!("/{position}"), position).await);
    }

    gate.open();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }

    assert_eq!(targets(&origin)[1..], ["/1", "/2", "/3", "/4", "/5"]);
    let lines = weir.logged(6).await;
    let queued = lines.iter().filter(|line| line["queue_ms"].is_number());
    assert_eq!(queued.count(), 5, "{lines:?}");
    assert_eq!(weir.metric("weir_queue_seconds_count").await, 5.0);
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn a_request_that_waits_longer_than_the_timeout_gets_503_and_a_time_to_come_again() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 100ms }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;

    let response = weir.client().get("/").await;

    assert_eq!(response.status, 503, "{}", response.text());
    let retry_after: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&retry_after));
    gate.open();
    assert_eq!(occupies.await.unwrap().status, 200);
    let lines = weir.logged(2).await;
    let line = lines.iter().find(|line| line["target"] == "/").unwrap();
    assert_eq!(line["termination"], "queue_timeout", "{line}");
    assert!(line["queue_ms"].as_f64().unwrap() >= 100.0, "{line}");
    let rejected = weir.metric(r#"weir_rejections_total{reason="queue_timeout"}"#);
    assert_eq!(rejected.await, 1.0);
    assert_eq!(origin.hits(), 1, "it never got there");
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn a_request_that_finds_the_queue_at_its_length_gets_503_at_once() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    for length in [0, 2] {
        let pool = format!(
            "endpoints: [$a], max_in_flight: 1, queue: {{ length: {length}, timeout: 20s }}"
        );
        let weir = weir_with(&pool, &origin).await;
        let mut requests = vec![occupy(&weir, &origin).await];
        for position in 1..=length {
            requests.push(queue_up(&weir, "/", position).await);
        }

        let response = weir.client().get("/").await;

        assert_eq!(response.status, 503, "{}", response.text());
        assert!(response.header("retry-after").is_some());
        let rejected = weir.metric(r#"weir_rejections_total{reason="queue_full"}"#);
        assert_eq!(rejected.await, 1.0);
        gate.admit(requests.len());
        for request in requests {
            assert_eq!(request.await.unwrap().status, 200);
        }
        expect_nothing_left(&weir).await;
    }
}

#[tokio::test]
async fn retry_after_is_the_time_the_queue_takes_to_drain() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { length: 3, timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    gate.admit(1);
    assert_eq!(weir.client().get("/").await.status, 200);
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;

    let mut requests = vec![occupy(&weir, &origin).await];
    for position in 1..=3 {
        requests.push(queue_up(&weir, "/", position).await);
    }
    let response = weir.client().get("/").await;

    // Three wait, and there was one completion since the pool began, a second ago at most.
    let retry_after: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((3..=30).contains(&retry_after), "{retry_after}");
    gate.open();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue_at_once() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 60s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let mut leaving = Vec::new();
    for (position, body) in ["", "with a body"].into_iter().enumerate() {
        let mut connection = weir.client().connect().await;
        let request = connection.request("POST", "/leaves").body(body);
        connection.write(request.bytes()).await;
        weir.metric_becomes(QUEUED, position as f64 + 1.0).await;
        leaving.push(connection);
    }
    let stays = queue_up(&weir, "/stays", 3).await;

    leaving.pop().unwrap().reset();
    weir.metric_becomes(QUEUED, 2.0).await;
    drop(leaving);
    weir.metric_becomes(QUEUED, 1.0).await;

    gate.open();
    assert_eq!(occupies.await.unwrap().status, 200);
    assert_eq!(stays.await.unwrap().text(), "/stays");
    assert_eq!(targets(&origin), ["/occupies", "/stays"]);
    let lines = weir.logged(4).await;
    let closed = lines
        .iter()
        .filter(|line| line["termination"] == "client_closed");
    assert_eq!(closed.count(), 2, "{lines:?}");
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn a_body_that_comes_while_its_request_waits_is_whole() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let body: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
    let (head, tail) = body.split_at(100_000);
    let sized = weir.client().request("POST", "/sized").body(&body);
    let chunked = weir
        .client()
        .request("POST", "/chunked")
        .chunked([head, tail]);
    let requests = [tokio::spawn(sized.send()), tokio::spawn(chunked.send())];
    weir.metric_becomes(QUEUED, 2.0).await;

    gate.open();

    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    assert_eq!(occupies.await.unwrap().status, 200);
    assert!(origin.requests()[1..].iter().all(|r| r.body == body));
}

#[tokio::test]
async fn the_routes_timeout_goes_on_while_a_request_waits() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let weir = weir(
        "
        pools: { web: { endpoints: [$a], max_in_flight: 1, queue: { timeout: 60s } } }
        routes: [{ pool: web }, { path: /soon, pool: web, timeout: 100ms }]
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let occupies = occupy(&weir, &origin).await;

    assert_eq!(weir.client().get("/soon").await.status, 504);

    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "request_timeout", "{line}");
    gate.open();
    assert_eq!(occupies.await.unwrap().status, 200);
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn a_retry_waits_for_its_turn_like_everybody() {
    let gate = Gate::new();
    let (bad, good) = (
        Origin::start(|_| Reply::nothing().reset()),
        held_origin(&gate),
    );
    let weir = weir(
        "
        pools:
          web:
            balance: round_robin
            endpoints: [{ address: $a, weight: 1000 }, { address: $b, max_in_flight: 1 }]
            queue: { timeout: 20s }
        routes: [{ pool: web }]
    ",
    )
    .with("a", &bad)
    .with("b", &good)
    .start()
    .await;
    let first = tokio::spawn(weir.client().get("/"));
    eventually("it is with the good one", async || good.in_flight() == 1).await;
    let second = queue_up(&weir, "/second", 1).await;

    gate.open();

    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(second.await.unwrap().text(), "/second");
    assert_eq!((good.hits(), good.in_flight_max()), (2, 1));
    expect_nothing_left(&weir).await;
}

// --- who goes first

#[tokio::test]
async fn a_route_of_high_priority_overtakes_those_of_normal_priority() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let weir = weir(
        "
        pools: { web: { endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s } } }
        routes: [{ pool: web }, { path: /urgent/*, pool: web, priority: high }]
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let mut requests = vec![occupy(&weir, &origin).await];
    for (position, target) in ["/1", "/2", "/urgent/3", "/urgent/4"].iter().enumerate() {
        requests.push(queue_up(&weir, target, position + 1).await);
    }

    gate.open();

    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let expected = ["/urgent/3", "/urgent/4", "/1", "/2"];
    assert_eq!(targets(&origin)[1..], expected);
}

#[tokio::test]
async fn a_tenant_with_many_requests_leaves_the_others_their_part() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 3, \
        queue: { timeout: 20s, tenant: { header: X-Tenant } }";
    let weir = weir_with(pool, &origin).await;
    let ask = |tenant: &str| {
        let request = weir.client().request("GET", &format!("/{tenant}"));
        tokio::spawn(request.header("X-Tenant", tenant).send())
    };
    let mut requests: Vec<_> = (0..3).map(|_| ask("greedy")).collect();
    eventually("it has all places", async || origin.in_flight() == 3).await;
    for (tenant, position) in [("greedy", 1), ("greedy", 2), ("modest", 3), ("small", 4)] {
        requests.push(ask(tenant));
        weir.metric_becomes(QUEUED, f64::from(position)).await;
    }

    for left in (0..4).rev() {
        gate.admit(1);
        weir.metric_becomes(QUEUED, f64::from(left)).await;
    }
    gate.open();

    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let expected = ["/modest", "/small", "/greedy", "/greedy"];
    assert_eq!(targets(&origin)[3..], expected);
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn codel_drops_from_a_queue_in_which_all_wait_too_long() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, \
        queue: { timeout: 20s, codel: { target: 1ms, interval: 10ms } }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let mut requests = Vec::new();
    for position in 1..=4 {
        requests.push(queue_up(&weir, &format!("/{position}"), position).await);
    }
    let longer = Duration::from_millis(50);
    steadily("all wait", longer, async || origin.hits() == 1).await;

    // The first is served: this is where its time begins. After the interval the second is dropped.
    gate.admit(1);
    weir.metric_becomes(QUEUED, 3.0).await;
    eventually("the first is served", async || origin.hits() == 2).await;
    steadily("it goes on", longer, async || origin.hits() == 2).await;
    gate.admit(1);
    weir.metric_becomes(QUEUED, 1.0).await;
    gate.open();

    let mut statuses = Vec::new();
    for request in requests {
        let response = request.await.unwrap();
        let dropped = response.status == 503;
        assert_eq!(response.header("retry-after").is_some(), dropped);
        statuses.push(response.status);
    }
    assert_eq!(statuses, [200, 503, 200, 200]);
    assert_eq!(occupies.await.unwrap().status, 200);
    let rejected = weir.metric(r#"weir_rejections_total{reason="queue_dropped"}"#);
    assert_eq!(rejected.await, 1.0);
    expect_nothing_left(&weir).await;
}

// --- the adaptive limit

#[tokio::test(flavor = "multi_thread")]
async fn an_adaptive_limit_stays_within_its_bounds() {
    for (limit, most) in [("on", 20), ("{ min: 3, max: 3 }", 3), ("{ min: 30 }", 30)] {
        let gate = Gate::new();
        let origin = held_origin(&gate);
        let pool = format!("endpoints: [$a], adaptive_limit: {limit}, queue: {{ timeout: 20s }}");
        let weir = weir_with(&pool, &origin).await;

        let load = Load::start(&weir.client(), "/", 64);
        weir.metric_becomes(QUEUED, 64.0 - f64::from(most)).await;
        in_flight_becomes(&origin, most).await;
        gate.open();
        let adapted = "weir_endpoint_adaptive_limit";
        eventually("it adapts", async || weir.metric(adapted).await > 0.0).await;

        load.stop().await.expect_lossless();
        if limit.contains("max") {
            assert_eq!(
                (weir.metric(adapted).await, origin.in_flight_max()),
                (3.0, 3)
            );
        }
        expect_nothing_left(&weir).await;
    }
}

#[tokio::test]
async fn a_tunnel_waits_for_its_turn_and_keeps_its_place() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/ws" => Reply::websocket(),
        _ => Reply::ok("held").after(&held),
    });
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let client = weir.client();
    let upgrade = tokio::spawn(async move { client.websocket("/ws").await });
    weir.metric_becomes(QUEUED, 1.0).await;

    gate.open();
    let mut tunnel = upgrade.await.unwrap();
    assert!(tunnel.echoes("hello").await);
    assert_eq!(occupies.await.unwrap().status, 200);
    let after = queue_up(&weir, "/after", 1).await;
    drop(tunnel);

    assert_eq!(after.await.unwrap().status, 200);
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn the_status_tells_how_many_wait() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let waits = queue_up(&weir, "/", 1).await;

    let status = weir.command(&["status"]).await;

    assert!(status.stdout.contains("queued 1"), "{}", status.stdout);
    gate.open();
    assert_eq!(occupies.await.unwrap().status, 200);
    assert_eq!(waits.await.unwrap().status, 200);
}

// --- while requests wait

#[tokio::test]
async fn a_reload_keeps_those_who_wait_and_lets_nobody_overtake() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let before = queue_up(&weir, "/before", 1).await;

    assert!(weir.reload().await);
    let after = queue_up(&weir, "/after", 2).await;
    gate.open();

    for request in [occupies, before, after] {
        assert_eq!(request.await.unwrap().status, 200);
    }
    assert_eq!(targets(&origin), ["/occupies", "/before", "/after"]);
    assert_eq!(origin.in_flight_max(), 1);
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn a_reload_that_raises_the_limit_serves_the_next_at_once() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let before = queue_up(&weir, "/before", 1).await;

    let raised = "pools: { web: { endpoints: [$a], max_in_flight: 2 } }\nroutes: [{ pool: web }]";
    assert!(weir.reload_with(raised).await);
    let after = tokio::spawn(weir.client().get("/after"));
    eventually("it has overtaken", async || origin.in_flight() == 2).await;
    gate.open();

    for request in [occupies, before, after] {
        assert_eq!(request.await.unwrap().status, 200);
    }
    expect_nothing_left(&weir).await;
}

#[tokio::test]
async fn those_who_wait_are_served_before_the_process_leaves() {
    let gate = Gate::new();
    let origin = held_origin(&gate);
    let pool = "endpoints: [$a], max_in_flight: 1, queue: { timeout: 20s }";
    let weir = weir_with(pool, &origin).await;
    let occupies = occupy(&weir, &origin).await;
    let waits = queue_up(&weir, "/waits", 1).await;

    weir.signal(Signal::SIGTERM);
    steadily(
        "it waits for them",
        Duration::from_millis(300),
        async || weir.is_running(),
    )
    .await;
    gate.open();

    assert_eq!(occupies.await.unwrap().status, 200);
    assert_eq!(waits.await.unwrap().text(), "/waits");
    assert!(weir.exit_status().await.success());
}
