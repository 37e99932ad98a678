//! Clients of HTTP/1.0: no chunks, no interim responses, and a close unless they ask to be kept.

use super::in_front_of;
use crate::support::*;

async fn exchange(connection: &mut Connection, keep: bool, target: &str) -> Response {
    let request = connection.request("GET", target).version("HTTP/1.0");
    let request = if keep {
        request.header("Connection", "keep-alive")
    } else {
        request
    };
    connection.exchange(&request).await.unwrap()
}

#[tokio::test]
async fn a_connection_of_http_10_is_closed_after_the_response() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let response = exchange(&mut connection, false, "/").await;
    assert_eq!((response.status, response.text()), (200, "a".into()));
    assert!(
        response.headers.lists("connection", "close"),
        "{response:?}"
    );
    assert_eq!(connection.ending().await, Ending::Closed);
    assert_eq!(weir.logged(1).await[0]["protocol"], "HTTP/1.0");
    assert_eq!(origin.last().version, "HTTP/1.1");
}

#[tokio::test]
async fn a_connection_of_http_10_is_kept_where_the_client_asks_for_it() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    for _ in 0..3 {
        let response = exchange(&mut connection, true, "/").await;
        assert_eq!(response.text(), "a");
        assert!(
            response.headers.lists("connection", "keep-alive"),
            "{response:?}"
        );
    }
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn a_chunked_response_reaches_http_10_without_chunks() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/until-close" => Reply::status(200).until_close("page"),
        _ => Reply::status(200).chunked(["pa", "ge"]),
    });
    let weir = in_front_of(&origin).await;
    for target in ["/", "/until-close"] {
        for keep in [false, true] {
            let mut connection = weir.client().connect().await;
            let response = exchange(&mut connection, keep, target).await;
            assert_eq!(response.header("transfer-encoding"), None, "{response:?}");
            assert_eq!(response.text(), "page", "{target}");
            // Only the close tells where it ends.
            assert!(
                response.headers.lists("connection", "close"),
                "{response:?}"
            );
            assert_eq!(connection.ending().await, Ending::Closed);
        }
    }
}

#[tokio::test]
async fn interim_responses_are_kept_from_http_10() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let origin = Origin::start(move |_| Reply::ok("page").interim(hints));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let response = exchange(&mut connection, false, "/").await;
    assert!(response.interim.is_empty(), "{response:?}");
    assert_eq!(response.text(), "page");
}

#[tokio::test]
async fn http_10_may_leave_its_host_out() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let request = weir.client().request("GET", "/").version("HTTP/1.0");
    assert_eq!(request.without("host").send().await.text(), "a");
}

#[tokio::test]
async fn a_response_without_a_length_that_breaks_off_ends_in_a_reset() {
    let broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npa\r\n";
    let origin = Origin::start(move |_| Reply::raw(broken));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(connection.ending().await, Ending::Reset);
    assert_eq!(weir.logged(1).await[0]["termination"], "upstream_closed");
}

#[tokio::test]
async fn http_10_knows_no_upgrade() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    for _ in 0..2 {
        let mut connection = weir.client().connect().await;
        let request = connection.request("GET", "/").version("HTTP/1.0");
        let request = request.header("Upgrade", "websocket");
        let response = connection.exchange(&request).await.unwrap();
        assert_eq!(response.text(), "a");
        assert_eq!(origin.last().header("upgrade"), None);
    }
    // A request like any other: its connection to the endpoint is kept for the next.
    assert_eq!(origin.connections(), 1);
}
