//! What of a client's bytes Pingora gets to see, and when.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";

/// A connection on which a head and `rest` have arrived, and the client's end of it.
async fn arrived(rest: &[u8]) -> (Downstream, DuplexStream) {
    let (mut client, server) = duplex(1 << 20);
    let mut downstream = Downstream::new(Box::new(server), Arc::default());
    client.write_all(&[HEAD, rest].concat()).await.unwrap();
    while downstream.held().len() < HEAD.len() {
        downstream.fill().await.unwrap();
    }
    (downstream, client)
}

async fn is_pending(downstream: &mut Downstream) -> bool {
    let mut buffer = [0; 16];
    let read = std::pin::pin!(downstream.read(&mut buffer));
    futures_are_pending(read)
}

fn futures_are_pending(future: Pin<&mut impl Future>) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    future.poll(&mut cx).is_pending()
}

#[tokio::test]
async fn the_body_is_handed_out_and_what_follows_is_held_back() {
    let (mut downstream, _client) = arrived(b"bodyGET /next").await;
    assert_eq!(
        &downstream.begin_request(HEAD.len(), Body::Sized(4), false)[..],
        HEAD
    );
    let mut body = [0; 16];
    let read = downstream.read(&mut body).await.unwrap();
    assert_eq!(&body[..read], b"body");
    assert!(is_pending(&mut downstream).await);
    assert_eq!(downstream.held(), b"GET /next");
}

#[tokio::test]
async fn a_body_that_arrives_later_ends_where_it_should() {
    let (mut downstream, mut client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(6), false);
    client.write_all(b"bodies and more").await.unwrap();
    let mut body = [0; 64];
    let read = downstream.read(&mut body).await.unwrap();
    assert_eq!(&body[..read], b"bodies");
    assert!(is_pending(&mut downstream).await);
    assert_eq!(downstream.held(), b" and more");
}

#[tokio::test]
async fn a_chunked_body_is_handed_out_to_its_end_and_no_further() {
    let (mut downstream, mut client) = arrived(b"3\r\nab").await;
    downstream.begin_request(HEAD.len(), Body::Chunked, false);
    let mut body = [0; 64];
    let read = downstream.read(&mut body).await.unwrap();
    assert_eq!(&body[..read], b"3\r\nab");
    assert!(is_pending(&mut downstream).await);
    client.write_all(b"c\r\n0\r\n\r\nGET /next").await.unwrap();
    let read = downstream.read(&mut body).await.unwrap();
    assert_eq!(&body[..read], b"c\r\n0\r\n\r\n");
    assert!(is_pending(&mut downstream).await);
    assert_eq!(downstream.held(), b"GET /next");
}

#[tokio::test]
async fn behind_malformed_chunks_nothing_is_handed_out() {
    let (mut downstream, client) = arrived(b"+3\r\nabc\r\n0\r\n\r\n").await;
    downstream.begin_request(HEAD.len(), Body::Chunked, false);
    assert!(!downstream.is_malformed());
    let error = downstream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(downstream.is_malformed());
    assert!(is_pending(&mut downstream).await);
    drop(client);
    assert_eq!(downstream.read(&mut [0; 64]).await.unwrap(), 0);
}

#[tokio::test]
async fn bytes_sent_early_wait_for_the_next_head() {
    let (mut downstream, mut client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(0), false);
    client.write_all(b"GET /early").await.unwrap();
    assert!(is_pending(&mut downstream).await);
    assert_eq!(downstream.held(), b"GET /early");
}

#[tokio::test]
async fn a_client_that_closes_is_noticed_while_its_request_runs() {
    let (mut downstream, client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(0), false);
    assert!(is_pending(&mut downstream).await);
    drop(client);
    assert_eq!(downstream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn held_bytes_are_bounded() {
    let (mut downstream, mut client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(0), false);
    client
        .write_all(&vec![b'x'; 4 * HELD_BYTES_MAX])
        .await
        .unwrap();
    assert!(is_pending(&mut downstream).await);
    assert!(downstream.held().len() < HELD_BYTES_MAX + FILL_BYTES);
}

#[tokio::test]
async fn a_tunnel_passes_everything() {
    let (mut downstream, mut client) = arrived(b"first").await;
    downstream.begin_request(HEAD.len(), Body::Sized(0), false);
    downstream.open_tunnel();
    client.write_all(b" second").await.unwrap();
    let mut bytes = [0; 12];
    downstream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"first second");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_every_wait() {
    let (mut downstream, _client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(10), false);
    downstream.set_deadline(Duration::from_millis(50));
    assert!(!downstream.is_overdue());
    let error = downstream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(downstream.is_overdue());
    // The answer that tells of it can still be written.
    downstream.write_all(b"HTTP/1.1 504").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_request_has_no_deadline_of_the_last() {
    let (mut downstream, _client) = arrived(b"").await;
    downstream.begin_request(HEAD.len(), Body::Sized(0), false);
    downstream.set_deadline(Duration::from_millis(50));
    assert!(downstream.read(&mut [0; 1]).await.is_err());
    downstream.begin_request(0, Body::Sized(0), false);
    assert!(!downstream.is_overdue());
    assert!(is_pending(&mut downstream).await);
}
