//! Routing: which route a request takes, and what the routes answer that need no endpoint.
//!
//! Most routes here respond with their own name, so a response says which one it was.

use crate::support::*;

/// A request's host, target and what its route must answer.
async fn expect_bodies(weir: &Weir, cases: &[(&str, &str, &str)]) {
    for (host, target, body) in cases {
        let response = weir.client().host(host).get(target).await;
        assert_eq!(response.text(), *body, "{host} {target}: {response:?}");
    }
}

fn location(response: &Response) -> &str {
    response.header("location").unwrap_or("none")
}

// --- what matches

#[tokio::test]
async fn an_exact_host_goes_before_a_wildcard_before_none_in_any_spelling() {
    let weir = weir(
        "
        routes:
          - { respond: { body: any } }
          - { host: '*.shop.test', respond: { body: wildcard } }
          - { host: '*.eu.shop.test', respond: { body: longer wildcard } }
          - { host: [shop.test, exact.shop.test, '[::1]'], respond: { body: exact } }
    ",
    )
    .start()
    .await;

    let cases = [
        ("shop.test", "exact"),
        ("SHOP.Test", "exact"),
        ("shop.test:8080", "exact"),
        ("shop.test.", "exact"),
        ("Shop.test.:8080", "exact"),
        ("exact.shop.test", "exact"),
        ("[::1]:80", "exact"),
        ("a.shop.test", "wildcard"),
        ("b.a.shop.test:1", "wildcard"),
        ("eu.shop.test", "wildcard"),
        ("A.EU.shop.test.", "longer wildcard"),
        ("xshop.test", "any"),
        ("shop.test.evil", "any"),
        ("127.0.0.1", "any"),
    ];
    for (host, body) in cases {
        expect_bodies(&weir, &[(host, "/", body)]).await;
    }
    let hostless = weir.client().request("GET", "/").version("HTTP/1.0");
    assert_eq!(hostless.without("host").send().await.text(), "any");
}

