//! Discovery: endpoints given by name, and name servers that change their minds or say nothing.

use std::time::{Duration, Instant};

use crate::support::*;

/// A weir whose only endpoint is `api.test`, on the origins' port, asked at this name server.
async fn weir_by_name(dns: &Dns, origin: &Origin) -> Weir {
    weir(
        "
        server: { resolvers: [$dns] }
        pools: { web: { balance: round_robin, endpoints: ['api.test:$originport'] } }
        routes: [{ pool: web, retry: { attempts: 0 } }]
    ",
    )
    .with("dns", dns)
    .with("originport", origin.port())
    .start()
    .await
}

/// The pool's endpoints, as `weir status` tells them.
async fn endpoints(weir: &Weir) -> Vec<String> {
    let status = weir.command(&["status", "--json"]).await.stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let endpoints = status["pools"][0]["endpoints"].as_array().unwrap().iter();
    endpoints
        .map(|endpoint| endpoint["address"].as_str().unwrap().to_owned())
        .collect()
}

// --- what a name means

#[tokio::test]
async fn a_name_is_all_its_addresses() {
    let (dns, origins) = (Dns::new().await, Origin::several_on_one_port(3));
    dns.resolves("api.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"], 60);
    let weir = weir_by_name(&dns, &origins[0]).await;

    // Resolved before the listeners open, so not even the first request is refused.
    let report = weir.client().get_many("/", 30, 4).await;

    report.expect_lossless();
    for body in ["a", "b", "c"] {
        assert_eq!(report.body(body), 10, "{report:?}");
    }
    let all: Vec<String> = origins.iter().map(Origin::to_string).collect();
    assert_eq!(endpoints(&weir).await, all);
    assert_eq!(dns.queries("api.test"), 2, "A and AAAA, none for a request");
}

