//! The limits of a connection and of a request head: each changes what happens, at its boundary.

use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// A weir with these limits, in front of an origin.
async fn limited(origin: &Origin, limits: &str) -> Weir {
    with_limits(limits).with("origin", origin).start().await
}

fn with_limits(limits: &str) -> Setup {
    weir(&yaml(limits))
}

fn yaml(limits: &str) -> String {
    format!(
        "
        server: {{ limits: {{ {limits} }}, $upgradable }}
        pools: {{ web: {{ endpoints: [$origin] }} }}
        routes: [{{ pool: web }}]
    "
    )
}

/// A connection on which a request was served, and which is kept open.
async fn used(client: &Client) -> Connection {
    let mut connection = client.connect().await;
    assert_eq!(connection.get("/").await.status, 200);
    connection
}

fn refused_at_once(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.complete && response.closes());
    assert_eq!(response.header("retry-after"), Some("5"));
}

// --- how many connections

#[tokio::test]
async fn connections_beyond_the_cap_get_a_readable_503_until_one_closes() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "connections: 2").await;
    let first = used(&weir.client()).await;
    let _second = used(&weir.client()).await;

    for refused in 1..=5 {
        let response = weir.client().get("/").await;
        refused_at_once(&response);
        assert!(response.text().contains("too many connections"));
        let reason = r#"weir_rejections_total{reason="too_many_connections"}"#;
        assert_eq!(weir.metric(reason).await, f64::from(refused));
    }
    assert_eq!(weir.metric("weir_connections").await, 2.0);
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 2.0);
    assert_eq!(origin.hits(), 2);

    drop(first);
    weir.metric_becomes("weir_connections", 1.0).await;
    let _third = used(&weir.client()).await;
    refused_at_once(&weir.client().get("/").await);
}

#[tokio::test]
async fn one_address_cannot_take_the_places_of_another() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "connections_per_address: 2").await;
    let (here, there) = (weir.client(), weir.client().from("127.0.0.2"));
    let first = used(&here).await;
    let _second = used(&here).await;

    let response = here.get("/").await;
    refused_at_once(&response);
    assert!(response.text().contains("from this address"));
    let _others = (used(&there).await, used(&there).await);
    refused_at_once(&there.get("/").await);
    let reason = r#"weir_rejections_total{reason="too_many_connections_per_address"}"#;
    assert_eq!(weir.metric(reason).await, 2.0);

    drop(first);
    weir.metric_becomes("weir_connections", 3.0).await;
    let _third = used(&here).await;
}

#[tokio::test]
async fn a_flood_over_the_cap_leaves_every_place_free_again() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "connections: 10").await;
    let flood = (0..200).map(|_| {
        let client = weir.client();
        tokio::spawn(async move { client.try_get("/").await })
    });
    let flood: Vec<_> = flood.collect();
    let mut refused = 0;
    for request in flood {
        match request.await.unwrap().unwrap().status {
            200 => {}
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    let reason = r#"weir_rejections_total{reason="too_many_connections"}"#;
    assert_eq!(weir.metric(reason).await, f64::from(refused));
    weir.metric_becomes("weir_connections", 0.0).await;
    let accepted = weir.metric("weir_connections_accepted_total").await;
    assert_eq!(accepted, f64::from(200 - refused));
    let report = weir.client().get_many("/", 50, 10).await;
    report.expect_lossless();
}

// --- a head's time and size

#[tokio::test]
async fn a_head_that_takes_too_long_gets_408() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "header_timeout: 200ms").await;
    // On a new connection, and on one that has served a request.
    for mut connection in [weir.client().connect().await, used(&weir.client()).await] {
        connection.write("GET / HTTP/1.1\r\nHost: ").await;
        let response = connection.response().await.unwrap();
        assert_eq!((response.status, response.closes()), (408, true));
        assert_eq!(connection.ending().await, Ending::Closed);
    }
    assert_eq!(origin.hits(), 1);
    let lines = weir.logged(3).await;
    let is_late = |line: &&Value| line["termination"] == "header_timeout";
    assert_eq!(lines.iter().filter(is_late).count(), 2);
    for line in lines.iter().filter(is_late) {
        assert_eq!(line["status"], 408, "{line}");
        assert!(line["total_ms"].as_f64().unwrap() >= 200.0, "{line}");
    }
    let reason = r#"weir_rejections_total{reason="header_timeout"}"#;
    assert_eq!(weir.metric(reason).await, 2.0);
}

#[tokio::test]
async fn the_time_for_a_head_begins_with_its_first_byte() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "header_timeout: 100ms").await;
    let mut connection = weir.client().connect().await;
    let idle = Duration::from_millis(300);
    for _ in 0..2 {
        steadily("an idle connection stays", idle, async || {
            !connection.has_ended().await
        })
        .await;
        assert_eq!(connection.get("/").await.status, 200);
    }
}

