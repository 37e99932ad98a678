//! The circuit breaker of one endpoint: the pure transitions between the phases of a [`Circuit`].
//!
//! ```text
//! closed ─ open() ─▶ open ─ time over ─▶ half-open ─ trial passed ─▶ closed
//!                      ▲                     └ trial failed ┐
//!                      └────────────────────────────────────┘
//! ```
//!
//! An ejection is as long as its number times `base_time`, at most `max_time` (Envoy's outlier
//! detection), less up to a tenth at random, so that endpoints ejected together do not come back
//! together. Each `base_time` that a circuit stays closed takes one off the number.
//!
//! Bound: nothing but time leads from open to half-open, so no circuit stays open for want of
//! traffic. Called by `passive`, which says what is an outlier and sets the gate.

use std::time::{Duration, Instant};

use crate::config::model::Outlier;
use crate::upstream::circuit::{Circuit, Gate, Phase, Reason};
use crate::upstream::record::Trial;

#[cfg(test)]
mod tests;

/// Part of an ejection's length that chance may take off.
const JITTER: f64 = 0.1;

/// Ejects. `chance` is from 0 to 1.
pub fn open(
    circuit: &Circuit,
    reason: Reason,
    rules: &Outlier,
    now: Instant,
    chance: f64,
) -> Circuit {
    let ejections = match circuit.phase {
        Phase::Closed => {
            let calm = now.saturating_duration_since(circuit.since).as_nanos();
            let forgotten = calm / rules.base_time.as_nanos().max(1);
            let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
            circuit.ejections.saturating_sub(forgotten)
        }
        Phase::Open { .. } | Phase::HalfOpen { .. } => circuit.ejections,
    }
    .saturating_add(1);
    Circuit {
        phase: Phase::Open {
            reason,
            until: now + length(ejections, rules, chance),
        },
        since: now,
        ejections,
    }
}

fn length(ejections: u32, rules: &Outlier, chance: f64) -> Duration {
    let full = rules.base_time.saturating_mul(ejections);
    full.min(rules.max_time).mul_f64(1.0 - JITTER * chance)
}

/// What follows from the time and from what a trial came to; the same circuit when nothing does.
pub fn advance(
    circuit: &Circuit,
    trial: Option<Trial>,
    rules: &Outlier,
    now: Instant,
    chance: f64,
) -> Circuit {
    match (circuit.phase, trial) {
        (Phase::Open { reason, until }, _) if until <= now => Circuit {
            phase: Phase::HalfOpen { reason },
            since: now,
            ..*circuit
        },
        (Phase::HalfOpen { .. }, Some(Trial::Passed)) => close(circuit, now),
        (Phase::HalfOpen { reason }, Some(Trial::Failed)) => {
            open(circuit, reason, rules, now, chance)
        }
        (Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. }, _) => *circuit,
    }
}

/// Closes, whatever the phase.
pub fn close(circuit: &Circuit, now: Instant) -> Circuit {
    Circuit {
        phase: Phase::Closed,
        since: now,
        ..*circuit
    }
}

/// What the circuit means for requests. Where the pool has probes, a half-open circuit waits for
/// one that passes rather than risk a request.
pub fn gate(circuit: &Circuit, has_probes: bool) -> Gate {
    match circuit.phase {
        Phase::Closed => Gate::Open,
        Phase::HalfOpen { .. } if !has_probes => Gate::Trial,
        Phase::Open { .. } | Phase::HalfOpen { .. } => Gate::Shut,
    }
}