#[tokio::test]
async fn an_exact_path_goes_before_the_longest_prefix_before_a_regex_before_none() {
    let weir = weir(
        r"
        routes:
          - { respond: { body: every } }
          - { path: '~ ^/a.*\.json$', respond: { body: regex } }
          - { path: /api/*, respond: { body: prefix } }
          - { path: /api/v1/*, respond: { body: longer prefix } }
          - { path: /api, respond: { body: exact } }
    ",
    )
    .start()
    .await;

    let cases = [
        ("/api", "exact"),
        ("/api?x=/api/v1/", "exact"),
        ("/api/", "prefix"),
        ("/api/x", "prefix"),
        ("/api/x.json", "prefix"),
        ("/api/v1", "longer prefix"),
        ("/api/v1/x", "longer prefix"),
        ("/api/v10", "prefix"),
        ("/apix", "every"),
        ("/API", "every"),
        ("/apix.json", "regex"),
        ("/apix.json?y", "regex"),
        ("/xapi.json", "every"),
        ("/", "every"),
        // What is matched is the normal form, however it was spelled.
        ("/%61pi", "exact"),
        ("//api", "exact"),
        ("/x/../api/./v1/y", "longer prefix"),
        ("/api/v1/%2e%2e/y", "prefix"),
        ("/api%2Fv1", "every"),
    ];
    for (target, body) in cases {
        expect_bodies(&weir, &[("a.test", target, body)]).await;
    }
}

#[tokio::test]
async fn a_host_goes_before_a_path_and_equal_routes_go_by_the_order_of_the_file() {
    let weir = weir(
        "
        routes:
          - { path: /exact, respond: { body: path } }
          - { path: '~ ^/v[0-9]', respond: { body: first regex } }
          - { path: '~ ^/v1', respond: { body: second regex } }
          - { path: /twice, headers: { X-A: '*' }, respond: { body: first } }
          - { path: /twice, headers: { X-B: '*' }, respond: { body: second } }
          - { host: a.test, respond: { body: host } }
          - { host: a.test, path: /v1/*, respond: { body: host and path } }
          - { host: '*.test', path: /deep/er, respond: { body: wildcard and path } }
    ",
    )
    .start()
    .await;

    expect_bodies(
        &weir,
        &[
            ("a.test", "/exact", "host"),
            ("a.test", "/v1/x", "host and path"),
            ("a.test", "/deep/er", "host"),
            ("b.test", "/deep/er", "wildcard and path"),
            ("b.test", "/exact", "path"),
            ("b.test", "/v1", "first regex"),
        ],
    )
    .await;
    let both = weir.client().request("GET", "/twice").header("X-B", 1);
    assert_eq!(both.clone().send().await.text(), "second");
    assert_eq!(both.header("X-A", 1).send().await.text(), "first");
}

#[tokio::test]
async fn a_route_that_refuses_a_method_gives_way_to_the_next_best() {
    let weir = weir(
        "
        routes:
          - { host: a.test, path: /doc, methods: [GET, HEAD], respond: { body: read } }
          - { host: a.test, path: /doc, methods: PUT, respond: { body: write } }
          - { host: a.test, path: /*, methods: DELETE, respond: { body: remove } }
          - { host: '*.test', methods: PATCH, respond: { body: wildcard } }
          - { methods: [POST, PURGE], respond: { body: any } }
    ",
    )
    .start()
    .await;

    for (method, answer) in [
        ("GET", "read"),
        ("PUT", "write"),
        ("DELETE", "remove"),
        ("PATCH", "wildcard"),
        ("POST", "any"),
        ("PURGE", "any"),
    ] {
        let request = weir.client().request(method, "/doc").host("a.test");
        assert_eq!(request.send().await.text(), answer, "{method}");
    }
    let nobody = weir.client().request("OPTIONS", "/doc").host("a.test");
    assert_eq!(nobody.send().await.status, 404);
    // A method is matched as it is written (RFC 9110 §9.1).
    let lower = weir.client().request("get", "/doc").host("a.test");
    assert_eq!(lower.send().await.status, 404);
}

#[tokio::test]
async fn every_header_a_route_asks_for_must_match() {
    let weir = weir(
        "
        routes:
          - path: /x
            headers: { X-Key: '*', X-Version: '2', Accept: '~ json|xml' }
            respond: { body: all }
          - { path: /x, headers: { x-version: '2' }, respond: { body: version } }
          - { respond: { body: none } }
    ",
    )
    .start()
    .await;

    type Fields<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Fields<'_>, &str); 8] = [
        (
            &[
                ("x-key", ""),
                ("X-VERSION", "2"),
                ("Accept", "text/xml;q=1"),
            ],
            "all",
        ),
        (
            &[
                ("X-Key", "k"),
                ("X-Version", "1"),
                ("X-Version", "2"),
                ("Accept", "json"),
            ],
            "all",
        ),
        (&[("X-Key", "k"), ("X-Version", "2")], "version"),
        (
            &[("X-Key", "k"), ("X-Version", "2"), ("Accept", "text")],
            "version",
        ),
        (&[("X-Version", "2"), ("Accept", "json")], "version"),
        (&[("X-Version", "22")], "none"),
        (&[("X-Key", "k"), ("Accept", "json")], "none"),
        (&[], "none"),
    ];
    for (fields, body) in cases {
        let mut request = weir.client().request("GET", "/x");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.text(), body, "{fields:?}");
    }
}

#[tokio::test]
async fn the_path_that_was_matched_is_the_path_that_is_forwarded() {
    let origin = Origin::serving("origin");
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - { path: /private/*, respond: { status: 403 } }
          - { pool: web }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    for spelled in [
        "/private/x",
        "//private/x",
        "/a/../private/x",
        "/%70rivate/x",
        "/./private",
        "/a/%2e%2e/private/x",
    ] {
        assert_eq!(weir.client().get(spelled).await.status, 403, "{spelled}");
    }
    assert_eq!(
        weir.client()
            .get("/a/%2E%2e/b%2fc%c3?q=%zz/../")
            .await
            .status,
        200
    );
    assert_eq!(origin.hits(), 1);
    assert_eq!(origin.last().target, "/b%2Fc%C3?q=%zz/../");
    let logged = weir.logged(7).await;
    // The log tells what the client wrote.
    let written = |line: &serde_json::Value| line["target"] == "/a/%2E%2e/b%2fc%c3?q=%zz/../";
    assert!(logged.iter().any(written), "{logged:#?}");
}

// --- no route

#[tokio::test]
async fn a_request_without_a_route_is_404_and_its_connection_stays_usable() {
    let weir = weir("routes: [{ host: known.test, respond: { body: known } }]")
        .start()
        .await;
    let mut connection = weir.client().host("known.test").connect().await;

    let unknown = connection.request("GET", "/x").host("unknown.test");
    let refused = connection.exchange(&unknown).await.unwrap();
    assert_eq!((refused.status, refused.closes()), (404, false));
    assert_eq!(connection.get("/x").await.text(), "known");
    let head = connection.request("HEAD", "/x").host("unknown.test");
    let refused = connection.exchange(&head).await.unwrap();
    assert_eq!(refused.status, 404);
    assert!(refused.header("content-length").is_some_and(|n| n != "0"));
    assert_eq!(connection.get("/x").await.text(), "known");

    weir.metric_becomes(r#"weir_rejections_total{reason="no_route"}"#, 2.0)
        .await;
    let lines = weir.logged(4).await;
    for field in ["route", "pool"] {
        assert_eq!(lines[0][field], "-");
    }
    assert_eq!(lines[0]["termination"], "no_route");
    assert_eq!(lines[1]["termination"], "ok");
}

#[tokio::test]
async fn a_body_nobody_reads_never_becomes_a_request() {
    let weir = weir(
        "
        routes:
          - { path: /fixed, respond: { body: fixed } }
          - { path: /moved, redirect: { to: /fixed } }
    ",
    )
    .start()
    .await;
    let smuggled = "GET /fixed?smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

    for (target, status) in [("/fixed", 200), ("/moved", 308), ("/none", 404)] {
        let mut connection = weir.client().connect().await;
        let post = connection.request("POST", target).body(smuggled);
        let response = connection.exchange(&post).await.unwrap();
        assert_eq!(response.status, status, "{target}");
        if response.closes() {
            connection.ending().await;
        } else {
            assert_eq!(connection.get("/fixed").await.text(), "fixed");
        }
    }
    let lines = weir.logged(3).await;
    let targets: Vec<_> = lines.iter().map(|line| &line["target"]).collect();
    assert!(
        !targets.iter().any(|target| *target == "/fixed?smuggled"),
        "{targets:?}"
    );
}

// --- redirects

#[tokio::test]
async fn a_redirect_fills_in_its_placeholders() {
    let weir = weir(
        "
        routes:
          - { path: /old/*, redirect: { to: '/new/{rest}{query}' } }
          - { path: /all/*, redirect: { to: '{scheme}://{host}/x{path}{query}' } }
          - { path: /bare/*, redirect: { to: 'https://other.test' } }
          - { path: /%7Euser/*, redirect: { to: '/home/user/{rest}' } }
          - { path: '~ ^/v[0-9]', redirect: { to: 'https://{host}{path}#{path}' } }
          - { redirect: { to: '/home/{rest}' } }
    ",
    )
    .start()
    .await;

    for (target, expected) in [
        ("/old/a/b?x=1&y", "/new/a/b?x=1&y"),
        ("/old/a/?", "/new/a/?"),
        ("/old/", "/new/"),
        ("/old", "/new/"),
        ("/old?x", "/new/?x"),
        ("/all/a?b", "http://site.test/x/all/a?b"),
        ("/all/a%20b/../c", "http://site.test/x/all/c"),
        ("/bare/a?b", "https://other.test"),
        // Route and request may spell the path differently.
        ("/~user/a/b", "/home/user/a/b"),
        ("/%7euser/a/b", "/home/user/a/b"),
        ("/v1/a?b", "https://site.test/v1/a#/v1/a"),
        ("/some/where", "/home/some/where"),
        // What a client sends is no template and no header.
        ("/old/{host}{query}?{path}", "/new/{host}{query}?{path}"),
        ("/old/%0d%0aSet-Cookie:a", "/new/%0D%0ASet-Cookie:a"),
    ] {
        let response = weir.client().host("site.test").get(target).await;
        assert_eq!(location(&response), expected, "{target}");
        assert_eq!((response.status, response.body.len()), (308, 0));
        assert_eq!(response.header("content-length"), Some("0"));
        assert_eq!(response.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn no_path_turns_a_redirect_into_one_to_another_host() {
    let weir = weir("routes: [{ path: /go/*, redirect: { to: '/{rest}' } }]")
        .start()
        .await;

    // A browser reads `//host` and `/\host` as another host.
    for target in [
        "/go//evil.test",
        "/go/\\evil.test",
        "/go/./\\evil.test",
        "/go/%2F/evil.test",
        "/go/%5Cevil.test",
    ] {
        let response = weir.client().get(target).await;
        let to = location(&response);
        assert!(
            to.starts_with('/') && !to[1..].starts_with(['/', '\\']),
            "{target} leads to {to}"
        );
    }
}

#[tokio::test]
async fn a_redirect_has_its_status_for_every_method() {
    let weir = weir(
        "
        routes:
          - { path: /301, redirect: { to: /x, status: 301 } }
          - { path: /302, redirect: { to: /x, status: 302 } }
          - { path: /303, redirect: { to: /x, status: 303 } }
          - { path: /307, redirect: { to: /x, status: 307 } }
          - { path: /308, redirect: { to: /x, status: 308 } }
          - { path: /default, redirect: { to: /x } }
    ",
    )
    .start()
    .await;

    let mut connection = weir.client().connect().await;
    for method in ["GET", "HEAD", "DELETE"] {
        for (target, status) in [
            ("/301", 301),
            ("/302", 302),
            ("/303", 303),
            ("/307", 307),
            ("/308", 308),
            ("/default", 308),
        ] {
            let request = connection.request(method, target);
            let response = connection.exchange(&request).await.unwrap();
            assert_eq!(response.status, status, "{method} {target}");
            assert_eq!(location(&response), "/x");
        }
    }
    weir.metric_becomes(
        r#"weir_requests_total{route="/default",pool="-",code_class="3xx"}"#,
        3.0,
    )
    .await;
}

// --- fixed responses

#[tokio::test]
async fn a_fixed_response_has_its_status_body_and_type() {
    let weir = weir(
        r#"
        routes:
          - { path: /default, respond: {} }
          - { path: /text, respond: { body: "two\nlines\n" } }
          - path: /json
            respond: { status: 418, body: '{"a":1}', content_type: application/json }
          - { path: /empty, respond: { status: 204 } }
          - { path: /large, respond: { body: $large } }
    "#,
    )
    .with("large", "x".repeat(300_000))
    .start()
    .await;
    let text = Some("text/plain; charset=utf-8");

    let mut connection = weir.client().connect().await;
    for (target, status, content_type, body) in [
        ("/default", 200, text, ""),
        ("/text", 200, text, "two\nlines\n"),
        ("/json", 418, Some("application/json"), r#"{"a":1}"#),
        ("/large", 200, text, &"x".repeat(300_000)),
    ] {
        let length = body.len().to_string();
        let response = connection.get(target).await;
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.header("content-type"), content_type);
        assert_eq!(response.header("content-length"), Some(length.as_str()));
        assert!(response.complete && response.text() == body, "{target}");

        // The same head without the body (RFC 9110 §9.3.2).
        let head = connection.request("HEAD", target);
        let response = connection.exchange(&head).await.unwrap();
        assert_eq!((response.status, response.body.len()), (status, 0));
        assert_eq!(response.header("content-length"), Some(length.as_str()));
    }
    let response = connection.get("/empty").await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("content-length"), None);
    assert_eq!(connection.get("/text").await.text(), "two\nlines\n");
}

#[tokio::test]
async fn response_headers_are_edited_on_redirects_and_fixed_responses_too() {
    let weir = weir(
        "
        routes:
          - path: /fixed
            respond: { body: x }
            response_headers:
              remove: [Content-Type]
              set: { X-Frame-Options: DENY, Cache-Control: no-store }
              add: { Set-Cookie: a=1 }
          - path: /moved
            redirect: { to: /x }
            response_headers: { set: { Location: /y } }
    ",
    )
    .start()
    .await;

    let fixed = weir.client().get("/fixed").await;
    assert_eq!(fixed.header("content-type"), None);
    assert_eq!(fixed.header("x-frame-options"), Some("DENY"));
    assert_eq!(fixed.header("cache-control"), Some("no-store"));
    assert_eq!(fixed.header("set-cookie"), Some("a=1"));
    assert_eq!(fixed.text(), "x");
    assert_eq!(location(&weir.client().get("/moved").await), "/y");
}

// --- error bodies

#[tokio::test]
async fn an_error_says_why_as_text_or_as_json_to_who_accepts_it() {
    let weir = weir("routes: [{ host: known.test, respond: {} }]")
        .start()
        .await;
    let refused = |accept: Option<&str>| {
        let request = weir.client().request("GET", "/x");
        match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        }
    };

    for accept in [None, Some("*/*"), Some("text/html, */*;q=0.8"), Some("")] {
        let response = refused(accept).send().await;
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{accept:?}"
        );
        let text = response.text();
        assert!(text.starts_with("404 Not Found: no route"), "{text}");
        assert!(text.contains("\nrequest id "), "{text}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("retry-after"), None);
    }
    for accept in [
        "application/json",
        "text/html, Application/JSON;q=0.5",
        "application/problem+json",
    ] {
        let response = refused(Some(accept)).send().await;
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["status"], 404);
        assert_eq!(body["reason"], "no_route");
        assert!(body["detail"].as_str().unwrap().starts_with("no route"));
        assert!(!body["request_id"].as_str().unwrap().is_empty());
        assert_eq!(body.as_object().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_503_says_when_to_come_back() {
    let dns = Dns::new().await;
    let weir = weir(
        "
        server: { resolvers: [$dns] }
        pools: { web: { endpoints: ['nowhere.test:80'] } }
        routes: [{ pool: web }]
    ",
    )
    .with("dns", &dns)
    .start()
    .await;

    let response = weir.client().get("/").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    weir.metric_becomes(r#"weir_rejections_total{reason="no_endpoint"}"#, 1.0)
        .await;
    assert_eq!(weir.logged(1).await[0]["termination"], "no_endpoint");
}
