//! Headers: what an endpoint is told of the client and of the way here, what of it is believed, and
//! the edits of routes.
//!
//! Clients connect from 127.0.0.1, who is nobody, or from 127.0.0.2, who is a trusted proxy.

use crate::support::*;

const TRUSTED: &str = "127.0.0.2";

/// A weir before an origin that records, with these settings of `server`.
async fn weir_telling(server: &str, origin: &Origin) -> Weir {
    weir(
        "
        server: { $server }
        pools: { web: { endpoints: [$origin] } }
        routes:
          - { path: /moved, redirect: { to: '{scheme}://{host}/' } }
          - { pool: web }
    ",
    )
    .with("server", server)
    .with("origin", origin)
    .start()
    .await
}

fn trusting(forwarded: &str) -> String {
    format!("trusted_proxies: [{TRUSTED}, 10.0.0.0/8], forwarded: {forwarded}")
}

/// Each header's value at the origin; `None`: it must not be there.
type Expected<'a> = &'a [(&'a str, Option<&'a str>)];

#[track_caller]
fn expect_headers(request: &Request, expected: Expected<'_>) {
    for (name, value) in expected {
        let got = request.headers.all(name);
        let wanted: Vec<&str> = value.iter().copied().collect();
        assert_eq!(got, wanted, "{name} in {}", request.raw);
    }
}

// --- forwarding headers

#[tokio::test]
async fn an_endpoint_is_told_who_asks_in_the_form_that_is_configured() {
    let x_forwarded: Expected<'_> = &[
        ("X-Forwarded-For", Some("127.0.0.1")),
        ("X-Real-IP", Some("127.0.0.1")),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Forwarded-Host", Some("site.test")),
    ];
    let none: Expected<'_> = &[
        ("X-Forwarded-For", None),
        ("X-Real-IP", None),
        ("X-Forwarded-Proto", None),
        ("X-Forwarded-Host", None),
    ];
    let rfc7239 = Some("for=127.0.0.1;host=site.test;proto=http");
    for (server, expected, forwarded) in [
        ("drain_timeout: 1s", x_forwarded, None),
        ("forwarded: x-forwarded", x_forwarded, None),
        ("forwarded: forwarded", none, rfc7239),
        ("forwarded: both", x_forwarded, rfc7239),
    ] {
        let origin = Origin::serving("");
        let weir = weir_telling(server, &origin).await;
        weir.client().host("site.test").get("/").await;
        expect_headers(&origin.last(), expected);
        expect_headers(&origin.last(), &[("Forwarded", forwarded)]);
        // Byte for byte: some endpoints compare.
        assert_eq!(origin.last().header("host"), Some("site.test"), "{server}");
    }
}

#[tokio::test]
async fn what_an_untrusted_peer_says_of_itself_is_replaced() {
    let origin = Origin::serving("");
    let weir = weir_telling(&trusting("both"), &origin).await;

    let spoofed = weir.client().host("site.test").request("GET", "/");
    let spoofed = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("X-Real-IP", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "admin.test"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=192.0.2.1;proto=https"),
        // CGI-like endpoints read it as X-Forwarded-For.
        ("X_Forwarded_For", "192.0.2.1"),
    ]
    .into_iter()
    .fold(spoofed, |request, (name, value)| {
        request.header(name, value)
    });
    spoofed.send().await;

    expect_headers(
        &origin.last(),
        &[
            ("X-Forwarded-For", Some("127.0.0.1")),
            ("X-Real-IP", Some("127.0.0.1")),
            ("X-Forwarded-Proto", Some("http")),
            ("X-Forwarded-Host", Some("site.test")),
            ("X-Forwarded-Port", None),
            ("X-Forwarded-Prefix", None),
            ("X_Forwarded_For", None),
            ("Forwarded", Some("for=127.0.0.1;host=site.test;proto=http")),
        ],
    );
    assert_eq!(weir.logged(1).await[0]["client"], "127.0.0.1");
}

