//! An endpoint's record: counts of what its requests came to, which `health::passive` looks at.
//!
//! Written by every attempt with a few relaxed atomic operations and no lock. The counts of an
//! interval are taken one after the other, so an attempt that ends meanwhile may be split over two
//! intervals: an error of one in a hundred at the least volume that is judged.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::observation::Observation;

#[derive(Default)]
pub struct Record {
    failures_in_a_row: AtomicU32,
    /// So many of them are worth a look; 0: none is.
    alarm: AtomicU32,
    requests: AtomicU32,
    errors: AtomicU32,
    /// Of the requests without error.
    micros: AtomicU64,
    trial: AtomicU8,
}

/// What the trial of a half-open circuit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trial {
    Passed = 1,
    Failed = 2,
}

/// The requests of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub requests: u32,
    /// Failures and responses of 5xx.
    pub errors: u32,
    /// Time to the head of the responses without error, all together.
    pub took: Duration,
}

impl Record {
    /// Counts an attempt; true when it is the failure in a row that was to be told of.
    pub(super) fn note(&self, observation: &Observation<'_>) -> bool {
        self.requests.fetch_add(1, Relaxed);
        if observation.answer.is_error() {
            self.errors.fetch_add(1, Relaxed);
        } else {
            let micros = u64::try_from(observation.took.as_micros()).unwrap_or(u64::MAX);
            self.micros.fetch_add(micros, Relaxed);
        }
        if observation.answer.is_gateway_failure() {
            let in_a_row = self.failures_in_a_row.fetch_add(1, Relaxed) + 1;
            return in_a_row == self.alarm.load(Relaxed);
        }
        if self.failures_in_a_row.load(Relaxed) > 0 {
            self.forgive();
        }
        false
    }

    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    /// The row of failures begins anew.
    pub fn forgive(&self) {
        self.failures_in_a_row.store(0, Relaxed);
    }

    /// Asks to be told of so many failures in a row; `None`: of none.
    pub fn set_alarm(&self, failures: Option<u32>) {
        self.alarm.store(failures.unwrap_or(0), Relaxed);
    }

    /// What was counted since the last call.
    pub fn take_interval(&self) -> Interval {
        Interval {
            requests: self.requests.swap(0, Relaxed),
            errors: self.errors.swap(0, Relaxed),
            took: Duration::from_micros(self.micros.swap(0, Relaxed)),
        }
    }

    pub(super) fn set_trial(&self, trial: Trial) {
        self.trial.store(trial as u8, Relaxed);
    }

    /// What a trial came to since the last call.
    pub fn take_trial(&self) -> Option<Trial> {
        match self.trial.swap(0, Relaxed) {
            0 => None,
            1 => Some(Trial::Passed),
            _ => Some(Trial::Failed),
        }
    }
}

impl Interval {
    /// From 0 to 1; `None` without a request.
    pub fn success_rate(&self) -> Option<f64> {
        let rate = f64::from(self.errors.min(self.requests)) / f64::from(self.requests);
        (self.requests > 0).then_some(1.0 - rate)
    }

    /// Mean time to a head; `None` without a response that is no error.
    pub fn latency(&self) -> Option<Duration> {
        self.took
            .checked_div(self.requests.saturating_sub(self.errors))
    }
}
