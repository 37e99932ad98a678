//! Balancing by resources: what fits where, who says what a request takes, what happens when it
//! fits nowhere, and that all that was taken is given back.

use tokio::task::JoinHandle;

use crate::support::*;

/// An origin that answers `name` when the gate opens.
fn held(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| Reply::ok(name).after(&gate))
}

fn taken(origin: &Origin, dimension: &str) -> String {
    format!(r#"weir_endpoint_reserved{{endpoint="{origin}",dimension="{dimension}"}}"#)
}

/// Two endpoints, with routes that take 1, 4 and 10 compute of them.
fn small(settings: &str, capacity: &str, trusted: &str) -> String {
    format!(
        "
        server: {{ trusted_proxies: [{trusted}] }}
        pools:
          web:
            balance: resource
            {settings}
            endpoints:
              - {{ address: $a, capacity: {{ {capacity} }} }}
              - {{ address: $b, capacity: {{ {capacity} }} }}
        routes:
          - {{ path: /four, pool: web, demand: {{ compute: 4 }} }}
          - {{ path: /ten, pool: web, demand: {{ compute: 10 }} }}
          - {{ path: /hasty, pool: web, demand: {{ compute: 10 }}, timeout: 50ms }}
          - {{ pool: web }}
    "
    )
}

async fn small_pool(settings: &str, a: &Origin, b: &Origin) -> Weir {
    let yaml = small(settings, "compute: 10", "127.0.0.1");
    weir(&yaml).with("a", a).with("b", b).start().await
}

/// Sends requests that are held, and waits until as many more are with an origin.
async fn hold(
    weir: &Weir,
    target: &str,
    count: usize,
    origins: [&Origin; 2],
) -> Vec<JoinHandle<Response>> {
    let in_flight = || {
        origins
            .iter()
            .map(|origin| origin.in_flight())
            .sum::<usize>()
    };
    let before = in_flight();
    let get = |_| tokio::spawn(weir.client().get(target));
    let requests = (0..count).map(get).collect();
    eventually(format!("{count} more are held"), async || {
        in_flight() == before + count
    })
    .await;
    requests
}

async fn expect_ok(requests: Vec<JoinHandle<Response>>) {
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_request_goes_where_what_its_route_takes_fits_best() {
    let origins = Origin::several(3);
    let weir = weir(
        "
        pools:
          web:
            balance: resource
            endpoints:
              - { address: $a, capacity: { compute: 20, storage: 5 } }
              - { address: $b, capacity: { compute: 20, storage: 20 } }
              - { address: $c, capacity: { compute: 20, storage: 40 } }
        routes:
          - { path: /compute, pool: web, demand: { compute: 8, storage: 2 } }
          - { path: /both, pool: web, demand: { compute: 5, storage: 5 } }
          - { path: /storage, pool: web, demand: { compute: 2, storage: 4 } }
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .with("c", &origins[2])
    .start()
    .await;

    for (target, name) in [("/compute", "a"), ("/both", "b"), ("/storage", "c")] {
        for _ in 0..5 {
            assert_eq!(weir.client().get(target).await.text(), name, "{target}");
            weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
        }
    }
}

#[tokio::test]
async fn what_is_taken_is_shown_and_what_fits_nowhere_is_503_with_reject() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("resources: { when_full: reject }", &a, &b).await;

    let requests = hold(&weir, "/four", 4, [&a, &b]).await;
    assert_eq!((a.in_flight(), b.in_flight()), (2, 2));
    for origin in [&a, &b] {
        assert_eq!(weir.metric(&taken(origin, "compute")).await, 8.0);
    }
    let refused = weir.client().get("/four").await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(weir.logged(1).await[0]["termination"], "no_room");
    // Nobody says what it takes: one of each dimension.
    let small = hold(&weir, "/", 1, [&a, &b]).await;

    gate.open();
    expect_ok(requests).await;
    expect_ok(small).await;
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}

#[tokio::test]
async fn with_queue_a_request_waits_for_room_no_longer_than_its_time() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("queue: { timeout: 30s }", &a, &b).await;
    let requests = hold(&weir, "/ten", 2, [&a, &b]).await;

    assert_eq!(weir.client().get("/hasty").await.status, 504);
    let waiting = tokio::spawn(weir.client().get("/ten"));
    weir.metric_becomes("weir_requests_in_flight", 3.0).await;
    assert_eq!(a.hits() + b.hits(), 2);

    gate.open();
    expect_ok(requests).await;
    assert_eq!(waiting.await.unwrap().status, 200);
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}

#[tokio::test]
async fn a_large_request_that_waits_is_not_overtaken_by_small_ones() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("queue: { timeout: 30s }", &a, &b).await;
    let mut requests = hold(&weir, "/four", 2, [&a, &b]).await;

    for (target, waiting) in [("/ten", 1.0), ("/", 2.0)] {
        requests.push(tokio::spawn(weir.client().get(target)));
        weir.metric_becomes(r#"weir_queue_length{pool="web"}"#, waiting)
            .await;
    }
    assert_eq!(a.hits() + b.hits(), 2, "the small one would fit");

    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}

#[tokio::test]
async fn the_queue_timeout_ends_a_wait() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("queue: { timeout: 50ms }", &a, &b).await;
    let requests = hold(&weir, "/ten", 2, [&a, &b]).await;

    assert_eq!(weir.client().get("/").await.status, 503);
    assert_eq!(weir.logged(1).await[0]["termination"], "queue_timeout");

    gate.open();
    expect_ok(requests).await;
}