#[tokio::test]
async fn the_chain_of_a_trusted_peer_is_continued_and_its_client_believed() {
    let origin = Origin::serving("");
    let weir = weir_telling(&trusting("x-forwarded"), &origin).await;
    let trusted = weir.client().host("site.test").from(TRUSTED);

    let request = trusted.request("GET", "/");
    request
        .header("X-Forwarded-For", "203.0.113.9, 192.0.2.1, 10.1.1.1")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.test")
        .header("X-Forwarded-Port", "443")
        .send()
        .await;
    expect_headers(
        &origin.last(),
        &[
            (
                "X-Forwarded-For",
                Some("203.0.113.9, 192.0.2.1, 10.1.1.1, 127.0.0.2"),
            ),
            ("X-Real-IP", Some("192.0.2.1")),
            ("X-Forwarded-Proto", Some("https")),
            ("X-Forwarded-Host", Some("shop.test")),
            ("X-Forwarded-Port", Some("443")),
            ("Forwarded", None),
        ],
    );
    // Nobody named: the trusted peer is the client itself.
    trusted.get("/").await;
    expect_headers(
        &origin.last(),
        &[
            ("X-Forwarded-For", Some("127.0.0.2")),
            ("X-Real-IP", Some("127.0.0.2")),
            ("X-Forwarded-Proto", Some("http")),
        ],
    );
    let lines = weir.logged(2).await;
    let mut clients: Vec<_> = lines.iter().map(|line| line["client"].as_str()).collect();
    clients.sort_unstable();
    assert_eq!(clients, [Some("127.0.0.2"), Some("192.0.2.1")]);
}

#[tokio::test]
async fn a_trusted_peers_forwarded_is_continued() {
    let origin = Origin::serving("");
    let weir = weir_telling(&trusting("forwarded"), &origin).await;

    let trusted = weir.client().host("site.test").from(TRUSTED);
    let request = trusted.request("GET", "/");
    request
        .header("Forwarded", "for=192.0.2.1;proto=https")
        .send()
        .await;

    let chain = "for=192.0.2.1;proto=https, for=127.0.0.2;host=site.test;proto=http";
    expect_headers(
        &origin.last(),
        &[("Forwarded", Some(chain)), ("X-Forwarded-For", None)],
    );
    assert_eq!(weir.logged(1).await[0]["client"], "192.0.2.1");
}

#[tokio::test]
async fn a_redirects_scheme_is_the_clients_own() {
    let origin = Origin::serving("");
    let weir = weir_telling(&trusting("x-forwarded"), &origin).await;
    let moved = |client: Client| {
        let request = client.host("site.test").request("GET", "/moved");
        request.header("X-Forwarded-Proto", "https").send()
    };

    // TLS ends at the trusted proxy before us; sending its clients to plain text would be a loop.
    let trusted = moved(weir.client().from(TRUSTED)).await;
    assert_eq!(trusted.header("location"), Some("https://site.test/"));
    let stranger = moved(weir.client()).await;
    assert_eq!(stranger.header("location"), Some("http://site.test/"));
}

// --- the way here

#[tokio::test]
async fn via_names_weir_after_those_before_it() {
    let origin = Origin::serving("");
    let weir = weir_telling("forwarded: both", &origin).await;
    let client = weir.client().host("site.test");

    client.get("/").await;
    assert_eq!(origin.last().headers.all("via"), ["1.1 weir"]);
    let old = client.request("GET", "/").version("HTTP/1.0");
    old.send().await;
    assert_eq!(origin.last().headers.all("via"), ["1.0 weir"]);
    let passed_on = client.request("GET", "/").header("Via", "1.1 cdn");
    passed_on.send().await;
    assert_eq!(
        origin.last().headers.all("via").join(", "),
        "1.1 cdn, 1.1 weir"
    );
}

#[tokio::test]
async fn a_request_has_one_id_from_the_edge_to_the_log() {
    let origin = Origin::serving("");
    let weir = weir_telling(&trusting("x-forwarded"), &origin).await;
    let named = |client: Client, id: &str| {
        let request = client.host("site.test").request("GET", "/");
        request.header("X-Request-Id", id)
    };

    let too_long = "x".repeat(129);
    let trusted = || weir.client().from(TRUSTED);
    for (client, sent, is_kept) in [
        (trusted(), "edge-7f:3", true),
        (trusted(), "with space", false),
        (trusted(), &too_long, false),
        (weir.client(), "edge-7f:3", false),
    ] {
        let response = named(client, sent).send().await;
        assert_eq!(response.status, 200);
        let ids = origin.last().headers;
        let [id] = ids.all("x-request-id")[..] else {
            panic!("one id: {ids:?}");
        };
        assert_eq!(id == sent, is_kept, "{sent} became {id}");
        let lines = weir.logged(origin.hits()).await;
        assert_eq!(lines[origin.hits() - 1]["request_id"], id);
    }
    let lines = weir.logged(4).await;
    let ids = lines.iter().map(|line| line["request_id"].to_string());
    assert_eq!(ids.collect::<std::collections::HashSet<_>>().len(), 4);
}

