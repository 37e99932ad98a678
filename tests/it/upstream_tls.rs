//! TLS to endpoints: what is verified, what is shown, and that no connection is shared which one of
//! its users would not have made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::*;

/// One pool with this `tls` value, its CA, identity and origin at hand.
fn pool_with(tls: &str, authority: &Authority, origin: &Origin) -> Setup {
    let yaml = format!(
        "
        pools: {{ web: {{ endpoints: [$origin], tls: {tls} }} }}
        routes: [{{ pool: web }}]
    "
    );
    weir(&yaml)
        .with("origin", origin)
        .with("ca", authority.ca_path())
}

fn showing(identity: &Identity) -> Origin {
    Origin::tls(identity, |_| Reply::ok("secret"))
}

async fn refused(weir: &Weir) {
    let response = weir.client().get("/").await;
    assert_eq!(response.status, 502);
    assert!(!response.text().contains("ertificate"), "the cause is ours");
    let line = &weir.logged(1).await[0];
    assert_eq!(line["termination"], "connect_failed", "{line}");
    assert_eq!(line["attempts"][0]["outcome"], "tls_error", "{line}");
}

#[tokio::test]
async fn a_certificate_of_the_pools_authority_and_name_is_accepted() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("api.test"));
    let setup = pool_with("{ ca: $ca, sni: api.test }", &authority, &origin);
    let weir = setup.start().await;
    assert_eq!(
        weir.client().host("site.test").get("/").await.text(),
        "secret"
    );
    let seen = origin.last();
    assert_eq!(seen.sni.as_deref(), Some("api.test"));
    assert_eq!(seen.header("host"), Some("site.test"));
    assert!(!seen.client_certificate);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("other.test"));
    let setup = pool_with("{ ca: $ca, sni: api.test }", &authority, &origin);
    refused(&setup.start().await).await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = showing(&other.issue("api.test"));
    let setup = pool_with("{ ca: $ca, sni: api.test }", &authority, &origin);
    refused(&setup.start().await).await;
    let setup =
        pool_with("{ sni: api.test }", &authority, &origin).system_roots(authority.ca_path());
    refused(&setup.start().await).await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn an_endpoint_without_a_name_to_verify_is_refused_at_start() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("127.0.0.1"));
    let setup = pool_with("{ ca: $ca }", &authority, &origin);
    let finished = setup.refused().await;
    assert_eq!(finished.code, Some(78));
    let stderr = finished.stderr;
    assert!(
        stderr.contains("pools.web.tls: no name to verify"),
        "{stderr}"
    );
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin], tls: { sni: api.test } } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", address)
    .system_roots(Authority::new().ca_path())
    .start()
    .await;
    refused(&weir).await;
}

#[tokio::test]
async fn without_verification_any_certificate_is_accepted() {
    let origin = showing(&Authority::new().issue("other.test"));
    let setup = pool_with(
        "{ verify: false, sni: api.test }",
        &Authority::new(),
        &origin,
    );
    let weir = setup.start().await;
    assert_eq!(weir.client().get("/").await.text(), "secret");
    assert_eq!(origin.last().sni.as_deref(), Some("api.test"));
}

#[tokio::test]
async fn where_the_system_has_no_roots_only_what_verifies_by_them_is_refused() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("api.test"));
    let without_roots = |tls| {
        let setup = pool_with(tls, &authority, &origin).file("none.pem", "");
        let none = setup.path("none.pem");
        setup.system_roots(none)
    };
    for command in ["check", "run"] {
        let end = without_roots("{ sni: api.test }").command(&[command]).await;
        assert_eq!(end.code, Some(78), "{end:?}");
        let why = "pools.web.tls: this system has no root certificates to verify by";
        assert!(end.stderr.contains(why), "{end:?}");
    }
    let unverified = "{ verify: false, sni: api.test }";
    let own = authority.issue("weir.test");
    let shown = format!(
        "{{ verify: false, sni: api.test, cert: {}, key: {} }}",
        own.cert_path(),
        own.key_path()
    );
    for tls in [unverified, &shown, "{ ca: $ca, sni: api.test }"] {
        let weir = without_roots(tls).start().await;
        assert_eq!(weir.client().get("/").await.text(), "secret", "{tls}");
    }
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_named_at_start() {
    let setup = weir("routes: [{ respond: {} }]").system_roots("/no/such.pem");
    let end = setup.refused().await;
    assert_eq!(end.code, Some(1), "{end:?}");
    let why = "the system's root certificates cannot be read";
    assert!(
        end.stderr.contains(why) && end.stderr.contains("/no/such.pem"),
        "{end:?}"
    );
}

#[tokio::test]
async fn the_pools_own_certificate_is_shown() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("api.test"));
    let own = authority.issue("weir.test");
    let tls = "{ ca: $ca, sni: api.test, cert: $cert, key: $key }";
    let weir = pool_with(tls, &authority, &origin)
        .with("cert", own.cert_path())
        .with("key", own.key_path())
        .start()
        .await;
    assert_eq!(weir.client().get("/").await.text(), "secret");
    assert!(origin.last().client_certificate);
}

