//! Lists of statuses and ranges of them.

use std::ops::RangeInclusive;

use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::shapes::{OneOrMany, StatusRange};
use super::super::report::Report;

/// First and last of each range. `allowed` ends before 1000.
pub(super) fn statuses(
    raw: &OneOrMany<StatusRange>,
    allowed: &RangeInclusive<u16>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<(u16, u16)> {
    let items = raw.items();
    if items.is_empty() {
        report.missing(at, "an empty list, expected at least one status");
    }
    let read = |(index, StatusRange(text)): (Option<usize>, &StatusRange)| {
        let range = status_range(text, allowed);
        if range.is_none() {
            let (first, last) = (allowed.start(), allowed.end());
            let what = format!(
                "{} is not a status, expected {first} to {last} or a range such as \"{}-{}\"",
                quoted(text),
                first.max(&200),
                first.max(&200) + 99
            );
            let at = index.map_or_else(|| at.clone(), |index| at.index(index));
            report.problem(&at, what);
        }
        range
    };
    items.into_iter().filter_map(read).collect()
}

fn status_range(text: &str, allowed: &RangeInclusive<u16>) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let [first, last] =
        [first, last].map(|status| status.parse().ok().filter(|n| allowed.contains(n)));
    let (first, last) = first.zip(last)?;
    (first <= last && !text.contains('+')).then_some((first, last))
}
