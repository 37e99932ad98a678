//! Time and size: every wait has its bound and every bound its own word.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::{pattern, with_options};
use crate::support::*;

const MIB: usize = 1024 * 1024;

/// An origin that is silent for good, at the place the reply says.
fn stuck(reply: impl Fn(&Gate) -> Reply + Send + Sync + 'static) -> Origin {
    let never = Gate::new();
    Origin::start(move |_| reply(&never))
}

async fn ended_as(weir: &Weir, status: u16, termination: &str) {
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], termination, "{line}");
    assert_eq!(line["status"], status, "{line}");
    let rejected = format!(r#"weir_rejections_total{{reason="{termination}"}}"#);
    assert_eq!(weir.metric(&rejected).await, 1.0);
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_its_timeout_gets_504() {
    let origin = stuck(|never| Reply::ok("late").after(never));
    let weir = with_options(&origin, "", ", timeout: 200ms").await;
    let response = weir.client().get("/").await;
    assert_eq!(response.status, 504);
    assert!(response.text().contains("not finished in time"));
    eventually("the origin sees the abort", async || origin.aborted() == 1).await;
    ended_as(&weir, 504, "request_timeout").await;
    let failures = r#"weir_endpoint_failures_total{outcome="timeout"}"#;
    assert_eq!(weir.metric(failures).await, 1.0);
}

#[tokio::test]
async fn the_timeout_ends_a_response_under_way_so_that_it_shows() {
    for chunked in [false, true] {
        let origin = stuck(move |never| match chunked {
            true => {
                never.admit(1);
                Reply::status(200)
                    .chunked(["part", "rest"])
                    .each_after(never)
            }
            false => Reply::ok("part, rest").stall_at(4, never),
        });
        let weir = with_options(&origin, "", ", timeout: 200ms").await;
        let response = weir.client().get("/").await;
        assert_eq!((response.status, response.complete), (200, false));
        assert_eq!(response.text(), "part", "chunked: {chunked}");
        eventually("the origin sees the abort", async || origin.aborted() == 1).await;
        ended_as(&weir, 200, "request_timeout").await;
    }
}

#[tokio::test]
async fn a_response_that_never_pauses_is_bounded_by_the_timeout() {
    // 100 parts, one each time the origin is let on: each wait is short, all of them are long.
    let gate = Gate::new();
    let held = gate.clone();
    let origin =
        Origin::start(move |_| Reply::status(200).chunked([b"part"; 100]).each_after(&held));
    let weir = with_options(&origin, "", ", timeout: 300ms").await;
    let response = tokio::spawn(weir.client().get("/"));
    eventually("weir has given up", async || {
        gate.admit(usize::from(gate.waiting() == 1));
        origin.aborted() == 1 || origin.in_flight() == 0 && origin.hits() == 1
    })
    .await;
    assert_eq!(origin.aborted(), 1);
    assert!(!response.await.unwrap().complete);
    ended_as(&weir, 200, "request_timeout").await;
}

#[tokio::test]
async fn the_timeout_bounds_a_slow_upload() {
    let origin = Origin::serving("a");
    let weir = with_options(&origin, "", ", timeout: 200ms").await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/").header("Content-Length", 10);
    connection
        .write([&request.bytes()[..], b"a part"].concat())
        .await;
    assert_eq!(connection.response().await.unwrap().status, 504);
    assert_eq!(connection.ending().await, Ending::Closed);
    ended_as(&weir, 504, "request_timeout").await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer_gets_its_client_504() {
    let origin = stuck(|never| Reply::ok("late").after(never));
    let weir = with_options(&origin, ", read_timeout: 200ms", "").await;
    let response = weir.client().get("/").await;
    assert_eq!(response.status, 504);
    eventually("the origin sees the abort", async || origin.aborted() == 1).await;
    assert_eq!(origin.hits(), 1, "a timeout is not tried again");
    ended_as(&weir, 504, "upstream_timeout").await;
    let failures = weir.metric(r#"weir_endpoint_failures_total{outcome="timeout"}"#);
    assert_eq!(failures.await, 1.0);
}

#[tokio::test]
async fn an_origin_that_stops_within_its_response_is_given_up() {
    let origin = stuck(|never| Reply::ok("part, rest").stall_at(4, never));
    let weir = with_options(&origin, ", read_timeout: 200ms", "").await;
    let response = weir.client().get("/").await;
    assert_eq!((response.status, response.complete), (200, false));
    assert_eq!(response.text(), "part");
    ended_as(&weir, 200, "upstream_timeout").await;
}

#[tokio::test]
async fn the_read_timeout_does_not_run_while_the_client_sends() {
    let origin = Origin::start(|request| Reply::ok(&request.body));
    let weir = with_options(&origin, ", read_timeout: 1s", "").await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/").header("Content-Length", 30);
    connection.write(request.bytes()).await;
    for _ in 0..6 {
        connection.write("parts").await;
        steadily("it goes on", Duration::from_millis(250), async || {
            !connection.has_ended().await
        })
        .await;
    }
    assert_eq!(connection.response().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_request_body_that_stops_coming_gets_408() {
    let origin = Origin::serving("a");
    let weir = weir(
        "
        server: { limits: { body_timeout: 200ms } }
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/").header("Content-Length", 10);
    connection
        .write([&request.bytes()[..], b"a part"].concat())
        .await;
    let response = connection.response().await.unwrap();
    assert!(response.status == 408 && response.closes(), "{response:?}");
    assert_eq!(connection.ending().await, Ending::Closed);
    eventually("the origin sees the abort", async || {
        origin.in_flight() == 0
    })
    .await;
    ended_as(&weir, 408, "body_timeout").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_its_sender_can_read_why() {
    let body = pattern(10 * MIB);
    for declared in [true, false] {
        let origin = Origin::serving("a");
        let weir = with_options(&origin, "", ", body_limit: 1MiB").await;
        let mut connection = weir.client().connect().await;
        let request = connection.request("POST", "/");
        let request = match declared {
            true => request.body(&body),
            false => request.chunked(body.chunks(100_000)),
        };
        let response = connection.exchange(&request).await.unwrap();
        assert_eq!(response.status, 413, "declared: {declared}");
        assert!(response.complete && response.text().contains("larger than allowed"));
        // A declared one never gets there; the reset may overtake the head of the other.
        assert!(origin.hits() <= usize::from(!declared));
        eventually("the origin sees the abort", async || {
            origin.in_flight() == 0
        })
        .await;
        assert!(origin.requests().iter().all(|request| !request.complete));
        ended_as(&weir, 413, "body_too_large").await;
    }
}

#[tokio::test]
async fn a_body_within_the_limit_passes() {
    let origin = Origin::start(|request| Reply::ok(request.body.len().to_string()));
    let weir = with_options(&origin, "", ", body_limit: 1MiB").await;
    let body = pattern(MIB);
    assert_eq!(weir.client().post("/", &body).await.text(), "1048576");
    let request = weir
        .client()
        .request("POST", "/")
        .chunked(body.chunks(1000));
    assert_eq!(request.send().await.text(), "1048576");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let origin = Origin::start(|_| Reply::ok(vec![b'x'; 50 * MIB]));
    let weir = weir(
        "
        server: { limits: { send_timeout: 300ms } }
        pools: { web: { endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let mut connection = weir.client().connect().await;
    connection
        .write(connection.request("GET", "/").bytes())
        .await;
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "client_stalled", "{line}");
    weir.metric_becomes("weir_connections", 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    eventually("the origin sees the abort", async || origin.aborted() == 1).await;
    assert!(
        !connection
            .response()
            .await
            .is_ok_and(|response| response.complete)
    );
}

#[tokio::test]
async fn an_origin_that_stops_reading_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin], write_timeout: 200ms, read_timeout: 300ms } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", address)
    .start()
    .await;
    let deaf = tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let response = weir.client().post("/", pattern(20 * MIB)).await;
    assert_eq!(response.status, 504);
    ended_as(&weir, 504, "upstream_timeout").await;
    assert!(!deaf.is_finished());
}
