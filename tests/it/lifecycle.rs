//! Start, reload and stop: what each signal does, and that no request is lost by it.

use std::time::{Duration, Instant};

use crate::support::*;

const ROUTES: &str = "
    pools: { web: { endpoints: [$origin] } }
    routes: [{ pool: web }]
";

async fn in_front_of(origin: &Origin) -> Weir {
    weir(ROUTES).with("origin", origin).start().await
}

/// With this `drain_timeout`, in front of an origin.
async fn draining_for(origin: &Origin, time: &str) -> Weir {
    let server = format!("server: {{ drain_timeout: {time}, $upgradable }}\n");
    let yaml = format!(
        "{server}pools: {{ web: {{ endpoints: [$origin] }} }}\nroutes: [{{ pool: web }}]\n"
    );
    weir(&yaml).with("origin", origin).start().await
}

/// Answers `/slow` when the gate opens, `/ws` with a tunnel, everything else at once.
fn origin_with(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::start(move |request| match request.target.as_str() {
        "/slow" => Reply::ok("slow").after(&held),
        "/ws" => Reply::websocket(),
        _ => Reply::ok("fast"),
    })
}

async fn is_refused(client: &Client) -> bool {
    matches!(client.try_connect().await, Err(Failure::Connect(_)))
}

async fn says(weir: &Weir, text: &str) {
    eventually(format!("stderr has {text:?}"), async || {
        weir.stderr().contains(text)
    })
    .await;
}

// --- SIGTERM

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight_and_leaves_right_after_it() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let slow: Vec<_> = (0..200)
        .map(|_| tokio::spawn(weir.client().get("/slow")))
        .collect();
    eventually("all are in flight", async || gate.waiting() == 200).await;
    assert_eq!(weir.metric("weir_requests_in_flight").await, 200.0);

    weir.signal(Signal::SIGTERM);
    eventually("new connections are refused", async || {
        is_refused(&weir.client()).await
    })
    .await;
    let ready = weir.admin().try_get("/-/ready").await;
    assert!(
        !matches!(&ready, Ok(response) if response.status == 200),
        "{ready:?}"
    );
    // Longer than it takes to leave when nothing is in flight.
    steadily(
        "it waits for them",
        Duration::from_millis(1500),
        async || weir.is_running(),
    )
    .await;

    gate.admit(199);
    eventually("all but one are answered", async || gate.waiting() == 1).await;
    assert!(weir.is_running());
    gate.open();
    let opened = Instant::now();
    let end = weir.exit_status().await;
    assert!(
        opened.elapsed() < Duration::from_secs(15),
        "{:?}",
        opened.elapsed()
    );
    assert_eq!(end.code, Some(0), "{end:?}");
    for response in slow {
        let response = response.await.unwrap();
        assert_eq!(
            (response.text().as_str(), response.complete),
            ("slow", true)
        );
    }
    let lines = weir.access_log();
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().all(|line| line["termination"] == "ok"));
    assert!(end.stderr.contains("SIGTERM: draining") && end.stderr.contains("drained"));
}

#[tokio::test]
async fn sigterm_does_not_wait_for_idle_connections() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut connection = weir.client().connect().await;
        assert!(!connection.get("/").await.closes());
        idle.push(connection);
    }
    let never_used = weir.client().connect().await;
    weir.metric_becomes("weir_connections", 51.0).await;

    let asked = Instant::now();
    weir.signal(Signal::SIGTERM);
    let end = weir.exit_status().await;

    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    for mut connection in idle.into_iter().chain([never_used]) {
        assert_eq!(connection.ending().await, Ending::Closed);
    }
    assert!(!weir.path("weir.pid").exists(), "its pid file is removed");
}

