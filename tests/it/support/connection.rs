//! One client connection: raw bytes out, responses in.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::client::{RequestBuilder, Response};
use super::eventually::patience;
use super::socket::Socket;
use super::wire::{Framing, Wire};

pub struct Connection {
    pub(super) wire: Wire,
    pub(super) host: String,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect(String),
    /// The connection ended before the first byte of a response.
    Ended(Ending),
    /// It ended within a head, or what came is not HTTP.
    Malformed(String),
    /// Patience ran out.
    TimedOut,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Closed,
    Reset,
}

impl Failure {
    pub(super) fn io(error: &io::Error) -> Failure {
        Failure::Ended(Ending::of(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(cause) => write!(f, "cannot connect: {cause}"),
            Failure::Ended(Ending::Closed) => f.write_str("closed without a response"),
            Failure::Ended(Ending::Reset) => f.write_str("reset without a response"),
            Failure::Malformed(text) => write!(f, "not a response: {text:?}"),
            Failure::TimedOut => f.write_str("no response within the patience"),
        }
    }
}

impl Ending {
    fn of(error: &io::Error) -> Ending {
        match error.kind() {
            // TLS without its close notification.
            io::ErrorKind::UnexpectedEof => Ending::Closed,
            _ => Ending::Reset,
        }
    }
}

impl Connection {
    /// A request for this connection; it is sent with `exchange`, or its `bytes` with `write`.
    pub fn request(&self, method: &str, target: &str) -> RequestBuilder {
        RequestBuilder::new(method, target, &self.host)
    }

    /// GET on this connection; panics without a response.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> impl Future<Output = Response> {
        let request = self.request("GET", target);
        let what = format!("GET {target} on an open connection");
        expect_response(what, self.exchange_owned(request))
    }

    async fn exchange_owned(&mut self, request: RequestBuilder) -> Result<Response, Failure> {
        self.exchange(&request).await
    }

    /// Sends the request and reads its response. A body that waits for a 100 is held back until it
    /// comes, and not sent at all when a final response comes instead.
    pub async fn exchange(&mut self, request: &RequestBuilder) -> Result<Response, Failure> {
        let head = request.head();
        if !request.expects_continue() {
            // A server may answer and close before it has read everything.
            let _ = self.wire.write_while_reading(&request.bytes()).await;
            return self.response_to(request.method()).await;
        }
        self.write(head.as_bytes()).await;
        let first = self.next_response(request.method()).await?;
        if first.status != 100 {
            return Ok(first);
        }
        let _ = self.wire.write_while_reading(request.body_bytes()).await;
        let mut response = self.response_to(request.method()).await?;
        response.interim.insert(0, 100);
        Ok(response)
    }

    /// Writes raw bytes. A server that no longer listens shows in what is read next.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.write(bytes.as_ref()).await;
    }

    /// Writes each byte in a packet of its own.
    pub async fn write_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.write([*byte]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Reads the response to a GET, POST …; interim responses are listed in it.
    pub async fn response(&mut self) -> Result<Response, Failure> {
        self.response_to("GET").await
    }

    /// Reads the response to this method; one to HEAD has no body.
    pub async fn response_to(&mut self, method: &str) -> Result<Response, Failure> {
        let mut interim = Vec::new();
        loop {
            let mut response = self.next_response(method).await?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            return Ok(response);
        }
    }

    /// The next response, be it an interim one.
    pub async fn next_response(&mut self, method: &str) -> Result<Response, Failure> {
        let read = timeout(patience(), self.read_response(method)).await;
        read.unwrap_or(Err(Failure::TimedOut))
    }

    async fn read_response(&mut self, method: &str) -> Result<Response, Failure> {
        let head = match self.wire.head().await {
            Ok(Some(head)) => head,
            ended if self.wire.buffer.is_empty() => {
                return Err(ended.map_or_else(
                    |error| Failure::io(&error),
                    |_| Failure::Ended(Ending::Closed),
                ));
            }
            _ => {
                let text = super::wire::latin1(&self.wire.buffer);
                return Err(Failure::Malformed(text));
            }
        };
        let mut response = Response::parse(head)?;
        let framing = match (method, response.status) {
            ("HEAD", _) | (_, 100..200 | 204 | 304) => Framing::Empty,
            _ => response.headers.framing().unwrap_or(Framing::UntilClose),
        };
        let body = self.wire.body(framing).await;
        response.body = body.bytes;
        response.complete = body.complete;
        response.trailers = body.trailers;
        Ok(response)
    }

    /// Reads exactly so many raw bytes, for what follows a 101; `None`: it ended before.
    pub async fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let read = timeout(patience(), self.wire.body(Framing::Sized(length))).await;
        let body = read.expect("raw bytes come within the patience");
        body.complete.then_some(body.bytes)
    }

    /// Reads whatever comes next, at least one byte; empty: it ended.
    pub async fn read_some(&mut self) -> Vec<u8> {
        if self.wire.buffer.is_empty() {
            let filled = timeout(patience(), self.wire.fill()).await;
            let _ = filled.expect("raw bytes come within the patience");
        }
        self.wire.buffer.split().to_vec()
    }

    /// Sends bytes and expects the same back: a tunnel works both ways.
    pub async fn echoes(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).await;
        self.read(bytes.as_ref().len()).await.as_deref() == Some(bytes.as_ref())
    }

    /// Waits until the server ends the connection, and says how. Bytes that come before are kept.
    pub async fn ending(&mut self) -> Ending {
        let ended = timeout(patience(), async {
            loop {
                match self.wire.fill().await {
                    Ok(0) => return Ending::Closed,
                    Ok(_) => {}
                    Err(error) => return Ending::of(&error),
                }
            }
        });
        ended.await.expect("the server ends the connection")
    }

    /// Whether the server has ended it by now; does not wait.
    pub async fn has_ended(&mut self) -> bool {
        // A poll that is ready at once: nothing to read is `Err` of the timeout.
        let read = timeout(Duration::ZERO, self.wire.fill()).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    /// Sends no more, but still reads.
    pub async fn finish_sending(&mut self) {
        let _ = self.wire.socket.shutdown().await;
    }

    /// Goes away with a reset, as a client that is killed with data unread.
    pub fn reset(self) {
        self.wire.socket.reset();
    }

    pub(super) fn new(socket: Socket, host: &str) -> Connection {
        Connection {
            wire: Wire::new(socket),
            host: host.to_owned(),
        }
    }
}

/// Panics where the scenario stands when there is no response.
#[track_caller]
pub(super) fn expect_response<F>(what: String, exchange: F) -> impl Future<Output = Response>
where
    F: Future<Output = Result<Response, Failure>>,
{
    let asked_at = std::panic::Location::caller();
    async move {
        match exchange.await {
            Ok(response) => response,
            Err(failure) => panic!("{what}: {failure} ({asked_at})"),
        }
    }
}
