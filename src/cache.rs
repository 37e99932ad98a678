//! The HTTP cache: what a response is kept under, the rules of RFC 9111 for keeping and using it, and the
//! memory that holds it.
//!
//! `key` and `rules` are pure: heads and `now` in, an answer with its reason out; `route` holds what a
//! route asks of them. `store` is the memory: bounded in bytes, in the order of an eviction policy,
//! purged by key, place or tag; `entry` says what stands in it, and finds it for a request. `flights`
//! makes those who miss the same thing at once wait for one of them. `compress` makes coded variants,
//! `handover` passes the contents on to the process that takes over.

pub mod compress;
pub mod entry;
pub mod flights;
pub mod handover;
pub mod key;
pub mod route;
pub mod rules;
pub mod store;
pub mod verdict;