#[tokio::test]
async fn a_busy_connection_is_told_of_the_close_when_weir_drains() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let _in_flight = tokio::spawn(weir.client().get("/slow"));
    eventually("it is in flight", async || gate.waiting() == 1).await;
    let mut idle = weir.client().connect().await;
    idle.get("/").await;

    weir.signal(Signal::SIGTERM);
    says(&weir, "SIGTERM: draining").await;
    // Under way when the drain began: answered, and told that it is the last one.
    let response = idle.get("/").await;
    assert_eq!((response.status, response.closes()), (200, true));
    assert_eq!(idle.ending().await, Ending::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_meets_sigterm_loses_nothing_it_was_promised() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let load = Load::start(&weir.client(), "/", 8);
    eventually("the load runs", async || load.done() > 100).await;
    weir.signal(Signal::SIGTERM);
    assert_eq!(weir.exit_status().await.code, Some(0));
    let report = load.stop().await;
    // New connections are refused; what was accepted was answered.
    assert_eq!(
        (report.retried_on_stale, report.ok),
        (0, report.responses()),
        "{report:?}"
    );
    // The kernel resets a connection that nobody had accepted when the listener closed.
    let never_accepted = |failure: &&String| {
        failure.starts_with("cannot connect") || *failure == "reset without a response"
    };
    let others = report
        .failed
        .iter()
        .filter(|failed| !never_accepted(failed));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    // What weir did accept is in its log, and all of that came whole.
    assert_eq!(weir.access_log().len(), report.ok);
}

#[tokio::test]
async fn what_hangs_is_cut_off_at_the_drain_timeout() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = draining_for(&origin, "300ms").await;
    let mut hung = weir.client().connect().await;
    let request = hung.request("GET", "/slow").bytes();
    hung.write(request).await;
    eventually("it is in flight", async || gate.waiting() == 1).await;
    let tunnel = weir.client().websocket("/ws").await;

    let asked = Instant::now();
    weir.signal(Signal::SIGTERM);
    let end = weir.exit_status().await;

    assert_eq!(end.code, Some(0), "{end:?}");
    let took = asked.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert!(
        end.stderr.contains("drain timeout: 2 connections cut off"),
        "{}",
        end.stderr
    );
    for mut connection in [hung, tunnel] {
        connection.ending().await;
    }
    let mut lines = weir.access_log();
    lines.sort_by_key(|line| line["target"].to_string());
    let [slow, ws] = &lines[..] else {
        panic!("{lines:?}");
    };
    for (line, target, status) in [(slow, "/slow", 0), (ws, "/ws", 101)] {
        assert_eq!(line["target"], target);
        assert_eq!(line["termination"], "shutdown", "{line}");
        assert_eq!(line["status"], status, "{line}");
    }
    assert_eq!(slow["attempts"][0]["outcome"], "pending");
}

#[tokio::test]
async fn what_is_cut_off_is_recorded_wherever_it_waits() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/half" => Reply::ok("x".repeat(1000)).stall_at(500, &held),
        "/unread" => Reply::ok("x".repeat(32 << 20)),
        _ => Reply::ok("late").after(&held),
    });
    let hole = BlackHole::new().await;
    let yaml = "
        pools:
          web: { endpoints: [$origin] }
          one: { endpoints: [$origin], max_in_flight: 1, queue: { timeout: 1m } }
          hole: { endpoints: [$hole], connect_timeout: 1m }
        routes:
          - { path: /queued, pool: one }
          - { path: /connecting, pool: hole }
          - { pool: web }
    ";
    let setup = weir(yaml).with("origin", &origin).with("hole", &hole);
    let weir = setup.start().await;
    let mut connections = Vec::new();
    let targets = [
        "/connecting",
        "/half",
        "/queued",
        "/queued",
        "/unread",
        "/waiting",
    ];
    for target in targets {
        let mut connection = weir.client().connect().await;
        let request = connection.request("GET", target).bytes();
        connection.write(request).await;
        connections.push(connection);
    }
    let mut half_sent = weir.client().connect().await;
    let head = "POST /uploading HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    half_sent.write(head).await;
    let _idle = weir.client().connect().await;
    let mut unfinished = weir.client().connect().await;
    unfinished.write("GET / HTT").await;
    weir.metric_becomes("weir_requests_in_flight", 7.0).await;
    weir.metric_becomes(r#"weir_queue_length{pool="one"}"#, 1.0)
        .await;
    eventually("the origin has them", async || origin.in_flight() == 5).await;

    weir.signal(Signal::SIGINT);
    assert_eq!(weir.exit_status().await.code, Some(0));
    let lines = weir.access_log();
    let mut logged: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["target"].as_str().unwrap(),
                line["termination"].as_str().unwrap(),
            )
        })
        .collect();
    logged.sort_unstable();
    let mut expected = targets.to_vec();
    expected.push("/uploading");
    expected.sort_unstable();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|target| (target, "shutdown"))
        .collect();
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn a_tunnel_lives_on_while_weir_drains() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let mut tunnel = weir.client().websocket("/ws").await;
    assert!(tunnel.echoes("before").await);

    weir.signal(Signal::SIGTERM);
    says(&weir, "SIGTERM: draining").await;
    let while_idle_ones_leave = Duration::from_millis(1500);
    steadily("the tunnel works", while_idle_ones_leave, async || {
        tunnel.echoes("during").await
    })
    .await;
    drop(tunnel);
    assert_eq!(weir.exit_status().await.code, Some(0));
}

