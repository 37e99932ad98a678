//! Requests and replies, byte for byte.

use super::client;
use crate::support::*;

#[tokio::test]
async fn an_origin_records_a_request_as_it_came() {
    let origin = Origin::start(|request| Reply::status(201).body(&request.body));
    let response = client(&origin)
        .request("POST", "/a?b=c")
        .host("site.test")
        .header("x-CaSe", "1")
        .header("X-Case", "2")
        .body("given")
        .send()
        .await;
    assert_eq!((response.status, response.text()), (201, "given".into()));
    assert!(response.complete);
    let request = origin.last();
    assert_eq!((&*request.method, &*request.target), ("POST", "/a?b=c"));
    let names = ["Host", "x-CaSe", "X-Case", "Content-Length"];
    assert_eq!(request.headers.names(), names);
    assert_eq!(request.headers.all("x-case"), ["1", "2"]);
    assert_eq!(request.header("host"), Some("site.test"));
    assert_eq!((request.text(), request.complete), ("given".into(), true));
    assert!(request.raw.starts_with("POST /a?b=c HTTP/1.1\r\nHost:"));
}

#[tokio::test]
async fn chunked_bodies_go_both_ways() {
    let origin = Origin::start(|request| Reply::status(200).chunked([&request.body[..], b"!"]));
    let request = client(&origin).request("PUT", "/").chunked(["ab", "cd"]);
    let response = request.send().await;
    assert_eq!(response.text(), "abcd!");
    assert!(response.complete);
    assert_eq!(origin.last().text(), "abcd");
}

#[tokio::test]
async fn replies_can_be_missing() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/reset" => Reply::nothing().reset(),
        _ => Reply::nothing(),
    });
    let client = client(&origin);
    let closed = client.try_get("/").await.unwrap_err();
    assert_eq!(closed, Failure::Ended(Ending::Closed));
    let reset = client.try_get("/reset").await.unwrap_err();
    assert_eq!(reset, Failure::Ended(Ending::Reset));
}

#[tokio::test]
async fn replies_can_break_off_in_the_body() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/sized" => Reply::ok("some").short_by(6),
        "/chunked" => Reply::status(200).chunked(["some"]).short_by(1),
        "/reset" => Reply::ok("some").short_by(6).reset(),
        _ => Reply::status(200).until_close("some"),
    });
    let client = client(&origin);
    for target in ["/sized", "/chunked"] {
        let response = client.get(target).await;
        assert!(!response.complete, "{target}");
        assert_eq!(response.text(), "some", "{target}");
    }
    assert_eq!(
        client.get("/sized").await.header("content-length"),
        Some("10")
    );
    // The reset may overtake what was sent before it.
    let reset = client.try_get("/reset").await;
    assert!(
        !matches!(reset, Ok(Response { complete: true, .. })),
        "{reset:?}"
    );
    let until_close = client.get("/until-close").await;
    assert_eq!(
        (until_close.text(), until_close.complete),
        ("some".into(), true)
    );
}

#[tokio::test]
async fn replies_can_be_garbage_or_huge() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/garbage" => Reply::raw(b"\x00\xffgarbage"),
        "/open" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").keep_open(),
        _ => Reply::ok("").many_headers(100_000),
    });
    let client = client(&origin);
    let garbage = client.try_get("/garbage").await.unwrap_err();
    assert_eq!(garbage, Failure::Malformed("\0\u{ff}garbage".into()));
    assert_eq!(client.get("/headers").await.headers.0.len(), 100_001);
    let mut connection = client.connect().await;
    assert_eq!(connection.get("/open").await.text(), "ok");
    assert_eq!(connection.get("/open").await.text(), "ok");
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/204" => Reply::status(204),
        "/304" => Reply::status(304).header("ETag", "\"x\""),
        _ => Reply::ok("body"),
    });
    let mut connection = client(&origin).connect().await;
    let head = connection
        .exchange(&connection.request("HEAD", "/"))
        .await
        .unwrap();
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (Some("4"), 0)
    );
    assert_eq!(connection.get("/204").await.header("content-length"), None);
    assert_eq!(connection.get("/304").await.status, 304);
    assert_eq!(connection.get("/").await.text(), "body");
}

#[tokio::test]
async fn a_gate_holds_a_reply_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("late").after(&held));
    let requests = tokio::spawn({
        let client = client(&origin);
        async move { client.get_many("/", 3, 3).await }
    });
    eventually("three wait", async || gate.waiting() == 3).await;
    assert_eq!((origin.in_flight(), origin.in_flight_max()), (3, 3));
    gate.admit(1);
    eventually("two wait", async || origin.in_flight() == 2).await;
    gate.open();
    let report = requests.await.unwrap();
    report.expect_lossless();
    assert_eq!(report.body("late"), 3);
    eventually("none waits", async || origin.in_flight() == 0).await;
    assert_eq!(origin.in_flight_max(), 3);
}

#[tokio::test]
async fn a_body_can_stall_in_its_middle() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/sized" => Reply::ok("beginend").stall_at(5, &held),
        _ => Reply::status(200)
            .chunked(["begin", "end"])
            .each_after(&held),
    });
    let mut connection = client(&origin).connect().await;
    for (target, waits, rest) in [
        ("/sized", 1, "end"),
        ("/chunked", 2, "5\r\nbegin\r\n3\r\nend\r\n0\r\n\r\n"),
    ] {
        let request = connection.request("GET", target).bytes();
        connection.write(request).await;
        eventually("the body stalls", async || gate.waiting() == 1).await;
        let begin = String::from_utf8(connection.read_some().await).unwrap();
        assert!(begin.starts_with("HTTP/1.1 200 OK\r\n"), "{begin}");
        gate.admit(waits);
        assert_eq!(connection.read(rest.len()).await.unwrap(), rest.as_bytes());
    }
}

#[tokio::test]
async fn an_expected_continue_is_sent_withheld_or_refused() {
    let origin = Origin::start(|request| match request.complete {
        true => Reply::ok(&request.body),
        false => Reply::status(417).close(),
    });
    let post = || {
        client(&origin)
            .request("POST", "/")
            .body("held")
            .expect_continue()
    };
    let sent = post().send().await;
    assert_eq!((sent.text(), sent.interim), ("held".into(), vec![100]));

    origin.before_body(BeforeBody::Silent);
    let mut connection = client(&origin).connect().await;
    connection.write(post().bytes()).await;
    let unasked = connection.response().await.unwrap();
    assert_eq!((unasked.text(), unasked.interim), ("held".into(), vec![]));

    origin.before_body(BeforeBody::Answer);
    let refused = post().send().await;
    assert_eq!((refused.status, refused.interim), (417, vec![]));
    assert_eq!(origin.last().text(), "");
}

#[tokio::test]
async fn an_answer_before_the_body_reaches_a_client_that_still_sends() {
    let origin = Origin::start(|_| Reply::ok("early"));
    origin.before_body(BeforeBody::Answer);
    let mut connection = client(&origin).connect().await;
    let large = connection.request("POST", "/").body(vec![b'x'; 4 << 20]);
    assert_eq!(connection.exchange(&large).await.unwrap().text(), "early");
    assert_eq!(connection.get("/").await.text(), "early");
    assert_eq!(origin.requests()[0].body.len(), 4 << 20);
}

#[tokio::test]
async fn interim_responses_are_listed() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let origin = Origin::start(move |_| Reply::ok("final").interim(hints));
    let response = client(&origin).get("/").await;
    assert_eq!(
        (response.text(), response.interim),
        ("final".into(), vec![103])
    );
}
