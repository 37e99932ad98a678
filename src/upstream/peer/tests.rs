//! Peers as Pingora will read them, and the TLS files that are refused.

use std::error::Error;
use std::fs;

use pingora_core::upstreams::peer::Peer;
use tempfile::TempDir;

use super::*;
use crate::config::model::Tls;
use crate::upstream::tests::config;

const ADDRESS: &str = "10.0.0.1:8443";

fn tls() -> Tls {
    Tls {
        sni: None,
        verify: true,
        ca: None,
        identity: None,
    }
}

fn template(tls: Option<Tls>) -> Result<PeerTemplate, PeerError> {
    PeerTemplate::build(&Pool {
        tls,
        ..config(&[ADDRESS])
    })
}

fn peer(tls: Option<Tls>, host: Option<&str>) -> HttpPeer {
    let template = template(tls).expect("no file is damaged");
    template.peer(ADDRESS.parse().unwrap(), host)
}

/// Writes a certificate and its key, and returns their files.
fn identity(dir: &TempDir) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["api.internal".to_owned()]).unwrap();
    let files = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&files.0, made.cert.pem()).unwrap();
    fs::write(&files.1, made.signing_key.serialize_pem()).unwrap();
    files
}

#[test]
fn every_timeout_is_set() {
    let peer = peer(None, Some("api.internal"));
    let options = &peer.options;
    let seconds = |timeout: Option<Duration>| timeout.expect("set").as_secs();
    assert_eq!(seconds(options.connection_timeout), 1);
    assert_eq!(seconds(options.total_connection_timeout), 2);
    assert_eq!(seconds(options.read_timeout), 2);
    assert_eq!(seconds(options.write_timeout), 3);
    assert_eq!(seconds(options.idle_timeout), 4);
    assert!(options.tcp_keepalive.is_some());
    assert!(!peer.is_tls() && peer.sni.is_empty());
}

#[test]
fn the_name_sent_is_the_pools_else_the_endpoints_else_its_address() {
    let mut named = tls();
    named.sni = Some("pool.internal".to_owned());
    assert_eq!(peer(Some(named), Some("api.internal")).sni, "pool.internal");
    assert_eq!(peer(Some(tls()), Some("api.internal")).sni, "api.internal");
    // An empty name would switch verification off.
    assert_eq!(peer(Some(tls()), None).sni, "10.0.0.1");
}

#[test]
fn verification_is_off_only_when_asked_for() {
    assert!(peer(Some(tls()), None).verify_cert());
    let mut trusting = tls();
    trusting.verify = false;
    let peer = peer(Some(trusting), None);
    assert!(!peer.verify_cert() && !peer.verify_hostname());
    // Pingora's verifier does not come into being without one, not even to verify nothing.
    assert_eq!(peer.get_ca().expect("a root").len(), 1);
}

#[test]
fn connections_are_shared_within_a_pool_and_with_nobody_else() {
    let dir = TempDir::new().unwrap();
    let plain = peer(None, None).reuse_hash();
    assert_eq!(plain, peer(None, None).reuse_hash());
    let mut renamed = config(&[ADDRESS]);
    renamed.name = "web".to_owned();
    let other = PeerTemplate::build(&renamed).unwrap();
    let address = ADDRESS.parse().unwrap();
    assert_ne!(plain, other.peer(address, None).reuse_hash());

    let (ca, _) = identity(&dir);
    let mut own_ca = tls();
    own_ca.ca = Some(ca);
    let before = peer(Some(own_ca.clone()), None).reuse_hash();
    assert_ne!(before, peer(Some(tls()), None).reuse_hash());
    assert_eq!(before, peer(Some(own_ca.clone()), None).reuse_hash());
    identity(&dir);
    let after = peer(Some(own_ca), None).reuse_hash();
    assert_ne!(before, after, "the file's content counts");
}

#[test]
fn an_idle_timeout_of_zero_keeps_no_connection() {
    let mut pool = config(&[ADDRESS]);
    pool.idle_timeout = Duration::ZERO;
    let template = PeerTemplate::build(&pool).unwrap();
    let peer = || template.peer(ADDRESS.parse().unwrap(), None);
    assert_ne!(peer().reuse_hash(), peer().reuse_hash());
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let (cert, key) = identity(&dir);
    let write = |name: &str, content: &[u8]| {
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        file
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let empty = write("empty.pem", b"");
    let not_x509 = write("not_x509.pem", pem("CERTIFICATE").as_bytes());
    let not_base64 = pem("CERTIFICATE").replace("AAAA", "A*A");
    let not_base64 = write("not_base64.pem", not_base64.as_bytes());
    let odd_key = write("odd_key.pem", pem("PRIVATE KEY").as_bytes());
    let missing = dir.path().join("missing.pem");
    let other_dir = TempDir::new().unwrap();
    let (_, other_key) = identity(&other_dir);

    let with_ca = |file: &PathBuf| Tls {
        ca: Some(file.clone()),
        ..tls()
    };
    let with_key = |file: &PathBuf| Tls {
        identity: Some((cert.clone(), file.clone())),
        ..tls()
    };
    for (tls, file, problem) in [
        (with_ca(&missing), &missing, "cannot read"),
        (with_ca(&empty), &empty, "has no certificate"),
        (with_ca(&key), &key, "has no certificate"),
        (with_ca(&not_x509), &not_x509, "not X.509"),
        (with_ca(&not_base64), &not_base64, "damaged PEM"),
        (with_key(&cert), &cert, "has no private key"),
        (with_key(&odd_key), &odd_key, "unknown kind"),
        (with_key(&other_key), &other_key, "not the key"),
    ] {
        let error = template(Some(tls)).err().expect("the file is refused");
        let text = error.to_string();
        assert!(
            text.starts_with("pool api: ") && text.contains(problem),
            "{text}"
        );
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert_eq!(error.source().is_some(), problem == "cannot read");
    }
    assert!(template(Some(with_key(&key))).is_ok());
}