// --- SIGINT

#[tokio::test]
async fn sigint_stops_at_once() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let mut hung = weir.client().connect().await;
    let request = hung.request("GET", "/slow").bytes();
    hung.write(request).await;
    eventually("it is in flight", async || gate.waiting() == 1).await;

    let asked = Instant::now();
    weir.signal(Signal::SIGINT);
    let end = weir.exit_status().await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    hung.ending().await;
    let lines = weir.access_log();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["termination"], "shutdown", "{}", lines[0]);
}

#[tokio::test]
async fn sigint_ends_a_drain_at_its_very_beginning_and_later() {
    for later in [false, true] {
        let gate = Gate::new();
        let origin = origin_with(&gate);
        let weir = in_front_of(&origin).await;
        let hung = weir.client();
        let hung = tokio::spawn(async move { hung.try_get("/slow").await });
        eventually("it is in flight", async || gate.waiting() == 1).await;

        weir.signal(Signal::SIGTERM);
        says(&weir, "SIGTERM: draining").await;
        if later {
            let a_while = Duration::from_millis(300);
            steadily("it drains", a_while, async || weir.is_running()).await;
        }
        let asked = Instant::now();
        weir.signal(Signal::SIGINT);
        let end = weir.exit_status().await;
        assert_eq!(end.code, Some(0), "{end:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(15),
            "{:?}",
            asked.elapsed()
        );
        assert!(hung.await.unwrap().is_err());
        assert_eq!(weir.access_log()[0]["termination"], "shutdown");
    }
}

// --- SIGHUP

#[tokio::test(flavor = "multi_thread")]
async fn fifty_reloads_under_load_lose_nothing_and_leak_nothing() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let mut tunnel = weir.client().websocket("/ws").await;
    let in_flight = tokio::spawn(weir.client().get("/slow"));
    eventually("it is in flight", async || gate.waiting() == 1).await;
    let load = Load::start(&weir.client(), "/", 4);
    // The first reload may start what stays.
    assert!(weir.reload().await);
    let (threads, files, memory) = (weir.threads(), weir.open_files(), weir.resident_bytes());

    for round in 0..50 {
        let more = format!("{ROUTES}    # round {round}");
        assert!(weir.reload_with(&more).await, "{}", weir.stderr());
        assert!(tunnel.echoes("still there").await, "round {round}");
    }

    load.stop().await.expect_lossless();
    gate.open();
    assert_eq!(in_flight.await.unwrap().text(), "slow");
    eventually("there are as many threads", async || {
        weir.threads() <= threads
    })
    .await;
    let grown = weir.resident_bytes().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more");
    drop(tunnel);
    eventually("no file is left open", async || {
        weir.open_files() <= files + 2
    })
    .await;
    assert_eq!(weir.metric("weir_config_generation").await, 52.0);
    let good = r#"weir_config_reloads_total{result="success"}"#;
    assert_eq!(weir.metric(good).await, 51.0);
    assert_eq!(weir.metric("weir_config_last_reload_success").await, 1.0);
}

