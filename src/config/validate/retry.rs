//! A route's `retry`, and a pool's `retry_budget`.

use std::time::Duration;

use super::super::model::{Retry, RetryBudget};
use super::super::path::At;
use super::super::raw::{pool, route};
use super::super::report::Report;
use super::keys::{Keys, hours, millis, seconds};
use super::statuses::statuses;

pub(super) fn retry(raw: Option<&route::Retry>, at: &At<'_>, report: &mut Report<'_>) -> Retry {
    let none = route::Retry::default();
    let raw = raw.unwrap_or(&none);
    let on = raw
        .on
        .as_ref()
        .map(|on| statuses(on, &(400..=599), &at.key("on"), report));
    let mut keys = Keys::of(at, report);
    let attempts = keys.number("attempts", raw.attempts, 0..=10);
    let per_try_timeout = keys.duration(
        "per_try_timeout",
        raw.per_try_timeout.as_ref(),
        millis(1)..=hours(24),
    );
    let backoff = keys.duration(
        "backoff",
        raw.backoff.as_ref(),
        Duration::ZERO..=seconds(10),
    );
    Retry {
        attempts: attempts.unwrap_or(2),
        on: on.unwrap_or_default(),
        per_try_timeout,
        backoff: backoff.unwrap_or(millis(25)),
        non_idempotent: raw.non_idempotent.unwrap_or(false),
    }
}

pub(super) fn budget(
    raw: Option<&pool::RetryBudget>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> RetryBudget {
    let default = RetryBudget::default();
    let Some(raw) = raw else {
        return default;
    };
    let mut keys = Keys::of(at, report);
    let percent = keys.number("percent", raw.percent, 0..=1000);
    let per_second = keys.number("per_second", raw.per_second, 0..=1_000_000);
    RetryBudget {
        percent: percent.unwrap_or(default.percent),
        per_second: per_second.unwrap_or(default.per_second),
    }
}
