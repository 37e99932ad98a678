//! The support proves itself: clients talk to origins directly, with no weir between them.

use std::time::Duration;

use tokio::net::UdpSocket;

use crate::support::*;

fn client(origin: &Origin) -> Client {
    Client::new(origin.address())
}

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
async fn a_connection_is_kept_and_pipelined() {
    let origin = Origin::start(|request| Reply::ok(&request.target));
    let mut connection = client(&origin).connect().await;
    assert_eq!(connection.get("/1").await.text(), "/1");
    let both = ["/2", "/3"].map(|target| connection.request("GET", target).bytes());
    connection.write(both.concat()).await;
    assert_eq!(connection.response().await.unwrap().text(), "/2");
    assert_eq!(connection.response().await.unwrap().text(), "/3");
    let slowly = connection.request("GET", "/4").bytes();
    connection.write_bytewise(slowly).await;
    assert_eq!(connection.response().await.unwrap().text(), "/4");
    assert!(!connection.has_ended().await);
    assert_eq!((origin.connections(), origin.hits()), (1, 4));
}

#[tokio::test]
async fn a_reply_that_closes_says_so() {
    let origin = Origin::start(|_| Reply::ok("bye").close());
    let mut connection = client(&origin).connect().await;
    let response = connection.get("/").await;
    assert!(response.closes() && response.complete);
    assert_eq!(connection.ending().await, Ending::Closed);
    let again = connection.exchange(&connection.request("GET", "/")).await;
    assert!(matches!(again, Err(Failure::Ended(_))), "{again:?}");
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
    for target in ["/sized", "/chunked"] {
        let mut connection = client(&origin).connect().await;
        connection
            .write(connection.request("GET", target).bytes())
            .await;
        let head = connection.read_some().await;
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{target}");
        eventually("the body stalls", async || gate.waiting() == 1).await;
        gate.admit(2);
        drop(connection);
        eventually("it is over", async || origin.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("never").after(&held));
    for reset in [false, true] {
        let mut connection = client(&origin).connect().await;
        connection
            .write(connection.request("GET", "/").bytes())
            .await;
        eventually("it waits", async || gate.waiting() == 1).await;
        if reset {
            connection.reset();
        } else {
            drop(connection);
        }
        eventually("it is gone", async || origin.connections_open() == 0).await;
        assert_eq!((origin.in_flight(), gate.waiting()), (0, 0));
    }
    assert_eq!(origin.aborted(), 2);
}

#[tokio::test]
async fn a_client_can_break_off_its_body() {
    let origin = Origin::serving("");
    let mut connection = client(&origin).connect().await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome";
    connection.write(head).await;
    connection.finish_sending().await;
    assert_eq!(connection.ending().await, Ending::Closed);
    assert_eq!(
        (origin.last().text(), origin.last().complete),
        ("some".into(), false)
    );
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

#[tokio::test]
async fn a_tunnel_echoes_until_either_side_closes() {
    let gate = Gate::new();
    let closing = gate.clone();
    let origin = Origin::start(move |_| Reply::websocket().greeting("hello").until(&closing));
    let mut tunnel = client(&origin).websocket("/chat").await;
    assert_eq!(tunnel.read(5).await.unwrap(), b"hello");
    assert!(tunnel.echoes(b"\x81\x02hi").await);
    assert!(tunnel.echoes(vec![7; 100_000]).await);
    assert_eq!(origin.last().header("upgrade"), Some("websocket"));
    drop(tunnel);
    eventually("the origin sees it", async || origin.in_flight() == 0).await;

    let mut tunnel = client(&origin).websocket("/chat").await;
    gate.open();
    assert_eq!(tunnel.read(5).await.unwrap(), b"hello");
    assert_eq!(tunnel.ending().await, Ending::Closed);
}

#[tokio::test]
async fn an_origin_can_be_killed_and_come_back() {
    let origin = Origin::serving("here");
    let client = client(&origin);
    let mut connection = client.connect().await;
    assert_eq!(connection.get("/").await.text(), "here");
    origin.stop().await;
    origin.stop().await;
    assert!(connection.has_ended().await || connection.ending().await == Ending::Closed);
    let refused = client.try_get("/").await.unwrap_err();
    assert!(matches!(refused, Failure::Connect(_)), "{refused:?}");
    origin.restart();
    assert_eq!(client.get("/").await.text(), "here");
    assert_eq!((origin.hits(), origin.connections()), (2, 2));
}

#[tokio::test]
async fn health_is_toggled_and_probes_are_not_hits() {
    let origin = Origin::serving("");
    let client = client(&origin);
    assert_eq!(client.get("/healthz").await.status, 200);
    origin.health(false);
    assert_eq!(client.get("/healthz").await.status, 503);
    assert_eq!((origin.probes().len(), origin.hits()), (2, 0));
}

#[tokio::test]
async fn an_origin_speaks_tls_and_records_what_it_was_shown() {
    let authority = Authority::new();
    let origin = Origin::tls(&authority.issue("site.test"), |_| {
        Reply::ok("secret").close()
    });
    let plain = client(&origin).host("site.test");
    let own = authority.issue("me");
    let anonymous = plain.clone().tls(&authority, None);
    assert_eq!(anonymous.get("/").await.text(), "secret");
    assert_eq!(origin.last().sni.as_deref(), Some("site.test"));
    assert!(!origin.last().client_certificate);
    let known = plain.clone().tls(&authority, Some(&own));
    assert!(known.get("/").await.complete);
    assert!(origin.last().client_certificate);
    let stranger = plain.tls(&Authority::new(), None).try_get("/").await;
    assert!(matches!(stranger, Err(Failure::Connect(_))), "{stranger:?}");
    for path in [authority.ca_path(), own.cert_path(), own.key_path()] {
        assert!(
            std::fs::read_to_string(path)
                .unwrap()
                .starts_with("-----BEGIN ")
        );
    }
}

#[tokio::test]
async fn a_client_comes_from_the_address_it_is_told_to() {
    let origins = Origin::several_on_one_port(2);
    assert_eq!(origins[0].port(), origins[1].port());
    assert_eq!(origins[1].address().ip().to_string(), "127.0.0.2");
    let from = client(&origins[1]).from("127.0.0.9");
    assert_eq!(from.get("/").await.text(), "b");
    let names = Origin::several(2);
    assert_eq!(client(&names[1]).get("/").await.text(), "b");
}

#[tokio::test]
async fn a_load_survives_announced_closes_and_counts_failures() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let load = Load::start(&client(&origin), "/", 4);
    eventually("some are done", async || load.done() > 50).await;
    let report = load.stop().await;
    report.expect_lossless();
    assert_eq!((report.connections, report.retried_on_stale), (4, 0));

    let closing = Origin::start(|_| Reply::ok("ok").close());
    let report = client(&closing).get_many("/", 20, 2).await;
    report.expect_lossless();
    assert_eq!(
        (report.ok, report.status(200), report.connections),
        (20, 20, 20)
    );

    let broken = Origin::start(|_| Reply::ok("ok").short_by(1));
    let report = client(&broken).get_many("/", 3, 1).await;
    assert_eq!((report.ok, report.failed.len()), (0, 3), "{report:?}");
    assert_eq!(report.failed[0], "200 broke off after 2 body bytes");
}

#[tokio::test]
async fn a_load_repeats_a_request_that_met_a_closing_connection() {
    // The second request of each connection is read, and not a byte is answered.
    let origin = Origin::start(|request| match request.connection {
        1 if request.target == "/" => Reply::ok("ok"),
        _ => Reply::nothing(),
    });
    let report = client(&origin).get_many("/", 1, 1).await;
    report.expect_lossless();
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let every_other =
        Origin::start(
            move |_| match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
                0 => Reply::ok("ok"),
                _ => Reply::nothing(),
            },
        );
    let report = client(&every_other).get_many("/", 3, 1).await;
    report.expect_lossless();
    assert_eq!((report.ok, report.retried_on_stale), (3, 2), "{report:?}");
}

