//! Which bytes are a request: what can be read in two ways is refused and never forwarded.

use std::time::Duration;

use crate::support::*;

const ROUTES: &str = "
    pools: { web: { endpoints: [$origin] } }
    routes: [{ pool: web }]
";

async fn in_front_of(origin: &Origin) -> Weir {
    weir(ROUTES).with("origin", origin).start().await
}

/// What a client sends behind a bad head: whole requests, more than a socket takes at once.
fn more_behind() -> Vec<u8> {
    b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000)
}

/// Every case is refused with this status and this word, and its client can read why. Heads are
/// written without their last empty line.
async fn refuses(status: u16, reason: &str, heads: &[&[u8]]) {
    let origin = Origin::serving("forwarded");
    let weir = in_front_of(&origin).await;
    for (index, head) in heads.iter().enumerate() {
        let shown = head.escape_ascii();
        let mut connection = weir.client().connect().await;
        connection
            .write([head, &b"\r\n\r\n"[..], &more_behind()].concat())
            .await;
        let response = connection
            .response()
            .await
            .unwrap_or_else(|failure| panic!("{shown}: {failure}"));
        assert_eq!(response.status, status, "{shown}: {}", response.text());
        assert!(response.complete && response.closes(), "{shown}");
        assert_eq!(connection.ending().await, Ending::Closed, "{shown}");
        let lines = eventually(format!("{shown} has its line"), async || {
            Some(weir.access_log()).filter(|lines| lines.len() > index)
        });
        let lines = lines.await;
        assert_eq!(lines.len(), index + 1, "{shown} has one line");
        assert_eq!(lines[index]["status"], status, "{shown}");
        assert_eq!(lines[index]["termination"], reason, "{shown}");
        assert_eq!(lines[index]["client"], "127.0.0.1", "{shown}");
    }
    assert_eq!(origin.hits(), 0, "{:?}", origin.requests());
    let rejections = format!("weir_rejections_total{{reason=\"{reason}\"}}");
    assert_eq!(weir.metric(&rejections).await, heads.len() as f64);
    weir.metric_becomes("weir_connections", 0.0).await;
}

/// A POST with these fields, and a body that a lenient reader would find.
fn post_with(fields: &str) -> Vec<u8> {
    format!("POST /smuggled HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0").into_bytes()
}

fn get_with(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a\r\n", fields].concat()
}

fn slices(heads: &[Vec<u8>]) -> Vec<&[u8]> {
    heads.iter().map(Vec::as_slice).collect()
}

#[tokio::test]
async fn a_length_that_has_two_readings_is_refused() {
    let values = [
        "+5",
        "-1",
        "0x5",
        "5,5",
        "5, 6",
        "5 5",
        "5;",
        "1e1",
        "5.0",
        "",
        "\"5\"",
        "\u{665}",
        "99999999999999999999",
        "18446744073709551616",
    ];
    let mut heads: Vec<_> = values
        .iter()
        .map(|value| post_with(&format!("Content-Length: {value}")))
        .collect();
    heads.push(post_with("Content-Length: 1\r\nContent-Length: 1"));
    heads.push(post_with("Content-Length: 1\r\nX: y\r\ncontent-length: 2"));
    heads.push(post_with("Content-Length: 1\r\nTransfer-Encoding: chunked"));
    heads.push(post_with("Transfer-Encoding: chunked\r\nContent-Length: 1"));
    refuses(400, "bad_request", &slices(&heads)).await;
}

