//! The cookie of a pool's sticky sessions.

use std::time::Duration;

use super::super::model::{SECRET_BYTES_MIN, SameSite, Secret, Secrets, Sticky};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::OneOrMany;
use super::super::report::Report;
use super::keys::{Keys, hours, seconds};
use super::server;

const NAME_BYTES_MAX: usize = 64;
/// Each costs a comparison for each endpoint and request.
const SECRETS_MAX: usize = 8;

/// `None` where there is no secret: that was reported.
pub(super) fn sticky(raw: &raw::Sticky, at: &At<'_>, report: &mut Report<'_>) -> Option<Sticky> {
    let secrets = secrets(raw, at, report);
    let secure = raw.secure.unwrap_or(true);
    let same_site = match raw.same_site {
        Some(raw::SameSite::Strict) => SameSite::Strict,
        None | Some(raw::SameSite::Lax) => SameSite::Lax,
        Some(raw::SameSite::None) => SameSite::None,
    };
    if same_site == SameSite::None && !secure {
        report.problem(
            &at.key("same_site"),
            "none is refused by browsers without secure",
        );
    }
    Some(Sticky {
        cookie: cookie(raw, &at.key("cookie"), report),
        ttl: ttl(raw, at, report),
        strict: raw.strict.unwrap_or(false),
        secure,
        same_site,
        path: path(raw, &at.key("path"), report),
        secrets: secrets?,
    })
}

fn ttl(raw: &raw::Sticky, at: &At<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let year = seconds(1)..=hours(24 * 365);
    Keys::of(at, report).duration("ttl", raw.ttl.as_ref(), year)
}

/// A token of RFC 9110 §5.6.2.
fn cookie(raw: &raw::Sticky, at: &At<'_>, report: &mut Report<'_>) -> String {
    let name = raw.cookie.as_deref().unwrap_or("weir_sticky");
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
        let what = format!(
            "{} is not a cookie name, expected 1 to {NAME_BYTES_MAX} letters, digits, \"_\" or \"-\"",
            quoted(name)
        );
        report.problem(at, what);
    }
    name.to_string()
}

fn path(raw: &raw::Sticky, at: &At<'_>, report: &mut Report<'_>) -> String {
    let path = raw.path.as_deref().unwrap_or("/");
    let allowed = |b: u8| b.is_ascii_graphic() && b != b';';
    if !path.starts_with('/') || !path.bytes().all(allowed) {
        report.problem(
            at,
            format!("{} is not a path, expected one such as \"/\"", quoted(path)),
        );
    }
    path.to_string()
}

fn secrets(raw: &raw::Sticky, at: &At<'_>, report: &mut Report<'_>) -> Option<Secrets> {
    let file = server::file(raw.secret_file.as_deref(), &at.key("secret_file"), report);
    match (&raw.secrets, &raw.secret_file) {
        (Some(_), Some(_)) => {
            report.problem(at, "has secrets and secret_file, expected one of them");
            None
        }
        (Some(given), None) => given_secrets(given, &at.key("secrets"), report),
        (None, Some(_)) => file.map(Secrets::File),
        (None, None) => {
            if !report.was_reported(&at.key("secrets"))
                && !report.was_reported(&at.key("secret_file"))
            {
                report.problem(at, "has no secrets or secret_file, expected one of them");
            }
            None
        }
    }
}

fn given_secrets(
    given: &OneOrMany<String>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Secrets> {
    let items = given.items();
    if !(1..=SECRETS_MAX).contains(&items.len()) {
        report.problem(
            at,
            format!("has {} secrets, expected 1 to {SECRETS_MAX}", items.len()),
        );
    }
    for (index, secret) in &items {
        if secret.len() < SECRET_BYTES_MIN {
            let what = format!(
                "a secret of {} bytes, expected at least {SECRET_BYTES_MIN}",
                secret.len()
            );
            match index {
                Some(index) => report.problem(&at.index(*index), what),
                None => report.problem(at, what),
            }
        }
    }
    let secrets = items.into_iter().map(|(_, secret)| Secret(secret.clone()));
    Some(Secrets::Given(secrets.collect()))
}
