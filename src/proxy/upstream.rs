//! An endpoint's connection while it serves one attempt: HTTP/1 towards the endpoint.
//!
//! Writes a request's head and body, and reads the response piece by piece. Invariants: reading may be
//! dropped at any point and begun again, and nothing is lost; a response is over where its framing
//! says so, and one that breaks off before is an error; what can be read in two ways is one too; a
//! connection is given back for the next request only when both messages ended cleanly and nothing
//! else has arrived. Made and driven by `forward`.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use http::Method;
use pingora_core::protocols::Stream;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use crate::proxy::chunks::{Chunks, Malformed};
use crate::proxy::failure::TRY_TIMEOUT;

mod buffers;
pub(super) mod request;
mod response;

pub(super) use buffers::Buffers;
use response::Head;

/// A head that has not ended by then is no head.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// A head this long is parsed at each read, so that garbage is known early; a longer one only when
/// its end has come, so that one sent byte by byte costs no more than one sent whole.
const EAGER_BYTES: usize = 4096;

pub(super) struct Upstream {
    stream: Stream,
    buffers: Arc<Buffers>,
    /// Read, not yet consumed.
    held: BytesMut,
    /// Leading bytes of `held` that were handed out.
    given: usize,
    request: RequestFraming,
    response: Response,
    is_head_request: bool,
    /// The endpoint keeps the connection, as far as its response says.
    keeps: bool,
    timeouts: Timeouts,
}

/// How long one read and one write may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) read: Duration,
    pub(super) write: Duration,
    /// When the response's head must be there.
    pub(super) head_by: Option<Instant>,
}

/// How the body of the request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFraming {
    /// As it is: its length was announced, or there is none.
    Sized,
    Chunked,
    /// All of it has gone out.
    Over,
}

/// Where the response stands.
enum Response {
    Head,
    /// So many bytes of the body are to come.
    Sized(u64),
    Chunked(Chunks),
    UntilClose,
    Over,
}

/// The next piece of a response.
pub(super) enum Piece<'a> {
    /// Maybe an interim one, which another head follows.
    Head(Box<ResponseHeader>),
    Body(&'a [u8]),
    End,
}

impl Upstream {
    pub(super) fn new(
        stream: Stream,
        timeouts: Timeouts,
        method: &Method,
        buffers: &Arc<Buffers>,
    ) -> Self {
        Upstream {
            stream,
            buffers: Arc::clone(buffers),
            held: BytesMut::new(),
            given: 0,
            request: RequestFraming::Sized,
            response: Response::Head,
            is_head_request: method == Method::HEAD,
            keeps: false,
            timeouts,
        }
    }

    /// The connection for the next request, if it may serve one.
    pub(super) fn into_reusable(self) -> Option<Stream> {
        let both_over =
            matches!(self.response, Response::Over) && self.request == RequestFraming::Over;
        let nothing_else = self.held.len() == self.given;
        self.buffers.give(self.held);
        (both_over && nothing_else && self.keeps).then_some(self.stream)
    }

    // === the request ===

    pub(super) async fn write_head(&mut self, head: &[u8], framing: RequestFraming) -> Result<()> {
        self.request = framing;
        let (stream, time) = (&mut self.stream, self.timeouts.write);
        in_time(time, ErrorType::WriteTimedout, async {
            stream.write_all(head).await?;
            stream.flush().await
        })
        .await?
        .map_err(|error| broken(ErrorType::WriteError, "writing the request's head", error))
    }

    /// Writes some of the body; an empty piece says nothing.
    pub(super) async fn write_body(&mut self, bytes: &[u8]) -> Result<()> {
        let (stream, time) = (&mut self.stream, self.timeouts.write);
        let framing = self.request;
        in_time(time, ErrorType::WriteTimedout, async {
            match framing {
                _ if bytes.is_empty() => return Ok(()),
                RequestFraming::Chunked => {
                    let size = format!("{:x}\r\n", bytes.len());
                    stream.write_all(size.as_bytes()).await?;
                    stream.write_all(bytes).await?;
                    stream.write_all(b"\r\n").await?;
                }
                RequestFraming::Sized | RequestFraming::Over => stream.write_all(bytes).await?,
            }
            stream.flush().await
        })
        .await?
        .map_err(|error| broken(ErrorType::WriteError, "writing the request's body", error))
    }

    /// Ends the body.
    pub(super) async fn end_request(&mut self) -> Result<()> {
        if self.request == RequestFraming::Chunked {
            let (stream, time) = (&mut self.stream, self.timeouts.write);
            in_time(time, ErrorType::WriteTimedout, async {
                stream.write_all(b"0\r\n\r\n").await?;
                stream.flush().await
            })
            .await?
            .map_err(|error| broken(ErrorType::WriteError, "ending the request", error))?;
        }
        self.request = RequestFraming::Over;
        Ok(())
    }

