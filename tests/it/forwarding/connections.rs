//! Connections: kept on both sides, for as long as they may be.

use std::time::Duration;

use super::{in_front_of, with_options};
use crate::support::*;

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;

    let report = weir.client().get_many("/", 400, 4).await;

    report.expect_lossless();
    assert_eq!(report.connections, 4);
    assert!(origin.connections() <= 4, "{}", origin.connections());
    weir.metric_becomes("weir_connections_accepted_total", 4.0)
        .await;
    weir.metric_becomes("weir_connections", 0.0).await;
}

#[tokio::test]
async fn an_upstream_connection_serves_one_client_after_another() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    for number in 1..=10 {
        assert_eq!(weir.client().get("/").await.text(), "a");
        let lines = weir.logged(number).await;
        let connect = lines[number - 1]["connect_ms"].as_f64().unwrap();
        assert_eq!(connect == 0.0, number > 1, "{}", lines[number - 1]);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_close_announced_by_the_client_is_honoured() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("GET", "/").header("Connection", "close");
    let response = connection.exchange(&request).await.unwrap();
    assert!(response.headers.lists("connection", "close"));
    assert_eq!(connection.ending().await, Ending::Closed);
    assert_eq!(weir.client().get("/").await.text(), "a");
    assert_eq!(origin.connections(), 1, "the origin's connection is kept");
}

#[tokio::test]
async fn with_an_idle_timeout_of_zero_no_upstream_connection_is_kept() {
    let origin = Origin::serving("a");
    let weir = with_options(&origin, ", idle_timeout: 0s", "").await;
    let mut connection = weir.client().connect().await;
    for number in 1..=5 {
        assert_eq!(connection.get("/").await.text(), "a");
        assert_eq!(origin.connections(), number);
    }
    eventually("all are closed", async || origin.connections_open() == 0).await;
}

#[tokio::test]
async fn an_unused_upstream_connection_is_closed_after_the_idle_timeout() {
    let origin = Origin::serving("a");
    let weir = with_options(&origin, ", idle_timeout: 1s", "").await;
    let mut connection = weir.client().connect().await;
    for _ in 0..3 {
        assert_eq!(connection.get("/").await.text(), "a");
    }
    assert_eq!(origin.connections(), 1);
    eventually("it is closed", async || origin.connections_open() == 0).await;
    assert_eq!(connection.get("/").await.text(), "a");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_a_connect_timeout() {
    let hole = BlackHole::new().await;
    let weir = weir(
        "
        pools: { web: { endpoints: [$hole], connect_timeout: 200ms } }
        routes: [{ pool: web }]
    ",
    )
    .with("hole", &hole)
    .start()
    .await;
    let began = std::time::Instant::now();
    let response = weir.client().get("/").await;
    assert_eq!(response.status, 504);
    assert!(began.elapsed() >= Duration::from_millis(190));
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "connect_timeout", "{line}");
    assert_eq!(line["attempts"][0]["outcome"], "connect_timeout", "{line}");
    assert!(line["connect_ms"].is_null(), "{line}");
    let rejected = weir.metric(r#"weir_rejections_total{reason="connect_timeout"}"#);
    assert_eq!(rejected.await, 1.0);
}
