//! A scripted name server over UDP: A and AAAA, with answers that a test changes.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is answered for a name.
#[derive(Clone, Debug, PartialEq)]
pub enum DnsAnswer {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    NameError,
    ServerFailure,
    Refused,
    /// No answer at all.
    Silence,
}

/// Names it was not told of get `NameError`.
pub struct Dns {
    address: SocketAddr,
    state: Arc<State>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, DnsAnswer>>,
    queries: Mutex<Vec<String>>,
}

struct Query<'a> {
    id: &'a [u8],
    question: &'a [u8],
    name: String,
    kind: u16,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl Dns {
    pub async fn new() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(State::default());
        let running = tokio::spawn(serve(socket, state.clone()));
        Dns {
            address,
            state,
            running,
        }
    }

    /// From now on the name has these addresses, to be kept for so many seconds.
    pub fn resolves(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        self.answers(name, DnsAnswer::Addresses(addresses.collect(), ttl));
    }

    /// From now on the name is answered so.
    pub fn answers(&self, name: &str, answer: DnsAnswer) {
        self.state.answers.lock().insert(name.to_owned(), answer);
    }

    /// Queries for a name so far, A and AAAA each.
    pub fn queries(&self, name: &str) -> usize {
        let queries = self.state.queries.lock();
        queries.iter().filter(|asked| *asked == name).count()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(socket: UdpSocket, state: Arc<State>) {
    let mut packet = [0; 1500];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        let Some(query) = Query::parse(&packet[..length]) else {
            continue;
        };
        state.queries.lock().push(query.name.clone());
        let answer = state.answers.lock().get(&query.name).cloned();
        if let Some(reply) = query.reply(&answer.unwrap_or(DnsAnswer::NameError)) {
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

impl Query<'_> {
    /// The first question of a packet (RFC 1035 §4.1); names of questions are not compressed.
    fn parse(packet: &[u8]) -> Option<Query<'_>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = packet.get(at..at + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += length;
        }
        let kind = packet.get(at..at + 2)?;
        Some(Query {
            id: &packet[..2],
            question: packet.get(12..at + 4)?,
            name: labels.join("."),
            kind: u16::from_be_bytes([kind[0], kind[1]]),
        })
    }

    fn reply(&self, answer: &DnsAnswer) -> Option<Vec<u8>> {
        let (code, records) = match answer {
            DnsAnswer::Addresses(addresses, ttl) => (0, self.records(addresses, *ttl)),
            DnsAnswer::ServerFailure => (2, Vec::new()),
            DnsAnswer::NameError => (3, Vec::new()),
            DnsAnswer::Refused => (5, Vec::new()),
            DnsAnswer::Silence => return None,
        };
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let mut reply = self.id.to_vec();
        reply.extend([0x85, 0x80 | code, 0, 1]); // A response, authoritative, recursion available.
        reply.extend([count[0], count[1], 0, 0, 0, 0]);
        reply.extend(self.question);
        reply.extend(records.concat());
        Some(reply)
    }

    /// The addresses of the family that is asked for.
    fn records(&self, addresses: &[IpAddr], ttl: u32) -> Vec<Vec<u8>> {
        let record = |address: &IpAddr| {
            let (kind, bytes) = match address {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            let mut record = vec![0xc0, 12]; // The name of the question.
            record.extend(kind.to_be_bytes());
            record.extend([0, 1]);
            record.extend(ttl.to_be_bytes());
            record.extend([0, bytes.len() as u8]);
            record.extend(bytes);
            (kind == self.kind).then_some(record)
        };
        addresses.iter().filter_map(record).collect()
    }
}
