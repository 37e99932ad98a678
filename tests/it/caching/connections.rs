//! What clients do with their connections and with the form of their requests: it is one cache for all.

use tokio::task::JoinSet;

use super::*;

/// Twenty bytes with a tag, fresh for a minute.
fn tagged() -> Origin {
    answering(|number| {
        let reply = Reply::ok(format!("{number:020}")).header("ETag", "\"a\"");
        reply.header("Cache-Control", "max-age=60")
    })
}

#[tokio::test]
async fn requests_that_come_in_one_packet_are_answered_in_order() {
    let origin = tagged();
    let weir = cached("on", &origin).await;
    let mut connection = weir.client().connect().await;
    let get = |target: &str| connection.request("GET", target);
    let body = format!("{:020}", 1);
    let asked = [
        (get("/a"), 200, body.as_str()),
        (get("/a"), 200, &body),
        (connection.request("HEAD", "/a"), 200, ""),
        (get("/a").header("If-None-Match", "\"a\""), 304, ""),
        (get("/a").header("Range", "bytes=-2"), 206, "01"),
        (get("/a").header("Range", "bytes=20-"), 416, ""),
        (get("/a").header("TE", "trailers"), 200, &body),
        (connection.request("HEAD", "/b"), 200, ""),
        (
            get("/b").header("If-Modified-Since", "x"),
            200,
            "00000000000000000002",
        ),
        (get("/c").header("Range", "bytes=0-2"), 206, "000"),
        (get("/c").header("If-None-Match", "*"), 304, ""),
        (get("/a"), 200, &body),
    ];
    let bytes: Vec<u8> = asked.iter().flat_map(|(asked, ..)| asked.bytes()).collect();
    connection.write(bytes).await;
    for (asked, status, body) in &asked {
        let shown = asked.bytes().escape_ascii().to_string();
        let method = if shown.starts_with("HEAD") {
            "HEAD"
        } else {
            "GET"
        };
        let response = connection.response_to(method).await.unwrap();
        assert_eq!(
            (response.status, response.text().as_str()),
            (*status, *body),
            "{shown}"
        );
    }
    assert_eq!(origin.hits(), 3);
    assert_eq!(weir.logged(asked.len()).await.len(), asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_all_kinds_makes_one_request() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::ok("0123456789").header("ETag", "\"a\"").after(&held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("{ lock_timeout: 1m }", &origin).await;
    let client = weir.client().host("shop.test");
    let get = || client.request("GET", "/a?b");
    let kinds = [
        (get().header("Range", "bytes=0-1, 8-9"), 206),
        (get(), 200),
        (client.request("HEAD", "/a?b"), 200),
        (get().header("If-None-Match", "W/\"a\""), 304),
        (get().header("Range", "bytes=2-3"), 206),
        (get().header("Range", "bytes=99-"), 416),
        (get().version("HTTP/1.0"), 200),
        (get().header("Connection", "close"), 200),
        (client.request("GET", "http://shop.test/a?b"), 200),
        (client.request("GET", "/x/../%61?b"), 200),
        (get().host("SHOP.test:80"), 200),
    ];
    let mut crowd = JoinSet::new();
    for (request, status) in kinds.iter().cycle().take(5 * kinds.len()).cloned() {
        crowd.spawn(async move { (request.send().await, status) });
    }
    weir.metric_becomes("weir_requests_in_flight", 55.0).await;
    gate.open();
    for (response, status) in crowd.join_all().await {
        assert_eq!(response.status, status, "{response:?}");
        assert!(response.complete && (status != 200 || response.body.len() % 10 == 0));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn an_endpoint_of_http_10_changes_nothing_between_weir_and_its_clients() {
    for length in ["Content-Length: 4\r\n", ""] {
        let fields = format!("{length}ETag: \"a\"\r\nCache-Control: max-age=60");
        let answer = format!("HTTP/1.0 200 OK\r\n{fields}\r\n\r\npage");
        let origin = Origin::start(move |_| Reply::raw(&answer));
        for (cache, asked) in [("off", 4), ("on", 1)] {
            let (weir, before) = (cached(cache, &origin).await, origin.hits());
            for (version, kept) in [("HTTP/1.1", "keep-alive"), ("HTTP/1.0", "close")] {
                for _ in 0..2 {
                    let mut connection = weir.client().connect().await;
                    let request = connection.request("GET", "/").version(version);
                    let response = connection.exchange(&request).await.unwrap();
                    assert_eq!((response.status, &*response.text()), (200, "page"));
                    assert_eq!(response.version, "HTTP/1.1", "{cache}: {response:?}");
                    assert_eq!(response.header("connection"), Some(kept), "{response:?}");
                }
            }
            assert_eq!(origin.hits() - before, asked);
        }
    }
}

#[tokio::test]
async fn forms_of_a_response_of_http_10_are_of_weirs_own_version() {
    let answer = "HTTP/1.0 200 OK\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\npage";
    let origin = Origin::start(move |_| Reply::raw(answer));
    let weir = cached("on", &origin).await;
    let get = || weir.client().request("GET", "/");
    for (request, status) in [
        (get(), 200),
        (get().header("If-None-Match", "\"a\""), 304),
        (get().header("Range", "bytes=1-2"), 206),
        (get().header("Range", "bytes=9-"), 416),
    ] {
        let response = request.send().await;
        assert_eq!((&*response.version, response.status), ("HTTP/1.1", status));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn one_connection_that_asks_for_the_same_again_and_again_asks_the_origin_once() {
    let origin = tagged();
    let weir = cached("on", &origin).await;
    let mut connection = weir.client().connect().await;
    let request = connection.request("GET", "/").bytes();
    connection.write(request.repeat(300)).await;
    for _ in 0..300 {
        assert_eq!(
            connection.response().await.unwrap().text(),
            format!("{:020}", 1)
        );
    }
    assert_eq!(origin.hits(), 1);
    verdicts(&weir, "hit", 299).await;
}

#[tokio::test]
async fn trailers_are_not_kept_and_harm_nobody() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: X-Sum\r\n";
        let body = "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n";
        Reply::raw([head, body].concat()).keep_open()
    });
    let weir = cached("on", &origin).await;
    let mut connection = weir.client().connect().await;
    for _ in 0..3 {
        let request = connection.request("GET", "/").header("TE", "trailers");
        let response = connection.exchange(&request).await.unwrap();
        assert_eq!(response.text(), "body");
        assert!(response.complete && response.trailers.get("set-cookie").is_none());
    }
    assert_eq!(origin.hits(), 1);
    // The endpoint's connection is at a clean place.
    assert_eq!(connection.get("/other").await.text(), "body");
}
