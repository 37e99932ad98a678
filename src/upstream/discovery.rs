//! Keeps a pool's membership true to the names its configuration lists.
//!
//! A [`Discovery`] is a pool's `ServiceDiscovery`: each [`discover`](ServiceDiscovery::discover)
//! looks every name up (A and AAAA, all addresses) and answers with the whole membership, from last
//! good answers where a lookup failed. `server` awaits the first [`update`](Discovery::update) and
//! then runs [`run`](Discovery::run); requests never wait for a name.
//!
//! Pace: the shortest TTL of the answers, within 1 s..60 s; while a lookup fails, also no more than
//! 1 s, doubling to 10 s; both ±10 %, so that many proxies do not ask at the same time.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;
use tokio::task::JoinSet;

use super::Pool;
use super::member::MemberSpec;
use super::name::Name;

pub mod dns;

#[cfg(test)]
mod tests;

use dns::{Answer, Dns};

const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Where addresses come from.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    async fn lookup(&self, host: &str) -> Answer;
}

pub struct Discovery<L = Dns> {
    pool: Arc<Pool>,
    lookup: Arc<L>,
}

/// How long the answers of the last round are good for. The pool keeps it, so that whoever looks up
/// next knows of the round before.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    ttl: Duration,
    /// Rounds in a row in which a name did not resolve.
    failures: u32,
}

impl Discovery {
    /// Asks `resolvers`, or the system's name servers when there are none.
    pub fn new(pool: Arc<Pool>, resolvers: &[SocketAddr]) -> Self {
        Discovery::with_lookup(pool, Dns::new(resolvers))
    }
}

impl<L: Lookup> Discovery<L> {
    pub fn with_lookup(pool: Arc<Pool>, lookup: L) -> Self {
        Discovery {
            pool,
            lookup: Arc::new(lookup),
        }
    }

    /// Looks every name up once and brings the membership up to date; true when that is a change.
    /// Takes at most as long as one lookup may ([`dns::LOOKUP_TIMEOUT`]).
    pub async fn update(&self) -> bool {
        match self.discover().await {
            Ok((backends, _)) => self.pool.set_members(&backends),
            // Failed lookups are answers here; there is nothing else that fails.
            Err(_) => false,
        }
    }

    /// Updates for ever, or returns at once when the pool has no names. Starts with a pause when
    /// an update has been made already.
    pub async fn run(self) {
        if self.pool.targets().names().is_empty() {
            return;
        }
        loop {
            let pause = self.pool.pace.lock().pause();
            tokio::time::sleep(jittered(pause)).await;
            self.update().await;
        }
    }

    /// Looks all names up at the same time and notes when to do so again.
    async fn look_up(&self, names: Vec<Arc<Name>>) {
        let mut lookups = JoinSet::new();
        for name in names {
            let lookup = self.lookup.clone();
            lookups.spawn(async move {
                let answer = lookup.lookup(name.host()).await;
                name.update(answer.v4, answer.v6).then_some(answer.ttl)
            });
        }
        let ttls = lookups.join_all().await;
        let mut pace = self.pool.pace.lock();
        *pace = pace.after(&ttls);
    }
}

#[async_trait]
impl<L: Lookup> ServiceDiscovery for Discovery<L> {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let targets = self.pool.targets();
        self.look_up(targets.names()).await;
        let backends = targets.specs().iter().map(MemberSpec::backend).collect();
        Ok((backends, HashMap::new()))
    }
}

// === impl Pace ===

impl Pace {
    /// Nothing has been asked yet.
    pub(super) const START: Pace = Pace {
        ttl: Duration::ZERO,
        failures: 0,
    };

    /// The pace after a round; a TTL of `None` stands for a name that did not resolve.
    fn after(self, ttls: &[Option<Duration>]) -> Pace {
        let ttl = ttls.iter().flatten().min().copied().unwrap_or(TTL_MAX);
        let failures = if ttls.contains(&None) {
            self.failures.saturating_add(1)
        } else {
            0
        };
        Pace {
            ttl: ttl.clamp(TTL_MIN, TTL_MAX),
            failures,
        }
    }

    fn pause(self) -> Duration {
        match self.failures {
            0 => self.ttl,
            failures => {
                let doubled = RETRY_MIN.saturating_mul(1 << (failures - 1).min(4));
                doubled.min(RETRY_MAX).min(self.ttl)
            }
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}