    // === the response ===

    /// Waits for the next piece. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Piece<'_>> {
        self.held.advance(self.given);
        self.given = 0;
        if matches!(self.response, Response::Head) {
            let head = self.read_head().await?;
            return Ok(Piece::Head(Box::new(head)));
        }
        self.given = self.read_body().await?;
        if self.given == 0 {
            return Ok(Piece::End);
        }
        Ok(Piece::Body(&self.held[..self.given]))
    }

    /// What the last piece of the body was, until the next is waited for.
    pub(super) fn last(&self) -> &[u8] {
        &self.held[..self.given]
    }

    /// Whether the response has ended; asked after each piece, it spares a turn.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.response, Response::Over)
    }

    async fn read_head(&mut self) -> Result<ResponseHeader> {
        let mut seen = 0;
        loop {
            let is_worth_parsing =
                self.held.len() <= EAGER_BYTES || response::may_end(&self.held, seen);
            if is_worth_parsing
                && let Some(head) = response::parse(&mut self.held, self.is_head_request)?
            {
                return Ok(self.begin(head));
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err(malformed("a head without an end"));
            }
            seen = self.held.len();
            let read = match self.timeouts.head_by {
                Some(by) => timeout_at(by.into(), self.fill())
                    .await
                    .map_err(|_| Error::new_up(ErrorType::Custom(TRY_TIMEOUT)))?,
                None => self.fill().await,
            };
            if read? == 0 {
                return Err(closed("before its response"));
            }
        }
    }

    /// Goes on from a head to what it announces.
    fn begin(&mut self, head: Head) -> ResponseHeader {
        if let Some(body) = head.body {
            self.keeps = head.keeps;
            self.response = match body {
                response::Body::Sized(0) => Response::Over,
                response::Body::Sized(bytes) => Response::Sized(bytes),
                response::Body::Chunked => Response::Chunked(Chunks::default()),
                response::Body::UntilClose => Response::UntilClose,
            };
        }
        head.fields
    }

    /// How many leading bytes of `held` are the next of the body; 0: it is over.
    async fn read_body(&mut self) -> Result<usize> {
        loop {
            if let Some(length) = self.held_body()? {
                return Ok(length);
            }
            if self.fill().await? == 0 {
                if matches!(self.response, Response::UntilClose) {
                    self.response = Response::Over;
                    return Ok(0);
                }
                return Err(closed("within its response"));
            }
        }
    }

    /// Looks for body bytes in `held`; `None`: more must be read.
    fn held_body(&mut self) -> Result<Option<usize>> {
        let held = self.held.len();
        let found = match &mut self.response {
            Response::Head | Response::Over => Some(0),
            _ if held == 0 => None,
            Response::UntilClose => Some(held),
            Response::Sized(left) => {
                let length = held.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                if *left == 0 {
                    self.response = Response::Over;
                }
                Some(length)
            }
            Response::Chunked(chunks) => {
                let (framing, data) = chunks
                    .next_data(&self.held)
                    .map_err(|Malformed| malformed("a chunked body that cannot be read"))?;
                self.held.advance(framing);
                if chunks.is_over() {
                    self.response = Response::Over;
                    return Ok(Some(0));
                }
                (data > 0).then_some(data)
            }
        };
        Ok(found)
    }

    /// Reads more; 0: the endpoint closed.
    async fn fill(&mut self) -> Result<usize> {
        if self.held.is_empty() {
            self.buffers.give(std::mem::take(&mut self.held));
        }
        let time = self.timeouts.read;
        let read = poll_fn(|cx| self.poll_fill(cx));
        in_time(time, ErrorType::ReadTimedout, read)
            .await?
            .map_err(|error| broken(ErrorType::ReadError, "reading the response", error))
    }

    /// Reads into a buffer that is kept only if there was something to read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut fresh = self.buffers.take();
        let read = pin!(self.stream.read_buf(&mut fresh)).poll(cx);
        if self.held.is_empty() && matches!(read, Poll::Ready(Ok(1..))) {
            self.held = fresh;
        } else {
            self.held.extend_from_slice(&fresh);
            self.buffers.give(fresh);
        }
        read
    }
}

async fn in_time<T>(time: Duration, late: ErrorType, work: impl Future<Output = T>) -> Result<T> {
    timeout(time, work).await.map_err(|_| Error::new_up(late))
}

fn broken(etype: ErrorType, doing: &'static str, cause: io::Error) -> Box<Error> {
    Error::because(etype, doing, cause).into_up()
}

fn closed(when: &'static str) -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, when).into_up()
}

fn malformed(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}
