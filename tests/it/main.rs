//! Scenarios on the real binary: origins, a weir in front of them, clients, and what is expected of
//! responses and counters. One file per area; `support` holds the words they are written in.

#![allow(clippy::unwrap_used)] // A scenario that cannot go on says so by panicking.

pub mod support;

mod access;
mod bad_backends;
mod balancing;
mod caching;
mod command_line;
mod configuration_keys;
mod discovery;
mod forwarding;
mod headers;
mod heads;
mod health;
mod hedging;
mod lifecycle;
mod limits;
mod outliers;
mod purging;
mod queues;
mod records;
mod resources;
mod retries;
mod routing;
mod sticky;
mod support_works;
mod upgrades;
mod upstream_tls;
mod websocket;
