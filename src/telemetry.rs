//! What weir says about itself: metrics, access log, error log.
//!
//! The lowest layer: it depends on no other part of weir, and every other part may use it.

pub mod access_log;
pub mod logging;
pub mod metrics;
mod timestamp;
