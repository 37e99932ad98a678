//! A route's `hedge`.

use http::Method;

use super::super::model::{Hedge, HedgeAfter, Rule};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::route as raw;
use super::super::raw::shapes::{Duration, Toggle};
use super::super::report::Report;
use super::keys::{Keys, hours, millis};

pub(super) fn hedge(
    raw: Option<&Toggle<raw::Hedge>>,
    rule: &Rule,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Hedge> {
    let default = raw::Hedge::default();
    let raw = match raw? {
        Toggle::Flag(false) => return None,
        Toggle::Flag(true) => &default,
        Toggle::Map(raw) => raw,
    };
    let is_hedged = |method: &Method| matches!(*method, Method::GET | Method::HEAD);
    if !rule.methods.is_empty() && !rule.methods.iter().any(is_hedged) {
        report.warn(at, "has no effect without GET or HEAD among the methods");
    }
    let after = raw.after.as_deref().map(|text| after(text, at, report));
    let percent = Keys::of(at, report).number("percent", raw.percent, 1..=100);
    Some(Hedge {
        after: after.flatten().unwrap_or(HedgeAfter::Percentile(95)),
        percent: percent.unwrap_or(2),
    })
}

/// `p95`, or a time.
fn after(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<HedgeAfter> {
    let Some(percentile) = text.strip_prefix('p') else {
        let time = Duration(text.to_owned());
        let mut keys = Keys::of(at, report);
        let time = keys.duration("after", Some(&time), millis(1)..=hours(1));
        return time.map(HedgeAfter::Time);
    };
    let percentile = percentile.parse().ok();
    let found = percentile.filter(|percentile| (50..=99).contains(percentile));
    if found.is_none() {
        let what = format!(
            "{} is not allowed, expected p50 to p99 or a time",
            quoted(text)
        );
        report.problem(&at.key("after"), what);
    }
    found.map(HedgeAfter::Percentile)
}
