//! Outliers: endpoints whose requests fail are left out for a while, and how they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use crate::support::*;

/// An origin that answers with the status it is told.
struct Patient {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Patient {
    fn new() -> Patient {
        let status = Arc::new(AtomicU16::new(200));
        let told = status.clone();
        Patient {
            origin: Origin::start(move |_| Reply::status(told.load(SeqCst))),
            status,
        }
    }

    fn several(count: usize) -> Vec<Patient> {
        (0..count).map(|_| Patient::new()).collect()
    }

    fn answer(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    fn hits(&self) -> usize {
        self.origin.hits()
    }
}

/// Round robin over `$a`, `$b` …, with more keys for the pool.
fn yaml(count: usize, pool: &str) -> String {
    let names: Vec<String> = ('a'..).take(count).map(|name| format!("${name}")).collect();
    format!(
        "pools: {{ web: {{ balance: round_robin, endpoints: [{}], {pool} }} }}\nroutes: [{{ pool: web }}]",
        names.join(", ")
    )
}

async fn in_front_of(origins: impl IntoIterator<Item = &Origin>, pool: &str) -> Weir {
    let origins: Vec<&Origin> = origins.into_iter().collect();
    let setup = weir(&yaml(origins.len(), pool));
    let names = ('a'..).map(String::from);
    let setup = names
        .zip(origins)
        .fold(setup, |setup, (name, origin)| setup.with(&name, origin));
    setup.start().await
}

async fn in_front_of_patients(patients: &[Patient], pool: &str) -> Weir {
    in_front_of(patients.iter().map(|patient| &patient.origin), pool).await
}

fn went(origin: &Origin, to: &str) -> String {
    format!(r#"weir_endpoint_circuit_transitions_total{{endpoint="{origin}",to="{to}"}}"#)
}

/// Sends requests until the endpoint's circuit has gone there so many times.
async fn until_it_went(weir: &Weir, origin: &Origin, to: &str, times: f64) {
    eventually(format!("{origin} went to {to} {times} times"), async || {
        weir.client().get("/").await;
        weir.metric(&went(origin, to)).await >= times
    })
    .await;
}

/// How many of so many requests each of them gets.
async fn shares(weir: &Weir, patients: &[Patient], count: usize) -> Vec<usize> {
    let before: Vec<usize> = patients.iter().map(Patient::hits).collect();
    weir.client().get_many("/", count, 1).await;
    let hits = patients.iter().map(Patient::hits);
    hits.zip(before).map(|(now, before)| now - before).collect()
}

// --- ejection

#[tokio::test]
async fn an_endpoint_that_answers_503_is_ejected_and_says_why() {
    let patients = Patient::several(3);
    patients[0].answer(503);
    let weir = in_front_of_patients(&patients, "").await;
    until_it_went(&weir, &patients[0].origin, "ejected", 1.0).await;

    assert_eq!(shares(&weir, &patients, 30).await[0], 0);
    let ready = format!(
        r#"weir_endpoint_ready{{endpoint="{}"}}"#,
        patients[0].origin
    );
    weir.metric_becomes(&ready, 0.0).await;
    let (origin, said) = (&patients[0].origin, weir.stderr());
    assert!(
        said.contains(&format!("endpoint {origin} of pool web ejected for")),
        "{said}"
    );
    assert!(said.contains("5 failures in a row"), "{said}");
    let status = weir.command(&["status"]).await.stdout;
    assert!(status.contains("ejected "), "{status}");
    assert!(status.contains("5 failures in a row"), "{status}");
    let status = weir.command(&["status", "--json"]).await.stdout;
    assert!(status.contains(r#""seconds_left":"#), "{status}");
}

#[tokio::test]
async fn failures_in_a_row_are_counted_as_configured() {
    for (failures, ejected) in [(2, true), (0, false)] {
        let patients = Patient::several(3);
        patients[0].answer(502);
        let outlier = format!("outlier: {{ consecutive_failures: {failures} }}");
        let weir = in_front_of_patients(&patients, &outlier).await;
        for _ in 0..60 {
            weir.client().get("/").await;
        }
        assert_eq!(patients[0].hits() < 20, ejected, "{failures}");
    }
}

#[tokio::test]
async fn without_outliers_nothing_is_ejected() {
    let patients = Patient::several(3);
    patients[0].answer(503);
    let weir = in_front_of_patients(&patients, "outlier: off").await;
    assert_eq!(shares(&weir, &patients, 60).await, [20, 20, 20]);
}

#[tokio::test]
async fn a_pool_of_one_or_two_loses_none() {
    for count in [1, 2] {
        let patients = Patient::several(count);
        patients.iter().for_each(|patient| patient.answer(503));
        let weir = in_front_of_patients(&patients, "").await;
        let expected = vec![40 / count; count];
        assert_eq!(shares(&weir, &patients, 40).await, expected);
    }
}

#[tokio::test]
async fn so_many_are_ejected_as_the_cap_allows_and_never_the_last() {
    for (max_percent, expected) in [(33, 1), (66, 2), (100, 2)] {
        let patients = Patient::several(3);
        let keys = format!("outlier: {{ max_percent: {max_percent} }}, panic_threshold: 0");
        let weir = in_front_of_patients(&patients, &keys).await;
        patients.iter().for_each(|patient| patient.answer(503));
        for _ in 0..60 {
            weir.client().get("/").await;
        }
        let all = r#"weir_endpoint_circuit_transitions_total{to="ejected"}"#;
        weir.metric_becomes(all, f64::from(expected)).await;
        let shares = shares(&weir, &patients, 30).await;
        let idle = shares.iter().filter(|hits| **hits == 0).count();
        assert_eq!(idle as i32, expected, "{max_percent}: {shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_answered_with_an_error_has_failed() {
    let patients = Patient::several(5);
    patients[4].answer(500);
    let settings =
        "outlier: { interval: 100ms, min_requests: 5, base_time: 100ms }, slow_start: 0s";
    let weir = in_front_of_patients(&patients, settings).await;
    let origin = &patients[4].origin;
    let load = Load::start(&weir.client(), "/", 4);
    let it_went = async |to, times| weir.metric(&went(origin, to)).await >= times;
    eventually("its trial failed", async || it_went("ejected", 2.0).await).await;
    assert!(!it_went("closed", 1.0).await);
    patients[4].answer(200);
    eventually("it is back", async || it_went("closed", 1.0).await).await;
    load.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_lets_the_deadlines_of_requests_pass_is_ejected() {
    let (never, stuck_hedged) = (Gate::new(), Gate::new());
    for (gate, hedge) in [(never, ""), (stuck_hedged, ", hedge: { after: 10ms }")] {
        let stuck = Origin::start(move |_| Reply::ok("late").after(&gate));
        let good = Origin::several(2);
        let yaml = format!(
            "pools: {{ web: {{ balance: round_robin, endpoints: [$a, $b, $c] }} }}\n\
             routes: [{{ pool: web, timeout: 200ms{hedge} }}]"
        );
        let setup = weir(&yaml).with("a", &stuck);
        let setup = setup.with("b", &good[0]).with("c", &good[1]);
        let weir = setup.start().await;
        until_it_went(&weir, &stuck, "ejected", 1.0).await;
        let is_told = |line: &serde_json::Value| {
            line["termination"] == "request_timeout" && line["attempts"][0]["outcome"] == "timeout"
        };
        let is_logged = async || weir.access_log().iter().any(is_told);
        eventually("its timeouts are in the log", is_logged).await;
    }
}

#[tokio::test]
async fn a_request_that_its_client_sends_too_slowly_is_nobodys_failure() {
    let origin = Origin::serving("a");
    let weir = weir(
        "pools: { web: { endpoints: [$a], outlier: { consecutive_failures: 1 } } }\n\
         routes: [{ pool: web, timeout: 50ms }]",
    )
    .with("a", &origin)
    .start()
    .await;
    let mut slow = weir.client().connect().await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf";
    slow.write(head).await;
    let line = &weir.logged(1).await[0];
    assert_eq!(line["attempts"][0]["outcome"], "pending", "{line}");
    assert_eq!(weir.metric("weir_endpoint_failures_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_rate_far_below_the_others_ejects() {
    for (keys, ejected) in [
        ("min_requests: 10", true),
        ("min_requests: 10, success_rate: false", false),
        ("min_requests: 10, min_endpoints: 6", false),
        ("min_requests: 1000000", false),
    ] {
        let patients = Patient::several(5);
        patients[4].answer(500);
        let outlier = format!("outlier: {{ interval: 200ms, {keys} }}");
        let weir = in_front_of_patients(&patients, &outlier).await;
        let load = Load::start(&weir.client(), "/", 4);
        let is_ejected = async || weir.metric(&went(&patients[4].origin, "ejected")).await == 1.0;
        if ejected {
            eventually("it is ejected", is_ejected).await;
            let said = weir.stderr();
            assert!(
                said.contains("success rate 0.0%, mean of the pool 80.0%"),
                "{said}"
            );
        } else {
            let stays = async || !is_ejected().await;
            steadily("it is not ejected", Duration::from_millis(900), stays).await;
        }
        load.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_much_slower_than_the_others_is_ejected_when_asked_for() {
    let gate = Gate::new();
    let slow = Origin::start({
        let gate = gate.clone();
        move |_| Reply::ok("late").after(&gate)
    });
    let fast = Origin::several(4);
    let outlier = "outlier: { slow_factor: 3, interval: 1s, min_requests: 2 }";
    let weir = in_front_of(fast.iter().chain([&slow]), outlier).await;
    let load = Load::start(&weir.client(), "/", 4);
    eventually("the slow one is ejected", async || {
        // It takes 30 ms for each.
        steadily("it is slow", Duration::from_millis(30), async || true).await;
        gate.admit(gate.waiting());
        weir.metric(&went(&slow, "ejected")).await == 1.0
    })
    .await;
    gate.open();
    assert!(
        weir.stderr().contains("median of the pool"),
        "{}",
        weir.stderr()
    );
    load.stop().await.expect_lossless();
}

// --- the way back

#[tokio::test(flavor = "multi_thread")]
async fn one_request_tries_an_ejected_endpoint_and_brings_it_back() {
    let (gate, status) = (Gate::new(), Arc::new(AtomicU16::new(503)));
    let (held, told) = (gate.clone(), status.clone());
    let a = Origin::start(move |_| match told.load(SeqCst) {
        200 => Reply::ok("a").after(&held),
        status => Reply::status(status),
    });
    let others = Origin::several(2);
    let weir = in_front_of(
        [&a].into_iter().chain(&others),
        "outlier: { base_time: 200ms }",
    )
    .await;
    until_it_went(&weir, &a, "ejected", 1.0).await;
    // The trial fails: it is ejected again.
    until_it_went(&weir, &a, "ejected", 2.0).await;
    status.store(200, SeqCst);
    weir.metric_becomes(&went(&a, "half_open"), 2.0).await;

    let before = a.hits();
    let requests: Vec<_> = (0..20)
        .map(|_| tokio::spawn(weir.client().get("/")))
        .collect();
    eventually("the trial is under way", async || a.in_flight() == 1).await;
    let others_done = async || others.iter().map(Origin::in_flight).sum::<usize>() == 0;
    eventually("the others have been answered", others_done).await;
    assert_eq!(a.hits(), before + 1);
    gate.open();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    weir.metric_becomes(&went(&a, "closed"), 1.0).await;
    eventually("it serves", async || {
        weir.client().get("/").await.text() == "a"
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_ejected_and_comes_back() {
    let origins = Origin::several(3);
    let weir = in_front_of(&origins, "outlier: { base_time: 200ms }").await;
    origins[0].stop().await;
    until_it_went(&weir, &origins[0], "ejected", 2.0).await;
    origins[0].restart();
    until_it_went(&weir, &origins[0], "closed", 1.0).await;
    assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
    eventually("it serves", async || {
        weir.client().get("/").await.text() == "a"
    })
    .await;
}

#[tokio::test]
async fn where_there_are_probes_no_request_is_risked() {
    let patients = Patient::several(3);
    let keys = "health: { http: /healthz, interval: 100ms }, outlier: { base_time: 100ms }";
    let weir = in_front_of_patients(&patients, keys).await;
    patients[0].answer(503);
    until_it_went(&weir, &patients[0].origin, "ejected", 1.0).await;
    let hits = patients[0].hits();
    // Its probes pass all the time, without a request.
    weir.metric_becomes(&went(&patients[0].origin, "closed"), 1.0)
        .await;
    assert_eq!(patients[0].hits(), hits);
}

#[tokio::test]
async fn no_ejection_is_longer_than_the_longest() {
    let patients = Patient::several(3);
    patients[0].answer(503);
    let outlier = "outlier: { base_time: 100ms, max_time: 150ms }";
    let weir = in_front_of_patients(&patients, outlier).await;
    until_it_went(&weir, &patients[0].origin, "ejected", 4.0).await;
    let said = weir.stderr();
    let times: Vec<f64> = said
        .lines()
        .filter_map(|line| line.split_once("ejected for ")?.1.split_once("ms"))
        .map(|(time, _)| time.parse().unwrap())
        .collect();
    assert!(times.len() >= 4, "{said}");
    assert!(times[0] <= 100.0 && times[1] > 100.0, "{times:?}");
    assert!(times.iter().all(|time| *time <= 150.0), "{times:?}");
}

#[tokio::test]
async fn an_ejection_survives_a_reload() {
    let patients = Patient::several(3);
    patients[0].answer(503);
    let weir = in_front_of_patients(&patients, "").await;
    until_it_went(&weir, &patients[0].origin, "ejected", 1.0).await;
    assert!(weir.reload().await, "{}", weir.stderr());
    assert_eq!(shares(&weir, &patients, 20).await[0], 0);
}

// --- panic

#[tokio::test]
async fn with_too_few_endpoints_left_all_get_requests() {
    for (threshold, used) in [(50, 4), (0, 1)] {
        let patients = Patient::several(4);
        patients[..3].iter().for_each(|patient| patient.answer(503));
        let keys = format!("panic_threshold: {threshold}, outlier: {{ max_percent: 100 }}");
        let weir = in_front_of_patients(&patients, &keys).await;
        let all = r#"weir_endpoint_circuit_transitions_total{to="ejected"}"#;
        eventually("three are ejected", async || {
            weir.client().get("/").await;
            weir.metric(all).await == 3.0
        })
        .await;
        let panics = if threshold > 0 { 1.0 } else { 0.0 };
        weir.metric_becomes("weir_pool_panic", panics).await;
        assert_eq!(
            weir.stderr().contains("pool web panics: 1 of 4"),
            threshold > 0
        );
        let shares = shares(&weir, &patients, 40).await;
        let got_some = shares.iter().filter(|hits| **hits > 5).count();
        assert_eq!(got_some, used, "{threshold}: {shares:?}");
    }
}

#[tokio::test]
async fn in_a_panic_probes_do_not_matter_either_unless_all_fail() {
    let patients = Patient::several(4);
    let health = "health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }";
    let weir = in_front_of_patients(&patients, health).await;
    patients[..3]
        .iter()
        .for_each(|patient| patient.origin.health(false));
    weir.metric_becomes("weir_pool_panic", 1.0).await;
    let shares_now = shares(&weir, &patients, 40).await;
    assert!(shares_now.iter().all(|hits| *hits > 5), "{shares_now:?}");
    patients[3].origin.health(false);
    weir.metric_becomes("weir_pool_panic", 0.0).await;
    assert_eq!(weir.client().get("/").await.status, 503);
    patients[..2]
        .iter()
        .for_each(|patient| patient.origin.health(true));
    weir.metric_becomes("weir_endpoint_ready", 2.0).await;
    assert_eq!(shares(&weir, &patients, 20).await[2..], [0, 0]);
}

#[tokio::test]
async fn backups_serve_without_panic_while_no_other_is_ready_and_the_fallback_when_all_is_lost() {
    let origins = Origin::several(3);
    let weir = weir(
        "
        pools:
          web:
            endpoints: [$a, $b, { address: $c, backup: true }]
            panic_threshold: 60
            fallback: { status: 200, body: the page for bad days }
            slow_start: 0s
            health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }
        routes: [{ pool: web }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .with("c", &origins[2])
    .start()
    .await;
    let becomes = async |place: usize, healthy: bool| {
        let origin = &origins[place];
        origin.health(healthy);
        let ready = format!(r#"weir_endpoint_ready{{endpoint="{origin}"}}"#);
        weir.metric_becomes(&ready, f64::from(u8::from(healthy)))
            .await;
    };
    let served = async || weir.client().get_many("/", 20, 1).await;
    let panics = "weir_pool_panic{pool=\"web\"}";

    // Half of the primaries is too few, but the backups are well.
    becomes(0, false).await;
    assert_eq!(served().await.body("b"), 20);
    becomes(1, false).await;
    assert_eq!(served().await.body("c"), 20);
    assert_eq!(weir.find_metric(panics).await.unwrap_or(0.0), 0.0);

    becomes(2, false).await;
    let report = served().await;
    assert_eq!(report.body("the page for bad days"), 20);

    // One of three is back, which is too few: all get requests, also those that failed their probes.
    becomes(0, true).await;
    weir.metric_becomes(panics, 1.0).await;
    let report = served().await;
    assert_eq!((report.body("a"), report.body("b")), (10, 10));

    becomes(1, true).await;
    weir.metric_becomes(panics, 0.0).await;
    assert_eq!(served().await.body("c"), 0);
}

// --- slow start

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_back_comes_to_its_share_little_by_little() {
    for (slow_start, least, most) in [("1h", 0, 25), ("0s", 100, 100)] {
        let patients = Patient::several(3);
        let keys = format!("slow_start: {slow_start}, outlier: {{ base_time: 100ms }}");
        let weir = in_front_of_patients(&patients, &keys).await;
        assert_eq!(shares(&weir, &patients, 30).await, [10, 10, 10]);
        patients[0].answer(503);
        until_it_went(&weir, &patients[0].origin, "ejected", 1.0).await;
        patients[0].answer(200);
        until_it_went(&weir, &patients[0].origin, "closed", 1.0).await;
        // A tenth of a third of 300, and five standard deviations (3.1).
        let share = shares(&weir, &patients, 300).await[0];
        assert!((least..=most).contains(&share), "{slow_start}: {share}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_start_ends_with_its_window_for_every_algorithm() {
    for balance in ["round_robin", "least_conn", "random", "p2c", "ewma"] {
        let origins = Origin::several(2);
        let weir = weir(
            "
            pools:
              web:
                balance: $balance
                endpoints: [$a, $b]
                slow_start: 1h
                health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }
            routes: [{ pool: web }]
        ",
        )
        .with("balance", balance)
        .with("a", &origins[0])
        .with("b", &origins[1])
        .start()
        .await;
        let ready = format!(r#"weir_endpoint_ready{{endpoint="{}"}}"#, origins[0]);
        origins[0].health(false);
        weir.metric_becomes(&ready, 0.0).await;
        origins[0].health(true);
        weir.metric_becomes(&ready, 1.0).await;
        // It may be picked a tenth of the time, and ewma may prefer it whenever it is: 20, and five
        // standard deviations (4.2).
        let cold = weir.client().get_many("/", 200, 1).await.body("a");
        assert!(cold <= 41, "{balance}: {cold}");

        let yaml = "
            pools:
              web:
                balance: $balance
                endpoints: [$a, $b]
                slow_start: 100ms
                health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }
            routes: [{ pool: web }]
        ";
        let yaml = yaml
            .replace("$balance", balance)
            .replace("$a", &origins[0].to_string())
            .replace("$b", &origins[1].to_string());
        assert!(weir.reload_with(&yaml).await, "{}", weir.stderr());
        eventually(format!("{balance}: its share is whole"), async || {
            weir.client().get_many("/", 200, 1).await.body("a") >= 70
        })
        .await;
    }
}

// --- fallback

#[tokio::test]
async fn a_pools_fallback_is_served_when_no_endpoint_can() {
    let origin = Origin::serving("origin");
    let weir = weir(
        "
        pools:
          web:
            endpoints: [$a]
            health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }
            fallback: { status: 200, content_type: text/html, body: '<p>back soon</p>' }
          plain: { endpoints: [$a], fallback: { body: sorry } }
        routes: [{ path: /plain, pool: plain }, { pool: web }]
    ",
    )
    .with("a", &origin)
    .start()
    .await;
    assert_eq!(weir.client().get("/").await.text(), "origin");
    origin.health(false);
    weir.metric_becomes(r#"weir_endpoint_ready{pool="web"}"#, 0.0)
        .await;
    let response = weir.client().get("/").await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "<p>back soon</p>")
    );
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert_eq!(response.header("cache-control"), Some("no-store"));

    origin.stop().await;
    let response = weir.client().get("/plain").await;
    assert_eq!((response.status, response.text().as_str()), (503, "sorry"));
    assert!(response.header("retry-after").is_some());
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    // The record tells what happened.
    let lines = weir.logged(3).await;
    for termination in ["no_endpoint", "connect_failed"] {
        let mut words = lines.iter().map(|line| &line["termination"]);
        assert!(words.any(|word| word == termination), "{lines:#?}");
    }
    origin.restart();
    origin.health(true);
    weir.metric_becomes(r#"weir_endpoint_ready{pool="web"}"#, 1.0)
        .await;
    assert_eq!(weir.client().get("/").await.text(), "origin");
}

#[tokio::test]
async fn an_endpoint_that_was_asked_has_no_fallback() {
    let origin = Origin::start(|_| Reply::nothing());
    let weir = in_front_of([&origin], "fallback: { body: sorry }").await;
    assert_eq!(weir.client().get("/").await.status, 502);
}
