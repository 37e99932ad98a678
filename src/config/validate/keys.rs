//! Values with a range: whole numbers, durations and sizes of one map.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::path::At;
use super::super::raw::shapes;
use super::super::report::Report;
use super::super::units::{self, UnitError};

/// The keys of one map, read one by one; what is absent or wrong is `None`, and what is wrong is reported.
pub(super) struct Keys<'a, 's> {
    at: &'a At<'a>,
    report: &'a mut Report<'s>,
}

impl<'a, 's> Keys<'a, 's> {
    pub(super) fn of(at: &'a At<'a>, report: &'a mut Report<'s>) -> Self {
        Keys { at, report }
    }

    /// A whole number. The range must fit into `T`.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        seen: Option<i64>,
        allowed: RangeInclusive<i64>,
    ) -> Option<T> {
        let number = seen?;
        match T::try_from(number) {
            Ok(fits) if allowed.contains(&number) => Some(fits),
            _ => {
                let what = format!(
                    "{number} is not allowed, expected {} to {}",
                    allowed.start(),
                    allowed.end()
                );
                self.report.problem(&self.at.key(key), what);
                None
            }
        }
    }

    /// A number; NaN is in no range.
    pub(super) fn decimal(
        &mut self,
        key: &str,
        seen: Option<f64>,
        allowed: RangeInclusive<f64>,
    ) -> Option<f64> {
        let number = seen?;
        if allowed.contains(&number) {
            return Some(number);
        }
        let (min, max) = allowed.into_inner();
        let what = format!("{number} is not allowed, expected {min} to {max}");
        self.report.problem(&self.at.key(key), what);
        None
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        seen: Option<&shapes::Duration>,
        allowed: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let shapes::Duration(text) = seen?;
        let duration = self.unit(key, units::duration(text))?;
        if allowed.contains(&duration) {
            return Some(duration);
        }
        let [min, max] = [allowed.start(), allowed.end()].map(|bound| units::show_duration(*bound));
        self.report.problem(
            &self.at.key(key),
            format!("{text} is not allowed, expected {min} to {max}"),
        );
        None
    }

    pub(super) fn size(
        &mut self,
        key: &str,
        seen: Option<&shapes::Size>,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let shapes::Size(text) = seen?;
        let size = self.unit(key, units::size(text))?;
        if allowed.contains(&size) {
            return Some(size);
        }
        let [min, max] = [allowed.start(), allowed.end()].map(|bound| units::show_size(*bound));
        self.report.problem(
            &self.at.key(key),
            format!("{text} is not allowed, expected {min} to {max}"),
        );
        None
    }

    fn unit<T>(&mut self, key: &str, read: Result<T, UnitError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(UnitError { what, hint }) => {
                self.report.problem_with(&self.at.key(key), what, hint);
                None
            }
        }
    }
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

pub(super) const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 60 * 60)
}
