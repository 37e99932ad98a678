//! A certificate authority of one test, and the certificates it issues.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
    roots: Arc<RootCertStore>,
}

/// A certificate and its key, also as PEM files; they live as long as the authority.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    cert_path: PathBuf,
    key_path: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "each authority is another one")]
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        Authority {
            issuer,
            files,
            roots: Arc::new(roots),
        }
    }

    /// The authority's own certificate, PEM.
    pub fn ca_path(&self) -> String {
        text(&self.files.path().join("ca.pem"))
    }

    /// A certificate for a name (or an address), for servers and clients alike.
    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let cert_path = self.files.path().join(format!("{name}.pem"));
        let key_path = self.files.path().join(format!("{name}.key"));
        std::fs::write(&cert_path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            cert_path,
            key_path,
            roots: self.roots.clone(),
        }
    }

    /// A client's side of TLS that trusts this authority only; with an identity, it shows it.
    pub fn connector(&self, identity: Option<&Identity>) -> TlsConnector {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match identity {
            Some(own) => config
                .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

impl Identity {
    pub fn cert_path(&self) -> String {
        text(&self.cert_path)
    }

    pub fn key_path(&self) -> String {
        text(&self.key_path)
    }

    /// A server's side of TLS; takes a client certificate of the same authority, demands none.
    pub fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