/// How many of the lines tell of this end.
fn ended(lines: &[Value], termination: &str) -> usize {
    let ends = lines.iter().map(|line| &line["termination"]);
    ends.filter(|end| *end == termination).count()
}

/// Sends a GET of this target with more fields, and gives the status of the answer.
async fn status_of(weir: &Weir, target: &str, fields: &str) -> u16 {
    let mut connection = weir.client().connect().await;
    connection
        .write(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        .await;
    connection.response().await.unwrap().status
}

#[tokio::test]
async fn the_bytes_of_a_head_are_bounded() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "header_bytes: 1KiB").await;
    let around = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let fill = |bytes: usize| format!("X: {}\r\n", "x".repeat(bytes - around));
    assert_eq!(status_of(&weir, "/", &fill(1024)).await, 200);
    assert_eq!(status_of(&weir, "/", &fill(1025)).await, 431);
    // Before it is whole, too.
    let mut connection = weir.client().connect().await;
    let unfinished = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1024));
    connection.write(unfinished).await;
    assert_eq!(connection.response().await.unwrap().status, 431);
    assert_eq!(origin.hits(), 1);
    assert_eq!(ended(&weir.logged(3).await, "headers_too_large"), 2);
}

#[tokio::test]
async fn the_fields_of_a_head_are_counted() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "header_count: 3").await;
    assert_eq!(status_of(&weir, "/", "A: 1\r\nB: 2\r\n").await, 200);
    assert_eq!(status_of(&weir, "/", "A: 1\r\nB: 2\r\nC: 3\r\n").await, 431);
    assert_eq!(origin.hits(), 1);
    let reason = r#"weir_rejections_total{reason="headers_too_large"}"#;
    assert_eq!(weir.metric(reason).await, 1.0);
}

#[tokio::test]
async fn the_target_is_bounded() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "uri_bytes: 64").await;
    let target = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    assert_eq!(status_of(&weir, &target(64), "").await, 200);
    assert_eq!(status_of(&weir, &target(65), "").await, 414);
    let mut connection = weir.client().connect().await;
    connection.write(format!("GET {}", target(1000))).await;
    assert_eq!(connection.response().await.unwrap().status, 414);
    assert_eq!(origin.hits(), 1);
    assert_eq!(ended(&weir.logged(3).await, "uri_too_long"), 2);
}

// --- how long a connection is kept

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "keepalive_timeout: 2s").await;
    for is_used in [false, true] {
        let mut connection = match is_used {
            false => weir.client().connect().await,
            true => used(&weir.client()).await,
        };
        let idle = Duration::from_millis(700);
        steadily("it is kept", idle, async || !connection.has_ended().await).await;
        assert_eq!(connection.ending().await, Ending::Closed);
    }
    weir.metric_becomes("weir_connections", 0.0).await;
    // A close of an idle connection is no request and no rejection.
    assert_eq!(weir.access_log().len(), 1);
    assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
}

#[tokio::test]
async fn empty_lines_do_not_keep_an_idle_connection_open() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "keepalive_timeout: 1s").await;
    let mut connection = used(&weir.client()).await;
    let mut sent = 0;
    eventually("it is closed", async || {
        connection.write("\r\n").await;
        sent += 1;
        connection.has_ended().await
    })
    .await;
    assert!(sent > 10, "{sent} lines were taken");
    weir.metric_becomes("weir_connections", 0.0).await;
}

#[tokio::test]
async fn a_connection_serves_so_many_requests_and_announces_the_last() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "keepalive_requests: 3").await;
    let mut connection = weir.client().connect().await;
    for is_last in [false, false, true] {
        let response = connection.get("/").await;
        assert_eq!((response.status, response.closes()), (200, is_last));
    }
    assert_eq!(connection.ending().await, Ending::Closed);
    let report = weir.client().get_many("/", 30, 1).await;
    report.expect_lossless();
    assert_eq!((report.connections, report.retried_on_stale), (10, 0));
}

// --- bodies that stop

