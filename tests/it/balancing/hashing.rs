//! Consistent hashing through the real proxy: equal keys meet, different ones spread, none is too hot.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Which origin serves each of these requests, in turn.
async fn served(weir: &Weir, requests: impl IntoIterator<Item = RequestBuilder>) -> Vec<String> {
    let mut bodies = Vec::new();
    for request in requests {
        bodies.push(request.send().await.text());
        weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    }
    bodies
}

#[tokio::test]
async fn equal_keys_meet_at_one_endpoint_and_different_ones_spread() {
    for (key, with) in [
        ("path", "path"),
        ("uri", "uri"),
        ("{ header: X-User }", "header"),
        ("{ cookie: id }", "cookie"),
        ("{ argument: id }", "argument"),
    ] {
        let origins = Origin::several(3);
        let pool = format!(
            "balance: {{ hash: {{ key: {key}, table: maglev }} }}, endpoints: [$a, $b, $c]"
        );
        let weir = weir_with(&pool, &origins).await;
        let client = weir.client();
        let request = |n: usize, round: usize| match with {
            "path" => client.request("GET", &format!("/{n}?round={round}")),
            "uri" => client.request("GET", &format!("/?id={n}")),
            "header" => client
                .request("GET", &format!("/{round}"))
                .header("X-User", n.to_string()),
            "cookie" => client
                .request("GET", &format!("/{round}"))
                .header("Cookie", format!("round={round}; id={n}")),
            _ => client.request("GET", &format!("/{round}?id={n}&round={round}")),
        };

        let first = served(&weir, (0..12).map(|n| request(n, 1))).await;
        let second = served(&weir, (0..12).map(|n| request(n, 2))).await;

        assert_eq!(first, second, "{key}");
        let used: BTreeSet<_> = first.iter().collect();
        assert!(used.len() >= 2, "{key}: {first:?}");
    }
}

#[tokio::test]
async fn by_default_a_client_address_meets_its_endpoint_again() {
    let origins = Origin::several(3);
    let weir = weir_with("balance: hash, endpoints: [$a, $b, $c]", &origins).await;
    let mut by_origin = BTreeMap::<String, usize>::new();
    for n in 1..=12 {
        let client = weir.client().from(&format!("127.0.0.{n}"));
        let requests = ["/x", "/y", "/z"].map(|target| client.request("GET", target));
        let bodies = served(&weir, requests).await;
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        *by_origin.entry(bodies[0].clone()).or_default() += 1;
    }
    assert!(by_origin.len() >= 2, "{by_origin:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_load_spreads_a_key_that_all_ask_for() {
    for (bound, most) in [
        ("", 10),
        (", bounded_load: 2", 16),
        (", bounded_load: off", 32),
    ] {
        let gate = Gate::new();
        let origins = held_origins(4, &gate);
        let pool =
            format!("balance: {{ hash: {{ key: path{bound} }} }}, endpoints: [$a, $b, $c, $d]");
        let weir = weir_with(&pool, &origins).await;

        let requests = hold(&weir, 32, &origins).await;

        let busiest = in_flight(&origins).into_iter().max();
        assert_eq!(busiest, Some(most), "{bound}: {:?}", in_flight(&origins));
        gate.open();
        expect_ok(requests).await;
    }
}

#[tokio::test]
async fn two_weirs_agree_whatever_the_order_of_their_endpoints() {
    let origins = Origin::several(3);
    for table in ["ring", "maglev"] {
        let balance = format!("balance: {{ hash: {{ key: path, table: {table} }} }}");
        let one = weir_with(&format!("{balance}, endpoints: [$a, $b, $c]"), &origins).await;
        let two = weir_with(&format!("{balance}, endpoints: [$c, $a, $b]"), &origins).await;
        let get_from = async |weir: &Weir| {
            let client = weir.client();
            served(
                weir,
                (0..10).map(|n| client.request("GET", &format!("/{n}"))),
            )
            .await
        };
        assert_eq!(get_from(&one).await, get_from(&two).await, "{table}");
    }
}

#[tokio::test]
async fn keys_of_a_failed_endpoint_go_elsewhere_and_come_back() {
    let origins = Origin::several(3);
    let weir = weir_with(
        "balance: { hash: { key: path } }, endpoints: [$a, $b, $c],
         health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }",
        &origins,
    )
    .await;
    let client = weir.client();
    let get = async || {
        served(
            &weir,
            (0..12).map(|n| client.request("GET", &format!("/{n}"))),
        )
        .await
    };
    let before = get().await;
    let ready = format!(r#"weir_endpoint_ready{{endpoint="{}"}}"#, origins[0]);

    origins[0].health(false);
    weir.metric_becomes(&ready, 0.0).await;
    let during = get().await;
    for (before, during) in before.iter().zip(&during) {
        assert!(before == during || before == "a", "{before} then {during}");
        assert_ne!(during, "a");
    }

    origins[0].health(true);
    weir.metric_becomes(&ready, 1.0).await;
    assert_eq!(get().await, before);
}
