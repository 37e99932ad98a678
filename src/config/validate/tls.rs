//! TLS towards the endpoints of one pool.

use super::super::model::{Endpoint, Target, Tls};
use super::super::path::At;
use super::super::raw::pool as raw;
use super::super::raw::shapes::Toggle;
use super::super::report::Report;
use super::{name, server};

pub(super) fn tls(
    raw: Option<&Toggle<raw::Tls>>,
    endpoints: &[Endpoint],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Tls> {
    let default = raw::Tls::default();
    let raw = match raw {
        None | Some(Toggle::Flag(false)) => return None,
        Some(Toggle::Flag(true)) => &default,
        Some(Toggle::Map(raw)) => raw,
    };
    let verify = raw.verify.unwrap_or(true);
    if verify && raw.sni.is_none() {
        check_names(endpoints, at, report);
    }
    if !verify && raw.ca.is_some() {
        report.warn(&at.key("ca"), "has no effect without verify");
    }
    Some(Tls {
        sni: raw
            .sni
            .as_deref()
            .and_then(|sni| server_name(sni, &at.key("sni"), report)),
        verify,
        ca: server::file(raw.ca.as_deref(), &at.key("ca"), report),
        identity: identity(raw, at, report),
    })
}

/// A certificate is valid for a name, so there must be one. A wrong `sni` was reported already.
fn check_names(endpoints: &[Endpoint], at: &At<'_>, report: &mut Report<'_>) {
    let unnamed = endpoints
        .iter()
        .find_map(|endpoint| match &endpoint.target {
            Target::Address(address) => Some(address),
            Target::Name { .. } => None,
        });
    if let Some(address) = unnamed
        && !report.was_reported(&at.key("sni"))
    {
        let what = format!("no name to verify for {address}");
        report.problem_at_key(at, what, "give sni, or verify: false".to_string());
    }
}

fn server_name(sni: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    match name::host(sni) {
        Ok(name) if !name::is_numeric(&name) => Some(name),
        Ok(_) => {
            report.problem(at, format!("{sni} is an address, expected a host name"));
            None
        }
        Err(what) => {
            report.problem(at, what);
            None
        }
    }
}

fn identity(
    raw: &raw::Tls,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let [at_cert, at_key] = ["cert", "key"].map(|key| at.key(key));
    match (&raw.cert, &raw.key) {
        (Some(cert), Some(key)) => {
            let cert = server::file(Some(cert), &at_cert, report);
            cert.zip(server::file(Some(key), &at_key, report))
        }
        (Some(_), None) => {
            report.missing(&at_key, "missing, cert needs it");
            None
        }
        (None, Some(_)) => {
            report.missing(&at_cert, "missing, key needs it");
            None
        }
        (None, None) => None,
    }
}
