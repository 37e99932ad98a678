//! Health of endpoints.
