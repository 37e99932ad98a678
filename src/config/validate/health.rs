//! The active probes of one pool.

use http::{HeaderName, HeaderValue, Method};

use super::super::model::{Health, HttpProbe, Initial, Probe};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::TextOr;
use super::super::report::Report;
use super::keys::{Keys, hours, millis, minutes, seconds};
use super::statuses::statuses;
use super::{headers, pattern, rule};

const DEFAULT_STATUSES: (u16, u16) = (200, 299);

pub(super) fn health(raw: &raw::Health, at: &At<'_>, report: &mut Report<'_>) -> Option<Health> {
    let probe = probe(raw, at, report);
    let mut keys = Keys::of(at, report);
    let interval = keys
        .duration("interval", raw.interval.as_ref(), millis(100)..=hours(1))
        .unwrap_or(seconds(2));
    let fast_interval = keys.duration(
        "fast_interval",
        raw.fast_interval.as_ref(),
        millis(100)..=interval,
    );
    let health = Health {
        probe: probe?,
        port: keys.number("port", raw.port, 1..=65535),
        interval,
        timeout: keys
            .duration("timeout", raw.timeout.as_ref(), millis(10)..=minutes(5))
            .unwrap_or(seconds(1)),
        fast_interval: fast_interval.unwrap_or_else(|| interval.min(millis(500))),
        rise: keys.number("rise", raw.rise, 1..=100).unwrap_or(2),
        fall: keys.number("fall", raw.fall, 1..=100).unwrap_or(3),
        initial: match raw.initial {
            None | Some(raw::Initial::Healthy) => Initial::Healthy,
            Some(raw::Initial::Pending) => Initial::Pending,
        },
    };
    Some(health)
}

fn probe(raw: &raw::Health, at: &At<'_>, report: &mut Report<'_>) -> Option<Probe> {
    let at_http = at.key("http");
    match (&raw.http, raw.tcp) {
        (Some(_), Some(_)) => {
            report.problem_at_key(at, "has both http and tcp, expected one of them", None);
            None
        }
        (None, Some(true)) => Some(Probe::Tcp),
        (None, Some(false)) => {
            report.problem(
                &at.key("tcp"),
                "false is not allowed, expected true, or no health at all",
            );
            None
        }
        (Some(TextOr::Text(path)), None) => {
            let path = probe_path(path, &at_http, report);
            Some(Probe::Http(http_probe(
                &raw::HttpProbe::default(),
                path?,
                &at_http,
                report,
            )))
        }
        (Some(TextOr::Map(raw)), None) => {
            let at_path = at_http.key("path");
            if raw.path.is_none() {
                report.missing(&at_path, "missing, expected a path such as \"/healthz\"");
            }
            let path = raw
                .path
                .as_deref()
                .and_then(|path| probe_path(path, &at_path, report));
            let probe = http_probe(raw, path.unwrap_or_default(), &at_http, report);
            Some(Probe::Http(probe))
        }
        (None, None) => {
            if !report.was_reported(&at_http) && !report.was_reported(&at.key("tcp")) {
                report.problem_at_key(at, "has neither http nor tcp, expected one of them", None);
            }
            None
        }
    }
}

fn http_probe(
    raw: &raw::HttpProbe,
    path: String,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> HttpProbe {
    let method = raw
        .method
        .as_deref()
        .and_then(|method| rule::method(method, &at.key("method"), report));
    let method = method.unwrap_or(Method::GET);
    let host = raw
        .host
        .as_deref()
        .filter(|host| is_host_header(host, &at.key("host"), report));
    let at_body = at.key("body");
    if raw.body.is_some() && method == Method::HEAD {
        report.problem(
            &at_body,
            "a response to HEAD has no body, expected another method",
        );
    }
    HttpProbe {
        method,
        path,
        host: host.map(str::to_string),
        headers: probe_headers(raw, &at.key("headers"), report),
        statuses: match &raw.status {
            Some(status) => statuses(status, &(100..=599), &at.key("status"), report),
            None => vec![DEFAULT_STATUSES],
        },
        body: raw
            .body
            .as_deref()
            .and_then(|body| pattern::regex(body, &at_body, report)),
    }
}

pub(super) fn probe_path(path: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let valid = path.starts_with('/')
        && !path.contains('#')
        && path.parse::<http::uri::PathAndQuery>().is_ok();
    if !valid {
        report.problem(
            at,
            format!(
                "{} is not a path, expected one such as \"/healthz\"",
                quoted(path)
            ),
        );
        return None;
    }
    Some(path.to_string())
}

/// A name or address, with or without port.
fn is_host_header(host: &str, at: &At<'_>, report: &mut Report<'_>) -> bool {
    let valid = host
        .parse::<http::uri::Authority>()
        .is_ok_and(|host| !host.as_str().contains('@'));
    if !valid {
        report.problem(
            at,
            format!("{} is not a host, expected name or name:port", quoted(host)),
        );
    }
    valid
}

fn probe_headers(
    raw: &raw::HttpProbe,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let fields = headers::fields(raw.headers.as_ref(), at, report);
    for name in raw
        .headers
        .iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| name.eq_ignore_ascii_case("host"))
    {
        report.problem_at_key(
            &at.key(name),
            "host has a key of its own",
            "write it beside path".to_string(),
        );
    }
    fields
}
