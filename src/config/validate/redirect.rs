//! Answering with a redirect.

use http::StatusCode;

use super::super::model::{PathPattern, Redirect};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::route as raw;
use super::super::report::Report;
use super::super::similar;

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const PLACEHOLDERS: [&str; 5] = ["scheme", "host", "path", "rest", "query"];
const BEGINNINGS: [&str; 4] = ["/", "http://", "https://", "{scheme}"];

pub(super) fn redirect(
    raw: &raw::Redirect,
    path: &PathPattern,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Redirect {
    let at_to = at.key("to");
    match &raw.to {
        None => report.missing(
            &at_to,
            "missing, expected a location such as \"/new/{rest}\"",
        ),
        Some(to) => check_location(to, path, &at_to, report),
    }
    Redirect {
        to: raw.to.clone().unwrap_or_default(),
        status: status(raw.status, &at.key("status"), report),
    }
}

fn status(seen: Option<i64>, at: &At<'_>, report: &mut Report<'_>) -> StatusCode {
    let Some(seen) = seen else {
        return StatusCode::PERMANENT_REDIRECT;
    };
    let known = STATUSES
        .into_iter()
        .find(|status| i64::from(*status) == seen);
    if known.is_none() {
        report.problem(
            at,
            format!("{seen} is not allowed, expected 301, 302, 303, 307 or 308"),
        );
    }
    known
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::PERMANENT_REDIRECT)
}

fn check_location(to: &str, path: &PathPattern, at: &At<'_>, report: &mut Report<'_>) {
    if !BEGINNINGS.iter().any(|beginning| to.starts_with(beginning)) {
        let what = format!(
            "{} does not begin with \"/\", \"http://\", \"https://\" or \"{{scheme}}\"",
            quoted(to)
        );
        return report.problem(at, what);
    }
    if !to.bytes().all(|b| b.is_ascii_graphic()) {
        return report.problem(
            at,
            format!("{} is not a location, expected visible ASCII", quoted(to)),
        );
    }
    match placeholders(to) {
        Err(what) => report.problem(at, what),
        Ok(names) => {
            for name in &names {
                if !PLACEHOLDERS.contains(name) {
                    let what = format!(
                        "unknown placeholder {{{name}}}, known are {{{}}}",
                        PLACEHOLDERS.join("}, {")
                    );
                    report.problem_with(at, what, similar::did_you_mean(name, PLACEHOLDERS));
                }
            }
            if names.contains(&"rest")
                && matches!(path, PathPattern::Exact(_) | PathPattern::Regex(_))
            {
                report.warn(at, "{rest} is empty unless path ends in \"/*\"");
            }
        }
    }
}

/// The names between braces, in order.
fn placeholders(to: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = to;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = rest[at..].strip_prefix('{');
        let Some((name, after)) = inside.and_then(|inside| inside.split_once('}')) else {
            return Err(format!("{} has a brace without its partner", quoted(to)));
        };
        names.push(name);
        rest = after;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_what_stands_between_braces() {
        assert_eq!(
            placeholders("https://{host}/x/{rest}{query}"),
            Ok(vec!["host", "rest", "query"])
        );
        assert_eq!(placeholders("/new"), Ok(vec![]));
        assert_eq!(placeholders("/{{host}"), Ok(vec!["{host"]));
    }

    #[test]
    fn a_lonely_brace_is_refused() {
        for to in ["/{", "/}", "/{host", "/host}"] {
            assert!(placeholders(to).is_err(), "{to}");
        }
    }
}