#[tokio::test]
async fn addresses_that_come_and_go_are_followed_after_the_ttl() {
    let (dns, origins) = (Dns::new().await, Origin::several_on_one_port(3));
    dns.resolves("api.test", &["127.0.0.1", "127.0.0.2"], 1);
    let weir = weir_by_name(&dns, &origins[0]).await;
    let serving = async || {
        let report = weir.client().get_many("/", 12, 2).await;
        report.expect_lossless();
        report.by_body.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(serving().await, ["a", "b"]);

    dns.resolves("api.test", &["127.0.0.2", "127.0.0.3"], 1);
    eventually("c serves and a does not", async || {
        serving().await == ["b", "c"]
    })
    .await;
    let picks = |origin: &Origin| format!(r#"weir_picks_total{{endpoint="{origin}"}}"#);
    assert!(
        weir.metric(&picks(&origins[1])).await > 6.0,
        "b kept its count"
    );
    eventually("the series of a are gone", async || {
        weir.find_metric(&picks(&origins[0])).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn an_address_that_goes_finishes_what_it_has() {
    let (dns, gate) = (Dns::new().await, Gate::new());
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("held").after(&held));
    dns.resolves("api.test", &["127.0.0.1"], 1);
    let weir = weir_by_name(&dns, &origin).await;
    let request = tokio::spawn(weir.client().get("/"));
    eventually("it is under way", async || gate.waiting() == 1).await;

    dns.resolves("api.test", &["127.0.0.9"], 1);
    let other = format!("127.0.0.9:{}", origin.port());
    eventually("the address is another", async || {
        endpoints(&weir).await == [other.clone()]
    })
    .await;

    gate.open();
    assert_eq!(request.await.unwrap().text(), "held");
}

#[tokio::test]
async fn names_of_one_address_are_one_endpoint() {
    let (dns, origins) = (Dns::new().await, Origin::several_on_one_port(2));
    dns.resolves("one.test", &["127.0.0.1", "127.0.0.2"], 60);
    dns.resolves("two.test", &["127.0.0.2", "127.0.0.1"], 60);
    let weir = weir(
        "
        server: { resolvers: [$dns] }
        pools:
          web:
            balance: round_robin
            endpoints: ['one.test:$originport', 'two.test:$originport', '127.0.0.1:$originport']
        routes: [{ pool: web }]
    ",
    )
    .with("dns", &dns)
    .with("originport", origins[0].port())
    .start()
    .await;

    assert_eq!(endpoints(&weir).await.len(), 2);
    let report = weir.client().get_many("/", 20, 2).await;
    assert_eq!((report.body("a"), report.body("b")), (10, 10));
}

#[tokio::test]
async fn a_name_may_be_an_ipv6_address_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let dns = Dns::new().await;
    let origin = Origin::start_on("::1", |_| Reply::ok("six"));
    dns.resolves("api.test", &["::1"], 60);
    let weir = weir_by_name(&dns, &origin).await;

    assert_eq!(weir.client().get("/").await.text(), "six");
    assert_eq!(endpoints(&weir).await, [origin.to_string()]);
    let line = &weir.logged(1).await[0];
    assert_eq!(line["attempts"][0]["endpoint"], origin.to_string());
}

#[tokio::test]
async fn a_probe_of_a_named_endpoint_asks_for_the_name() {
    let (dns, origin) = (Dns::new().await, Origin::serving(""));
    dns.resolves("api.test", &["127.0.0.1"], 60);
    let weir = weir(
        "
        server: { resolvers: [$dns] }
        pools:
          web:
            endpoints: ['api.test:$originport']
            health: { http: /healthz, interval: 100ms, initial: pending }
        routes: [{ pool: web }]
    ",
    )
    .with("dns", &dns)
    .with("originport", origin.port())
    .start()
    .await;

    weir.metric_becomes("weir_endpoint_ready", 1.0).await;
    let host = format!("api.test:{}", origin.port());
    assert_eq!(origin.probes()[0].header("host"), Some(host.as_str()));
}

// --- when the name server fails

#[tokio::test]
async fn the_last_good_answer_stays_while_the_name_server_fails() {
    let (dns, origins) = (Dns::new().await, Origin::several_on_one_port(2));
    let failures = [
        ("gone", DnsAnswer::NameError),
        ("failing", DnsAnswer::ServerFailure),
        ("refused", DnsAnswer::Refused),
        ("empty", DnsAnswer::Addresses(Vec::new(), 1)),
        ("silent", DnsAnswer::Silence),
    ];
    let (mut pools, mut routes) = (String::new(), String::new());
    for (name, _) in &failures {
        dns.resolves(&format!("{name}.test"), &["127.0.0.1"], 1);
        pools.push_str(&format!(
            "  {name}: {{ endpoints: ['{name}.test:$port'] }}\n"
        ));
        routes.push_str(&format!("  - {{ path: /{name}, pool: {name} }}\n"));
    }
    let yaml = format!("server: {{ resolvers: [$dns] }}\npools:\n{pools}routes:\n{routes}");
    let weir = weir(&yaml).with("dns", &dns);
    let weir = weir.with("port", origins[0].port()).start().await;
    let served = async |name: &str| weir.client().get(&format!("/{name}")).await.text();

    let mut asked = Vec::new();
    for (name, answer) in &failures {
        assert_eq!(served(name).await, "a", "{name}");
        dns.answers(&format!("{name}.test"), answer.clone());
        asked.push(dns.queries(&format!("{name}.test")));
    }
    for ((name, _), asked) in failures.iter().zip(asked) {
        // A and AAAA, twice: the first pair may have been under way.
        eventually(format!("{name} is asked for again"), async || {
            dns.queries(&format!("{name}.test")) >= asked + 4
        })
        .await;
    }
    let start = Instant::now();
    for (name, _) in &failures {
        assert_eq!(served(name).await, "a", "{name}");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "no request waits");

    for (name, _) in &failures {
        dns.resolves(&format!("{name}.test"), &["127.0.0.2"], 1);
    }
    for (name, _) in &failures {
        eventually(format!("{name} is over"), async || {
            served(name).await == "b"
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_unknown_at_start_is_503_until_it_resolves() {
    let (dns, origin) = (Dns::new().await, Origin::serving("a"));
    let weir = weir_by_name(&dns, &origin).await;

    let response = weir.client().get("/").await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert_eq!(weir.logged(1).await[0]["termination"], "no_endpoint");
    assert!(weir.stderr().contains("api.test"), "{}", weir.stderr());

    dns.resolves("api.test", &["127.0.0.1"], 60);
    eventually("it serves", async || {
        weir.client().get("/").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_name_server_that_is_silent_at_start_delays_no_other_pool() {
    let (dns, origin) = (Dns::new().await, Origin::serving("here"));
    dns.answers("api.test", DnsAnswer::Silence);
    let weir = weir(
        "
        server: { resolvers: [$dns] }
        pools:
          named: { endpoints: ['api.test:80'] }
          here: { endpoints: [$origin] }
        routes: [{ pool: here }, { path: /named, pool: named }]
    ",
    )
    .with("dns", &dns)
    .with("origin", &origin)
    .start()
    .await;

    assert_eq!(weir.client().get("/").await.text(), "here");
    let start = Instant::now();
    assert_eq!(weir.client().get("/named").await.status, 503);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_reload_asks_the_new_name_servers() {
    let origins = Origin::several_on_one_port(2);
    let (first, second) = (Dns::new().await, Dns::new().await);
    first.resolves("api.test", &["127.0.0.1"], 60);
    second.resolves("api.test", &["127.0.0.2"], 60);
    let weir = weir_by_name(&first, &origins[0]).await;
    assert_eq!(weir.client().get("/").await.text(), "a");

    let port = origins[0].port();
    let yaml = format!(
        "
        server: {{ resolvers: [{second}] }}
        pools: {{ web: {{ endpoints: ['api.test:{port}'] }} }}
        routes: [{{ pool: web }}]
    "
    );
    assert!(weir.reload_with(&yaml).await, "{}", weir.stderr());

    // Known before the generation is in force.
    assert_eq!(weir.client().get("/").await.text(), "b");
    assert!(second.queries("api.test") >= 2);
}
