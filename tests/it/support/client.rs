//! A raw HTTP/1.1 client: it sends what it is told to, right or wrong.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::certificates::{Authority, Identity};
use super::connection::{Connection, Failure, expect_response};
use super::eventually::patience;
use super::load::{self, Report};
use super::socket::Socket;
use super::wire::{Head, Headers};

/// Where to, and in whose name. Cheap to clone; each request has its own connection unless it is
/// made on a `Connection`.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    host: String,
    from: Option<IpAddr>,
    tls: Option<TlsConnector>,
    receive_buffer: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub version: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// The body ended where its framing said it would.
    pub complete: bool,
    /// Statuses of the interim responses before it.
    pub interim: Vec<u16>,
}

/// A request in the making.
#[derive(Clone)]
pub struct RequestBuilder {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    client: Option<Client>,
}

// === impl Client ===

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client {
            address,
            host: address.to_string(),
            from: None,
            tls: None,
            receive_buffer: None,
        }
    }

    /// Sends this `Host`, and asks for it in TLS.
    pub fn host(mut self, host: &str) -> Client {
        self.host = host.to_owned();
        self
    }

    /// Connects from this address, such as 127.0.0.2.
    pub fn from(mut self, address: &str) -> Client {
        self.from = Some(address.parse().unwrap());
        self
    }

    /// Takes hardly anything that it does not read.
    pub fn narrow(mut self) -> Client {
        self.receive_buffer = Some(4096);
        self
    }

    /// Speaks TLS, trusts the authority, shows the identity if there is one.
    pub fn tls(mut self, authority: &Authority, identity: Option<&Identity>) -> Client {
        self.tls = Some(authority.connector(identity));
        self
    }

    pub async fn try_connect(&self) -> Result<Connection, Failure> {
        let connect = timeout(patience(), self.open()).await;
        let socket = connect.map_err(|_| Failure::TimedOut)?;
        let socket = socket.map_err(|error| Failure::Connect(error.to_string()))?;
        Ok(Connection::new(socket, &self.host))
    }

    /// A connection of its own; panics without one.
    pub async fn connect(&self) -> Connection {
        let address = self.address;
        let connected = self.try_connect().await;
        connected.unwrap_or_else(|failure| panic!("{address}: {failure}"))
    }

    async fn open(&self) -> std::io::Result<Socket> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = self.from {
            socket.bind((from, 0).into())?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let Some(connector) = &self.tls else {
            return Ok(Socket::Plain(tcp));
        };
        let name = self.host.split(':').next().unwrap_or_default().to_owned();
        let name = name.try_into().map_err(std::io::Error::other)?;
        let tls = connector.connect(name, tcp).await?;
        Ok(Socket::Tls(Box::new(TlsStream::Client(tls))))
    }

    pub fn request(&self, method: &str, target: &str) -> RequestBuilder {
        let mut request = RequestBuilder::new(method, target, &self.host);
        request.client = Some(self.clone());
        request
    }

    /// GET on a new connection; panics without a response.
    #[track_caller]
    pub fn get(&self, target: &str) -> impl Future<Output = Response> + use<> {
        self.request("GET", target).send()
    }

    /// GET on a new connection.
    pub async fn try_get(&self, target: &str) -> Result<Response, Failure> {
        self.request("GET", target).try_send().await
    }

    /// POST on a new connection; panics without a response.
    #[track_caller]
    pub fn post<B: AsRef<[u8]>>(
        &self,
        target: &str,
        body: B,
    ) -> impl Future<Output = Response> + use<B> {
        self.request("POST", target).body(body).send()
    }

    /// `count` GETs over `concurrency` keep-alive connections.
    pub async fn get_many(&self, target: &str, count: usize, concurrency: usize) -> Report {
        load::run(self, target, Some(count), concurrency).await
    }

    /// Upgrades a connection; panics unless the response is 101.
    pub async fn websocket(&self, target: &str) -> Connection {
        let mut connection = self.connect().await;
        let request = connection
            .request("GET", target)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let response = connection.exchange(&request).await;
        let response = response.unwrap_or_else(|failure| panic!("upgrade: {failure}"));
        assert_eq!(response.status, 101, "upgrade: {response:?}");
        connection
    }
}

// === impl Response ===

impl Response {
    pub(super) fn parse(head: Head) -> Result<Response, Failure> {
        let mut words = head.first.splitn(3, ' ').map(str::to_owned);
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        match status {
            Some(status) if version.starts_with("HTTP/1.") => Ok(Response {
                status,
                reason: words.next().unwrap_or_default(),
                version,
                headers: head.headers,
                body: Vec::new(),
                trailers: Headers::default(),
                complete: false,
                interim: Vec::new(),
            }),
            _ => Err(Failure::Malformed(head.raw)),
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The server will close the connection after it.
    pub fn closes(&self) -> bool {
        self.headers.lists("connection", "close") || self.version == "HTTP/1.0"
    }
}

// === impl RequestBuilder ===

impl RequestBuilder {
    pub(super) fn new(method: &str, target: &str, host: &str) -> RequestBuilder {
        RequestBuilder {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: vec![("Host".to_owned(), host.to_owned())],
            body: Vec::new(),
            client: None,
        }
    }

    /// `HTTP/1.0`, say.
    pub fn version(mut self, version: &str) -> RequestBuilder {
        self.version = version.to_owned();
        self
    }

    /// Adds a field; one of the same name stays.
    pub fn header(mut self, name: &str, value: impl ToString) -> RequestBuilder {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn without(mut self, name: &str) -> RequestBuilder {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub fn host(self, host: &str) -> RequestBuilder {
        let mut request = self.without("host");
        request.headers.insert(0, ("Host".into(), host.into()));
        request
    }

    /// A body with its Content-Length.
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> RequestBuilder {
        self.body = bytes.as_ref().to_vec();
        let length = self.body.len();
        self.header("Content-Length", length)
    }

    /// A chunked body, one chunk for each part.
    pub fn chunked<P: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = P>) -> RequestBuilder {
        for part in parts {
            let part = part.as_ref();
            let size = format!("{:x}\r\n", part.len());
            self.body.extend([size.as_bytes(), part, b"\r\n"].concat());
        }
        self.body.extend_from_slice(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// Holds the body back until a 100 comes.
    pub fn expect_continue(self) -> RequestBuilder {
        self.header("Expect", "100-continue")
    }

    /// The request as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head().as_bytes(), self.body_bytes()].concat()
    }

    /// Sends it on a new connection.
    pub async fn try_send(self) -> Result<Response, Failure> {
        let client = self.client.as_ref();
        let client = client.expect("a request of a `Connection` is sent with `exchange`");
        client.try_connect().await?.exchange(&self).await
    }

    /// Sends it on a new connection; panics without a response.
    #[track_caller]
    pub fn send(self) -> impl Future<Output = Response> {
        expect_response(format!("{} {}", self.method, self.target), self.try_send())
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    pub(super) fn head(&self) -> String {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    pub(super) fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn expects_continue(&self) -> bool {
        let mut headers = self.headers.iter();
        headers.any(|(name, _)| name.eq_ignore_ascii_case("expect"))
    }
}
