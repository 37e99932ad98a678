//! Balancing: who gets how many, through the real proxy and at concurrency.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::*;

mod hashing;
mod latency;

/// Origins that answer when the gate opens.
fn held_origins(count: usize, gate: &Gate) -> Vec<Origin> {
    let held = || {
        let gate = gate.clone();
        Origin::start(move |_| Reply::ok("held").after(&gate))
    };
    (0..count).map(|_| held()).collect()
}

fn in_flight(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::in_flight).collect()
}

fn hits(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::hits).collect()
}

/// Sends so many more requests, at once, and waits until all are with an origin.
async fn hold(weir: &Weir, count: usize, origins: &[Origin]) -> Vec<JoinHandle<Response>> {
    let before: usize = in_flight(origins).iter().sum();
    let get = |_| tokio::spawn(weir.client().get("/held"));
    let requests = (0..count).map(get).collect();
    eventually(format!("{count} more are held"), async || {
        in_flight(origins).iter().sum::<usize>() == before + count
    })
    .await;
    requests
}

async fn expect_ok(requests: Vec<JoinHandle<Response>>) {
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
}

/// A weir with one pool: these settings, these origins as `$a`, `$b` …
async fn weir_with(pool: &str, origins: &[Origin]) -> Weir {
    let yaml = format!("pools: {{ web: {{ {pool} }} }}\nroutes: [{{ pool: web }}]");
    let names = "abcdefgh".chars().map(String::from);
    let setup = names
        .zip(origins)
        .fold(weir(&yaml), |setup, (name, origin)| {
            setup.with(&name, origin)
        });
    setup.start().await
}

