//! The HTTP cache: what a response is kept under, the rules of RFC 9111 for keeping and using it, and the
//! memory that holds it.
//!
//! `key` and `rules` are pure: heads and `now` in, an answer with its reason out. `store` is the memory:
//! bounded in bytes, in the order of an eviction policy, purged by key, place or tag. `handover` passes
//! its contents on to the process that takes over.

pub mod handover;
pub mod key;
pub mod rules;
pub mod store;
