//! A scripted HTTP/1.1 origin on a port of its own, with control over every byte it sends.
//!
//! It records what it receives. `GET /healthz` is answered apart (`health`, `probes`), so that probes
//! do not count as hits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::certificates::Identity;
use super::origin_connection;
use super::ports;
use super::reply::Reply;
use super::wire::{Head, Headers};

/// A request as the origin received it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    pub trailers: Headers,
    pub body: Vec<u8>,
    /// The body came whole.
    pub complete: bool,
    /// The head, byte for byte (each byte a char).
    pub raw: String,
    /// Which of the origin's connections it came on, from 1.
    pub connection: usize,
    /// The TLS server name the connection asked for.
    pub sni: Option<String>,
    /// The connection showed a client certificate.
    pub client_certificate: bool,
}

/// What to do with a request body, and with `Expect: 100-continue`, before the script is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BeforeBody {
    /// Sends a 100 at once where one is expected, then reads the body.
    Continue,
    /// Reads the body, never sends a 100.
    Silent,
    /// Asks the script with an empty body and answers; the body is read and dropped afterwards,
    /// unless the reply closes.
    Answer,
}

pub struct Origin {
    state: Arc<State>,
    running: Mutex<Option<JoinHandle<()>>>,
}

type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

pub(super) struct State {
    pub(super) address: SocketAddr,
    pub(super) script: Script,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) before_body: Mutex<BeforeBody>,
    pub(super) healthy: AtomicBool,
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) probes: Mutex<Vec<Request>>,
    pub(super) connections: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) in_flight: AtomicUsize,
    pub(super) in_flight_max: AtomicUsize,
    pub(super) aborted: AtomicUsize,
    stopping: tokio::sync::Notify,
}

// === impl Request ===

impl Request {
    pub(super) fn new(head: Head, connection: usize) -> Request {
        let mut words = head.first.split(' ').map(str::to_owned);
        Request {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            version: words.next().unwrap_or_default(),
            headers: head.headers,
            raw: head.raw,
            connection,
            ..Request::default()
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// === impl Origin ===

impl Origin {
    /// Answers everything with 200 and this body.
    pub fn serving(body: &str) -> Origin {
        let body = body.to_owned();
        Origin::start(move |_| Reply::ok(&body))
    }

    /// Answers as the script says.
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::listen(
            bind(Ipv4Addr::LOCALHOST.into(), ports::reserve()),
            script,
            None,
        )
    }

    /// The same on another address, such as ::1.
    pub fn start_on(
        ip: &str,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Origin {
        Origin::listen(bind(ip.parse().unwrap(), ports::reserve()), script, None)
    }

    /// The same over TLS. A client certificate of the same authority is taken, none is demanded.
    pub fn tls(
        identity: &Identity,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Origin {
        let listener = bind(Ipv4Addr::LOCALHOST.into(), ports::reserve());
        Origin::listen(listener, script, Some(identity.acceptor()))
    }

    /// `count` origins, each serving its name: `a`, `b`, `c` …
    pub fn several(count: u8) -> Vec<Origin> {
        let name = |number: u8| char::from(b'a' + number).to_string();
        (0..count).map(|n| Origin::serving(&name(n))).collect()
    }

    /// As `several`, on 127.0.0.1, 127.0.0.2 … and one port: what a name that resolves to them needs.
    pub fn several_on_one_port(count: u8) -> Vec<Origin> {
        let port = ports::reserve();
        let serve = |number: u8| {
            let address = Ipv4Addr::new(127, 0, 0, 1 + number);
            let name = char::from(b'a' + number).to_string();
            Origin::listen(bind(address.into(), port), move |_| Reply::ok(&name), None)
        };
        (0..count).map(serve).collect()
    }

    fn listen(
        listener: TcpListener,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Origin {
        let state = Arc::new(State {
            address: listener.local_addr().unwrap(),
            script: Box::new(script),
            tls,
            before_body: Mutex::new(BeforeBody::Continue),
            healthy: AtomicBool::new(true),
            requests: Mutex::default(),
            probes: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            aborted: AtomicUsize::new(0),
            stopping: tokio::sync::Notify::new(),
        });
        let running = tokio::spawn(accept(state.clone(), listener));
        Origin {
            state,
            running: Mutex::new(Some(running)),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    pub fn port(&self) -> u16 {
        self.state.address.port()
    }

    /// How bodies and `Expect` are treated from the next request on.
    pub fn before_body(&self, what: BeforeBody) {
        *self.state.before_body.lock() = what;
    }

    /// Whether `GET /healthz` gets 200 or 503.
    pub fn health(&self, healthy: bool) {
        self.state.healthy.store(healthy, Ordering::SeqCst);
    }

    /// Every request so far but probes, in the order their heads came.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().clone()
    }

    /// The latest request.
    pub fn last(&self) -> Request {
        let requests = self.state.requests.lock();
        requests.last().expect("the origin got a request").clone()
    }

    pub fn hits(&self) -> usize {
        self.state.requests.lock().len()
    }

    /// Requests for `/healthz` so far.
    pub fn probes(&self) -> Vec<Request> {
        self.state.probes.lock().clone()
    }

    /// Connections accepted so far, those of TCP probes among them.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub fn connections_open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Requests whose reply is not finished.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    pub fn in_flight_max(&self) -> usize {
        self.state.in_flight_max.load(Ordering::SeqCst)
    }

    /// Requests whose sender went away before it had the whole reply.
    pub fn aborted(&self) -> usize {
        self.state.aborted.load(Ordering::SeqCst)
    }

    /// As if its process were killed: stops listening and closes every connection.
    pub async fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            self.state.stopping.notify_one();
            running.await.unwrap();
        }
    }

    /// Listens again on the same address; what was recorded stays.
    pub fn restart(&self) {
        let address = self.state.address;
        let listener = bind(address.ip(), address.port());
        let running = tokio::spawn(accept(self.state.clone(), listener));
        assert!(
            self.running.lock().replace(running).is_none(),
            "the origin was not stopped"
        );
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state.address)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().take() {
            running.abort();
        }
    }
}

/// The standard library sets SO_REUSEADDR, so a port can be had again at once.
fn bind(ip: IpAddr, port: u16) -> TcpListener {
    let listener = TcpListener::bind((ip, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

async fn accept(state: Arc<State>, listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
                connections.spawn(origin_connection::serve(state.clone(), tcp, number));
            }
            Some(_) = connections.join_next() => {}
            () = state.stopping.notified() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}
