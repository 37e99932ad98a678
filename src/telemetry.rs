//! What weir says about itself: metrics, access log, error log.

pub mod access_log;
pub mod metrics;