#[tokio::test]
async fn with_least_share_a_request_is_squeezed_in_where_most_is_left() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("resources: { when_full: least_share }", &a, &b).await;
    let mut requests = hold(&weir, "/ten", 1, [&a, &b]).await;
    requests.extend(hold(&weir, "/four", 2, [&a, &b]).await);
    let (full, half) = if a.in_flight() == 1 {
        (&a, &b)
    } else {
        (&b, &a)
    };

    requests.extend(hold(&weir, "/four", 1, [&a, &b]).await);
    assert_eq!((full.in_flight(), half.in_flight()), (1, 3));

    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}

#[tokio::test]
async fn a_trusted_request_header_says_what_the_request_takes() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool(
        "resources: { request_header: X-Demand, when_full: reject }",
        &a,
        &b,
    )
    .await;
    let demand = |target: &str, demand: &str| {
        let request = weir.client().request("GET", target);
        request.header("X-Demand", demand).send()
    };

    for (target, told, status) in [
        ("/", "compute=10.5", 503),
        ("/", "compute=inf", 503),
        ("/", "compute=1e999", 503),
    ] {
        assert_eq!(demand(target, told).await.status, status, "{told}");
    }
    let eight = tokio::spawn(demand("/ten", "compute=8"));
    eventually("it is held", async || a.in_flight() + b.in_flight() == 1).await;
    let used = if a.in_flight() == 1 { &a } else { &b };
    assert_eq!(weir.metric(&taken(used, "compute")).await, 8.0);

    gate.open();
    assert_eq!(eight.await.unwrap().status, 200);
    for made_up in [
        "compute=NaN",
        "compute=-1",
        "compute",
        "=",
        "memory=1",
        "\u{e9}",
    ] {
        assert_eq!(demand("/", made_up).await.status, 200, "{made_up}");
    }
    let nobody = small(
        "resources: { request_header: X-Demand }",
        "compute: 10",
        "192.0.2.1",
    );
    assert!(weir.reload_with(&nobody).await, "{}", weir.stderr());
    assert_eq!(
        demand("/", "compute=10.5").await.status,
        200,
        "it is a stranger's now"
    );
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}

#[tokio::test]
async fn a_response_header_teaches_what_later_requests_take() {
    let gate = Gate::new();
    let origins = || {
        let gate = gate.clone();
        Origin::start(move |request| match request.target.as_str() {
            "/lesson" => Reply::ok("").header("X-Cost", "compute=6"),
            _ => Reply::ok("").after(&gate),
        })
    };
    let (a, b) = (origins(), origins());
    let weir = small_pool(
        "resources: { response_header: X-Cost, when_full: reject }",
        &a,
        &b,
    )
    .await;

    assert_eq!(weir.client().get("/lesson").await.status, 200);
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
    let requests = hold(&weir, "/", 2, [&a, &b]).await;
    assert_eq!(weir.metric(&taken(&a, "compute")).await, 6.0);
    assert_eq!(weir.client().get("/").await.status, 503);

    gate.open();
    expect_ok(requests).await;
}

#[tokio::test]
async fn an_endpoint_that_lies_about_what_a_request_took_takes_the_route_from_nobody() {
    let liar = Origin::start(|_| Reply::ok("liar").header("X-Cost", "compute=1e300"));
    let honest = Origin::start(|_| Reply::ok("honest").header("X-Cost", "compute=1"));
    let settings = "resources: { response_header: X-Cost, when_full: reject }";
    let weir = small_pool(settings, &liar, &honest).await;

    let report = weir.client().get_many("/", 100, 1).await;

    report.expect_lossless();
    let lies = report.body("liar");
    // Six standard deviations of a coin.
    assert!((20..=80).contains(&lies), "{lies} of 100");
}

#[tokio::test]
async fn the_largest_endpoint_cannot_lie_a_route_to_itself() {
    let gate = Gate::new();
    let closed = gate.clone();
    let liar = Origin::start(move |request| match request.target.as_str() {
        "/lesson" => Reply::ok("").header("X-Cost", "compute=1e300"),
        _ => Reply::ok("").after(&closed),
    });
    let closed = gate.clone();
    let honest = Origin::start(move |_| Reply::ok("").after(&closed));
    let weir = weir(
        "
        pools:
          web:
            balance: resource
            resources: { response_header: X-Cost, when_full: reject }
            endpoints:
              - { address: $a, capacity: { compute: 4 } }
              - { address: $b, capacity: { compute: 2 } }
        routes: [{ pool: web }]
    ",
    )
    .with("a", &liar)
    .with("b", &honest)
    .start()
    .await;

    assert_eq!(weir.client().get("/lesson").await.status, 200);
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
    let requests = hold(&weir, "/", 3, [&liar, &honest]).await;
    assert_eq!((liar.in_flight(), honest.in_flight()), (2, 1));

    gate.open();
    expect_ok(requests).await;
}

