//! Collects problems and warnings while a file is read.
//!
//! Knows the places, so whoever finds a mistake only says where in the tree it is. Remembers what was reported,
//! so that a value that was wrong is not called missing as well. Passed through `read`, `validate` and `files`.

use std::collections::BTreeSet;

use super::path::{self, At, Step};
use super::places::Places;
use super::problem::Problem;

#[derive(Debug)]
pub(super) struct Report<'s> {
    places: Places<'s>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Paths that were reported, and keys that a misspelt one stands for.
    reported: BTreeSet<String>,
}

/// Which end of a `key: value` is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Key,
    Value,
}

impl<'s> Report<'s> {
    pub(super) fn new(places: Places<'s>, problems: Vec<Problem>) -> Self {
        let reported = problems
            .iter()
            .map(|problem| problem.path.clone())
            .collect();
        Report {
            places,
            problems,
            warnings: Vec::new(),
            reported,
        }
    }

    /// The value at this path is wrong.
    pub(super) fn problem(&mut self, at: &At<'_>, what: impl Into<String>) {
        self.add(&at.steps(), Blame::Value, what.into(), None);
    }

    /// The value at this path is wrong, and this is what to write.
    pub(super) fn problem_with(
        &mut self,
        at: &At<'_>,
        what: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.add(&at.steps(), Blame::Value, what.into(), hint.into());
    }

    /// The key at this path is wrong.
    pub(super) fn problem_at_key(
        &mut self,
        at: &At<'_>,
        what: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.add(&at.steps(), Blame::Key, what.into(), hint.into());
    }

    /// A key that must be there is not, unless something at or under it was reported already.
    pub(super) fn missing(&mut self, at: &At<'_>, what: &str) {
        if !self.was_reported(at) {
            self.add(&at.steps(), Blame::Key, what.to_string(), None);
        }
    }

    /// Allowed, but hardly meant.
    pub(super) fn warn(&mut self, at: &At<'_>, what: impl Into<String>) {
        let steps = at.steps();
        self.warnings.push(Problem {
            path: path::text(&steps),
            place: self.places.key(&steps),
            what: what.into(),
            hint: None,
        });
    }

    pub(super) fn add(
        &mut self,
        steps: &[Step<'_>],
        blame: Blame,
        what: String,
        hint: Option<String>,
    ) {
        let path = path::text(steps);
        let place = match blame {
            Blame::Key => self.places.key(steps),
            Blame::Value => self.places.value(steps),
        };
        self.reported.insert(path.clone());
        self.problems.push(Problem {
            path,
            place,
            what,
            hint,
        });
    }

    /// Counts a path as reported: its name was misspelt, and the misspelling has been reported.
    pub(super) fn stands_for(&mut self, steps: &[Step<'_>]) {
        self.reported.insert(path::text(steps));
    }

    pub(super) fn was_reported(&self, at: &At<'_>) -> bool {
        let path = path::text(&at.steps());
        let under =
            |found: &String| matches!(found[path.len()..].chars().next(), None | Some('.' | '['));
        self.reported
            .range(path.clone()..)
            .take_while(|found| found.starts_with(&path))
            .any(under)
    }

    pub(super) fn is_exactly_reported(&self, at: &At<'_>) -> bool {
        self.reported.contains(&path::text(&at.steps()))
    }

    /// Problems and warnings, each in file order; what has no place comes last.
    pub(super) fn into_lists(self) -> (Vec<Problem>, Vec<Problem>) {
        let in_file_order = |mut list: Vec<Problem>| {
            list.sort_by_key(|problem| problem.place.unwrap_or((usize::MAX, usize::MAX)));
            list
        };
        (in_file_order(self.problems), in_file_order(self.warnings))
    }
}
