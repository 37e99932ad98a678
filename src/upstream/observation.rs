//! What one attempt told of its endpoint: the input of all that learns from traffic.
//!
//! The proxy makes one for each attempt, when its response begins or it fails, and hands it to
//! [`Endpoint::observe`](super::endpoint::Endpoint::observe). A response that breaks off after its
//! head has been observed already.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    pub answer: Answer<'a>,
    /// From the pick, or the last byte of the request's body if that came later, to the response's
    /// head or the failure; connecting included.
    pub took: Duration,
    /// Whether it tells how fast the endpoint is: not on routes that are not measured, nor where a
    /// kept connection was just closed, which is nobody's fault.
    pub is_measured: bool,
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