// --- shares

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_shares_out_exactly_by_weight_at_concurrency() {
    let origins = Origin::several(3);
    let weir = weir_with(
        "balance: round_robin, endpoints: [{ address: $a, weight: 5 }, $b, { address: $c }]",
        &origins,
    )
    .await;

    let report = weir.client().get_many("/", 700, 64).await;

    report.expect_lossless();
    assert_eq!(hits(&origins), [500, 100, 100]);
    for (origin, picks) in origins.iter().zip([500.0, 100.0, 100.0]) {
        let picked = format!(r#"weir_picks_total{{pool="web",endpoint="{origin}"}}"#);
        assert_eq!(weir.metric(&picked).await, picks);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_shares_out_by_weight_within_six_sigma() {
    let origins = Origin::several(2);
    let weir = weir_with(
        "balance: random, endpoints: [{ address: $a, weight: 3 }, $b]",
        &origins,
    )
    .await;

    weir.client()
        .get_many("/", 1000, 64)
        .await
        .expect_lossless();

    // Binomial, n = 1000, p = 3/4: sigma is 13.7, and one run in 500 million is further off than six.
    let share = hits(&origins)[0];
    assert!((750 - 83..=750 + 83).contains(&share), "{share} of 1000");
}

#[tokio::test]
async fn least_conn_without_load_shares_out_exactly_by_weight() {
    let origins = Origin::several(3);
    let weir = weir_with("endpoints: [{ address: $a, weight: 5 }, $b, $c]", &origins).await;

    for _ in 0..14 {
        weir.client().get("/").await;
        // The client has its response a moment before the endpoint counts as idle again.
        weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    }

    assert_eq!(hits(&origins), [10, 2, 2]);
}

// --- load

#[tokio::test(flavor = "multi_thread")]
async fn least_conn_spreads_held_requests_evenly_or_by_weight() {
    for (endpoints, expected) in [
        ("[$a, $b, $c, $d]", vec![16, 16, 16, 16]),
        ("[{ address: $a, weight: 3 }, $b]", vec![48, 16]),
    ] {
        let gate = Gate::new();
        let origins = held_origins(expected.len(), &gate);
        let pool = format!("balance: least_conn, endpoints: {endpoints}");
        let weir = weir_with(&pool, &origins).await;

        let requests = hold(&weir, 64, &origins).await;

        assert_eq!(in_flight(&origins), expected);
        gate.open();
        expect_ok(requests).await;
    }
}

#[tokio::test]
async fn least_conn_gives_the_next_request_to_an_idle_endpoint() {
    let gate = Gate::new();
    let origins = held_origins(3, &gate);
    let weir = weir_with(
        "endpoints: [{ address: $a, weight: 100 }, { address: $b, weight: 10 }, $c]",
        &origins,
    )
    .await;

    let mut requests = Vec::new();
    for held in 1..=3 {
        requests.extend(hold(&weir, 1, &origins).await);
        let busy = in_flight(&origins).iter().filter(|n| **n == 1).count();
        assert_eq!(busy, held, "{:?}", in_flight(&origins));
    }
    // None is idle any more: weight decides.
    requests.extend(hold(&weir, 1, &origins).await);
    assert_eq!(in_flight(&origins), [2, 1, 1]);

    gate.open();
    expect_ok(requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn least_conn_spares_an_endpoint_that_is_slow() {
    let gate = Gate::new();
    let mut origins = held_origins(1, &gate);
    origins.push(Origin::serving("fast"));
    let weir = weir_with("endpoints: [$a, $b]", &origins).await;

    let load = Load::start(&weir.client(), "/", 4);
    eventually("the fast one serves", async || origins[1].hits() >= 300).await;
    // Of four requests at a time, two at most wait for the slow one: then it is the busier.
    assert!(origins[0].hits() <= 2, "{:?}", hits(&origins));

    gate.open();
    load.stop().await.expect_lossless();
}

#[tokio::test]
async fn in_flight_returns_to_zero_whatever_became_of_the_attempts() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = move |request: &Request| match request.target.as_str() {
        "/reset" => Reply::nothing().reset(),
        "/close" => Reply::nothing(),
        "/cut" => Reply::ok("half").short_by(4),
        "/garbage" => Reply::raw("garbage\r\n\r\n"),
        "/ok" => Reply::ok("ok"),
        _ => Reply::ok("held").after(&held),
    };
    let (a, b) = (Origin::start(script.clone()), Origin::start(script));
    let gone = Origin::serving("");
    gone.stop().await;
    let weir = weir(
        "
        pools: { web: { endpoints: [$a, $b, $gone], read_timeout: 200ms } }
        routes:
          - { path: /late, pool: web, timeout: 100ms }
          - { path: /large, pool: web, body_limit: 1B }
          - { pool: web }
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
        let chunked = client.request("POST", "/large").chunked(["too", "large"]);
        assert_eq!(chunked.send().await.status, 413);
        let mut aborted = client.connect().await;
        aborted
            .write(aborted.request("GET", "/abort").bytes())
            .await;
        eventually("it is under way", async || gate.waiting() > 0).await;
        drop(aborted);
        weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    }

    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    let status = weir.command(&["status", "--json"]).await;
    assert!(!status.stdout.contains(r#""in_flight":1"#), "{status:?}");
    // Nothing is left that would lean the next picks to one side.
    gone.restart();
    let report = client.get_many("/ok", 9, 1).await;
    report.expect_lossless();
}

// --- who may serve

#[tokio::test]
async fn an_endpoint_of_weight_0_gets_nothing() {
    for balance in [
        "round_robin",
        "least_conn",
        "random",
        "p2c",
        "ewma",
        "prequal",
        "hash",
    ] {
        let origins = Origin::several(2);
        let pool = format!("balance: {balance}, endpoints: [{{ address: $a, weight: 0 }}, $b]");
        let weir = weir_with(&pool, &origins).await;
        weir.client().get_many("/", 40, 8).await.expect_lossless();
        assert_eq!(hits(&origins), [0, 40], "{balance}");
    }
}

#[tokio::test]
async fn a_pool_of_weight_0_alone_is_503_and_says_when_to_come_back() {
    let origins = Origin::several(1);
    let weir = weir_with("endpoints: [{ address: $a, weight: 0 }]", &origins).await;

    let response = weir.client().get("/").await;

    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert_eq!(weir.logged(1).await[0]["termination"], "no_endpoint");
    assert_eq!(origins[0].hits(), 0);
}

#[tokio::test]
async fn a_backup_serves_only_while_no_other_endpoint_is_ready() {
    let origins = Origin::several(3);
    let weir = weir_with(
        "endpoints: [$a, $b, { address: $c, backup: true, weight: 100 }],
         health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }",
        &origins,
    )
    .await;
    let ready = |origin: &Origin| format!(r#"weir_endpoint_ready{{endpoint="{origin}"}}"#);
    let get_ten = async || {
        let report = weir.client().get_many("/", 10, 2).await;
        report.expect_lossless();
        report.by_body.into_keys().collect::<Vec<_>>()
    };

    assert_eq!(get_ten().await, ["a", "b"]);
    origins[0].health(false);
    weir.metric_becomes(&ready(&origins[0]), 0.0).await;
    assert_eq!(get_ten().await, ["b"]);
    origins[1].health(false);
    weir.metric_becomes(&ready(&origins[1]), 0.0).await;
    assert_eq!(get_ten().await, ["c"]);
    origins[0].health(true);
    weir.metric_becomes(&ready(&origins[0]), 1.0).await;
    assert_eq!(get_ten().await, ["a"]);
}

#[tokio::test]
async fn without_a_ready_endpoint_it_is_503_until_one_recovers() {
    let origins = Origin::several(2);
    let weir = weir_with(
        "endpoints: [$a, $b], health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }",
        &origins,
    )
    .await;
    origins.iter().for_each(|origin| origin.health(false));
    weir.metric_becomes("weir_endpoint_ready", 0.0).await;

    let response = weir.client().get("/").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(hits(&origins), [0, 0]);
    let status = weir.command(&["status"]).await;
    assert!(
        status.stdout.contains("web  least_conn  not ready"),
        "{status:?}"
    );

    origins[1].health(true);
    weir.metric_becomes("weir_endpoint_ready", 1.0).await;
    assert_eq!(weir.client().get("/").await.text(), "b");
}

// --- reload

#[tokio::test]
async fn new_weights_take_effect_while_what_is_in_flight_still_counts() {
    let gate = Gate::new();
    let origins = held_origins(2, &gate);
    let weir = weir_with("endpoints: [$a, $b]", &origins).await;
    let mut requests = hold(&weir, 4, &origins).await;
    assert_eq!(in_flight(&origins), [2, 2]);

    let reloaded = weir.reload_with(
        "
        pools: { web: { endpoints: [{ address: $a, weight: 3 }, $b] } }
        routes: [{ pool: web }]
    ",
    );
    assert!(reloaded.await, "{}", weir.stderr());
    requests.extend(hold(&weir, 4, &origins).await);

    // Forgotten counts would make it 5 and 3.
    assert_eq!(in_flight(&origins), [6, 2]);
    assert_eq!(weir.metric("weir_endpoint_in_flight").await, 8.0);
    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test]
async fn an_endpoint_that_is_drained_or_removed_finishes_what_it_has() {
    let gate = Gate::new();
    let origins = held_origins(3, &gate);
    let weir = weir_with("endpoints: [$a, $b]", &origins).await;
    let mut requests = hold(&weir, 4, &origins).await;

    let reloaded = weir.reload_with(
        "
        pools: { web: { endpoints: [{ address: $a, weight: 0 }, $c] } }
        routes: [{ pool: web }]
    ",
    );
    assert!(reloaded.await, "{}", weir.stderr());
    requests.extend(hold(&weir, 3, &origins).await);
    assert_eq!(in_flight(&origins), [2, 2, 3]);

    gate.open();
    expect_ok(requests).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    let removed = format!(r#"weir_picks_total{{endpoint="{}"}}"#, origins[1]);
    eventually("its series go with its last request", async || {
        weir.find_metric(&removed).await.is_none()
    })
    .await;
    steadily(
        "nothing new comes to them",
        Duration::from_millis(50),
        async || hits(&origins) == [2, 2, 3],
    )
    .await;
}