#[tokio::test]
async fn a_load_counts_a_fresh_connection_without_a_response_as_failed() {
    let origin = Origin::start(|_| Reply::nothing());
    let report = client(&origin).get_many("/", 3, 1).await;
    assert_eq!((report.failed.len(), report.retried_on_stale), (3, 0));
    assert_eq!(report.failed[0], "closed without a response");
}

#[tokio::test]
async fn a_name_server_answers_what_it_is_told() {
    let dns = Dns::new().await;
    dns.resolves("api.test", &["127.0.0.2", "::1", "127.0.0.3"], 7);
    // A query for api.test, A, IN.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03Api\x04test\0\0\x01\0\x01";
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ask = async || {
        socket.send_to(query, dns.address()).await.unwrap();
        let mut packet = [0; 512];
        let length = socket.recv(&mut packet).await.unwrap();
        packet[..length].to_vec()
    };
    let reply = ask().await;
    assert_eq!(reply[..8], *b"\x12\x34\x85\x80\0\x01\0\x02");
    let first = b"\xc0\x0c\0\x01\0\x01\0\0\0\x07\0\x04\x7f\0\0\x02";
    assert_eq!(reply[query.len()..][..16], *first);
    for (answer, code) in [
        (DnsAnswer::ServerFailure, 2),
        (DnsAnswer::NameError, 3),
        (DnsAnswer::Refused, 5),
    ] {
        dns.answers("api.test", answer);
        assert_eq!(ask().await[3] & 15, code);
    }
    dns.answers("api.test", DnsAnswer::Silence);
    socket.send_to(query, dns.address()).await.unwrap();
    eventually("it was asked", async || dns.queries("api.test") == 5).await;
}

#[tokio::test]
async fn a_black_hole_does_not_answer_a_connect() {
    let hole = BlackHole::new().await;
    let address: std::net::SocketAddr = hole.to_string().parse().unwrap();
    let connect = tokio::net::TcpStream::connect(address);
    let waited = tokio::time::timeout(Duration::from_millis(100), connect).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn what_holds_steadily_is_asked_for_a_while() {
    let mut asked = 0;
    let time = Duration::from_millis(30);
    steadily("it holds", time, async || {
        asked += 1;
        true
    })
    .await;
    assert!(asked > 1);
}