#[tokio::test]
async fn a_transfer_encoding_that_is_not_exactly_chunked_is_refused() {
    let values = [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked chunked",
        "\u{b}chunked",
        "",
        "chunk\u{e9}d",
    ];
    let mut heads: Vec<_> = values
        .iter()
        .map(|value| post_with(&format!("Transfer-Encoding: {value}")))
        .collect();
    heads.push(post_with(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ));
    heads.push(post_with(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ));
    heads.push(post_with("Transfer-Encoding:\r\n chunked"));
    heads.push(post_with("Transfer-Encoding : chunked"));
    heads.push(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0".to_vec());
    refuses(400, "bad_request", &slices(&heads)).await;
}

#[tokio::test]
async fn lines_that_another_reader_would_split_elsewhere_are_refused() {
    let fields: [&[u8]; 21] = [
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b" X: a",
        b"X : a",
        b"X\t: a",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b"X: a\r\r\nY: b",
        b"X:\r a",
        b"Content-Length: \x0c0",
        b"Content-Length: 0\x0c",
        b"X: a\0b",
        b"X: a\x01b",
        b"X: a\x0bb",
        b"X: a\x7fb",
        b"X\0: a",
        b"X(Y): a",
        b"X Y: a",
        b"X\xc3\xa9: a",
        b": a",
        b"no colon",
    ];
    let heads = fields.map(get_with);
    refuses(400, "bad_request", &slices(&heads)).await;
    // The lines of the whole head end in a bare LF, then only the last one.
    let lf_only: [&[u8]; 2] = [
        b"GET / HTTP/1.1\nHost: a\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    ];
    refuses(400, "bad_request", &lf_only).await;
}

#[tokio::test]
async fn a_host_that_is_missing_doubled_or_ambiguous_is_refused() {
    let lines = [
        "GET / HTTP/1.1\r\nX: y",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: b",
        "GET / HTTP/1.1\r\nHost: a, b",
        "GET / HTTP/1.1\r\nHost: a b",
        "GET / HTTP/1.1\r\nHost: a/b",
        "GET / HTTP/1.1\r\nHost: a@b",
        "GET / HTTP/1.1\r\nHost: a?b",
        "GET / HTTP/1.1\r\nHost: a#b",
        "GET / HTTP/1.1\r\nHost: a\\b",
        "GET / HTTP/1.1\r\nHost: a:b",
        "GET / HTTP/1.1\r\nHost: a:80:80",
        "GET / HTTP/1.1\r\nHost: a:123456",
        "GET / HTTP/1.1\r\nHost: :80",
        "GET / HTTP/1.1\r\nHost: [::1",
        "GET / HTTP/1.1\r\nHost: []",
        "GET / HTTP/1.1\r\nHost: \u{e9}",
        "GET http://a/ HTTP/1.1\r\nHost: b",
        "GET http://a:80/ HTTP/1.1\r\nHost: a",
        "GET http://u@a/ HTTP/1.1\r\nHost: a",
        "GET http://a/ HTTP/1.1\r\nX: y",
        "GET http://u@a/ HTTP/1.0\r\nX: y",
    ];
    refuses(400, "bad_request", &lines.map(str::as_bytes)).await;
}

#[tokio::test]
async fn a_request_line_that_is_not_three_words_is_refused() {
    let lines: [&[u8]; 26] = [
        b"GET / HTTP/1.1 ",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"GET /a b HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET /",
        b"GET",
        b"GET  HTTP/1.1",
        b" / HTTP/1.1",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"GET / HTTP/1.1\0",
        b"GET / HTTP/1.1\rX",
        b"G@T / HTTP/1.1",
        b"G\0T / HTTP/1.1",
        b"GET foo HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET ftp://a/ HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        // What clients of other protocols send.
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ];
    let heads = lines.map(|line| [line, b"\r\nHost: a"].concat());
    refuses(400, "bad_request", &slices(&heads)).await;
    let long_method = [&b"M".repeat(33), &b" / HTTP/1.1\r\nHost: a"[..]].concat();
    refuses(400, "bad_request", &[&long_method]).await;
}

#[tokio::test]
async fn heads_that_are_well_formed_but_not_served_have_their_own_status() {
    refuses(
        405,
        "method_not_allowed",
        &[b"CONNECT a:443 HTTP/1.1\r\nHost: a:443"],
    )
    .await;
    let target = format!("GET /{} HTTP/1.1\r\nHost: a", "x".repeat(8 << 10));
    refuses(414, "uri_too_long", &[target.as_bytes()]).await;
    let large = get_with(format!("X: {}", "x".repeat(32 << 10)).as_bytes());
    let many = get_with("X: y\r\n".repeat(100).trim_end().as_bytes());
    refuses(431, "headers_too_large", &slices(&[large, many])).await;
}

#[tokio::test]
async fn a_405_says_what_is_allowed() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    connection
        .write("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        .await;
    let response = connection.response().await.unwrap();
    assert_eq!((response.status, response.closes()), (405, true));
    let allow = response.header("allow").unwrap();
    assert!(
        allow.contains("GET") && !allow.contains("CONNECT"),
        "{allow}"
    );
    for method in allow.split(", ") {
        let request = weir.client().request(method, "/");
        assert_eq!(request.send().await.status, 200, "{method}");
    }
    assert_eq!(weir.client().get("/").await.header("allow"), None);
}

#[tokio::test]
async fn what_is_unusual_but_has_one_reading_passes() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let heads = [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nhOST:a.example:80\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t z \t\r\nZ: \u{e9}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        // RFC 9112 §2.2: a client may leave empty lines behind its last body.
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (index, head) in heads.iter().enumerate() {
        let mut connection = weir.client().connect().await;
        connection.write(head).await;
        let response = connection.response().await;
        let response = response.unwrap_or_else(|failure| panic!("{head:?}: {failure}"));
        assert_eq!(response.status, 200, "{head:?}: {}", response.text());
        assert_eq!(origin.hits(), index + 1, "{head:?}");
        assert_eq!(origin.last().target, "/", "{head:?}");
    }
    assert_eq!(weir.metric("weir_rejections_total").await, 0.0);
}

#[tokio::test]
async fn a_field_with_underscores_is_not_smuggled_as_one_with_dashes() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let request = weir.client().request("GET", "/");
    let request = request
        .header("Content_Length", 5)
        .header("Transfer_Encoding", "chunked")
        .header("X_Forwarded_For", "6.6.6.6")
        .header("X-Kept", "a_b");

    assert_eq!(request.send().await.status, 200);

    let seen = origin.last();
    assert!(
        seen.headers.names().iter().all(|name| !name.contains('_')),
        "{}",
        seen.raw
    );
    assert_eq!(seen.header("x-kept"), Some("a_b"));
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    for round in 1..=2 {
        let request = connection.request("POST", "/slow").body("abc").bytes();
        connection.write_bytewise(&request).await;
        assert_eq!(connection.response().await.unwrap().text(), "ok");
        assert_eq!(
            (origin.hits(), origin.last().text().as_str()),
            (round, "abc")
        );
    }
    connection
        .write_bytewise("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        .await;
    assert_eq!(connection.response().await.unwrap().status, 400);
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin =
        Origin::start(|request| Reply::ok(format!("{} {}", request.target, request.text())));
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let mut bytes = Vec::new();
    for n in 0..20 {
        let target = format!("/{n}");
        bytes.extend(match n % 3 {
            0 => connection.request("GET", &target).bytes(),
            1 => connection.request("POST", &target).body("sized").bytes(),
            _ => connection
                .request("POST", &target)
                .chunked(["chu", "nked"])
                .bytes(),
        });
    }
    connection.write(bytes).await;
    for n in 0..20 {
        let body = ["", "sized", "chunked"][n % 3];
        let response = connection.response().await;
        let response = response.unwrap_or_else(|failure| panic!("request {n}: {failure}"));
        assert_eq!(response.text(), format!("/{n} {body}"));
    }
    let lines = weir.logged(20).await;
    assert!(
        lines.iter().all(|line| line["termination"] == "ok"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_request_that_comes_while_the_one_before_runs_waits_its_turn() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.method.as_str() {
        "POST" => Reply::ok(request.text()).after(&held),
        _ => Reply::ok("second"),
    });
    let weir = in_front_of(&origin).await;
    let sized = weir.client().request("POST", "/").body("first").bytes();
    let chunked = weir
        .client()
        .request("POST", "/")
        .chunked(["fi", "rst"])
        .bytes();
    for first in [sized, chunked] {
        let mut connection = weir.client().connect().await;
        connection.write(first).await;
        eventually("the first one runs", async || gate.waiting() == 1).await;
        let second = connection.request("GET", "/").bytes();
        connection.write(second).await;
        steadily("it waits", Duration::from_millis(50), async || {
            gate.waiting() == 1
        })
        .await;
        gate.admit(1);
        assert_eq!(connection.response().await.unwrap().text(), "first");
        assert_eq!(connection.response().await.unwrap().text(), "second");
    }
    let lines = weir.logged(4).await;
    assert!(
        lines.iter().all(|line| line["termination"] == "ok"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn of_two_pipelined_heads_the_bad_second_one_is_refused_and_nothing_after_it_read() {
    let origin = Origin::serving("first");
    let weir = in_front_of(&origin).await;
    let bad = [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (index, bad) in bad.iter().enumerate() {
        let mut connection = weir.client().connect().await;
        let good = connection.request("POST", "/good").body("x").bytes();
        connection
            .write([&good, bad.as_bytes(), &more_behind()].concat())
            .await;
        assert_eq!(
            connection.response().await.unwrap().text(),
            "first",
            "{bad:?}"
        );
        let second = connection.response().await.unwrap();
        assert_eq!((second.status, second.closes()), (400, true), "{bad:?}");
        assert_eq!(connection.ending().await, Ending::Closed, "{bad:?}");
        assert_eq!(origin.hits(), index + 1, "{bad:?}");
        assert_eq!(weir.logged(2 * index + 2).await.len(), 2 * index + 2);
    }
}

// --- chunked bodies

/// Sends a chunked POST with this body and a request behind it that must never be served as one.
async fn send_chunked(weir: &Weir, body: &[u8]) -> Result<Response, Failure> {
    let mut connection = weir.client().connect().await;
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write([head, body].concat()).await;
    let response = connection.response().await?;
    if response.status != 200 {
        assert!(response.closes(), "{}", body.escape_ascii());
        // Else it is waited for until it has read the answer.
        connection.finish_sending().await;
        assert_eq!(connection.ending().await, Ending::Closed);
    }
    Ok(response)
}

#[tokio::test]
async fn a_chunked_body_reaches_the_origin_with_one_reading() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(4000));
    let bodies: [(&str, &str); 11] = [
        ("0\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        (
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
        ),
        ("0003\r\nabc\r\n000\r\n\r\n", "abc"),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3;name=value\r\nabc\r\n0;last\r\n\r\n", "abc"),
        ("3;name=\"a;b\"\r\nabc\r\n0\r\n\r\n", "abc"),
        (&long, "abc"),
        ("3\r\nabc\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n", "abc"),
        // What looks like framing within a chunk is data.
        (
            "10\r\n0\r\n\r\nGET / HTTP/\r\n0\r\n\r\n",
            "0\r\n\r\nGET / HTTP/",
        ),
    ];
    for (index, (body, expected)) in bodies.iter().enumerate() {
        let response = send_chunked(&weir, body.as_bytes()).await;
        let response = response.unwrap_or_else(|failure| panic!("{body:?}: {failure}"));
        assert_eq!(response.status, 200, "{body:?}: {}", response.text());
        let seen = origin.last();
        assert_eq!((seen.text().as_str(), seen.complete), (*expected, true));
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.header("content-length"), None);
        assert_eq!(origin.hits(), index + 1, "{body:?}");
    }
}

#[tokio::test]
async fn a_chunked_body_may_come_byte_by_byte() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let mut connection = weir.client().connect().await;
    let request = connection
        .request("POST", "/")
        .chunked(["abc", "d"])
        .bytes();
    connection.write_bytewise(&request).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
    assert_eq!(origin.last().text(), "abcd");
    assert_eq!(connection.get("/").await.status, 200);
}

#[tokio::test]
async fn a_malformed_chunked_body_is_refused_and_never_ends_at_the_origin() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 << 10));
    let trailers = format!("0\r\nX: {}\r\n\r\n", "x".repeat(128 << 10));
    let bodies = [
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\t\r\nabc\r\n0\r\n\r\n",
        "3 ;x\r\nabc\r\n0\r\n\r\n",
        "3,\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3h\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        ";x\r\nabc\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;a\0b\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
        "3\r\nabc\r\n0\r\nX y\r\n\r\n",
        &long,
        &trailers,
    ];
    let mut wrong = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let shown = &body[..body.len().min(40)];
        let answer = send_chunked(&weir, body.as_bytes()).await;
        if !matches!(&answer, Ok(response) if response.status == 400) {
            wrong.push(format!("{shown:?}: {answer:?}"));
        }
        let lines = weir.logged(index + 1).await;
        if lines[index]["termination"] != "bad_request" {
            wrong.push(format!("{shown:?}: {}", lines[index]));
        }
    }
    let whole: Vec<_> = origin
        .requests()
        .into_iter()
        .filter(|request| request.complete)
        .collect();
    assert!(whole.is_empty(), "whole at the origin: {whole:?}");
    assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    let rejections = weir.metric(r#"weir_rejections_total{reason="bad_request"}"#);
    assert_eq!(rejections.await, bodies.len() as f64);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_at_the_origin() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (index, rest) in [
        "Content-Length: 10\r\n\r\nshort",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nsho",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
    ]
    .iter()
    .enumerate()
    {
        let mut connection = weir.client().connect().await;
        connection.write([head, rest].concat()).await;
        connection.finish_sending().await;
        assert_eq!(connection.ending().await, Ending::Closed, "{rest:?}");
        let line = weir.logged(index + 1).await.remove(index);
        assert_eq!(line["termination"], "client_closed", "{rest:?}: {line}");
    }
    assert!(origin.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn a_body_the_origin_did_not_wait_for_is_not_taken_for_a_request() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "POST" => Reply::ok("early"),
        _ => Reply::ok("later"),
    });
    origin.before_body(BeforeBody::Answer);
    let weir = in_front_of(&origin).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..10 {
        let mut connection = weir.client().connect().await;
        let length = smuggled.len();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        connection.write(head).await;
        assert_eq!(connection.response().await.unwrap().text(), "early");
        connection.write(smuggled).await;
        // Whatever becomes of the two connections, the next request is the next request.
        assert_eq!(weir.client().get("/next").await.text(), "later");
    }
    let targets = origin.requests().into_iter().map(|request| request.target);
    assert_eq!(targets.filter(|target| target == "/smuggled").count(), 0);
    assert_eq!(origin.hits(), 20);
}

