//! The two shapes of an access-log line.
//!
//! Hand-written on purpose: a line costs a few copies, where a serialiser would cost as much as the
//! rest of the request's bookkeeping. Every value that is not a number or our own word is escaped,
//! so a line is always one line, and a JSON line always parses. Called by `AccessLog::write`.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::escape;
use super::record::{Attempt, Record};
use crate::telemetry::timestamp::Timestamp;

/// Appends one JSON object and a line break. A part that the request did not reach is `null`.
pub fn json(record: &Record<'_>, out: &mut Vec<u8>) {
    let (timestamp, fraction) = Timestamp::of(record.time);
    text(out, r#"{"time":""#);
    out.extend_from_slice(&timestamp.rfc3339);
    out.push(b'.');
    three_digits(out, u64::from(fraction.subsec_millis()));
    text(out, r#"Z","request_id":"#);
    escape::json(record.request_id.as_bytes(), out);
    text(out, r#","client":"#);
    match record.client {
        Some(client) => {
            out.push(b'"');
            address(out, client.ip());
            out.push(b'"');
        }
        None => text(out, "null"),
    }
    json_request(record, out);
    json_upstream(record, out);
    text(out, r#","user_agent":"#);
    json_optional(record.user_agent, out);
    text(out, r#","referer":"#);
    json_optional(record.referer, out);
    text(out, r#","error":"#);
    json_optional(record.error.map(str::as_bytes), out);
    text(out, "}\n");
}

/// What was asked and what was answered.
fn json_request(record: &Record<'_>, out: &mut Vec<u8>) {
    text(out, r#","method":"#);
    escape::json(record.method.as_bytes(), out);
    text(out, r#","host":"#);
    escape::json(record.host, out);
    text(out, r#","target":"#);
    escape::json(record.target, out);
    text(out, r#","protocol":"#);
    escape::json(record.protocol.as_bytes(), out);
    text(out, r#","status":"#);
    number(out, u64::from(record.status));
    text(out, r#","received":"#);
    number(out, record.received);
    text(out, r#","sent":"#);
    number(out, record.sent);
}

/// Which way it went, how long each part took and how it ended.
fn json_upstream(record: &Record<'_>, out: &mut Vec<u8>) {
    text(out, r#","route":"#);
    escape::json(record.route.as_bytes(), out);
    text(out, r#","pool":"#);
    escape::json(record.pool.as_bytes(), out);
    text(out, r#","queue_ms":"#);
    millis(out, record.timers.queue);
    text(out, r#","connect_ms":"#);
    millis(out, record.timers.connect);
    text(out, r#","first_byte_ms":"#);
    millis(out, record.timers.first_byte);
    text(out, r#","total_ms":"#);
    millis(out, Some(record.timers.total));
    text(out, r#","attempts":"#);
    json_attempts(record.attempts, out);
    text(out, r#","termination":"#);
    escape::json(record.termination.as_bytes(), out);
    text(out, r#","cache":"#);
    escape::json(record.cache.as_bytes(), out);
}

fn json_attempts(attempts: &[Attempt<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, attempt) in attempts.iter().enumerate() {
        let opening = if index == 0 {
            r#"{"endpoint":"#
        } else {
            r#",{"endpoint":"#
        };
        text(out, opening);
        escape::json(attempt.endpoint.as_bytes(), out);
        text(out, r#","outcome":"#);
        escape::json(attempt.outcome.as_bytes(), out);
        out.push(b'}');
    }
    out.push(b']');
}

fn json_optional(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => escape::json(value, out),
        None => text(out, "null"),
    }
}

/// Appends nginx's and Apache's `combined` and a line break. What is not known is `-`.
pub fn combined(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(client) => address(out, client.ip()),
        None => out.push(b'-'),
    }
    text(out, " - - [");
    let (timestamp, _) = Timestamp::of(record.time);
    out.extend_from_slice(&timestamp.common);
    text(out, "] \"");
    if record.method.is_empty() {
        out.push(b'-');
    } else {
        escape::nginx(record.method.as_bytes(), out);
        out.push(b' ');
        escape::nginx(record.target, out);
        out.push(b' ');
        escape::nginx(record.protocol.as_bytes(), out);
    }
    text(out, "\" ");
    three_digits(out, u64::from(record.status));
    out.push(b' ');
    number(out, record.sent);
    text(out, " \"");
    escape::nginx(record.referer.unwrap_or(b"-"), out);
    text(out, "\" \"");
    escape::nginx(record.user_agent.unwrap_or(b"-"), out);
    text(out, "\"\n");
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: u64) {
    text(out, itoa::Buffer::new().format(number));
}

fn three_digits(out: &mut Vec<u8>, below_1000: u64) {
    let digit = |n: u64| b'0' + (n % 10) as u8;
    let n = below_1000;
    out.extend_from_slice(&[digit(n / 100), digit(n / 10), digit(n)]);
}

/// Milliseconds with three decimals.
fn millis(out: &mut Vec<u8>, time: Option<Duration>) {
    let Some(time) = time else {
        return text(out, "null");
    };
    number(out, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    out.push(b'.');
    three_digits(out, u64::from(time.subsec_micros() % 1000));
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        // Writing into memory cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

#[cfg(test)]
mod tests;
