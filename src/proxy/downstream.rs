//! The client's connection as Pingora sees it: it ends each request's bytes where the request ends.
//!
//! Invariants: Pingora never reads a byte beyond the request it was given (what a client sends early
//! is held back for the next head, so pipelining works and no request skips the strict head check);
//! while a request runs, the client's close is noticed, and no part of a response waits for the next;
//! an idle connection holds no read buffer; once a request's deadline has passed, or the process has
//! cut the connection, every read and every write that waits fails. `server::connection` makes it and
//! feeds heads from it; `proxy` reaches it through the session to set a deadline or open a tunnel.

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::HeaderValue;
use log::debug;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::proxy::chunks::{Chunks, Malformed};
use crate::proxy::cutoff::Cutoff;

mod digests;
mod outgoing;
mod reset;

use outgoing::{HeadEdits, Outgoing};

/// A head mostly fits; a larger one grows the buffer.
const FILL_BYTES: usize = 4096;
/// Room for a read of a chunked body.
const CHUNKED_FILL_BYTES: usize = 16 * 1024;
/// Early bytes of following requests that are held while one runs; more stay in the socket.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// A client that was refused may take this long to read why …
pub const LINGER: Duration = Duration::from_millis(500);
/// … and may send this much more meanwhile: closing with bytes unread would reset the connection and
/// could take the answer with it.
pub const LINGER_BYTES: usize = 256 * 1024;
/// `deadline` when there is none.
const NEVER: u64 = u64::MAX;

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Sized(u64),
    Chunked,
}

/// What of the running request's body is not yet handed out.
#[derive(Debug)]
enum Left {
    Bytes(u64),
    /// The first `followed` held bytes belong to it.
    Chunked {
        chunks: Chunks,
        followed: usize,
    },
    /// The chunks were malformed; so many bytes have been dropped since.
    Refused {
        dropped: usize,
    },
}

#[derive(Debug)]
pub struct Downstream {
    stream: Stream,
    /// Read from the socket, not yet handed out.
    held: BytesMut,
    left: Left,
    outgoing: Outgoing,
    /// Some of the response may still wait in a buffer.
    unflushed: bool,
    /// The running request's head has a field name with an underscore.
    pub underscores: bool,
    /// Set through a shared reference, while Pingora owns the session.
    tunnel: AtomicBool,
    /// Likewise: reads hold what comes and end when the client closes.
    holding: AtomicBool,
    /// Likewise: what the head that is written next has of its own.
    head: Mutex<HeadEdits>,
    /// Milliseconds after `opened` at which the running request is over.
    deadline: AtomicU64,
    opened: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    cutoff: Arc<Cutoff>,
}

impl Downstream {
    pub fn new(stream: Stream, cutoff: Arc<Cutoff>) -> Self {
        Downstream {
            stream,
            held: BytesMut::new(),
            left: Left::Bytes(0),
            outgoing: Outgoing::default(),
            unflushed: false,
            underscores: false,
            tunnel: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            head: Mutex::default(),
            deadline: AtomicU64::new(NEVER),
            opened: Instant::now(),
            timer: None,
            cutoff,
        }
    }

    /// The connection under a Pingora session, unless it is not one of ours (a subrequest).
    pub fn of(stream: Option<&Stream>) -> Option<&Downstream> {
        (**stream?).as_any().downcast_ref()
    }

    /// Takes the connection back when Pingora is done with a request.
    pub fn reclaim(stream: Stream) -> Option<Box<Downstream>> {
        let any: Box<dyn Any> = stream.into_any();
        let mut downstream: Box<Downstream> = any.downcast().ok()?;
        if downstream.held.is_empty() {
            downstream.held = BytesMut::new();
        }
        Some(downstream)
    }

