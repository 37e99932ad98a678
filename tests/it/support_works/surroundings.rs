//! What is around origins and clients: probes, loads, names, black holes, patience.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::client;
use crate::support::*;

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
    // The second request of a connection is read, and not a byte is answered.
    let seen = AtomicUsize::new(0);
    let every_other = Origin::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Reply::ok("ok"),
        _ => Reply::nothing(),
    });
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

#[tokio::test]
#[should_panic(expected = "it holds")]
async fn what_stops_holding_is_noticed() {
    let mut asked = 0;
    steadily("it holds", Duration::from_secs(60), async || {
        asked += 1;
        asked < 3
    })
    .await;
}
