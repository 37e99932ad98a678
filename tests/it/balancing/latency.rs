//! Selectors that look at two of many, or at how fast an endpoint answers.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn p2c_compares_all_of_a_small_pool() {
    for (endpoints, expected) in [
        ("[$a, $b, $c, $d]", vec![16, 16, 16, 16]),
        ("[{ address: $a, weight: 3 }, $b]", vec![48, 16]),
    ] {
        let gate = Gate::new();
        let origins = held_origins(expected.len(), &gate);
        let pool = format!("balance: p2c, endpoints: {endpoints}");
        let weir = weir_with(&pool, &origins).await;

        let requests = hold(&weir, 64, &origins).await;

        assert_eq!(in_flight(&origins), expected);
        gate.open();
        expect_ok(requests).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ewma_turns_away_from_an_endpoint_that_fails_fast() {
    let mut origins = Origin::several(2);
    origins.push(Origin::start(|_| Reply::status(503)));
    let weir = weir_with("balance: ewma, endpoints: [$a, $b, $c]", &origins).await;

    let report = weir.client().get_many("/", 400, 4).await;

    // At most one for each client before the first failure is known.
    let failed = report.status(503);
    assert!((1..=4).contains(&failed), "{failed} of 400");
    assert_eq!(origins[2].hits(), failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_says_not_to_measure_turns_nobody_away() {
    for (measure, turns_away) in [("", true), (", measure: false", false)] {
        let polled = |request: &Request| match request.target.as_str() {
            "/poll" => Reply::status(503),
            _ => Reply::ok("a"),
        };
        let (a, b) = (Origin::start(polled), Origin::serving("b"));
        let weir = weir(&format!(
            "
            pools: {{ web: {{ balance: ewma, endpoints: [$a, $b] }} }}
            routes: [{{ path: /poll, pool: web{measure} }}, {{ pool: web }}]
        "
        ))
        .with("a", &a)
        .with("b", &b)
        .start()
        .await;
        let client = weir.client();

        eventually("a has failed", async || {
            client.get("/poll").await.status == 503
        })
        .await;
        let report = client.get_many("/", 100, 4).await;

        report.expect_lossless();
        assert_eq!(report.body("a") == 0, turns_away, "{}", report.body("a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prequal_turns_away_from_endpoints_that_fail_or_say_they_are_busy() {
    let mut origins = Origin::several(6);
    origins.push(Origin::start(|_| Reply::status(503)));
    origins.push(Origin::start(|_| {
        Reply::ok("busy").header("X-Weir-Load", "400")
    }));
    let weir = weir_with(
        "balance: prequal, endpoints: [$a, $b, $c, $d, $e, $f, $g, $h]",
        &origins,
    )
    .await;

    let report = weir.client().get_many("/", 400, 4).await;

    let failed = report.status(503);
    assert!((1..=8).contains(&failed), "{failed} of 400");
    // A report holds for a second, and 400 requests may take more than one.
    let busy = report.body("busy");
    assert!((1..50).contains(&busy), "{busy} of 400");
}

/// A pool of eight that are asked at `/load`, with further settings of the probe.
async fn asked_for_load(settings: &str, origins: &[Origin]) -> Weir {
    let pool = format!(
        "balance: {{ prequal: {{ probe: {{ path: /load{settings} }} }} }},
         endpoints: [$a, $b, $c, $d, $e, $f, $g, $h]"
    );
    weir_with(&pool, origins).await
}

/// Says this of its load at `/load`.
fn telling(load: &'static str) -> Origin {
    Origin::start(move |request| match request.target.as_str() {
        "/load" => Reply::ok(load),
        _ => Reply::ok(if load.contains("900") { "busy" } else { "idle" }),
    })
}

fn load_probes(result: &str) -> String {
    format!("weir_load_probes_total{{pool=\"web\",result=\"{result}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn prequal_turns_away_from_endpoints_that_say_to_a_probe_that_they_are_busy() {
    let idle = r#"{"in_flight": 0, "latency_ms": 1}"#;
    let mut origins: Vec<_> = (0..6).map(|_| telling(idle)).collect();
    origins.push(telling(r#"{"in_flight": 900}"#));
    origins.push(telling(r#"{"latency_ms": 900}"#));
    let weir = asked_for_load(", timeout: 1s", &origins).await;
    let client = weir.client();

    eventually("every endpoint has been asked", async || {
        client.get("/").await;
        let was_asked = |origin: &Origin| {
            let requests = origin.requests();
            requests.iter().any(|request| request.target == "/load")
        };
        origins.iter().all(was_asked)
    })
    .await;
    let report = client.get_many("/", 400, 4).await;

    report.expect_lossless();
    // Of eight in turn it would be 100.
    let busy = report.body("busy");
    assert!(busy < 40, "{busy} of 400");
    assert_eq!(weir.find_metric(&load_probes("fail")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_pays_for_so_many_load_probes() {
    for (settings, probes) in [
        (", timeout: 1s", 3.0),
        (", timeout: 1s, per_request: 5", 5.0),
    ] {
        let origins: Vec<_> = (0..8).map(|_| telling("{}")).collect();
        let weir = asked_for_load(settings, &origins).await;
        for request in 1..=3 {
            weir.client().get("/").await;
            let expected = probes * f64::from(request);
            weir.metric_becomes("weir_load_probes_total", expected)
                .await;
        }
        // An answer that says nothing is an answer.
        assert_eq!(weir.metric(&load_probes("no_report")).await, 3.0 * probes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_probes_may_go_to_another_port() {
    let served = || Origin::start(|_| Reply::ok("served"));
    let origins: Vec<_> = (0..8).map(|_| served()).collect();
    let agent = telling(r#"{"in_flight": 1}"#);
    let settings = format!(", timeout: 1s, port: {}", agent.address().port());
    let weir = asked_for_load(&settings, &origins).await;

    assert_eq!(weir.client().get("/").await.text(), "served");
    weir.metric_becomes(&load_probes("report"), 3.0).await;

    // As a health probe it speaks of the endpoint.
    let names = origins.iter().map(|origin| origin.address().to_string());
    let names: Vec<_> = names.collect();
    for request in agent.requests() {
        let host = request.header("host").unwrap();
        assert!(names.iter().any(|name| name == host), "{host}");
    }
    let mut asked = origins.iter().flat_map(Origin::requests);
    assert!(asked.all(|request| request.target == "/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_probe_has_its_time_and_delays_no_request() {
    for (settings, result) in [(", timeout: 1ms", "fail"), (", timeout: 1s", "report")] {
        let gate = Gate::new();
        let held = || {
            let gate = gate.clone();
            Origin::start(move |request| match request.target.as_str() {
                "/load" => Reply::ok(r#"{"in_flight": 1}"#).after(&gate),
                _ => Reply::ok("served"),
            })
        };
        let origins: Vec<_> = (0..8).map(|_| held()).collect();
        let weir = asked_for_load(settings, &origins).await;

        assert_eq!(weir.client().get("/").await.text(), "served");
        if result == "report" {
            gate.open();
        }
        weir.metric_becomes(&load_probes(result), 3.0).await;
    }
}