#[tokio::test]
async fn all_that_was_taken_is_given_back_whatever_became_of_the_attempts() {
    let gate = Gate::new();
    let closed = gate.clone();
    let script = move |request: &Request| match request.target.as_str() {
        "/reset" => Reply::nothing().reset(),
        "/close" => Reply::nothing(),
        "/cut" => Reply::ok("half").short_by(4),
        "/garbage" => Reply::raw("garbage\r\n\r\n"),
        "/ok" => Reply::ok("ok"),
        _ => Reply::ok("held").after(&closed),
    };
    let (a, b) = (Origin::start(script.clone()), Origin::start(script));
    let gone = Origin::serving("");
    gone.stop().await;
    let weir = weir(
        "
        pools:
          web:
            balance: resource
            read_timeout: 200ms
            queue: { timeout: 50ms }
            endpoints:
              - { address: $a, capacity: { compute: 1, disk: 0.1 } }
              - { address: $b, capacity: { compute: 1, disk: 0.1 } }
              - { address: $gone, capacity: { compute: 1, disk: 0.1 } }
        routes:
          - { path: /late, pool: web, timeout: 100ms, demand: { disk: 0.07 } }
          - { path: /large, pool: web, body_limit: 1B, demand: { compute: 0.3 } }
          - { pool: web, demand: { compute: 0.7, disk: 0.000003 } }
    ",
    )
    .with("a", &a)
    .with("b", &b)
    .with("gone", &gone)
    .start()
    .await;
    let client = weir.client();

    for _ in 0..3 {
        for target in [
            "/reset", "/close", "/cut", "/garbage", "/silent", "/late", "/ok",
        ] {
            client.get(target).await;
        }
        assert_eq!(client.post("/large", "too large").await.status, 413);
        let mut aborted = client.connect().await;
        aborted
            .write(aborted.request("GET", "/abort").bytes())
            .await;
        eventually("it is under way", async || gate.waiting() > 0).await;
        drop(aborted);
        weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
    }
    let load = Load::start(&client, "/silent", 8);
    eventually("many had to wait", async || load.done() > 40).await;
    load.stop().await;

    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
    gone.restart();
    client.get_many("/ok", 9, 1).await.expect_lossless();
}

#[tokio::test]
async fn what_runs_is_counted_over_a_reload_that_changes_capacities() {
    let gate = Gate::new();
    let (a, b) = (held("a", &gate), held("b", &gate));
    let weir = small_pool("resources: { when_full: reject }", &a, &b).await;
    let requests = hold(&weir, "/four", 2, [&a, &b]).await;

    let other = small(
        "resources: { when_full: reject }",
        "disk: 1, compute: 13",
        "127.0.0.1",
    );
    assert!(weir.reload_with(&other).await, "{}", weir.stderr());
    assert_eq!(weir.client().get("/ten").await.status, 503);

    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
    assert_eq!(weir.client().get("/ten").await.status, 200);
}

/// Ghodsi et al., Dominant Resource Fairness, §4.1: of ⟨9, 18⟩ who takes ⟨1, 4⟩ runs 3, who takes
/// ⟨3, 1⟩ runs 2.
#[tokio::test]
async fn tenants_that_wait_get_equal_dominant_shares() {
    let gate = Gate::new();
    let origin = held("served", &gate);
    let weir = weir(
        "
        pools:
          web:
            balance: resource
            queue: { timeout: 20s, tenant: { header: X-Tenant } }
            endpoints: [{ address: $a, capacity: { cpu: 9, memory: 18 } }]
        routes:
          - { path: /all, pool: web, demand: { cpu: 9, memory: 18 } }
          - { path: /a, pool: web, demand: { cpu: 1, memory: 4 } }
          - { path: /b, pool: web, demand: { cpu: 3, memory: 1 } }
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    let ask = |target: &str| {
        let request = weir.client().request("GET", target);
        tokio::spawn(request.header("X-Tenant", target).send())
    };
    let running = &origin;
    let in_flight = |count| eventually("so many run", async move || running.in_flight() == count);
    let mut requests = vec![ask("/all")];
    in_flight(1).await;
    for waiting in 1..=8 {
        // First all of one, then all of the other: who came first does not decide.
        requests.push(ask(if waiting <= 4 { "/a" } else { "/b" }));
        let queued = r#"weir_queue_length{pool="web"}"#;
        weir.metric_becomes(queued, f64::from(waiting)).await;
    }

    gate.admit(1);
    in_flight(5).await;

    let targets: Vec<String> = origin.requests().into_iter().map(|it| it.target).collect();
    let runs = |target| targets[1..].iter().filter(|it| *it == target).count();
    assert_eq!((runs("/a"), runs("/b")), (3, 2));
    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_reserved", 0.0).await;
}