// --- edits

#[tokio::test]
async fn a_route_edits_what_goes_to_its_endpoint() {
    let origin = Origin::serving("");
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - path: /edited
            pool: web
            request_headers:
              remove: [X-Internal, X-Request-Id, Cookie]
              set: { X-Environment: production, Host: inner.test, X-Real-IP: 192.0.2.9 }
              add: { X-Tag: weir }
          - { pool: web }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let request = |target| {
        let request = weir.client().host("site.test").request("GET", target);
        request
            .header("X-Internal", "admin")
            .header("X-internal", "again")
            .header("Cookie", "a=1")
            .header("X-Environment", "test")
            .header("X-Tag", "client")
            .send()
    };

    request("/edited").await;
    expect_headers(
        &origin.last(),
        &[
            ("X-Internal", None),
            ("X-Request-Id", None),
            ("Cookie", None),
            ("X-Environment", Some("production")),
            ("Host", Some("inner.test")),
            // The operator's word is the last one.
            ("X-Real-IP", Some("192.0.2.9")),
        ],
    );
    assert_eq!(origin.last().headers.all("x-tag"), ["client", "weir"]);

    request("/plain").await;
    assert_eq!(origin.last().headers.all("x-internal"), ["admin", "again"]);
    assert_eq!(origin.last().header("x-environment"), Some("test"));
    assert_eq!(origin.last().header("host"), Some("site.test"));
}

#[tokio::test]
async fn a_route_edits_what_goes_to_the_client() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .header("X-Powered-By", "origin/1")
            .header("Server", "origin")
            .header("X-Frame-Options", "ALLOW")
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - path: /edited
            pool: web
            response_headers:
              remove: [X-Powered-By, Server]
              set: { X-Frame-Options: DENY }
              add: { Set-Cookie: c=3 }
          - { pool: web }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    let edited = weir.client().get("/edited").await;
    assert_eq!(edited.header("x-powered-by"), None);
    assert_eq!(edited.header("server"), None);
    assert_eq!(edited.headers.all("x-frame-options"), ["DENY"]);
    assert_eq!(edited.headers.all("set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(edited.text(), "x");

    let plain = weir.client().get("/plain").await;
    assert_eq!(plain.header("x-powered-by"), Some("origin/1"));
    assert_eq!(plain.header("server"), Some("origin"));
    assert_eq!(plain.headers.all("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn header_names_keep_the_case_they_were_sent_in() {
    let origin = Origin::start(|_| Reply::ok("x").header("X-ReSpOnSe", "1").header("etag", "2"));
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - pool: web
            request_headers: { set: { X-SeT: a }, add: { x-added: b } }
            response_headers: { set: { X-OuT: c } }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;

    let request = weir.client().request("GET", "/");
    let request = request.header("X-CuStOm", "1").header("accept", "*/*");
    let response = request.send().await;

    let sent = origin.last().headers;
    for name in ["Host", "X-CuStOm", "accept"] {
        assert!(sent.names().contains(&name), "{name} in {sent:?}");
    }
    for name in ["X-ReSpOnSe", "etag"] {
        assert!(
            response.headers.names().contains(&name),
            "{name} in {:?}",
            response.headers
        );
    }
    // Edited ones are there, in whatever case.
    assert_eq!(sent.get("x-set"), Some("a"));
    assert_eq!(sent.get("x-added"), Some("b"));
    assert_eq!(response.header("x-out"), Some("c"));
}

#[tokio::test]
async fn the_date_of_a_response_is_its_origins_and_one_without_gets_one() {
    const LONG_AGO: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    let origin = Origin::start(|request| match request.target.as_str() {
        "/dated" => Reply::ok("a").header("Date", LONG_AGO),
        _ => Reply::ok("a"),
    });
    let weir = weir("pools: { web: { endpoints: [$origin] } }\nroutes: [{ pool: web }]")
        .with("origin", &origin)
        .start()
        .await;
    let dates = |response: &Response| -> Vec<String> {
        let all = response.headers.all("date");
        all.into_iter().map(str::to_owned).collect()
    };
    assert_eq!(dates(&weir.client().get("/dated").await), [LONG_AGO]);
    let own = dates(&weir.client().get("/").await);
    assert!(own.len() == 1 && own[0].ends_with("GMT"), "{own:?}");
}
