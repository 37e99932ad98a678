//! The circuit of an endpoint: whether its own requests let it have more of them.
//!
//! ```text
//! closed ─ outlier ─▶ open ─ time over ─▶ half-open ─ trial passes ─▶ closed
//!                       ▲                     └ trial fails ┐
//!                       └───────────────────────────────────┘
//! ```
//!
//! Values only: `health::breaker` makes the transitions, the endpoint keeps the circuit (so it
//! survives a reload), and selectors read what follows from it, the [`Gate`].

use std::fmt;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circuit {
    pub phase: Phase,
    /// When the phase began.
    pub since: Instant,
    /// Ejections that count towards the length of the next one.
    pub ejections: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// Requests flow.
    Closed,
    /// Ejected: no requests.
    Open { reason: Reason, until: Instant },
    /// Ejected still, and to be tried: by one request, or by a probe where its pool has them.
    HalfOpen { reason: Reason },
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// So many failures in a row.
    Failures(u32),
    /// Percent of the requests that succeeded, and the pool's mean.
    SuccessRate { percent: f64, mean: f64 },
    /// Mean time to the response's head, and the pool's median.
    Latency { mean: Duration, median: Duration },
}

/// What a circuit means for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    Open,
    Shut,
    /// Open for one request.
    Trial,
    /// That one is under way.
    Trying,
}

impl Circuit {
    /// Closed, since `now`.
    pub fn new(now: Instant) -> Circuit {
        Circuit {
            phase: Phase::Closed,
            since: now,
            ejections: 0,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Why it is not closed.
    pub fn reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { reason, .. } | Phase::HalfOpen { reason } => Some(reason),
        }
    }

    /// Until it is tried again.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { until, .. } => Some(until.saturating_duration_since(now)),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }
}

impl Phase {
    /// Every word a phase has.
    pub const WORDS: [&str; 3] = ["closed", "ejected", "half_open"];

    /// The word in `weir status`, and the `to` label of `weir_endpoint_circuit_transitions_total`.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Open { .. } => "ejected",
            Phase::HalfOpen { .. } => "half_open",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Failures(count) => write!(out, "{count} failures in a row"),
            Reason::SuccessRate { percent, mean } => {
                write!(
                    out,
                    "success rate {percent:.1}%, mean of the pool {mean:.1}%"
                )
            }
            Reason::Latency { mean, median } => {
                write!(out, "latency {mean:.0?}, median of the pool {median:.0?}")
            }
        }
    }
}

impl Gate {
    /// The gate whose number this is.
    #[inline]
    pub fn numbered(number: u8) -> Gate {
        match number {
            0 => Gate::Open,
            1 => Gate::Shut,
            2 => Gate::Trial,
            _ => Gate::Trying,
        }
    }

    /// Whether a request may pass.
    #[inline]
    pub fn admits(self) -> bool {
        matches!(self, Gate::Open | Gate::Trial)
    }
}