#[tokio::test]
async fn an_endpoint_given_by_name_is_asked_for_and_verified_by_it() {
    let authority = Authority::new();
    let origin = showing(&authority.issue("api.test"));
    let dns = Dns::new().await;
    dns.resolves("api.test", &["127.0.0.1"], 60);
    dns.resolves("other.test", &["127.0.0.1"], 60);
    let weir = weir(
        "
        server: { resolvers: [$dns] }
        pools:
          right: { endpoints: ['api.test:$origin_port'], tls: { ca: $ca } }
          wrong: { endpoints: ['other.test:$origin_port'], tls: { ca: $ca } }
        routes: [{ path: /right, pool: right }, { path: /wrong, pool: wrong }]
    ",
    )
    .with("dns", &dns)
    .with("origin_port", origin.port())
    .with("ca", authority.ca_path())
    .start()
    .await;
    assert_eq!(weir.client().get("/right").await.text(), "secret");
    assert_eq!(origin.last().sni.as_deref(), Some("api.test"));
    assert_eq!(weir.client().get("/wrong").await.status, 502);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn pools_with_other_authorities_or_identities_share_no_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = showing(&authority.issue("api.test"));
    let own = authority.issue("weir.test");
    let weir = weir(
        "
        pools:
          plain: { endpoints: [$origin], tls: { ca: $ca, sni: api.test } }
          shown: { endpoints: [$origin], tls: { ca: $ca, sni: api.test, cert: $cert, key: $key } }
          other: { endpoints: [$origin], tls: { ca: $other, sni: api.test } }
          blind: { endpoints: [$origin], tls: { verify: false, sni: api.test } }
        routes:
          - { path: /plain, pool: plain }
          - { path: /shown, pool: shown }
          - { path: /other, pool: other }
          - { path: /blind, pool: blind }
    ",
    )
    .with("origin", &origin)
    .with("ca", authority.ca_path())
    .with("other", other.ca_path())
    .with("cert", own.cert_path())
    .with("key", own.key_path())
    .start()
    .await;
    let client = weir.client();
    for _ in 0..3 {
        for (path, shown) in [("/blind", false), ("/plain", false), ("/shown", true)] {
            assert_eq!(client.get(path).await.text(), "secret", "{path}");
            assert_eq!(origin.last().client_certificate, shown, "{path}");
        }
        assert_eq!(client.get("/other").await.status, 502);
    }
    let mut connections: Vec<_> = origin.requests().iter().map(|r| r.connection).collect();
    connections.sort();
    connections.dedup();
    assert_eq!(connections.len(), 3, "one each, and each is kept");
}

#[tokio::test]
async fn probes_are_made_as_requests_are() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = showing(&authority.issue("api.test"));
    let weir = weir(
        "
        pools:
          good:
            endpoints: [$origin]
            tls: { ca: $ca, sni: api.test }
            health: { http: /healthz, interval: 100ms }
          bad:
            endpoints: [$origin]
            tls: { ca: $other, sni: api.test }
            health: { http: /healthz, interval: 100ms, fall: 1 }
        routes: [{ path: /good, pool: good }, { path: /bad, pool: bad }]
    ",
    )
    .with("origin", &origin)
    .with("ca", authority.ca_path())
    .with("other", other.ca_path())
    .start()
    .await;
    weir.metric_becomes(r#"weir_endpoint_ready{pool="good"}"#, 1.0)
        .await;
    weir.metric_becomes(r#"weir_endpoint_ready{pool="bad"}"#, 0.0)
        .await;
    eventually("a probe got through", async || !origin.probes().is_empty()).await;
    assert_eq!(origin.probes()[0].sni.as_deref(), Some("api.test"));
    assert_eq!(weir.client().get("/good").await.text(), "secret");
    assert_eq!(weir.client().get("/bad").await.status, 503);
    let failed = weir.metric(r#"weir_probes_total{pool="bad",result="fail"}"#);
    assert!(failed.await >= 1.0);
}

#[tokio::test]
async fn upgrades_pass_to_endpoints_with_tls() {
    let authority = Authority::new();
    let origin = Origin::tls(&authority.issue("api.test"), |_| {
        Reply::websocket().greeting("hello")
    });
    let setup = pool_with("{ ca: $ca, sni: api.test }", &authority, &origin);
    let weir = setup.start().await;
    for _ in 0..100 {
        let mut tunnel = weir.client().websocket("/").await;
        assert_eq!(tunnel.read(5).await.as_deref(), Some(&b"hello"[..]));
        assert!(tunnel.echoes("ping").await);
    }
}

#[tokio::test]
async fn handshakes_that_fail_are_tried_again_within_the_budget_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let refusing = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            drop(connection);
        }
    });
    let dead = [Origin::serving(""), Origin::serving("")];
    let weir = weir(
        "
        pools:
          web:
            endpoints: [$a, { address: $b, backup: true }, { address: $c, backup: true }]
            retry_budget: { percent: 20, per_second: 0 }
            outlier: off
            tls: { verify: false }
        routes: [{ pool: web, retry: { backoff: 0s } }]
    ",
    )
    .with("a", address)
    .with("b", &dead[0])
    .with("c", &dead[1])
    .start()
    .await;
    for origin in &dead {
        origin.stop().await;
    }
    for _ in 0..100 {
        assert_eq!(weir.client().get("/").await.status, 502);
    }
    let retries = weir
        .metric(r#"weir_retries_total{reason="tls_error"}"#)
        .await;
    assert!((10.0..=20.0).contains(&retries), "{retries}");
    assert_eq!(taken.load(SeqCst), 100);
    refusing.abort();
}
