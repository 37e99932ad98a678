//! An address where connecting gets no answer: its accept queue is full, so the kernel drops SYNs.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// On loopback a connect takes microseconds, unless it is not answered.
const UNANSWERED: Duration = Duration::from_millis(200);

pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub async fn new() -> BlackHole {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) = timeout(UNANSWERED, TcpStream::connect(address)).await {
            queue.push(connected.unwrap());
        }
        BlackHole {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

impl fmt::Display for BlackHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}
