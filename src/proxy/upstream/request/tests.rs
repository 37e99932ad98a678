//! Heads as endpoints get them. What they are told of the client is tested with `policy::forwarded`,
//! and the whole through the real proxy.

use super::*;

/// A request with these fields.
fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/a?b=%20c", None).unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    request
}

#[test]
fn fields_go_out_as_the_client_spelled_them_in_its_order() {
    let request = request(&[("HOST", "a.example"), ("accept", "x"), ("ACCEPT", "y")]);
    let mut wire = Wire::begin(&Method::GET, &request);
    wire.copy(&request, |_| false);
    let framing = wire.frame(&request.headers);
    let text = String::from_utf8(wire.end()).unwrap();
    assert_eq!(
        text,
        "GET /a?b=%20c HTTP/1.1\r\nHOST: a.example\r\naccept: x\r\nACCEPT: y\r\n\r\n"
    );
    assert_eq!(framing, RequestFraming::Sized);
}

#[test]
fn a_body_of_unknown_length_goes_out_in_chunks() {
    let request = request(&[("Transfer-Encoding", "Chunked")]);
    let mut wire = Wire::begin(&Method::GET, &request);
    wire.copy(&request, is_hop_by_hop);
    assert_eq!(wire.frame(&request.headers), RequestFraming::Chunked);
    assert!(
        wire.end()
            .ends_with(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    );
}

#[test]
fn fields_of_the_clients_connection_end_here() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        assert!(is_hop_by_hop(&name.parse().unwrap()), "{name}");
    }
    assert!(!is_hop_by_hop(&header::HOST));
}

#[test]
fn a_client_names_further_fields_of_its_connection() {
    let names = |line| nominated(&request(&[("Connection", line)]).headers);
    assert_eq!(names("keep-alive, Close").unwrap(), [""; 0]);
    assert_eq!(names("close, X-A,x-b").unwrap(), ["x-a", "x-b"]);
}

#[test]
fn nobody_nominates_what_routing_or_trust_depends_on() {
    let refused = |line| nominated(&request(&[("Connection", line)]).headers).is_err();
    for line in [
        "Host",
        "close, X-Forwarded-For",
        "content-length",
        "\"x-a\"",
        ":path",
        "a b",
    ] {
        assert!(refused(line), "{line}");
    }
    assert!(refused("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"), "too many");
}
