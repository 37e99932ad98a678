//! What probes have found an endpoint to be. A value: `health` decides, the endpoint keeps it.

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Never probed, and trusted until a probe says otherwise.
    Unproven,
    /// Never probed, and not used before its first pass.
    Pending,
    /// Passed its probes, or its pool has none.
    Healthy,
    /// Failed its probes.
    Unhealthy,
}

impl State {
    pub const ALL: [State; 4] = [
        State::Unproven,
        State::Pending,
        State::Healthy,
        State::Unhealthy,
    ];

    /// The log word and the `to` label of `weir_endpoint_transitions_total`.
    pub fn word(self) -> &'static str {
        match self {
            State::Unproven => "unproven",
            State::Pending => "pending",
            State::Healthy => "healthy",
            State::Unhealthy => "unhealthy",
        }
    }

    /// Whether an endpoint in this state may be picked.
    #[inline]
    pub fn is_ready(self) -> bool {
        matches!(self, State::Unproven | State::Healthy)
    }

    /// The state whose number this is.
    #[inline]
    pub(super) fn numbered(number: u8) -> State {
        match number {
            0 => State::Unproven,
            1 => State::Pending,
            2 => State::Healthy,
            _ => State::Unhealthy,
        }
    }
}
