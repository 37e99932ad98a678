//! Heads: what of them passes, and what must not.

use super::{in_front_of, with_options};
use crate::support::*;

#[tokio::test]
async fn an_ordinary_head_passes_as_it_is() {
    let origin = Origin::start(|_| {
        let reply = Reply::status(201)
            .header("x-CaSe", "One")
            .header("Set-Cookie", "a=1");
        reply.header("Set-Cookie", "b=2").body("made")
    });
    let weir = in_front_of(&origin).await;
    let request = weir.client().request("PATCH", "/a%20b;c=d/?e=f&e=g");
    let request = request
        .host("Site.Test:8080")
        .header("x-CuStOm", "Value, \u{e9}");
    let request = request.header("Cookie", "a=1").header("Accept", "*/*");

    let response = request.header("accept", "text/html").send().await;

    let seen = origin.last();
    assert_eq!((&*seen.method, &*seen.version), ("PATCH", "HTTP/1.1"));
    assert_eq!(seen.target, "/a%20b;c=d/?e=f&e=g");
    assert_eq!(seen.headers.all("host"), ["Site.Test:8080"]);
    assert_eq!(seen.headers.all("accept"), ["*/*", "text/html"]);
    assert_eq!(seen.header("cookie"), Some("a=1"));
    assert!(seen.raw.contains("\r\nx-CuStOm: Value, "), "{}", seen.raw);
    assert_eq!((response.status, response.text()), (201, "made".into()));
    assert!(response.headers.names().contains(&"x-CaSe"));
    assert_eq!(response.headers.all("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_do_not_pass() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let request = connection
        .request("GET", "/")
        .header("Connection", "keep-alive, X-Hop")
        .header("Connection", "x-second")
        .header("X-Hop", 1)
        .header("X-Second", 2)
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Upgrade", "h2c")
        .header("X-End-To-End", 3);
    let response = connection.exchange(&request).await.unwrap();
    assert_eq!(response.status, 200);
    let seen = origin.last();
    for name in [
        "x-hop",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}: {}", seen.raw);
    }
    assert!(!seen.headers.lists("connection", "x-hop"), "{}", seen.raw);
    assert_eq!(seen.header("x-end-to-end"), Some("3"));
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_do_not_pass() {
    let origin = Origin::start(|_| {
        Reply::ok("a")
            .header("Connection", "X-Hop, close")
            .header("Connection", "X-Second")
            .header("X-Hop", 1)
            .header("X-Second", 2)
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("Upgrade", "h2c")
            .header("X-End-To-End", 3)
            .hang_up()
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    for _ in 0..2 {
        // That the origin closes is no reason for weir to close.
        let response = connection.get("/").await;
        for name in [
            "x-hop",
            "x-second",
            "keep-alive",
            "proxy-connection",
            "upgrade",
        ] {
            assert_eq!(response.header(name), None, "{name}: {response:?}");
        }
        assert_eq!(response.headers.all("connection"), ["keep-alive"]);
        assert_eq!(response.header("x-end-to-end"), Some("3"));
    }
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_in_origin_form() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let client = weir.client().host("site.test");
    for (target, forwarded) in [
        ("http://site.test/a?b=http://c/", "/a?b=http://c/"),
        ("http://site.test", "/"),
        ("http://site.test?a", "/?a"),
        ("HTTPS://site.test/x/../a", "/a"),
    ] {
        assert_eq!(client.get(target).await.status, 200, "{target}");
        assert_eq!(origin.last().target, forwarded);
        assert_eq!(origin.last().headers.all("host"), ["site.test"]);
    }
    let lines = weir.logged(4).await;
    assert!(
        lines
            .iter()
            .any(|line| line["target"] == "http://site.test")
    );
}

#[tokio::test]
async fn options_of_the_server_itself_are_asked_of_the_origin() {
    let origin = Origin::start(|_| Reply::status(204).header("Allow", "GET"));
    let weir = in_front_of(&origin).await;
    let response = weir.client().request("OPTIONS", "*").send().await;
    assert_eq!(
        (response.status, response.header("allow")),
        (204, Some("GET"))
    );
    assert_eq!(origin.last().target, "*");
}

#[tokio::test]
async fn a_query_is_kept_byte_for_byte() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    for query in [
        "?",
        "?a=%2e%2E/../b//c&d=%zz&e",
        "?q=[]{}|^`\\&r=/./&s=%2f?t",
        "?a=b;c=d+e%20f&%00",
    ] {
        for path in ["/a", "/x/../a"] {
            let response = weir.client().get(&format!("{path}{query}")).await;
            assert_eq!(response.status, 200, "{path}{query}");
            assert_eq!(origin.last().target, format!("/a{query}"));
        }
    }
}

#[tokio::test]
async fn a_path_is_forwarded_as_it_was_matched() {
    let origin = Origin::serving("a");
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - { path: /admin/*, respond: { status: 403 } }
          - { pool: web }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    for (path, forwarded) in [
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/./b/.", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb%5c", "/a%2Fb%5C"),
        ("/%61%7e", "/a~"),
        ("/admin%2Fx", "/admin%2Fx"),
    ] {
        assert_eq!(weir.client().get(path).await.status, 200, "{path}");
        assert_eq!(origin.last().target, forwarded, "{path}");
    }
    for path in [
        "/admin",
        "/x/../admin/",
        "//admin/y",
        "/%61dmin/y",
        "/a/%2e%2e/admin",
    ] {
        assert_eq!(weir.client().get(path).await.status, 403, "{path}");
    }
    for path in ["/../a", "/a/%2e%2e/../b", "/%00", "/%zz"] {
        assert_eq!(weir.client().get(path).await.status, 400, "{path}");
    }
    assert_eq!(origin.hits(), 8);
    assert_eq!(weir.logged(1).await[0]["target"], "/a/../b");
}

#[tokio::test]
async fn header_names_with_an_underscore_are_dropped() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let request = weir
        .client()
        .request("GET", "/")
        .header("X_Real_IP", "6.6.6.6");
    let request = request
        .header("X_Forwarded_For", "6.6.6.6")
        .header("X-Kept", 1);
    assert_eq!(request.send().await.status, 200);
    let seen = origin.last();
    assert!(!seen.raw.contains("6.6.6.6"), "{}", seen.raw);
    assert_eq!(seen.header("x-kept"), Some("1"));
}

#[tokio::test]
async fn targets_with_a_fragment_or_raw_brackets_are_refused_and_recorded() {
    let origin = Origin::serving("a");
    let weir = in_front_of(&origin).await;
    let targets = ["/a#b", "/a?b#c", "/<a>", "/a?b=<c>", "/a?b=\"c\"", "/`"];
    for target in targets {
        assert_eq!(weir.client().get(target).await.status, 400, "{target}");
    }
    let lines = weir.logged(targets.len()).await;
    for target in targets {
        let line = lines.iter().find(|line| line["target"] == target);
        let line = line.unwrap_or_else(|| panic!("{target} in {lines:#?}"));
        assert_eq!(line["termination"], "bad_request", "{line}");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(format!("{} {}", request.target, request.text()));
        match request.target.as_str() {
            "/1" => reply.after(&held),
            _ => reply,
        }
    });
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let first = connection.request("GET", "/1").bytes();
    let second = connection.request("POST", "/2").body("sized").bytes();
    let third = connection
        .request("PUT", "/3")
        .chunked(["chun", "ked"])
        .bytes();
    let fourth = connection.request("GET", "/4").bytes();

    let all = [first, second, third, fourth].concat();
    connection.write(all).await;
    eventually("the first is held", async || gate.waiting() == 1).await;
    gate.open();

    for body in ["/1 ", "/2 sized", "/3 chunked", "/4 "] {
        assert_eq!(connection.response().await.unwrap().text(), body);
    }
    let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
    assert_eq!(weir.logged(4).await.len(), 4);
}

#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered() {
    // More bytes than are held while a request runs: the rest waits in the socket.
    let origin = Origin::start(|request| Reply::ok(&request.target));
    let weir = with_options(&origin, "", "").await;
    let mut connection = weir.client().connect().await;
    let filler = "x".repeat(100);
    let mut requests = Vec::new();
    for number in 0..1000 {
        let request = connection.request("GET", &format!("/{number}"));
        requests.extend(request.header("X-Filler", &filler).bytes());
    }
    connection.write(requests).await;
    for number in 0..1000 {
        let response = connection.response().await.unwrap();
        assert_eq!(response.text(), format!("/{number}"));
    }
}
