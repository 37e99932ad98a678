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
