//! Clients that go away, and responses that come before their requests are whole.

use super::{in_front_of, pattern};
use crate::support::*;

async fn nothing_is_in_flight(weir: &Weir) {
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    weir.metric_becomes("weir_connections", 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_the_origin_works_frees_everything() {
    for resets in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::ok("late").after(&held));
        let weir = in_front_of(&origin).await;
        let mut connection = weir.client().connect().await;
        connection
            .write(connection.request("GET", "/").bytes())
            .await;
        eventually("the origin works", async || gate.waiting() == 1).await;
        weir.metric_becomes("weir_endpoint_in_flight", 1.0).await;
        assert_eq!(weir.metric("weir_requests_in_flight").await, 1.0);

        if resets {
            connection.reset();
        } else {
            drop(connection);
        }

        eventually("the origin sees the abort", async || origin.aborted() == 1).await;
        nothing_is_in_flight(&weir).await;
        let line = &weir.logged(1).await[0];
        assert_eq!(line["termination"], "client_closed", "{line}");
        assert_eq!(line["status"], 0, "{line}");
        assert_eq!(line["attempts"][0]["outcome"], "pending", "{line}");
        let none = weir.metric(r#"weir_requests_total{code_class="none"}"#);
        assert_eq!(none.await, 1.0);
        assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
        assert_eq!(weir.metric("weir_endpoint_failures_total").await, 0.0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_the_response_frees_everything() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(pattern(100_000)).stall_at(5, &held));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection
        .write(connection.request("GET", "/").bytes())
        .await;
    assert!(!connection.read_some().await.is_empty());
    eventually("the origin works", async || gate.waiting() == 1).await;
    drop(connection);
    eventually("the origin sees the abort", async || origin.aborted() == 1).await;
    nothing_is_in_flight(&weir).await;
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "client_closed", "{line}");
    assert_eq!(line["status"], 200, "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_within_its_request_frees_everything() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    for framing in [("Content-Length", "100"), ("Transfer-Encoding", "chunked")] {
        let hits = origin.hits();
        let mut connection = weir.client().connect().await;
        let request = connection.request("POST", "/");
        let mut bytes = request.header(framing.0, framing.1).bytes();
        bytes.extend_from_slice(b"5\r\nabcde\r\n");
        connection.write(bytes).await;
        eventually("the origin has the head", async || {
            origin.hits() == hits + 1
        })
        .await;
        drop(connection);
        eventually("the origin sees the abort", async || {
            origin.in_flight() == 0
        })
        .await;
        assert!(!origin.last().complete, "a part must not look whole");
    }
    nothing_is_in_flight(&weir).await;
    for line in weir.logged(2).await {
        assert_eq!(line["termination"], "client_closed", "{line}");
    }
}

/// Sends a head and a part of its body, and reads the response that comes all the same.
async fn answered_early(connection: &mut Connection) -> Response {
    let request = connection.request("POST", "/early");
    let mut bytes = request.header("Content-Length", 1000).bytes();
    bytes.extend_from_slice(b"a part");
    connection.write(bytes).await;
    connection.response().await.unwrap()
}

#[tokio::test]
async fn a_response_before_the_request_is_whole_reaches_the_client() {
    for closes in [true, false] {
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/early" if closes => Reply::ok("early").close(),
            "/early" => Reply::ok("early"),
            _ => Reply::ok("next"),
        });
        origin.before_body(BeforeBody::Answer);
        let weir = in_front_of(&origin).await;
        let mut connection = weir.client().connect().await;

        let response = answered_early(&mut connection).await;

        assert_eq!((response.status, response.text()), (200, "early".into()));
        assert!(response.complete);
        // The rest of the body is still owed: this connection, and the origin's that has a part of
        // it, serve nobody else.
        assert!(response.closes());
        drop(connection);
        nothing_is_in_flight(&weir).await;
        assert_eq!(weir.client().get("/next").await.text(), "next");
        assert_eq!(origin.last().connection, 2, "closes: {closes}");
    }
}

#[tokio::test]
async fn the_rest_of_a_body_that_was_answered_early_is_no_request() {
    let origin = Origin::start(|_| Reply::status(403).body("no").close());
    origin.before_body(BeforeBody::Answer);
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let smuggled = connection.request("GET", "/smuggled").bytes();
    let request = connection.request("POST", "/");
    let head = request.header("Content-Length", smuggled.len()).bytes();
    connection.write(head).await;
    assert_eq!(connection.response().await.unwrap().status, 403);
    connection.write(smuggled).await;
    let _ = connection.ending().await;
    assert_eq!(weir.client().get("/last").await.status, 403);
    let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/", "/last"]);
}