// --- anything at all

/// Heads to be damaged.
const SEEDS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a/b?c=%41 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "GET /../%2e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
];

fn damaged(random: &mut fastrand::Rng) -> Vec<u8> {
    const TELLING: &[u8] = b"\r\n\0 \t\x0c:;,/%\\\x7f\xff0+-";
    if random.u8(..8) == 0 {
        let length = random.usize(1..400);
        return (0..length).map(|_| random.u8(..)).collect();
    }
    let mut bytes = SEEDS[random.usize(..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..bytes.len());
        match random.u8(..5) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] = TELLING[random.usize(..TELLING.len())],
            2 => bytes.insert(at, TELLING[random.usize(..TELLING.len())]),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {
                let from = random.usize(..bytes.len());
                let part = bytes[from..].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// What a strict reader of the origin's side demands of a head, whatever the client sent.
fn is_unambiguous(request: &Request) -> bool {
    let head = request.raw.trim_end_matches("\r\n");
    let fields = &request.headers;
    let lengths = fields.all("content-length").len() + fields.all("transfer-encoding").len();
    head.split("\r\n")
        .all(|line| !line.contains(|c: char| c != '\t' && c.is_ascii_control()))
        && head
            .lines()
            .next()
            .is_some_and(|line| line.split(' ').count() == 3)
        && fields.all("host").len() <= 1
        && lengths <= 1
}

#[tokio::test]
async fn damaged_heads_are_answered_or_closed_and_weir_serves_on() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let mut random = fastrand::Rng::with_seed(9112);
    let cases: Vec<_> = (0..500).map(|_| damaged(&mut random)).collect();
    let mut answers = 0;
    for batch in cases.chunks(25) {
        let ends = batch.iter().map(|bytes| {
            let (client, bytes) = (weir.client(), bytes.clone());
            tokio::spawn(async move {
                let mut connection = client.connect().await;
                connection.write(&bytes).await;
                connection.finish_sending().await;
                // Panics when it does not come.
                connection.ending().await;
                let mut answers = 0;
                while connection.response().await.is_ok() {
                    answers += 1;
                }
                answers
            })
        });
        for (end, bytes) in ends.collect::<Vec<_>>().into_iter().zip(batch) {
            let ended = end.await;
            answers += ended.unwrap_or_else(|_| panic!("no end of {}", bytes.escape_ascii()));
        }
    }
    assert!(answers > 100, "{answers} answers");
    // None of them was given by anybody who keeps no record.
    eventually("each answer has its line", async || {
        let lines = weir.access_log();
        lines.iter().filter(|line| line["status"] != 0).count() >= answers
    })
    .await;
    for request in origin.requests() {
        assert!(is_unambiguous(&request), "{:?}", request.raw);
    }
    assert_eq!(weir.client().get("/").await.text(), "ok");
    weir.metric_becomes("weir_connections", 0.0).await;
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    assert!(!weir.stderr().contains("panic"), "{}", weir.stderr());
}
