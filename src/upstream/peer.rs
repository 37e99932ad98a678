//! How a pool's endpoints are connected to: timeouts and TLS, as Pingora's [`HttpPeer`].
//!
//! Built once per pool, with every file read; the proxy and the health probes then only clone it.
//! A clone allocates nothing without TLS, and the SNI's text with it (the rest is behind `Arc`s).
//!
//! Two of Pingora's rustls backend's ways decide the shape. An empty SNI switches certificate
//! verification off, so an endpoint without a name is verified by its address. Its connection pool
//! does not tell CA bundles apart, so `group_key` separates pools and their TLS files.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::ext::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;
use thiserror::Error;

use super::kept::Key;
use crate::config::model::Pool;

/// Why a pool cannot be built: one of its TLS files.
#[derive(Debug, Error)]
pub enum PeerError {
    #[error("pool {pool}: cannot read {}", .file.display())]
    Read {
        pool: String,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("pool {pool}: {} {problem}", .file.display())]
    Content {
        pool: String,
        file: PathBuf,
        problem: &'static str,
    },
}

mod tls_files;

#[cfg(test)]
mod tests;

use tls_files::TlsFiles;

pub struct PeerTemplate {
    peer: HttpPeer,
    /// The name sent and verified; `None`: each endpoint's own.
    sni: Option<String>,
    keep_idle: bool,
}

impl PeerTemplate {
    /// Reads the pool's CA and identity files. The error names the file.
    pub fn build(pool: &Pool) -> Result<Self, PeerError> {
        let placeholder = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peer = HttpPeer::new(placeholder, pool.tls.is_some(), String::new());
        set_timeouts(&mut peer, pool);
        let mut group = DefaultHasher::new();
        pool.name.hash(&mut group);
        if let Some(tls) = &pool.tls {
            peer.options.verify_cert = tls.verify;
            peer.options.verify_hostname = tls.verify;
            let files = TlsFiles::load(&pool.name, tls)?;
            files.hash(&mut group);
            files.apply(&mut peer);
        }
        peer.group_key = group.finish();
        Ok(PeerTemplate {
            peer,
            sni: pool.tls.as_ref().and_then(|tls| tls.sni.clone()),
            keep_idle: !pool.idle_timeout.is_zero(),
        })
    }

    pub fn is_tls(&self) -> bool {
        self.peer.is_tls()
    }

    /// Which connections may serve a request to `address`; `None`: none is kept.
    pub fn key(&self, address: SocketAddr, host: Option<&Arc<str>>) -> Option<Key> {
        let has_own_name = self.is_tls() && self.sni.is_none();
        self.keep_idle.then(|| Key {
            group: self.peer.group_key,
            address,
            name: host.filter(|_| has_own_name).cloned(),
        })
    }

    /// The peer at `address`; `host` is the name the address was resolved from.
    pub fn peer(&self, address: SocketAddr, host: Option<&str>) -> HttpPeer {
        let mut peer = self.peer.clone();
        peer._address = address.into();
        if self.is_tls() {
            peer.sni = match self.sni.as_deref().or(host) {
                Some(name) => name.to_owned(),
                None => address.ip().to_string(),
            };
        }
        if !self.keep_idle {
            // Pingora would keep an unused connection until its reader task first runs. A key
            // nobody else has makes sure that it is not found in that time.
            peer.group_key = fastrand::u64(..);
        }
        peer
    }
}

fn set_timeouts(peer: &mut HttpPeer, pool: &Pool) {
    let options = &mut peer.options;
    options.connection_timeout = Some(pool.connect_timeout);
    // The connect timeout counts for TCP and again for the handshake.
    options.total_connection_timeout = Some(pool.connect_timeout * 2);
    options.read_timeout = Some(pool.read_timeout);
    options.write_timeout = Some(pool.write_timeout);
    options.idle_timeout = Some(pool.idle_timeout);
    // A dead endpoint under a long read or tunnel timeout is noticed within two minutes.
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        count: 6,
        user_timeout: Duration::ZERO,
    });
}
