//! What is known of one request when it is over; the access log's formats print it.
//!
//! Filled by `proxy` and, for requests refused before they were parsed, by `server::connection`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

pub struct Record<'a> {
    /// When the request's head had been read.
    pub time: SystemTime,
    /// The client: the connection's peer, or whom a trusted proxy names.
    pub client: Option<SocketAddr>,
    pub request_id: &'a str,
    /// Empty where the head was refused before it was understood; so are host and target.
    pub method: &'a str,
    pub host: &'a [u8],
    /// The request target as it was received.
    pub target: &'a [u8],
    /// `HTTP/1.1`.
    pub protocol: &'a str,
    /// 0: no response head was sent.
    pub status: u16,
    /// Body bytes.
    pub received: u64,
    pub sent: u64,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    /// Names; `-` where there is none.
    pub route: &'a str,
    pub pool: &'a str,
    pub timers: Timers,
    pub attempts: &'a [Attempt<'a>],
    /// Why it ended: `ok`, a rejection's name, `client_closed`, `upstream_reset` …
    pub termination: &'static str,
    /// The cache's verdict; `-` while a route has no cache.
    pub cache: &'static str,
    /// The cause of a failure, for the operator only.
    pub error: Option<&'a str>,
}

/// How long the parts of a request took; `None`: it did not get there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers {
    pub queue: Option<Duration>,
    /// Connect of the last attempt; zero for a reused connection.
    pub connect: Option<Duration>,
    /// From the request's head to the first byte of the endpoint's response.
    pub first_byte: Option<Duration>,
    pub total: Duration,
}

/// One try at one endpoint.
pub struct Attempt<'a> {
    pub endpoint: &'a str,
    /// `ok`, `connect_refused`, `connect_timeout`, `reset`, `timeout` …
    pub outcome: &'static str,
}
