//! The lease that counts one attempt on an endpoint, and lets the endpoint learn from it.
//!
//! Invariant: in-flight is the number of live leases; dropping one gives back all it holds. Granted by
//! [`Endpoint::lease`], held by the request's attempt.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Endpoint, Gate, Observation, Trial, Turn};

/// One attempt on an endpoint. Dropping it, on whatever way out, gives its count back exactly once.
pub struct Lease {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) in_flight: u32,
    /// Where the pool has limits; given back after the endpoint's count.
    pub(super) turn: Option<Turn>,
    /// It is the trial of a half-open circuit, and has not come to anything yet.
    pub(super) is_trial: bool,
}

impl Lease {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Attempts on the endpoint just after this one was granted, itself included.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Gives the turn back with the lease.
    pub(in crate::upstream) fn hold(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// Nobody waits for it any longer, and its endpoint answers nobody: if it was a trial, that has failed.
    pub fn hangs(&mut self) {
        if std::mem::take(&mut self.is_trial) {
            self.endpoint.tried(Trial::Failed);
        }
    }

    /// Learns from what the attempt came to.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.endpoint.observe(observation);
        if let Some(bounds) = self.turn.as_ref().and_then(Turn::adaptive_limit) {
            self.endpoint.adapt(bounds, observation);
        }
        if self.is_trial && !observation.is_stale {
            self.is_trial = false;
            self.endpoint.tried(if observation.answer.is_error() {
                Trial::Failed
            } else {
                Trial::Passed
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_trial {
            self.endpoint.move_gate(Gate::Trying, Gate::Trial);
        }
        self.endpoint.pool_load.0.fetch_sub(1, Relaxed);
        // Before the look at who waits: `turns` says why.
        self.endpoint.load.in_flight.fetch_sub(1, SeqCst);
        if self.turn.is_none() {
            self.endpoint.changed();
        }
    }
}
