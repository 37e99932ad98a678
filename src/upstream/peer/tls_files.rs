//! The CA and identity files of one pool, read and checked when the pool is built.
//!
//! Pingora parses them again for each handshake; what it would panic on there, or answer every
//! request with an error for, is refused here, with the file's name. Without verification its verifier
//! still wants a root, so that it gets one of ours, which is asked for nothing.

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::tls::{ClientConfig, RootCertStore, install_default_crypto_provider};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PeerError;
use crate::config::model::Tls;

/// A self-signed certificate whose key was thrown away.
const NO_ROOT: &[u8] = include_bytes!("no_root.der");

/// In DER.
type Certificates = Vec<CertificateDer<'static>>;

pub(super) struct TlsFiles {
    ca: Option<Certificates>,
    /// Chain, leaf first, and key.
    identity: Option<(Certificates, PrivateKeyDer<'static>)>,
}

impl TlsFiles {
    pub(super) fn load(pool: &str, tls: &Tls) -> Result<Self, PeerError> {
        let reader = Reader { pool };
        let ca = match &tls.ca {
            Some(file) => Some(reader.ca(file)?),
            None if tls.verify => None,
            None => Some(vec![CertificateDer::from(NO_ROOT)]),
        };
        let identity = tls.identity.as_ref();
        Ok(TlsFiles {
            ca,
            identity: identity.map(|files| reader.identity(files)).transpose()?,
        })
    }

    /// Gives the peer what the files hold.
    pub(super) fn apply(self, peer: &mut HttpPeer) {
        if let Some(ca) = self.ca {
            let parse = |certificate: CertificateDer<'_>| {
                WrappedX509::new(certificate.to_vec(), parse_x509)
            };
            let parsed: Box<CaType> = ca.into_iter().map(parse).collect();
            peer.options.ca = Some(parsed.into());
        }
        if let Some((chain, key)) = self.identity {
            let chain = chain.iter().map(|certificate| certificate.to_vec());
            let identity = CertKey::new(chain.collect(), key.secret_der().to_vec());
            peer.client_cert_key = Some(Arc::new(identity));
        }
    }
}

impl Hash for TlsFiles {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ca.hash(state);
        let identity = self.identity.as_ref();
        identity
            .map(|(chain, key)| (chain, key.secret_der()))
            .hash(state);
    }
}

struct Reader<'a> {
    pool: &'a str,
}

impl Reader<'_> {
    fn ca(&self, file: &Path) -> Result<Certificates, PeerError> {
        let certificates = self.certificates(file)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            if roots.add(certificate.clone()).is_err() {
                return Err(self.content(file, "has a certificate that cannot be a root"));
            }
        }
        Ok(certificates)
    }

    fn identity(
        &self,
        (chain_file, key_file): &(PathBuf, PathBuf),
    ) -> Result<(Certificates, PrivateKeyDer<'static>), PeerError> {
        let chain = self.certificates(chain_file)?;
        let key = self.key(key_file)?;
        install_default_crypto_provider();
        let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        match client.with_client_auth_cert(chain.clone(), key.clone_key()) {
            Ok(_) => Ok((chain, key)),
            Err(_) => Err(self.content(key_file, "is not the key of the certificate")),
        }
    }

    /// All certificates of a PEM file, at least one.
    fn certificates(&self, file: &Path) -> Result<Certificates, PeerError> {
        let text = self.read(file)?;
        let found: Result<Certificates, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = found.map_err(|_| self.content(file, "has a damaged PEM section"))?;
        if certificates.is_empty() {
            return Err(self.content(file, "has no certificate"));
        }
        let is_x509 = |der: &CertificateDer<'_>| X509Certificate::from_der(der).is_ok();
        if certificates.iter().all(is_x509) {
            return Ok(certificates);
        }
        Err(self.content(file, "has a certificate that is not X.509"))
    }

    fn key(&self, file: &Path) -> Result<PrivateKeyDer<'static>, PeerError> {
        let text = self.read(file)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.content(file, "has no private key"),
            _ => self.content(file, "has a damaged PEM section"),
        })?;
        // Pingora guesses the key's kind from its bytes again, and panics when it cannot.
        match PrivateKeyDer::try_from(key.secret_der()) {
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
