//! Scenarios on the real binary: origins, a weir in front of them, clients, and what is expected of
//! responses and counters. One file per area; `support` holds the words they are written in.

#![allow(clippy::unwrap_used)] // A scenario that cannot go on says so by panicking.

pub mod support;

mod command_line;
mod heads;
mod lifecycle;
mod limits;
mod support_works;
mod upgrades;
