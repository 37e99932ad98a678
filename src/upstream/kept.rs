//! Connections to endpoints that wait for their next request.
//!
//! Last in, first out, as nginx keeps them: a quiet time needs few, and the others run out. One that
//! its endpoint has closed, or has sent something on unasked, is found out when it is taken or at the
//! next sweep, and is dropped. Nothing watches a waiting connection, so keeping one costs a request
//! no task and no timer. Invariant: only what `take` would give for a key was put there for an equal
//! one: same pool, same TLS files, same address, same name. The proxy takes and puts; `server::upkeep`
//! sweeps.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

/// Threads seldom meet at a lock.
const SHARDS: usize = 16;
/// More for one key would be idle anyway; the one that waited longest goes.
const FOR_ONE_KEY_MAX: usize = 1024;

/// What two connections have in common that may serve the same request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Of the pool and its TLS files.
    pub group: u64,
    pub address: SocketAddr,
    /// The name a TLS connection was made for, where the pool's endpoints have different ones.
    pub name: Option<Arc<str>>,
}

#[derive(Default)]
pub struct Kept {
    shards: [Shard; SHARDS],
    hasher: RandomState,
}

type Shard = Mutex<HashMap<Key, VecDeque<Waiting>>>;

struct Waiting {
    stream: Stream,
    until: Instant,
}

impl Kept {
    /// The connection used last, if it is still good.
    pub fn take(&self, key: &Key) -> Option<Stream> {
        loop {
            // The lock is not held over the look at the socket.
            let mut waiting = self.shard(key).lock().get_mut(key)?.pop_back()?;
            if is_quiet(&mut waiting.stream) {
                return Some(waiting.stream);
            }
        }
    }

    /// Keeps a connection for as long as `until`.
    pub fn put(&self, key: Key, stream: Stream, until: Instant) {
        let mut shard = self.shard(&key).lock();
        let waiting = shard.entry(key).or_default();
        if waiting.len() == FOR_ONE_KEY_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Waiting { stream, until });
    }

    /// Closes what has waited for too long or is no longer good.
    pub fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            shard.lock().retain(|_, waiting| {
                waiting.retain_mut(|waiting| now < waiting.until && is_quiet(&mut waiting.stream));
                !waiting.is_empty()
            });
        }
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

/// Whether the endpoint has neither closed nor sent anything.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_read(&mut context, &mut buffer)
        .is_pending()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn key(port: u16) -> Key {
        Key {
            group: 1,
            address: ([10, 0, 0, 1], port).into(),
            name: None,
        }
    }

    fn connection() -> (Stream, DuplexStream) {
        let (near, far) = duplex(16);
        (Box::new(near), far)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn the_last_one_in_is_the_first_one_out() {
        let kept = Kept::default();
        let (first, mut first_end) = connection();
        let (last, mut last_end) = connection();
        kept.put(key(1), first, later());
        kept.put(key(1), last, later());
        for end in [&mut last_end, &mut first_end] {
            let mut stream = kept.take(&key(1)).expect("one is kept");
            stream.write_all(b"x").await.unwrap();
            tokio::io::AsyncReadExt::read_u8(end).await.unwrap();
        }
        assert!(kept.take(&key(1)).is_none());
    }

    #[tokio::test]
    async fn no_other_key_gets_a_connection() {
        let kept = Kept::default();
        let (stream, _end) = connection();
        kept.put(key(1), stream, later());
        let named = Key {
            name: Some("a.example".into()),
            ..key(1)
        };
        let grouped = Key { group: 2, ..key(1) };
        for other in [key(2), named, grouped] {
            assert!(kept.take(&other).is_none(), "{other:?}");
        }
        assert!(kept.take(&key(1)).is_some());
    }

    #[tokio::test]
    async fn one_that_its_endpoint_closed_or_spoke_on_is_not_given_out() {
        let kept = Kept::default();
        let (good, _end) = connection();
        let (closed, end) = connection();
        let (spoken, mut speaking) = connection();
        for stream in [good, closed, spoken] {
            kept.put(key(1), stream, later());
        }
        drop(end);
        speaking.write_all(b"x").await.unwrap();
        assert!(kept.take(&key(1)).is_some());
        assert!(kept.take(&key(1)).is_none());
    }

    #[tokio::test]
    async fn a_sweep_closes_what_is_late_or_gone() {
        let kept = Kept::default();
        let (late, mut late_end) = connection();
        let (gone, gone_end) = connection();
        let (good, _end) = connection();
        let now = Instant::now();
        kept.put(key(1), late, now);
        kept.put(key(2), gone, later());
        kept.put(key(3), good, later());
        drop(gone_end);
        kept.sweep(now);
        assert!(late_end.write_all(b"x").await.is_err(), "it is closed");
        assert!(kept.take(&key(2)).is_none());
        assert!(kept.take(&key(3)).is_some());
    }
}
