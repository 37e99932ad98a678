//! One client connection: caps, heads, requests, close.
//!
//! This is the `ServerApp` around Pingora's proxy. It counts the connection, waits for a head without
//! holding memory, gives it a deadline, checks it strictly, hands it to Pingora, and takes the
//! connection back for the next one. A head that is refused is answered and recorded here, so every
//! request leaves its line. Wired by `server`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, Session};
use pingora_timeout::timeout;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::config::model::Limits;
use crate::proxy::Proxy;
use crate::proxy::downstream::{Downstream, LINGER, LINGER_BYTES};
use crate::proxy::process::Process;
use crate::proxy::reject::Rejection;
use crate::server::caps::{Caps, Place};
use crate::server::head::{self, Boundary, Head};
use crate::server::idle::IdleTimer;
use crate::telemetry::access_log::record::{Record, Timers};

/// How long an idle connection may still bring a request when the process has begun to drain.
const IDLE_GRACE: Duration = Duration::from_secs(1);

pub(super) struct Edge {
    process: Arc<Process>,
    proxy: Proxy,
    /// The same, with Pingora's own machine around it.
    pingora: Arc<HttpProxy<Proxy>>,
    caps: Arc<Caps>,
}

impl Edge {
    pub(super) fn new(
        process: Arc<Process>,
        proxy: Proxy,
        pingora: HttpProxy<Proxy>,
        caps: Arc<Caps>,
    ) -> Edge {
        Edge {
            process,
            proxy,
            pingora: Arc::new(pingora),
            caps,
        }
    }

    async fn accept(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let digest = stream.get_socket_digest();
        let peer = digest
            .as_ref()
            .and_then(|digest| digest.peer_addr()?.as_inet());
        // A connection that is gone already has no address.
        let Some(&address) = peer else {
            return;
        };
        match self.admit(address) {
            Ok(open) => {
                let downstream = Box::new(Downstream::new(stream, open.place.cutoff()));
                self.serve(downstream, address, shutdown).await;
            }
            Err(rejection) => {
                let mut downstream = Downstream::new(stream, Arc::default());
                self.process.metrics.rejected(rejection.name());
                answer_and_close(&mut downstream, rejection).await;
            }
        }
    }

    /// Takes a place under the caps and counts the connection.
    fn admit(&self, client: SocketAddr) -> Result<Open, Rejection> {
        let snapshot = self.process.snapshot.load();
        let place = self.caps.enter(client.ip(), &snapshot.config.limits)?;
        self.process.metrics.connections_accepted.inc();
        self.process.metrics.connections.inc();
        Ok(Open {
            process: self.process.clone(),
            place,
        })
    }

    /// Serves requests until one side closes.
    async fn serve(
        &self,
        mut downstream: Box<Downstream>,
        address: SocketAddr,
        shutdown: &ShutdownWatch,
    ) {
        let mut served = 0;
        let mut idle = IdleTimer::new();
        loop {
            let mut incoming = Incoming {
                downstream: &mut downstream,
                idle: &mut idle,
                began: None,
            };
            let keepalive_timeout = self.process.snapshot.load().config.limits.keepalive_timeout;
            if !incoming.begins(keepalive_timeout, shutdown.clone()).await {
                return;
            }
            // Asked for only now: a reload counts for every head that begins after it.
            let limits = self.process.snapshot.load().config.limits.clone();
            let (length, head) = match incoming.next_head(&limits).await {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(rejection) => {
                    let time_taken = incoming
                        .began
                        .map_or(Duration::ZERO, |began| began.elapsed());
                    self.record_refused(downstream.held(), address, rejection, time_taken);
                    return answer_and_close(&mut downstream, rejection).await;
                }
            };
            served += 1;
            let is_last = served >= limits.keepalive_requests || self.process.is_draining();
            let bytes = downstream.begin_request(length, head.body, head.underscores);
            let stream = if head.upgrade {
                let mut session = ServerSession::new_http1(downstream);
                prepare(&mut session, bytes, &limits, is_last);
                let reused = self.pingora.process_new_http(session, shutdown).await;
                reused.map(|reused| reused.consume().0)
            } else {
                let mut session = Session::new_h1(downstream);
                prepare(session.as_downstream_mut(), bytes, &limits, is_last);
                // Boxed: an idle connection has no room for a request.
                Box::pin(self.proxy.serve(session)).await
            };
            match stream.and_then(Downstream::reclaim) {
                Some(reclaimed) => downstream = reclaimed,
                None => return,
            }
        }
    }

    fn record_refused(
        &self,
        head: &[u8],
        client: SocketAddr,
        rejection: Rejection,
        time_taken: Duration,
    ) {
        let (method, target) = head::request_line(head);
        self.process.metrics.rejected(rejection.name());
        self.process.access_log.write(&Record {
            time: SystemTime::now(),
            client: Some(client),
            request_id: "-",
            method: std::str::from_utf8(method).unwrap_or_default(),
            host: b"",
            target,
            protocol: "HTTP/1.1",
            status: rejection.status().as_u16(),
            received: 0,
            sent: response_body(rejection).len() as u64,
            referer: None,
            user_agent: None,
            route: "-",
            pool: "-",
            timers: Timers {
                total: time_taken,
                ..Timers::default()
            },
            attempts: &[],
            termination: rejection.name(),
            cache: "-",
            error: Some(rejection.text()),
        });
    }
}

