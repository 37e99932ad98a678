//! How a pool's endpoints are connected to: timeouts and TLS, as Pingora's [`HttpPeer`].
//!
//! Built once per pool, with every file read; the proxy and the health probes then only clone it.
//! A clone allocates nothing without TLS, and the SNI's text with it (the rest is behind `Arc`s).
//!
//! Two of Pingora's rustls backend's ways decide the shape. An empty SNI switches certificate
//! verification off, so an endpoint without a name is verified by its address. Its connection pool
//! does not tell CA bundles apart, so `group_key` separates pools and their TLS files.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::ext::TcpKeepalive;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::model::{Pool, Tls};

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
            let files = TlsFiles { pool: &pool.name };
            files.load(tls, &mut peer, &mut group)?;
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

/// Reads the TLS files of one pool. What Pingora would panic on later is refused here.
struct TlsFiles<'a> {
    pool: &'a str,
}

impl TlsFiles<'_> {
    fn load(
        &self,
        tls: &Tls,
        peer: &mut HttpPeer,
        group: &mut DefaultHasher,
    ) -> Result<(), PeerError> {
        peer.options.verify_cert = tls.verify;
        peer.options.verify_hostname = tls.verify;
        if let Some(file) = &tls.ca {
            let certificates = self.certificates(file)?;
            certificates.hash(group);
            let parsed: Box<CaType> = certificates.into_iter().map(parse).collect();
            peer.options.ca = Some(parsed.into());
        }
        if let Some((chain_file, key_file)) = &tls.identity {
            let chain = self.certificates(chain_file)?;
            let key = self.key(key_file)?;
            (&chain, &key).hash(group);
            peer.client_cert_key = Some(Arc::new(CertKey::new(chain, key)));
        }
        Ok(())
    }

    /// All certificates of a PEM file, at least one.
    fn certificates(&self, file: &Path) -> Result<Vec<Vec<u8>>, PeerError> {
        let text = self.read(file)?;
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate =
                certificate.map_err(|_| self.content(file, "has a damaged PEM section"))?;
            if X509Certificate::from_der(&certificate).is_err() {
                return Err(self.content(file, "has a certificate that is not X.509"));
            }
            certificates.push(certificate.to_vec());
        }
        if certificates.is_empty() {
            return Err(self.content(file, "has no certificate"));
        }
        Ok(certificates)
    }

    fn key(&self, file: &Path) -> Result<Vec<u8>, PeerError> {
        let text = self.read(file)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.content(file, "has no private key"),
            _ => self.content(file, "has a damaged PEM section"),
        })?;
        let key = key.secret_der().to_vec();
        // Pingora guesses the key's kind from its bytes again, and panics when it cannot.
        match PrivateKeyDer::try_from(key.as_slice()) {
            Ok(_) => Ok(key),
            Err(_) => Err(self.content(file, "has a private key of an unknown kind")),
        }
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, PeerError> {
        fs::read(file).map_err(|source| PeerError::Read {
            pool: self.pool.to_owned(),
            file: file.to_owned(),
            source,
        })
    }

    fn content(&self, file: &Path, problem: &'static str) -> PeerError {
        PeerError::Content {
            pool: self.pool.to_owned(),
            file: file.to_owned(),
            problem,
        }
    }
}

/// `certificate` has been parsed once, so this does not panic.
fn parse(certificate: Vec<u8>) -> WrappedX509 {
    WrappedX509::new(certificate, pingora_core::utils::tls::parse_x509)
}

#[cfg(test)]
mod tests;
