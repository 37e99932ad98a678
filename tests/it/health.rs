//! Health: what a probe asks and accepts, and what follows from it.
//!
//! Probes of `/healthz` are the origin's own business (`health`, `probes`); those of other paths are
//! requests, which the scripts here answer.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::*;

fn ready(origin: &Origin) -> String {
    format!(r#"weir_endpoint_ready{{endpoint="{origin}"}}"#)
}

fn went(origin: &Origin, to: &str) -> String {
    format!(r#"weir_endpoint_transitions_total{{endpoint="{origin}",to="{to}"}}"#)
}

fn probes(result: &str) -> String {
    format!(r#"weir_probes_total{{result="{result}"}}"#)
}

/// A weir with one pool of `$a`, `$b` …, probed as said.
async fn probing(health: &str, origins: &[&Origin]) -> Weir {
    let names: Vec<String> = "abcdefgh".chars().map(String::from).collect();
    let endpoints: Vec<String> = names[..origins.len()]
        .iter()
        .map(|name| format!("${name}"))
        .collect();
    let yaml = format!(
        "pools: {{ web: {{ endpoints: [{}], health: {{ {health} }}, slow_start: 0s }} }}\nroutes: [{{ pool: web }}]",
        endpoints.join(", ")
    );
    let setup = names
        .iter()
        .zip(origins)
        .fold(weir(&yaml), |setup, (name, origin)| {
            setup.with(name, origin)
        });
    setup.start().await
}

/// The lines of the process's own log that tell of an endpoint's change.
fn changes(weir: &Weir, origin: &Origin) -> Vec<String> {
    let stderr = weir.stderr();
    let lines = stderr.lines().filter(|line| {
        line.contains(&format!("endpoint {origin} of pool "))
            && (line.contains(" healthy") || line.contains("unhealthy"))
    });
    lines.map(str::to_owned).collect()
}

// --- what is probed

#[tokio::test]
async fn a_tcp_probe_wants_a_connection_and_nothing_more() {
    let (a, b) = (Origin::serving("a"), Origin::serving("b"));
    let health = "tcp: true, interval: 100ms, timeout: 500ms, rise: 1, fall: 1";
    let weir = probing(health, &[&a, &b]).await;
    weir.metric_becomes(&went(&a, "healthy"), 1.0).await;
    a.health(false);
    let passed = weir.metric(&probes("pass")).await;
    eventually("more probes pass", async || {
        weir.metric(&probes("pass")).await > passed + 4.0
    })
    .await;
    assert_eq!((a.hits(), a.probes().len()), (0, 0));

    a.stop().await;
    weir.metric_becomes(&ready(&a), 0.0).await;
    let report = weir.client().get_many("/", 10, 2).await;
    assert_eq!((report.ok, report.body("b")), (10, 10));
    a.restart();
    weir.metric_becomes(&ready(&a), 1.0).await;
    assert_eq!(weir.client().get_many("/", 10, 1).await.body("a"), 5);
}

#[tokio::test]
async fn an_http_probe_asks_as_it_is_told() {
    let origin = Origin::serving("");
    let plain = probing("http: /ping, interval: 100ms, initial: pending", &[&origin]).await;
    plain.metric_becomes(&ready(&origin), 1.0).await;
    let probe = origin.last();
    assert_eq!(
        (probe.method.as_str(), probe.target.as_str()),
        ("GET", "/ping")
    );
    assert_eq!(probe.header("host"), Some(origin.to_string().as_str()));
    assert!(probe.headers.lists("connection", "close"), "{}", probe.raw);
    drop(plain);

    let told = probing(
        "http: { method: HEAD, path: '/alive?deep=1', host: probe.test,
                 headers: { X-Probe: weir, Authorization: secret } },
         interval: 100ms, initial: pending",
        &[&origin],
    )
    .await;
    told.metric_becomes(&ready(&origin), 1.0).await;
    let probe = origin.last();
    assert_eq!(probe.method, "HEAD");
    assert_eq!(probe.target, "/alive?deep=1");
    assert_eq!(probe.headers.all("host"), ["probe.test"]);
    assert_eq!(probe.header("x-probe"), Some("weir"));
    assert_eq!(probe.header("authorization"), Some("secret"));
    // Probes are no requests of clients.
    assert_eq!(told.access_log().len(), 0);
    assert_eq!(told.metric("weir_picks_total").await, 0.0);
}

/// Answers `/204` with 204, and the others as they are called.
fn verdicts() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/well" => Reply::ok("all is ok here"),
        "/ill" => Reply::ok("all is lost"),
        "/far" => Reply::ok("x".repeat(64 * 1024) + "ok"),
        "/near" => Reply::ok("x".repeat(60 * 1024) + "ok" + &"x".repeat(200_000)),
        "/moved" => Reply::status(301).header("Location", "/well"),
        "/early" => Reply::ok("ok").interim("HTTP/1.1 103 Early Hints\r\n\r\n"),
        "/garbage" => Reply::raw("garbage\r\n\r\n"),
        "/nothing" => Reply::nothing(),
        status => Reply::status(status[1..].parse().unwrap()),
    })
}

