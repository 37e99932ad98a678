//! The files that the configuration names: are they there, and do they hold what they should?
//!
//! The system's root certificates are looked at as well, where a pool verifies by them.
//!
//! The only I/O of the pipeline beside reading the file itself; nothing is created or opened for writing. Called by
//! `load`, after `validate` and into the same report.

use std::fs;
use std::io;
use std::path::Path;

use pingora_core::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::model::{Config, LogTarget, SECRET_BYTES_MIN, Secret, Secrets, Sticky, Tls};
use super::path::At;
use super::report::Report;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let server = At::ROOT.key("server");
    if let Some(path) = &config.fixed.pid_file {
        directory(path, &server.key("pid_file"), report);
    }
    if let Some(path) = &config.fixed.upgrade_socket {
        directory(path, &server.key("upgrade_socket"), report);
    }
    if let LogTarget::File(path) = &config.fixed.access_log.target {
        directory(path, &At::ROOT.key("log").key("access").key("path"), report);
    }
    for pool in &config.live.pools {
        let (pools, name) = (At::ROOT.key("pools"), &pool.name);
        if let Some(sticky) = &pool.sticky {
            let at = pools.key(name);
            secrets(sticky, &at.key("sticky").key("secret_file"), report);
        }
        if let Some(tls) = &pool.tls {
            certificates(
                tls,
                &At::ROOT.key("pools").key(&pool.name).key("tls"),
                report,
            );
        }
    }
}

/// The directory in which a file will be made.
fn directory(file: &Path, at: &At<'_>, report: &mut Report<'_>) {
    let directory = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => {
            return report.problem(
                at,
                format!("{} is a directory, expected a file", file.display()),
            );
        }
    };
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => {
            report.problem(at, format!("{} is not a directory", directory.display()));
        }
        Ok(_) if file.is_dir() => report.problem(
            at,
            format!("{} is a directory, expected a file", file.display()),
        ),
        Ok(_) => {}
        Err(err) => report.problem(
            at,
            format!(
                "cannot use directory {}: {}",
                directory.display(),
                reason(&err)
            ),
        ),
    }
}

fn secrets(sticky: &Sticky, at: &At<'_>, report: &mut Report<'_>) {
    let Secrets::File(file) = &sticky.secrets else {
        return;
    };
    match fs::read_to_string(file) {
        Ok(text) if Secret::in_lines(&text).is_empty() => {
            let what = format!(
                "{} holds no secret, expected lines of at least {SECRET_BYTES_MIN} bytes",
                file.display()
            );
            report.problem(at, what);
        }
        Ok(_) => {}
        Err(err) => {
            let what = format!("cannot read {}: {}", file.display(), reason(&err));
            report.problem(at, what);
        }
    }
}

fn certificates(tls: &Tls, at: &At<'_>, report: &mut Report<'_>) {
    match &tls.ca {
        Some(ca) => pem(ca, &at.key("ca"), report, "certificate", is_chain),
        None if tls.verify => roots(at, report),
        None => {}
    }
    if let Some((cert, key)) = &tls.identity {
        pem(cert, &at.key("cert"), report, "certificate", is_chain);
        pem(key, &at.key("key"), report, "private key", |pem| {
            PrivateKeyDer::from_pem_slice(pem).map(|_| ())
        });
    }
}

/// Without any, every connection to the pool would fail.
fn roots(at: &At<'_>, report: &mut Report<'_>) {
    let what = match system_roots() {
        Ok(0) => "this system has no root certificates to verify by".to_string(),
        Ok(_) => return,
        Err(why) => why,
    };
    let hint = "install ca-certificates, set SSL_CERT_FILE, or give ca";
    report.problem_at_key(at, what, hint.to_string());
}

/// How many root certificates Pingora will find: where `SSL_CERT_FILE` and `SSL_CERT_DIR` say, else where OpenSSL looks.
/// Pingora panics where this fails.
pub fn system_roots() -> Result<usize, String> {
    let mut roots = RootCertStore::empty();
    match load_platform_certs_incl_env_into_store(&mut roots) {
        Ok(()) => Ok(roots.len()),
        Err(error) => Err(format!(
            "the system's root certificates cannot be read: {}",
            error.root_cause()
        )),
    }
}

fn is_chain(text: &[u8]) -> Result<(), pem::Error> {
    let mut found = Err(pem::Error::NoItemsFound);
    for certificate in CertificateDer::pem_slice_iter(text) {
        found = certificate.map(|_| ());
        if found.is_err() {
            break;
        }
    }
    found
}

fn pem(
    file: &Path,
    at: &At<'_>,
    report: &mut Report<'_>,
    what: &str,
    read: fn(&[u8]) -> Result<(), pem::Error>,
) {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(err) => {
            return report.problem(
                at,
                format!("cannot read {}: {}", file.display(), reason(&err)),
            );
        }
    };
    match read(&text) {
        Ok(()) => {}
        Err(pem::Error::NoItemsFound) => {
            report.problem(
                at,
                format!("{} holds no {what}, expected PEM", file.display()),
            );
        }
        Err(err) => report.problem(at, format!("{} is not valid PEM: {err}", file.display())),
    }
}

/// The operating system's words without its number.
pub(super) fn reason(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => err.to_string(),
    }
}
