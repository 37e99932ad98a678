//! Answering with a fixed response: a route's own, or a pool's when no endpoint can serve.

use http::{HeaderValue, StatusCode};

use super::super::model::Respond;
use super::super::path::At;
use super::super::raw::{pool, route as raw};
use super::super::report::Report;
use super::headers;
use super::keys::Keys;

const BODY_BYTES_MAX: usize = 1 << 20;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A pool's fallback, which is a 503 unless it says otherwise.
pub(super) fn fallback(raw: &pool::Fallback, at: &At<'_>, report: &mut Report<'_>) -> Respond {
    let unavailable = i64::from(StatusCode::SERVICE_UNAVAILABLE.as_u16());
    let raw = raw::Respond {
        status: raw.status.or(Some(unavailable)),
        body: raw.body.clone(),
        content_type: raw.content_type.clone(),
    };
    respond(&raw, at, report)
}

pub(super) fn respond(raw: &raw::Respond, at: &At<'_>, report: &mut Report<'_>) -> Respond {
    let status: Option<u16> = Keys::of(at, report).number("status", raw.status, 200..=599);
    let status = status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let given = raw.content_type.as_deref();
    let content_type = given.and_then(|text| headers::value(text, &at.key("content_type"), report));
    let body = raw.body.clone().unwrap_or_default();
    check_body(&body, status, &at.key("body"), report);
    Respond {
        status,
        content_type: content_type.unwrap_or(CONTENT_TYPE),
        body,
    }
}

fn check_body(body: &str, status: StatusCode, at: &At<'_>, report: &mut Report<'_>) {
    if body.len() > BODY_BYTES_MAX {
        report.problem(at, format!("{} bytes, expected at most 1MiB", body.len()));
    }
    if !body.is_empty() && matches!(status.as_u16(), 204 | 205 | 304) {
        report.problem(
            at,
            format!("a response with status {} has no body", status.as_u16()),
        );
    }
}
