//! Upgraded connections: each upgrade opens a tunnel, it carries both ways, and its sides end
//! together.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::*;

const POOL: &str = "
    pools: { web: { endpoints: [$origin] } }
    routes: [{ pool: web }]
";

async fn in_front_of(origin: &Origin) -> Weir {
    weir(POOL).with("origin", origin).start().await
}

fn upgrade(connection: &Connection, target: &str) -> RequestBuilder {
    connection
        .request("GET", target)
        .header("Upgrade", "websocket")
        .header("Connection", "keep-alive, Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// How many of `count` upgrades over `concurrency` connections at once gave a tunnel that works.
async fn tunnels_that_work(client: Client, count: usize, concurrency: usize) -> usize {
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let client = client.clone();
        workers.spawn(async move {
            let mut working = 0;
            for _ in 0..count / concurrency {
                let mut tunnel = client.websocket("/").await;
                let greeted = tunnel.read(5).await.as_deref() == Some(b"hello");
                working += usize::from(greeted && tunnel.echoes("ping").await);
            }
            working
        });
    }
    workers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_of_ten_thousand_upgrades_open_a_tunnel() {
    // The greeting comes in one packet with the 101, which a fast origin sends before weir has
    // taken note that the upgrade request has no body.
    let origin = Origin::start(|_| Reply::websocket().greeting("hello"));
    let weir = in_front_of(&origin).await;

    let working = tunnels_that_work(weir.client(), 10_000, 50).await;

    assert_eq!(working, 10_000);
    weir.metric_becomes("weir_tunnels", 0.0).await;
    weir.metric_becomes(r#"weir_requests_total{code_class="1xx"}"#, 10_000.0)
        .await;
}

#[tokio::test]
async fn bytes_sent_behind_the_upgrade_request_reach_the_origin() {
    let origin = Origin::start(|_| Reply::websocket());
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;

    let mut packet = upgrade(&connection, "/").bytes();
    packet.extend_from_slice(b"early");
    connection.write(packet).await;

    assert_eq!(connection.response().await.unwrap().status, 101);
    assert_eq!(connection.read(5).await.unwrap(), b"early");
    assert!(connection.echoes("later").await);
}

#[tokio::test]
async fn the_handshake_fields_pass_both_ways() {
    let origin = Origin::start(|_| Reply::websocket().header("Sec-WebSocket-Protocol", "chat"));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;

    let request = upgrade(&connection, "/chat?room=1").header("Sec-WebSocket-Protocol", "chat");
    let response = connection.exchange(&request).await.unwrap();

    let seen = origin.last();
    assert_eq!(seen.target, "/chat?room=1");
    assert!(seen.headers.lists("connection", "upgrade"), "{seen:?}");
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-protocol"), Some("chat"));
    assert!(response.headers.lists("connection", "upgrade"));
    assert_eq!(response.header("upgrade"), Some("websocket"));
    let accept = response.header("sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat"));
}

#[tokio::test]
async fn megabytes_pass_a_tunnel_both_ways() {
    let origin = Origin::start(|_| Reply::websocket());
    let weir = in_front_of(&origin).await;
    let mut tunnel = weir.client().websocket("/").await;
    let part: Vec<u8> = (0..64 * 1024_u32).map(|number| number as u8).collect();
    for _ in 0..64 {
        assert!(tunnel.echoes(&part).await);
    }
}

#[tokio::test]
async fn a_tunnel_is_counted_while_open_and_logged_when_its_client_closes() {
    let origin = Origin::start(|_| Reply::websocket().greeting("hello"));
    let weir = in_front_of(&origin).await;

    let mut tunnel = weir.client().websocket("/chat").await;
    assert_eq!(tunnel.read(5).await.unwrap(), b"hello");
    assert!(tunnel.echoes("ping").await);
    weir.metric_becomes("weir_tunnels", 1.0).await;
    assert_eq!(weir.metric("weir_requests_in_flight").await, 1.0);
    assert!(
        weir.access_log().is_empty(),
        "a tunnel is logged at its end"
    );
    drop(tunnel);

    let line = &weir.logged(1).await[0];
    assert_eq!(line["status"], 101, "{line}");
    assert_eq!(line["received"], 4, "{line}");
    assert_eq!(line["sent"], 9, "{line}");
    assert_eq!(line["attempts"][0]["outcome"], "ok", "{line}");
    assert_eq!(line["termination"], "ok", "{line}");
    weir.metric_becomes("weir_tunnels", 0.0).await;
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    eventually("the origin's side is closed", async || {
        origin.connections_open() == 0
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_its_client_resets_ends_on_both_sides() {
    let origin = Origin::start(|_| Reply::websocket());
    let weir = in_front_of(&origin).await;
    let mut tunnel = weir.client().websocket("/").await;
    assert!(tunnel.echoes("ping").await);
    tunnel.reset();
    eventually("the origin's side is closed", async || {
        origin.connections_open() == 0
    })
    .await;
    weir.metric_becomes("weir_tunnels", 0.0).await;
    assert_eq!(weir.logged(1).await[0]["status"], 101);
}

#[tokio::test]
async fn a_tunnel_that_its_origin_closes_ends_on_both_sides() {
    let over = Gate::new();
    let until = over.clone();
    let origin = Origin::start(move |_| Reply::websocket().until(&until));
    let weir = in_front_of(&origin).await;
    let mut tunnel = weir.client().websocket("/").await;
    assert!(tunnel.echoes("ping").await);

    over.open();

    assert_eq!(tunnel.ending().await, Ending::Closed);
    let line = &weir.logged(1).await[0];
    assert_eq!((&line["status"], &line["sent"]), (&101.into(), &4.into()));
    assert_eq!(line["termination"], "ok", "{line}");
    weir.metric_becomes("weir_tunnels", 0.0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response_and_the_connection_goes_on() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/forbidden" => Reply::status(403).body("no"),
        "/unaware" => Reply::ok("plain"),
        _ => Reply::websocket(),
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;

    for (target, status, body) in [("/forbidden", 403, "no"), ("/unaware", 200, "plain")] {
        let response = connection.exchange(&upgrade(&connection, target)).await;
        let response = response.unwrap();
        assert_eq!((response.status, response.text()), (status, body.into()));
        assert!(response.complete && !response.closes(), "{response:?}");
    }
    assert_eq!(connection.get("/unaware").await.text(), "plain");
    let accepted = connection.exchange(&upgrade(&connection, "/")).await;
    assert_eq!(accepted.unwrap().status, 101);
    assert!(connection.echoes("ping").await);
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn only_the_tunnel_timeout_ends_an_idle_tunnel() {
    let origin = Origin::start(|_| Reply::websocket());
    let weir = weir(
        "
        server: { limits: { body_timeout: 100ms } }
        pools:
          web: { endpoints: [$origin], read_timeout: 100ms, tunnel_timeout: 2s }
        routes: [{ pool: web, timeout: 200ms }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let mut tunnel = weir.client().websocket("/").await;
    assert!(tunnel.echoes("ping").await);

    steadily(
        "idle tunnel lives",
        Duration::from_millis(400),
        async || !tunnel.has_ended().await,
    )
    .await;
    assert!(tunnel.echoes("pong").await);

    // Nothing of ours goes into the tunnel: to its client that would be a frame.
    assert!(tunnel.read_some().await.is_empty());
    eventually("the origin's side is closed", async || {
        origin.connections_open() == 0
    })
    .await;
    weir.metric_becomes("weir_tunnels", 0.0).await;
    let line = &weir.logged(1).await[0];
    assert_eq!(line["status"], 101, "{line}");
    assert_eq!(line["sent"], 8, "{line}");
    assert_eq!(line["termination"], "tunnel_timeout", "{line}");
}

#[tokio::test]
async fn an_upgrade_that_is_not_answered_fails_after_the_read_timeout() {
    let never = Gate::new();
    let held = never.clone();
    let origin = Origin::start(move |_| Reply::websocket().after(&held));
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin], read_timeout: 200ms } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let mut connection = weir.client().connect().await;
    let response = connection.exchange(&upgrade(&connection, "/")).await;
    assert_eq!(response.unwrap().status, 504);
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "upstream_timeout", "{line}");
}

/// An origin whose 101 and greeting are there before weir has sent anything.
async fn hasty_origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = "HTTP/1.1 101 Switching Protocols\r\n\
                            Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let (mut reading, mut writing) = stream.split();
                let _ = tokio::io::copy(&mut reading, &mut writing).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_upgrade_opens_a_tunnel_even_when_its_101_is_there_at_once() {
    let origin = hasty_origin().await;
    let weir = weir(POOL).with("origin", origin).start().await;
    assert_eq!(tunnels_that_work(weir.client(), 200, 4).await, 200);
}
