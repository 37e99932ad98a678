//! Records: the access log's line for each request, the metrics, and what `weir status` tells.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::libc;
use regex::Regex;
use serde_json::{Value, json};

use crate::support::*;

/// An origin whose targets are what may become of a request.
fn origin_of_all_kinds(shut: &Gate) -> Origin {
    let shut = shut.clone();
    Origin::start(move |request| match request.target.as_str() {
        "/close" => Reply::nothing(),
        "/reset" => Reply::nothing().reset(),
        "/garbage" => Reply::raw("this is no HTTP\r\n\r\n"),
        "/cut" => Reply::ok("half").short_by(4),
        "/silent" | "/late" | "/held" => Reply::ok("never").after(&shut),
        "/ws" => Reply::websocket(),
        "/missing" => Reply::status(404).body("missing"),
        _ => Reply::ok("hello"),
    })
}

fn outcomes(line: &Value) -> Vec<&str> {
    let attempts = line["attempts"].as_array().unwrap().iter();
    attempts
        .map(|attempt| attempt["outcome"].as_str().unwrap())
        .collect()
}

fn milliseconds(line: &Value, timer: &str) -> f64 {
    line[timer]
        .as_f64()
        .unwrap_or_else(|| panic!("{timer} in {line}"))
}

/// Sends the request and goes away before it is answered.
async fn abort(client: &Client, target: &str, gate: &Gate) {
    let waiting = gate.waiting();
    let mut connection = client.connect().await;
    connection
        .write(connection.request("GET", target).bytes())
        .await;
    eventually("the request is under way", async || {
        gate.waiting() > waiting
    })
    .await;
}

// --- the access log

