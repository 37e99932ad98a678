//! Health of endpoints: what probes say (here and in `active`), what requests say (`passive`), and how
//! busy the endpoints say they are (`load`).
//!
//! Here is the pure transition of one endpoint's probe history.
//! [`History::observe`] takes the state an endpoint is in and one probe's result, and says what
//! follows; `active` probes and acts on it. An endpoint's state is kept by the endpoint itself, so
//! a reload goes on from it; the streak that contradicts it begins anew.
//!
//! ```text
//! unproven, pending ── 1 pass ─▶ healthy ◀── rise passes in a row ─┐
//!         └── fall failures in a row ─▶ unhealthy ─────────────────┘
//! ```

use crate::config::model::Health;
use crate::upstream::endpoint::State;

pub mod active;
pub mod breaker;
pub mod load;
pub mod outlier;
pub mod panic;
pub mod passive;
pub mod probe;
pub mod slow_start;

#[cfg(test)]
mod tests;

/// Results in a row that contradict the endpoint's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What they are.
    pass: bool,
    streak: u32,
}

/// What one probe's result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The state is confirmed.
    Steady,
    /// The state is contradicted, but not often enough yet: look again soon.
    Wavering,
    /// The state changes, after this many results in a row.
    Becomes(State, u32),
}

impl History {
    pub fn observe(&mut self, state: State, pass: bool, health: &Health) -> Verdict {
        let (next, needed) = match (state, pass) {
            (State::Healthy, true) | (State::Unhealthy, false) => {
                self.streak = 0;
                return Verdict::Steady;
            }
            // One pass is all a new endpoint needs, as in Envoy: it should serve soon.
            (State::Unproven | State::Pending, true) => (State::Healthy, 1),
            (State::Unhealthy, true) => (State::Healthy, health.rise),
            (_, false) => (State::Unhealthy, health.fall),
        };
        if self.pass != pass {
            *self = History { pass, streak: 0 };
        }
        self.streak += 1;
        if self.streak < needed {
            return Verdict::Wavering;
        }
        self.streak = 0;
        Verdict::Becomes(next, needed)
    }
}
