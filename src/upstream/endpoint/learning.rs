//! What an endpoint learns from attempts on it: how fast it is, how busy, whether it fails, and what it says of
//! itself.
//!
//! Told once of each attempt, by its lease, and by `hedge` and `load_probes` of what they see beside it.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant, SystemTime};

use super::Endpoint;
use crate::config::model;
use crate::upstream::load_report::LoadReport;
use crate::upstream::observation::{Answer, Observation};
use crate::upstream::penalty::{pause, penalty};
use crate::upstream::stamp::Stamp;

impl Endpoint {
    /// Learns from one attempt.
    pub(in crate::upstream) fn observe(&self, observation: &Observation<'_>) {
        if let Answer::Failed(outcome) = observation.answer {
            self.failed(outcome);
        }
        if observation.is_stale {
            return;
        }
        self.answered.notify_waiters();
        let &Observation {
            took,
            in_flight,
            now,
            ..
        } = observation;
        if observation.is_measured {
            let penalty = penalty(observation.answer, SystemTime::now);
            match penalty {
                None => self.latency.learn(took, now),
                Some(penalty) => self.latency.punish(penalty, now),
            }
            match (self.signals(), penalty) {
                (Some(signals), None) => signals.answered(took, in_flight, now),
                (Some(signals), Some(penalty)) => signals.failed(penalty, now),
                (None, _) => {}
            }
        }
        if let Some(pause) = pause(observation.answer, SystemTime::now) {
            let until = Stamp::of(now).after(pause);
            self.pauses_until.store(until.number(), Relaxed);
        }
        if self.record.note(observation) {
            self.alert.notify_one();
        }
        if let (Some(_), Answer::Response(_, headers)) = (self.signals(), observation.answer) {
            self.reported(&LoadReport::of_response(headers), now);
        }
    }

    /// Takes note of what it says of itself, where somebody looks at that.
    pub fn reported(&self, report: &LoadReport, now: Instant) {
        let Some(signals) = self.signals() else {
            return;
        };
        if let Some(total) = report.in_flight {
            signals.reported(total, self.in_flight(), now);
        }
        if let Some(latency) = report.latency {
            signals.reported_latency(latency, now);
        }
    }

    /// An attempt was given up after `waited`: its response would have taken longer.
    pub fn outwaited(&self, waited: Duration, now: Instant) {
        self.latency.punish(waited, now);
        if let Some(signals) = self.signals() {
            signals.outwaited(waited, self.in_flight(), now);
        }
    }

    /// Adapts `adaptive_limit` to one attempt. Refusals and errors of its own say nothing of how busy it is; a
    /// timeout does.
    pub(super) fn adapt(&self, bounds: model::AdaptiveLimit, observation: &Observation<'_>) {
        let tells = match observation.answer {
            Answer::Response(status, _) => !status.is_server_error(),
            Answer::Failed(outcome) => outcome == "timeout",
        };
        let (took, in_flight) = (observation.took, observation.in_flight);
        let step = || {
            let mut adaptive = self.adaptive.lock();
            adaptive.observe(bounds, took, in_flight, observation.now)
        };
        let tells = tells && observation.is_measured && !observation.is_stale;
        if let Some(limit) = tells.then(step).flatten() {
            let before = self.load.limit.swap(limit, SeqCst);
            self.metrics.limited(&self.pool, &self.name, limit);
            if limit > before {
                self.changed();
            }
        }
    }
}
