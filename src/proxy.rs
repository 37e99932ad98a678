//! The adapter to Pingora.
