//! Connections: kept, closed, reset, upgraded, in TLS.

use super::client;
use crate::support::*;

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
