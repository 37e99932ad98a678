//! Bodies pass whole, both ways, in every framing, and nobody waits for their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{in_front_of, pattern};
use crate::support::*;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn bodies_of_every_size_pass_intact_both_ways() {
    let origin = Origin::start(|request| Reply::ok(&request.body));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let sizes = [0, 1, 64 * 1024, MIB, 20 * MIB];
    for size in sizes {
        let body = pattern(size);
        let request = connection.request("POST", "/").body(&body);
        let response = connection.exchange(&request).await.unwrap();
        assert!(response.complete, "{size}");
        assert_eq!(response.header("content-length"), Some(&*size.to_string()));
        assert!(response.body == body, "{size} bytes came back changed");
    }
    assert_eq!(origin.connections(), 1);
    let total = sizes.iter().sum::<usize>() as f64;
    weir.metric_becomes("weir_received_bytes_total", total)
        .await;
    weir.metric_becomes("weir_sent_bytes_total", total).await;
    let line = &weir.logged(5).await[4];
    assert_eq!(line["received"], 20 * MIB, "{line}");
    assert_eq!(line["sent"], 20 * MIB, "{line}");
}

#[tokio::test]
async fn chunked_bodies_stay_chunked_both_ways() {
    let origin = Origin::start(|request| Reply::status(200).chunked([&request.body[..], b"!"]));
    let weir = in_front_of(&origin).await;
    let large = pattern(MIB);
    let parts = [&b"a"[..], &large, b"z"];

    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/").chunked(parts);
    let response = connection.exchange(&request).await.unwrap();

    let expected = parts.concat();
    let seen = origin.last();
    assert!(seen.headers.lists("transfer-encoding", "chunked"));
    assert_eq!(seen.header("content-length"), None);
    assert!(seen.complete && seen.body == expected);
    assert!(response.headers.lists("transfer-encoding", "chunked"));
    assert!(response.complete && response.body == [&expected[..], b"!"].concat());
    assert!(connection.get("/").await.complete);
}

#[tokio::test]
async fn a_body_that_ends_with_the_origins_connection_is_chunked_for_the_client() {
    let origin = Origin::start(|_| Reply::status(200).until_close("all of it"));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    for _ in 0..2 {
        let response = connection.get("/").await;
        assert!(response.headers.lists("transfer-encoding", "chunked"));
        assert!(response.complete && !response.closes(), "{response:?}");
        assert_eq!(response.text(), "all of it");
    }
}

#[tokio::test]
async fn a_chunk_reaches_the_client_before_the_origin_sends_the_next() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::status(200)
            .chunked(["first", "second"])
            .each_after(&held)
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection
        .write(connection.request("GET", "/").bytes())
        .await;
    gate.admit(1);

    let mut seen = String::new();
    while !seen.contains("first") {
        let bytes = connection.read_some().await;
        assert!(!bytes.is_empty(), "closed after {seen:?}");
        seen += &String::from_utf8_lossy(&bytes);
    }
    assert!(!seen.contains("second"));
    gate.open();
    while !seen.ends_with("\r\n0\r\n\r\n") {
        seen += &String::from_utf8_lossy(&connection.read_some().await);
    }
    assert!(seen.contains("second"), "{seen}");
}

#[tokio::test]
async fn a_part_of_a_sized_body_reaches_the_client_before_the_rest() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("first, rest").stall_at(5, &held));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection
        .write(connection.request("GET", "/").bytes())
        .await;

    let mut seen = String::new();
    while !seen.ends_with("first") {
        let bytes = connection.read_some().await;
        assert!(!bytes.is_empty(), "closed after {seen:?}");
        seen += &String::from_utf8_lossy(&bytes);
    }
    gate.open();
    assert_eq!(connection.read(6).await.unwrap(), b", rest");
}

#[tokio::test]
async fn a_clients_chunk_reaches_the_origin_before_the_client_sends_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let first_seen = Arc::new(AtomicBool::new(false));
    let seen = first_seen.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
            let text = String::from_utf8_lossy(&received);
            seen.store(text.contains("first"), Ordering::SeqCst);
        }
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(response).await.unwrap();
    });
    let weir = weir("pools: { web: { endpoints: [$origin] } }\nroutes: [{ pool: web }]")
        .with("origin", address)
        .start()
        .await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/");
    let head = request.header("Transfer-Encoding", "chunked").bytes();

    connection.write(head).await;
    connection.write("5\r\nfirst\r\n").await;
    eventually("the origin has the first chunk", async || {
        first_seen.load(Ordering::SeqCst)
    })
    .await;
    connection.write("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(connection.response().await.unwrap().text(), "ok");
}

