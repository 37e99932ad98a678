//! Lookups over the network with hickory's resolver, its hosts file and search list included.
//!
//! Both families are asked for on their own, so that a server that fails one of them cannot take
//! the other's addresses away. hickory's cache is off: the pace of `discovery` is the only memory,
//! and a cached "no such name" would outlive the retry.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::timeout;

use super::Lookup;
use crate::upstream::name::Family;

/// One lookup, with all its attempts.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// One attempt at one server.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// What one name resolves to.
pub struct Answer {
    pub v4: Family,
    pub v6: Family,
    /// How long all of it is good for; zero when nothing is.
    pub ttl: Duration,
}

/// A resolver, or why there is none (the system's configuration cannot be read).
pub struct Dns(Result<TokioResolver, String>);

impl Dns {
    /// Asks `servers`, or those of the system's configuration when there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Dns(resolver(servers).map_err(|error| error.to_string()))
    }

    async fn family(&self, host: &str, family: RecordType) -> (Family, Option<Instant>) {
        let resolver = match &self.0 {
            Ok(resolver) => resolver,
            Err(error) => return (Err(error.clone()), None),
        };
        match timeout(LOOKUP_TIMEOUT, resolver.lookup(host, family)).await {
            Ok(Ok(found)) => {
                let records = found.answers().iter();
                let addresses = records.filter_map(|record| address(&record.data));
                (Ok(addresses.collect()), Some(found.valid_until()))
            }
            Ok(Err(error)) if error.is_no_records_found() => (Ok(Vec::new()), None),
            Ok(Err(error)) => (Err(error.to_string()), None),
            Err(_) => (Err(format!("no answer within {LOOKUP_TIMEOUT:?}")), None),
        }
    }
}

#[async_trait]
impl Lookup for Dns {
    async fn lookup(&self, host: &str) -> Answer {
        let ((v4, v4_until), (v6, v6_until)) = tokio::join!(
            self.family(host, RecordType::A),
            self.family(host, RecordType::AAAA)
        );
        let until = v4_until.into_iter().chain(v6_until).min();
        Answer {
            v4,
            v6,
            ttl: until.map_or(Duration::ZERO, |until| {
                until.saturating_duration_since(Instant::now())
            }),
        }
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = ATTEMPT_TIMEOUT;
    builder.build()
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(v6.0.into()),
        _ => None,
    }
}
