//! The one table from a failure to what the client, the log and the metrics are told.
//!
//! A rejection is an answer, not an error: its name is the log word and the metric label, its status
//! and a short honest text go to the client, never the inner cause. Used by `proxy` for requests and
//! by `server::connection` for heads and connections that never became one.

use http::StatusCode;

use crate::cache::flights::Silence;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request cannot be read in one way only; the text says why.
    BadRequest(&'static str),
    MethodNotAllowed,
    /// The route does not serve this client's address.
    Forbidden,
    NoRoute,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// The body stopped arriving.
    BodyTimeout,
    BodyTooLarge,
    UriTooLong,
    HeadersTooLarge,
    TooManyConnections,
    TooManyConnectionsPerAddress,
    /// No endpoint of the pool is ready.
    NoEndpoint,
    /// Its pool is at its limit, and so is the queue. The seconds until that will be different, where known.
    QueueFull(Option<u32>),
    /// Its turn did not come in time; likewise.
    QueueTimeout(Option<u32>),
    /// All wait too long there, and this one was dropped for the others' sake; likewise.
    QueueDropped(Option<u32>),
    /// What the request takes fits into no endpoint.
    NoRoom,
    ConnectFailed,
    ConnectTimeout,
    /// The endpoint closed or reset before it had answered.
    UpstreamClosed,
    /// The endpoint's answer is not HTTP.
    UpstreamMalformed,
    UpstreamTimeout,
    /// The route's whole-request timeout.
    RequestTimeout,
    /// It is to be answered from the cache only, and cannot be (`only-if-cached`).
    NotCached,
    Internal,
}

/// Seconds a client is asked to wait after a 503: about the time in which probes notice a recovery.
pub const RETRY_AFTER: u32 = 5;

/// Every method but CONNECT is passed on; these are the ones in use.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Rejection {
    /// One of each kind.
    pub const ALL: [Rejection; 24] = [
        Rejection::BadRequest("malformed request"),
        Rejection::MethodNotAllowed,
        Rejection::Forbidden,
        Rejection::NoRoute,
        Rejection::HeaderTimeout,
        Rejection::BodyTimeout,
        Rejection::BodyTooLarge,
        Rejection::UriTooLong,
        Rejection::HeadersTooLarge,
        Rejection::TooManyConnections,
        Rejection::TooManyConnectionsPerAddress,
        Rejection::NoEndpoint,
        Rejection::QueueFull(None),
        Rejection::QueueTimeout(None),
        Rejection::QueueDropped(None),
        Rejection::NoRoom,
        Rejection::ConnectFailed,
        Rejection::ConnectTimeout,
        Rejection::UpstreamClosed,
        Rejection::UpstreamMalformed,
        Rejection::UpstreamTimeout,
        Rejection::RequestTimeout,
        Rejection::NotCached,
        Rejection::Internal,
    ];

    /// The word in log and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Rejection::BadRequest(_) => "bad_request",
            Rejection::MethodNotAllowed => "method_not_allowed",
            Rejection::Forbidden => "forbidden",
            Rejection::NoRoute => "no_route",
            Rejection::HeaderTimeout => "header_timeout",
            Rejection::BodyTimeout => "body_timeout",
            Rejection::BodyTooLarge => "body_too_large",
            Rejection::UriTooLong => "uri_too_long",
            Rejection::HeadersTooLarge => "headers_too_large",
            Rejection::TooManyConnections => "too_many_connections",
            Rejection::TooManyConnectionsPerAddress => "too_many_connections_per_address",
            Rejection::NoEndpoint => "no_endpoint",
            Rejection::QueueFull(_) => "queue_full",
            Rejection::QueueTimeout(_) => "queue_timeout",
            Rejection::QueueDropped(_) => "queue_dropped",
            Rejection::NoRoom => "no_room",
            Rejection::ConnectFailed => "connect_failed",
            Rejection::ConnectTimeout => "connect_timeout",
            Rejection::UpstreamClosed => "upstream_closed",
            Rejection::UpstreamMalformed => "upstream_malformed",
            Rejection::UpstreamTimeout => "upstream_timeout",
            Rejection::RequestTimeout => "request_timeout",
            Rejection::NotCached => "not_cached",
            Rejection::Internal => "internal",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Rejection::BadRequest(_) => StatusCode::BAD_REQUEST,
            Rejection::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::Forbidden => StatusCode::FORBIDDEN,
            Rejection::NoRoute => StatusCode::NOT_FOUND,
            Rejection::HeaderTimeout | Rejection::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Rejection::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::UriTooLong => StatusCode::URI_TOO_LONG,
            Rejection::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Rejection::TooManyConnections
            | Rejection::TooManyConnectionsPerAddress
            | Rejection::NoEndpoint
            | Rejection::QueueFull(_)
            | Rejection::QueueTimeout(_)
            | Rejection::QueueDropped(_)
            | Rejection::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Rejection::ConnectFailed | Rejection::UpstreamClosed | Rejection::UpstreamMalformed => {
                StatusCode::BAD_GATEWAY
            }
            Rejection::ConnectTimeout
            | Rejection::UpstreamTimeout
            | Rejection::RequestTimeout
            | Rejection::NotCached => StatusCode::GATEWAY_TIMEOUT,
            Rejection::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told, beside the status.
    pub fn text(self) -> &'static str {
        match self {
            Rejection::BadRequest(reason) => reason,
            Rejection::MethodNotAllowed => "this method is not served here",
            Rejection::Forbidden => "this address is not served here",
            Rejection::NoRoute => "no route leads from this host and path",
            Rejection::HeaderTimeout => "the request's head did not arrive in time",
            Rejection::BodyTimeout => "the request's body did not arrive in time",
            Rejection::BodyTooLarge => "the request's body is larger than allowed here",
            Rejection::UriTooLong => "the request target is longer than allowed",
            Rejection::HeadersTooLarge => "the request's head is larger than allowed",
            Rejection::TooManyConnections => "too many connections",
            Rejection::TooManyConnectionsPerAddress => "too many connections from this address",
            Rejection::NoEndpoint => "no endpoint is ready to serve this request",
            Rejection::QueueFull(_) => "too many requests wait already",
            Rejection::QueueTimeout(_) => "the request's turn did not come in time",
            Rejection::QueueDropped(_) => "all requests wait too long already",
            Rejection::NoRoom => "no endpoint has room for this request",
            Rejection::ConnectFailed => "the endpoint could not be reached",
            Rejection::ConnectTimeout => "the endpoint could not be reached in time",
            Rejection::UpstreamClosed => "the endpoint closed the connection before it answered",
            Rejection::UpstreamMalformed => "the endpoint's answer was not understood",
            Rejection::UpstreamTimeout => "the endpoint did not answer in time",
            Rejection::RequestTimeout => "the request was not finished in time",
            Rejection::NotCached => "nothing is stored that answers this request",
            Rejection::Internal => "internal error",
        }
    }

    /// What `Allow` says; only a 405 has one (RFC 9110 §15.5.6).
    pub fn allow(self) -> Option<&'static str> {
        (self.status() == StatusCode::METHOD_NOT_ALLOWED).then_some(ALLOWED)
    }

    /// Whether no endpoint could be asked: a pool's fallback stands in for these.
    pub fn is_unserved(self) -> bool {
        matches!(
            self,
            Rejection::NoEndpoint | Rejection::ConnectFailed | Rejection::ConnectTimeout
        )
    }

    /// Whether it is no answer because the pool or its endpoints are in trouble, so that what is stored may
    /// stand in.
    pub fn is_upstreams(self) -> bool {
        self.is_unserved()
            || matches!(
                self,
                Rejection::QueueFull(_)
                    | Rejection::QueueTimeout(_)
                    | Rejection::QueueDropped(_)
                    | Rejection::NoRoom
                    | Rejection::UpstreamClosed
                    | Rejection::UpstreamMalformed
                    | Rejection::UpstreamTimeout
            )
    }

    /// Whether others who ask for the same would fail so too. Not where an endpoint broke off: it may be
    /// what this request says that it cannot bear; nor a queue, where each has a place of its own.
    pub fn silence(self) -> Option<Silence> {
        let mut kinds = Silence::ALL.into_iter();
        kinds.find(|silence| Rejection::from(*silence) == self)
    }

    /// Seconds for `Retry-After`; only a 503 has one.
    pub fn retry_after(self) -> Option<u32> {
        if let Rejection::QueueFull(Some(seconds))
        | Rejection::QueueTimeout(Some(seconds))
        | Rejection::QueueDropped(Some(seconds)) = self
        {
            return Some(seconds);
        }
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER)
    }

    /// The error body, in the form the client asked for, and its `Content-Type`.
    pub fn body(self, json: bool, request_id: &str) -> (String, &'static str) {
        let (status, text) = (self.status(), self.text());
        if json {
            let (code, name) = (status.as_u16(), self.name());
            let body = format!(
                "{{\"status\":{code},\"reason\":\"{name}\",\"detail\":\"{text}\",\"request_id\":\"{request_id}\"}}\n"
            );
            return (body, "application/json");
        }
        (
            format!("{status}: {text}\nrequest id {request_id}\n"),
            "text/plain; charset=utf-8",
        )
    }
}

