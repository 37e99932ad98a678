//! HTTP/1.1 on a socket, byte for byte: what the origin and the client have in common.
//!
//! Deliberately lax: it must be able to receive whatever weir lets pass, right or wrong.

use std::io;
use std::pin::pin;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Socket;

/// Header fields in the order and the case they had on the wire; a value's bytes are its chars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

pub(super) struct Head {
    /// The request line or the status line.
    pub(super) first: String,
    pub(super) headers: Headers,
    /// The head as it was received, with its empty line.
    pub(super) raw: String,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Framing {
    Empty,
    Sized(usize),
    Chunked,
    UntilClose,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// It ended where its framing said it would.
    pub(super) complete: bool,
    pub(super) trailers: Headers,
}

/// A socket and what has been read from it but not yet used.
pub(super) struct Wire {
    pub(super) socket: Socket,
    pub(super) buffer: BytesMut,
}

// === impl Headers ===

impl Headers {
    /// The first value of a field; names compare without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.0
            .iter()
            .filter(same)
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The field names, as they were written.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a comma-separated field holds the token.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        let mut tokens = values.iter().flat_map(|value| value.split(','));
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    }

    /// `None` where neither length nor chunks are declared.
    pub(super) fn framing(&self) -> Option<Framing> {
        if self.lists("transfer-encoding", "chunked") {
            return Some(Framing::Chunked);
        }
        let length = self.get("content-length")?.parse().ok()?;
        Some(Framing::Sized(length))
    }

    fn parse(text: &str) -> Headers {
        let fields = text.split("\r\n").filter(|line| !line.is_empty());
        let split = |line: &str| match line.split_once(':') {
            Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
            None => (line.to_owned(), String::new()),
        };
        Headers(fields.map(split).collect())
    }
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(socket: Socket) -> Wire {
        Wire {
            socket,
            buffer: BytesMut::new(),
        }
    }

    /// Reads more into the buffer; 0 is the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.socket.read_buf(&mut self.buffer).await
    }

    /// The next head; `None` when the peer closed first (what came of it stays in the buffer).
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.buffer.len());
            if let Some(at) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") {
                let raw = latin1(&self.buffer.split_to(from + at + 4));
                let (first, rest) = raw.split_once("\r\n").unwrap_or((&raw, ""));
                return Ok(Some(Head {
                    first: first.to_owned(),
                    headers: Headers::parse(rest),
                    raw: raw.clone(),
                }));
            }
            searched = self.buffer.len().saturating_sub(3);
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads a body; one that breaks off is returned as far as it came.
    pub(super) async fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body::default();
        body.complete = match framing {
            Framing::Empty => true,
            Framing::Sized(length) => self.take(length, &mut body.bytes).await.is_some(),
            Framing::Chunked => self.chunks(&mut body).await.is_some(),
            Framing::UntilClose => self.take_all(&mut body.bytes).await,
        };
        body
    }

    async fn chunks(&mut self, body: &mut Body) -> Option<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).ok()?;
            if size == 0 {
                break;
            }
            self.take(size, &mut body.bytes).await?;
            self.line().await?;
        }
        let mut trailers = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                body.trailers = Headers::parse(&trailers);
                return Some(());
            }
            trailers.push_str(&line);
            trailers.push_str("\r\n");
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line = latin1(&self.buffer[..at]);
                self.buffer.advance(at + 2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, mut length: usize, into: &mut Vec<u8>) -> Option<()> {
        loop {
            let part = self.buffer.split_to(length.min(self.buffer.len()));
            into.extend_from_slice(&part);
            length -= part.len();
            if length == 0 {
                return Some(());
            }
            self.more().await?;
        }
    }

    async fn take_all(&mut self, into: &mut Vec<u8>) -> bool {
        loop {
            into.extend_from_slice(&self.buffer.split());
            match self.fill().await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    async fn more(&mut self) -> Option<usize> {
        self.fill().await.ok().filter(|count| *count > 0)
    }

    /// Comes back only when the peer has closed or reset; what it sends before is kept.
    pub(super) async fn peer_gone(&mut self) {
        while self.more().await.is_some() {}
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Writes while it keeps reading, so that a peer that answers early or echoes is never stuck.
    pub(super) async fn write_while_reading(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(&mut self.socket);
        let mut write = pin!(async {
            writing.write_all(bytes).await?;
            writing.flush().await
        });
        loop {
            self.buffer.reserve(16 * 1024);
            tokio::select! {
                biased;
                written = &mut write => return written,
                read = reading.read_buf(&mut self.buffer) => {
                    if !matches!(read, Ok(count) if count > 0) {
                        return write.await;
                    }
                }
            }
        }
    }
}

/// Each byte is a char, so that nothing is lost.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