#[tokio::test]
async fn a_request_in_flight_keeps_the_configuration_it_began_with() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let other = Origin::serving("other");
    let yaml = "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ name: old, pool: web, response_headers: { set: { X-Route: old } } }]
    ";
    let weir = weir(yaml)
        .with("origin", &origin)
        .with("other", &other)
        .start()
        .await;
    let in_flight = tokio::spawn(weir.client().get("/slow"));
    eventually("it is in flight", async || gate.waiting() == 1).await;
    let mut kept = weir.client().connect().await;
    assert_eq!(kept.get("/").await.text(), "fast");

    let reloaded = weir.reload_with(
        "
        pools: { others: { endpoints: [$other] } }
        routes: [{ name: new, pool: others, response_headers: { set: { X-Route: new } } }]
    ",
    );
    assert!(reloaded.await, "{}", weir.stderr());

    // The connection that was open takes the new configuration with its next request.
    let response = kept.get("/").await;
    assert_eq!(
        (response.text().as_str(), response.header("x-route")),
        ("other", Some("new"))
    );
    gate.open();
    let response = in_flight.await.unwrap();
    assert_eq!(
        (response.text().as_str(), response.header("x-route")),
        ("slow", Some("old"))
    );
    let lines = weir.logged(3).await;
    let mut routes: Vec<_> = lines.iter().map(|line| line["route"].as_str()).collect();
    routes.sort_unstable();
    assert_eq!(routes, ["new", "old", "old"].map(Some));
}

#[tokio::test]
async fn a_reload_that_fails_says_why_and_changes_nothing() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let web = "pools: { web: { endpoints: [$origin] } }\nroutes: [{ pool: web }]\n";
    let refused = [
        // Not YAML, not ours, not valid, not there.
        ("routes: [", "weir.yaml:"),
        ("{web}\nrouts: []", "unknown key"),
        ("routes: [{ pool: nope }]", "nope"),
        (
            "pools: { web: { endpoints: [$origin], tls: { ca: $dir/no.pem } } }\nroutes: [{ pool: web }]",
            "no.pem",
        ),
        // What only a restart changes, by name.
        (
            "server: { threads: 7, $upgradable }\n{web}",
            "server.threads",
        ),
        (
            "server: { pid_file: $dir/other.pid, upgrade_socket: $dir/upgrade.sock }\n{web}",
            "server.pid_file",
        ),
        (
            "server: { pid_file: $dir/weir.pid, upgrade_socket: $dir/other.sock }\n{web}",
            "server.upgrade_socket",
        ),
        ("listeners: [{ bind: $listen2 }]\n{web}", "listeners"),
        ("admin: off\n{web}", "admin"),
        ("log: { access: off }\n{web}", "log.access"),
        (
            "log: { access: { path: $dir/access.log, format: combined } }\n{web}",
            "log.access",
        ),
    ];
    for (index, (yaml, why)) in refused.iter().enumerate() {
        let said = weir.stderr().len();
        assert!(
            !weir.reload_with(&yaml.replace("{web}", web)).await,
            "{yaml}"
        );
        eventually(format!("{why} is named"), async || {
            let stderr = weir.stderr();
            let new = &stderr[said..];
            new.contains("reload refused, nothing changed") && new.contains(why)
        })
        .await;
        assert_eq!(weir.client().get("/").await.text(), "ok", "{yaml}");
        assert_eq!(weir.metric("weir_config_last_reload_success").await, 0.0);
        let failures = r#"weir_config_reloads_total{result="failure"}"#;
        assert_eq!(weir.metric(failures).await, (index + 1) as f64);
    }
    assert_eq!(weir.metric("weir_config_generation").await, 1.0);
    std::fs::remove_file(weir.path("weir.yaml")).unwrap();
    assert!(!weir.reload().await, "without a file");
    assert!(weir.reload_with(web).await, "{}", weir.stderr());
    assert_eq!(weir.metric("weir_config_last_reload_success").await, 1.0);
    assert_eq!(weir.metric("weir_config_generation").await, 2.0);
}

