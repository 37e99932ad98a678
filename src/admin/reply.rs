//! What the admin listener answers with, and how it reads what it is sent.
//!
//! Refusals of the API are JSON: `{"code": "…", "message": "…"}`. A body is bounded in bytes and time.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};

pub(super) type Reply = Response<Vec<u8>>;

/// Bytes of a request body; an order is a few names.
const BODY_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request to the API is refused: 4xx, with a word for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// A refusal on the wire.
#[derive(Debug, Deserialize, Serialize)]
pub struct Explanation {
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Refusal {
        let message = message.into();
        Refusal {
            status,
            code,
            message,
        }
    }

    pub(super) fn reply(self) -> Reply {
        let explanation = Explanation {
            code: self.code.to_owned(),
            message: self.message,
        };
        json(self.status, &explanation)
    }
}

/// A page in an operator's browser can make it send a form to any address, but JSON only where the
/// other side agrees, which this one never does.
pub(super) fn check_is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.map_or(&b""[..], HeaderValue::as_bytes);
    let kind = value.split(|byte| *byte == b';').next().unwrap_or(value);
    if kind.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    let message = "the body must be JSON, with Content-Type: application/json";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Refusal::new(status, "not_json", message))
}

/// The whole request body.
pub(super) async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Refusal> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read(session)).await;
    reading.unwrap_or_else(|_| {
        let message = "the body did not arrive in time";
        Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            message,
        ))
    })
}

async fn read(session: &mut ServerSession) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        let piece = session.read_request_body().await;
        let piece = piece.map_err(|_| Refusal::invalid("the body broke off"))?;
        let Some(piece) = piece else {
            return Ok(body);
        };
        if body.len() + piece.len() > BODY_MAX {
            let message = format!("the body is longer than {BODY_MAX} bytes");
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                message,
            ));
        }
        body.extend_from_slice(&piece);
    }
}

/// 405 with what is allowed.
pub(super) fn only(allowed: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("{allowed} only\n"));
    let allowed = HeaderValue::from_static(allowed);
    reply.headers_mut().insert(header::ALLOW, allowed);
    reply
}

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    let body = body.into().into_bytes();
    with(status, "text/plain; charset=utf-8", body)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => with(status, "application/json", body),
        Err(error) => {
            log::error!("an answer could not be written: {error}");
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

pub(super) fn with(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Reply {
    let length = body.len();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
