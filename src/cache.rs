//! The HTTP cache: what is kept in memory, and what survives a new process.
//!
//! `store` is the memory: bounded in bytes, in the order of an eviction policy, purged by key, place
//! or tag. `handover` passes its contents on to the process that takes over.

pub mod handover;
pub mod store;
