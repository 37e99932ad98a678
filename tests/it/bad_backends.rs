//! Endpoints that misbehave: their client gets an error or a response that shows its end is missing,
//! never one that looks whole, and everybody else is served as before.

use crate::support::*;

/// In front of an origin that answers as the script says, and `/fine` as it should.
async fn in_front_of(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Weir) {
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/fine" => Reply::ok("fine"),
        _ => script(request),
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin], read_timeout: 500ms } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    (origin, weir)
}

/// What log and metrics say of the first request, and that a second one is served.
async fn recorded(weir: &Weir, what: &str, termination: &str, outcome: &str) {
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], termination, "{what}: {line}");
    assert_eq!(line["attempts"][0]["outcome"], outcome, "{what}: {line}");
    assert!(line["error"].is_string(), "{what}: {line}");
    let rejected = format!(r#"weir_rejections_total{{reason="{termination}"}}"#);
    assert_eq!(weir.metric(&rejected).await, 1.0, "{what}");
    let failed = format!(r#"weir_endpoint_failures_total{{outcome="{outcome}"}}"#);
    assert_eq!(weir.metric(&failed).await, 1.0, "{what}");
    assert_eq!(weir.client().get("/fine").await.text(), "fine", "{what}");
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    assert!(weir.is_running());
}

#[tokio::test]
async fn a_connection_that_ends_before_a_whole_head_is_502() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Le";
    for (what, reply) in [
        ("closed", Reply::nothing()),
        ("reset", Reply::nothing().reset()),
        ("closed within the head", Reply::raw(HALF)),
        ("reset within the head", Reply::raw(HALF).reset()),
        (
            "closed after an interim",
            Reply::raw("HTTP/1.1 103 Early Hints\r\n\r\n"),
        ),
    ] {
        let (_origin, weir) = in_front_of(move |_| reply.clone()).await;
        let response = weir.client().get("/").await;
        assert_eq!(response.status, 502, "{what}");
        assert!(response.complete && response.text().contains("closed the connection"));
        recorded(&weir, what, "upstream_closed", "reset").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let two_mib = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
    let with = |field: &str| Reply::raw(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\nbody"));
    for (what, reply) in [
        ("garbage", Reply::raw(b"\x00\xff\x16\x03garbage\r\n\r\n")),
        (
            "garbage, left open",
            Reply::raw("garbage\r\n\r\n").keep_open(),
        ),
        ("HTTP/0.9", Reply::raw("<html>hello</html>\r\n")),
        ("HTTP/2", Reply::raw("HTTP/2.0 200 OK\r\n\r\n")),
        (
            "another protocol",
            Reply::raw("SSH-2.0-OpenSSH_9.6\r\n").keep_open(),
        ),
        ("100,000 fields", Reply::ok("a").many_headers(100_000)),
        ("a head of 2 MiB", Reply::raw(two_mib)),
        (
            "status 000",
            Reply::raw("HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("status of two digits", Reply::raw("HTTP/1.1 20 OK\r\n\r\n")),
        (
            "two lengths",
            with("Content-Length: 4\r\nContent-Length: 5"),
        ),
        ("a list of lengths", with("Content-Length: 4, 5")),
        ("a negative length", with("Content-Length: -4")),
        ("a signed length", with("Content-Length: +4")),
        ("a length in words", with("Content-Length: four")),
        (
            "a length beyond 64 bits",
            with("Content-Length: 18446744073709551620"),
        ),
        ("a field without colon", with("oops")),
        ("an unasked 101", Reply::websocket()),
    ] {
        let (_origin, weir) = in_front_of(move |_| reply.clone()).await;
        let response = weir.client().get("/").await;
        assert_eq!(response.status, 502, "{what}");
        assert!(response.complete, "{what}");
        recorded(&weir, what, "upstream_malformed", "malformed").await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_shows_it() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n";
    for (what, reply) in [
        ("closed", Reply::ok("some").short_by(6)),
        ("reset", Reply::ok("some").short_by(6).reset()),
        ("closed without last chunk", Reply::raw(chunked)),
        (
            "closed within a chunk",
            Reply::raw(chunked.to_owned() + "4\r\nso"),
        ),
        (
            "reset within a chunk",
            Reply::raw(chunked.to_owned() + "4\r\nso").reset(),
        ),
        (
            "closed after 1 MiB",
            Reply::ok(vec![b'x'; 1 << 20]).short_by(1),
        ),
    ] {
        let (_origin, weir) = in_front_of(move |_| reply.clone()).await;
        match weir.client().try_get("/").await {
            Ok(response) => assert!(response.status == 502 || !response.complete, "{what}"),
            // The reset came before what had been sent.
            Err(failure) => assert_eq!(failure, Failure::Ended(Ending::Reset), "{what}"),
        }
        recorded(&weir, what, "upstream_closed", "reset").await;
    }
}

#[tokio::test]
async fn chunks_that_cannot_be_read_break_the_response_off() {
    for chunk in [
        "zz\r\nmore\r\n0\r\n\r\n",
        "-4\r\nmore\r\n0\r\n\r\n",
        "+4\r\nmore\r\n0\r\n\r\n",
        "4\r\nmoreXX0\r\n\r\n",
        "fffffffffffffffff4\r\nmore\r\n0\r\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n";
        let bytes = head.to_owned() + chunk;
        let (_origin, weir) = in_front_of(move |_| Reply::raw(&bytes).keep_open()).await;
        let response = weir.client().get("/").await;
        assert!(
            response.status == 502 || !response.complete,
            "{chunk:?}: {response:?}"
        );
        recorded(&weir, chunk, "upstream_malformed", "malformed").await;
    }
}

#[tokio::test]
async fn an_origin_that_stalls_within_its_head_is_504() {
    let (_origin, weir) = in_front_of(|_| Reply::raw("HTTP/1.1 200 OK\r\nX: ").keep_open()).await;
    assert_eq!(weir.client().get("/").await.status, 504);
    recorded(&weir, "stalled", "upstream_timeout", "timeout").await;
}

#[tokio::test]
async fn length_and_chunks_in_one_response_do_not_both_reach_the_client() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                4\r\nsome\r\n0\r\n\r\n";
    let (_origin, weir) = in_front_of(move |_| Reply::raw(both).keep_open()).await;
    let mut connection = weir.client().connect().await;
    let response = connection.get("/").await;
    match response.status {
        502 => {}
        _ => {
            assert_eq!(response.header("content-length"), None, "{response:?}");
            assert_eq!(response.text(), "some");
            assert_eq!(connection.get("/fine").await.text(), "fine");
        }
    }
}

#[tokio::test]
async fn a_status_nobody_knows_passes() {
    let odd = "HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\nno";
    let (_origin, weir) = in_front_of(move |_| Reply::raw(odd).keep_open()).await;
    let response = weir.client().get("/").await;
    assert_eq!((response.status, response.text()), (999, "no".into()));
    assert_eq!(weir.logged(1).await[0]["status"], 999);
}

#[tokio::test]
async fn a_flood_of_interim_responses_ends() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(20_000);
    let (_origin, weir) = in_front_of(move |_| Reply::ok("page").interim(&flood)).await;
    let before = weir.resident_bytes();
    let response = weir.client().get("/").await;
    assert!(matches!(response.status, 200 | 502), "{response:?}");
    assert!(weir.resident_bytes() < before + (32 << 20));
    assert_eq!(weir.client().get("/fine").await.text(), "fine");
}

#[tokio::test]
async fn a_body_where_none_may_be_is_not_passed_on() {
    for (method, head) in [
        ("HEAD", "200 OK\r\nContent-Length: 5"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\r\nContent-Length: 5"),
    ] {
        let bytes = format!("HTTP/1.1 {head}\r\n\r\nhello");
        // As an interim response's bytes, so that they are sent to a HEAD as well.
        let reply = Reply::nothing().interim(bytes).keep_open();
        let (_origin, weir) = in_front_of(move |_| reply.clone()).await;
        let mut connection = weir.client().connect().await;
        let request = connection.request(method, "/");
        let response = connection.exchange(&request).await.unwrap();
        assert!(
            head.starts_with(&response.status.to_string()),
            "{head}: {response:?}"
        );
        // Were the bytes passed on, or kept for the next request, this would be no response.
        assert_eq!(connection.get("/fine").await.text(), "fine", "{head}");
        assert_eq!(weir.client().get("/fine").await.text(), "fine", "{head}");
    }
}

#[tokio::test]
async fn bytes_behind_a_response_are_nobodys_response() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let bytes = response.to_owned() + evil;
        let (origin, weir) = in_front_of(move |_| Reply::raw(&bytes).keep_open()).await;
        let mut connection = weir.client().connect().await;
        for _ in 0..10 {
            assert_ne!(connection.get("/").await.text(), "evil");
            assert_eq!(connection.get("/fine").await.text(), "fine");
        }
        assert!(
            origin.connections() > 10,
            "each is used up by its extra bytes"
        );
    }
}

#[tokio::test]
async fn bytes_that_come_on_an_idle_connection_end_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                 HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (origin, weir) = in_front_of(move |_| {
        let first_part = bytes.len() - 42;
        Reply::raw(bytes).stall_at(first_part, &held).keep_open()
    })
    .await;
    assert_eq!(weir.client().get("/").await.text(), "ok");
    gate.open();
    eventually("weir has closed it", async || {
        origin.connections_open() == 0
    })
    .await;
    assert_eq!(weir.client().get("/fine").await.text(), "fine");
    assert_eq!(origin.last().connection, 2);
}

#[tokio::test]
async fn others_are_served_while_an_origin_misbehaves() {
    let (_origin, weir) = in_front_of(|request| match request.connection % 4 {
        0 => Reply::nothing().reset(),
        1 => Reply::raw("garbage\r\n\r\n"),
        2 => Reply::ok("some").short_by(6),
        _ => Reply::raw("HTTP/1.1 200 OK\r\n"),
    })
    .await;
    let misbehaving = Load::start(&weir.client(), "/", 4);
    let report = weir.client().get_many("/fine", 500, 4).await;
    report.expect_lossless();
    let bad = misbehaving.stop().await;
    assert!(
        bad.ok == 0 && bad.by_status.keys().all(|status| *status == 502),
        "{bad:?}"
    );
}
