//! The HTTP cache: what a response is kept under, and the rules of RFC 9111 for keeping and using it.
//!
//! Everything here is pure: heads and `now` in, an answer with its reason out.

pub mod key;
pub mod rules;
