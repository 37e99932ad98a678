//! One connection of an origin: reads requests, records them, plays the script's replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::gate::Gate;
use super::origin::{BeforeBody, Request, State};
use super::reply::{End, Reply, Step};
use super::socket::Socket;
use super::wire::{Body, Framing, Wire};

/// The sender is gone, or never was one; nothing is left to do.
struct Gone;

struct Served {
    state: Arc<State>,
    wire: Wire,
    number: usize,
    sni: Option<String>,
    client_certificate: bool,
}

pub(super) async fn serve(state: Arc<State>, tcp: TcpStream, number: usize) {
    let counted = state.clone();
    let _open = Counted::new(&counted.open);
    let Some(mut served) = handshake(state, tcp, number).await else {
        return;
    };
    loop {
        match served.exchange().await {
            Ok(End::KeepOpen) => {}
            Ok(End::Close) => return served.close().await,
            Err(Gone) => return,
            Ok(End::Reset) => return served.wire.socket.reset(),
        }
    }
}

async fn handshake(state: Arc<State>, tcp: TcpStream, number: usize) -> Option<Served> {
    let _ = tcp.set_nodelay(true);
    let (mut sni, mut client_certificate) = (None, false);
    let socket = match &state.tls {
        None => Socket::Plain(tcp),
        Some(acceptor) => {
            let tls = acceptor.accept(tcp).await.ok()?;
            let session = tls.get_ref().1;
            sni = session.server_name().map(str::to_owned);
            client_certificate = session.peer_certificates().is_some();
            Socket::Tls(Box::new(TlsStream::Server(tls)))
        }
    };
    Some(Served {
        state,
        wire: Wire::new(socket),
        number,
        sni,
        client_certificate,
    })
}

impl Served {
    /// One request and its reply.
    async fn exchange(&mut self) -> Result<End, Gone> {
        let head = self.wire.head().await.ok().flatten().ok_or(Gone)?;
        let mut request = Request::new(head, self.number);
        request.sni.clone_from(&self.sni);
        request.client_certificate = self.client_certificate;
        if request.method == "GET" && request.target == "/healthz" {
            return self.answer_probe(request).await;
        }
        let state = self.state.clone();
        let _in_flight = Counted::new(&state.in_flight);
        let now = state.in_flight.load(Ordering::SeqCst);
        state.in_flight_max.fetch_max(now, Ordering::SeqCst);

        let played = self.answer(request).await;
        if played.is_err() {
            state.aborted.fetch_add(1, Ordering::SeqCst);
        }
        played
    }

    async fn answer_probe(&mut self, request: Request) -> Result<End, Gone> {
        self.state.probes.lock().push(request);
        let healthy = self.state.healthy.load(Ordering::SeqCst);
        let reply = Reply::status(if healthy { 200 } else { 503 });
        self.play(reply, "GET").await
    }

    async fn answer(&mut self, mut request: Request) -> Result<End, Gone> {
        let framing = request.headers.framing().unwrap_or(Framing::Empty);
        let before_body = *self.state.before_body.lock();
        let index = self.record(&request);
        if before_body == BeforeBody::Answer {
            let reply = (self.state.script)(&request);
            let end = self.play(reply, &request.method).await?;
            if end == End::KeepOpen {
                let body = self.wire.body(framing).await;
                self.record_body(index, &mut request, body);
            }
            return Ok(end);
        }
        let expected = request.headers.lists("expect", "100-continue");
        if expected && before_body == BeforeBody::Continue {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = self.wire.body(framing).await;
        self.record_body(index, &mut request, body);
        if !request.complete {
            return Err(Gone);
        }
        let reply = (self.state.script)(&request);
        self.play(reply, &request.method).await
    }

    fn record(&self, request: &Request) -> usize {
        let mut requests = self.state.requests.lock();
        requests.push(request.clone());
        requests.len() - 1
    }

    fn record_body(&self, index: usize, request: &mut Request, body: Body) {
        request.body = body.bytes;
        request.trailers = body.trailers;
        request.complete = body.complete;
        self.state.requests.lock()[index] = request.clone();
    }

    async fn play(&mut self, reply: Reply, method: &str) -> Result<End, Gone> {
        let (steps, end) = reply.render(method);
        for step in steps {
            match step {
                Step::Write(bytes) => self.write(&bytes).await?,
                Step::Wait(gate) => tokio::select! {
                    () = gate.pass() => {}
                    () = self.wire.peer_gone() => return Err(Gone),
                },
                Step::Echo(until) => {
                    // Without a gate it is one that nobody opens.
                    let until = until.unwrap_or_else(Gate::new);
                    tokio::select! {
                        () = until.pass() => {}
                        () = echo(&mut self.wire) => {}
                    }
                }
            }
        }
        Ok(end)
    }

    /// Ends it in order, in TLS with its notification.
    async fn close(mut self) {
        let _ = self.wire.socket.shutdown().await;
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.wire.write(bytes).await.map_err(|_| Gone)
    }
}

/// Sends back what comes, until the other side closes.
async fn echo(wire: &mut Wire) {
    loop {
        let bytes = wire.buffer.split();
        if wire.write(&bytes).await.is_err() {
            return;
        }
        if !matches!(wire.fill().await, Ok(count) if count > 0) {
            return;
        }
    }
}

/// Counts as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn new(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