#[tokio::test]
async fn every_request_leaves_one_line_whatever_becomes_of_it() {
    let (shut, hole, dns) = (Gate::new(), BlackHole::new().await, Dns::new().await);
    let (origin, gone) = (origin_of_all_kinds(&shut), Origin::serving(""));
    gone.stop().await;
    let weir = weir(
        "
        server: { resolvers: [$dns], limits: { header_timeout: 200ms } }
        pools:
          web: { endpoints: [$origin], read_timeout: 300ms }
          slow: { endpoints: [$origin] }
          gone: { endpoints: [$gone] }
          hole: { endpoints: [$hole], connect_timeout: 100ms }
          none: { endpoints: ['nowhere.test:80'] }
        routes:
          - { name: web, path: '~ ^/(ok|close|reset|garbage|cut|silent|ws|missing)$', pool: web,
              retry: { attempts: 0 }, body_limit: 10B }
          - { name: held, path: /held, pool: slow }
          - { name: late, path: /late, pool: slow, timeout: 150ms }
          - { name: gone, path: /gone, pool: gone }
          - { name: hole, path: /hole, pool: hole }
          - { name: none, path: /none, pool: none }
          - { name: fixed, path: /fixed, respond: { body: fixed } }
          - { name: moved, path: /moved, redirect: { to: /ok } }
    ",
    )
    .with("origin", &origin)
    .with("gone", &gone)
    .with("hole", &hole)
    .with("dns", &dns)
    .start()
    .await;
    let client = weir.client();
    let mut logged = 0;
    let mut line = async || {
        logged += 1;
        let lines = weir.logged(logged).await;
        assert_eq!(lines.len(), logged, "one line each: {lines:#?}");
        lines[logged - 1].clone()
    };

    for (target, status, termination, route, pool, attempts) in [
        ("/ok", 200, "ok", "web", "web", &["ok"][..]),
        ("/missing", 404, "ok", "web", "web", &["ok"]),
        ("/cut", 200, "upstream_closed", "web", "web", &["reset"]),
        ("/close", 502, "upstream_closed", "web", "web", &["reset"]),
        ("/reset", 502, "upstream_closed", "web", "web", &["reset"]),
        (
            "/garbage",
            502,
            "upstream_malformed",
            "web",
            "web",
            &["malformed"],
        ),
        (
            "/silent",
            504,
            "upstream_timeout",
            "web",
            "web",
            &["timeout"],
        ),
        (
            "/gone",
            502,
            "connect_failed",
            "gone",
            "gone",
            &["connect_refused"],
        ),
        (
            "/hole",
            504,
            "connect_timeout",
            "hole",
            "hole",
            &["connect_timeout"],
        ),
        ("/none", 503, "no_endpoint", "none", "none", &[]),
        (
            "/late",
            504,
            "request_timeout",
            "late",
            "slow",
            &["timeout"],
        ),
        ("/fixed", 200, "ok", "fixed", "-", &[]),
        ("/moved", 308, "ok", "moved", "-", &[]),
        ("/nowhere", 404, "no_route", "-", "-", &[]),
    ] {
        assert_eq!(client.get(target).await.status, status, "{target}");
        let line = line().await;
        assert_eq!(line["target"], target);
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["termination"], termination, "{line}");
        assert_eq!(
            (&line["route"], &line["pool"]),
            (&json!(route), &json!(pool))
        );
        assert_eq!(outcomes(&line), attempts, "{line}");
        assert_eq!(line["error"].is_null(), termination == "ok", "{line}");
    }

    assert_eq!(client.post("/ok", "eleven char").await.status, 413);
    let too_large = line().await;
    assert_eq!(too_large["status"], 413);
    assert_eq!(too_large["termination"], "body_too_large");

    let mut connection = client.connect().await;
    connection.write("GET /hostless HTTP/1.1\r\n\r\n").await;
    let refused = connection.response().await.unwrap();
    let bad = line().await;
    assert_eq!((refused.status, &bad["status"]), (400, &json!(400)));
    assert_eq!(bad["termination"], "bad_request");
    assert_eq!(bad["target"], "/hostless");
    assert_eq!(bad["sent"], refused.body.len());

    let mut connection = client.connect().await;
    connection.write("GET /unfinished HTTP/1.1\r\nHo").await;
    assert_eq!(connection.response().await.unwrap().status, 408);
    assert_eq!(line().await["termination"], "header_timeout");

    abort(&client, "/held", &shut).await;
    let aborted = line().await;
    assert_eq!(aborted["termination"], "client_closed");
    assert_eq!(aborted["status"], 0);
    assert_eq!(outcomes(&aborted), ["pending"]);

    let mut tunnel = client.websocket("/ws").await;
    assert!(tunnel.echoes("hello").await);
    drop(tunnel);
    let upgraded = line().await;
    assert_eq!(upgraded["status"], 101);
    assert_eq!(outcomes(&upgraded), ["ok"]);

    for (reason, count) in [
        ("upstream_closed", 3.0),
        ("upstream_malformed", 1.0),
        ("upstream_timeout", 1.0),
        ("connect_failed", 1.0),
        ("connect_timeout", 1.0),
        ("no_endpoint", 1.0),
        ("request_timeout", 1.0),
        ("no_route", 1.0),
        ("body_too_large", 1.0),
        ("bad_request", 1.0),
        ("header_timeout", 1.0),
    ] {
        let selector = format!(r#"weir_rejections_total{{reason="{reason}"}}"#);
        assert_eq!(weir.metric(&selector).await, count, "{reason}");
    }
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_line_tells_what_was_asked_answered_and_by_whom() {
    let origin = Origin::start(|_| Reply::status(201).chunked(["four", "more"]));
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ name: api, path: /api/*, pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    let mut connection = weir.client().host("Site.Test:80").connect().await;
    let post = connection.request("POST", "/x/../%61pi/?q=%zz");
    let post = post
        .header("User-Agent", "agent/1.0 (test)")
        .header("Referer", "http://ref.test/?a");
    connection
        .exchange(&post.chunked(["ab", "cde"]))
        .await
        .unwrap();
    let head = connection.request("HEAD", "/api/head");
    connection.exchange(&head).await.unwrap();

    let lines = weir.logged(2).await;
    let line = &lines[0];
    for (field, value) in [
        ("client", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("host", json!("Site.Test:80")),
        ("target", json!("/x/../%61pi/?q=%zz")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(201)),
        ("received", json!(5)),
        ("sent", json!(8)),
        ("route", json!("api")),
        ("pool", json!("web")),
        ("queue_ms", Value::Null),
        ("termination", json!("ok")),
        ("cache", json!("-")),
        ("user_agent", json!("agent/1.0 (test)")),
        ("referer", json!("http://ref.test/?a")),
        ("error", Value::Null),
        (
            "attempts",
            json!([{ "endpoint": origin.to_string(), "outcome": "ok" }]),
        ),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    let time = Regex::new(r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").unwrap();
    assert!(time.is_match(line["time"].as_str().unwrap()), "{line}");
    let mut fields: Vec<_> = line.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields.len(), 22, "{fields:?}");

    let line = &lines[1];
    assert_eq!((&line["received"], &line["sent"]), (&json!(0), &json!(0)));
    assert_eq!(line["user_agent"], Value::Null);
    // A connection that was kept needs no connect.
    assert_eq!(milliseconds(line, "connect_ms"), 0.0);
    assert_ne!(line["request_id"], lines[0]["request_id"]);
}

#[tokio::test]
async fn the_timers_of_a_line_follow_each_other() {
    let (first, rest) = (Gate::new(), Gate::new());
    let (head, chunks) = (first.clone(), rest.clone());
    let origin = Origin::start(move |_| {
        let reply = Reply::ok("").chunked(["chunk"]);
        reply.each_after(&chunks).after(&head)
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    let held = Duration::from_millis(60);
    let response = tokio::spawn(weir.client().get("/"));
    for gate in [&first, &rest] {
        eventually("the origin waits", async || gate.waiting() == 1).await;
        steadily("it is held", held, async || gate.waiting() == 1).await;
        gate.open();
    }
    assert_eq!(response.await.unwrap().text(), "chunk");

    let line = &weir.logged(1).await[0];
    let [connect, first_byte, total] =
        ["connect_ms", "first_byte_ms", "total_ms"].map(|timer| milliseconds(line, timer));
    assert!(0.0 < connect && connect < first_byte, "{line}");
    assert!(first_byte >= 60.0 && first_byte < total, "{line}");
    // Held twice, but the head may have been on its way while the second time began.
    assert!(total >= 120.0, "{line}");
}

#[tokio::test]
async fn one_id_is_in_the_log_in_the_error_body_and_at_the_endpoint() {
    let origin = Origin::start(|_| Reply::nothing());
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web, retry: { attempts: 0 } }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    let request = weir.client().request("GET", "/");
    let response = request.header("Accept", "application/json").send().await;

    assert_eq!(response.status, 502);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    let line = &weir.logged(1).await[0];
    assert_eq!(body["request_id"], line["request_id"]);
    let told = origin.last();
    assert_eq!(told.header("x-request-id"), line["request_id"].as_str());
    // The cause is for the operator: the client is not told where the endpoint is.
    let text = weir.client().get("/").await.text();
    assert!(!text.contains(&origin.to_string()), "{text}");
}

/// Bytes that could end a field or a line, or steer a terminal.
const HOSTILE_AGENT: &str = "a\"b\\c\td\u{9b}é";
const HOSTILE_HEAD: &[u8] = b"GET /\"\\\x1b[2J\x00\xff HTTP/1.1\r\nHost: a\r\n\r\n";

async fn send_hostile(weir: &Weir) {
    let request = weir.client().request("GET", "/");
    let request = request.header("User-Agent", HOSTILE_AGENT);
    request.header("Referer", "\"\\").send().await;
    let mut connection = weir.client().connect().await;
    connection.write(HOSTILE_HEAD).await;
    assert_eq!(connection.response().await.unwrap().status, 400);
}

#[tokio::test]
async fn what_clients_send_is_escaped_in_json() {
    let weir = weir("routes: [{ respond: {} }]").start().await;
    send_hostile(&weir).await;

    let lines = weir.logged(2).await;
    let with = |status: u16| lines.iter().find(|line| line["status"] == status).unwrap();
    assert_eq!(with(200)["user_agent"], HOSTILE_AGENT);
    assert_eq!(with(200)["referer"], "\"\\");
    assert_eq!(with(400)["target"], "/\"\\\u{1b}[2J\0\u{ff}");
    for line in weir.access_lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[tokio::test]
async fn the_combined_format_is_what_other_tools_read() {
    let origin = Origin::serving("hello");
    let weir = weir(
        "
        log: { access: { path: $dir/access.log, format: combined } }
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    send_hostile(&weir).await;
    let request = weir.client().request("GET", "/a?b=c");
    request
        .header("Referer", "http://ref.test/")
        .header("User-Agent", "agent/1.0")
        .send()
        .await;

    let lines = eventually("three lines", async || {
        Some(weir.access_lines()).filter(|lines| lines.len() == 3)
    })
    .await;
    let start = r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d \+0000\] "#;
    for rest in [
        r#""GET / HTTP/1.1" 200 5 "\x22\x5C" "a\x22b\x5Cc\x09d\xC2\x9B\xC3\xA9""#,
        r#""GET /\x22\x5C\x1B[2J\x00\xFF HTTP/1.1" 400 "#,
        r#""GET /a?b=c HTTP/1.1" 200 5 "http://ref.test/" "agent/1.0""#,
    ] {
        let expected = Regex::new(&format!("{start}{}", regex::escape(rest))).unwrap();
        let has_it = lines.iter().any(|line| expected.is_match(line));
        assert!(has_it, "{rest} in {lines:#?}");
    }
}

#[tokio::test]
async fn the_log_goes_where_it_is_sent() {
    for (access, place) in [
        ("{ path: stdout }", Some("stdout")),
        ("{ path: stderr }", Some("stderr")),
        ("{ format: json }", Some("stdout")),
        ("{ path: $dir/other.log }", Some("other.log")),
        ("{ path: off }", None),
        ("off", None),
    ] {
        let weir = weir(&format!(
            "log: {{ access: {access} }}\nroutes: [{{ respond: {{ body: x }} }}]"
        ))
        .start()
        .await;
        assert_eq!(weir.client().get("/unlike/any/other").await.text(), "x");
        let read = |place: &str| match place {
            "stdout" => weir.stdout(),
            "stderr" => weir.stderr(),
            file => std::fs::read_to_string(weir.path(file)).unwrap_or_default(),
        };
        let has_line = |place: &str| read(place).contains("/unlike/any/other");
        if let Some(place) = place {
            eventually(format!("{access}: {place} has it"), async || {
                has_line(place)
            })
            .await;
        }
        // The end of the process writes out what is left.
        weir.signal(Signal::SIGTERM);
        weir.exit_status().await;
        for other in ["stdout", "stderr", "other.log", "access.log"] {
            assert_eq!(has_line(other), Some(other) == place, "{access}: {other}");
        }
    }
}

#[tokio::test]
async fn a_rotated_log_is_reopened_and_no_line_is_lost() {
    let weir = weir("routes: [{ respond: {} }]").start().await;
    weir.client().get("/before").await;
    weir.logged(1).await;

    std::fs::rename(weir.path("access.log"), weir.path("rotated.log")).unwrap();
    weir.client().get("/between").await;
    let rotated = || std::fs::read_to_string(weir.path("rotated.log")).unwrap();
    // A line is written after its response has gone.
    eventually("the old file has it", async || {
        rotated().contains("/between")
    })
    .await;
    weir.signal(Signal::SIGUSR1);
    eventually("the log is there again", async || {
        weir.path("access.log").exists()
    })
    .await;
    weir.client().get("/after").await;

    assert_eq!(weir.logged(1).await[0]["target"], "/after");
    assert!(rotated().contains("/before"));
    assert!(!rotated().contains("/after"));
}

#[tokio::test]
async fn a_log_nobody_reads_costs_lines_and_no_request_waits() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // Both ends, so that neither weir's open nor ours waits for the other.
    let mut both = File::options();
    both.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let mut reader = both.open(&pipe).unwrap();
    let weir = weir(
        "
        log: { access: { path: $pipe } }
        routes: [{ respond: { body: x } }]
    ",
    )
    .with("pipe", pipe.display())
    .start()
    .await;

    // More than the pipe and the buffers hold, which is about 2 MiB.
    let count = 600;
    let target = format!("/{}", "x".repeat(7000));
    let report = weir.client().get_many(&target, count, 8).await;

    report.expect_lossless();
    assert_eq!(report.ok, count);
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    let dropped = weir.metric("weir_access_log_dropped_total").await as usize;
    assert!(0 < dropped && dropped < count, "{dropped}");
    // Read now, the log has every line that was not counted as dropped, and whole.
    let (mut buffer, mut text) = (vec![0; 64 * 1024], Vec::new());
    eventually("every line that was not dropped comes", async || {
        while let Ok(read) = reader.read(&mut buffer) {
            text.extend_from_slice(&buffer[..read]);
        }
        text.iter().filter(|byte| **byte == b'\n').count() == count - dropped
    })
    .await;
    for line in String::from_utf8(text).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["target"], target);
    }
}

#[tokio::test]
async fn the_level_decides_what_the_process_says_and_a_reload_changes_it() {
    let yaml = |level: &str| {
        format!("log: {{ access: off, level: {level} }}\nroutes: [{{ respond: {{}} }}]")
    };
    let quiet = weir(&yaml("error")).start().await;
    assert!(!quiet.stderr().contains("serving"), "{}", quiet.stderr());

    let weir = weir(&yaml("info")).start().await;
    assert!(weir.stderr().contains("INFO"), "{}", weir.stderr());
    assert!(weir.reload_with(&yaml("error")).await);
    let said = weir.stderr();
    assert!(weir.reload_with(&yaml("error")).await);
    assert_eq!(weir.stderr(), said, "a reload is told at info");
    assert!(!weir.reload_with("routes: []").await);
    assert!(
        weir.stderr().len() > said.len(),
        "a refused one is an error"
    );
}

// --- metrics

#[tokio::test]
async fn requests_are_counted_by_class_with_their_times_and_bytes() {
    let shut = Gate::new();
    let origin = origin_of_all_kinds(&shut);
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - { name: web, pool: web, retry: { attempts: 0 } }
          - { name: moved, path: /moved, redirect: { to: /x } }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let client = weir.client();

    client.get_many("/ok", 3, 1).await.expect_lossless();
    for body in ["four", "chunked"] {
        client.post("/ok", body).await;
    }
    client.get("/missing").await;
    client.get("/close").await;
    client.get("/moved").await;
    abort(&client, "/held", &shut).await;
    let mut tunnel = client.websocket("/ws").await;
    assert!(tunnel.echoes("x").await);
    weir.metric_becomes("weir_tunnels", 1.0).await;
    drop(tunnel);

    for (class, count) in [
        ("1xx", 1.0),
        ("2xx", 5.0),
        ("4xx", 1.0),
        ("5xx", 1.0),
        ("none", 1.0),
        ("3xx", 0.0),
    ] {
        let labels = format!(r#"route="web",pool="web",code_class="{class}""#);
        weir.metric_becomes(&format!("weir_requests_total{{{labels}}}"), count)
            .await;
    }
    weir.metric_becomes(
        r#"weir_requests_total{route="moved",pool="-",code_class="3xx"}"#,
        1.0,
    )
    .await;
    weir.metric_becomes("weir_tunnels", 0.0).await;
    // Of nine requests two got no response, and one of the endpoints' took no bytes.
    for (sample, value) in [
        (
            r#"weir_request_duration_seconds_count{route="web",pool="web"}"#,
            9.0,
        ),
        (
            r#"weir_request_duration_seconds_bucket{route="web",le="+Inf"}"#,
            9.0,
        ),
        (
            r#"weir_upstream_first_byte_seconds_count{route="web"}"#,
            7.0,
        ),
        (
            r#"weir_upstream_first_byte_seconds_count{route="moved"}"#,
            0.0,
        ),
    ] {
        assert_eq!(weir.metric(sample).await, value, "{sample}");
    }
    let received = weir.metric(r#"weir_received_bytes_total{route="web"}"#);
    let sent = weir.metric(r#"weir_sent_bytes_total{route="web"}"#);
    let logged = weir.logged(10).await;
    let of_web = || logged.iter().filter(|line| line["route"] == "web");
    let sum = |field| of_web().map(|l| l[field].as_f64().unwrap()).sum::<f64>();
    assert_eq!((received.await, sent.await), (sum("received"), sum("sent")));
    assert!(sum("received") >= 11.0 && sum("sent") >= 32.0);
}

#[tokio::test]
async fn gauges_rise_with_what_is_under_way_and_return_to_zero() {
    let shut = Gate::new();
    let origin = origin_of_all_kinds(&shut);
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let held: Vec<_> = (0..3)
        .map(|_| tokio::spawn(weir.client().get("/held")))
        .collect();
    let idle = weir.client().connect().await;

    weir.metric_becomes("weir_requests_in_flight", 3.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 3.0).await;
    weir.metric_becomes("weir_connections", 4.0).await;
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 4.0);
    assert_eq!(weir.metric("weir_endpoint_ready").await, 1.0);

    shut.open();
    for request in held {
        assert_eq!(request.await.unwrap().status, 200);
    }
    drop(idle);
    for gauge in [
        "weir_requests_in_flight",
        "weir_endpoint_in_flight",
        "weir_connections",
    ] {
        weir.metric_becomes(gauge, 0.0).await;
    }
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 4.0);
    assert_eq!(weir.metric("weir_picks_total").await, 3.0);
}

#[tokio::test]
async fn picks_failures_and_retries_are_counted_by_endpoint_and_reason() {
    let origins = Origin::several(2);
    origins[0].stop().await;
    let weir = weir(
        "
        pools: { web: { balance: round_robin, endpoints: [$gone, $alive] } }
        routes: [{ pool: web, retry: { attempts: 1 } }]
    ",
    )
    .with("gone", &origins[0])
    .with("alive", &origins[1])
    .start()
    .await;

    weir.client().get_many("/", 10, 1).await.expect_lossless();

    let of = |family: &str, origin: &Origin, more: &str| {
        format!(r#"{family}{{pool="web",endpoint="{origin}"{more}}}"#)
    };
    let picks = weir.metric(&of("weir_picks_total", &origins[0], "")).await;
    assert!(picks > 0.0);
    let refused = r#",outcome="connect_refused""#;
    for (sample, value) in [
        (of("weir_picks_total", &origins[1], ""), 10.0),
        (
            of("weir_endpoint_failures_total", &origins[0], refused),
            picks,
        ),
        (of("weir_endpoint_failures_total", &origins[1], ""), 0.0),
        (
            r#"weir_retries_total{reason="connect_refused"}"#.into(),
            picks,
        ),
    ] {
        assert_eq!(weir.metric(&sample).await, value, "{sample}");
    }
    let attempts: usize = weir
        .logged(10)
        .await
        .iter()
        .map(|line| outcomes(line).len())
        .sum();
    assert_eq!(attempts as f64, picks + 10.0);
}

/// The page's series, without their values.
async fn series(weir: &Weir) -> BTreeSet<String> {
    let page = weir.metrics().await;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' '));
    series.map(|(series, _)| series.to_owned()).collect()
}

#[tokio::test]
async fn no_client_makes_a_new_series() {
    let origin = Origin::serving("");
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes: [{ host: '*.known.test', pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let mut connection = weir.client().connect().await;
    let mut ask = async |number: usize| {
        let known = if number.is_multiple_of(2) {
            "known"
        } else {
            "unknown"
        };
        let method = format!("M{number}");
        let request = connection
            .request(&method, &format!("/path/{number}?{number}"))
            .host(&format!("host{number}.{known}.test"))
            .header(&format!("X-{number}"), number);
        connection.exchange(&request).await.unwrap();
    };
    for number in 0..2 {
        ask(number).await;
    }
    weir.logged(2).await;
    let before = series(&weir).await;
    for number in 2..1000 {
        ask(number).await;
    }
    weir.logged(1000).await;
    assert_eq!(series(&weir).await, before);
    assert_eq!(weir.metric("weir_requests_total").await, 500.0);
}

#[tokio::test]
async fn what_leaves_the_configuration_leaves_the_metrics() {
    let origins = Origin::several(2);
    let weir = weir(
        "
        pools:
          web: { endpoints: [$a, $b], health: { tcp: true, interval: 100ms } }
          leaving: { endpoints: [$a] }
        routes:
          - { name: stays, path: /stays, pool: web }
          - { name: moves, path: /moves, pool: leaving }
          - { name: goes, path: /goes, respond: {} }
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .start()
    .await;
    for target in ["/stays", "/moves", "/goes"] {
        weir.client().get(target).await;
    }
    weir.logged(3).await;
    let probed = format!(r#"weir_probes_total{{endpoint="{}"}}"#, origins[1]);
    eventually("b is probed", async || weir.metric(&probed).await > 0.0).await;
    for gone in [
        r#"weir_requests_total{route="goes"}"#,
        r#"weir_requests_total{pool="leaving"}"#,
        r#"weir_picks_total{pool="leaving"}"#,
    ] {
        assert!(weir.find_metric(gone).await.is_some(), "{gone}");
    }

    let reloaded = weir
        .reload_with(
            "
        pools: { web: { endpoints: [$a] } }
        routes:
          - { name: stays, path: /stays, pool: web }
          - { name: moves, path: /moves, pool: web }
    ",
        )
        .await;
    assert!(reloaded, "{}", weir.stderr());
    let removed = [
        r#"route="goes""#.to_owned(),
        r#"pool="leaving""#.to_owned(),
        format!(r#"endpoint="{}""#, origins[1]),
    ];
    eventually("their series are gone", async || {
        let series = series(&weir).await;
        !series
            .iter()
            .any(|line| removed.iter().any(|gone| line.contains(gone)))
    })
    .await;
    weir.client().get("/moves").await;
    let moved = r#"weir_requests_total{route="moves",pool="web",code_class="2xx"}"#;
    weir.metric_becomes(moved, 1.0).await;
    let stayed = r#"weir_requests_total{route="stays",pool="web",code_class="2xx"}"#;
    assert_eq!(weir.metric(stayed).await, 1.0, "what stays keeps its count");
}

#[tokio::test]
async fn reloads_are_counted_and_the_generation_tells_which_one_is_in_force() {
    let good = "routes: [{ respond: {} }]";
    let weir = weir(good).start().await;
    let expect = async |generation, last, success, failure| {
        for (sample, value) in [
            ("weir_config_generation", generation),
            ("weir_config_last_reload_success", last),
            (r#"weir_config_reloads_total{result="success"}"#, success),
            (r#"weir_config_reloads_total{result="failure"}"#, failure),
        ] {
            weir.metric_becomes(sample, value).await;
        }
    };

    expect(1.0, 1.0, 0.0, 0.0).await;
    assert!(weir.reload_with(good).await);
    expect(2.0, 1.0, 1.0, 0.0).await;
    assert!(!weir.reload_with("routes: [{ pool: nope }]").await);
    expect(2.0, 0.0, 1.0, 1.0).await;
    assert!(weir.reload_with(good).await);
    expect(3.0, 1.0, 2.0, 1.0).await;
}

#[test]
fn every_metric_family_is_in_a_scenario() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &str| -> String {
        let files = std::fs::read_dir(root.join(folder)).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    };
    let declared = std::fs::read_to_string(root.join("src/telemetry/metrics.rs")).unwrap();
    let declared = declared.split("#[cfg(test)]").next().unwrap().to_owned();
    let declared = declared + &read("src/telemetry/metrics");
    let areas = [
        "tests/it",
        "tests/it/balancing",
        "tests/it/caching",
        "tests/it/forwarding",
    ];
    let scenarios: String = areas.into_iter().map(read).collect();
    let name = Regex::new(r#""(weir_[a-z_]+)""#).unwrap();
    let families: Vec<&str> = name
        .captures_iter(&declared)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(families.len() > 20, "{families:?}");
    for family in families {
        assert!(scenarios.contains(family), "no scenario is about {family}");
    }
}

// --- status

#[tokio::test]
async fn status_tells_state_load_and_share_as_they_are() {
    let shut = Gate::new();
    let (held, origins) = (origin_of_all_kinds(&shut), Origin::several(3));
    let weir = weir(
        "
        pools:
          web:
            balance: round_robin
            endpoints: [{ address: $a, weight: 3 }, $b, { address: $c, backup: true }]
          slow: { endpoints: [$held] }
        routes: [{ pool: web }, { path: /held, pool: slow }]
    ",
    )
    .with("a", &origins[0])
    .with("b", &origins[1])
    .with("c", &origins[2])
    .with("held", &held)
    .start()
    .await;
    weir.client().get_many("/", 40, 4).await.expect_lossless();
    let waiting = tokio::spawn(weir.client().get("/held"));
    eventually("one waits", async || shut.waiting() == 1).await;

    let end = weir.command(&["status", "--json"]).await;
    assert!(end.success(), "{end:?}");
    let status: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(
        (&status["ready"], &status["generation"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(status["requests_in_flight"], 1);
    let pool = |name: &str| {
        let pools = status["pools"].as_array().unwrap().iter();
        pools.clone().find(|pool| pool["name"] == name).unwrap()
    };
    assert_eq!(pool("web")["balance"], "round_robin");
    assert_eq!(pool("slow")["balance"], "least_conn");
    let endpoint = |origin: &Origin, weight, backup, in_flight, picks, share| {
        json!({
            "address": origin.to_string(), "weight": weight, "backup": backup, "state": "healthy",
            "in_flight": in_flight, "picks": picks, "share": share,
        })
    };
    assert_eq!(
        pool("web")["endpoints"],
        json!([
            endpoint(&origins[0], 3, false, 0, 30, 75.0),
            endpoint(&origins[1], 1, false, 0, 10, 25.0),
            endpoint(&origins[2], 1, true, 0, 0, 0.0),
        ])
    );
    assert_eq!(
        pool("slow")["endpoints"],
        json!([endpoint(&held, 1, false, 1, 1, 100.0)])
    );

    let table = weir.command(&["status"]).await.stdout;
    let row = |origin: &Origin| {
        let address = origin.to_string();
        let mut rows = table.lines().map(str::split_whitespace);
        let row = rows.find(|row| row.clone().next() == Some(&address));
        row.unwrap().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        row(&origins[0]),
        format!("{} 3 - healthy 0 30 75.0%", origins[0])
    );
    assert_eq!(row(&held), format!("{held} 1 - healthy 1 1 100.0%"));
    shut.open();
    waiting.await.unwrap();
}
