//! Checks against origins on real sockets.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method};
use pingora_core::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor};
use regex::Regex;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::config::model::{Initial, Tls};
use crate::upstream::member::Member;
use crate::upstream::tests::{config, health, registry};

/// Answers every request with `response` and closes; hands over the request heads.
async fn origin(response: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, response, heads.clone()));
        }
    });
    (address, received)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    response: &'static str,
    heads: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let _ = heads.send(String::from_utf8(head).unwrap());
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn http() -> HttpProbe {
    HttpProbe {
        method: Method::GET,
        path: "/healthz?deep=1".to_owned(),
        host: None,
        headers: Vec::new(),
        statuses: vec![(200, 299)],
        body: None,
    }
}

fn over(probe: Probe) -> Health {
    Health {
        probe,
        ..health(Initial::Healthy)
    }
}

/// One probe of the only member of a pool at `address`, resolved from `host`.
async fn probe(
    address: SocketAddr,
    host: Option<&str>,
    tls: Option<Tls>,
    health: Health,
) -> Result<(), String> {
    let mut config = config(&[&address.to_string()]);
    config.tls = tls;
    let pool = Pool::build(&config, &registry()).unwrap();
    let member = Arc::new(Member {
        endpoint: pool.members().all()[0].endpoint.clone(),
        weight: 1,
        backup: false,
        max_in_flight: None,
        adaptive_limit: None,
        host: host.map(Arc::from),
        room: Default::default(),
        tokens: Box::default(),
    });
    let check = Prober::new().check(&pool, &health);
    check
        .check(&member.backend())
        .await
        .map_err(|error| describe(&error))
}

async fn probe_http(response: &'static str, http: HttpProbe) -> Result<(), String> {
    let (address, _heads) = origin(response).await;
    probe(address, None, None, over(Probe::Http(http))).await
}

#[tokio::test]
async fn tcp_passes_when_a_connection_can_be_made() {
    let (address, _) = origin("").await;
    assert_eq!(probe(address, None, None, over(Probe::Tcp)).await, Ok(()));
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = Err("connection refused".to_owned());
    assert_eq!(probe(closed, None, None, over(Probe::Tcp)).await, refused);
    let elsewhere = Health {
        port: Some(address.port()),
        ..over(Probe::Tcp)
    };
    assert_eq!(probe(closed, None, None, elsewhere).await, Ok(()));
}

#[tokio::test]
async fn the_status_decides() {
    let fail = |text: &str| Err(text.to_owned());
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(())),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", Ok(())),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            fail("status 404"),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n",
            fail("status 302"),
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n", fail("status 101")),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            fail("status 503"),
        ),
        ("", fail("connection closed")),
        ("SSH-2.0-OpenSSH_9.2\r\n", fail("invalid response")),
    ] {
        assert_eq!(probe_http(response, http()).await, expected, "{response}");
    }
}

#[tokio::test]
async fn the_body_decides_where_a_pattern_is_given() {
    let expecting = |pattern: &str| HttpProbe {
        body: Some(Regex::new(pattern).unwrap()),
        ..http()
    };
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nstatus: good";
    assert_eq!(
        probe_http(response, expecting("^status: (good|fair)$")).await,
        Ok(())
    );
    let unmatched = Err(UNMATCHED_BODY.to_owned());
    assert_eq!(probe_http(response, expecting("bad")).await, unmatched);

    // The pattern's text begins within the first 64 KiB, or it is not seen.
    for (padding, expected) in [(BODY_MAX - 4, Ok(())), (BODY_MAX - 3, unmatched)] {
        let response = format!("HTTP/1.0 200 OK\r\n\r\n{}good", "x".repeat(padding)).leak();
        assert_eq!(probe_http(response, expecting("good")).await, expected);
    }
}

#[tokio::test]
async fn the_request_is_the_configured_one() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (address, mut heads) = origin(answer).await;
    let health = over(Probe::Http(http()));
    probe(address, None, None, health.clone()).await.unwrap();
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(
        head.starts_with("get /healthz?deep=1 http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");

    probe(address, Some("api.internal"), None, health)
        .await
        .unwrap();
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(
        head.contains(&format!("host: api.internal:{}\r\n", address.port())),
        "{head}"
    );

    let configured = HttpProbe {
        method: Method::HEAD,
        host: Some("shop.example.com".to_owned()),
        headers: vec![(
            HeaderName::from_static("x-probe"),
            HeaderValue::from_static("1"),
        )],
        ..http()
    };
    let health = over(Probe::Http(configured));
    probe(address, Some("api.internal"), None, health)
        .await
        .unwrap();
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(
        head.starts_with("head ") && head.contains("x-probe: 1\r\n"),
        "{head}"
    );
    assert!(head.contains("host: shop.example.com\r\n"), "{head}");
}

/// An origin with a certificate for `api.internal`, and the file to verify it by.
async fn tls_origin(dir: &TempDir) -> (SocketAddr, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["api.internal".to_owned()]).unwrap();
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    pingora_core::tls::install_default_crypto_provider();
    let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (heads, _) = mpsc::unbounded_channel();
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                    heads,
                )
                .await;
            }
        }
    });
    (address, ca)
}

#[tokio::test]
async fn tls_is_verified_as_the_pool_says() {
    let dir = TempDir::new().unwrap();
    let (address, ca) = tls_origin(&dir).await;
    let tls = |ca: Option<&PathBuf>, sni: Option<&str>, verify| Tls {
        sni: sni.map(str::to_owned),
        verify,
        ca: ca.cloned(),
        identity: None,
    };
    let probe = async |tls, host| probe(address, host, Some(tls), over(Probe::Http(http()))).await;
    let name = Some("api.internal");
    assert_eq!(probe(tls(Some(&ca), None, true), name).await, Ok(()));
    assert_eq!(probe(tls(Some(&ca), name, true), None).await, Ok(()));
    assert_eq!(probe(tls(None, None, false), None).await, Ok(()));
    for refused in [
        probe(tls(None, None, true), name).await,
        probe(tls(Some(&ca), None, true), None).await,
        probe(tls(Some(&ca), Some("web.internal"), true), name).await,
    ] {
        let error = refused.expect_err("the certificate does not fit");
        assert!(error.contains("certificate"), "{error}");
    }
}