#[tokio::test]
async fn a_request_body_that_stops_gets_408() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "body_timeout: 200ms").await;
    let framings = [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for (index, rest) in framings.iter().enumerate() {
        let mut connection = weir.client().connect().await;
        connection
            .write(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}"))
            .await;
        let response = connection.response().await.unwrap();
        assert_eq!((response.status, response.closes()), (408, true), "{rest}");
        assert_eq!(connection.ending().await, Ending::Closed);
        let line = weir.logged(index + 1).await.remove(index);
        assert_eq!(line["termination"], "body_timeout", "{rest}");
    }
    let reason = r#"weir_rejections_total{reason="body_timeout"}"#;
    assert_eq!(weir.metric(reason).await, 2.0);
    eventually("the origin's requests are over", async || {
        origin.in_flight() == 0
    })
    .await;
    assert!(origin.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn a_request_body_that_comes_slowly_but_steadily_passes() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "body_timeout: 2s").await;
    let mut connection = weir.client().connect().await;
    connection
        .write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        .await;
    let pause = Duration::from_millis(400);
    for byte in b"steady" {
        connection.write([*byte]).await;
        // Together they take longer than the timeout.
        steadily("it waits", pause, async || !connection.has_ended().await).await;
    }
    assert_eq!(connection.response().await.unwrap().status, 200);
    assert_eq!(origin.last().text(), "steady");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left_after_the_send_timeout() {
    // More than the buffers of all sockets on the way.
    let body = "x".repeat(32 << 20);
    let origin = Origin::start(move |_| Reply::ok(&body));
    let weir = limited(&origin, "send_timeout: 300ms").await;
    let mut stalled = weir.client().connect().await;
    let request = stalled.request("GET", "/stalled").bytes();
    stalled.write(request).await;
    let line = weir.logged(1).await.remove(0);
    assert_eq!(line["termination"], "client_stalled", "{line}");
    assert_eq!(line["target"], "/stalled");
    weir.metric_becomes("weir_connections", 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;

    let read = weir.client().get("/read").await;
    assert_eq!((read.complete, read.body.len()), (true, 32 << 20));
}

// --- attacks

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_dribbling_clients_do_not_disturb_the_others() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "header_timeout: 1s").await;
    let connecting = (0..500).map(|_| {
        let client = weir.client();
        tokio::spawn(async move { client.connect().await })
    });
    let connecting: Vec<_> = connecting.collect();
    let mut dribbling = Vec::new();
    for connection in connecting {
        dribbling.push(connection.await.unwrap());
    }
    let load = Load::start(&weir.client(), "/", 4);
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let mut sent = 0;
    eventually("all are refused", async || {
        let byte = head.get(sent).copied().unwrap_or(b'x');
        sent += 1;
        let mut open = 0;
        for connection in &mut dribbling {
            if !connection.has_ended().await {
                connection.write([byte]).await;
                open += 1;
            }
        }
        open == 0
    })
    .await;
    let report = load.stop().await;
    report.expect_lossless();
    assert!(report.ok > 100, "{report:?}");
    for mut connection in dribbling {
        assert_eq!(connection.response().await.unwrap().status, 408);
    }
    let reason = r#"weir_rejections_total{reason="header_timeout"}"#;
    assert_eq!(weir.metric(reason).await, 500.0);
    weir.metric_becomes("weir_connections", 0.0).await;
}

#[tokio::test]
async fn a_thousand_idle_connections_cost_little_memory_and_give_it_back() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "connections_per_address: 2000").await;
    // What every process needs once it has served is not counted.
    weir.client().get_many("/", 200, 20).await.expect_lossless();
    weir.metric_becomes("weir_connections", 0.0).await;
    let (memory, files) = (weir.resident_bytes(), weir.open_files());

    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(used(&weir.client()).await);
    }
    assert_eq!(weir.metric("weir_connections").await, 1000.0);
    let each = weir.resident_bytes().saturating_sub(memory) / 1000;
    // 18.5 KiB where nothing is optimised, 15 KiB is the aim where everything is.
    assert!(each < 24 << 10, "{each} bytes per idle connection");

    drop(idle);
    weir.metric_becomes("weir_connections", 0.0).await;
    eventually("their files are closed", async || {
        weir.open_files() <= files + 10
    })
    .await;
}

// --- reload

#[tokio::test]
async fn a_reload_changes_limits_for_what_follows() {
    let origin = Origin::serving("ok");
    let weir = limited(&origin, "connections: 1, header_count: 2").await;
    let mut kept = used(&weir.client()).await;
    refused_at_once(&weir.client().get("/").await);

    assert!(
        weir.reload_with(&yaml("connections: 2, header_count: 3"))
            .await
    );
    // A request on the connection that was open already, and one more connection.
    let three = kept.request("GET", "/").header("A", 1).header("B", 2);
    assert_eq!(kept.exchange(&three).await.unwrap().status, 200);
    let second = used(&weir.client()).await;
    refused_at_once(&weir.client().get("/").await);

    // Fewer than are open: they stay, and none is added before there is room.
    assert!(
        weir.reload_with(&yaml("connections: 1, keepalive_requests: 1"))
            .await
    );
    drop(second);
    weir.metric_becomes("weir_connections", 1.0).await;
    refused_at_once(&weir.client().get("/").await);
    assert!(kept.get("/").await.closes());
    assert_eq!(kept.ending().await, Ending::Closed);
    weir.metric_becomes("weir_connections", 0.0).await;
    assert_eq!(weir.client().get("/").await.status, 200);
}