#[async_trait]
impl ServerApp for Edge {
    /// Serves in a task of its own: the one Pingora calls from keeps 8 KiB of room for a TLS handshake
    /// as long as it lives, which over 10,000 idle connections is half of all their memory.
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let (edge, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move { edge.accept(stream, &shutdown).await });
        None
    }

    async fn cleanup(&self) {
        self.pingora.http_cleanup().await;
    }
}

/// An admitted connection; dropping it takes it out of every count.
struct Open {
    process: Arc<Process>,
    place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.process.metrics.connections.dec();
    }
}

/// A connection between two requests.
struct Incoming<'a> {
    downstream: &'a mut Downstream,
    idle: &'a mut IdleTimer,
    /// When a head that did not arrive whole began; `None`: it arrived whole, or not at all.
    began: Option<Instant>,
}

impl Incoming<'_> {
    /// Waits until the first byte of a head is there. False: none comes, and nobody is to be told.
    async fn begins(&mut self, keepalive_timeout: Duration, shutdown: ShutdownWatch) -> bool {
        !skip_empty_lines(self.downstream) || self.wait_idle(keepalive_timeout, shutdown).await
    }

    /// Waits for a whole head and checks it. `None`: the client has gone.
    async fn next_head(&mut self, limits: &Limits) -> Result<Option<(usize, Head)>, Rejection> {
        let mut boundary = Boundary::default();
        // Most heads arrive whole and need no timer.
        let length = match boundary.find(self.downstream.held(), limits)? {
            Some(length) => Some(length),
            None => {
                self.began = Some(Instant::now());
                timeout(limits.header_timeout, self.read_head(boundary, limits))
                    .await
                    .map_err(|_| Rejection::HeaderTimeout)??
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let head = head::check(&self.downstream.held()[..length], limits)?;
        Ok(Some((length, head)))
    }

    /// Waits for the first byte of a head. False: the client closed or was idle for too long. While
    /// the process drains, a client that keeps its connection busy is not cut off between two
    /// requests: it gets one more answer, with `Connection: close`.
    async fn wait_idle(
        &mut self,
        keepalive_timeout: Duration,
        mut shutdown: ShutdownWatch,
    ) -> bool {
        self.idle.restart(keepalive_timeout);
        if !*shutdown.borrow() {
            tokio::select! {
                biased;
                arrived = first_byte(self.downstream) => return arrived,
                () = self.idle.elapsed() => return false,
                _ = shutdown.changed() => {}
            }
        }
        let last = timeout(IDLE_GRACE, first_byte(self.downstream));
        matches!(last.await, Ok(true))
    }

    async fn read_head(
        &mut self,
        mut boundary: Boundary,
        limits: &Limits,
    ) -> Result<Option<usize>, Rejection> {
        while matches!(self.downstream.fill().await, Ok(1..)) {
            if let Some(length) = boundary.find(self.downstream.held(), limits)? {
                return Ok(Some(length));
            }
        }
        Ok(None)
    }
}

/// Waits for bytes that begin a request line; false: the client closed.
async fn first_byte(downstream: &mut Downstream) -> bool {
    while matches!(downstream.fill().await, Ok(1..)) {
        if !skip_empty_lines(downstream) {
            return true;
        }
    }
    false
}

/// Drops empty lines before a request line (RFC 9112 §2.2); true when nothing is left.
fn skip_empty_lines(downstream: &mut Downstream) -> bool {
    let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let length = downstream.held().iter().take_while(is_blank).count();
    downstream.skip(length);
    downstream.held().is_empty()
}

/// Readies a session on the connection for one request, whose head is `bytes`.
fn prepare(session: &mut ServerSession, bytes: BytesMut, limits: &Limits, is_last: bool) {
    session.set_pipelined_prefix(bytes);
    session.set_keepalive_reuses_remaining(Some(u32::from(!is_last)));
    session.set_read_timeout(Some(limits.body_timeout));
    session.set_write_timeout(Some(limits.send_timeout));
    session.set_total_drain_timeout(Some(limits.body_timeout));
}

/// Says why and closes so that the client can read it.
async fn answer_and_close(downstream: &mut Downstream, rejection: Rejection) {
    let answer = timeout(LINGER, async {
        downstream.write_all(&response_bytes(rejection)).await?;
        downstream.flush().await?;
        downstream.shutdown().await?;
        let mut rest = LINGER_BYTES;
        while rest > 0 {
            match downstream.fill().await? {
                0 => break,
                read => rest = rest.saturating_sub(read),
            }
            let read = downstream.held().len();
            downstream.skip(read);
        }
        std::io::Result::Ok(())
    });
    // Either way the connection is closed next.
    let _ = answer.await;
}

/// A whole response, for a client whose request was not read: it gets text, and no request id.
fn response_bytes(rejection: Rejection) -> Vec<u8> {
    let status = rejection.status();
    let body = response_body(rejection);
    let retry_after = rejection
        .retry_after()
        .map(|seconds| format!("Retry-After: {seconds}\r\n"))
        .unwrap_or_default();
    let allow = rejection
        .allow()
        .map(|methods| format!("Allow: {methods}\r\n"))
        .unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{retry_after}{allow}Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn response_body(rejection: Rejection) -> String {
    format!("{}: {}\n", rejection.status(), rejection.text())
}
