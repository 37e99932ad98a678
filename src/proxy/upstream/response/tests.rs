//! Responses of all kinds of servers.

use super::*;

fn parsed(head: &str) -> Head {
    let mut buffer = BytesMut::from(head);
    let head = parse(&mut buffer, false).expect("a response");
    assert!(buffer.is_empty(), "all of it is the head");
    head.expect("a whole head")
}

fn refused(head: &str) -> bool {
    parse(&mut BytesMut::from(head), false).is_err()
}

#[test]
fn what_follows_a_head_stays_in_the_buffer() {
    let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    let head = parse(&mut buffer, false).unwrap().unwrap();
    assert_eq!(head.body, Some(Body::Sized(4)));
    assert_eq!(&buffer[..], b"body");
}

#[test]
fn half_a_head_is_left_for_later() {
    let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Le");
    assert!(parse(&mut buffer, false).unwrap().is_none());
    assert_eq!(buffer.len(), 27);
}

#[test]
fn the_end_of_a_head_is_found_across_two_reads() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    for seen in 0..head.len() {
        assert!(may_end(head, seen), "{seen} bytes seen");
    }
    assert!(!may_end(&head[..18], 0));
    assert!(may_end(b"HTTP/1.1 200 OK\n\n", 16));
}

#[test]
fn the_framing_follows_the_rfc() {
    use Body::*;
    for (head, body, keeps) in [
        ("200 OK\r\nContent-Length: 4", Sized(4), true),
        (
            "200 OK\r\nContent-Length: 4\r\nContent-Length: 4",
            Sized(4),
            true,
        ),
        ("200 OK\r\nContent-Length: 4, 4", Sized(4), true),
        ("200 OK\r\nTransfer-Encoding: chunked", Chunked, true),
        ("200 OK\r\nTransfer-Encoding: gzip, Chunked", Chunked, true),
        (
            "200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            Chunked,
            true,
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked, gzip",
            UntilClose,
            false,
        ),
        ("200 OK\r\nServer: old", UntilClose, false),
        ("204 No Content\r\nContent-Length: 4", Sized(0), true),
        ("304 Not Modified\r\nContent-Length: 4", Sized(0), true),
        (
            "200 OK\r\nContent-Length: 4\r\nConnection: close",
            Sized(4),
            false,
        ),
        (
            "200 OK\r\nContent-Length: 4\r\nConnection: x-a, Close",
            Sized(4),
            false,
        ),
        (
            "200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
            Chunked,
            false,
        ),
    ] {
        let head = parsed(&format!("HTTP/1.1 {head}\r\n\r\n"));
        assert_eq!(
            (head.body, head.keeps),
            (Some(body), keeps),
            "{:?}",
            head.fields
        );
    }
}

#[test]
fn http_1_0_keeps_a_connection_only_if_it_says_so() {
    let keeps = |fields: &str| parsed(&format!("HTTP/1.0 200 OK\r\n{fields}\r\n\r\n")).keeps;
    assert!(!keeps("Content-Length: 4"));
    assert!(keeps("Content-Length: 4\r\nConnection: Keep-Alive"));
    assert!(!keeps(
        "Transfer-Encoding: chunked\r\nConnection: keep-alive"
    ));
}

#[test]
fn an_answer_to_head_has_no_body() {
    let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    let head = parse(&mut buffer, true).unwrap().unwrap();
    assert_eq!(head.body, Some(Body::Sized(0)));
    assert_eq!(head.fields.headers[header::CONTENT_LENGTH], "4");
}

#[test]
fn an_interim_response_announces_no_body() {
    let head = parsed("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    assert_eq!(head.body, None);
}

#[test]
fn only_a_connection_field_that_names_others_is_kept() {
    let has = |line: &str| {
        let head = parsed(&format!("HTTP/1.1 204 None\r\nConnection: {line}\r\n\r\n"));
        head.fields.headers.contains_key(header::CONNECTION)
    };
    assert!(!has("keep-alive"));
    assert!(!has("Keep-Alive, close"));
    assert!(has("close, X-Hop"));
}

#[test]
fn old_spellings_are_understood() {
    let head =
        parsed("HTTP/1.1 200\r\nX-Folded: a\r\n b\r\nX-Spaced : c\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(head.fields.headers["x-folded"], "a b");
    assert_eq!(head.fields.headers["x-spaced"], "c");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for fields in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: ",
        "Content-Length: 4,",
        "Content-Length: 18446744073709551616",
        "oops",
    ] {
        assert!(
            refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")),
            "{fields}"
        );
    }
    for head in [
        "SSH-2.0-x\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 000 No\r\n\r\n",
        "\0\0",
    ] {
        assert!(refused(head), "{head}");
    }
}