    /// What has arrived and belongs to no request yet.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Waits for more bytes and adds them to what is held. 0: the client closed.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            self.cutoff.check(cx)?;
            self.poll_fill(cx)
        })
        .await
    }

    /// The first `length` held bytes, for Pingora to parse; reading goes on with this body, then
    /// stops.
    pub fn begin_request(&mut self, length: usize, body: Body, underscores: bool) -> BytesMut {
        self.left = match body {
            Body::Sized(bytes) => Left::Bytes(bytes),
            Body::Chunked => Left::Chunked {
                chunks: Chunks::default(),
                followed: 0,
            },
        };
        self.underscores = underscores;
        self.deadline = AtomicU64::new(NEVER);
        self.timer = None;
        *self.head.get_mut() = HeadEdits::default();
        if length == self.held.len() {
            // The common case keeps the buffer whole: splitting it would make it a shared one.
            std::mem::take(&mut self.held)
        } else {
            self.held.split_to(length)
        }
    }

    /// Drops leading bytes that belong to no request (RFC 9112 §2.2).
    pub fn skip(&mut self, length: usize) {
        self.held.advance(length);
    }

    /// From `time_left` on, every read and write of the running request fails.
    pub fn set_deadline(&self, time_left: Duration) {
        let time_left = u64::try_from(time_left.as_millis()).unwrap_or(NEVER);
        let at = self.elapsed_ms().saturating_add(time_left);
        self.deadline.store(at, Ordering::Release);
    }

    /// From now on all bytes pass: an upgrade was accepted.
    pub fn open_tunnel(&self) {
        self.tunnel.store(true, Ordering::Release);
        self.deadline.store(NEVER, Ordering::Release);
    }

    /// While set, every read of the running request waits for the client to close, and holds what it
    /// sends; nothing is lost. Beyond 64 KiB it stays in the socket, and a close behind it is not seen.
    pub fn hold(&self, holding: bool) {
        self.holding.store(holding, Ordering::Release);
    }

    /// Whole lines that go out at the end of the head which is written next, all at once.
    pub fn add_fields(&self, lines: Vec<u8>) {
        self.head.lock().fields = lines;
    }

    /// The head that is written next has this `Date`, where Pingora would write its own.
    pub fn keep_date(&self, date: HeaderValue) {
        self.head.lock().date = Some(date);
    }

    /// From now on closing the connection resets it: what was sent must not look whole.
    pub fn reset_on_close(&self) {
        if let Err(error) = reset::on_close(self.stream.id()) {
            // The client sees an ordinary end, as it would from any proxy that cannot do this.
            debug!("a broken response ends like a whole one: {error}");
        }
    }

    /// The deadline has ended the running request.
    pub fn is_overdue(&self) -> bool {
        self.deadline.load(Ordering::Acquire) <= self.elapsed_ms()
    }

    /// The process has ended the running request.
    pub fn is_cut(&self) -> bool {
        self.cutoff.is_cut()
    }

    /// Returns when the process ends the running request: for waits that do not read from the client.
    pub async fn until_cut(&self) {
        poll_fn(|cx| self.cutoff.poll(cx)).await;
    }

    /// The running request's body cannot be read in one way only.
    pub fn is_malformed(&self) -> bool {
        matches!(self.left, Left::Refused { .. })
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER)
    }

    fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }

    /// How many bytes may be handed out.
    fn readable(&self) -> usize {
        match self.left {
            _ if self.is_tunnel() => usize::MAX,
            Left::Bytes(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            Left::Chunked { followed, .. } => followed,
            Left::Refused { .. } => 0,
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.held.capacity() == self.held.len() {
            return self.poll_fill_fresh(cx);
        }
        poll_read_into(&mut self.stream, cx, &mut self.held)
    }

    /// Reads into a buffer that is kept only if there was something to read.
    fn poll_fill_fresh(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut fresh = BytesMut::with_capacity(FILL_BYTES);
        let read = ready!(poll_read_into(&mut self.stream, cx, &mut fresh))?;
        if self.held.is_empty() {
            self.held = fresh;
        } else {
            self.held.extend_from_slice(&fresh);
        }
        Poll::Ready(Ok(read))
    }

    /// The request has no bytes left, or they are not wanted yet: waits for the client to close, and holds what it sends early.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < HELD_BYTES_MAX {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        // Nothing needs to wake us: the end of the response ends this wait.
        Poll::Pending
    }

    /// Follows a chunked body to bytes that can be handed out, to its end, or to the client's close.
    fn poll_follow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            self.held.reserve(CHUNKED_FILL_BYTES);
            ready!(self.poll_fill(cx))?;
        }
        let Left::Chunked { chunks, followed } = &mut self.left else {
            return Poll::Ready(Ok(()));
        };
        match chunks.follow(&self.held) {
            Ok(length) => {
                *followed = length;
                Poll::Ready(Ok(()))
            }
            Err(Malformed) => {
                self.left = Left::Refused { dropped: 0 };
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Drops what a client still sends that was refused, so that it can read why.
    fn poll_drop_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Left::Refused { dropped } = &mut self.left
            && *dropped < LINGER_BYTES
        {
            *dropped += self.held.len();
            self.held.clear();
            if ready!(self.poll_fill(cx))? == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn hand_out_held(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.held.len().min(buffer.remaining()).min(self.readable());
        buffer.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.handed_out(length);
    }

    fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let readable = self.readable();
        let before = buffer.filled().len();
        if readable >= buffer.remaining() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        } else {
            let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(readable));
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut limited))?;
            let length = limited.filled().len();
            buffer.advance(length);
        }
        self.handed_out(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    fn handed_out(&mut self, length: usize) {
        match &mut self.left {
            Left::Bytes(bytes) => *bytes = bytes.saturating_sub(length as u64),
            Left::Chunked { followed, .. } => *followed = followed.saturating_sub(length),
            Left::Refused { .. } => {}
        }
    }

    /// Pingora flushes a response of known length at its end only, and the endpoint may pause within
    /// it: whoever waits for the client has nothing to write, so what was written goes out. A failure
    /// shows in the next write.
    fn flush_before_waiting(&mut self, cx: &mut Context<'_>) {
        if self.unflushed && self.outgoing.poll_flush(&mut self.stream, cx).is_ready() {
            self.unflushed = false;
        }
    }

    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let at = self.deadline.load(Ordering::Acquire);
        if at == NEVER {
            return Ok(());
        }
        let at = self.opened + Duration::from_millis(at);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

fn poll_read_into(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream, buffer));
    read.as_mut().poll(cx)
}