impl From<Silence> for Rejection {
    fn from(silence: Silence) -> Rejection {
        match silence {
            Silence::NoEndpoint => Rejection::NoEndpoint,
            Silence::ConnectFailed => Rejection::ConnectFailed,
            Silence::ConnectTimeout => Rejection::ConnectTimeout,
            Silence::Timeout => Rejection::UpstreamTimeout,
        }
    }
}

/// Whether an `Accept` value asks for JSON rather than text. No `q` arithmetic: a client that names
/// JSON reads it.
pub fn accepts_json(accept: Option<&[u8]>) -> bool {
    accept.is_some_and(|accept| {
        accept
            .split(|&byte| byte == b',')
            .map(|range| range.split(|&byte| byte == b';').next().unwrap_or_default())
            .any(|range| {
                let range = range.trim_ascii();
                range.eq_ignore_ascii_case(b"application/json") || range.ends_with(b"+json")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_its_own_name_and_an_error_status() {
        let names: std::collections::HashSet<_> = Rejection::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Rejection::ALL.len());
        for rejection in Rejection::ALL {
            let status = rejection.status();
            assert!(status.is_client_error() || status.is_server_error());
            assert_eq!(rejection.retry_after().is_some(), status.as_u16() == 503);
            assert_eq!(rejection.allow().is_some(), status.as_u16() == 405);
        }
    }

    #[test]
    fn the_body_is_valid_in_both_forms() {
        for rejection in Rejection::ALL {
            let (json, kind) = rejection.body(true, "abc");
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["status"], rejection.status().as_u16());
            assert_eq!(value["reason"], rejection.name());
            assert_eq!(kind, "application/json");
            let (text, _) = rejection.body(false, "abc");
            assert!(text.contains(rejection.text()) && text.contains("request id abc"));
        }
    }

    #[test]
    fn json_goes_to_those_who_name_it() {
        assert!(accepts_json(Some(b"text/html, Application/JSON;q=0.5")));
        assert!(accepts_json(Some(b"application/problem+json")));
        assert!(!accepts_json(Some(b"text/html, */*")));
        assert!(!accepts_json(None));
    }
}
