//! The endpoint's connection of an upgrade request: its response is not read before its end was sent.
//!
//! Pingora reads the response and takes note of the request's end in one loop, in random order. When
//! a fast endpoint's 101 is read first, the end of the request is then taken for the end of the
//! tunnel, which closes at once. So an upgrade request goes out on a connection of its own whose
//! reads, after a write, come back with nothing a few times. Called by `exchange`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::ext::{self, TcpKeepalive};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_timeout::timeout;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The request's end is in Pingora's pipe after the first poll of its loop, or, when that poll has
/// used up its budget, after the second; the halves of the loop take turns in going first, so it is
/// taken out of there in the third at the latest.
const READS_PUT_OFF: u8 = 3;

/// Gives the peer a connection of its own that reads late.
pub(super) fn read_late(peer: &mut HttpPeer) {
    let connect_timeout = peer.options.connection_timeout;
    peer.options.custom_l4 = Some(Arc::new(Connector { connect_timeout }));
    // Never one that was connected for other requests, nor given to them.
    peer.group_key = !peer.group_key;
    peer.options.idle_timeout = Some(Duration::ZERO);
}

#[derive(Debug)]
struct Connector {
    connect_timeout: Option<Duration>,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address
            .as_inet()
            .ok_or_else(|| Error::new(ErrorType::ConnectError))?;
        let connecting = ext::connect(address, None);
        let stream = match self.connect_timeout {
            Some(time) => timeout(time, connecting)
                .await
                .map_err(|_| Error::new(ErrorType::ConnectTimedout))?,
            None => connecting.await,
        }?;
        let socket = LateReader { stream, put_off: 0 };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

#[derive(Debug)]
struct LateReader {
    stream: TcpStream,
    /// Reads that come back with nothing from now on.
    put_off: u8,
}

impl VirtualSocket for LateReader {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => set_keepalive(&self.stream, &keepalive),
            _ => Ok(()),
        }
    }
}

fn set_keepalive(stream: &TcpStream, keepalive: &TcpKeepalive) -> io::Result<()> {
    ext::set_tcp_keepalive(stream, keepalive).map_err(io::Error::other)
}

impl AsyncRead for LateReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.put_off > 0 {
            this.put_off -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LateReader {
    /// Under TLS the handshake writes too, so the request's is not the first; one in the tunnel costs
    /// its reader a few polls.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.put_off = READS_PUT_OFF;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
