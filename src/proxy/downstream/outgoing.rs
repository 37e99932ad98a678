//! Small writes to the client, held together so that they leave in one system call.
//!
//! A response's head and its first bytes come one after the other. What is small waits for a flush or
//! for more; what is large takes with it what waits. Nothing is allocated between two responses. Used
//! by `downstream` for all that is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::HeaderValue;
use memchr::memmem;
use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite;

/// A head and a small body.
const HELD_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    held: BytesMut,
}

/// What a head has that Pingora does not write.
#[derive(Debug, Default)]
pub(super) struct HeadEdits {
    /// In place of Pingora's own.
    pub(super) date: Option<HeaderValue>,
    /// Whole lines behind the others.
    pub(super) fields: Vec<u8>,
}

impl HeadEdits {
    pub(super) fn is_none(&self) -> bool {
        self.date.is_none() && self.fields.is_empty()
    }

    /// The lines up to the value of `Date`, the value, and the lines from there on.
    fn date_in<'a>(&'a self, lines: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
        const NAME: &[u8] = b"\r\nDate: ";
        let found = self.date.as_ref().and_then(|date| {
            let (before, rest) = lines.split_at(memmem::find(lines, NAME)? + NAME.len());
            let after = &rest[memmem::find(rest, b"\r\n")?..];
            Some((before, date.as_bytes(), after))
        });
        found.unwrap_or((lines, b"", b""))
    }
}

impl Outgoing {
    pub(super) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() <= HELD_BYTES {
            self.held.reserve(HELD_BYTES - self.held.len());
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let both = [IoSlice::new(&self.held), IoSlice::new(bytes)];
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = written.min(self.held.len());
            self.held.advance(of_held);
            if written > of_held {
                return Poll::Ready(Ok(written - of_held));
            }
        }
    }

    /// Takes a whole head, edited; what is written next takes it along.
    pub(super) fn hold_head(&mut self, head: &[u8], edits: &HeadEdits) {
        let (lines, end) = head.split_at(head.len().saturating_sub(2));
        let (before, date, after) = edits.date_in(lines);
        self.held
            .reserve(HELD_BYTES.max(head.len() + edits.fields.len()));
        for part in [before, date, after, &edits.fields, end] {
            self.held.extend_from_slice(part);
        }
    }

    pub(super) fn poll_flush(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
        }
        self.held = BytesMut::new();
        Pin::new(stream).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    /// A stream that holds 1,000 bytes, and its other end.
    fn narrow() -> (Stream, DuplexStream) {
        let (near, far) = tokio::io::duplex(1000);
        (Box::new(near), far)
    }

    #[tokio::test]
    async fn small_writes_wait_for_the_flush() {
        let (mut stream, mut far) = narrow();
        let mut outgoing = Outgoing::default();
        for part in [b"head ".as_slice(), b"body"] {
            let written = poll_fn(|cx| outgoing.poll_write(&mut stream, cx, part)).await;
            assert_eq!(written.unwrap(), part.len());
        }
        let mut received = [0; 9];
        let waits = tokio::time::timeout(std::time::Duration::ZERO, far.read(&mut received)).await;
        assert!(waits.is_err(), "sent before the flush");
        poll_fn(|cx| outgoing.poll_flush(&mut stream, cx))
            .await
            .unwrap();
        far.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"head body");
        assert_eq!(outgoing.held.capacity(), 0, "holds memory while idle");
    }

    #[test]
    fn a_head_keeps_its_date_and_takes_more_fields() {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\nX: Date: no\r\n\r\n";
        let written = |edits: HeadEdits| {
            let mut outgoing = Outgoing::default();
            outgoing.hold_head(HEAD, &edits);
            String::from_utf8(outgoing.held.to_vec()).unwrap()
        };
        let both = HeadEdits {
            date: Some(HeaderValue::from_static("long ago")),
            fields: b"Age: 3\r\n".to_vec(),
        };
        let expected = "HTTP/1.1 200 OK\r\nDate: long ago\r\nX: Date: no\r\nAge: 3\r\n\r\n";
        assert_eq!(written(both), expected);
        assert_eq!(written(HeadEdits::default()).as_bytes(), HEAD);
    }

    #[tokio::test]
    async fn a_large_write_comes_behind_what_waits_however_narrow_the_way() {
        let (mut stream, mut far) = narrow();
        let body: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        let sent = body.clone();
        let writer = tokio::spawn(async move {
            let mut outgoing = Outgoing::default();
            let mut rest = &sent[..];
            poll_fn(|cx| outgoing.poll_write(&mut stream, cx, b"head "))
                .await
                .unwrap();
            while !rest.is_empty() {
                let write = poll_fn(|cx| outgoing.poll_write(&mut stream, cx, rest));
                rest = &rest[write.await.unwrap()..];
            }
            poll_fn(|cx| outgoing.poll_flush(&mut stream, cx))
                .await
                .unwrap();
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap();
        assert_eq!(received, [b"head ".as_slice(), &body].concat());
    }
}
