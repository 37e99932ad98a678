//! Header names and values, and the edits of requests and responses.

use std::collections::{BTreeMap, HashSet};

use http::{HeaderName, HeaderValue};

use super::super::model::HeaderEdits;
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::route;
use super::super::report::Report;

/// Headers that frame a message or belong to one connection: changing them desynchronises the two sides.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn edits(
    raw: Option<&route::HeaderEdits>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> HeaderEdits {
    let Some(raw) = raw else {
        return HeaderEdits::default();
    };
    let at_remove = at.key("remove");
    let removed = raw.remove.iter().flatten().enumerate();
    let remove = removed
        .filter_map(|(index, name)| removable(name.as_deref()?, &at_remove.index(index), report));
    HeaderEdits {
        remove: remove.collect(),
        set: fields(raw.set.as_ref(), &at.key("set"), report),
        add: fields(raw.add.as_ref(), &at.key("add"), report),
    }
}

fn removable(name: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let name = editable(name, at, report)?;
    if name == http::header::HOST {
        report.problem(
            at,
            "a request without host is not valid HTTP/1.1, expected another header",
        );
    }
    Some(name)
}

/// A map of headers to send. Two spellings of one name are refused: which one would count?
pub(super) fn fields(
    raw: Option<&BTreeMap<String, String>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for (name, value) in raw.into_iter().flatten() {
        let at = at.key(name);
        let name = editable(name, &at, report);
        let value = self::value(value, &at, report);
        check_once(name.as_ref(), &mut seen, &at, report);
        fields.extend(name.zip(value));
    }
    fields
}

fn editable(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let name = name(text, at, report)?;
    if RESERVED.contains(&name.as_str()) {
        report.problem_at_key(
            at,
            format!("{name} belongs to one connection and cannot be changed"),
            None,
        );
        return None;
    }
    Some(name)
}

pub(super) fn name(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        report.problem_at_key(at, format!("{} is not a header name", quoted(text)), None);
    }
    name
}

/// YAML tells keys of different case apart; header names do not.
pub(super) fn check_once(
    name: Option<&HeaderName>,
    seen: &mut HashSet<HeaderName>,
    at: &At<'_>,
    report: &mut Report<'_>,
) {
    if let Some(name) = name
        && !seen.insert(name.clone())
    {
        report.problem_at_key(
            at,
            format!("{name} is given twice, in different case"),
            None,
        );
    }
}

pub(super) fn value(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HeaderValue> {
    let trimmed = text.trim_matches([' ', '\t']) == text;
    match HeaderValue::from_str(text) {
        Ok(value) if trimmed => Some(value),
        _ => {
            let what = format!(
                "{} is not a header value, expected visible ASCII",
                quoted(text)
            );
            report.problem(at, what);
            None
        }
    }
}