impl AsyncRead for Downstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_deadline(cx)?;
        this.flush_before_waiting(cx);
        this.cutoff.check(cx)?;
        if this.holding.load(Ordering::Acquire) {
            return this.poll_closed(cx);
        }
        match &this.left {
            _ if this.is_tunnel() => {}
            Left::Chunked {
                chunks,
                followed: 0,
            } if !chunks.is_over() => {
                ready!(this.poll_follow(cx))?;
            }
            Left::Refused { .. } => return this.poll_drop_rest(cx),
            Left::Bytes(_) | Left::Chunked { .. } => {}
        }
        if this.readable() == 0 {
            return this.poll_closed(cx);
        }
        if this.held.is_empty() {
            return this.poll_read_body(cx, buffer);
        }
        this.hand_out_held(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        let edits = this.head.get_mut();
        if !edits.is_none() {
            this.outgoing.hold_head(bytes, &std::mem::take(edits));
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = this.outgoing.poll_write(&mut this.stream, cx, bytes);
        if written.is_pending() {
            // A deadline must end a stalled write, but the error response that tells of it is
            // written after the deadline: only a write that has to wait is checked.
            this.check_deadline(cx)?;
            this.cutoff.check(cx)?;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.outgoing.poll_flush(&mut this.stream, cx);
        this.unflushed = flushed.is_pending();
        if this.unflushed {
            this.check_deadline(cx)?;
            this.cutoff.check(cx)?;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_flush(&mut this.stream, cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
