//! What one attempt told of its endpoint: the input of all that learns from traffic.
//!
//! The proxy makes one for each attempt, when its response begins or it fails, and hands it to
//! [`Lease::observe`](super::endpoint::Lease::observe). A response that breaks off after its
//! head has been observed already.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    pub answer: Answer<'a>,
    /// From the pick, or the last byte of the request's body if that came later, to the response's
    /// head or the failure; connecting included.
    pub took: Duration,
    /// Whether it tells how fast the endpoint is: not on routes that are not measured.
    pub is_measured: bool,
    /// A kept connection had just been closed by the endpoint: that says nothing of it.
    pub is_stale: bool,
    /// Attempts on the endpoint just after this one was picked, itself included.
    pub in_flight: u32,
    /// When it was made.
    pub now: Instant,
}

#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// A response has begun.
    Response(StatusCode, &'a HeaderMap),
    /// There is none; the word says why (the names of `proxy::failure::Outcome`).
    Failed(&'static str),
}

impl Answer<'_> {
    /// Whether the endpoint, or what stands before it, could not serve: no response, 502, 503, 504.
    pub fn is_gateway_failure(&self) -> bool {
        match self {
            Answer::Response(status, _) => matches!(status.as_u16(), 502..=504),
            Answer::Failed(_) => true,
        }
    }

    /// Whether there was no response, or one of 5xx.
    pub fn is_error(&self) -> bool {
        match self {
            Answer::Response(status, _) => status.is_server_error(),
            Answer::Failed(_) => true,
        }
    }
}
