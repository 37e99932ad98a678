//! What a request passes before it is served, and what is said of it to its endpoint.
//!
//! Pure: headers and addresses in, an answer or edited headers out; tested without a socket. Called
//! by `proxy` only.

pub mod body_limit;
pub mod client;
pub mod demand;
pub mod forwarded;
pub mod headers;
pub mod ip_filter;
pub mod request_id;
