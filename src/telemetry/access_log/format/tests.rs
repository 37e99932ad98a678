//! What a line looks like, by table, and what no client can make of it.

use std::net::SocketAddr;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::telemetry::access_log::record::Timers;

fn line(format: fn(&Record<'_>, &mut Vec<u8>), record: &Record<'_>) -> String {
    let mut out = Vec::new();
    format(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn at(seconds: u64, millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)
}

fn retried<'a>() -> Record<'a> {
    Record {
        time: at(1_795_244_400, 7),
        client: Some("203.0.113.7:51234".parse::<SocketAddr>().unwrap()),
        request_id: "0192f0c1",
        method: "GET",
        host: b"shop.example.com",
        target: b"/api/cart?id=7",
        protocol: "HTTP/1.1",
        status: 200,
        received: 0,
        sent: 1024,
        referer: Some(b"https://shop.example.com/"),
        user_agent: Some(b"curl/8.5.0"),
        route: "api",
        pool: "web",
        timers: Timers {
            queue: Some(Duration::ZERO),
            connect: Some(Duration::from_micros(230)),
            first_byte: Some(Duration::from_micros(12_045)),
            total: Duration::from_nanos(1_012_100_999),
        },
        attempts: &[
            Attempt {
                endpoint: "10.0.0.1:9001",
                outcome: "connect_refused",
            },
            Attempt {
                endpoint: "10.0.0.2:9001",
                outcome: "ok",
            },
        ],
        termination: "ok",
        cache: "-",
        error: None,
    }
}

/// A head that was refused before it was understood.
fn refused<'a>() -> Record<'a> {
    Record {
        time: at(0, 0),
        client: None,
        request_id: "",
        method: "",
        host: b"",
        target: b"",
        protocol: "",
        status: 0,
        received: 0,
        sent: 0,
        referer: None,
        user_agent: None,
        route: "-",
        pool: "-",
        timers: Timers::default(),
        attempts: &[],
        termination: "bad_request",
        cache: "-",
        error: Some("no line break after 8192 bytes"),
    }
}

#[test]
fn json_has_every_field_in_order() {
    assert_eq!(
        line(json, &retried()),
        concat!(
            r#"{"time":"2026-11-21T07:00:00.007Z","request_id":"0192f0c1","client":"203.0.113.7","#,
            r#""method":"GET","host":"shop.example.com","target":"/api/cart?id=7","#,
            r#""protocol":"HTTP/1.1","status":200,"received":0,"sent":1024,"#,
            r#""route":"api","pool":"web","queue_ms":0.000,"connect_ms":0.230,"#,
            r#""first_byte_ms":12.045,"total_ms":1012.100,"#,
            r#""attempts":[{"endpoint":"10.0.0.1:9001","outcome":"connect_refused"},"#,
            r#"{"endpoint":"10.0.0.2:9001","outcome":"ok"}],"#,
            r#""termination":"ok","cache":"-","user_agent":"curl/8.5.0","#,
            r#""referer":"https://shop.example.com/","error":null}"#,
            "\n"
        )
    );
}

#[test]
fn json_is_null_where_the_request_did_not_get() {
    assert_eq!(
        line(json, &refused()),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","request_id":"","client":null,"#,
            r#""method":"","host":"","target":"","protocol":"","status":0,"received":0,"sent":0,"#,
            r#""route":"-","pool":"-","queue_ms":null,"connect_ms":null,"first_byte_ms":null,"#,
            r#""total_ms":0.000,"attempts":[],"termination":"bad_request","cache":"-","#,
            r#""user_agent":null,"referer":null,"error":"no line break after 8192 bytes"}"#,
            "\n"
        )
    );
}

#[test]
fn combined_is_what_nginx_prints() {
    assert_eq!(
        line(combined, &retried()),
        concat!(
            r#"203.0.113.7 - - [21/Nov/2026:07:00:00 +0000] "GET /api/cart?id=7 HTTP/1.1" 200 1024 "#,
            r#""https://shop.example.com/" "curl/8.5.0""#,
            "\n"
        )
    );
    assert_eq!(
        line(combined, &refused()),
        "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 000 0 \"-\" \"-\"\n"
    );
}

#[test]
fn an_address_is_printed_without_its_port() {
    for (client, expected) in [
        ("127.0.0.1:1", "127.0.0.1"),
        ("255.255.255.255:65535", "255.255.255.255"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
    ] {
        let mut out = Vec::new();
        address(&mut out, client.parse::<SocketAddr>().unwrap().ip());
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn a_duration_has_three_decimals() {
    for (time, expected) in [
        (Duration::from_nanos(999), "0.000"),
        (Duration::from_micros(1), "0.001"),
        (Duration::from_micros(10_020), "10.020"),
        (Duration::from_secs(3600), "3600000.000"),
        (Duration::MAX, "18446744073709551615.999"),
    ] {
        let mut out = Vec::new();
        millis(&mut out, Some(time));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn json_parses_whatever_the_client_sent(
        host: Vec<u8>, target: Vec<u8>, agent: Option<Vec<u8>>, referer: Option<Vec<u8>>,
        error: Option<String>, id: String, status: u16, sent: u64, nanos: u64,
    ) {
        let mut record = retried();
        (record.host, record.target, record.request_id) = (&host, &target, &id);
        (record.user_agent, record.referer) = (agent.as_deref(), referer.as_deref());
        (record.error, record.status, record.sent) = (error.as_deref(), status, sent);
        record.timers.total = Duration::from_nanos(nanos);
        let line = line(json, &record);
        prop_assert_eq!(line.chars().last(), Some('\n'));
        prop_assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(parsed.as_object().unwrap().len(), 22);
        prop_assert_eq!(parsed["sent"].as_u64(), Some(sent));
        prop_assert_eq!(parsed["request_id"].as_str(), Some(id.as_str()));
        prop_assert_eq!(parsed["user_agent"].is_null(), agent.is_none());
    }

    #[test]
    fn combined_has_six_quotes_and_one_line_break_whatever_the_client_sent(
        target: Vec<u8>, agent: Vec<u8>, referer: Vec<u8>,
    ) {
        let mut record = retried();
        record.target = &target;
        record.user_agent = Some(&agent);
        record.referer = Some(&referer);
        let line = line(combined, &record);
        prop_assert_eq!(line.matches('"').count(), 6);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
    }
}
