//! The admin listener.

pub mod status;