#[tokio::test]
async fn a_probe_accepts_the_statuses_and_the_body_it_is_told_to() {
    let origin = verdicts();
    let cases = [
        ("path: /200", true),
        ("path: /204", true),
        ("path: /299", true),
        ("path: /early", true),
        // 404 is no sign of life: a wrong path must not look well.
        ("path: /404", false),
        ("path: /500", false),
        ("path: /moved", false),
        ("path: /garbage", false),
        ("path: /nothing", false),
        ("path: /404, status: 404", true),
        ("path: /200, status: 404", false),
        ("path: /205, status: [200, '204-206']", true),
        ("path: /203, status: [200, '204-206']", false),
        ("path: /moved, status: '200-399'", true),
        ("path: /well, body: '\\bok\\b'", true),
        ("path: /ill, body: '\\bok\\b'", false),
        ("path: /near, body: 'ok'", true),
        ("path: /far, body: 'ok'", false),
        ("path: /500, body: '.*'", false),
    ];
    let pool = |(number, (http, _)): (usize, &(&str, bool))| {
        format!(
            "  p{number}: {{ endpoints: [$origin], health: {{ http: {{ {http} }}, interval: 100ms, \
             timeout: 2s, fall: 2, initial: pending }} }}\n"
        )
    };
    let pools: String = cases.iter().enumerate().map(pool).collect();
    let weir = weir(&format!("pools:\n{pools}routes: [{{ pool: p0 }}]"))
        .with("origin", &origin)
        .start()
        .await;

    for (number, (http, is_well)) in cases.iter().enumerate() {
        let to = if *is_well { "healthy" } else { "unhealthy" };
        let went = format!(r#"weir_endpoint_transitions_total{{pool="p{number}",to="{to}"}}"#);
        eventually(format!("{http} is {to}"), async || {
            weir.metric(&went).await == 1.0
        })
        .await;
        let all = format!(r#"weir_endpoint_transitions_total{{pool="p{number}"}}"#);
        assert_eq!(weir.metric(&all).await, 1.0, "{http}");
    }
}

#[tokio::test]
async fn a_probe_may_go_to_another_port() {
    let (origin, other) = (Origin::serving("origin"), Origin::serving("other"));
    let port = other.port();
    for probe in ["http: /healthz", "tcp: true"] {
        let health = format!("{probe}, port: {port}, interval: 100ms, fall: 1, rise: 1");
        let weir = probing(&health, &[&origin]).await;
        weir.metric_becomes(&went(&origin, "healthy"), 1.0).await;
        assert_eq!(weir.client().get("/").await.text(), "origin");
        assert_eq!(origin.probes().len(), 0);

        other.stop().await;
        weir.metric_becomes(&ready(&origin), 0.0).await;
        other.restart();
        weir.metric_becomes(&ready(&origin), 1.0).await;
    }
    assert_eq!(other.hits(), 0);
}

#[tokio::test]
async fn an_https_probe_verifies_as_requests_do() {
    let authority = Authority::new();
    let identity = authority.issue("origin.test");
    let origin = Origin::tls(&identity, |_| Reply::ok("secret"));
    let weir = weir(
        "
        pools:
          right: { endpoints: [$origin], health: $health, tls: { ca: $ca, sni: origin.test } }
          wrong: { endpoints: [$origin], health: $health, tls: { ca: $ca, sni: other.test } }
          lax: { endpoints: [$origin], health: $health, tls: { verify: false, sni: other.test } }
        routes: [{ pool: right }]
    ",
    )
    .with("origin", &origin)
    .with("ca", authority.ca_path())
    .with(
        "health",
        "{ http: /healthz, interval: 100ms, fall: 1, initial: pending }",
    )
    .start()
    .await;

    for (pool, to) in [
        ("right", "healthy"),
        ("wrong", "unhealthy"),
        ("lax", "healthy"),
    ] {
        let went = format!(r#"weir_endpoint_transitions_total{{pool="{pool}",to="{to}"}}"#);
        weir.metric_becomes(&went, 1.0).await;
    }
    assert_eq!(weir.client().get("/").await.text(), "secret");
    let server_names: Vec<_> = origin.probes().into_iter().map(|probe| probe.sni).collect();
    assert!(server_names.contains(&Some("origin.test".to_owned())));
}

// --- what follows

/// An origin that answers its probes (`/probe`) with these statuses, each when the gate admits it,
/// and with the last one for ever.
fn probed_by_plan(plan: &'static [u16], gate: &Gate) -> Origin {
    let (next, gate) = (AtomicUsize::new(0), gate.clone());
    Origin::start(move |request| match request.target.as_str() {
        "/probe" => {
            let number = next.fetch_add(1, SeqCst).min(plan.len() - 1);
            Reply::status(plan[number]).after(&gate)
        }
        _ => Reply::ok("origin"),
    })
}

#[tokio::test]
async fn exactly_rise_passes_and_fall_failures_in_a_row_change_the_state() {
    let gate = Gate::new();
    let plan = &[200, 500, 500, 200, 500, 500, 500, 200, 500, 200, 200, 500];
    let origin = probed_by_plan(plan, &gate);
    let health = "http: /probe, interval: 100ms, timeout: 10s, rise: 2, fall: 3, initial: pending";
    let weir = probing(health, &[&origin]).await;

    // After each probe of the plan: may it be picked?
    let states = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1];
    let (mut before, mut transitions) = (0, 0.0);
    for (number, state) in states.into_iter().enumerate() {
        gate.admit(1);
        weir.metric_becomes("weir_probes_total", (number + 1) as f64)
            .await;
        // A probe is counted before it is acted on.
        weir.metric_becomes(&ready(&origin), f64::from(state)).await;
        transitions += if state == before { 0.0 } else { 1.0 };
        before = state;
        weir.metric_becomes("weir_endpoint_transitions_total", transitions)
            .await;
        assert_eq!(changes(&weir, &origin).len() as f64, transitions);
    }
    let said = changes(&weir, &origin);
    assert!(
        said[1].contains("unhealthy after 3 failures: status 500"),
        "{said:?}"
    );
    assert!(said[2].contains("healthy after 2 passes"), "{said:?}");
    assert_eq!(weir.metric(&probes("pass")).await, 5.0);
    assert_eq!(weir.metric(&probes("fail")).await, 7.0);
}

#[tokio::test]
async fn a_doubtful_endpoint_is_probed_faster() {
    let origin = Origin::serving("");
    origin.health(false);
    let health = "http: /healthz, interval: 1h, fast_interval: 100ms, fall: 5, rise: 2, \
                  initial: pending";
    let weir = probing(health, &[&origin]).await;

    // At the interval alone the fifth failure would come after four hours.
    weir.metric_becomes(&went(&origin, "unhealthy"), 1.0).await;
    assert_eq!(origin.probes().len(), 5);
    // No doubt is left.
    steadily(
        "the interval is back",
        Duration::from_millis(300),
        async || origin.probes().len() == 5,
    )
    .await;
}

#[tokio::test]
async fn a_probe_that_is_not_answered_in_time_has_failed() {
    let gate = Gate::new();
    let origin = probed_by_plan(&[200], &gate);
    let health = "http: /probe, interval: 100ms, timeout: 100ms, fall: 2, rise: 1";
    let weir = probing(health, &[&origin]).await;

    weir.metric_becomes(&ready(&origin), 0.0).await;
    let said = changes(&weir, &origin);
    assert!(said[0].contains("after 2 failures"), "{said:?}");
    assert_eq!(weir.client().get("/").await.status, 503);
    gate.open();
    weir.metric_becomes(&ready(&origin), 1.0).await;
    assert_eq!(weir.client().get("/").await.text(), "origin");
}

#[tokio::test]
async fn endpoints_that_hang_delay_nobodys_detection() {
    let gate = Gate::new();
    let hanging: Vec<Origin> = (0..6).map(|_| probed_by_plan(&[200], &gate)).collect();
    let failing = probed_by_plan(&[500], &{
        let open = Gate::new();
        open.open();
        open
    });
    let all: Vec<&Origin> = hanging.iter().chain([&failing]).collect();
    let health = "http: /probe, interval: 100ms, timeout: 1m, fall: 2";

    let weir = probing(health, &all).await;

    // One after the other, it would be its turn in minutes.
    weir.metric_becomes(&went(&failing, "unhealthy"), 1.0).await;
    for origin in &hanging {
        assert_eq!(weir.metric(&ready(origin)).await, 1.0);
    }
}

#[tokio::test]
async fn probes_of_many_endpoints_do_not_come_in_one_burst() {
    let origins = Origin::several_on_one_port(20);
    let endpoints: Vec<String> = origins.iter().map(Origin::to_string).collect();
    let weir = weir(
        "
        pools:
          web: { endpoints: [$endpoints], health: { http: /healthz, interval: 1s } }
        routes: [{ pool: web }]
    ",
    )
    .with("endpoints", endpoints.join(", "))
    .start()
    .await;
    let all = || {
        origins
            .iter()
            .map(|origin| origin.probes().len())
            .sum::<usize>()
    };
    eventually("each has been probed", async || {
        origins.iter().all(|origin| !origin.probes().is_empty())
    })
    .await;

    // Twenty in ten tenths of a second at random: fewer than five busy ones is a chance of one in a million,
    // in a round in which this test was not held up itself.
    eventually("a round is spread", async || {
        let (start, mut seen, mut tenths) = (Instant::now(), all(), [0; 10]);
        steadily("a round", Duration::from_millis(999), async || {
            let tenth = (start.elapsed().as_millis() / 100).min(9) as usize;
            tenths[tenth] += all() - seen;
            seen = all();
            true
        })
        .await;
        tenths.iter().filter(|count| **count > 0).count() >= 5
    })
    .await;
    drop(weir);
}

// --- before the first probe

#[tokio::test]
async fn initial_says_whether_an_endpoint_serves_before_its_first_probe() {
    for (initial, status, state) in [("healthy", 200, "unproven"), ("pending", 503, "pending")] {
        let gate = Gate::new();
        let origin = probed_by_plan(&[200], &gate);
        let health = format!("http: /probe, interval: 200ms, timeout: 1m, initial: {initial}");
        let weir = probing(&health, &[&origin]).await;
        eventually("the probe is under way", async || gate.waiting() == 1).await;

        assert_eq!(weir.client().get("/").await.status, status, "{initial}");
        let told = weir.command(&["status", "--json"]).await.stdout;
        assert!(told.contains(&format!(r#""state":"{state}""#)), "{told}");
        gate.open();
        weir.metric_becomes(&went(&origin, "healthy"), 1.0).await;
        assert_eq!(weir.client().get("/").await.status, 200, "{initial}");
    }
}

#[tokio::test]
async fn an_endpoint_added_by_a_reload_serves_after_its_first_pass() {
    let gate = Gate::new();
    let (old, new) = (Origin::serving("old"), probed_by_plan(&[200], &gate));
    let health = "http: /probe, interval: 100ms, timeout: 1m, initial: healthy";
    let weir = probing(health, &[&old]).await;
    weir.metric_becomes(&went(&old, "healthy"), 1.0).await;
    weir.rewrite(
        "
        pools:
          web:
            endpoints: [$a, $new]
            slow_start: 0s
            health: { http: /probe, interval: 100ms, timeout: 1m, initial: healthy }
        routes: [{ pool: web }]
    "
        .replace("$new", &new.to_string())
        .as_str(),
    );

    assert!(weir.reload().await, "{}", weir.stderr());
    eventually("its probe is under way", async || gate.waiting() == 1).await;
    let report = weir.client().get_many("/", 20, 2).await;
    assert_eq!(report.body("old"), 20, "{report:?}");
    gate.open();
    weir.metric_becomes(&ready(&new), 1.0).await;
    let report = weir.client().get_many("/", 20, 1).await;
    assert!(report.body("origin") > 0, "{report:?}");
}

// --- over reloads

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_endpoint_stays_out_over_a_reload() {
    let (well, ill) = (Origin::serving("well"), Origin::serving("ill"));
    let health = "http: /healthz, interval: 100ms, rise: 1, fall: 1";
    let weir = probing(health, &[&well, &ill]).await;
    weir.metric_becomes(&went(&ill, "healthy"), 1.0).await;
    ill.health(false);
    weir.metric_becomes(&ready(&ill), 0.0).await;
    let hits = ill.hits();
    let load = Load::start(&weir.client(), "/", 4);

    for timeout in ["1s", "2s"] {
        let yaml = "
        pools:
          web:
            endpoints: [{ address: $a, weight: 2 }, $b]
            connect_timeout: TIMEOUT
            health: { http: /healthz, interval: 100ms, rise: 1, fall: 1 }
        routes: [{ pool: web }]
        "
        .replace("TIMEOUT", timeout);
        assert!(weir.reload_with(&yaml).await, "{}", weir.stderr());
        let done = load.done();
        eventually("requests go on", async || load.done() > done + 50).await;
    }
    load.stop().await.expect_lossless();

    assert_eq!(ill.hits(), hits, "not one request");
    assert_eq!(weir.metric(&went(&ill, "unhealthy")).await, 1.0);
    ill.health(true);
    weir.metric_becomes(&ready(&ill), 1.0).await;
    weir.metric_becomes(&went(&ill, "healthy"), 2.0).await;
}

#[tokio::test]
async fn without_health_after_a_reload_every_endpoint_is_ready_again() {
    let origin = Origin::serving("origin");
    let health = "http: /healthz, interval: 100ms, fall: 1";
    let weir = probing(health, &[&origin]).await;
    origin.health(false);
    weir.metric_becomes(&ready(&origin), 0.0).await;
    assert_eq!(weir.client().get("/").await.status, 503);

    let unprobed = "pools: { web: { endpoints: [$a] } }\nroutes: [{ pool: web }]";
    assert!(weir.reload_with(unprobed).await, "{}", weir.stderr());

    weir.metric_becomes(&ready(&origin), 1.0).await;
    assert_eq!(weir.client().get("/").await.text(), "origin");
    let probed = origin.probes().len();
    steadily("nobody probes", Duration::from_millis(250), async || {
        origin.probes().len() <= probed + 1
    })
    .await;
}

#[tokio::test]
async fn requests_leave_an_endpoint_that_falls_and_come_back_when_it_recovers() {
    let (a, b) = (Origin::serving("a"), Origin::serving("b"));
    let health = "http: /healthz, interval: 100ms, rise: 2, fall: 2";
    let weir = probing(health, &[&a, &b]).await;
    let serves = async |who: &str| weir.client().get_many("/", 10, 2).await.body(who);

    for round in 1..=2 {
        a.health(false);
        weir.metric_becomes(&ready(&a), 0.0).await;
        assert_eq!(serves("b").await, 10);
        a.health(true);
        weir.metric_becomes(&ready(&a), 1.0).await;
        assert!(serves("a").await > 0);
        // Once for each fall; the first pass of all counts as well.
        weir.metric_becomes(&went(&a, "unhealthy"), f64::from(round))
            .await;
    }
    assert_eq!(weir.metric(&went(&b, "unhealthy")).await, 0.0);
    assert_eq!(changes(&weir, &b).len(), 1, "{}", weir.stderr());
}