#[tokio::test]
async fn a_reload_replaces_routes_and_pools_and_forgets_their_series() {
    let origins = Origin::several(2);
    let yaml = "
        pools: { first: { endpoints: [$a] } }
        routes: [{ name: one, pool: first }]
    ";
    let weir = weir(yaml)
        .with("a", &origins[0])
        .with("b", &origins[1])
        .start()
        .await;
    assert_eq!(weir.client().get("/").await.text(), "a");
    weir.metric_becomes(r#"weir_requests_total{route="one"}"#, 1.0)
        .await;

    let reloaded = weir.reload_with(
        "
        pools: { second: { endpoints: [$b] } }
        routes:
          - { name: two, path: /b, pool: second }
          - { path: /fixed, respond: { body: fixed } }
          - { path: /moved, redirect: { to: /b, status: 302 } }
    ",
    );
    assert!(reloaded.await, "{}", weir.stderr());

    assert_eq!(weir.client().get("/b").await.text(), "b");
    assert_eq!(weir.client().get("/fixed").await.text(), "fixed");
    assert_eq!(
        weir.client().get("/moved").await.header("location"),
        Some("/b")
    );
    assert_eq!(weir.client().get("/").await.status, 404);
    assert_eq!(
        weir.find_metric(r#"weir_requests_total{route="one"}"#)
            .await,
        None
    );
    weir.metric_becomes(r#"weir_requests_total{route="two"}"#, 1.0)
        .await;
    eventually("the old pool's series are gone", async || {
        let picks = weir.find_metric(r#"weir_picks_total{pool="first"}"#);
        picks.await.is_none()
    })
    .await;
    assert_eq!(weir.metric(r#"weir_picks_total{pool="second"}"#).await, 1.0);
}

#[tokio::test]
async fn a_reload_changes_whose_forwarding_headers_are_believed_and_which_are_sent() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let ask = async || {
        let request = weir
            .client()
            .request("GET", "/")
            .header("X-Forwarded-For", "192.0.2.7");
        request.send().await;
        origin.last()
    };
    let seen = ask().await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("forwarded"), None);

    let trusting = "server: { trusted_proxies: [127.0.0.0/8], $upgradable }";
    assert!(
        weir.reload_with(&format!(
            "{trusting}\npools: {{ web: {{ endpoints: [$origin] }} }}\nroutes: [{{ pool: web }}]"
        ))
        .await
    );
    assert_eq!(
        ask().await.header("x-forwarded-for"),
        Some("192.0.2.7, 127.0.0.1")
    );
    let standard = "server: { forwarded: forwarded, $upgradable }";
    assert!(
        weir.reload_with(&format!(
            "{standard}\npools: {{ web: {{ endpoints: [$origin] }} }}\nroutes: [{{ pool: web }}]"
        ))
        .await
    );
    let seen = ask().await;
    assert_eq!(seen.header("x-forwarded-for"), None);
    assert!(
        seen.header("forwarded").unwrap().contains("for=127.0.0.1"),
        "{}",
        seen.raw
    );

    let lines = weir.logged(3).await;
    let mut clients: Vec<_> = lines.iter().map(|line| line["client"].as_str()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["127.0.0.1", "127.0.0.1", "192.0.2.7"].map(Some));
}

#[tokio::test]
async fn a_reload_changes_the_drain_timeout_and_the_log_level() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = draining_for(&origin, "1h").await;
    let quiet = "
        server: { drain_timeout: 200ms, $upgradable }
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
        log: { access: { path: $dir/access.log }, level: error }
    ";
    assert!(weir.reload_with(quiet).await, "{}", weir.stderr());
    assert!(weir.reload().await);
    // The level was set before the reload's own line was written.
    assert!(
        !weir.stderr().contains("reloaded: generation"),
        "{}",
        weir.stderr()
    );
    assert!(weir.reload_with(&quiet.replace("error", "info")).await);
    says(&weir, "reloaded: generation 4 is in force").await;

    let hung = weir.client();
    let _hung = tokio::spawn(async move { hung.try_get("/slow").await });
    eventually("it is in flight", async || gate.waiting() == 1).await;
    weir.signal(Signal::SIGTERM);
    let end = weir.exit_status().await;
    assert_eq!(end.code, Some(0));
    assert!(
        end.stderr.contains("drain timeout: 1 connections cut off"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn a_reload_changes_the_name_servers() {
    let origins = Origin::several(2);
    let (first, second) = (Dns::new().await, Dns::new().await);
    first.resolves("api.test", &["127.0.0.1"], 60);
    second.resolves("other.test", &["127.0.0.1"], 60);
    let yaml = |name: &str, port: &str, server: &str| {
        format!(
            "
        server: {{ resolvers: [{server}], $upgradable }}
        pools: {{ web: {{ endpoints: [\"{name}:{port}\"] }} }}
        routes: [{{ pool: web }}]
    "
        )
    };
    let weir = weir(&yaml("api.test", "$a", "$first"))
        .with("first", &first)
        .with("second", &second)
        .with("a", origins[0].port())
        .with("b", origins[1].port())
        .start()
        .await;
    assert_eq!(weir.client().get("/").await.text(), "a");
    assert!(
        weir.reload_with(&yaml("other.test", "$b", "$second")).await,
        "{}",
        weir.stderr()
    );
    assert_eq!(weir.client().get("/").await.text(), "b");
    assert!(second.queries("other.test") > 0 && first.queries("other.test") == 0);
}

// --- SIGUSR1, and where the access log goes

#[tokio::test]
async fn sigusr1_reopens_the_access_log_after_a_rename() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    weir.client().get("/before").await;
    weir.logged(1).await;
    let (now, rotated) = (weir.path("access.log"), weir.path("access.log.1"));
    std::fs::rename(&now, &rotated).unwrap();
    weir.client().get("/between").await;
    eventually("it is in the old file", async || {
        let old = std::fs::read_to_string(&rotated);
        old.is_ok_and(|old| old.contains("/between"))
    })
    .await;
    weir.signal(Signal::SIGUSR1);
    eventually("there is a new file", async || now.exists()).await;
    weir.client().get("/after").await;

    let lines = weir.logged(1).await;
    assert_eq!((lines.len(), &lines[0]["target"]), (1, &"/after".into()));
    let old = std::fs::read_to_string(&rotated).unwrap();
    let mut old = old.lines();
    assert!(old.next().unwrap().contains("/before") && old.next().unwrap().contains("/between"));
    assert_eq!(old.next(), None);
}

#[tokio::test]
async fn the_access_log_may_go_to_stdout_and_is_whole_when_weir_has_left() {
    let origin = Origin::serving("ok");
    let yaml = format!("{ROUTES}    log: {{ access: {{ path: stdout, format: combined }} }}");
    let weir = weir(&yaml).with("origin", &origin).start().await;
    weir.client().get_many("/", 25, 5).await.expect_lossless();
    weir.signal(Signal::SIGTERM);
    let end = weir.exit_status().await;
    let lines = end
        .stdout
        .lines()
        .filter(|line| line.contains(r#""GET / HTTP/1.1" 200"#));
    assert_eq!(lines.count(), 25, "{}", end.stdout);
}

// --- the admin listener

#[tokio::test]
async fn the_admin_listener_tells_how_weir_is() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    weir.client().get("/").await;
    let admin = weir.admin();
    assert_eq!(admin.get("/-/live").await.text(), "live\n");
    assert_eq!(admin.get("/-/ready").await.text(), "ready\n");
    let metrics = admin.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let status = admin.get("/-/status").await;
    assert_eq!(status.header("content-type"), Some("application/json"));
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(
        (&status["ready"], &status["generation"]),
        (&true.into(), &1.into())
    );
    let endpoint = &status["pools"][0]["endpoints"][0];
    assert_eq!(endpoint["address"], origin.to_string());
    assert_eq!(
        (&endpoint["state"], &endpoint["picks"]),
        (&"healthy".into(), &1.into())
    );

    assert_eq!(admin.get("/").await.status, 404);
    assert_eq!(admin.get("/-/nothing").await.status, 404);
    for method in ["POST", "PUT", "DELETE"] {
        let response = admin.request(method, "/-/ready").send().await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("GET, HEAD"), "{method}");
    }
    let head = admin.request("HEAD", "/-/ready").send().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    // None of it is served to clients.
    assert_eq!(weir.client().get("/-/status").await.text(), "ok");
}

#[tokio::test]
async fn without_an_admin_listener_weir_serves_and_stops_all_the_same() {
    let origin = Origin::serving("ok");
    let yaml = format!("{ROUTES}    admin: off");
    let weir = weir(&yaml).with("origin", &origin).start().await;
    assert_eq!(weir.client().get("/").await.text(), "ok");
    let status = weir.command(&["status"]).await;
    assert_eq!(status.code, Some(1));
    assert!(status.stderr.contains("admin: off"), "{}", status.stderr);
    weir.signal(Signal::SIGTERM);
    assert_eq!(weir.exit_status().await.code, Some(0));
}