#[tokio::test]
async fn trailers_harm_nothing_in_either_direction() {
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                    5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/trailers" => Reply::raw(trailers).keep_open(),
        _ => Reply::ok(&request.body),
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;

    let response = connection.get("/trailers").await;
    assert!(response.complete && response.text() == "hello");
    let head = connection.request("POST", "/");
    let head = head.header("Transfer-Encoding", "chunked").bytes();
    connection.write(head).await;
    connection
        .write("2\r\nok\r\n0\r\nX-Sum: 2\r\nX-More: 3\r\n\r\n")
        .await;
    assert_eq!(connection.response().await.unwrap().text(), "ok");
    assert_eq!(connection.get("/").await.status, 200);
    assert_eq!(weir.metric("weir_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn responses_that_have_no_body_end_with_their_head() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/sized" => Reply::ok("12345"),
        "/chunked" => Reply::status(200).chunked(["12345"]),
        "/empty" => Reply::status(204),
        _ => Reply::status(304).header("Content-Length", 5),
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    for (method, target, status, length) in [
        ("HEAD", "/sized", 200, Some("5")),
        ("HEAD", "/chunked", 200, None),
        ("GET", "/empty", 204, None),
        ("GET", "/not-modified", 304, Some("5")),
        ("GET", "/sized", 200, Some("5")),
    ] {
        let request = connection.request(method, target);
        let response = connection.exchange(&request).await.unwrap();
        assert_eq!(response.status, status, "{method} {target}");
        assert_eq!(response.header("content-length"), length, "{target}");
        assert!(!response.closes(), "{method} {target}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_body_is_sent_once_the_origin_says_100() {
    let origin = Origin::start(|request| Reply::ok(&request.body));
    let weir = in_front_of(&origin).await;
    let request = weir.client().request("POST", "/");
    let response = request.expect_continue().body("given").send().await;
    assert_eq!(response.interim, [100]);
    assert_eq!((response.status, response.text()), (200, "given".into()));
}

#[tokio::test]
async fn a_refusal_in_place_of_100_reaches_the_client_that_holds_its_body_back() {
    for status in [413, 417] {
        let origin = Origin::start(move |_| Reply::status(status).body("no").close());
        origin.before_body(BeforeBody::Answer);
        let weir = in_front_of(&origin).await;
        let request = weir.client().request("POST", "/");
        let response = request.expect_continue().body("held back").send().await;
        assert_eq!((response.status, response.text()), (status, "no".into()));
        assert!(response.interim.is_empty(), "{response:?}");
        assert!(response.closes(), "the body may or may not come");
        let line = &weir.logged(1).await[0];
        assert_eq!(
            (&line["status"], &line["received"]),
            (&status.into(), &0.into())
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_no_100_is_served_by_an_origin_that_sends_none() {
    let origin = Origin::start(|request| Reply::ok(&request.body));
    origin.before_body(BeforeBody::Silent);
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("POST", "/").expect_continue();
    connection
        .write(request.header("Content-Length", 5).bytes())
        .await;
    eventually("the origin has the head", async || origin.hits() == 1).await;
    assert!(!connection.has_ended().await);

    connection.write("given").await;

    let response = connection.response().await.unwrap();
    assert_eq!((response.status, response.text()), (200, "given".into()));
    assert!(response.interim.is_empty(), "{response:?}");
}

#[tokio::test]
async fn interim_responses_pass_before_the_final_one_comes() {
    let gate = Gate::new();
    let held = gate.clone();
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let origin = Origin::start(move |_| {
        let early = Reply::status(200).interim(hints);
        early.chunked(["page"]).each_after(&held)
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection
        .write(connection.request("GET", "/").bytes())
        .await;

    let early = connection.next_response("GET").await.unwrap();
    assert_eq!(early.status, 103);
    assert_eq!(early.header("link"), Some("</a.css>; rel=preload"));
    gate.open();
    let response = connection.next_response("GET").await.unwrap();
    assert_eq!((response.status, response.text()), (200, "page".into()));
    assert_eq!(weir.logged(1).await[0]["status"], 200);
}
