//! Pools of endpoints.
