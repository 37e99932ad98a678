//! weir: a hardened edge proxy, load balancer and HTTP cache on Pingora.
//!
//! The modules in reading order, and the life of a request through them:
//!
//! ```text
//! accept ─ connection caps ─ head         server::connection, server::head
//!   └ route      Table::find              routing
//!   └ policies   body limit, headers      policy
//!   └ upstream   selector picks, a lease counts    upstream, health
//!   └ forward    Pingora; retries         proxy
//!   └ record     access log, metrics      telemetry
//! ```
//!
//! Dependencies point one way: `telemetry ← config ← routing, upstream, health, cache, policy ←
//! snapshot ← proxy, admin ← server ← cli ← main`; `tests/tidy.rs` keeps it so.

pub mod telemetry;

pub mod config;

pub mod cache;
pub mod health;
pub mod policy;
pub mod routing;
pub mod upstream;

pub mod snapshot;

pub mod admin;
pub mod proxy;

pub mod server;

pub mod cli;
